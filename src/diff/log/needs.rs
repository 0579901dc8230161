//! What must be known about a logged request so that a rule can judge it.

use std::collections::BTreeSet;

use crate::policy::condition::Condition;
use crate::policy::condition::facts::{Fact, Step};
use crate::policy::requirement::Access;
use crate::policy::rule::Rule;

/// What a rule asks of a request and its token, beyond what selects the rule.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, whose members have names of their own"
)]
pub(super) struct Needs {
    /// The claims that its requirement compares, by the names on the way to them. A requirement does
    /// not tell `null` from an absent claim.
    pub(super) claims: BTreeSet<Vec<String>>,
    /// The claims that its condition sees as they are.
    pub(super) seen_claims: BTreeSet<Vec<String>>,
    /// Whether it counts or goes through all claims.
    pub(super) all_claims: bool,
    /// Whether it asks for scopes, which are in claims that the provider's settings name.
    pub(super) scopes: bool,
    pub(super) headers: BTreeSet<String>,
    pub(super) all_headers: bool,
    pub(super) query: bool,
    pub(super) path: bool,
    pub(super) certificate: bool,
    pub(super) address: bool,
    pub(super) principal: bool,
    /// The context extensions, by name.
    pub(super) context: BTreeSet<String>,
    pub(super) all_context: bool,
    /// Whether the answer depends on the time, or on times in the token.
    pub(super) time: bool,
    /// Whether the rule reads tokens at all.
    pub(super) token: bool,
}

/// The claims that hold times.
const TIMES: [&str; 4] = ["auth_time", "exp", "iat", "nbf"];

impl Needs {
    pub(super) fn of(rule: &Rule) -> Self {
        let mut needs = Self::default();
        if let Access::Optional(own) | Access::Required(own) = &rule.access {
            needs.token = true;
            needs.scopes = !own.scopes.is_empty() || !own.any_scope.is_empty();
            for claim in &own.claims {
                needs.claims.insert(claim.path.names().to_vec());
            }
            if !own.acr.is_empty() {
                needs.claims.insert(vec!["acr".to_owned()]);
            }
            if own.max_age.is_some() {
                needs.claims.insert(vec!["auth_time".to_owned()]);
            }
        }
        if let Some(condition) = &rule.condition {
            needs.of_condition(condition);
        }
        let is_time = |path: &Vec<String>| {
            let first = path.first().map(String::as_str);
            first.is_some_and(|first| TIMES.contains(&first))
        };
        let names_time = needs.all_named_claims().any(is_time);
        needs.time |= names_time;
        needs
    }

    /// All claims that it names.
    pub(super) fn all_named_claims(&self) -> impl Iterator<Item = &Vec<String>> {
        self.claims.iter().chain(&self.seen_claims)
    }

    fn of_condition(&mut self, condition: &Condition) {
        for comparison in condition.comparisons() {
            match comparison.fact {
                Fact::Claim(steps) => {
                    // What lies in a list is known if the list is.
                    let names = steps.into_iter().map_while(|step| match step {
                        Step::Member(name) => Some(name),
                        Step::Element => None,
                    });
                    let path: Vec<String> = names.collect();
                    match path.is_empty() {
                        true => self.all_claims = true,
                        false => drop(self.seen_claims.insert(path)),
                    }
                }
                Fact::Header(name) => drop(self.headers.insert(name)),
                Fact::AllHeaders => self.all_headers = true,
                Fact::Query => self.query = true,
                Fact::Path => self.path = true,
                Fact::Certificate => self.certificate = true,
                Fact::Context(name) => drop(self.context.insert(name)),
                Fact::AllContext => self.all_context = true,
                Fact::Address => self.address = true,
                Fact::Principal => self.principal = true,
                Fact::Now => self.time = true,
                Fact::Method | Fact::Host => {}
            }
        }
        // The walk names every fact; these flags come from another walk over the same expression.
        let uses = condition.uses();
        self.query |= uses.query;
        self.path |= uses.path;
        self.all_context |= uses.context && self.context.is_empty();
        self.time |= uses.now;
    }
}
