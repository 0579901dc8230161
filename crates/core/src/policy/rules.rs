//! The rules, in order. The first rule that matches a request decides what is required of it.

use std::borrow::Cow;
use std::collections::HashMap;

use super::condition::{Condition, Uses};
use super::index::Index;
use super::matcher::{Matcher, McpCall, Mismatch, PathRegex, SeenHeaders, Target, Unclear};
use super::requirement::{Access, Requirement};
use super::rule::{OF_ROUTES, PathMode, Rule};
use super::shadow::{self, Escape, Hidden};
use crate::escaped::Escaped;
use crate::request::path::{self, Ambiguity};
use crate::request::{Request, host, method, overrides};
use crate::trace::Selection;

/// Identifies a rule by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(pub usize);

/// All rules, followed by the default rule, which matches every request.
#[derive(Clone, Debug)]
pub struct Rules {
    all: Vec<Rule>,
    by_name: HashMap<String, RuleId>,
    index: Index,
    paths: PathMode,
    /// What matchers and conditions use, and routes that name rules.
    uses: Uses,
    /// Whether a matcher or a condition compares hosts.
    compare_hosts: bool,
    headers: SeenHeaders,
    expressions: Expressions,
    /// Whether a rule matches on MCP calls.
    match_on_calls: bool,
}

/// The cost of all rules' regular expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expressions {
    /// The maximum number of expressions that one request is compared with.
    pub max_per_request: usize,
    /// The memory of their automata in bytes, including the patterns in conditions.
    pub memory: usize,
}

impl Expressions {
    /// The maximum number of path bytes that all expressions together read for one request: about 2
    /// ms of work.
    const MAX_WORK: usize = 1024 * 1024;
    /// The maximum length in bytes of a path that expressions read, even if they are few. No client
    /// or server in wide use allows longer paths by default.
    const MAX_PATH: usize = 8 * 1024;
    /// The maximum number of expressions that one request may be compared with. At this number,
    /// they still read paths of 1 KiB.
    pub const MAX_PER_REQUEST: usize = Self::MAX_WORK / 1024;
    /// The maximum memory of all expressions, in bytes.
    pub const MAX_MEMORY: usize = 64 * 1024 * 1024;

    /// The maximum length in bytes of a path that the expressions read. `None` if no rule has one.
    pub fn max_path_bytes(&self) -> Option<usize> {
        let each = Self::MAX_WORK.checked_div(self.max_per_request)?;
        Some(each.min(Self::MAX_PATH))
    }
}

/// The name of the default rule, which matches every request and requires a valid token.
pub const DEFAULT: &str = "default";

/// The context extension in which an Envoy route names a rule.
pub const RULE_EXTENSION: &str = "claimgate.rule";

/// Why no rule can be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRule {
    /// The path could be read in two ways, and a rule depends on it.
    #[error("the path {0}")]
    AmbiguousPath(#[from] Ambiguity),
    /// The path is longer than the rules' regular expressions read.
    #[error("the path has {bytes} bytes; the rules' regular expressions read at most {max_bytes}")]
    LongPath {
        /// The path's length in bytes.
        bytes: usize,
        /// The maximum length in bytes.
        max_bytes: usize,
    },
    /// The method could be read in two ways, and a rule depends on it.
    #[error("the method `{0}` is not made of upper-case letters, digits and `-`")]
    AmbiguousMethod(Escaped),
    /// The host could be read in two ways, and a rule depends on it.
    #[error(
        "the request's host `{0}` is not a valid host name in lower case, without a trailing dot or an empty port"
    )]
    AmbiguousHost(Escaped),
    /// The request has no host, and a rule depends on it.
    #[error("the request has no host, and some rule uses hosts")]
    NoHost,
    /// A header that a rule matches on has conflicting values, or its name is spelled differently.
    #[error(
        "the header `{0}` is used by a rule but has conflicting values or an ambiguous spelling (`x_y` for `x-y`)"
    )]
    AmbiguousHeader(String),
    /// A rule matches on MCP calls, and the request does not say which call it is.
    #[error("a rule matches on MCP calls, and this request does not say which call it is: {0}")]
    UnclearMcpCall(Unclear),
    /// The Envoy route names a rule that does not exist.
    #[error("the Envoy route names the rule `{0}`, which is not configured")]
    Unknown(Escaped),
}

impl Rules {
    /// These rules and the default one. If two share a name, only the first is found by name.
    pub fn new(mut rules: Vec<Rule>, paths: PathMode) -> Self {
        rules.push(Rule {
            name: DEFAULT.to_owned(),
            matcher: Some(Matcher::default()),
            access: Access::Required(Requirement::default()),
            condition: None,
            is_enforced: true,
            is_audited: false,
        });
        let mut by_name = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            by_name.entry(rule.name.clone()).or_insert(RuleId(index));
        }
        let matchers = || rules.iter().filter_map(|rule| rule.matcher.as_ref());
        let index = Index::of(rules.iter().map(|rule| rule.matcher.as_ref()));
        let of_paths = matchers().flat_map(Matcher::expressions);
        let of_conditions = rules.iter().filter_map(|rule| rule.condition.as_ref());
        let expressions = Expressions {
            max_per_request: index.max_expressions(),
            memory: of_paths.map(PathRegex::memory).sum::<usize>()
                + of_conditions.map(Condition::memory).sum::<usize>(),
        };
        Self {
            by_name,
            index,
            expressions,
            match_on_calls: matchers().any(|matcher| matcher.mcp.is_some()),
            paths,
            headers: SeenHeaders::of(matchers().flat_map(|matcher| &matcher.headers)),
            uses: rules.iter().map(Rule::uses).fold(Uses::default(), Uses::or),
            compare_hosts: rules.iter().any(Rule::compares_hosts),
            all: rules,
        }
    }

    /// The request in the form that rules compare.
    ///
    /// # Errors
    ///
    /// Fails if some rule uses a part of the request that could be read in two ways.
    pub fn target<'r>(&'r self, request: &'r Request<'r>) -> Result<Target<'r>, NoRule> {
        let uses = self.uses_for(request);
        let path = self.path(request, uses)?;
        if let Some(max_bytes) = self.expressions.max_path_bytes()
            && path.len() > max_bytes
        {
            let bytes = path.len();
            return Err(NoRule::LongPath { bytes, max_bytes });
        }
        if uses.method && !method::is_canonical(request.method) {
            return Err(NoRule::AmbiguousMethod(Escaped::from(request.method)));
        }
        let host = self.host(request, uses)?;
        let ambiguous = |name: &str| NoRule::AmbiguousHeader(name.to_owned());
        let headers = self.headers.observe(request).map_err(ambiguous)?;
        Ok(Target {
            request,
            host,
            path,
            headers,
            mcp: match self.match_on_calls {
                true => McpCall::of(request),
                false => McpCall::None,
            },
        })
    }

    /// How paths are read.
    pub fn paths(&self) -> PathMode {
        self.paths
    }

    /// The cost of the rules' regular expressions.
    pub fn expressions(&self) -> Expressions {
        self.expressions
    }

    /// The parts of this request that matter: those that rules use, and those that its route may
    /// match on if it names a rule.
    fn uses_for(&self, request: &Request<'_>) -> Uses {
        match request.context(RULE_EXTENSION) {
            Some(_) => self.uses.or(OF_ROUTES),
            None => self.uses,
        }
    }

    fn path<'r>(&self, request: &Request<'r>, uses: Uses) -> Result<Cow<'r, str>, Ambiguity> {
        let is_changed = |sent: &[u8]| sent != request.path.as_bytes();
        if uses.query && request.path_bytes.is_some_and(is_changed) {
            return Err(Ambiguity::NotUtf8);
        }
        match (self.paths, uses.path) {
            (PathMode::Strict, true) => path::of(request),
            (PathMode::AsIs, true) => path::as_sent(request).map(Cow::Borrowed),
            (_, false) => Ok(Cow::Borrowed(request.split_path().0)),
        }
    }

    fn host<'r>(&self, request: &Request<'r>, uses: Uses) -> Result<Cow<'r, str>, NoRule> {
        match host::canonical(request.host) {
            Some(host) if !uses.host || host::is_as_compared(request.host) => Ok(host),
            None if !uses.host => Ok(Cow::Borrowed("")),
            None if request.host.is_empty() => match self.may_lack_host(request) {
                true => Ok(Cow::Borrowed("")),
                false => Err(NoRule::NoHost),
            },
            _ => Err(NoRule::AmbiguousHost(Escaped::from(request.host))),
        }
    }

    /// Whether no rule that could decide compares hosts. If the request's route names a rule, only
    /// that rule could. A caller that sends no host has not chosen the route by it either.
    fn may_lack_host(&self, request: &Request<'_>) -> bool {
        let Some(name) = request.context(RULE_EXTENSION) else {
            return !self.compare_hosts;
        };
        let named = self.by_name.get(name).and_then(|id| self.all.get(id.0));
        let condition = named.and_then(|rule| rule.condition.as_ref());
        !condition.is_some_and(|condition| condition.uses().host)
    }

    /// The headers that must not reach the upstream, because with them it could handle a request
    /// other than the one that rules were compared with.
    pub fn misleading_headers(&self, request: &Request<'_>) -> &'static [&'static str] {
        let uses = self.uses_for(request);
        match uses.method || uses.path {
            true => &overrides::NAMES,
            false => &[],
        }
    }

    /// The rule that decides what is required of a request.
    ///
    /// # Errors
    ///
    /// Fails if the Envoy route names a rule that does not exist, or if rules on MCP calls cannot
    /// tell which call this is.
    pub fn select(&self, target: &Target<'_>) -> Result<(RuleId, Selection), NoRule> {
        if let Some(name) = target.request.context(RULE_EXTENSION) {
            let unknown = || NoRule::Unknown(Escaped::from(name));
            let id = self.by_name.get(name).ok_or_else(unknown)?;
            return Ok((*id, Selection::Named));
        }
        let is_about = |index: usize| {
            let rule = self.all.get(index);
            rule.is_some_and(|rule| rule.check(target).is_ok())
        };
        let index = self.index.first(target, is_about);
        // A rule on calls also matches an unclear one, so that no other rule lets it pass.
        let found = index.and_then(|index| self.all.get(index)?.matcher.as_ref());
        if let (Some(Matcher { mcp: Some(_), .. }), McpCall::Unclear(why)) = (found, &target.mcp) {
            return Err(NoRule::UnclearMcpCall(*why));
        }
        // The last rule matches every request.
        let id = RuleId(index.unwrap_or(self.all.len().saturating_sub(1)));
        Ok((id, Selection::Matched))
    }

    /// Why each rule before `found` does not match the request.
    pub fn passed_over<'s>(
        &'s self,
        target: &Target<'_>,
        found: RuleId,
    ) -> Vec<(&'s str, Mismatch<'s>)> {
        self.all
            .iter()
            .take(found.0)
            .filter_map(|rule| Some((rule.name.as_str(), rule.check(target).err()?)))
            .collect()
    }

    /// The rules after `found` that match the request too, and were perhaps meant to decide. A rule that
    /// matches everything that `found` matches was not: it is more general, so it belongs after it.
    pub fn also_matching<'s>(
        &'s self,
        target: &Target<'_>,
        found: RuleId,
    ) -> impl Iterator<Item = &'s str> {
        let own = self.get(found).and_then(|rule| rule.matcher.as_ref());
        let is_general = move |rule: &Rule| {
            let both = rule.matcher.as_ref().zip(own);
            both.is_some_and(|(later, own)| shadow::contains(later, own, self.paths))
        };
        let written = self.all.iter().take(self.configured());
        let later = written.skip(found.0.saturating_add(1));
        later
            .filter(move |rule| rule.check(target).is_ok() && !is_general(rule))
            .map(|rule| rule.name.as_str())
    }

    /// The rules that no request reaches. Never includes the default rule, because an operator may
    /// well write rules that match all requests.
    pub fn hidden(&self) -> Vec<Hidden> {
        let written = self.all.len().saturating_sub(1);
        shadow::hidden(self.all.get(..written).unwrap_or_default(), self.paths)
    }

    /// The rules on paths that a client can evade: with another host, unless the rule's hosts are
    /// bound (`are_bound`), or without a header.
    pub fn escapes(&self, are_bound: impl Fn(usize) -> bool) -> Vec<Escape> {
        let written = self.all.len().saturating_sub(1);
        shadow::escapes(
            self.all.get(..written).unwrap_or_default(),
            self.paths,
            are_bound,
        )
    }

    /// The rule with this id. `None` for an id from another configuration.
    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        self.all.get(id.0)
    }

    /// All rules, the default one last.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// The number of rules, without the default one.
    pub fn configured(&self) -> usize {
        self.all.len().saturating_sub(1)
    }

    /// The names of all rules, the default one last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|rule| rule.name.as_str())
    }
}
