//! A request that both configurations judge, and its token.

use serde_json::{Map, Value, json};

use crate::keyring::Algorithm;
use crate::token::source::TokenSource;

/// A request without its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// The method.
    pub method: String,
    /// The authority.
    pub host: String,
    /// The path with its query.
    pub path: String,
    /// The header lines.
    pub headers: Vec<(String, String)>,
    /// The sender's IP address.
    pub address: String,
    /// The name in the sender's TLS certificate.
    pub principal: String,
    /// What Envoy's route says.
    pub context: Vec<(String, String)>,
}

impl Shape {
    /// A request for `/` from an address that no rule names.
    pub(super) fn plain(method: &str, host: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            address: ADDRESS.to_owned(),
            principal: String::new(),
            context: Vec::new(),
        }
    }

    /// How much a person has to read: the smallest example is shown.
    pub(super) fn weight(&self) -> usize {
        let Self {
            method,
            host,
            path,
            headers,
            address,
            principal,
            context,
        } = self;
        let lines = |lines: &[(String, String)]| -> usize {
            let lines = lines.iter();
            lines
                .map(|(name, value)| 20 + name.len() + value.len())
                .sum()
        };
        // A person takes a request of an unusual form for the reason of the difference.
        let is_unusual = host.is_empty()
            || host.ends_with('.')
            || !crate::request::method::is_canonical(method)
            || path.contains("//")
            || path.contains("..")
            || path.contains('%');
        usize::from(is_unusual) * 200
            + usize::from(method != "GET")
            + host.len()
            + path.len()
            + lines(headers)
            + lines(context)
            + principal.len()
            + usize::from(address != ADDRESS) * 20
    }

    pub(super) fn json(&self) -> Value {
        let Self {
            method,
            host,
            path,
            headers,
            address,
            principal,
            context,
        } = self;
        let mut all = json!({"method": method, "host": host, "path": path});
        let texts = |lines: &[(String, String)]| -> Map<String, Value> {
            let lines = lines.iter();
            lines
                .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                .collect()
        };
        if let Some(members) = all.as_object_mut() {
            if !headers.is_empty() {
                members.insert("headers".to_owned(), texts(headers).into());
            }
            let mut source = Map::new();
            if address != ADDRESS {
                source.insert("address".to_owned(), address.as_str().into());
            }
            if !principal.is_empty() {
                source.insert("principal".to_owned(), principal.as_str().into());
            }
            if !source.is_empty() {
                members.insert("source".to_owned(), source.into());
            }
            if !context.is_empty() {
                members.insert("context".to_owned(), texts(context).into());
            }
        }
        all
    }
}

/// The sender's address if no condition asks for one: reserved for documentation (RFC 5737).
pub(super) const ADDRESS: &str = "192.0.2.1";

/// What a request carries as its token.
#[derive(Clone, Debug, PartialEq)]
pub enum Bearer {
    /// Nothing.
    None,
    /// A text that is no token.
    Garbage,
    /// A token, signed by a key that both configurations know for every provider.
    Token(Box<TokenSpec>),
}

/// A token before it is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSpec {
    /// The name of the provider that the token is from.
    pub provider: String,
    /// The algorithm of its signature.
    pub alg: Algorithm,
    /// The `typ` in its header.
    pub typ: Option<String>,
    /// What makes it a token of this provider: issuer, audience and required claims.
    pub usual: Map<String, Value>,
    /// The claims that make it the token of this request.
    pub claims: Map<String, Value>,
    /// `iat`, in seconds after the time of the decision.
    pub iat: Option<i64>,
    /// `exp`, in the same unit.
    pub exp: Option<i64>,
    /// `nbf`, in the same unit.
    pub nbf: Option<i64>,
    /// `auth_time`, in the same unit.
    pub auth_time: Option<i64>,
    /// The number of bytes of a claim that only makes the token longer.
    pub padding: usize,
    /// Where the request carries it.
    pub place: TokenSource,
    /// Where a person finds it, if that has to be said.
    pub is_place_unusual: bool,
    /// Which of the times and of the usual claims a person has to know.
    pub noteworthy: Vec<String>,
}

impl TokenSpec {
    /// The claims set at a time.
    pub(super) fn claims_at(&self, now: u64) -> Map<String, Value> {
        let mut all = self.usual.clone();
        all.extend(self.claims.clone());
        let at = |offset: i64| Value::from(now.saturating_add_signed(offset));
        for (name, offset) in [
            ("iat", self.iat),
            ("exp", self.exp),
            ("nbf", self.nbf),
            ("auth_time", self.auth_time),
        ] {
            if let Some(offset) = offset {
                all.insert(name.to_owned(), at(offset));
            }
        }
        if self.padding > 0 {
            all.insert("padding".to_owned(), "x".repeat(self.padding).into());
        }
        all
    }

    /// The protected header.
    pub(super) fn header(&self, kid: &str) -> Value {
        let mut header = json!({"alg": self.alg.name(), "kid": kid});
        if let (Some(typ), Some(members)) = (&self.typ, header.as_object_mut()) {
            members.insert("typ".to_owned(), typ.as_str().into());
        }
        header
    }

    pub(super) fn weight(&self) -> usize {
        let claims = Value::Object(self.claims.clone()).to_string().len();
        // Most tokens say when they were issued.
        let is_unusual = self.iat.is_none();
        30 + claims
            + 20 * self.noteworthy.len()
            + self.padding.min(20)
            + usize::from(is_unusual) * 100
    }

    /// The token in words: what a person has to know to mint one like it.
    pub(super) fn words(&self) -> String {
        let claims = match self.claims.is_empty() {
            true => String::new(),
            false => format!(" with {}", Value::Object(self.claims.clone())),
        };
        let mut words = vec![format!("a token of `{}`{claims}", self.provider)];
        for name in &self.noteworthy {
            if !self.claims.contains_key(name) {
                words.push(self.note(name));
            }
        }
        if self.is_place_unusual {
            words.push(format!("in the {}", self.place));
        }
        words.join(", ")
    }

    fn note(&self, name: &str) -> String {
        let time = |offset: Option<i64>| match offset {
            None => format!("no `{name}`"),
            Some(0) => format!("`{name}` now"),
            Some(ahead @ 1..) => format!("`{name}` in {ahead} s"),
            Some(past) => format!("`{name}` {} s ago", past.unsigned_abs()),
        };
        match name {
            "alg" => format!("signed with {}", self.alg),
            "typ" => match &self.typ {
                Some(typ) => format!("`typ: {typ}`"),
                None => "no `typ`".to_owned(),
            },
            "length" => format!("about {} bytes long", self.padding * 4 / 3),
            "iat" => time(self.iat),
            "exp" => time(self.exp),
            "nbf" => time(self.nbf),
            "auth_time" => time(self.auth_time),
            claim => match self.usual.get(claim) {
                Some(value) => format!("`{claim}`: {value}"),
                None => format!("no `{claim}`"),
            },
        }
    }

    pub(super) fn json(&self, now: u64) -> Value {
        json!({
            "provider": self.provider,
            "alg": self.alg.name(),
            "typ": self.typ,
            "claims": self.claims_at(now),
            "place": self.place.to_string(),
            "words": self.words(),
        })
    }
}

impl Bearer {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Garbage => 10,
            Self::Token(token) => token.weight(),
        }
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::None => "no token".to_owned(),
            Self::Garbage => "a text that is not a token".to_owned(),
            Self::Token(token) => token.words(),
        }
    }
}
