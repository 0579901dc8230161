//! Istio's `RequestAuthentication` and `AuthorizationPolicy`.

use super::decide::{Otherwise, Piece, rules};
use super::envoy::provider::EnvoyProvider;
use super::model::{Kind, Model, Note, Place};
use super::predicate::Predicate;
use super::providers::merge;
use super::source::Document;
use super::{Error, Import, Options};

mod authentication;
mod authorization;
mod changes;
mod workload;

use workload::{Policy, Workload};

/// The API group of both kinds.
const GROUP: &str = "security.istio.io/";

/// Whether a document is one of Istio's for security.
pub fn is_policy(document: &Document) -> bool {
    let version = document.root.text_of("apiVersion").unwrap_or_default();
    version.starts_with(GROUP)
}

/// Imports the policies of one workload.
///
/// # Errors
///
/// Fails if the files have policies of several workloads and `options` name none, or if no
/// `RequestAuthentication` applies to the workload.
pub fn read(documents: &[Document], options: &Options) -> Result<Import, Error> {
    let mut notes = Vec::new();
    let policies: Vec<Policy<'_>> = documents
        .iter()
        .filter_map(|document| Policy::read(document, &mut notes))
        .collect();
    let workload = Workload::choose(&policies, options.workload.as_deref())?;
    let (policies, others): (Vec<&Policy<'_>>, Vec<&Policy<'_>>) =
        policies.iter().partition(|policy| workload.has(policy));
    for policy in others {
        let text = format!("not for {workload}");
        notes.push(policy.note(Kind::Differs, text));
    }

    let mut providers: Vec<(EnvoyProvider, Place)> = Vec::new();
    let mut words = Vec::new();
    for policy in policies
        .iter()
        .filter(|it| it.kind == "RequestAuthentication")
    {
        authentication::read(policy, &mut providers, &mut words, &mut notes);
    }
    if providers.is_empty() {
        let text = format!(
            "no RequestAuthentication applies to {workload}, and claimgate needs a provider: add its file"
        );
        return Err(Error(text));
    }
    // Istio sorts by issuer, and so decides which of two rules comes first.
    providers.sort_by(|(one, _), (other, _)| one.model.issuer.cmp(&other.model.issuer));

    let mut model = Model {
        origin: format!("Istio's policies for {workload}"),
        notes,
        ..Model::default()
    };
    merge(&mut model, providers);
    for provider in &mut model.providers {
        provider.scope_claims = vec!["scope".to_owned()];
    }

    let Policies {
        denials,
        allowances,
        allows,
    } = compiled(&policies, &words, &mut model.notes);
    let otherwise = match allows {
        true => Otherwise::Deny,
        false => Otherwise::Allow,
    };
    model.rules = rules(denials, allowances, otherwise, &model.providers);
    let changes = changes::of(&policies, &workload);
    Ok(Import { model, changes })
}

#[derive(Default)]
struct Policies {
    denials: Vec<Piece>,
    allowances: Vec<Piece>,
    /// Whether any policy allows, so that everything else is denied.
    allows: bool,
}

/// What the policies deny and allow. DENY comes before ALLOW, whatever the order of the files.
fn compiled(policies: &[&Policy<'_>], words: &[String], notes: &mut Vec<Note>) -> Policies {
    let mut compiled = Policies::default();
    for policy in policies
        .iter()
        .filter(|it| it.kind == "AuthorizationPolicy")
    {
        let spec = &policy.spec;
        let has_target = spec.is_understood();
        let action = spec
            .text("action", notes)
            .unwrap_or_else(|| "ALLOW".to_owned());
        if policy.is_dry_run {
            spec.ignore(&["rules", "provider"]);
            let text = "a dry run changes nothing: Istio only reports, and claimgate does not; see `enforce: false`";
            notes.push(policy.note(Kind::Differs, text));
        } else {
            match action.as_str() {
                "ALLOW" => {
                    compiled.allows = true;
                    compiled
                        .allowances
                        .extend(authorization::read(policy, words));
                }
                "DENY" => {
                    compiled.denials.extend(authorization::read(policy, words));
                }
                "AUDIT" => {
                    spec.ignore(&["rules"]);
                    let text = "claimgate logs each denial, and no requests that a policy chooses";
                    notes.push(policy.note(Kind::LeftOut, text));
                }
                "CUSTOM" => {
                    spec.ignore(&["rules", "provider"]);
                    let text = "Istio asks this provider, too, if `PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS` \
                                is on; otherwise it denies everything beside claimgate's own policy";
                    notes.push(policy.note(Kind::LeftOut, text));
                }
                _ => {
                    spec.ignore(&["rules", "provider"]);
                    let text = format!("`{action}` is not an action, so everything is denied");
                    compiled.allows = true;
                    compiled.denials.push(Piece {
                        name: policy.name.clone(),
                        predicate: Predicate::True,
                        notes: vec![policy.note(Kind::LeftOut, text)],
                    });
                }
            }
        }
        let is_clear = spec.finish(notes) && has_target;
        if !is_clear && !policy.is_dry_run && action != "AUDIT" {
            let text = "everything is denied, because a part of the policy is not understood";
            compiled.allows = true;
            compiled.denials.push(Piece {
                name: policy.name.clone(),
                predicate: Predicate::True,
                notes: vec![policy.note(Kind::LeftOut, text)],
            });
        }
    }
    compiled
}
