//! The claims set (RFC 7519 §4), and paths that name a claim in it.

use std::fmt;
use std::time::Duration;

use super::TokenError;
use super::json::{ClaimsDocument, Json, Object};
use crate::escaped::Escaped;
use crate::time::UnixTime;

/// A JSON object without repeated names. If `iss` or `sub` is present, it is a string.
#[derive(Clone, Debug)]
pub struct Claims(ClaimsDocument);

/// A claim that holds a time (RFC 7519 §2, `NumericDate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumericDate {
    /// Expiration time, §4.1.4.
    Exp,
    /// Not before, §4.1.5.
    Nbf,
    /// Issued at, §4.1.6.
    Iat,
    /// When the user last logged in (OpenID Connect Core §2, RFC 9068 §2.2.1).
    AuthTime,
}

impl NumericDate {
    const fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Nbf => "nbf",
            Self::Iat => "iat",
            Self::AuthTime => "auth_time",
        }
    }
}

impl fmt::Display for NumericDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Claims {
    pub(super) fn new(members: ClaimsDocument) -> Result<Self, TokenError> {
        let claims = Self(members);
        claims.text("iss")?;
        claims.text("sub")?;
        Ok(claims)
    }

    /// The claim at `path`. A `null` counts as absent.
    pub fn at(&self, path: &ClaimPath) -> Option<Json<'_>> {
        self.at_or_null(path).filter(|value| !value.is_null())
    }

    /// The claim at `path`, which may be `null`.
    pub fn at_or_null(&self, path: &ClaimPath) -> Option<Json<'_>> {
        let (first, rest) = path.0.split_first()?;
        rest.iter()
            .try_fold(self.members().get(first)?, |value, name| match value {
                Json::Object(members) => members.get(name),
                Json::Array(elements) => elements.get(name.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// The subject. Of the claims, only this one and the client may appear in logs.
    pub fn subject(&self) -> Option<&str> {
        self.members().get("sub").and_then(Json::as_str)
    }

    /// The client that the token was issued to: `client_id` (RFC 9068 §2.2), or what providers use
    /// instead.
    pub fn client(&self) -> Option<&str> {
        let members = self.members();
        ["client_id", "azp", "cid", "appid"]
            .into_iter()
            .find_map(|name| members.get(name).and_then(Json::as_str))
    }

    /// The approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The maximum size of the claims as a `google.protobuf.Struct`, in bytes. Claims that are nested so
    /// deep that parts become JSON text may be larger.
    pub fn max_encoded_bytes(&self) -> usize {
        self.0.max_encoded_bytes()
    }

    /// All claims.
    pub fn members(&self) -> Object<'_> {
        self.0.members()
    }

    /// The text of a claim; `null` counts as absent. Fails if the claim is not a string.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, TokenError> {
        match self.members().get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "is not a string")),
        }
    }

    /// The audiences in the claim at `path`: a string or an array of strings. `None` if absent.
    pub(super) fn audience(&self, path: &ClaimPath) -> Result<Option<Vec<&str>>, TokenError> {
        let wrong = || {
            let why = "is neither a string nor an array of strings";
            wrong(&path.to_string(), why)
        };
        match self.at(path) {
            None => Ok(None),
            Some(Json::String(audience)) => Ok(Some(vec![audience])),
            Some(Json::Array(audiences)) => audiences
                .iter()
                .map(|audience| audience.as_str().ok_or_else(wrong))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(wrong()),
        }
    }

    /// The time in a claim: a JSON number from the epoch to the end of the year 9999. A `null`
    /// counts as absent.
    pub(crate) fn date(&self, date: NumericDate) -> Result<Option<UnixTime>, TokenError> {
        let seconds = match self.members().get(date.name()) {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::Number(seconds)) => seconds,
            Some(_) => return Err(wrong(date.name(), "is not a number")),
        };
        let since_epoch = match (seconds.as_u64(), seconds.to_f64()) {
            (Some(whole), _) => Some(Duration::from_secs(whole)),
            (None, positive @ 0.0..) => {
                Some(Duration::try_from_secs_f64(positive).unwrap_or(Duration::MAX))
            }
            (None, _) => None,
        };
        match since_epoch.map(UnixTime::from_duration) {
            Some(time) if time <= UnixTime::END_OF_YEAR_9999 => Ok(Some(time)),
            Some(_) => Err(wrong(
                date.name(),
                "lies beyond the year 9999: it counts the seconds since 1970 (RFC 7519 §2)",
            )),
            None => Err(wrong(date.name(), "is not a time after 1970")),
        }
    }
}

/// A claim has another value than the one required.
pub(super) fn mismatch(claim: &str, found: &str, expected: &str) -> TokenError {
    TokenError::ClaimMismatch {
        claim: claim.to_owned(),
        found: Escaped::from(found),
        expected: vec![expected.to_owned()],
    }
}

fn wrong(claim: &str, why: &str) -> TokenError {
    TokenError::Malformed(format!("the token's `{claim}` {why}"))
}

/// The path to a claim: `realm_access.roles`, or the JSON pointer (RFC 6901) `/a.b/roles` if a name
/// contains a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// The names along the path; the last one is the claim's own.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ClaimPath {
    /// The path as it may be written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_urn = self.0.len() > 1 && self.0.iter().any(|name| name.starts_with("urn:"));
        if is_urn || self.0.iter().any(|name| name.contains(['.', '/', '~'])) {
            self.0
                .iter()
                .try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")))
        } else {
            f.write_str(&self.0.join("."))
        }
    }
}

/// Why a text is not a claim path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathError {
    /// The text is empty, or two dots have nothing between them.
    #[error("`{0}` has an empty name")]
    EmptyName(String),
    /// A single name that contains dots, such as a URL, which the dots would split.
    #[error(
        "the dots split `{text}` into several names; for the claim with that name write `{pointer}`"
    )]
    Parted {
        /// The path as it was written.
        text: String,
        /// The JSON pointer of the claim with that name.
        pointer: String,
    },
    /// A `~` without `0` or `1` after it.
    #[error("`{0}` is not a JSON pointer: write `~0` for `~` and `~1` for `/`")]
    BadEscape(String),
}

impl std::str::FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        let names: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(unescape)
                .collect::<Option<_>>()
                .ok_or_else(|| ClaimPathError::BadEscape(text.to_owned()))?,
            None if text.contains('.') && (text.contains('/') || text.starts_with("urn:")) => {
                return Err(ClaimPathError::Parted {
                    pointer: Self(vec![text.to_owned()]).to_string(),
                    text: text.to_owned(),
                });
            }
            None => text.split('.').map(ToOwned::to_owned).collect(),
        };
        if names.iter().any(String::is_empty) {
            return Err(ClaimPathError::EmptyName(text.to_owned()));
        }
        Ok(Self(names))
    }
}

fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('~');
    let first = parts.next()?.to_owned();
    parts.try_fold(first, |text, part| match part.as_bytes().first() {
        Some(b'0') => Some(text + "~" + part.get(1..)?),
        Some(b'1') => Some(text + "/" + part.get(1..)?),
        _ => None,
    })
}
