//! One rule, and how it is compared with a request.

use super::condition::{Condition, Uses};
use super::matcher::{Matcher, Mismatch, Target};
use super::requirement::Access;

/// What is required of the requests that it matches.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name in logs, metrics and Envoy's routes. Unique.
    pub name: String,
    /// The requests that the rule matches. With `None`, only an Envoy route selects the rule, by
    /// name.
    pub matcher: Option<Matcher>,
    /// Which requests may pass.
    pub access: Access,
    /// A condition that must hold as well.
    pub condition: Option<Condition>,
    /// Whether denials by the rule take effect. Otherwise they are only reported.
    pub is_enforced: bool,
    /// Whether the decision log has all decisions by the rule, whatever else it leaves out.
    pub is_audited: bool,
}

impl Rule {
    /// Whether the rule requires no token, and no condition keeps clients out.
    pub fn is_open(&self) -> bool {
        let wants_none = match self.access {
            Access::Public | Access::Optional(_) => true,
            Access::Deny | Access::Required(_) => false,
        };
        let condition = self.condition.as_ref();
        wants_none && condition.is_none_or(Condition::holds_for_strangers)
    }

    pub(super) fn check(&self, target: &Target<'_>) -> Result<(), Mismatch<'_>> {
        match &self.matcher {
            Some(matcher) => matcher.check(target),
            None => Err(Mismatch::OnlyByName),
        }
    }

    /// Whether the rule itself compares hosts, in its matcher or its condition.
    pub(super) fn compares_hosts(&self) -> bool {
        let is_matched = |matcher: &Matcher| !matcher.hosts.is_empty();
        let is_asked = |condition: &Condition| condition.uses().host;
        self.matcher.as_ref().is_some_and(is_matched)
            || self.condition.as_ref().is_some_and(is_asked)
    }

    /// The parts of a request that the rule uses, or that routes may have used before it.
    pub(super) fn uses(&self) -> Uses {
        let matched = match &self.matcher {
            Some(matcher) => Uses {
                method: !matcher.methods.is_empty() || matcher.mcp.is_some(),
                path: !matcher.paths.is_empty(),
                host: !matcher.hosts.is_empty(),
                ..Uses::default()
            },
            None => OF_ROUTES,
        };
        let asked = self.condition.as_ref().map(Condition::uses);
        let asked = asked.unwrap_or_default();
        // A route sets `context` for the requests that it matches, so `context` depends on host,
        // method and path.
        let by_route = match asked.context {
            true => OF_ROUTES,
            false => Uses::default(),
        };
        matched.or(asked).or(by_route)
    }
}

/// How a path is read before rules are compared with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMode {
    /// Decoded, and refused if it could be read in two ways.
    #[default]
    Strict,
    /// Byte by byte. Only an explicit setting of the operator does this.
    AsIs,
}

/// What an Envoy route that names a rule may match on: host, method and path. Envoy decodes a path,
/// but does not resolve everything that some servers do, such as `/..;/`. It compares the dot at the
/// end of a host, which many servers ignore.
pub(super) const OF_ROUTES: Uses = Uses {
    claims: false,
    request: false,
    method: true,
    path: true,
    query: false,
    host: true,
    source: false,
    context: false,
    now: false,
};
