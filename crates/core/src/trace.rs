//! The checks that a request passes on its way to a decision, in order, for people to read.

use std::time::Duration;

use crate::keyring::Algorithm;
use crate::time::UnixTime;
use crate::token::source::TokenSource;

/// Receives each check that a request passes. `()` ignores them and costs nothing.
pub trait Trace {
    /// Called after each check that holds.
    fn passed(&mut self, step: Step<'_>);

    /// Called before a signature is checked with one more key, which is most of a decision's work.
    fn tries_key(&mut self) {}

    /// Called if the token was verified before, so that its form, issuer and signature are not checked
    /// again.
    fn recalls(&mut self) {}
}

impl Trace for () {
    fn passed(&mut self, _: Step<'_>) {}
}

/// A check that holds.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A rule matches the request.
    Rule {
        /// The rule's name.
        name: &'a str,
        /// How the rule was found.
        selection: Selection,
    },
    /// The request carries one bearer token.
    Credential {
        /// Where the request carries it.
        source: &'a TokenSource,
    },
    /// The token is a well-formed JWS.
    Form {
        /// The algorithm in its header.
        alg: Algorithm,
        /// The key id in its header.
        kid: Option<&'a str>,
        /// The kind of token in its header.
        typ: Option<&'a str>,
    },
    /// The token's issuer is configured.
    Issuer {
        /// The token's `iss`.
        issuer: &'a str,
        /// The provider's name.
        provider: &'a str,
    },
    /// The provider's keys are known.
    Keys {
        /// How many keys the provider has.
        count: usize,
    },
    /// The signature was made with one of the provider's keys.
    Signature {
        /// The id of the key that verified it.
        kid: Option<&'a str>,
        /// The algorithm of the signature.
        alg: Algorithm,
    },
    /// The token is valid now.
    Times {
        /// The token's `exp`.
        exp: UnixTime,
        /// The time of the decision.
        now: UnixTime,
        /// The provider's `clock_skew`.
        skew: Duration,
    },
    /// The token is meant for this API.
    Audience {
        /// The accepted audience that it names.
        audience: &'a str,
    },
    /// The token meets the rule's requirement.
    Requirement,
    /// The rule's condition holds.
    Condition {
        /// The condition as the operator wrote it.
        text: &'a str,
    },
}

/// How a rule was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Envoy's route names the rule.
    Named,
    /// The rule is the first one that matches the request.
    Matched,
}
