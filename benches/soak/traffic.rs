//! The requests of the soak, each with the answer it should get.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::dev::signer::Signer;
use claimgate::time::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::AUDIENCE;
use crate::class::Class;
use crate::oracle::{Expected, Identity, Verdict};
use crate::provider::{Key, Provider};

/// The number of tokens of a provider that are sent again.
const POOL: usize = 64;

/// A request, and what it should lead to.
pub struct Request {
    pub class: Class,
    /// The provider whose token it carries.
    pub provider: &'static str,
    pub path: &'static str,
    pub lines: Vec<(&'static str, String)>,
    pub expected: Expected,
}

/// A token of a provider's current key.
struct Token {
    text: String,
    identity: Identity,
    key: Arc<Key>,
}

/// A provider, with the tokens that are sent again and a key that it does not know.
struct Source {
    provider: Provider,
    pool: Mutex<Vec<Arc<Token>>>,
    rogue: Signer,
    /// Whether clients invent key ids. That uses up the fetches that a new key needs.
    is_flooded: bool,
}

/// Makes requests.
pub struct Traffic {
    sources: Vec<Source>,
    count: AtomicU64,
}

impl Traffic {
    /// Tokens of these providers; for each, whether clients invent key ids.
    pub fn new(providers: &[(Provider, bool)]) -> Self {
        let source = |(provider, is_flooded): &(Provider, bool)| Source {
            provider: provider.clone(),
            pool: Mutex::default(),
            rogue: Signer::generate(provider.current().signer.alg(), "rogue").unwrap(),
            is_flooded: *is_flooded,
        };
        Self {
            sources: providers.iter().map(source).collect(),
            count: AtomicU64::new(0),
        }
    }

    /// The next request.
    pub fn request(&self) -> Request {
        let class = Class::random();
        let may_be_from = |source: &&Source| class != Class::InventedKid || source.is_flooded;
        let sources = self.sources.iter().filter(may_be_from);
        let source = fastrand::choice(sources.collect::<Vec<_>>()).unwrap();
        let key = source.provider.current();
        let now = SystemClock.now().as_secs();
        let fresh = |change: Value| self.mint(source, &key, &key.signer, &change);
        let (token, verdict) = match class {
            Class::New => (self.add(source), allow()),
            Class::Remembered | Class::Spoofed => (self.remembered(source), allow()),
            Class::Public | Class::PublicSpoofed => return plain(class, Verdict::Allow(None)),
            Class::Missing => return plain(class, deny("missing_token")),
            Class::Garbage => {
                let mut request = plain(class, deny("malformed_token"));
                let garbage = std::iter::repeat_with(fastrand::alphanumeric).take(60);
                request.lines = vec![bearer(&garbage.collect::<String>())];
                return request;
            }
            Class::Expired => (fresh(json!({"exp": now - 120})), deny("expired")),
            Class::NotYetValid => (fresh(json!({"nbf": now + 600})), deny("not_yet_valid")),
            Class::WrongAudience => (
                fresh(json!({"aud": "urn:other-api"})),
                deny("wrong_audience"),
            ),
            Class::MissingScope => (fresh(json!({})), Verdict::Deny(403, "insufficient_scope")),
            Class::TwoTokens => (self.remembered(source), deny("malformed_authorization")),
            Class::AlgNone => (unsigned(&fresh(json!({}))), deny("unsupported_algorithm")),
            Class::Tampered => (tampered(&fresh(json!({}))), deny("invalid_token")),
            Class::WrongIssuer => {
                let change = json!({"iss": "https://idp.example.com"});
                let token = self.mint(source, &key, &source.rogue, &change);
                (token, deny("invalid_token"))
            }
            Class::WrongKey => (self.forged(source, &key), deny("invalid_token")),
            Class::InventedKid => (self.invented(source, &key), deny("invalid_token")),
        };
        let verdict = match verdict {
            Verdict::Allow(_) => Verdict::Allow(Some(token.identity.clone())),
            Verdict::Deny(..) => verdict,
        };
        // The others are denied whatever keys the provider has.
        let needs_key = !matches!(
            class,
            Class::TwoTokens | Class::AlgNone | Class::WrongIssuer | Class::InventedKid
        );
        let mut lines = vec![bearer(&token.text)];
        match class {
            Class::TwoTokens => lines.push(bearer(&token.text)),
            Class::Spoofed => lines.extend(spoofed()),
            _ => {}
        }
        Request {
            class,
            provider: source.provider.name(),
            path: match class {
                Class::MissingScope => "/admin",
                _ => "/orders",
            },
            lines,
            expected: Expected {
                verdict,
                key: needs_key.then(|| Arc::clone(&token.key)),
                is_reliable: source.provider.is_reliable(),
                names_unknown_key: class == Class::InventedKid,
            },
        }
    }

    /// A token that was sent before.
    fn remembered(&self, source: &Source) -> Arc<Token> {
        let pool = source.pool.lock().unwrap();
        let found = fastrand::choice(pool.iter()).map(Arc::clone);
        drop(pool);
        found.unwrap_or_else(|| self.add(source))
    }

    /// A new token, which will be sent again.
    fn add(&self, source: &Source) -> Arc<Token> {
        let key = source.provider.current();
        let token = self.mint(source, &key, &key.signer, &json!({}));
        let mut pool = source.pool.lock().unwrap();
        match pool.len() {
            POOL => pool[fastrand::usize(..POOL)] = Arc::clone(&token),
            _ => pool.push(Arc::clone(&token)),
        }
        token
    }

    /// A token with the usual claims, changed by `change`.
    fn mint(&self, source: &Source, key: &Arc<Key>, signer: &Signer, change: &Value) -> Arc<Token> {
        let identity = self.identity(source);
        let claims = claims(source, &identity, change);
        let text = signer.token(&claims).unwrap();
        Arc::new(Token::new(text, identity, key))
    }

    /// A token that names a key of the provider, and is signed with another.
    fn forged(&self, source: &Source, key: &Arc<Key>) -> Arc<Token> {
        let identity = self.identity(source);
        let claims = claims(source, &identity, &json!({})).to_string();
        let header = key.signer.header().to_string();
        let text = source.rogue.sign(&header, &claims).unwrap();
        Arc::new(Token::new(text, identity, key))
    }

    /// A token that names a key that does not exist.
    fn invented(&self, source: &Source, key: &Arc<Key>) -> Arc<Token> {
        let identity = self.identity(source);
        let claims = claims(source, &identity, &json!({})).to_string();
        let mut header = source.rogue.header();
        header["kid"] = format!("invented-{}", fastrand::u64(..)).into();
        let text = source.rogue.sign(&header.to_string(), &claims).unwrap();
        Arc::new(Token::new(text, identity, key))
    }

    fn identity(&self, source: &Source) -> Identity {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = source.provider.name();
        Identity {
            subject: format!("{name}-subject-{number}"),
            client: format!("{name}-client-{number}"),
            payload: String::new(),
        }
    }
}

impl Token {
    fn new(text: String, identity: Identity, key: &Arc<Key>) -> Self {
        let payload = text.split('.').nth(1).unwrap().to_owned();
        Self {
            text,
            identity: Identity {
                payload,
                ..identity
            },
            key: Arc::clone(key),
        }
    }
}

fn claims(source: &Source, identity: &Identity, change: &Value) -> Value {
    let now = SystemClock.now().as_secs();
    let mut claims = json!({
        "iss": source.provider.issuer(),
        "sub": identity.subject,
        "client_id": identity.client,
        "aud": AUDIENCE,
        "scope": "orders:read",
        "iat": now,
        "exp": now + 6 * 3600,
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(change.as_object().unwrap().clone());
    claims
}

fn allow() -> Verdict {
    Verdict::Allow(None)
}

fn deny(reason: &'static str) -> Verdict {
    Verdict::Deny(401, reason)
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// Claim headers that a client makes up.
fn spoofed() -> [(&'static str, String); 3] {
    ["x-auth-subject", "x-auth-client", "x-auth-claims"].map(|name| (name, "root".to_owned()))
}

/// A request without a token.
fn plain(class: Class, verdict: Verdict) -> Request {
    Request {
        class,
        provider: "none",
        path: match class {
            Class::Public | Class::PublicSpoofed => "/public/page",
            _ => "/orders",
        },
        lines: match class {
            Class::PublicSpoofed => spoofed().into(),
            _ => Vec::new(),
        },
        expected: Expected {
            verdict,
            key: None,
            is_reliable: true,
            names_unknown_key: false,
        },
    }
}

/// The token with other claims, or with one character of the signature changed.
fn tampered(token: &Token) -> Arc<Token> {
    let [header, payload, signature] = segments(&token.text);
    let text = if fastrand::bool() {
        let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        claims["sub"] = "root".into();
        let payload = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("{header}.{payload}.{signature}")
    } else {
        let mut signature = signature.to_owned();
        let other = if &signature[10..11] == "A" { "B" } else { "A" };
        signature.replace_range(10..11, other);
        format!("{header}.{payload}.{signature}")
    };
    Arc::new(Token::new(text, token.identity.clone(), &token.key))
}

fn unsigned(token: &Token) -> Arc<Token> {
    let [_, payload, _] = segments(&token.text);
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let text = format!("{header}.{payload}.");
    Arc::new(Token::new(text, token.identity.clone(), &token.key))
}

fn segments(token: &str) -> [&str; 3] {
    let segments: Vec<&str> = token.split('.').collect();
    segments.try_into().unwrap()
}
