//! Mints tokens in each provider's shape, signed with keys made for the test.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use serde_json::{Map, Value, json};

use crate::signer::Signer;
use claimgate_core::keyring::{Algorithm, KeySet, KeySetError, Keyring, Keys, ProviderId};
use claimgate_core::policy::{Policy, Provider};
use claimgate_core::time::UnixTime;
use claimgate_core::token::claims::ClaimPath;
use claimgate_core::token::issuer::TENANT_ID;
use claimgate_core::token::{Audiences, Tenants};

/// The id of the keys made for the test.
const KID: &str = "claimgate-test";

/// The lifetime of minted tokens, in seconds.
const LIFETIME: u64 = 600;

/// Signing keys of a policy's providers, created when first needed.
#[derive(Debug)]
pub struct Mint {
    policy: Arc<Policy>,
    signers: BTreeMap<usize, (Signer, Arc<KeySet>)>,
    keyring: Keyring,
}

/// Why no token can be minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The policy has no provider with this name, or number.
    #[error("the configuration has no provider `{0}`")]
    Provider(String),
    /// The claims are not a JSON object.
    #[error("claims must be a JSON object")]
    NoObject,
    /// The signing library failed.
    #[error("cannot sign: {0}")]
    Sign(#[from] Unspecified),
    /// A key that was just created cannot be read back.
    #[error("cannot use a created key: {0}")]
    Key(#[from] KeySetError),
}

impl Mint {
    /// A mint for the providers of `policy`. Creates no key yet.
    pub fn new(policy: Arc<Policy>) -> Self {
        let providers = policy.providers().count();
        Self {
            policy,
            signers: BTreeMap::new(),
            keyring: Keyring::empty(providers),
        }
    }

    /// A keyring with exactly the keys created so far.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The public keys of a provider.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn keys(&mut self, id: ProviderId) -> Result<Arc<KeySet>, MintError> {
        let (_, keys) = self.signer(id)?;
        Ok(Arc::clone(keys))
    }

    /// A token that is valid at `now` for 10 minutes, or for the provider's `max_lifetime` if that is
    /// shorter, apart from these changes of its claims and header. `null` removes a member.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn token(
        &mut self,
        id: ProviderId,
        claims: &Map<String, Value>,
        header: &Map<String, Value>,
        now: UnixTime,
    ) -> Result<String, MintError> {
        let policy = Arc::clone(&self.policy);
        let provider = policy
            .provider(id)
            .ok_or_else(|| MintError::Provider(id.0.to_string()))?;
        let (signer, _) = self.signer(id)?;
        let mut all = usual_header(provider, signer);
        change(&mut all, header);
        let header = Value::Object(all);
        let mut all = usual_claims(provider, claims, now);
        change(&mut all, claims);
        Ok(signer.sign(&header.to_string(), &Value::Object(all).to_string())?)
    }

    fn signer(&mut self, id: ProviderId) -> Result<&(Signer, Arc<KeySet>), MintError> {
        match self.signers.entry(id.0) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let provider = self
                    .policy
                    .provider(id)
                    .ok_or_else(|| MintError::Provider(id.0.to_string()))?;
                let signer = Signer::generate(algorithm(provider), KID)?;
                let jwks = json!({"keys": [signer.jwk()]}).to_string();
                let keys = Arc::new(KeySet::from_json(jwks.as_bytes())?);
                self.keyring = self.keyring.with(id, Keys::Known(Arc::clone(&keys)));
                Ok(entry.insert((signer, keys)))
            }
        }
    }
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
    let max = terms.max_lifetime.map_or(LIFETIME, |max| max.as_secs());
    let now = now.as_secs();
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), (now + LIFETIME.min(max)).into());
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
