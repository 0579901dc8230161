//! The verdict of `jsonwebtoken` on a token. The fuzz targets use it too.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::time::UnixTime;
use claimgate::token::{Audiences, Terms};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, TokenData, Validation, decode, decode_header};
use serde_json::Value;

/// Why claimgate denies a token that `jsonwebtoken` accepts: the reason, and what claimgate
/// additionally checks.
pub const STRICTER: [(&str, &str); 12] = [
    (
        "malformed_token",
        "members come twice, `crit`, numbers out of range, `iat` of another type",
    ),
    (
        "unsupported_algorithm",
        "the configuration accepts other algorithms",
    ),
    (
        "unsupported_type",
        "`typ` and claims of other kinds of token (RFC 8725 §3.11)",
    ),
    (
        "unknown_key",
        "the key is for other uses, algorithms or issuers (RFC 7517 §4)",
    ),
    ("bad_signature", "the key that the `kid` names is another"),
    (
        "unknown_issuer",
        "`jsonwebtoken` accepts a token without `iss`; tenants and trust domains",
    ),
    (
        "wrong_audience",
        "`jsonwebtoken` accepts a token without `aud`",
    ),
    ("not_yet_valid", "`iat` in the future"),
    ("missing_claim", "`required_claims`"),
    ("claim_mismatch", "`required_claims`"),
    ("lifetime_too_long", "`max_lifetime`"),
    ("sender_constraint_unmet", "`cnf` (RFC 7800)"),
];

/// Whether `jsonwebtoken` accepts the token from one of these providers: signature, `iss`, `aud`,
/// `exp` and `nbf`. `None` if it does not support the algorithm or the form of the key.
pub fn accepts(token: &str, terms: &Terms, keys: &[Value], now: UnixTime) -> Option<bool> {
    let header = match decode_header(token) {
        Ok(header) => header,
        Err(_) if is_of(token, "ES512") => return None,
        Err(_) => return Some(false),
    };
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    // `jsonwebtoken` reads the clock, so the times are compared here.
    validation.validate_exp = false;
    let issuers: Vec<&str> = terms.issuers().collect();
    // It does not support tenants and trust domains.
    if !issuers
        .iter()
        .any(|issuer| issuer.contains('{') || issuer.starts_with("spiffe:"))
    {
        validation.set_issuer(&issuers);
    }
    match &terms.audiences {
        Audiences::AnyOf(audiences) if terms.audience_claim.to_string() == "aud" => {
            validation.set_audience(audiences);
        }
        Audiences::AnyOf(_) | Audiences::Any => validation.validate_aud = false,
    }
    let mut any_key = false;
    for key in keys {
        let known: Option<Jwk> = serde_json::from_value(key.clone()).ok();
        let Some(key) = known.and_then(|jwk| DecodingKey::from_jwk(&jwk).ok()) else {
            continue;
        };
        any_key = true;
        let Ok(TokenData { claims, .. }) = decode::<Value>(token, &key, &validation) else {
            continue;
        };
        let skew = terms.clock_skew.as_secs_f64();
        let now = f64::from(u32::try_from(now.as_secs()).unwrap());
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let is_current = time("exp").is_none_or(|exp| now < exp + skew)
            && time("nbf").is_none_or(|nbf| nbf <= now + skew);
        if is_current {
            return Some(true);
        }
    }
    any_key.then_some(false)
}

/// Whether the token's header names this algorithm.
fn is_of(token: &str, alg: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice(&header).is_ok_and(|header: Value| header["alg"] == alg)
}
