//! Envoy's `jwt_authn` filter (`envoy.extensions.filters.http.jwt_authn.v3`), in a static configuration, in a
//! `config_dump`, or alone.

use std::collections::BTreeMap;

use super::model::{
    Access, ClaimHeader, Kind, Match, Model, Names, Note, PathPattern, Place, Provider, Rule,
    TokenPlace, Upstream, unique,
};
use super::source::{Document, Reader, Value};
use super::{Error, Import, Options};

mod changes;
mod encoded;
mod example;
mod find;
mod matcher;
pub(super) mod path;
pub(super) mod provider;
mod requirement;
mod routes;
mod rules;

use changes::Changes;
use find::{Filter, Found};
use matcher::StringMatcher;
use provider::EnvoyProvider;
use requirement::{Member, Members, Requirement};
use rules::{Matched, Merged, Providers};

/// A claim that no token has, for headers that are only removed.
const NO_CLAIM: &str = "not.imported";

/// Where the first filter is.
pub(super) fn filter(documents: &[Document]) -> Option<Place> {
    let found = find::find(documents);
    let filters = found.filters.iter().map(|filter| &filter.message);
    filters.chain(&found.elsewhere).next().map(Reader::place)
}

/// Reads the one filter in the documents.
pub(super) fn read(documents: &[Document], options: &Options) -> Result<Import, Error> {
    let mut found = find::find(documents);
    let filter = choose(&mut found, options)?;
    let mut notes = Vec::new();
    let message = &filter.message;
    let listed = message.get("providers");
    let providers: Vec<EnvoyProvider> = listed
        .map(|providers| providers.members())
        .unwrap_or_default()
        .iter()
        .map(|(name, reader)| provider::read(name, reader, &found.clusters))
        .collect();
    let requirements = requirement_map(message, &mut notes);
    let named: Vec<&Requirement> = requirements
        .values()
        .map(|(requirement, _)| requirement)
        .collect();
    let read_rules = requirement_rules(message, &requirements);
    let all = read_rules.iter().map(|rule| &rule.requirement).chain(named);
    let (merged, known) = merge(&providers, &all.collect::<Vec<_>>(), &mut notes);
    let mut rules = rules_of(read_rules, &known, &mut notes);
    rest(message, &mut rules);
    let (named_rules, route_changes) =
        routes::named_rules(&found.routes, &requirements, &known, &rules);
    rules.extend(named_rules);
    let mut free_preflight = message.flag("bypass_cors_preflight", &mut notes);
    let silent_denials = message.flag("strip_failure_response", &mut notes);
    if let Some(prefix) = message.get("stat_prefix") {
        let text = "claimgate's metrics have fixed names, with the provider and the rule as labels";
        notes.push(prefix.note(Kind::Differs, text));
    }
    if !message.finish(&mut notes) {
        let text = "every request is denied, because a part of the filter is not understood, and may require more";
        notes.push(message.note(Kind::LeftOut, text));
        free_preflight = false;
        rules = denied(rules);
    }
    mentions(&found, &mut notes);
    let model = Model {
        origin: "Envoy's `jwt_authn` filter".to_owned(),
        providers: merged,
        upstream: upstream(&providers),
        rules,
        free_preflight,
        silent_denials,
        notes,
    };
    let changes = Changes {
        is_disabled: filter.is_disabled,
        clears_route_cache: providers.iter().any(|provider| provider.clears_route_cache),
        routes: route_changes,
        mentions: found.mentions.iter().map(Reader::place).collect(),
    };
    Ok(Import {
        changes: changes.yaml(),
        model,
    })
}

/// The filter to import. Several are one if they are equal.
fn choose<'n>(found: &mut Found<'n>, options: &Options) -> Result<Filter<'n>, Error> {
    let mut filters = std::mem::take(&mut found.filters);
    if let Some(wanted) = &options.listener {
        filters.retain(|filter| filter.listener == Some(wanted));
        if filters.is_empty() {
            return Err(Error(format!(
                "the listener `{wanted}` has no `jwt_authn` filter"
            )));
        }
    }
    let mut different: Vec<Filter<'n>> = Vec::new();
    for filter in filters {
        let same =
            |other: &&mut Filter<'_>| same(&other.message.node.value, &filter.message.node.value);
        match different.iter_mut().find(same) {
            // Where one of them is on, claimgate has to be asked.
            Some(other) => other.is_disabled &= filter.is_disabled,
            None => different.push(filter),
        }
    }
    let places: Vec<String> = different
        .iter()
        .map(|filter| {
            let place = filter.message.place();
            let listener = filter.listener.map(|name| format!(" (listener `{name}`)"));
            format!(
                "{}:{}{}",
                place.file,
                place.line,
                listener.unwrap_or_default()
            )
        })
        .collect();
    let mut different = different.into_iter();
    match (different.next(), different.next(), found.elsewhere.first()) {
        (Some(filter), None, _) => Ok(filter),
        (Some(_), Some(_), _) => Err(Error(format!(
            "several `jwt_authn` filters differ: {}; choose one with --listener NAME, and import each into its \
             own configuration",
            places.join(", ")
        ))),
        (None, _, Some(elsewhere)) => {
            let place = elsewhere.place();
            Err(Error(format!(
                "{}:{}: the configuration of this filter is not in the file (`config_discovery`); import \
                 Envoy's `config_dump`",
                place.file, place.line
            )))
        }
        (None, _, None) => Err(Error(
            "found no `jwt_authn` filter: expected Envoy's configuration or its `config_dump`"
                .to_owned(),
        )),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Number(one), Value::Number(other)) | (Value::Text(one), Value::Text(other)) => {
            one == other
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same(&one.value, &other.value))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (other_name, other))| {
                        name == other_name && same(&one.value, &other.value)
                    })
        }
        _ => false,
    }
}

/// The requirements with names, each with its notes.
type RequirementMap = BTreeMap<String, (Requirement, Vec<Note>)>;

fn requirement_map(message: &Reader<'_>, notes: &mut Vec<Note>) -> RequirementMap {
    let map = message.get("requirement_map");
    let members = map.map(|map| map.members()).unwrap_or_default();
    let mut requirements = RequirementMap::new();
    for (name, reader) in members {
        let mut own = Vec::new();
        let requirement = Requirement::read(&reader, &mut own);
        if requirements
            .insert(name.to_owned(), (requirement, own))
            .is_some()
        {
            notes.push(reader.note(Kind::LeftOut, "the name occurs twice"));
        }
    }
    requirements
}

/// A rule of the filter.
struct ReadRule<'n> {
    reader: Reader<'n>,
    matched: Matched,
    requirement: Requirement,
    notes: Vec<Note>,
}

fn requirement_rules<'n>(message: &Reader<'n>, requirements: &RequirementMap) -> Vec<ReadRule<'n>> {
    let mut rules = Vec::new();
    for reader in message.list("rules") {
        let mut own = Vec::new();
        let matched = match reader.get("match") {
            Some(matches) => rules::matched(&matches, &mut own),
            None => {
                own.push(matcher::unmatched(&reader, "the rule has no `match`"));
                Matched::AtMost(Match::default())
            }
        };
        let requirement = match reader.one_of(&["requires", "requirement_name"]) {
            None => Requirement::Nothing,
            Some(("requires", requires)) => Requirement::read(&requires, &mut own),
            Some((_, name)) => by_name(&name, requirements, &mut own),
        };
        let matched = match (reader.finish(&mut own), matched) {
            // What is not known may require more, or match other requests.
            (false, Matched::These(matches)) => Matched::AtMost(matches),
            (_, matched) => matched,
        };
        rules.push(ReadRule {
            reader,
            matched,
            requirement,
            notes: own,
        });
    }
    rules
}

fn by_name(name: &Reader<'_>, requirements: &RequirementMap, notes: &mut Vec<Note>) -> Requirement {
    let found = name.as_text(notes).and_then(|text| requirements.get(&text));
    match found {
        Some((requirement, own)) => {
            notes.extend(own.iter().cloned());
            requirement.clone()
        }
        None => {
            notes.push(name.note(Kind::LeftOut, "no requirement has this name"));
            Requirement::Unknown
        }
    }
}

/// One provider for each issuer, and what rules look at.
fn merge(
    providers: &[EnvoyProvider],
    requirements: &[&Requirement],
    notes: &mut Vec<Note>,
) -> (Vec<Provider>, Providers) {
    let mut merged: Vec<(Provider, Option<StringMatcher>)> = Vec::new();
    let mut members = Members::new();
    for provider in providers {
        let same_issuer = merged
            .iter()
            .position(|(other, _)| other.issuer == provider.model.issuer);
        let index = match same_issuer {
            None => {
                let names = merged.iter().map(|(other, _)| other.name.as_str());
                let name = unique(&provider.key, names);
                let model = Provider {
                    name,
                    ..provider.model.clone()
                };
                merged.push((model, provider.subject.clone()));
                merged.len() - 1
            }
            Some(index) => {
                let Some((other, subject)) = merged.get_mut(index) else {
                    continue;
                };
                if let Err(why) = join(other, subject.as_ref(), provider) {
                    let first = provider.model.notes.first().map(|note| note.place.clone());
                    notes.push(Note {
                        kind: Kind::LeftOut,
                        place: first.unwrap_or_default(),
                        text: format!(
                            "the provider `{}` has the same issuer as `{}`, but {why}; rules that need it deny",
                            provider.key, other.name
                        ),
                    });
                    continue;
                }
                index
            }
        };
        members.insert(
            provider.key.clone(),
            Member {
                merged: index,
                audiences: provider.model.audiences.clone(),
                places: provider.model.token_from.clone(),
            },
        );
    }
    // A provider accepts all audiences of its members and of the rules, and the rules accept fewer.
    for requirement in requirements {
        requirement.audiences(&mut |name, audiences| {
            let index = members.get(name).map(|member| member.merged);
            let provider = index.and_then(|index| merged.get_mut(index));
            if let Some((provider, _)) = provider {
                add_audiences(&mut provider.audiences, audiences);
            }
        });
    }
    let known = merged
        .iter()
        .map(|(provider, subject)| Merged {
            name: provider.name.clone(),
            issuer: provider.issuer.clone(),
            audiences: provider.audiences.clone(),
            subject: subject.clone(),
        })
        .collect();
    for (provider, subject) in &mut merged {
        if let Some(StringMatcher::Exact(subject)) = subject {
            provider.required_claims = vec![("sub".to_owned(), vec![subject.clone()])];
        }
    }
    let merged = merged.into_iter().map(|(provider, _)| provider).collect();
    let providers = Providers {
        merged: known,
        members,
    };
    (merged, providers)
}

/// Adds audiences. An empty list is for any audience.
fn add_audiences(list: &mut Vec<String>, audiences: &[String]) {
    if list.is_empty() || audiences.is_empty() {
        list.clear();
        return;
    }
    for audience in audiences {
        if !list.contains(audience) {
            list.push(audience.clone());
        }
    }
}

/// Makes one provider of two with the same issuer: of each setting, the stricter one.
fn join(
    one: &mut Provider,
    subject: Option<&StringMatcher>,
    provider: &EnvoyProvider,
) -> Result<(), &'static str> {
    let other = &provider.model;
    if one.keys != other.keys || one.ca_file != other.ca_file {
        return Err("other keys");
    }
    if subject != provider.subject.as_ref() {
        return Err("another matcher of `sub`");
    }
    let shared: Vec<TokenPlace> = one
        .token_from
        .iter()
        .filter(|place| other.token_from.contains(place))
        .cloned()
        .collect();
    if shared.is_empty() {
        return Err("other places of tokens");
    }
    if shared.len() < one.token_from.len().max(other.token_from.len()) {
        let place = other.notes.first().map(|note| note.place.clone());
        one.notes.push(Note {
            kind: Kind::LeftOut,
            place: place.unwrap_or_default(),
            text: format!(
                "only the places of tokens that it shares with `{}` are left, because claimgate has one provider \
                 for an issuer",
                provider.key
            ),
        });
    }
    one.token_from = shared;
    add_audiences(&mut one.audiences, &other.audiences);
    let smaller = |one: Option<u64>, other: Option<u64>, default: Option<u64>| match (one, other) {
        (None, None) => None,
        (one, other) => [one.or(default), other.or(default)]
            .into_iter()
            .flatten()
            .min(),
    };
    one.clock_skew = smaller(one.clock_skew, other.clock_skew, Some(60));
    one.max_lifetime = smaller(one.max_lifetime, other.max_lifetime, None);
    one.refresh = smaller(one.refresh, other.refresh, None);
    one.notes.extend(other.notes.iter().cloned());
    Ok(())
}

fn rules_of(read: Vec<ReadRule<'_>>, known: &Providers, others: &mut Vec<Note>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut refused: Option<Place> = None;
    for ReadRule {
        reader,
        matched,
        requirement,
        mut notes,
    } in read
    {
        let (matches, mut rule) = match matched {
            Matched::These(matches) => (matches, rules::rule(&requirement, known, &reader)),
            Matched::AtMost(matches) => {
                let access = Access::Deny;
                let rule = Rule {
                    access,
                    ..Rule::default()
                };
                (matches, rule)
            }
            Matched::Refused | Matched::Never => {
                if matches!(matched, Matched::Refused)
                    && !matches!(requirement, Requirement::Nothing)
                {
                    refused.get_or_insert_with(|| reader.place());
                }
                others.append(&mut notes);
                continue;
            }
        };
        rule.matches = matches;
        rule.place = reader.place();
        rule.name = name_of(&rule);
        rule.notes.splice(0..0, notes);
        rules.push(rule);
    }
    rules.splice(0..0, refused.and_then(|place| strict_paths(&rules, place)));
    let mut names = Names::default();
    for rule in &mut rules {
        rule.name = names.unique(&rule.name);
    }
    rules
}

/// A rule that makes claimgate look at paths, so that it refuses those with two readings.
fn strict_paths(rules: &[Rule], place: Place) -> Option<Rule> {
    let all = Match::default();
    let mut reached = rules.iter().take_while(|rule| rule.matches != all);
    if reached.any(|rule| !rule.matches.paths.is_empty()) {
        return None;
    }
    let text = "claimgate refuses ambiguous paths where a rule looks at paths, and this rule does, though no path \
                has such characters";
    Some(Rule {
        name: "ambiguous-paths".to_owned(),
        matches: Match {
            paths: vec![PathPattern::Regex(r"/[\x00-\x1f]".to_owned(), None)],
            ..all
        },
        access: Access::Deny,
        notes: vec![Note {
            kind: Kind::Differs,
            place,
            text: text.to_owned(),
        }],
        ..Rule::default()
    })
}

/// A name that says which requests the rule is for.
fn name_of(rule: &Rule) -> String {
    let Match {
        hosts,
        methods,
        paths,
        headers,
        ..
    } = &rule.matches;
    let path = paths.first().map(PathPattern::text).unwrap_or_default();
    let path = path.strip_prefix("(?i-u:").unwrap_or(path);
    let words = methods
        .iter()
        .map(|method| method.to_ascii_lowercase())
        .chain(hosts.iter().cloned())
        .chain(
            path.split(|c: char| !c.is_ascii_alphanumeric())
                .map(str::to_owned),
        )
        .chain(headers.iter().map(|(name, _)| name.clone()));
    let words: Vec<String> = words.filter(|word| !word.is_empty()).take(6).collect();
    match words.is_empty() {
        true => "all".to_owned(),
        false => words.join("-"),
    }
}

/// Rules with which nothing passes: one for all requests, and those that routes name.
fn denied(rules: Vec<Rule>) -> Vec<Rule> {
    let deny = |name: String, only_by_name: bool, notes: Vec<Note>| Rule {
        name,
        only_by_name,
        access: Access::Deny,
        notes,
        ..Rule::default()
    };
    let named = rules.into_iter().filter(|rule| rule.only_by_name);
    let mut denied: Vec<Rule> = named
        .map(|rule| deny(rule.name, true, rule.notes))
        .collect();
    let name = unique("all", denied.iter().map(|rule| rule.name.as_str()));
    denied.insert(0, deny(name, false, Vec::new()));
    denied
}

/// Without a rule, Envoy requires nothing.
fn rest(message: &Reader<'_>, rules: &mut Vec<Rule>) {
    if let Some(state) = message.get("filter_state_rules") {
        let note = state.note(
            Kind::LeftOut,
            "claimgate does not see the filter state, so requests that no rule names are denied",
        );
        rules.push(Rule {
            name: unique("rest", rules.iter().map(|rule| rule.name.as_str())),
            access: Access::Deny,
            notes: vec![note],
            ..Rule::default()
        });
        return;
    }
    let all = Match::default();
    if rules.iter().any(|rule| rule.matches == all) {
        return;
    }
    rules.push(Rule {
        name: unique("rest", rules.iter().map(|rule| rule.name.as_str())),
        access: Access::Public,
        notes: vec![Note {
            kind: Kind::Differs,
            place: message.place(),
            text: "Envoy requires no token of requests that no rule names, and neither does this; without this \
                   rule, claimgate would require one"
                .to_owned(),
        }],
        ..Rule::default()
    });
}

/// What else names the filter stops working.
fn mentions(found: &Found<'_>, notes: &mut Vec<Note>) {
    for mention in &found.mentions {
        let text = "this looks at what `jwt_authn` writes, which ends; let it look at the metadata of \
                    `envoy.filters.http.ext_authz`, or a policy that denies by it denies nothing any more";
        notes.push(mention.note(Kind::LeftOut, text));
    }
}

/// What the upstream receives. claimgate's headers are for the tokens of all providers, so those that are not
/// the same for all of them are only removed.
pub(super) fn upstream(providers: &[EnvoyProvider]) -> Upstream {
    let mut upstream = Upstream {
        forward_token: !providers.is_empty()
            && providers.iter().all(|provider| provider.forwards_token),
        ..Upstream::default()
    };
    for provider in providers {
        upstream.notes.extend(provider.header_notes.iter().cloned());
    }
    let about = |text: String| Note {
        kind: Kind::LeftOut,
        place: Place::default(),
        text,
    };
    if !upstream.forward_token && providers.iter().any(|provider| provider.forwards_token) {
        let text =
            "not all providers have `forward: true`; claimgate removes the tokens of all of them";
        upstream.notes.push(about(text.to_owned()));
    }
    let has_cookies = providers.iter().any(|provider| {
        let mut places = provider.model.token_from.iter();
        places.any(|place| matches!(place, TokenPlace::Cookie(_)))
    });
    if !upstream.forward_token && has_cookies {
        upstream.notes.push(Note {
            kind: Kind::Differs,
            ..about("Envoy leaves tokens in cookies, claimgate removes them".to_owned())
        });
    }
    let mut names: Vec<&str> = Vec::new();
    let payloads: Vec<&str> = providers
        .iter()
        .filter_map(|provider| provider.payload_header.as_deref())
        .collect();
    let payload = payloads.first().filter(|first| {
        payloads.len() == providers.len()
            && payloads.iter().all(|name| name.eq_ignore_ascii_case(first))
    });
    upstream.payload_header = payload.map(|name| name.to_ascii_lowercase());
    for provider in providers {
        let own = provider
            .claim_headers
            .iter()
            .map(|(header, _)| header.as_str());
        let own = own.chain(
            provider
                .payload_header
                .as_deref()
                .filter(|_| payload.is_none()),
        );
        for header in own {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(header)) {
                names.push(header);
            }
        }
    }
    for header in names {
        let claims: Vec<&str> = providers
            .iter()
            .filter_map(|provider| {
                let mut own = provider.claim_headers.iter();
                let found = own.find(|(name, _)| name.eq_ignore_ascii_case(header))?;
                Some(found.1.as_str())
            })
            .collect();
        let shared = claims.first().filter(|first| {
            claims.len() == providers.len() && claims.iter().all(|claim| claim == *first)
        });
        let setter = providers.iter().find(|provider| provider.sets(header));
        let place = setter
            .map(|provider| provider.model.place.clone())
            .unwrap_or_default();
        let text = format!(
            "the header `{header}` is only removed, because not all providers set it from the same claim, and \
             claimgate's headers are for the tokens of all of them"
        );
        let notes = match shared {
            Some(_) => Vec::new(),
            None => vec![Note {
                kind: Kind::LeftOut,
                place: place.clone(),
                text,
            }],
        };
        upstream.claim_headers.push(ClaimHeader {
            header: header.to_ascii_lowercase(),
            claim: (*shared.unwrap_or(&NO_CLAIM)).to_owned(),
            place,
            notes,
        });
    }
    upstream
}
