//! Warnings for settings that work as written but are probably not what the operator wants.

use super::Resolver;
use crate::document::{Field, Location};
use claimgate_core::policy::condition::Condition;
use claimgate_core::policy::matcher::{Matcher, PathPattern, PathRegex, cover};
use claimgate_core::policy::requirement::Access;
use claimgate_core::policy::rule::{PathMode, Rule};
use claimgate_core::policy::rules::Rules;

/// Who decides which host a request names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// The client.
    Chosen,
    /// Envoy, because its `domains` let no other host pass.
    Bound,
}

/// Headers that say which site made a browser send a request (Fetch §3.2, Fetch Metadata §2).
const SITE_HEADERS: [&str; 2] = ["origin", "sec-fetch-site"];

impl Resolver<'_> {
    pub(super) fn warn_of_rule(
        &mut self,
        location: &Location,
        rule: &Rule,
        paths: PathMode,
        hosts: Hosts,
    ) {
        let Rule {
            name: _,
            matcher,
            access,
            condition,
            is_enforced: _,
            is_audited: _,
        } = rule;
        let Some(matcher) = matcher else {
            return;
        };
        match access {
            Access::Public | Access::Optional(_) => {
                let guard = condition
                    .as_ref()
                    .filter(|guard| !guard.holds_for_strangers());
                let is_bound = !matcher.hosts.is_empty() && hosts == Hosts::Bound;
                if guard.is_none() && !is_bound {
                    self.warn_of_open_rule(location, matcher);
                }
                self.warn_of_open_paths(location, matcher, paths);
            }
            Access::Deny => self.warn_of_weak_denial(location, matcher, hosts),
            Access::Required(_) => {}
        }
    }

    /// Whether denials take effect. Warns with `why` if not.
    pub(super) fn enforce(&mut self, field: &Field<bool>, why: &str) -> bool {
        let Some((location, false)) = field.given() else {
            return true;
        };
        self.warn(location, why);
        false
    }

    fn warn_of_open_rule(&mut self, location: &Location, matcher: &Matcher) {
        if matcher.paths.is_empty() {
            let why = "without a `path`, every path is open to requests without a token";
            self.warn(location, why);
        } else if matcher.paths.iter().any(cover::is_nearly_every_path) {
            let why = "its `path` matches every path, so all are open to requests without a token";
            self.warn(location, why);
        }
    }

    fn warn_of_open_paths(&mut self, location: &Location, matcher: &Matcher, paths: PathMode) {
        for path in &matcher.paths {
            if let PathPattern::Regex(regex) = path
                && !cover::is_nearly_every_path(path)
                && let Some(why) = wider_than_it_looks(regex)
            {
                self.warn(location, why);
            }
            let is_open = match path {
                PathPattern::Exact(_) => false,
                PathPattern::Prefix(_) => true,
                PathPattern::Regex(regex) => regex.has_many_segments(),
            };
            if paths == PathMode::AsIs && is_open {
                let why = format!(
                    "with `paths: as_is`, `{path}` also matches `..` below it: use exact paths \
                     where no token is needed"
                );
                self.warn(location, why);
            }
        }
    }

    fn warn_of_weak_denial(&mut self, location: &Location, matcher: &Matcher, hosts: Hosts) {
        let by_header = !matcher.headers.is_empty();
        let by_host = !matcher.hosts.is_empty() && hosts == Hosts::Chosen;
        let what = match (by_header, by_host) {
            (true, _) => "omit the header",
            (false, true) => "name another host",
            (false, false) => return,
        };
        if matcher.paths.is_empty() {
            let why = format!(
                "a client can {what} to avoid the denial, unless Envoy prevents that; deny by `path`"
            );
            self.warn(location, why);
        }
    }

    /// Warns about tokens in cookies, because a browser sends cookies even if another site makes
    /// the request.
    pub(super) fn warn_of_cookies(&mut self, rules: &Rules) {
        if rules.all().any(looks_at_site) {
            return;
        }
        for location in std::mem::take(&mut self.cookies) {
            let why = "a browser sends a cookie even if another site makes the request; have a rule check \
                       `Origin`: `condition: '!(\"origin\" in request.headers) || \
                       request.headers[\"origin\"] == \"https://shop.example.com\"'`";
            self.warn(&location, why);
        }
    }
}

fn looks_at_site(rule: &Rule) -> bool {
    let matcher = rule.matcher.as_ref();
    let mut headers = matcher.into_iter().flat_map(|matcher| &matcher.headers);
    let looks_at = |condition: &Condition| {
        let mut names = SITE_HEADERS.iter();
        names.any(|name| condition.looks_at_header(name))
    };
    headers.any(|header| SITE_HEADERS.contains(&header.name()))
        || rule.condition.as_ref().is_some_and(looks_at)
}

fn wider_than_it_looks(regex: &PathRegex) -> Option<String> {
    let text = regex.text();
    if regex.begins_with_anything() {
        return Some(format!(
            "`{text}` opens every path with this ending, whatever comes before it: begin with a directory"
        ));
    }
    let beginning = regex.runs_on()?;
    Some(format!(
        "`{text}` also matches `{beginning}-x/x`; write `{beginning}(/.*)?` for the paths below \
         `{beginning}`"
    ))
}
