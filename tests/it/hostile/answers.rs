//! Responses that are useless.

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
    /// The responses, each tested separately.
    pub paths: &'static [&'static str],
    pub over: Over,
    /// The maximum number of requests per fetch.
    pub requests: usize,
    /// The answer of the path.
    pub reply: fn(&Scene, &str) -> Reply,
}

/// How the client connects to the server.
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

/// Responses for both metadata and keys.
fn either(what: &'static str, error: &'static str, reply: fn(&Scene, &str) -> Reply) -> Answer {
    Answer {
        what,
        error,
        paths: &[DISCOVERY, JWKS],
        over: Over::Plain,
        // Metadata has two URLs, and keys have one.
        requests: 3,
        reply,
    }
}

/// Responses for keys only.
fn keys(what: &'static str, error: &'static str, reply: fn(&Scene, &str) -> Reply) -> Answer {
    Answer {
        paths: &[JWKS],
        ..either(what, error, reply)
    }
}

/// Responses for metadata only.
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

/// A set that would be accepted if it arrived properly.
fn set() -> String {
    json!({"keys": [jwk("hostile", "hostile")]}).to_string()
}

fn text(body: impl Into<String>) -> Reply {
    Reply::Http(200, vec![], body.into())
}
