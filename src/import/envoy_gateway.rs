//! Envoy Gateway's `SecurityPolicy`, with `jwt` and `authorization`.
//!
//! Envoy Gateway decides which policy a route has. So each policy becomes a rule that routes select by its
//! name, which the policy says in `contextExtensions`, and the result does not depend on routes.

use super::decide::{bounded, public, rule_of};
use super::envoy::provider::EnvoyProvider;
use super::model::{Access, Kind, Model, Note, Place, Provider, Rule, unique};
use super::objects::{self, Name};
use super::predicate::{Claim, Predicate, Shape, Test, Text};
use super::providers::merge;
use super::source::{Document, Reader, Value};
use super::{Error, Import, Options};

mod authorization;
mod changes;
mod expression;
mod jwt;
mod tokens;

use jwt::ConfigMaps;
use tokens::Tokens;

/// The API group.
const GROUP: &str = "gateway.envoyproxy.io/";

/// The kinds of the API group. claimgate replaces parts of one of them.
const KINDS: objects::Group = objects::Group {
    name: "gateway.envoyproxy.io",
    versions: &["v1alpha1"],
    policies: &["SecurityPolicy"],
    others: &[
        "Backend",
        "BackendTrafficPolicy",
        "ClientTrafficPolicy",
        "EnvoyExtensionPolicy",
        "EnvoyGateway",
        "EnvoyPatchPolicy",
        "EnvoyProxy",
        "HTTPRouteFilter",
    ],
};

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
    name: Name,
    /// The name of its rule.
    rule: String,
    spec: Reader<'n>,
    /// Its providers, by position among all.
    providers: Vec<(String, usize)>,
    /// Which requests pass without a token.
    access: Access,
    /// Whether nothing beside `authorization` is left out.
    is_clear: bool,
    notes: Vec<Note>,
    recomputes_route: bool,
}

/// The last rule, for requests of routes without a policy.
const NO_POLICY: &str = "no-policy";

/// Imports every policy.
///
/// # Errors
///
/// Fails if no policy has `jwt`, because claimgate needs a provider, if there are two policies of one name, or
/// if an object of Envoy Gateway is of an unknown kind.
pub fn read(documents: &[Document], options: &Options) -> Result<Import, Error> {
    let namespace = options.namespace.as_deref().unwrap_or("default");
    let found = objects::of(documents, &KINDS, Some(namespace))?;
    let config_maps = config_maps(documents, namespace);
    let mut model = Model {
        origin: "Envoy Gateway's SecurityPolicies".to_owned(),
        ..Model::default()
    };
    let mut providers: Vec<(EnvoyProvider, Place)> = Vec::new();
    let mut policies = Vec::new();
    for (document, name) in found {
        if is_policy(document) {
            let notes = &mut model.notes;
            policies.extend(policy(document, name, &config_maps, &mut providers, notes));
        }
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
    let mut rules: Vec<Rule> = Vec::new();
    for policy in &mut policies {
        let taken = rules.iter().map(|rule| rule.name.as_str());
        let wanted = format!("{}.{}", policy.name.namespace, policy.name.name);
        policy.rule = unique(&wanted, taken.chain([NO_POLICY]));
        let tokens = Tokens::of(&policy.providers, &own, &names);
        rules.push(rule(policy, &tokens, &model.providers));
    }
    rules.push(Rule {
        name: NO_POLICY.to_owned(),
        access: Access::Deny,
        ..Rule::default()
    });
    model.rules = rules;
    let changes = changes::of(&policies);
    Ok(Import { model, changes })
}

fn config_maps<'n>(documents: &'n [Document], namespace: &str) -> ConfigMaps<'n> {
    let maps = documents
        .iter()
        .filter(|document| document.root.text_of("kind") == Some("ConfigMap"));
    maps.filter_map(|document| {
        let name = Name::of(document, Some(namespace)).ok()?;
        Some(((name.namespace, name.name), document.root.get("data")?))
    })
    .collect()
}

/// The policy, if claimgate replaces a part of it.
fn policy<'n>(
    document: &'n Document,
    name: Name,
    config_maps: &ConfigMaps<'_>,
    providers: &mut Vec<(EnvoyProvider, Place)>,
    whole: &mut Vec<Note>,
) -> Option<Policy<'n>> {
    let path = format!("SecurityPolicy {name}");
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
        name,
        rule: String::new(),
        spec,
        providers: Vec::new(),
        access: Access::Public,
        is_clear: true,
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
    // It is read when the providers are merged.
    spec.ignore(&["authorization"]);
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
            &policy.name.namespace,
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
    policy.is_clear = spec.finish(&mut notes) && is_clear;
    policy.notes = notes;
    Some(policy)
}

fn issued_by(issuer: &str) -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names: vec!["iss".to_owned()],
        values: vec![Text::Exact(issuer.to_owned())],
        shape: Shape::Text,
    }))
}

/// The rule for a policy. `providers` are all of claimgate's.
fn rule(policy: &Policy<'_>, tokens: &Tokens, providers: &[Provider]) -> Rule {
    let mut notes = policy.notes.clone();
    let authorization = match policy.spec.get("authorization") {
        None => Predicate::True,
        Some(reader) => authorization::read(&reader, &mut notes, tokens),
    };
    let authorization = match policy.is_clear {
        true => authorization.lower(),
        false => Predicate::False,
    };
    let accepted: Vec<Provider> = providers
        .iter()
        .filter(|provider| tokens.accepts(&provider.name))
        .cloned()
        .collect();
    let token = match (policy.access, tokens.predicate(&accepted)) {
        (Access::Public, _) | (_, None) => Predicate::True,
        (Access::Optional, Some(token)) => Predicate::any([token, anybody().negated()]),
        (_, Some(token)) => token,
    };
    let predicate = Predicate::all([token, authorization]);
    let predicate = match accepted.as_slice() {
        // No other token gets here, so its issuer is known.
        [one] => known_issuer(&predicate, policy.access, &one.issuer),
        _ => predicate,
    };
    let mut rule = match policy.access {
        Access::Public => public(policy.rule.clone(), &predicate.without_token()),
        access => rule_of(
            policy.rule.clone(),
            predicate.simplified(),
            access == Access::Required,
            &accepted,
        ),
    };
    rule.only_by_name = true;
    if rule.providers.is_empty() && policy.access != Access::Public {
        rule.providers = accepted.into_iter().map(|it| it.name).collect();
        if rule.providers.is_empty() {
            rule.access = Access::Deny;
        }
    }
    rule.notes.splice(0..0, notes);
    bounded(rule, &policy.spec.place())
}

fn anybody() -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names: vec!["iss".to_owned()],
        values: vec![Text::Present],
        shape: Shape::Text,
    }))
}

/// The predicate without its tests of `iss`, which is `issuer` in every token here.
fn known_issuer(predicate: &Predicate, access: Access, issuer: &str) -> Predicate {
    predicate.replaced(&|test| match test {
        Test::Claim(Claim {
            names,
            values,
            shape,
        }) if names.as_slice() == ["iss"] => {
            let is_text = *shape != Shape::List;
            Some(
                match (is_text && values.iter().any(|it| it.fits(issuer)), access) {
                    (false, _) => Predicate::False,
                    (true, Access::Required) => Predicate::True,
                    (true, _) => anybody(),
                },
            )
        }
        _ => None,
    })
}
