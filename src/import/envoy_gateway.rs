//! Envoy Gateway's `SecurityPolicy`, with `jwt` and `authorization`.
//!
//! Envoy Gateway decides which policy a route has. So each policy becomes a rule that routes select by its
//! name, which the policy says in `contextExtensions`, and the result does not depend on routes.

use super::decide::{public, rule_of};
use super::envoy::provider::EnvoyProvider;
use super::model::{Access, Kind, Model, Note, Place, Rule};
use super::predicate::{Claim, Predicate, Shape, Test, Text};
use super::providers::merge;
use super::source::{Document, Reader, Value};
use super::{Error, Import};

mod authorization;
mod changes;
mod jwt;

use jwt::ConfigMaps;

/// The API group.
const GROUP: &str = "gateway.envoyproxy.io/";

/// Whether a document is a `SecurityPolicy`.
pub fn is_policy(document: &Document) -> bool {
    let root = &document.root;
    root.text_of("kind") == Some("SecurityPolicy")
        && root
            .text_of("apiVersion")
            .is_some_and(|version| version.starts_with(GROUP))
}

/// A policy that checks tokens or requests.
struct Policy<'n> {
    namespace: String,
    name: String,
    spec: Reader<'n>,
    /// Its providers, by position among all.
    providers: Vec<(String, usize)>,
    /// Which requests pass without a token.
    access: Access,
    authorization: Predicate,
    notes: Vec<Note>,
    recomputes_route: bool,
}

impl Policy<'_> {
    /// The name of its rule.
    fn rule_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }
}

/// Imports every policy.
///
/// # Errors
///
/// Fails if no policy has `jwt`, because claimgate needs a provider.
pub fn read(documents: &[Document]) -> Result<Import, Error> {
    let config_maps = config_maps(documents);
    let mut model = Model {
        origin: "Envoy Gateway's SecurityPolicies".to_owned(),
        ..Model::default()
    };
    let mut providers: Vec<(EnvoyProvider, Place)> = Vec::new();
    let mut policies = Vec::new();
    for document in documents.iter().filter(|it| is_policy(it)) {
        policies.extend(policy(
            document,
            &config_maps,
            &mut providers,
            &mut model.notes,
        ));
    }
    if providers.is_empty() {
        let text = "no SecurityPolicy has `jwt`, and claimgate needs a provider";
        return Err(Error(text.to_owned()));
    }
    let own: Vec<(String, Vec<String>)> = providers
        .iter()
        .map(|(provider, _)| {
            (
                provider.model.issuer.clone(),
                provider.model.audiences.clone(),
            )
        })
        .collect();
    let names = merge(&mut model, providers);
    for policy in &policies {
        let rule = rule(policy, &own, &names, &model);
        model.rules.push(rule);
    }
    model.rules.push(Rule {
        name: "no-policy".to_owned(),
        access: Access::Deny,
        ..Rule::default()
    });
    let changes = changes::of(&policies);
    Ok(Import { model, changes })
}

fn config_maps(documents: &[Document]) -> ConfigMaps<'_> {
    let maps = documents
        .iter()
        .filter(|document| document.root.text_of("kind") == Some("ConfigMap"));
    maps.filter_map(|document| {
        let (namespace, name) = named(document);
        Some(((namespace, name), document.root.get("data")?))
    })
    .collect()
}

fn named(document: &Document) -> (String, String) {
    let metadata = document.root.get("metadata");
    let text = |name: &str| {
        metadata
            .and_then(|node| node.text_of(name))
            .map(str::to_owned)
    };
    (
        text("namespace").unwrap_or_else(|| "default".to_owned()),
        text("name").unwrap_or_else(|| "unnamed".to_owned()),
    )
}

/// The policy, if claimgate replaces a part of it.
fn policy<'n>(
    document: &'n Document,
    config_maps: &ConfigMaps<'_>,
    providers: &mut Vec<(EnvoyProvider, Place)>,
    whole: &mut Vec<Note>,
) -> Option<Policy<'n>> {
    let (namespace, name) = named(document);
    let path = format!("SecurityPolicy {namespace}/{name}");
    let root = Reader::kubernetes(&document.root, &document.file, path);
    root.ignore(&["apiVersion", "kind", "metadata", "status"]);
    let spec = root.get("spec");
    root.finish(whole);
    let spec = spec?;
    let is_mapping = matches!(spec.node.value, Value::Map(_));
    if is_mapping && spec.get("jwt").is_none() && spec.get("authorization").is_none() {
        return None;
    }
    let mut policy = Policy {
        namespace,
        name,
        spec,
        providers: Vec::new(),
        access: Access::Public,
        authorization: Predicate::True,
        notes: Vec::new(),
        recomputes_route: false,
    };
    let spec = &policy.spec;
    let mut notes = Vec::new();
    let mut is_clear = true;
    // They stay in the policy, beside `extAuth`.
    spec.ignore(&[
        "targetRef",
        "targetRefs",
        "targetSelectors",
        "cors",
        "csrf",
        "basicAuth",
        "apiKeyAuth",
    ]);
    if let Some(oidc) = spec.get("oidc") {
        let text = "stays; Envoy Gateway must ask claimgate after it, which `filterOrder` of the EnvoyProxy says";
        notes.push(oidc.note(Kind::Differs, text));
    }
    if let Some(ext_auth) = spec.get("extAuth") {
        let text = "a policy has one `extAuth`, which is claimgate's now; what this service checks is left out, so \
                    every request is denied";
        notes.push(ext_auth.note(Kind::LeftOut, text));
        is_clear = false;
    }
    if let Some(merge) = spec.get("mergeType") {
        let text = "every request is denied, because the policy is one together with that of its Gateway: write both \
                    into one, and import that";
        notes.push(merge.note(Kind::LeftOut, text));
        is_clear = false;
    }
    if let Some(jwt) = spec.get("jwt") {
        policy.access = Access::Required;
        jwt::read(
            &jwt,
            &policy.namespace,
            config_maps,
            providers,
            &mut policy.providers,
            &mut notes,
        )
        .apply(
            &mut policy.access,
            &mut is_clear,
            &mut policy.recomputes_route,
        );
    }
    if let Some(authorization) = spec.get("authorization") {
        policy.authorization = authorization::read(&authorization, &mut notes, |name| {
            token_of(name, &policy.providers, providers)
        });
    }
    is_clear &= spec.finish(&mut notes);
    if !is_clear {
        policy.authorization = Predicate::False;
    }
    policy.notes = notes;
    Some(policy)
}

/// A token of the provider that has this name in the policy.
fn token_of(name: &str, own: &[(String, usize)], all: &[(EnvoyProvider, Place)]) -> Predicate {
    let provider = own
        .iter()
        .find(|(other, _)| other == name)
        .and_then(|(_, index)| all.get(*index));
    match provider {
        None => Predicate::False,
        Some((provider, _)) => issued_by(&provider.model.issuer),
    }
}

fn issued_by(issuer: &str) -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names: vec!["iss".to_owned()],
        values: vec![Text::Exact(issuer.to_owned())],
        shape: Shape::Text,
    }))
}

/// The rule for a policy. `own` has issuer and audiences of each provider as its policy says them, and `names`
/// the name of claimgate's provider.
fn rule(
    policy: &Policy<'_>,
    own: &[(String, Vec<String>)],
    names: &[Option<String>],
    model: &Model,
) -> Rule {
    let mut accepted: Vec<String> = Vec::new();
    let mut tokens = Vec::new();
    let mut is_every = true;
    for (_, index) in &policy.providers {
        let name = names.get(*index).cloned().flatten();
        let (Some(name), Some((issuer, audiences))) = (name, own.get(*index)) else {
            is_every = false;
            continue;
        };
        let known = model
            .providers
            .iter()
            .find(|provider| provider.name == name);
        let is_same = known.is_some_and(|provider| provider.audiences == *audiences);
        let audience = match is_same || audiences.is_empty() {
            true => Predicate::True,
            false => Predicate::Test(Test::Claim(Claim {
                names: vec!["aud".to_owned()],
                values: audiences.iter().cloned().map(Text::Exact).collect(),
                shape: Shape::TextOrList,
            })),
        };
        is_every &= audience == Predicate::True;
        tokens.push(Predicate::all([issued_by(issuer), audience]));
        if !accepted.contains(&name) {
            accepted.push(name);
        }
    }
    let token = match (policy.access, is_every) {
        (Access::Public, _) | (_, true) => Predicate::True,
        (Access::Optional, false) => {
            Predicate::any(tokens.into_iter().chain([anybody().negated()]))
        }
        (_, false) => Predicate::any(tokens),
    };
    let predicate = Predicate::all([token, policy.authorization.lower()]);
    let predicate = match accepted.as_slice() {
        // No other token gets here, so its issuer is known.
        [_] => known_issuer(&predicate, policy.access),
        _ => predicate,
    };
    let mut rule = match policy.access {
        Access::Public => public(policy.rule_name(), &predicate.without_token()),
        access => rule_of(
            policy.rule_name(),
            predicate.simplified(),
            access == Access::Required,
            &model.providers,
        ),
    };
    rule.only_by_name = true;
    if rule.providers.is_empty() && policy.access != Access::Public {
        rule.providers = accepted;
        if rule.providers.is_empty() {
            rule.access = Access::Deny;
        }
    }
    rule.notes.clone_from(&policy.notes);
    rule
}

fn anybody() -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names: vec!["iss".to_owned()],
        values: vec![Text::Present],
        shape: Shape::Text,
    }))
}

/// The predicate without its tests of `iss`, which hold for every token here.
fn known_issuer(predicate: &Predicate, access: Access) -> Predicate {
    predicate.replaced(&|test| match test {
        Test::Claim(Claim { names, values, .. })
            if names.as_slice() == ["iss"] && matches!(values.as_slice(), [Text::Exact(_)]) =>
        {
            Some(match access {
                Access::Required => Predicate::True,
                _ => anybody(),
            })
        }
        _ => None,
    })
}
