//! What is required of which requests.

use std::collections::HashMap;

use super::hazards::Hosts;
use super::{Check, HOUR, SECOND};
use crate::config::document::{Field, Spot};
use crate::config::raw;
use crate::config::raw::values::Texts;
use crate::keyring::ProviderId;
use crate::policy::condition::Condition;
use crate::policy::matcher::{Matcher, cover};
use crate::policy::requirement::{Access, Requirement};
use crate::policy::rules::{DEFAULT, Expressions, Paths, Rule, Rules};
use crate::policy::shadow::{Escape, Hidden};
use crate::policy::{CorsPreflight, Provider};
use crate::token::scopes::is_scope;

impl Check<'_> {
    pub(super) fn paths(&mut self, field: &Field<String>) -> Paths {
        self.choice(field, &[("strict", Paths::Strict), ("as_is", Paths::AsIs)])
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
        paths: Paths,
        providers: &[Provider],
    ) -> Rules {
        let problems = self.problems.len();
        let (mut read, mut spots) = (Vec::new(), Vec::new());
        let mut names = HashMap::new();
        let rules_spot = spot_of(&rules).unwrap_or_default();
        for (spot, rule) in self.entries(rules) {
            let hosts = self.hosts_of(&rule.matches);
            let Some(rule) = self.rule(&spot, rule, paths, providers, hosts) else {
                continue;
            };
            if let Some(other) = names.insert(rule.name.clone(), spot.path.clone()) {
                let why = format!("{other} is called `{}` too", rule.name);
                self.report(&spot, why);
            }
            read.push(rule);
            spots.push((spot, hosts));
        }
        let rules = Rules::new(read, paths);
        self.bound_expressions(&rules_spot, rules.expressions());
        // Of a rule that is not right, it is not known what it is about.
        if self.problems.len() == problems {
            self.refuse_hidden(&rules, &spots);
            self.warn_of_escapes(&rules, &spots);
        }
        rules
    }

    fn warn_of_escapes(&mut self, rules: &Rules, spots: &[(Spot, Hosts)]) {
        let names: Vec<&str> = rules.names().collect();
        let are_bound = |rule: usize| matches!(spots.get(rule), Some((_, Hosts::Bound)));
        for Escape { rule, to } in rules.escapes(are_bound) {
            let (Some((spot, _)), Some(to)) = (spots.get(rule), names.get(to)) else {
                continue;
            };
            let matcher = rules.all().nth(rule).and_then(|rule| rule.matcher.as_ref());
            let what = match matcher.is_some_and(|matcher| matcher.headers.is_empty()) {
                true => "names another host",
                false => "leaves out its header",
            };
            let why = format!(
                "a client that {what} gets the rule `{to}`, which wants no token; protect the path \
                 whatever else a request says"
            );
            self.warn(spot, why);
        }
    }

    fn refuse_hidden(&mut self, rules: &Rules, spots: &[(Spot, Hosts)]) {
        let names: Vec<&str> = rules.names().collect();
        for Hidden { rule, by } in rules.hidden() {
            let Some((spot, _)) = spots.get(rule) else {
                continue;
            };
            let by: Vec<&str> = by.iter().filter_map(|by| names.get(*by).copied()).collect();
            let why = format!(
                "never reached: `{}` before it decides all of its requests; put it first, or write \
                 `only_by_name: true` if Envoy's routes name it",
                by.join("`, `")
            );
            self.report(spot, why);
        }
    }

    /// No request may cost more than a few milliseconds, however many rules there are.
    fn bound_expressions(&mut self, spot: &Spot, expressions: Expressions) {
        let Expressions {
            most_per_request,
            memory,
        } = expressions;
        if most_per_request > Expressions::MAX_PER_REQUEST {
            let most = Expressions::MAX_PER_REQUEST;
            let why = format!(
                "one path may have to be compared with {most_per_request} regular expressions; at \
                 most {most} are allowed: begin each with the literal path that it is about, such \
                 as `/orders/`, or write `exact` or `prefix`"
            );
            self.report(spot, why);
        }
        if memory > Expressions::MAX_MEMORY {
            let mib = |bytes: usize| bytes.div_ceil(1024 * 1024);
            let why = format!(
                "the automata of all regular expressions take {} MiB; at most {} are allowed: \
                 avoid counted repetitions (`{{1,40}}`) and Unicode classes (`\\w`, `\\d`)",
                mib(memory),
                mib(Expressions::MAX_MEMORY)
            );
            self.report(spot, why);
        }
    }

    fn rule(
        &mut self,
        spot: &Spot,
        rule: raw::rules::Rule,
        paths: Paths,
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
        } = rule;
        let demands = [
            ("scopes", spot_of(&scopes)),
            ("any_scope", spot_of(&any_scope)),
            ("claims", spot_of(&claims)),
            ("acr", spot_of(&acr)),
            ("max_age", spot_of(&max_age)),
        ];
        let accepted_spot = spot_of(&accepted);
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
                let all = demands.into_iter().chain([("providers", accepted_spot)]);
                self.pointless(all, &format!("`access: {word}` looks at no token"));
                match kind {
                    Kind::Deny => Access::Deny,
                    _ => Access::Public,
                }
            }
            Kind::Optional => {
                let why = "with `access: optional`, whoever leaves the token out would pass";
                self.pointless(demands.into_iter(), why);
                Access::Optional(requirement)
            }
            Kind::Required => Access::Required(requirement),
        };
        let matcher = self.rule_matcher(matches, &only_by_name, paths);
        if let (Kind::Public | Kind::Optional, Some(matcher)) = (kind, &matcher) {
            self.refuse_keyless_door(spot, matcher, hosts);
        }
        if let Some((spot, _)) = condition.given()
            && compiled.as_ref().is_some_and(Condition::always_holds)
        {
            self.warn(spot, "it holds for every request, so it protects nothing");
        }
        let rule = Rule {
            name: self.rule_name(spot, &name)?,
            matcher,
            access,
            condition: compiled,
        };
        self.warn_of_rule(spot, &rule, paths, hosts);
        Some(rule)
    }

    /// Whether Envoy binds the hosts of a rule.
    fn hosts_of(&mut self, matches: &Field<raw::rules::Match>) -> Hosts {
        let bound = matches.value().map(|matches| &matches.hosts_are_bound);
        let Some((spot, true)) = bound.and_then(Field::given) else {
            return Hosts::Chosen;
        };
        if matches
            .value()
            .is_some_and(|matches| matches!(matches.hosts, Field::Absent))
        {
            self.report(spot, "there are no `hosts` that could be bound");
        }
        Hosts::Bound
    }

    fn rule_name(&mut self, spot: &Spot, name: &Field<String>) -> Option<String> {
        let (spot, name) = self.required(spot, "name", name)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            self.report(spot, "a name has 1 to 64 letters, digits and `-_.:`");
        }
        if name == DEFAULT {
            let why = "`default` is the rule that is about every request; choose another name";
            self.report(spot, why);
        }
        if name == "none" {
            self.report(
                spot,
                "metrics say `none` where there is no rule; choose another name",
            );
        }
        Some(name.clone())
    }

    fn rule_matcher(
        &mut self,
        matches: Field<raw::rules::Match>,
        only_by_name: &Field<bool>,
        paths: Paths,
    ) -> Option<Matcher> {
        match (matches, only_by_name.value()) {
            (Field::Given(spot, _), Some(true)) => {
                self.report(&spot, "`match` and `only_by_name` exclude each other");
                None
            }
            (_, Some(true)) | (Field::Invalid, _) => None,
            (Field::Given(spot, matches), _) => Some(self.matcher(&spot, matches, paths)),
            (Field::Absent, _) => Some(Matcher::default()),
        }
    }

    /// Headers are the client's choice, and so are hosts that Envoy does not bind: who leaves tokens
    /// out could send them along.
    fn refuse_keyless_door(&mut self, spot: &Spot, matcher: &Matcher, bound: Hosts) {
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
            let why = "any client could send this header to do without a token; add a `path` to \
                       `match`";
            self.report(spot, why);
        } else if !hosts.is_empty() {
            let why = "any client could send this host to do without a token; add a `path` to \
                       `match`, or `hosts_are_bound: true` if the `domains` of Envoy's virtual \
                       hosts let no other host reach what is behind it";
            self.report(spot, why);
        }
    }

    fn pointless<'s>(&mut self, demands: impl Iterator<Item = (&'s str, Option<Spot>)>, why: &str) {
        for (name, spot) in demands {
            if let Some(spot) = spot {
                self.report(&spot, format!("{why}, so `{name}` protects nothing"));
            }
        }
    }

    fn condition(&mut self, field: &Field<String>, kind: Kind) -> Option<Condition> {
        let (spot, text) = field.given()?;
        if kind == Kind::Deny {
            self.report(
                spot,
                "`access: deny` refuses every request, whatever a condition says",
            );
            return None;
        }
        let compiled = Condition::compile(text).map_err(|error| error.to_string());
        let condition = self.parsed(spot, compiled)?;
        if kind == Kind::Public && condition.uses().claims {
            self.report(
                spot,
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
        for (spot, name) in self.texts(names, "at least one provider, or leave it out for all") {
            match providers.iter().position(|provider| provider.name == name) {
                Some(index) => ids.push(ProviderId(index)),
                None => {
                    let known: Vec<_> = providers.iter().map(|known| known.name.as_str()).collect();
                    let known = known.join("`, `");
                    self.report(
                        &spot,
                        format!("no provider is called `{name}`; there are `{known}`"),
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
        texts: Vec<(Spot, String)>,
        fits: fn(&str) -> bool,
        what: &str,
    ) -> Vec<String> {
        for (spot, text) in &texts {
            if !fits(text) {
                self.report(spot, format!("`{text}` is not {what}"));
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

fn spot_of<T>(field: &Field<T>) -> Option<Spot> {
    field.given().map(|(spot, _)| spot.clone())
}
