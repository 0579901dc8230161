//! Istio's `RequestAuthentication` and `AuthorizationPolicy`.

use super::decide::{Otherwise, Piece, rules};
use super::envoy::provider::EnvoyProvider;
use super::model::{Kind, Model, Note, Place};
use super::objects;
use super::predicate::Predicate;
use super::providers::merge;
use super::source::Document;
use super::{Error, Import, Options};

mod authentication;
mod authorization;
mod changes;
mod identity;
mod mesh;
mod policy;
mod workload;

use mesh::Mesh;
use policy::Policy;
use workload::{Applies, Workload};

/// The API group of both kinds.
const GROUP: &str = "security.istio.io/";

/// Its kinds. Mutual TLS stays what it is.
const KINDS: objects::Group = objects::Group {
    name: "security.istio.io",
    versions: &["v1", "v1beta1"],
    policies: &[AUTHENTICATION, AUTHORIZATION],
    others: &["PeerAuthentication"],
};

const AUTHENTICATION: &str = "RequestAuthentication";
const AUTHORIZATION: &str = "AuthorizationPolicy";

/// Whether a document is one of Istio's for security.
pub fn is_policy(document: &Document) -> bool {
    let version = document.root.text_of("apiVersion").unwrap_or_default();
    version.starts_with(GROUP)
}

/// Imports the policies of one workload.
///
/// # Errors
///
/// Fails if the files have policies of several workloads and `options` name none, if no
/// `RequestAuthentication` applies to the workload, or if an object is not known for certain: its kind, its
/// version or its namespace, or because another one has its name.
pub fn read(documents: &[Document], options: &Options) -> Result<Import, Error> {
    let mesh = Mesh::of(documents, options);
    let mut notes = Vec::new();
    let policies: Vec<Policy<'_>> = objects::of(documents, &KINDS, options.namespace.as_deref())?
        .into_iter()
        .map(|(document, name)| Policy::read(document, name, &mut notes))
        .collect();
    let workload = Workload::choose(&policies, options.workload.as_deref(), &mesh)?;
    let mut own = Vec::new();
    for policy in &policies {
        match workload.applies(policy, &mesh) {
            Applies::No => notes.push(not_for(policy, &workload, &mesh)),
            applies => own.push((policy, applies)),
        }
    }

    let mut providers: Vec<(EnvoyProvider, Place)> = Vec::new();
    let mut words = Vec::new();
    for (policy, applies) in own.iter().filter(|(it, _)| it.kind == AUTHENTICATION) {
        match applies {
            Applies::Yes => {
                authentication::read(policy, &mut providers, &mut words, &mut notes);
            }
            _ => {
                policy.spec.ignore(&["jwtRules"]);
                policy.spec.finish(&mut notes);
                notes.push(doubt(policy, &workload, "its tokens are refused"));
            }
        }
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

    let mut compiled = Policies::default();
    for (policy, applies) in own.iter().filter(|(it, _)| it.kind == AUTHORIZATION) {
        let reader = authorization::Context::of(policy, &words, &mesh);
        compiled.add(policy, &reader, &mut model.notes);
        if *applies == Applies::Maybe {
            compiled.doubt(policy, &workload, &mut model.notes);
        }
    }
    let Policies {
        denials,
        allowances,
        allows,
        ..
    } = compiled;
    let otherwise = match allows {
        true => Otherwise::Deny,
        false => Otherwise::Allow,
    };
    model.rules = rules(denials, allowances, otherwise, &model.providers);
    let changes = changes::of(&own, &workload);
    Ok(Import { model, changes })
}

/// A note that a policy is for other workloads.
fn not_for(policy: &Policy<'_>, workload: &Workload, mesh: &Mesh<'_>) -> Note {
    let text = match policy.is_for_namespace() {
        true => format!(
            "not for {workload}; `--root-namespace` names a root namespace other than `{}`",
            mesh.root
        ),
        false => format!("not for {workload}"),
    };
    policy.note(Kind::Differs, text)
}

/// A note that it is not known whether a policy is for the workload.
fn doubt(policy: &Policy<'_>, workload: &Workload, what: &str) -> Note {
    let text = format!(
        "{what}, because it is not known whether the policy is for {workload}: {}",
        workload.advice(policy)
    );
    policy.note(Kind::LeftOut, text)
}

#[derive(Default)]
struct Policies {
    denials: Vec<Piece>,
    allowances: Vec<Piece>,
    /// Whether any policy allows, so that everything else is denied.
    allows: bool,
    /// How many pieces allow apart from those of the last policy.
    before: usize,
}

impl Policies {
    /// Adds what a policy denies or allows. DENY comes before ALLOW, whatever the order of the files.
    fn add(
        &mut self,
        policy: &Policy<'_>,
        context: &authorization::Context<'_>,
        notes: &mut Vec<Note>,
    ) {
        self.before = self.allowances.len();
        let spec = &policy.spec;
        let action = spec.get("action");
        let action = action.as_ref().map_or(Some("ALLOW"), |it| it.node.text());
        match action {
            _ if policy.is_dry_run => {
                spec.ignore(&["rules", "provider"]);
                let text = "a dry run changes nothing: Istio only reports, and claimgate does not; see `enforce: false`";
                notes.push(policy.note(Kind::Differs, text));
            }
            Some("ALLOW") => {
                self.allows = true;
                self.allowances.extend(authorization::read(policy, context));
            }
            Some("DENY") => self.denials.extend(authorization::read(policy, context)),
            Some("AUDIT") => {
                spec.ignore(&["rules"]);
                let text = "claimgate logs each denial, and no requests that a policy chooses";
                notes.push(policy.note(Kind::LeftOut, text));
            }
            Some("CUSTOM") => {
                spec.ignore(&["rules", "provider"]);
                let text = "Istio asks this provider, too, if `PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS` \
                            is on; otherwise it denies everything beside claimgate's own policy";
                notes.push(policy.note(Kind::LeftOut, text));
            }
            _ => {
                spec.ignore(&["rules", "provider"]);
                self.deny_all(policy, "its action is unknown, so everything is denied");
            }
        }
        let is_clear = spec.finish(notes);
        if !is_clear && !policy.is_dry_run && action != Some("AUDIT") {
            let text = "everything is denied, because a part of the policy is not understood";
            self.deny_all(policy, text);
        }
    }

    fn deny_all(&mut self, policy: &Policy<'_>, text: &str) {
        self.allows = true;
        self.denials.push(Piece {
            name: policy.name.name.clone(),
            place: policy.spec.place(),
            predicate: Predicate::True,
            notes: vec![policy.note(Kind::LeftOut, text)],
        });
    }

    /// The last policy may not be for the workload. So what it denies is denied, and what it allows is not
    /// allowed.
    fn doubt(&mut self, policy: &Policy<'_>, workload: &Workload, notes: &mut Vec<Note>) {
        let allowances = self.allowances.split_off(self.before);
        notes.extend(allowances.into_iter().flat_map(|piece| piece.notes));
        let what = "what it denies is denied, and what it allows is not allowed";
        notes.push(doubt(policy, workload, what));
    }
}
