//! Settings of rules and providers as words, so that two of them can be compared setting by setting.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::values::in_words;
use crate::escaped::{Escaped, listed};
use crate::keyring::ProviderId;
use crate::policy::Provider;
use crate::policy::condition::Condition;
use crate::policy::matcher::{HostPattern, McpPattern, PathPattern};
use crate::policy::requirement::{Access, Requirement};
use crate::policy::rule::Rule;
use crate::token::{Audiences, RequiredClaim, Tenants, Terms};

/// One setting, by the name that it has in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: Setting,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// One value. `None` if it is not set.
    One(Option<String>),
    /// A list whose order does not count.
    Many(Vec<String>),
}

fn one(name: &'static str, value: impl fmt::Display) -> Field {
    let value = Setting::One(Some(value.to_string()));
    Field { name, value }
}

fn maybe(name: &'static str, value: Option<impl fmt::Display>) -> Field {
    let value = Setting::One(value.map(|value| value.to_string()));
    Field { name, value }
}

fn many(name: &'static str, values: impl IntoIterator<Item = impl fmt::Display>) -> Field {
    let mut values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.sort();
    values.dedup();
    let value = Setting::Many(values);
    Field { name, value }
}

/// The settings that differ, in words: `scopes`: `write` removed.
pub(super) fn changes(old: &[Field], new: &[Field]) -> Vec<String> {
    let pairs = old.iter().zip(new).filter(|(old, new)| old != new);
    pairs.map(|(old, new)| change(old, new)).collect()
}

fn change(old: &Field, new: &Field) -> String {
    let name = old.name;
    match (&old.value, &new.value) {
        (Setting::Many(old), Setting::Many(new)) => {
            let only = |these: &[String], others: &[String]| -> Vec<Escaped> {
                let only = these.iter().filter(|text| !others.contains(text));
                only.map(|text| Escaped::from(text.as_str())).collect()
            };
            let (removed, added) = (only(old, new), only(new, old));
            let side = |texts: &[Escaped], what: &str| match texts.is_empty() {
                true => None,
                false => Some(format!("{} {what}", listed(texts, ", "))),
            };
            let sides = [side(&removed, "removed"), side(&added, "added")];
            let sides: Vec<String> = sides.into_iter().flatten().collect();
            let none = match (old.is_empty(), new.is_empty()) {
                (true, false) => " (before: none)",
                (false, true) => " (now: none)",
                _ => "",
            };
            format!("`{name}`: {}{none}", sides.join(", "))
        }
        (old, new) => {
            let shown = |value: &Setting| match value {
                Setting::One(Some(text)) => format!("`{}`", Escaped::from(text.trim())),
                Setting::Many(texts) if !texts.is_empty() => listed(texts, ", "),
                Setting::One(None) | Setting::Many(_) => "not set".to_owned(),
            };
            format!("`{name}`: {} → {}", shown(old), shown(new))
        }
    }
}

/// The settings that have a value, for a rule or provider that only one side has.
pub(super) fn summary(fields: &[Field]) -> Vec<String> {
    let shown = fields.iter().filter_map(|field| {
        let name = field.name;
        match &field.value {
            Setting::One(Some(text)) => Some(format!("`{name}`: `{}`", Escaped::from(text.trim()))),
            Setting::Many(texts) if !texts.is_empty() => {
                let texts: Vec<Escaped> = texts.iter().map(|text| text.as_str().into()).collect();
                Some(format!("`{name}`: {}", listed(&texts, ", ")))
            }
            Setting::One(None) | Setting::Many(_) => None,
        }
    });
    shown.collect()
}

/// What selects a rule: the fields of its `match`.
pub(super) fn matcher(rule: &Rule) -> Vec<Field> {
    let own = rule.matcher.clone().unwrap_or_default();
    let McpPattern { methods, names } = own.mcp.unwrap_or_default();
    let host = |host: &HostPattern| host.to_string();
    let path = |path: &PathPattern| match path {
        PathPattern::Exact(path) => format!("exact {path}"),
        PathPattern::Prefix(path) if path.is_empty() => "prefix /".to_owned(),
        PathPattern::Prefix(path) => format!("prefix {path}"),
        PathPattern::Regex(regex) => format!("regex {}", regex.text()),
    };
    let headers = own.headers.iter().map(|header| {
        let mut values = header.values().to_vec();
        values.sort();
        match values.is_empty() {
            true => format!("{}: any value", header.name()),
            false => format!("{}: {}", header.name(), values.join(" or ")),
        }
    });
    vec![
        maybe("only_by_name", rule.matcher.is_none().then_some("true")),
        many("match.hosts", own.hosts.iter().map(host)),
        many("match.methods", &own.methods),
        many("match.path", own.paths.iter().map(path)),
        many("match.headers", headers),
        many("match.mcp.methods", methods),
        many("match.mcp.names", names),
    ]
}

/// What else a rule says, which changes no decision.
pub(super) fn notes(rule: &Rule) -> Vec<Field> {
    vec![maybe("audit", rule.is_audited.then_some("always"))]
}

/// What a rule requires. `name_of` names a provider alike for both configurations.
pub(super) fn requirement(rule: &Rule, name_of: impl Fn(ProviderId) -> String) -> Vec<Field> {
    let nothing = Requirement::default();
    let (access, own) = match &rule.access {
        Access::Deny => ("deny", &nothing),
        Access::Public => ("public", &nothing),
        Access::Optional(own) => ("optional", own),
        Access::Required(own) => ("required", own),
    };
    let Requirement {
        providers,
        scopes,
        any_scope,
        claims,
        acr,
        max_age,
    } = own;
    vec![
        one("access", access),
        many("providers", providers.iter().map(|id| name_of(*id))),
        many("scopes", scopes),
        many("any_scope", any_scope),
        many("claims", claims.iter().map(claim)),
        many("acr", acr),
        maybe("max_age", max_age.map(in_words)),
        maybe("condition", rule.condition.as_ref().map(Condition::text)),
        one("enforce", rule.is_enforced),
    ]
}

fn claim(claim: &RequiredClaim) -> String {
    let mut any_of = claim.any_of.clone();
    any_of.sort();
    format!("{} is {}", claim.path, any_of.join(" or "))
}

/// What a provider's tokens must satisfy, and where they may be.
pub(super) fn terms(provider: &Provider) -> Vec<Field> {
    let Terms {
        issuer,
        issuer_aliases,
        tenants,
        audiences,
        audience_claim,
        max_token_bytes,
        algorithms,
        token_types,
        also_accept,
        clock_skew,
        max_lifetime,
        required_claims,
        scope_claims,
    } = &provider.terms;
    let any = vec!["any".to_owned()];
    let tenants = match tenants {
        Tenants::None => &Vec::new(),
        Tenants::AnyOf(tenants) => tenants,
        Tenants::Any => &any,
    };
    let audiences = match audiences {
        Audiences::AnyOf(audiences) => audiences,
        Audiences::Any => &any,
    };
    let mut types: Vec<String> = token_types
        .iter()
        .map(|typ| typ.to_ascii_lowercase())
        .collect();
    types.sort();
    let scope_claims: Vec<String> = scope_claims.iter().map(ToString::to_string).collect();
    vec![
        one("issuer", issuer),
        many("issuer_aliases", issuer_aliases),
        many("tenants", tenants),
        many("audiences", audiences),
        one("audience_claim", audience_claim),
        many("algorithms", algorithms.iter()),
        many("token_types", types),
        many("also_accept", also_accept.iter().map(|kind| kind.name())),
        one("clock_skew", in_words(*clock_skew)),
        maybe("max_lifetime", max_lifetime.map(in_words)),
        one("max_token_bytes", max_token_bytes),
        many("required_claims", required_claims.iter().map(claim)),
        one("scope_claims", scope_claims.join(", ")),
        many("token_from", provider.token_from.iter()),
        one("enforce", provider.is_enforced),
    ]
}

/// The settings of a provider that say where its keys come from, and when they are fetched.
const OF_KEYS: [&str; 5] = ["discovery_url", "jwks", "fetch", "refresh", "required"];

/// The changes of where a provider's keys come from, and of how they are fetched. No example shows
/// these. The provider is given as an operator reads it: with defaults, and without secrets.
pub(super) fn key_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut words = Vec::new();
    for name in OF_KEYS {
        let side = |all: &Value| all.get(name).cloned().unwrap_or_default();
        compare_values(name, &side(old), &side(new), &mut words);
    }
    words
}

/// The settings besides providers and rules that differ, each with its top-level name.
pub(super) fn other_settings(before: &Value, after: &Value) -> Vec<(String, Vec<String>)> {
    let mut names: Vec<String> = Vec::new();
    for side in [before, after] {
        for name in side.as_object().into_iter().flat_map(|all| all.keys()) {
            if !["providers", "rules"].contains(&name.as_str()) && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let mut changed = Vec::new();
    for name in names {
        let mut words = Vec::new();
        let side = |all: &Value| all.get(&name).cloned().unwrap_or_default();
        compare_values(&name, &side(before), &side(after), &mut words);
        if !words.is_empty() {
            changed.push((name, words));
        }
    }
    changed
}

/// The longest JSON text that is shown, in characters.
const MAX_SHOWN: usize = 120;

fn compare_values(path: &str, old: &Value, new: &Value, words: &mut Vec<String>) {
    if old == new {
        return;
    }
    let nothing = Map::new();
    if let (Some(old), Some(new)) = (members(old, &nothing), members(new, &nothing)) {
        let added = new.keys().filter(|name| !old.contains_key(*name));
        for name in old.keys().chain(added) {
            let side = |all: &Map<String, Value>| all.get(name).cloned().unwrap_or_default();
            compare_values(&format!("{path}.{name}"), &side(old), &side(new), words);
        }
        return;
    }
    let shown = |value: &Value| match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => format!("`{}`", Escaped::from(text.as_str())),
        other => {
            let text: String = other.to_string().chars().take(MAX_SHOWN).collect();
            format!("`{text}`")
        }
    };
    words.push(format!("`{path}`: {} → {}", shown(old), shown(new)));
}

/// The members of an object; what is absent has none.
fn members<'v>(
    value: &'v Value,
    nothing: &'v Map<String, Value>,
) -> Option<&'v Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        Value::Null => Some(nothing),
        _ => None,
    }
}
