//! What a decision passed on its way, for people: each check that held, in order.

use std::time::Duration;

use crate::keyring::Algorithm;
use crate::time::UnixTime;
use crate::token::source::TokenSource;

/// Hears about each check that a request passed. `()` hears nothing, and costs nothing.
pub trait Trace {
    /// One more check held.
    fn passed(&mut self, step: Step<'_>);

    /// The signature is about to be checked by one more key, which is most of a decision's work.
    fn tries_key(&mut self) {}
}

impl Trace for () {
    fn passed(&mut self, _: Step<'_>) {}
}

/// A check that held.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A rule is about the request.
    Rule {
        /// What it is called.
        name: &'a str,
        /// How it was found.
        selection: Selection,
    },
    /// The request carries one bearer token.
    Credential {
        /// Where.
        source: &'a TokenSource,
    },
    /// The token is a well-formed JWS.
    Form {
        /// Its algorithm.
        alg: Algorithm,
        /// The key that it names.
        kid: Option<&'a str>,
        /// The kind of token that it says it is.
        typ: Option<&'a str>,
    },
    /// Its issuer is a configured one.
    Issuer {
        /// The token's `iss`.
        issuer: &'a str,
        /// The name of the provider.
        provider: &'a str,
    },
    /// The provider's keys are known.
    Keys {
        /// How many.
        count: usize,
    },
    /// The signature is the provider's.
    Signature {
        /// The key that verified it.
        kid: Option<&'a str>,
        /// By which algorithm.
        alg: Algorithm,
    },
    /// It is valid now.
    Times {
        /// When it expires.
        exp: UnixTime,
        /// When it was judged.
        now: UnixTime,
        /// The clock skew allowed.
        skew: Duration,
    },
    /// It is meant for us.
    Audience {
        /// The accepted audience that it names.
        audience: &'a str,
    },
    /// It is what the rule requires.
    Requirement,
    /// The rule's condition holds.
    Condition {
        /// As the operator wrote it.
        text: &'a str,
    },
}

/// How a rule was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Envoy's route names it.
    Named,
    /// It is the first that is about the request.
    Matched,
}
