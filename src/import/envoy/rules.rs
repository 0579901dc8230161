//! A `RequirementRule`: which requests it matches, and what becomes of its requirement.

use std::collections::BTreeSet;

use super::matcher::{StringMatcher, literal, unmatched};
use super::path::{self, Paths};
use super::requirement::{Carried, Members, Requirement, Verdict, verdict};
use crate::import::model::{Access, Example, Kind, Match, Note, Rule};
use crate::import::source::Reader;

/// A provider of the result, as far as rules look at it.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) name: String,
    pub(super) issuer: String,
    /// All audiences that the provider accepts; empty for any.
    pub(super) audiences: Vec<String>,
    pub(super) subject: Option<StringMatcher>,
}

/// Everything that rules look at.
#[derive(Debug)]
pub(super) struct Providers {
    pub(super) merged: Vec<Merged>,
    pub(super) members: Members,
}

/// The requests of a rule.
pub(super) enum Matched {
    These(Match),
    /// These, of which an unknown part belongs to the rule.
    AtMost(Match),
    /// Requests with paths that claimgate refuses, if a rule looks at paths.
    Refused,
    /// None.
    Never,
}

/// Which requests a `RouteMatch` of the filter fits.
pub(super) fn matched(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Matched {
    let before = notes.len();
    let mut matches = Match::default();
    let mut impossible = None;
    let is_case_sensitive = reader.flag_or("case_sensitive", true, notes);
    let kinds = [
        "prefix",
        "path",
        "path_separated_prefix",
        "safe_regex",
        "connect_matcher",
        "path_match_policy",
    ];
    match reader.one_of(&kinds) {
        None => notes.push(unmatched(reader, "a match without a path is not known")),
        Some(("connect_matcher", _)) => matches.methods.push("CONNECT".to_owned()),
        Some((kind, value)) => match paths(kind, &value, is_case_sensitive, notes) {
            Some(Paths::All) => {}
            Some(Paths::These(pattern)) => matches.paths.push(pattern),
            Some(Paths::AtMost(pattern)) => {
                matches.paths.extend(pattern);
                let what = "claimgate compares decoded paths, and no pattern for them is known to mean the same";
                notes.push(unmatched(&value, what));
            }
            Some(Paths::Refused) => {
                impossible = Some(Matched::Refused);
                let text = "there is no rule for such requests, because claimgate refuses all of them where a rule \
                            looks at paths (400 `ambiguous_path`)";
                notes.push(value.note(Kind::Differs, text));
            }
            Some(Paths::Never) => {
                impossible = Some(Matched::Never);
                let text =
                    "there is no rule for this, because Envoy compares the path without its query";
                notes.push(value.note(Kind::Differs, text));
            }
            None => notes.push(unmatched(&value, "this kind of path has no equivalent")),
        },
    }
    for header in reader.list("headers") {
        if !add_header(&header, &mut matches, notes) {
            impossible = Some(Matched::Never);
        }
    }
    for parameter in reader.list("query_parameters") {
        notes.push(unmatched(
            &parameter,
            "rules do not match on parameters of the query",
        ));
    }
    reader.finish(notes);
    let new = notes.get_mut(before..).unwrap_or_default();
    let is_partial = new.iter().any(|note| note.kind == Kind::LeftOut);
    match impossible {
        Some(impossible) => impossible,
        None if is_partial => Matched::AtMost(matches),
        None => Matched::These(matches),
    }
}

fn paths(
    kind: &str,
    value: &Reader<'_>,
    is_case_sensitive: bool,
    notes: &mut Vec<Note>,
) -> Option<Paths> {
    match kind {
        "safe_regex" => {
            value.ignore(&["google_re2"]);
            let regex = value.text("regex", notes)?;
            value.finish(notes);
            Some(path::regex(&regex))
        }
        "path_match_policy" => {
            value.ignore(&["name"]);
            let config = value.get("typed_config")?;
            let template = config.text("path_template", notes)?;
            config.finish(notes);
            value.finish(notes);
            Some(Paths::These(path::template(&template)?))
        }
        _ => {
            let text = value.as_text(notes)?;
            Some(match kind {
                "prefix" => path::prefix(&text, is_case_sensitive),
                "path" => path::exact(&text, is_case_sensitive),
                _ => path::segments(&text, is_case_sensitive),
            })
        }
    }
}

/// Returns false if no request can fit.
fn add_header(reader: &Reader<'_>, matches: &mut Match, notes: &mut Vec<Note>) -> bool {
    let name = reader
        .text("name", notes)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut unread = Vec::new();
    let is_inverted = reader.flag("invert_match", notes);
    let values = header_values(reader, &mut unread);
    // A header that is absent or empty is one that claimgate does not match.
    let is_absent = reader.flag("treat_missing_header_as_empty", &mut unread);
    let values = values.filter(|values| !is_absent && !values.iter().any(String::is_empty));
    reader.finish(&mut unread);
    let Some(values) = values.filter(|_| reader.is_understood() && !is_inverted) else {
        let what = format!("claimgate cannot match the header `{name}` like this");
        notes.push(unmatched(reader, &what));
        return true;
    };
    let add = |list: &mut Vec<String>, values: Vec<String>| match list.is_empty() {
        true => {
            *list = values;
            true
        }
        false => {
            list.retain(|value| values.contains(value));
            !list.is_empty()
        }
    };
    match name.as_str() {
        ":method" if !values.is_empty() => add(&mut matches.methods, values),
        ":authority" | "host" if !values.is_empty() => {
            let hosts: Vec<String> = values.iter().map(|value| without_port(value)).collect();
            if hosts != values {
                let text = "claimgate ignores the port of a host";
                notes.push(reader.note(Kind::Differs, text));
            }
            add(&mut matches.hosts, hosts)
        }
        name if name.starts_with(':')
            || name == "host"
            || values.iter().any(|value| value == "any") =>
        {
            let what = format!("claimgate cannot match the header `{name}` like this");
            notes.push(unmatched(reader, &what));
            true
        }
        _ => match matches.headers.iter_mut().find(|(other, _)| *other == name) {
            Some((_, list)) if values.is_empty() || list.is_empty() => {
                list.extend(values);
                true
            }
            Some((_, list)) => add(list, values),
            None => {
                matches.headers.push((name, values));
                true
            }
        },
    }
}

/// The accepted values; empty for any. `None` if the matcher has no equivalent.
fn header_values(reader: &Reader<'_>, unread: &mut Vec<Note>) -> Option<Vec<String>> {
    let kinds = [
        "exact_match",
        "string_match",
        "safe_regex_match",
        "present_match",
        "range_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
    ];
    let Some((kind, value)) = reader.one_of(&kinds) else {
        return Some(Vec::new());
    };
    match kind {
        "exact_match" => Some(vec![value.as_text(unread)?]),
        "string_match" => string_values(&value, unread),
        "safe_regex_match" => words(&value, unread),
        "present_match" => reader.flag("present_match", unread).then_some(Vec::new()),
        _ => None,
    }
}

/// The texts that a `StringMatcher` accepts.
fn string_values(matcher: &Reader<'_>, unread: &mut Vec<Note>) -> Option<Vec<String>> {
    let ignores_case = matcher.flag("ignore_case", unread);
    let kinds = [
        "exact",
        "prefix",
        "suffix",
        "safe_regex",
        "contains",
        "custom",
    ];
    let found = matcher.one_of(&kinds);
    matcher.finish(unread);
    let (kind, value) = found.filter(|_| !ignores_case)?;
    match kind {
        "exact" => Some(vec![value.as_text(unread)?]),
        "safe_regex" => words(&value, unread),
        _ => None,
    }
}

/// The words of an expression such as `GET|HEAD`.
fn words(regex: &Reader<'_>, unread: &mut Vec<Note>) -> Option<Vec<String>> {
    regex.ignore(&["google_re2"]);
    let text = regex.text("regex", unread)?;
    regex.finish(unread);
    let inner = text.trim_start_matches('^').trim_end_matches('$');
    let inner = inner
        .strip_prefix("(?:")
        .or_else(|| inner.strip_prefix('('))
        .and_then(|inner| inner.strip_suffix(')'))
        .unwrap_or(inner);
    let words: Vec<String> = inner.split('|').map(str::to_owned).collect();
    let is_plain = |word: &String| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    words.iter().all(is_plain).then_some(words)
}

fn without_port(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => host.to_owned(),
    }
}

/// The rule for a requirement, without its name and its match.
pub(super) fn rule(requirement: &Requirement, providers: &Providers, place: &Reader<'_>) -> Rule {
    if matches!(requirement, Requirement::Nothing) {
        return Rule {
            access: Access::Public,
            ..Rule::default()
        };
    }
    let judge = |carried| verdict(requirement, carried, &providers.members);
    let allows_missing = judge(Carried::Nothing) == Verdict::Ok;
    let allows_failed = judge(Carried::Bad) == Verdict::Ok;
    let mut notes = Vec::new();
    let accepted = accepted(&requirement.verified(), providers);
    if accepted.is_empty() && allows_missing && allows_failed {
        return Rule {
            access: Access::Public,
            ..Rule::default()
        };
    }
    if accepted.is_empty() {
        let text = match requirement {
            Requirement::Unknown => "the rule denies, because its requirement is not understood",
            _ => {
                "the rule denies, because it needs several tokens, or a provider without an equivalent"
            }
        };
        notes.push(place.note(Kind::LeftOut, text));
        return Rule {
            access: Access::Deny,
            notes,
            ..Rule::default()
        };
    }
    let mut rule = Rule {
        access: match allows_missing {
            true => Access::Optional,
            false => Access::Required,
        },
        is_observed: allows_failed,
        ..Rule::default()
    };
    if allows_failed {
        let text = "Envoy passes failed tokens here; remove `enforce: false` to refuse them";
        notes.push(place.note(Kind::Differs, text));
    }
    let is_all = accepted.len() == providers.merged.len();
    if !is_all || providers.merged.len() > 1 {
        rule.providers = accepted
            .iter()
            .map(|(merged, _)| merged.name.clone())
            .collect();
    }
    let audiences = restrict_audiences(&mut rule, &accepted);
    restrict_tokens(&mut rule, &accepted, audiences);
    // Where denials are only reported, the claims of every verified token are forwarded.
    if allows_failed && (!is_all || rule.condition.is_some() || !rule.claims.is_empty()) {
        let text = "the rule takes no claims from tokens, because claimgate cannot pass failed tokens and compare \
                    provider, audiences or `sub` as well";
        let note = place.note(Kind::LeftOut, text);
        return Rule {
            access: Access::Public,
            notes: vec![note],
            ..Rule::default()
        };
    }
    rule.notes = notes;
    rule
}

/// The accepted audiences of a provider; `None` for any.
type Accepted = Option<BTreeSet<String>>;

/// The providers whose tokens meet the requirement, by their own names, with the accepted audiences.
fn accepted<'p>(
    requirement: &Requirement,
    providers: &'p Providers,
) -> Vec<(&'p Merged, Accepted)> {
    let named = named(requirement, providers);
    let mut accepted = Vec::new();
    for (index, merged) in providers.merged.iter().enumerate() {
        if !named.contains(&index) {
            continue;
        }
        let judge = |audience: Option<&str>| {
            let carried = Carried::Valid(index, audience);
            verdict(requirement, carried, &providers.members) == Verdict::Ok
        };
        if judge(None) {
            accepted.push((merged, None));
            continue;
        }
        let mut audiences = BTreeSet::new();
        requirement.audiences(&mut |_, listed| audiences.extend(listed.iter().cloned()));
        audiences.extend(merged.audiences.iter().cloned());
        for member in providers
            .members
            .values()
            .filter(|member| member.merged == index)
        {
            audiences.extend(member.audiences.iter().cloned());
        }
        audiences.retain(|audience| judge(Some(audience)));
        if !audiences.is_empty() {
            accepted.push((merged, Some(audiences)));
        }
    }
    accepted
}

/// The providers that the requirement looks at. Tokens of others count as missing.
fn named(requirement: &Requirement, providers: &Providers) -> BTreeSet<usize> {
    let all = || (0..providers.merged.len()).collect();
    match requirement {
        Requirement::Provider(name, _) => {
            let member = providers.members.get(name);
            member.map(|member| member.merged).into_iter().collect()
        }
        Requirement::Any(list) => list
            .iter()
            .filter(|entry| {
                !matches!(
                    entry,
                    Requirement::AllowMissing | Requirement::AllowMissingOrFailed
                )
            })
            .flat_map(|entry| named(entry, providers))
            .collect(),
        Requirement::All(list) => list
            .iter()
            .flat_map(|entry| named(entry, providers))
            .collect(),
        Requirement::AllowMissing
        | Requirement::AllowMissingOrFailed
        | Requirement::ExtractOnly => all(),
        Requirement::Nothing | Requirement::Unknown => BTreeSet::new(),
    }
}

/// The audiences that a condition has to compare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audiences {
    /// None: providers and `claims` compare them.
    Compared,
    /// Those of each provider that accepts fewer than its own.
    ByProvider,
}

/// Audiences are compared with each provider's own list. Where a rule accepts fewer, and one list does for all
/// of its providers, that is a claim of the rule.
fn restrict_audiences(rule: &mut Rule, accepted: &[(&Merged, Accepted)]) -> Audiences {
    if accepted.iter().all(is_whole) {
        return Audiences::Compared;
    }
    // An `optional` rule has no claims, because a client could omit the token.
    if rule.access == Access::Optional {
        return Audiences::ByProvider;
    }
    let listed = accepted
        .iter()
        .filter_map(|(_, audiences)| audiences.as_ref());
    let union: BTreeSet<String> = listed.flatten().cloned().collect();
    let is_exact = accepted.iter().all(|(merged, audiences)| match audiences {
        None => false,
        Some(audiences) => {
            let own = &merged.audiences;
            let reachable = |audience: &&String| own.is_empty() || own.contains(audience);
            union
                .iter()
                .filter(reachable)
                .all(|audience| audiences.contains(audience))
        }
    });
    if !is_exact {
        return Audiences::ByProvider;
    }
    rule.claims
        .push(("aud".to_owned(), union.into_iter().collect()));
    Audiences::Compared
}

/// Whether a rule accepts all audiences of a provider.
fn is_whole((merged, accepted): &(&Merged, Accepted)) -> bool {
    match accepted {
        None => true,
        Some(accepted) => {
            !merged.audiences.is_empty()
                && merged.audiences.iter().all(|own| accepted.contains(own))
        }
    }
}

/// What a rule requires of the tokens of some of its providers becomes a condition.
fn restrict_tokens(rule: &mut Rule, accepted: &[(&Merged, Accepted)], audiences: Audiences) {
    let accepted_alone = accepted.len() == 1;
    let mut conditions = Vec::new();
    for provider in accepted {
        let (merged, accepted) = provider;
        let mut own = Vec::new();
        let mut example = |claim: &str, value: String| {
            rule.example.push(Example {
                provider: Some(merged.name.clone()),
                claim: claim.to_owned(),
                value: value.into(),
            });
        };
        if let Some(StringMatcher::Expression {
            expression,
            example: subject,
        }) = &merged.subject
        {
            own.push(expression.clone());
            if let Some(subject) = subject {
                example("sub", subject.clone());
            }
        }
        if let (Audiences::ByProvider, Some(accepted), false) =
            (audiences, accepted, is_whole(provider))
        {
            let list: Vec<String> = accepted.iter().map(|audience| literal(audience)).collect();
            let list = list.join(", ");
            // `aud` is a text or a list of texts (RFC 7519 §4.1.3).
            own.push(format!(
                "(claims.aud in [{list}] || claims.aud.exists(a, a in [{list}]))"
            ));
            if let Some(audience) = accepted.first() {
                example("aud", audience.clone());
            }
        }
        if own.is_empty() {
            continue;
        }
        let own = own.join(" && ");
        let issuer = literal(&merged.issuer);
        conditions.push(match (accepted_alone, rule.access) {
            (true, Access::Required) => own,
            // Every token that claimgate accepts has `exp`, and a request without a token has no claims.
            (true, _) => format!("!has(claims.exp) || {own}"),
            (false, Access::Required) => format!("claims.iss != {issuer} || {own}"),
            (false, _) => format!("!has(claims.exp) || claims.iss != {issuer} || {own}"),
        });
    }
    rule.condition = match conditions.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("({})", several.join(") && ("))),
    };
}
