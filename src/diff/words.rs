//! Settings of rules and providers as words, so that two of them can be compared setting by setting.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

mod excerpt;

use crate::config::values::in_words;
use crate::escaped::{Escaped, listed};
use crate::keyring::ProviderId;
use crate::policy::Provider;
use crate::policy::condition::Condition;
use crate::policy::matcher::{HeaderPattern, McpPattern, PathPattern};
use crate::policy::requirement::{Access, Requirement};
use crate::policy::rule::Rule;
use crate::token::claims::ClaimPath;
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
    One(Option<Item>),
    /// A list whose order does not count.
    Many(Vec<Item>),
}

/// A value as it is compared and as it is shown. Two values are the same only if their keys are: words
/// such as `or` can stand in a value, too.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The value with its structure: strings are quoted in it.
    key: String,
    text: String,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Item {}

impl Item {
    /// A value that is shown as it stands in the file.
    fn plain(value: impl fmt::Display) -> Self {
        let text = value.to_string();
        let key = format!("{text:?}");
        Self { key, text }
    }

    /// A value that is shown as `text`, which leaves out some of its structure.
    fn shown_as(value: &impl fmt::Debug, text: String) -> Self {
        let key = format!("{value:?}");
        Self { key, text }
    }

    fn escaped(&self) -> Escaped {
        Escaped::from(self.text.trim())
    }
}

fn one(name: &'static str, value: impl fmt::Display) -> Field {
    maybe(name, Some(value))
}

fn maybe(name: &'static str, value: Option<impl fmt::Display>) -> Field {
    let value = Setting::One(value.map(Item::plain));
    Field { name, value }
}

fn duration(name: &'static str, value: Option<Duration>) -> Field {
    let item = |value: Duration| Item::shown_as(&value, in_words(value));
    let value = Setting::One(value.map(item));
    Field { name, value }
}

fn many(name: &'static str, values: impl IntoIterator<Item = impl fmt::Display>) -> Field {
    items(name, values.into_iter().map(Item::plain))
}

fn items(name: &'static str, values: impl IntoIterator<Item = Item>) -> Field {
    let mut values: Vec<Item> = values.into_iter().collect();
    values.sort_by(|one, other| one.key.cmp(&other.key));
    values.dedup();
    let value = Setting::Many(values);
    Field { name, value }
}

/// One of several values in a text: quoted if it could be read as more than one.
fn word(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:/@+*#=~%&?!".contains(c);
    match !value.is_empty() && value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("{value:?}"),
    }
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
            let only = |these: &[Item], others: &[Item]| -> Vec<Escaped> {
                let others_only = || {
                    let only = others.iter().filter(|item| !these.contains(item));
                    only.map(|item| item.text.trim())
                };
                let only = these.iter().filter(|item| !others.contains(item));
                only.map(|item| excerpt::beside_nearest(item.text.trim(), others_only()))
                    .collect()
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
            let text = |value: &Setting| match value {
                Setting::One(Some(item)) => item.text.trim().to_owned(),
                Setting::One(None) | Setting::Many(_) => String::new(),
            };
            let shown = |value: &Setting, other: &Setting| match value {
                Setting::One(Some(_)) => {
                    format!("`{}`", excerpt::beside(&text(value), &text(other)))
                }
                Setting::Many(items) if !items.is_empty() => list(items),
                Setting::One(None) | Setting::Many(_) => "not set".to_owned(),
            };
            format!("`{name}`: {} → {}", shown(old, new), shown(new, old))
        }
    }
}

/// The settings that have a value, for a rule or provider that only one side has.
pub(super) fn summary(fields: &[Field]) -> Vec<String> {
    let shown = fields.iter().filter_map(|field| {
        let name = field.name;
        match &field.value {
            Setting::One(Some(item)) => Some(format!("`{name}`: `{}`", item.escaped())),
            Setting::Many(items) if !items.is_empty() => Some(format!("`{name}`: {}", list(items))),
            Setting::One(None) | Setting::Many(_) => None,
        }
    });
    shown.collect()
}

fn list(items: &[Item]) -> String {
    let texts: Vec<Escaped> = items.iter().map(Item::escaped).collect();
    listed(&texts, ", ")
}

/// What selects a rule: the fields of its `match`.
pub(super) fn matcher(rule: &Rule) -> Vec<Field> {
    let own = rule.matcher.clone().unwrap_or_default();
    let McpPattern { methods, names } = own.mcp.unwrap_or_default();
    let path = |path: &PathPattern| {
        let (kind, text) = match path {
            PathPattern::Exact(path) => ("exact", path.as_str()),
            PathPattern::Prefix(path) if path.is_empty() => ("prefix", "/"),
            PathPattern::Prefix(path) => ("prefix", path.as_str()),
            PathPattern::Regex(regex) => ("regex", regex.text()),
        };
        Item::shown_as(&(kind, text), format!("{kind} {text}"))
    };
    let header = |header: &HeaderPattern| {
        let mut values: Vec<&str> = header.values().iter().map(String::as_str).collect();
        values.sort_unstable();
        let words = match values.is_empty() {
            true => "any value".to_owned(),
            false => any_of(&values),
        };
        let text = format!("{}: {words}", header.name());
        Item::shown_as(&(header.name(), values), text)
    };
    vec![
        maybe("only_by_name", rule.matcher.is_none().then_some("true")),
        many("match.hosts", &own.hosts),
        many("match.methods", &own.methods),
        items("match.path", own.paths.iter().map(path)),
        items("match.headers", own.headers.iter().map(header)),
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
        items("claims", claims.iter().map(claim)),
        many("acr", acr),
        duration("max_age", *max_age),
        maybe("condition", rule.condition.as_ref().map(Condition::text)),
        one("enforce", rule.is_enforced),
    ]
}

fn claim(claim: &RequiredClaim) -> Item {
    let mut values: Vec<&str> = claim.any_of.iter().map(String::as_str).collect();
    values.sort_unstable();
    let text = format!("{} is {}", path_word(&claim.path), any_of(&values));
    Item::shown_as(&(&claim.path, values), text)
}

fn path_word(path: &ClaimPath) -> String {
    word(&path.to_string())
}

fn any_of(values: &[&str]) -> String {
    let words: Vec<String> = values.iter().map(|value| word(value)).collect();
    words.join(" or ")
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
    let any = || vec![Item::plain("any")];
    let these = |values: &[String]| -> Vec<Item> { values.iter().map(Item::plain).collect() };
    let tenants = match tenants {
        Tenants::None => Vec::new(),
        Tenants::AnyOf(tenants) => these(tenants),
        Tenants::Any => any(),
    };
    let audiences = match audiences {
        Audiences::AnyOf(audiences) => these(audiences),
        Audiences::Any => any(),
    };
    let mut types: Vec<String> = token_types
        .iter()
        .map(|typ| typ.to_ascii_lowercase())
        .collect();
    types.sort();
    let scope_words: Vec<String> = scope_claims.iter().map(path_word).collect();
    let scope_claims = Item::shown_as(scope_claims, scope_words.join(", "));
    vec![
        one("issuer", issuer),
        many("issuer_aliases", issuer_aliases),
        items("tenants", tenants),
        items("audiences", audiences),
        one("audience_claim", audience_claim),
        many("algorithms", algorithms.iter()),
        many("token_types", types),
        many("also_accept", also_accept.iter().map(|kind| kind.name())),
        duration("clock_skew", Some(*clock_skew)),
        duration("max_lifetime", *max_lifetime),
        one("max_token_bytes", max_token_bytes),
        items("required_claims", required_claims.iter().map(claim)),
        Field {
            name: "scope_claims",
            value: Setting::One(Some(scope_claims)),
        },
        many("token_from", &provider.token_from),
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

/// The settings that say who signs a provider's tokens.
const OF_TRUST: [&str; 2] = ["discovery_url", "jwks"];

/// Whether a provider's keys come from elsewhere.
pub(super) fn has_other_keys(old: &Value, new: &Value) -> bool {
    OF_TRUST.iter().any(|name| old.get(name) != new.get(name))
}

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
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let shown = |value: &Value, other: &Value| match value {
        Value::Null => "not set".to_owned(),
        value => format!("`{}`", excerpt::beside(&text(value), &text(other))),
    };
    words.push(format!(
        "`{path}`: {} → {}",
        shown(old, new),
        shown(new, old)
    ));
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
