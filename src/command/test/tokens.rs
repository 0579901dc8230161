//! Mints tokens in each provider's shape, signed with keys made for the test.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::command::Failure;
use crate::config::{Config, KeySource};
use crate::dev::signer::Signer;
use crate::jwks;
use crate::keyring::{Algorithm, KeySet, Keyring, Keys, ProviderId};
use crate::policy::Provider;
use crate::time::UnixTime;
use crate::token::claims::ClaimPath;
use crate::token::issuer::TENANT_ID;
use crate::token::{Audiences, Tenants};

/// The id of the keys made for the test.
const KID: &str = "claimgate-test";

/// The lifetime of minted tokens, in seconds.
const LIFETIME: u64 = 600;

/// Signing keys, created when first needed.
pub(super) struct Mint<'c> {
    config: &'c Config,
    signers: BTreeMap<usize, Signer>,
    keyring: Keyring,
}

impl<'c> Mint<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self {
            config,
            signers: BTreeMap::new(),
            keyring: Keyring::empty(config.keys.len()),
        }
    }

    /// A keyring with exactly the keys created so far.
    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A token that is valid, apart from these changes.
    pub(super) fn token(
        &mut self,
        id: ProviderId,
        claims: &Map<String, Value>,
        header: &Map<String, Value>,
        now: UnixTime,
    ) -> Result<String, Failure> {
        let provider = self.config.policy.provider(id).ok_or("no such provider")?;
        let signer = match self.signers.entry(id.0) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let signer = Signer::generate(algorithm(provider), KID)?;
                let keys =
                    KeySet::from_json(json!({"keys": [signer.jwk()]}).to_string().as_bytes())?;
                let keyring = self.keyring.with(id, Keys::Known(Arc::new(keys)));
                self.keyring = keyring;
                entry.insert(signer)
            }
        };
        let mut all = usual_header(provider, signer);
        change(&mut all, header);
        let header = Value::Object(all);
        let mut all = usual_claims(provider, claims, now);
        change(&mut all, claims);
        Ok(signer.sign(&header.to_string(), &Value::Object(all).to_string())?)
    }
}

/// The keys in the configuration and in files on this machine. Nothing is fetched.
pub(super) async fn own_keys(config: &Config) -> Keyring {
    let mut keyring = Keyring::empty(config.keys.len());
    for ((id, _), settings) in config.policy.providers().zip(&config.keys) {
        match settings.source {
            KeySource::File(_) | KeySource::Inline(_) => {
                if let Ok(keys) = jwks::fetch_once(settings).await {
                    keyring = keyring.with(id, Keys::Known(keys));
                }
            }
            KeySource::Discovery { .. } | KeySource::Uri(_) => {}
        }
    }
    keyring
}

/// An algorithm that the provider accepts, preferably one whose keys are quick to create.
fn algorithm(provider: &Provider) -> Algorithm {
    let accepted = &provider.terms.algorithms;
    let quick = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ed25519];
    quick
        .into_iter()
        .chain(Algorithm::ALL)
        .find(|alg| accepted.contains(*alg))
        .unwrap_or(Algorithm::Es256)
}

fn usual_header(provider: &Provider, signer: &Signer) -> Map<String, Value> {
    let types = &provider.terms.token_types;
    let typ = types.first().map_or("at+jwt", String::as_str);
    let header = [
        ("alg", signer.alg().name()),
        ("kid", signer.kid()),
        ("typ", typ),
    ];
    let members = header.map(|(name, text)| (name.to_owned(), Value::from(text)));
    members.into_iter().collect()
}

fn usual_claims(
    provider: &Provider,
    given: &Map<String, Value>,
    now: UnixTime,
) -> Map<String, Value> {
    let terms = &provider.terms;
    let mut claims = Map::new();
    let most = terms.max_lifetime.map_or(LIFETIME, |most| most.as_secs());
    let now = now.as_secs();
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), (now + LIFETIME.min(most)).into());
    let tenant = match (&terms.tenants, given.get("tid").and_then(Value::as_str)) {
        (_, Some(tid)) => tid,
        (Tenants::AnyOf(tenants), None) => tenants.first().map_or("", String::as_str),
        (Tenants::Any, None) => "00000000-0000-0000-0000-000000000000",
        (Tenants::None, None) => "",
    };
    if terms.issuer.starts_with("spiffe://") {
        claims.insert("sub".to_owned(), format!("{}/test", terms.issuer).into());
    } else {
        claims.insert(
            "iss".to_owned(),
            terms.issuer.replace(TENANT_ID, tenant).into(),
        );
    }
    if terms.issuer.contains(TENANT_ID) {
        claims.insert("tid".to_owned(), tenant.into());
    }
    if let Audiences::AnyOf(audiences) = &terms.audiences {
        let audience = audiences.first().map_or("", String::as_str);
        put(&mut claims, &terms.audience_claim, audience);
    }
    for required in &terms.required_claims {
        let value = required.any_of.first().map_or("", String::as_str);
        put(&mut claims, &required.path, value);
    }
    claims
}

fn put(claims: &mut Map<String, Value>, path: &ClaimPath, text: &str) {
    let Some((last, outer)) = path.names().split_last() else {
        return;
    };
    let mut members = claims;
    for name in outer {
        let inner = members
            .entry(name.as_str())
            .or_insert_with(|| json!({}))
            .as_object_mut();
        match inner {
            Some(inner) => members = inner,
            None => return,
        }
    }
    members.insert(last.clone(), text.into());
}

fn change(members: &mut Map<String, Value>, changes: &Map<String, Value>) {
    members.extend(changes.clone());
    members.retain(|_, value| !value.is_null());
}
