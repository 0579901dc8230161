//! Mints tokens in each provider's shape, signed with keys made for the test.

use std::collections::BTreeMap;
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
    signers: BTreeMap<usize, Signing>,
    keyring: Keyring,
}

/// The keys of one provider.
#[derive(Debug)]
struct Signing {
    current: Signer,
    /// Still published until the next rotation, so that its tokens stay valid.
    previous: Option<Signer>,
    made: u32,
    published: Arc<KeySet>,
}

impl Signing {
    fn new(current: Signer, previous: Option<Signer>, made: u32) -> Result<Self, MintError> {
        let published = jwks(&current, previous.as_ref()).to_string();
        Ok(Self {
            published: Arc::new(KeySet::from_json(published.as_bytes())?),
            current,
            previous,
            made,
        })
    }
}

/// The document with the public keys.
fn jwks(current: &Signer, previous: Option<&Signer>) -> Value {
    let published = [Some(current), previous].into_iter().flatten();
    json!({"keys": published.map(Signer::jwk).collect::<Vec<_>>()})
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
        Ok(Arc::clone(&self.signing(id)?.published))
    }

    /// The same as a JWK Set document.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn jwks(&mut self, id: ProviderId) -> Result<Value, MintError> {
        let signing = self.signing(id)?;
        Ok(jwks(&signing.current, signing.previous.as_ref()))
    }

    /// Signs with a new key from now on, and returns its id. The previous key stays published; older
    /// ones do not.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn rotate(&mut self, id: ProviderId) -> Result<String, MintError> {
        let alg = algorithm(self.provider(id)?);
        let made = self.signing(id)?.made + 1;
        let kid = format!("{KID}-{made}");
        let fresh = Signer::generate(alg, &kid)?;
        let previous = self.signers.remove(&id.0).map(|signing| signing.current);
        self.publish(id, Signing::new(fresh, previous, made)?);
        Ok(kid)
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
        let signer = &self.signing(id)?.current;
        let mut all = usual_header(provider, signer);
        change(&mut all, header);
        let header = Value::Object(all);
        let mut all = usual_claims(provider, claims, now);
        change(&mut all, claims);
        Ok(signer.sign(&header.to_string(), &Value::Object(all).to_string())?)
    }

    fn signing(&mut self, id: ProviderId) -> Result<&Signing, MintError> {
        if !self.signers.contains_key(&id.0) {
            let signer = Signer::generate(algorithm(self.provider(id)?), KID)?;
            self.publish(id, Signing::new(signer, None, 1)?);
        }
        let signing = self.signers.get(&id.0);
        signing.ok_or_else(|| MintError::Provider(id.0.to_string()))
    }

    fn publish(&mut self, id: ProviderId, signing: Signing) {
        let keys = Keys::Known(Arc::clone(&signing.published));
        self.keyring = self.keyring.with(id, keys);
        self.signers.insert(id.0, signing);
    }

    fn provider(&self, id: ProviderId) -> Result<&Provider, MintError> {
        let provider = self.policy.provider(id);
        provider.ok_or_else(|| MintError::Provider(id.0.to_string()))
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

/// The lifetime of the provider's tokens, in seconds: 10 minutes, or its `max_lifetime` if that is shorter.
pub(crate) fn lifetime(provider: &Provider) -> u64 {
    let max = provider.terms.max_lifetime;
    max.map_or(LIFETIME, |max| LIFETIME.min(max.as_secs()))
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
    let now = now.as_secs();
    claims.insert("iat".to_owned(), now.into());
    claims.insert(
        "exp".to_owned(),
        now.saturating_add(lifetime(provider)).into(),
    );
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
