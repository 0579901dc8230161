//! Verified claims as headers that the upstream can trust.
//!
//! A header that claimgate manages is either set or removed, on every allow, be it without a
//! token, so that no value of the client's choosing can pass under its name.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

mod header_name;
mod known_token;
mod value;

pub use header_name::{HeaderName, HeaderNameError};
pub use known_token::{CachedAnswer, KnownToken};
use value::{TooLong, header_value};

use crate::keyring::ProviderId;
use crate::request::{Headers, Request, is_alias, is_spelling};
use crate::token::VerifiedToken;
use crate::token::claims::ClaimPath;
use crate::token::json::Json;
use crate::token::source::places::TokenPlaces;
use crate::token::source::{TokenSource, cookie, websocket};

/// Who sends a request, on the evidence of a token.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The token, with what is remembered of it.
    pub known: Arc<KnownToken>,
    /// Where the request carries the token.
    pub place: Arc<TokenSource>,
}

impl Bearer {
    /// The provider that issued the token.
    pub fn provider(&self) -> ProviderId {
        self.known.provider
    }

    /// The evidence.
    pub fn token(&self) -> &VerifiedToken {
        &self.known.token
    }
}

/// What the upstream sees of a request that was allowed, and what its caller sees besides the
/// upstream's answer.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// Claims to be sent, each under a name of its own.
    pub claim_headers: Vec<(HeaderName, ClaimPath)>,
    /// The header that carries the scopes.
    pub scope_header: Option<HeaderName>,
    /// The header that carries all claims.
    pub payload_header: Option<HeaderName>,
    /// The longest claim that is sent as a header, in bytes after encoding.
    pub max_header_bytes: usize,
    /// Whether the upstream gets the token too.
    pub forward_token: bool,
    /// Whether Envoy's other filters get to know what was decided, and the claims.
    pub dynamic_metadata: bool,
    /// Headers of the answer.
    pub response_headers: Vec<(HeaderName, ResponseValue)>,
}

/// What a header of the answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseValue {
    /// Always this.
    Fixed(String),
    /// The claim, if there is one.
    Claim(ClaimPath),
}

impl Upstream {
    /// The changes to a request of this bearer, or of nobody in particular. `places` are all
    /// places where tokens are looked for; `misleading` headers are taken away.
    pub fn changes<'a>(
        &'a self,
        bearer: Option<&'a Bearer>,
        places: &'a TokenPlaces,
        misleading: &[&str],
        request: &Request<'a>,
    ) -> Changes<'a> {
        let mut changes = Changes::default();
        self.manage_headers(bearer, &mut changes);
        if !self.forward_token {
            match bearer {
                Some(bearer) => self.take_tokens(&[&bearer.place], &request.headers, &mut changes),
                None => {
                    let sent: Vec<_> = places.used(request).map(|place| &**place).collect();
                    self.take_tokens(&sent, &request.headers, &mut changes);
                }
            }
        }
        self.remove_aliases(places, misleading, &request.headers, &mut changes);
        for (name, value) in &self.response_headers {
            let value = match value {
                ResponseValue::Fixed(text) => Some(Cow::Borrowed(text.as_str())),
                ResponseValue::Claim(path) => self
                    .fitting(name, claim(bearer, path).map(Value::Claim), &mut changes)
                    .map(Cow::Owned),
            };
            changes
                .response
                .extend(value.map(|value| (name.as_str(), value)));
        }
        changes
    }

    /// Whether the changes to a request depend on nothing but the bearer: not on where the token is,
    /// nor on what else the request sends.
    pub fn depends_on_bearer_alone(
        &self,
        bearer: &Bearer,
        places: &TokenPlaces,
        misleading: &[&str],
        request: &Headers<'_>,
    ) -> bool {
        let is_first = places.first().is_some_and(|first| *first == bearer.place);
        let is_taken_simply = self.forward_token || bearer.place.is_whole_header();
        let mut names = request.names();
        is_first && is_taken_simply && !names.any(|sent| self.is_unwanted(places, misleading, sent))
    }

    /// Whether a header is one that is managed, or in which tokens are looked for, under another
    /// spelling of its name; or a misleading one under any.
    fn is_unwanted(&self, places: &TokenPlaces, misleading: &[&str], sent: &str) -> bool {
        self.managed().any(|name| is_alias(name.as_str(), sent))
            || places.is_alias(sent)
            || misleading.iter().any(|name| is_spelling(name, sent))
    }

    fn manage_headers<'a>(&'a self, bearer: Option<&'a Bearer>, changes: &mut Changes<'a>) {
        for (name, path) in &self.claim_headers {
            self.manage(name, claim(bearer, path).map(Value::Claim), changes);
        }
        if let Some(name) = &self.scope_header {
            let scopes: Vec<&str> = bearer
                .iter()
                .flat_map(|bearer| bearer.token().scopes())
                .collect();
            let scopes = (!scopes.is_empty()).then(|| scopes.join(" "));
            self.manage(name, scopes.map(Value::Text), changes);
        }
        if let Some(name) = &self.payload_header {
            match bearer {
                Some(bearer) => changes
                    .set
                    .push((name.as_str(), bearer.token().payload().into())),
                None => changes.remove.push(name.as_str().into()),
            }
        }
    }

    /// Sets a header, or removes it when there is no value that fits.
    fn manage<'a>(
        &self,
        name: &'a HeaderName,
        value: Option<Value<'a>>,
        changes: &mut Changes<'a>,
    ) {
        match self.fitting(name, value, changes) {
            Some(value) => changes.set.push((name.as_str(), Cow::Owned(value))),
            None => changes.remove.push(name.as_str().into()),
        }
    }

    /// The value as text, unless it is too long for a header, which is noted.
    fn fitting<'a>(
        &self,
        name: &'a HeaderName,
        value: Option<Value<'a>>,
        changes: &mut Changes<'a>,
    ) -> Option<String> {
        let value = value?;
        match value.text(self.max_header_bytes) {
            Ok(text) => text.map(Cow::into_owned),
            Err(TooLong) => {
                let header = name.as_str();
                changes.oversized.push(Oversized { header, value });
                None
            }
        }
    }

    /// Servers in the tradition of CGI read `x_auth_subject`, or any mixture, as `x-auth-subject`;
    /// some read any other character in a hyphen's place like that. The same goes for the headers
    /// in which tokens are looked for.
    fn remove_aliases<'a>(
        &'a self,
        places: &TokenPlaces,
        misleading: &[&str],
        request: &Headers<'a>,
        changes: &mut Changes<'a>,
    ) {
        for name in self.managed() {
            changes.remove.extend(name.underscored().map(Cow::Owned));
        }
        for sent in request.names() {
            if self.is_unwanted(places, misleading, sent) {
                let sent = Cow::Owned(sent.to_ascii_lowercase());
                if !changes.remove.contains(&sent) {
                    changes.remove.push(sent);
                }
            }
        }
    }

    /// Takes tokens away from where they are, and nothing else.
    fn take_tokens<'a>(
        &self,
        places: &[&'a TokenSource],
        request: &Headers<'a>,
        changes: &mut Changes<'a>,
    ) {
        let (mut cookies, mut protocols) = (Vec::new(), Vec::new());
        for place in places {
            match place {
                // A header of that name is set or removed anyway.
                TokenSource::Header { name, .. }
                    if self.managed().any(|own| own.as_str() == name) => {}
                // Two places may be in one header, under two schemes.
                TokenSource::Header { name, .. } if changes.remove.contains(&name.into()) => {}
                TokenSource::Header { name, .. } => changes.remove.push(name.as_str().into()),
                TokenSource::Cookie(name) => cookies.push(name.as_str()),
                TokenSource::Query(name) => changes.remove_query.push(name),
                TokenSource::WebSocket(name) => protocols.push(name.as_str()),
            }
        }
        let mut replace = |header, left: Option<String>| match left {
            Some(left) => changes.set.push((header, Cow::Owned(left))),
            None => changes.remove.push(header.into()),
        };
        if !cookies.is_empty() {
            replace("cookie", cookie::without(request, &cookies));
        }
        if !protocols.is_empty() {
            replace(websocket::HEADER, websocket::without(request, &protocols));
        }
    }

    fn managed(&self) -> impl Iterator<Item = &HeaderName> {
        self.claim_headers
            .iter()
            .map(|(name, _)| name)
            .chain(&self.scope_header)
            .chain(&self.payload_header)
    }
}

fn claim<'a>(bearer: Option<&'a Bearer>, path: &ClaimPath) -> Option<Json<'a>> {
    bearer?.token().claims().at(path)
}

/// What a header is to say.
#[derive(Clone)]
enum Value<'a> {
    Claim(Json<'a>),
    Text(String),
}

impl Value<'_> {
    fn text(&self, max_bytes: usize) -> Result<Option<Cow<'_, str>>, TooLong> {
        match self {
            Self::Claim(claim) => Ok(header_value(*claim, max_bytes)?.map(Cow::Owned)),
            Self::Text(text) if text.len() > max_bytes => Err(TooLong),
            Self::Text(text) => Ok(Some(text.into())),
        }
    }
}

/// Changes to a request, and to the answer to it. No name is in both lists of the request's: Envoy
/// removes last.
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    /// Replaces whatever the client sent under the name.
    pub set: Vec<(&'a str, Cow<'a, str>)>,
    /// Removes every value under the name.
    pub remove: Vec<Cow<'a, str>>,
    /// Removes every query parameter of these names.
    pub remove_query: Vec<&'a str>,
    /// Replaces whatever the upstream answers under the name.
    pub response: Vec<(&'a str, Cow<'a, str>)>,
    /// Headers that are not set because the claim is too long.
    pub oversized: Vec<Oversized<'a>>,
}

/// A header whose claim is longer than `max_header_bytes`.
#[derive(Clone)]
pub struct Oversized<'a> {
    /// Its name.
    pub header: &'a str,
    value: Value<'a>,
}

impl Oversized<'_> {
    /// More than `max_header_bytes` can be.
    const MAX_MEASURED: usize = 60 * 1024;

    /// The length of the claim, encoded, in words. It is measured only here, as that takes longer than to
    /// find that the claim is too long.
    pub fn length(&self) -> String {
        match self.value.text(Self::MAX_MEASURED) {
            Ok(text) => format!("{} bytes", text.map_or(0, |text| text.len())),
            Err(TooLong) => format!("over {} bytes", Self::MAX_MEASURED),
        }
    }
}

impl fmt::Display for Oversized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.header, self.length())
    }
}

impl fmt::Debug for Oversized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oversized")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
