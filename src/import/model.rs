//! What a source means, without the words of its format: providers, rules, headers, and notes.
//!
//! Each format turns its source into a [`Model`]. [`write`](super::write) turns a model into files.

use std::collections::{BTreeMap, BTreeSet};

use super::predicate::Predicate;

/// Everything that is imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// What the source is, for the first line of the result: `the jwt_authn filter of Envoy`.
    pub origin: String,
    /// The providers, each with a different issuer.
    pub providers: Vec<Provider>,
    /// What the upstream receives.
    pub upstream: Upstream,
    /// The rules, in the order in which they are tried. Unless a rule matches every request, the others
    /// need a valid token of any provider.
    pub rules: Vec<Rule>,
    /// Whether CORS preflights pass.
    pub free_preflight: bool,
    /// Whether denials have no body and no reason.
    pub silent_denials: bool,
    /// Notes about the whole.
    pub notes: Vec<Note>,
}

/// A provider whose tokens are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its name in claimgate: see [`name`].
    pub name: String,
    /// The exact `iss`.
    pub issuer: String,
    /// Accepted audiences; empty for any.
    pub audiences: Vec<String>,
    /// The source of its keys.
    pub keys: Keys,
    /// The time limit of a fetch, in milliseconds.
    pub timeout: Option<u64>,
    /// The authorities that a fetch trusts.
    pub ca_file: Option<String>,
    /// The maximum time between two fetches, in milliseconds.
    pub refresh: Option<u64>,
    /// The accepted difference between clocks, in seconds.
    pub clock_skew: Option<u64>,
    /// The maximum lifetime of a token, in seconds.
    pub max_lifetime: Option<u64>,
    /// Claims that must have one of these values.
    pub required_claims: Vec<(String, Vec<String>)>,
    /// The claims with scopes, if not `scope` and `scp`.
    pub scope_claims: Vec<String>,
    /// Where requests carry its tokens. Empty for the `Authorization: Bearer` header.
    pub token_from: Vec<TokenPlace>,
    /// Where the source says so.
    pub place: Place,
    /// What has no equivalent, and what differs.
    pub notes: Vec<Note>,
}

/// The source of a provider's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// OpenID Connect Discovery, from the issuer.
    #[default]
    Discovery,
    /// A URL.
    Uri(String),
    /// A file.
    File(String),
    /// A JWK Set, as JSON.
    Inline(String),
}

/// A place that carries tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// A header, with a scheme before the token or without.
    Header {
        /// The header's name.
        name: String,
        /// The scheme, such as `Bearer`.
        scheme: Option<String>,
    },
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

/// What the upstream receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Headers with claims.
    pub claim_headers: Vec<ClaimHeader>,
    /// The header with all claims.
    pub payload_header: Option<String>,
    /// Whether it receives the token.
    pub forward_token: bool,
    /// What has no equivalent, and what differs.
    pub notes: Vec<Note>,
}

/// A header that carries a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The header's name.
    pub header: String,
    /// The claim: names separated by dots, or a JSON pointer; see [`claim_path`].
    pub claim: String,
    /// The first provider that sets it.
    pub place: Place,
    /// What has no equivalent, and what differs.
    pub notes: Vec<Note>,
}

/// What is required of some requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its name in claimgate: see [`name`].
    pub name: String,
    /// Whether only a route of Envoy selects it, by its name.
    pub only_by_name: bool,
    /// Which requests it matches.
    pub matches: Match,
    /// Which of them pass.
    pub access: Access,
    /// The accepted providers; empty for all.
    pub providers: Vec<String>,
    /// Scopes that the token must have, all of them.
    pub scopes: Vec<String>,
    /// Claims that must have one of these values.
    pub claims: Vec<(String, Vec<String>)>,
    /// An expression that must hold as well.
    pub condition: Option<String>,
    /// Whether its denials take effect.
    pub is_observed: bool,
    /// What the source says of its requests, for the tests. `None` if that is the access alone.
    pub meaning: Option<Predicate>,
    /// Claims of tokens that meet claims and condition, for the tests.
    pub example: Vec<Example>,
    /// Where the source says so, if it is one place.
    pub place: Place,
    /// What has no equivalent, and what differs.
    pub notes: Vec<Note>,
}

/// A claim of a token that meets a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The provider of such tokens; `None` for each.
    pub provider: Option<String>,
    /// The claim's name, at the top of the token.
    pub claim: String,
    /// Its value.
    pub value: serde_json::Value,
}

/// Which requests a rule matches: every field that is not empty must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Hosts, or `*.` and a domain.
    pub hosts: Vec<String>,
    /// Whether Envoy lets no request with another host reach the routes.
    pub hosts_are_bound: bool,
    /// Methods in upper case.
    pub methods: Vec<String>,
    /// Paths.
    pub paths: Vec<PathPattern>,
    /// Headers with their values; none for any value.
    pub headers: Vec<(String, Vec<String>)>,
}

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This path, as a URL spells it.
    Exact(String),
    /// This path and every path below it, by whole segments.
    Prefix(String),
    /// Every path that an expression matches as a whole. The second text is a path that it matches, if one
    /// is known.
    Regex(String, Option<String>),
}

impl PathPattern {
    /// The pattern as it is written.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Regex(text, _) => text,
        }
    }
}

/// Which requests pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// All.
    Public,
    /// Those without a token, or with a valid one.
    Optional,
    /// Those with a valid token.
    #[default]
    Required,
    /// None.
    Deny,
}

/// Something about the source that its reader must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub kind: Kind,
    /// Where in the source.
    pub place: Place,
    /// What it is, as a phrase that names the field and says what becomes of it.
    pub text: String,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The result does without it, and is stricter than the source there.
    LeftOut,
    /// The result differs from the source in a way that docs/migrate.md lists.
    Differs,
}

/// A place in a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The names that lead to it: `providers.acme.issuer`.
    pub path: String,
}

impl Model {
    /// All notes, in the order of the result.
    pub fn all_notes(&self) -> Vec<&Note> {
        let Self {
            origin: _,
            providers,
            upstream,
            rules,
            free_preflight: _,
            silent_denials: _,
            notes,
        } = self;
        let headers = upstream.claim_headers.iter();
        notes
            .iter()
            .chain(providers.iter().flat_map(|provider| &provider.notes))
            .chain(&upstream.notes)
            .chain(headers.flat_map(|header| &header.notes))
            .chain(rules.iter().flat_map(|rule| &rule.notes))
            .collect()
    }
}

/// A name that claimgate accepts, made of `text`: other characters become `-`.
pub fn name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let name: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(64)
        .collect();
    match name.as_str() {
        "" => "unnamed".to_owned(),
        "default" | "none" => format!("{name}-1"),
        _ => name,
    }
}

/// Gives names that differ, however many there are.
#[derive(Debug, Default)]
pub struct Names {
    taken: BTreeSet<String>,
    /// The last number of each name.
    numbers: BTreeMap<String, u32>,
}

impl Names {
    /// A name that it has not given yet: with a number, if needed.
    pub fn unique(&mut self, text: &str) -> String {
        let first = name(text);
        if self.taken.insert(first.clone()) {
            return first;
        }
        let short: String = first.chars().take(54).collect();
        let number = self.numbers.entry(short.clone()).or_insert(1);
        loop {
            *number += 1;
            let numbered = format!("{short}-{number}");
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

/// A name that is not among `taken`: with a number, if needed.
pub fn unique<'t>(text: &str, taken: impl Iterator<Item = &'t str>) -> String {
    let taken: Vec<&str> = taken.collect();
    let is_free = |candidate: &str| !taken.contains(&candidate);
    let first = name(text);
    if is_free(&first) {
        return first;
    }
    let short: String = first.chars().take(58).collect();
    let mut numbered = (2..).map(|number: u32| format!("{short}-{number}"));
    numbered
        .find(|candidate| is_free(candidate))
        .unwrap_or(first)
}

/// A claim in claimgate's spelling: names separated by dots, or a JSON pointer (RFC 6901) if a name has
/// other characters than letters, digits, `_` and `-`.
pub fn claim_path<S: AsRef<str>>(names: &[S]) -> String {
    let is_plain = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    let mut names = names.iter().map(AsRef::as_ref);
    if names.clone().all(is_plain) {
        let names: Vec<&str> = names.collect();
        return names.join(".");
    }
    names.by_ref().fold(String::new(), |path, name| {
        path + "/" + &name.replace('~', "~0").replace('/', "~1")
    })
}
