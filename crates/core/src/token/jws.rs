//! The compact form of a JSON Web Signature (RFC 7515 §7.1) with claims inside (RFC 7519 §7.2).

use super::TokenError;
use super::claims::Claims;
use super::error::OtherKind;
use super::issuer::trust_domain;
use super::json::{ClaimsDocument, Json, Object};
use super::kind::Kind;
use super::media_type::same_media_type;
use crate::escaped::Escaped;
use crate::keyring::{Algorithm, MAX_KID_BYTES};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The largest `max_token_bytes` that an operator may set: Envoy's default limit for all headers of
/// a request (`max_request_headers_kb`).
pub const MAX_TOKEN_BYTES: usize = 60 * 1024;

/// A well-formed token whose signature is not verified yet: nothing in it can be trusted.
#[derive(Debug)]
pub struct Unverified<'t> {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    claims: Claims,
    text: &'t str,
    /// The length in bytes of header and payload, with the dot between them.
    signed_bytes: usize,
    signature: Vec<u8>,
}

impl<'t> Unverified<'t> {
    /// Reads a token of at most `most` bytes, which bounds the work. Only checks that are
    /// independent of the issuer run here.
    ///
    /// # Errors
    ///
    /// Fails if the token is too long, is not a JWS in compact form, or is not an access token.
    pub fn parse(token: &'t str, max: usize) -> Result<Self, TokenError> {
        check_length(token, max)?;
        let [header_text, payload, signature] = split(token)?;
        let header = Header::read(header_text)?;
        if signature.is_empty() {
            return Err(malformed("it has no signature"));
        }
        let signature = decode(signature, "signature")?;
        let claims = ClaimsDocument::object(&decode(payload, "payload")?)
            .map_err(|why| malformed(&format!("its payload is not a claims set: {why}")))?;
        Ok(Self {
            alg: header.alg,
            kid: header.kid,
            typ: header.typ,
            claims: Claims::new(claims)?,
            text: token,
            signed_bytes: header_text.len() + 1 + payload.len(),
            signature,
        })
    }

    /// The algorithm in the header.
    pub fn alg(&self) -> Algorithm {
        self.alg
    }

    /// The key id in the header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The kind of token in the header.
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// The issuer that the token claims to be from. Use it only to choose which keys to try. A
    /// SPIFFE token (JWT-SVID §3) may have no `iss`; then its issuer is the trust domain in its
    /// `sub`.
    ///
    /// # Errors
    ///
    /// Fails if the token has neither.
    pub fn issuer(&self) -> Result<&str, TokenError> {
        let spiffe = || {
            self.claims
                .text("sub")
                .ok()
                .flatten()
                .and_then(trust_domain)
        };
        self.claims
            .text("iss")?
            .or_else(spiffe)
            .ok_or_else(|| TokenError::MissingClaim("iss".to_owned()))
    }

    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(super) fn into_claims(self) -> Claims {
        self.claims
    }

    /// The bytes that the signature covers (RFC 7515 §5.2 step 8).
    pub(super) fn signed(&self) -> &[u8] {
        self.text
            .get(..self.signed_bytes)
            .unwrap_or_default()
            .as_bytes()
    }

    pub(super) fn text(&self) -> &str {
        self.text
    }
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn malformed(why: &str) -> TokenError {
    TokenError::Malformed(format!("not a signed JWT: {why}"))
}

/// Fails if the token has more than `most` bytes.
pub(super) fn check_length(token: &str, max: usize) -> Result<(), TokenError> {
    match token.len() {
        bytes if bytes > max => Err(TokenError::TooLong { bytes, max }),
        _ => Ok(()),
    }
}

/// The three segments. Allocates nothing, so a token full of dots costs no memory.
fn split(token: &str) -> Result<[&str; 3], TokenError> {
    let mut segments = token.splitn(4, '.');
    match (
        segments.next(),
        segments.next(),
        segments.next(),
        segments.next(),
    ) {
        (Some(header), Some(payload), Some(signature), None) => Ok([header, payload, signature]),
        (_, _, _, Some(rest)) if rest.bytes().filter(|byte| *byte == b'.').count() == 1 => {
            Err(OtherKind::Encrypted.into())
        }
        _ => Err(malformed(
            "it does not have three segments separated by dots",
        )),
    }
}

fn decode(segment: &str, name: &str) -> Result<Vec<u8>, TokenError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| malformed(&format!("its {name} is not base64url without padding")))
}

struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

impl Header {
    fn read(segment: &str) -> Result<Self, TokenError> {
        let header = ClaimsDocument::object(&decode(segment, "header")?)
            .map_err(|why| malformed(&format!("its header is not a JOSE header: {why}")))?;
        let members = header.members();
        let alg = text(members, "alg")?.ok_or_else(|| malformed("its header has no `alg`"))?;
        let alg = Algorithm::from_name(alg)
            .ok_or_else(|| TokenError::UnsupportedAlgorithm(Escaped::from(alg)))?;
        refuse_extensions(members)?;
        let kid = text(members, "kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(malformed(&format!(
                "its `kid` is over {MAX_KID_BYTES} bytes"
            )));
        }
        let typ = text(members, "typ")?;
        refuse_other_kinds(typ, text(members, "cty")?)?;
        Ok(Self {
            alg,
            kid: kid.map(ToOwned::to_owned),
            typ: typ.map(ToOwned::to_owned),
        })
    }
}

/// Refuses header parameters that change how a token is processed. claimgate supports no critical
/// extension (RFC 7515 §4.1.11). A JWT has no detached or unencoded payload (RFC 7797 §7), and no
/// compression (RFC 8725 §3.6). None of these may be `null`, so `null` is refused too.
fn refuse_extensions(header: Object<'_>) -> Result<(), TokenError> {
    match ["crit", "b64", "zip", "enc"]
        .iter()
        .find(|name| header.get(name).is_some())
    {
        Some(name) => Err(malformed(&format!(
            "its header has `{name}`, which is not supported"
        ))),
        None => Ok(()),
    }
}

fn refuse_other_kinds(typ: Option<&str>, cty: Option<&str>) -> Result<(), TokenError> {
    if cty.is_some_and(|cty| same_media_type(cty, "JWT")) {
        return Err(OtherKind::Nested.into());
    }
    match typ.and_then(Kind::named) {
        // `also_accept` lets an operator accept ID tokens, so these are judged later.
        None | Some(Kind::IdToken) => Ok(()),
        Some(kind) => {
            let typ = Escaped::from(typ.unwrap_or_default());
            Err(OtherKind::Typed { typ, kind }.into())
        }
    }
}

/// A `null` counts as absent.
fn text<'h>(header: Object<'h>, name: &str) -> Result<Option<&'h str>, TokenError> {
    match header.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(&format!("its header's `{name}` is not a string"))),
    }
}
