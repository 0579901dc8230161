//! Sends verified claims to the upstream as headers that it can trust.
//!
//! On every allow, public paths included, each header that claimgate manages is either set or
//! removed. So a client can never choose its value.

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
use crate::request::{Headers, Request, grpc_metadata_name, is_alias, is_spelling};
use crate::token::VerifiedToken;
use crate::token::claims::ClaimPath;
use crate::token::json::Json;
use crate::token::source::cookie::{self, CookiePatterns};
use crate::token::source::places::TokenPlaces;
use crate::token::source::{TokenSource, websocket};

/// The sender of a request, proven by a token.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The token, with everything cached for it.
    pub known: Arc<KnownToken>,
    /// Where the request carries the token.
    pub place: Arc<TokenSource>,
}

impl Bearer {
    /// The provider that issued the token.
    pub fn provider(&self) -> ProviderId {
        self.known.provider
    }

    /// The verified token.
    pub fn token(&self) -> &VerifiedToken {
        &self.known.token
    }
}

/// What the upstream receives with an allowed request, and what the caller receives besides the
/// upstream's response.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The claims to send, each with the header that carries it.
    pub claim_headers: Vec<(HeaderName, ClaimPath)>,
    /// The header that carries the token's scopes.
    pub scope_header: Option<HeaderName>,
    /// The header that carries all claims, as the token encodes them.
    pub payload_header: Option<HeaderName>,
    /// The maximum length in bytes of a claim sent as a header, after encoding.
    pub max_header_bytes: usize,
    /// Whether the token stays in the request.
    pub forward_token: bool,
    /// The cookies that are removed.
    pub remove_cookies: CookiePatterns,
    /// What happens to a request with a header that must not reach the upstream.
    pub spoofed: Spoofed,
    /// Whether Envoy's other filters receive the decision and the claims.
    pub dynamic_metadata: bool,
    /// Headers to set on the response.
    pub response_headers: Vec<(HeaderName, ResponseValue)>,
}

/// What happens to a request with a header that must not reach the upstream as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spoofed {
    /// The proxy removes or replaces the header, as the answer tells it.
    #[default]
    Remove,
    /// The request is refused, because the proxy does not remove headers.
    Refuse,
}

/// The value of a response header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseValue {
    /// The same text on every response.
    Fixed(String),
    /// A claim of the token. Without the claim, the header is left alone.
    Claim(ClaimPath),
}

impl Upstream {
    /// The changes to a request with this bearer, or to one without a token. `places` are all
    /// places where tokens are looked for; every `misleading` header is removed.
    pub fn changes<'a>(
        &'a self,
        bearer: Option<&'a Bearer>,
        places: &'a TokenPlaces,
        misleading: &[&str],
        request: &Request<'a>,
    ) -> Changes<'a> {
        let mut changes = Changes::default();
        self.manage_headers(bearer, &mut changes);
        let places_to_clear: Vec<&TokenSource> = match bearer {
            _ if self.forward_token => Vec::new(),
            Some(bearer) => vec![&bearer.place],
            None => places.used(request).map(|place| &**place).collect(),
        };
        self.clear(&places_to_clear, &request.headers, &mut changes);
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

    /// Whether the changes depend on the bearer alone: not on where the token is, and not on what
    /// else the request sends. Then the cached answer for the token can be reused.
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
        is_first
            && is_taken_simply
            && !names.any(|sent| self.is_unwanted(places, misleading, sent))
            && !self.remove_cookies.are_in(request)
    }

    /// The first header that must not reach the upstream, if requests with one are refused: any
    /// spelling of a managed header, and what is removed otherwise.
    pub fn refused_header<'r>(
        &self,
        places: &TokenPlaces,
        misleading: impl FnOnce() -> &'static [&'static str],
        request: &Headers<'r>,
    ) -> Option<&'r str> {
        match self.spoofed {
            Spoofed::Remove => None,
            Spoofed::Refuse => {
                let misleading = misleading();
                request.names().find(|sent| {
                    self.managed()
                        .any(|own| own.as_str().eq_ignore_ascii_case(sent))
                        || self.is_unwanted(places, misleading, sent)
                })
            }
        }
    }

    /// Whether `sent` must be removed: a misspelling of a managed header or of a header that may
    /// carry a token, any spelling of these that grpc-gateway would pass on, or any spelling of a
    /// misleading header.
    fn is_unwanted(&self, places: &TokenPlaces, misleading: &[&str], sent: &str) -> bool {
        self.managed().any(|name| is_alias(name.as_str(), sent))
            || places.is_alias(sent)
            || misleading.iter().any(|name| is_spelling(name, sent))
            || grpc_metadata_name(sent).is_some_and(|passed_on| {
                let mut managed = self.managed();
                managed.any(|name| is_spelling(name.as_str(), passed_on))
                    || places.is_spelling(passed_on)
            })
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

    /// Sets the header, or removes it if no value fits.
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

    /// The value as text. `None` if it is too long, which is recorded in `oversized`.
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

    /// Removes headers that the upstream may mistake for a managed one or for one that may carry a
    /// token. Servers in the CGI tradition read `x_auth_subject`, or any mix of `-` and `_`, as
    /// `x-auth-subject`; some treat any other character in place of a hyphen like that.
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

    /// Removes tokens from these places and the cookies of `remove_cookies`, and keeps everything else.
    fn clear<'a>(
        &self,
        places: &[&'a TokenSource],
        request: &Headers<'a>,
        changes: &mut Changes<'a>,
    ) {
        let (mut cookies, mut protocols) = (Vec::new(), Vec::new());
        for place in places {
            match place {
                // `manage_headers` sets or removes a header with that name anyway.
                TokenSource::Header { name, .. }
                    if self.managed().any(|own| own.as_str() == name) => {}
                // Two places may share one header, under two schemes.
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
        if !cookies.is_empty() || self.remove_cookies.are_in(request) {
            let left = cookie::without(request, &cookies, &self.remove_cookies);
            replace("cookie", left);
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

/// The value of a header before it is encoded.
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

/// Changes to a request and to its response. No name is in both `set` and `remove`, because Envoy
/// removes last.
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    /// Replaces every value under the name.
    pub set: Vec<(&'a str, Cow<'a, str>)>,
    /// Removes every value under the name.
    pub remove: Vec<Cow<'a, str>>,
    /// Removes every query parameter with one of these names.
    pub remove_query: Vec<&'a str>,
    /// Replaces every value that the upstream's response has under the name.
    pub response: Vec<(&'a str, Cow<'a, str>)>,
    /// Headers that are not set because their claim is too long.
    pub oversized: Vec<Oversized<'a>>,
}

/// A header whose claim is longer than `max_header_bytes`.
#[derive(Clone)]
pub struct Oversized<'a> {
    /// The header's name.
    pub header: &'a str,
    value: Value<'a>,
}

impl Oversized<'_> {
    /// In bytes: above the largest possible `max_header_bytes`.
    const MAX_MEASURED: usize = 60 * 1024;

    /// The length of the encoded claim, as text. Measured only when it is reported, because
    /// measuring takes longer than finding that the claim is too long.
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
