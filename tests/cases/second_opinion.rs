//! Compares each case with the verdict of `jsonwebtoken`, which verifies with independent code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::config::Config;
use claimgate::decision::{Decision, Fault};
use claimgate::ext_authz::request::describe;
use claimgate::gate::Gate;
use claimgate::time::UnixTime;
use claimgate::token::{Audiences, Terms};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, TokenData, Validation, decode, decode_header};
use serde_json::Value;

use super::file::{files, read, test_name};
use super::run::{CaseClock, configuration, mint, requests, with_keys};

/// Why claimgate denies a token that `jsonwebtoken` accepts: the reason, and what claimgate
/// additionally checks.
const STRICTER: [(&str, &str); 12] = [
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
fn accepts(token: &str, terms: &Terms, keys: &[Value], now: UnixTime) -> Option<bool> {
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

pub async fn jsonwebtoken_accepts_whatever_claimgate_does() {
    let listed: BTreeMap<&str, &str> = STRICTER.into();
    let mut wrong = Vec::new();
    let (mut agreed, mut reasons) = (0, BTreeSet::new());
    for path in files() {
        let file = read(&path);
        for case in &file.cases {
            let name = test_name(&path, case);
            let Some((_, check)) = requests(&file, case).into_iter().next() else {
                continue;
            };
            if case.clock_fails || case.request.empty || case.request.without_http {
                continue;
            }
            let yaml = with_keys(&file, configuration(&file, case));
            let config = Config::from_yaml(&yaml.to_string()).unwrap();
            let now = UnixTime::from_secs(case.now);
            let gate = Gate::start(config, Arc::new(CaseClock(Some(now)))).await;
            let request = describe(&check);
            let judged = gate.decide(&request, Duration::from_secs(10)).await;
            let says = |token: &str| -> Option<bool> {
                let policy = &judged.generation().policy;
                let providers = policy
                    .providers()
                    .zip(yaml["providers"].as_array().unwrap());
                let opinions = providers.map(|((_, provider), yaml)| {
                    let keys = yaml["jwks"]["inline"]["keys"].as_array();
                    let keys = keys.map(Vec::as_slice).unwrap_or_default();
                    accepts(token, &provider.terms, keys, now)
                });
                opinions.flatten().reduce(|one, other| one || other)
            };
            match judged.decision() {
                Decision::Allow(permit) => {
                    let Some(bearer) = permit.bearer() else {
                        continue;
                    };
                    match says(bearer.token().text()) {
                        Some(true) => agreed += 1,
                        Some(false) => wrong.push(format!("{name}: refused by jsonwebtoken")),
                        None => {}
                    }
                }
                // Other reasons are not about the token.
                Decision::Deny(denial)
                    if matches!(denial.fault, Fault::Token(_) | Fault::UnknownIssuer(_)) =>
                {
                    let reason = denial.reason().code();
                    match says(&mint(&file, case)) {
                        Some(true) if listed.contains_key(reason) => {
                            reasons.insert(reason);
                        }
                        Some(true) => {
                            wrong.push(format!("{name}: {reason}, accepted by jsonwebtoken"));
                        }
                        Some(false) => agreed += 1,
                        None => {}
                    }
                }
                Decision::Deny(_) | Decision::Respond(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(agreed > 200, "{agreed} cases compared");
    let unused: Vec<&&str> = listed
        .keys()
        .filter(|reason| !reasons.contains(**reason))
        .collect();
    assert!(unused.is_empty(), "on the list for nothing: {unused:?}");
}
