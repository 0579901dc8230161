//! Answers that are no good at all.

use serde_json::json;

use super::{Scene, jwk};
use crate::support::issuer::{DISCOVERY, JWKS, Reply};

mod content;
mod redirects;
mod transfer;

pub struct Answer {
    pub what: &'static str,
    /// What the operator reads.
    pub error: &'static str,
    /// What answers so, each on its own.
    pub paths: &'static [&'static str],
    pub over: Over,
    /// How many requests one fetch makes at most.
    pub requests: usize,
    /// The answer of the path.
    pub reply: fn(&Scene, &str) -> Reply,
}

/// How the server is spoken to.
#[derive(Clone, Copy)]
pub enum Over {
    Plain,
    Tls,
}

pub fn all() -> impl Iterator<Item = Answer> {
    [
        transfer::slow(),
        transfer::large(),
        transfer::broken(),
        transfer::impostors(),
        redirects::all(),
        content::statuses(),
        content::no_text_of_a_set(),
        content::no_usable_keys(),
        content::no_metadata(),
    ]
    .into_iter()
    .flatten()
}

/// What metadata and keys may be answered with.
fn either(what: &'static str, error: &'static str, reply: fn(&Scene, &str) -> Reply) -> Answer {
    Answer {
        what,
        error,
        paths: &[DISCOVERY, JWKS],
        over: Over::Plain,
        // For the metadata in two places, and for the keys.
        requests: 3,
        reply,
    }
}

/// What only keys may be answered with.
fn keys(what: &'static str, error: &'static str, reply: fn(&Scene, &str) -> Reply) -> Answer {
    Answer {
        paths: &[JWKS],
        ..either(what, error, reply)
    }
}

/// What only metadata may be answered with.
fn metadata(what: &'static str, error: &'static str, reply: fn(&Scene, &str) -> Reply) -> Answer {
    Answer {
        paths: &[DISCOVERY],
        ..either(what, error, reply)
    }
}

impl Answer {
    fn over_tls(self) -> Self {
        Self {
            over: Over::Tls,
            ..self
        }
    }

    fn asking(self, requests: usize) -> Self {
        Self { requests, ..self }
    }
}

/// A set that would be believed if it came as it should.
fn set() -> String {
    json!({"keys": [jwk("hostile", "hostile")]}).to_string()
}

fn text(body: impl Into<String>) -> Reply {
    Reply::Http(200, vec![], body.into())
}
