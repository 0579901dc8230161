//! What each rule requires of the requests that it matches.

use std::collections::HashMap;

use super::hazards::Hosts;
use super::{HOUR, Resolver, SECOND};
use crate::document::{Field, Location};
use crate::raw;
use crate::raw::values::Texts;
use claimgate_core::keyring::ProviderId;
use claimgate_core::policy::condition::Condition;
use claimgate_core::policy::matcher::{Matcher, cover};
use claimgate_core::policy::requirement::{Access, Requirement};
use claimgate_core::policy::rule::{PathMode, Rule};
use claimgate_core::policy::rules::{DEFAULT, Expressions, RuleId, Rules};
use claimgate_core::policy::shadow::{Escape, Hidden};
use claimgate_core::policy::{CorsPreflight, Provider};
use claimgate_core::token::scopes::is_scope;

impl Resolver<'_> {
    pub(super) fn paths(&mut self, field: &Field<String>) -> PathMode {
        self.choice(
            field,
            &[("strict", PathMode::Strict), ("as_is", PathMode::AsIs)],
        )
    }

    pub(super) fn cors_preflight(&mut self, field: &Field<String>) -> CorsPreflight {
        let choices = [
            ("judge", CorsPreflight::Judge),
            ("allow", CorsPreflight::Allow),
        ];
        self.choice(field, &choices)
    }

    pub(super) fn rules(
        &mut self,
        rules: Field<Vec<Field<raw::rules::Rule>>>,
        paths: PathMode,
        providers: &[Provider],
    ) -> Rules {
        let problems = self.problems.len();
        let (mut read, mut locations) = (Vec::new(), Vec::new());
        let mut names = HashMap::new();
        let rules_location = location_of(&rules).unwrap_or_default();
        for (location, rule) in self.entries(rules) {
            let hosts = self.hosts_of(&rule.matches);
            let Some(rule) = self.rule(&location, rule, paths, providers, hosts) else {
                continue;
            };
            if let Some(other) = names.insert(rule.name.clone(), location.path.clone()) {
                let why = format!("{other} is also called `{}`", rule.name);
                self.report(&location, why);
            }
            read.push(rule);
            locations.push((location, hosts));
        }
        let rules = Rules::new(read, paths);
        self.bound_expressions(&rules_location, rules.expressions());
        // If a rule has a problem, it is unknown which requests it matches, so these checks are
        // skipped.
        if self.problems.len() == problems {
            self.refuse_hidden(&rules, &locations);
            self.warn_of_escapes(&rules, &locations);
        }
        rules
    }

    fn warn_of_escapes(&mut self, rules: &Rules, locations: &[(Location, Hosts)]) {
        let names: Vec<&str> = rules.names().collect();
        let are_bound = |rule: usize| matches!(locations.get(rule), Some((_, Hosts::Bound)));
        for Escape { rule, to } in rules.escapes(are_bound) {
            let (Some((location, _)), Some(to)) = (locations.get(rule), names.get(to)) else {
                continue;
            };
            let matcher = rules
                .get(RuleId(rule))
                .and_then(|rule| rule.matcher.as_ref());
            let what = match matcher.is_some_and(|matcher| matcher.headers.is_empty()) {
                true => "names another host",
                false => "omits its header",
            };
            let why = format!(
                "a client that {what} gets the rule `{to}`, which requires no token; protect the path \
                 independently of hosts and headers"
            );
            self.warn(location, why);
        }
    }

    fn refuse_hidden(&mut self, rules: &Rules, locations: &[(Location, Hosts)]) {
        let names: Vec<&str> = rules.names().collect();
        for Hidden { rule, by } in rules.hidden() {
            let Some((location, _)) = locations.get(rule) else {
                continue;
            };
            let by: Vec<&str> = by.iter().filter_map(|by| names.get(*by).copied()).collect();
            let why = format!(
                "never reached: `{}` before it decides all of its requests; move it up, or write \
                 `only_by_name: true` if Envoy's routes name it",
                by.join("`, `")
            );
            self.report(location, why);
        }
    }

    /// Whether the limit that [`Self::bound_expressions`] reports is exceeded. Then no more
    /// expressions are compiled, because thousands would take minutes.
    pub(super) fn has_too_many_automata(&self) -> bool {
        self.automata_bytes > Expressions::MAX_MEMORY
    }

    /// Reports expressions that could cost a request more than a few milliseconds.
    fn bound_expressions(&mut self, location: &Location, expressions: Expressions) {
        let Expressions {
            max_per_request,
            memory,
        } = expressions;
        if max_per_request > Expressions::MAX_PER_REQUEST {
            let max = Expressions::MAX_PER_REQUEST;
            let why = format!(
                "one path may have to be compared with {max_per_request} regular expressions; at \
                 most {max} are allowed: begin each with the literal path that it matches, such \
                 as `/orders/`, or use `exact` or `prefix`"
            );
            self.report(location, why);
        }
        if memory > Expressions::MAX_MEMORY || self.has_too_many_automata() {
            let why = format!(
                "the automata of all regular expressions take more than {} MiB: avoid counted \
                 repetitions (`{{1,40}}`) and Unicode classes (`\\w`, `\\d`)",
                Expressions::MAX_MEMORY / (1024 * 1024)
            );
            self.report(location, why);
        }
    }

    fn rule(
        &mut self,
        location: &Location,
        rule: raw::rules::Rule,
        paths: PathMode,
        providers: &[Provider],
        hosts: Hosts,
    ) -> Option<Rule> {
        let raw::rules::Rule {
            name,
            matches,
            only_by_name,
            access,
            providers: accepted,
            scopes,
            any_scope,
            claims,
            acr,
            max_age,
            condition,
            enforce,
            audit,
        } = rule;
        let demands = [
            ("scopes", location_of(&scopes)),
            ("any_scope", location_of(&any_scope)),
            ("claims", location_of(&claims)),
            ("acr", location_of(&acr)),
            ("max_age", location_of(&max_age)),
        ];
        let accepted_location = location_of(&accepted);
        let requirement = Requirement {
            providers: self.provider_ids(accepted, providers),
            scopes: self.scopes(scopes),
            any_scope: self.scopes(any_scope),
            claims: self.required_claims(claims),
            acr: self.acr(acr),
            max_age: max_age
                .given()
                .map(|_| self.duration(&max_age, HOUR, SECOND, 366 * 24 * HOUR)),
        };
        let kind = self.choice(&access, &KINDS);
        let compiled = self.condition(&condition, kind);
        let access = match kind {
            Kind::Public | Kind::Deny => {
                let word = kind.word();
                let all = demands
                    .into_iter()
                    .chain([("providers", accepted_location)]);
                self.pointless(all, &format!("`access: {word}` looks at no token"));
                match kind {
                    Kind::Deny => Access::Deny,
                    _ => Access::Public,
                }
            }
            Kind::Optional => {
                let why = "with `access: optional`, a client could pass by omitting the token";
                self.pointless(demands.into_iter(), why);
                Access::Optional(requirement)
            }
            Kind::Required => Access::Required(requirement),
        };
        let matcher = self.rule_matcher(matches, &only_by_name, paths);
        if let (Kind::Public | Kind::Optional, Some(matcher)) = (kind, &matcher) {
            self.refuse_keyless_door(location, matcher, hosts);
        }
        if let Some((location, _)) = condition.given()
            && compiled.as_ref().is_some_and(Condition::always_holds)
        {
            self.warn(
                location,
                "it holds for every request, so it protects nothing",
            );
        }
        let why =
            "the rule refuses no request, and later rules are not applied to those that it matches";
        let rule = Rule {
            name: self.rule_name(location, &name)?,
            matcher,
            access,
            condition: compiled,
            is_enforced: self.enforce(&enforce, why),
            is_audited: self.choice(&audit, &[("always", true)]),
        };
        if let (true, Some(location)) = (rule.is_audited, location_of(&audit)) {
            self.audits.push(location);
        }
        self.warn_of_rule(location, &rule, paths, hosts);
        Some(rule)
    }

    /// Who decides the host of a request that this rule matches.
    fn hosts_of(&mut self, matches: &Field<raw::rules::Match>) -> Hosts {
        let bound = matches.value().map(|matches| &matches.hosts_are_bound);
        let Some((location, true)) = bound.and_then(Field::given) else {
            return Hosts::Chosen;
        };
        if matches
            .value()
            .is_some_and(|matches| matches!(matches.hosts, Field::Absent))
        {
            self.report(location, "there are no `hosts` to bind");
        }
        Hosts::Bound
    }

    fn rule_name(&mut self, location: &Location, name: &Field<String>) -> Option<String> {
        let (location, name) = self.required(location, "name", name)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            self.report(location, "a name has 1 to 64 letters, digits and `-_.:`");
        }
        if name == DEFAULT {
            let why = "`default` is the rule that matches every request; choose another name";
            self.report(location, why);
        }
        if name == "none" {
            self.report(
                location,
                "metrics use `none` for requests without a rule; choose another name",
            );
        }
        Some(name.clone())
    }

    fn rule_matcher(
        &mut self,
        matches: Field<raw::rules::Match>,
        only_by_name: &Field<bool>,
        paths: PathMode,
    ) -> Option<Matcher> {
        match (matches, only_by_name.value()) {
            (Field::Given(location, _), Some(true)) => {
                self.report(&location, "`match` and `only_by_name` exclude each other");
                None
            }
            (_, Some(true)) | (Field::Invalid, _) => None,
            (Field::Given(location, matches), _) => Some(self.matcher(&location, matches, paths)),
            (Field::Absent, _) => Some(Matcher::default()),
        }
    }

    /// Reports a rule that a client could use to pass without a token: the client chooses its
    /// headers, and hosts too unless Envoy binds them.
    fn refuse_keyless_door(&mut self, location: &Location, matcher: &Matcher, bound: Hosts) {
        let Matcher {
            hosts,
            methods: _,
            paths,
            headers,
            mcp,
        } = matcher;
        let any_path = paths.is_empty() || paths.iter().any(cover::is_anywhere);
        let is_bound = !hosts.is_empty() && bound == Hosts::Bound;
        if !any_path || is_bound {
            return;
        }
        if !headers.is_empty() || mcp.is_some() {
            let why = "any client could send this header to pass without a token; add a `path` to \
                       `match`";
            self.report(location, why);
        } else if !hosts.is_empty() {
            let why = "any client could send this host to pass without a token; add a `path` to \
                       `match`, or `hosts_are_bound: true` if the `domains` of Envoy's virtual \
                       hosts let no other host reach these routes";
            self.report(location, why);
        }
    }

    fn pointless<'s>(
        &mut self,
        demands: impl Iterator<Item = (&'s str, Option<Location>)>,
        why: &str,
    ) {
        for (name, location) in demands {
            if let Some(location) = location {
                self.report(&location, format!("{why}, so `{name}` protects nothing"));
            }
        }
    }

    fn condition(&mut self, field: &Field<String>, kind: Kind) -> Option<Condition> {
        let (location, text) = field.given()?;
        if kind == Kind::Deny {
            self.report(
                location,
                "`access: deny` refuses every request, whatever a condition says",
            );
            return None;
        }
        if self.has_too_many_automata() {
            return None;
        }
        let compiled = Condition::compile(text).map_err(|error| error.to_string());
        let condition = self.parsed(location, compiled)?;
        self.automata_bytes += condition.memory();
        if kind == Kind::Public && condition.uses().claims {
            self.report(
                location,
                "`access: public` looks at no token, so there are no `claims`",
            );
        }
        Some(condition)
    }

    pub(super) fn provider_ids(
        &mut self,
        names: Field<Texts>,
        providers: &[Provider],
    ) -> Vec<ProviderId> {
        let mut ids = Vec::new();
        for (location, name) in self.texts(names, "at least one provider, or remove it for all") {
            match providers.iter().position(|provider| provider.name == name) {
                Some(index) => ids.push(ProviderId(index)),
                None => {
                    let known: Vec<_> = providers.iter().map(|known| known.name.as_str()).collect();
                    let known = known.join("`, `");
                    self.report(
                        &location,
                        format!("no provider is called `{name}`; configured: `{known}`"),
                    );
                }
            }
        }
        ids
    }

    pub(super) fn scopes(&mut self, field: Field<Texts>) -> Vec<String> {
        let texts = self.texts(field, "at least one scope");
        self.each(
            texts,
            is_scope,
            "a scope: ASCII without spaces, `\"` and `\\`; list several",
        )
    }

    fn acr(&mut self, field: Field<Texts>) -> Vec<String> {
        let texts = self.texts(field, "at least one value");
        self.each(texts, is_scope, "an `acr` without spaces, `\"` and `\\`")
    }

    fn each(
        &mut self,
        texts: Vec<(Location, String)>,
        fits: fn(&str) -> bool,
        what: &str,
    ) -> Vec<String> {
        for (location, text) in &texts {
            if !fits(text) {
                self.report(location, format!("`{text}` is not {what}"));
            }
        }
        texts.into_iter().map(|(_, text)| text).collect()
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Public,
    Optional,
    #[default]
    Required,
    Deny,
}

const KINDS: [(&str, Kind); 4] = [
    ("public", Kind::Public),
    ("optional", Kind::Optional),
    ("required", Kind::Required),
    ("deny", Kind::Deny),
];

impl Kind {
    fn word(self) -> &'static str {
        let word = KINDS.iter().find(|(_, kind)| *kind == self);
        word.map_or("", |(word, _)| word)
    }
}

fn location_of<T>(field: &Field<T>) -> Option<Location> {
    field.given().map(|(location, _)| location.clone())
}
