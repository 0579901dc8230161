//! Makes requests by chance: with tokens of every kind, at every place, missing and twice.

use std::collections::BTreeSet;
use std::fmt;

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;
use claimgate::time::{Clock as _, SystemClock};
use fastrand::Rng;
use serde_json::json;

use super::sources::Source;

/// What is unusual about a request. Only this may explain a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    AmbiguousPath,
    HasToken,
    SeveralTokens,
    SchemeInOtherCase,
    OddHeader,
    EncodedQuery,
    OtherSpelling,
    NoExpiry,
    IdToken,
    UrlAudience,
    LongLifetime,
    FutureIssue,
    OddClaims,
    Spoofed,
    EmptyToken,
    /// Its path has an escape in lower case.
    LowerCaseEscape,
    /// The host has a port, where rules match hosts.
    HostWithPort,
    /// The host is in upper case.
    UpperCaseHost,
    /// A header of rules has two values.
    TwoValues,
    /// It has a token at a place that Envoy reads for one provider only.
    PlaceOfOne,
    /// Envoy passes failed tokens.
    Lenient,
    /// A rule without an equivalent denies it.
    LeftOut,
}

/// A request, and what is unusual about it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and target.
    pub line: String,
    pub headers: Vec<String>,
    pub marks: BTreeSet<Mark>,
    /// Its tokens in words.
    tokens: Vec<String>,
}

/// An issuer and its keys.
pub struct Issuer {
    pub url: &'static str,
    pub signer: Signer,
    stranger: Signer,
}

impl Issuer {
    pub fn new(url: &'static str) -> Self {
        let key = |kid: &str| Signer::generate(Algorithm::Es256, kid).unwrap();
        Self {
            url,
            signer: key("current"),
            stranger: key("current"),
        }
    }

    pub fn key_set(&self) -> String {
        json!({"keys": [self.signer.jwk()]}).to_string()
    }
}

pub fn now() -> u64 {
    SystemClock.now().as_secs()
}

/// A token of some kind.
fn token(
    source: &Source,
    issuers: &[Issuer],
    rng: &mut Rng,
    marks: &mut BTreeSet<Mark>,
) -> (String, String) {
    let issuer = &issuers[rng.usize(..issuers.len())];
    let now = now();
    let audience = source.audiences[rng.usize(..source.audiences.len())];
    let mut claims = json!({
        "iss": issuer.url,
        "sub": source.subjects[rng.usize(..source.subjects.len())],
        "aud": audience,
        "iat": now,
        "exp": now + 600,
    });
    let mut header = issuer.signer.header();
    let (mut signer, mut is_cut) = (&issuer.signer, false);
    let kind = rng.u8(..32);
    let what = match kind {
        0 => {
            claims["exp"] = (now - 3600).into();
            "expired"
        }
        1 => {
            claims["exp"] = (now - 10).into();
            "expired within the skew"
        }
        2 => {
            claims["nbf"] = (now + 3600).into();
            "not yet valid"
        }
        3 => {
            claims.as_object_mut().unwrap().remove("aud");
            "without audience"
        }
        4 => {
            claims["aud"] = json!(["something", audience]);
            "with a list of audiences"
        }
        5 => {
            claims["aud"] = json!([]);
            "with no audience in its list"
        }
        6 | 7 => {
            marks.insert(Mark::UrlAudience);
            let other = [
                "api.example.com",
                "http://api.example.com",
                "https://orders-api",
                "orders-api/",
            ];
            claims["aud"] = other[rng.usize(..other.len())].into();
            "with an audience in another spelling"
        }
        8 => {
            signer = &issuer.stranger;
            "forged"
        }
        9 => {
            claims["iss"] = "https://stranger.example.com".into();
            "of a stranger"
        }
        10 => {
            header["kid"] = "unknown".into();
            "with an unknown key id"
        }
        11 => {
            header.as_object_mut().unwrap().remove("kid");
            "without key id"
        }
        12 => {
            header["alg"] = "none".into();
            "unsigned"
        }
        13 => {
            is_cut = true;
            "cut"
        }
        14 => {
            marks.insert(Mark::NoExpiry);
            claims.as_object_mut().unwrap().remove("exp");
            "without expiry"
        }
        15 => {
            marks.insert(Mark::IdToken);
            claims["nonce"] = "n".into();
            header["typ"] = "JWT".into();
            "an ID token"
        }
        16 => {
            marks.insert(Mark::LongLifetime);
            claims["exp"] = (now + 7 * 24 * 3600).into();
            "long-lived"
        }
        17 => {
            marks.insert(Mark::FutureIssue);
            claims["iat"] = (now + 3600).into();
            claims["exp"] = (now + 7200).into();
            "issued in the future"
        }
        18 => {
            claims["sub"] = 7.into();
            "with a number as subject"
        }
        19 | 20 => {
            marks.insert(Mark::OddClaims);
            claims["realm_access"] = json!({"roles": ["a", "b"]});
            claims["score"] = json!(1.5);
            claims["sub"] = "é, %".into();
            "with claims that headers spell differently"
        }
        21 => {
            claims["score"] = json!(42);
            claims["admin"] = json!(true);
            claims["realm_access"] = json!({"roles": "chief"});
            claims["https://example.com/name"] = "Alice A.".into();
            "with more claims"
        }
        22 => {
            claims["score"] = json!(null);
            claims["https://example.com/name"] = "".into();
            "with empty claims"
        }
        23 => {
            claims.as_object_mut().unwrap().remove("sub");
            "without subject"
        }
        _ => "good",
    };
    let mut text = signer
        .sign(&header.to_string(), &claims.to_string())
        .unwrap();
    if is_cut {
        text.truncate(text.len() - 7);
    }
    (
        text,
        format!("{what}, of {}, for {}", issuer.url, claims["aud"]),
    )
}

impl Request {
    pub fn random(source: &Source, issuers: &[Issuer], rng: &mut Rng) -> Self {
        let mut marks = BTreeSet::new();
        let method = ["GET", "GET", "GET", "POST", "PUT", "DELETE", "OPTIONS"][rng.usize(..7)];
        let host = [
            "api.example.com",
            "api.example.com:8000",
            "other.example.com",
            "API.example.com",
        ][[0, 0, 0, 0, 1, 2, 2, 3][rng.usize(..8)]];
        let mut path = source.paths[rng.usize(..source.paths.len())].to_owned();
        match rng.u8(..24) {
            0 => path.push_str("/deeper"),
            1 => path.push('/'),
            2 => path.push_str(".json"),
            3 => path.push_str("//x"),
            4 => path.push_str(";v=1"),
            5 => path.push_str("/%2e%2e/x"),
            6 => path = format!("/{path}"),
            7 => path = path.to_uppercase(),
            8 => path.push_str("/%61"),
            9 => path.push_str("/ä".replace('ä', "%C3%A4").as_str()),
            _ => {}
        }
        let mut query: Vec<String> = Vec::new();
        if rng.u8(..4) == 0 {
            query.push("page=2".to_owned());
        }
        let (mut headers, mut tokens, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
        let count = [0, 0, 1, 1, 1, 1, 1, 1, 1, 2][rng.usize(..10)];
        for _ in 0..count {
            let (token, what) = match rng.u8(..24) {
                0 => ("garbage".to_owned(), "garbage".to_owned()),
                1 => {
                    marks.insert(Mark::EmptyToken);
                    (String::new(), "nothing".to_owned())
                }
                _ => token(source, issuers, rng, &mut marks),
            };
            marks.insert(Mark::HasToken);
            let place = Self::put(
                source,
                &token,
                rng,
                &mut marks,
                &mut headers,
                &mut cookies,
                &mut query,
            );
            tokens.push(format!("{what}, in {place}"));
        }
        if count > 0 && source.has_separate_places {
            marks.insert(Mark::PlaceOfOne);
        }
        if count > 1 {
            marks.insert(Mark::SeveralTokens);
        }
        if !cookies.is_empty() {
            cookies.insert(0, "lang=de".to_owned());
            headers.push(format!("cookie: {}", cookies.join("; ")));
        }
        match rng.u8(..16) {
            0 => {
                marks.insert(Mark::Spoofed);
                headers.push("x-user: root".to_owned());
                headers.push("x-payload: e30".to_owned());
            }
            1 => headers.push("x-tenant: blue".to_owned()),
            2 => headers.push("x-tenant: red".to_owned()),
            3 => {
                headers.push("origin: https://shop.example.com".to_owned());
                headers.push("access-control-request-method: POST".to_owned());
            }
            4 => {
                marks.insert(Mark::SeveralTokens);
                headers.push("authorization: Basic YTpi".to_owned());
            }
            5 => {
                marks.insert(Mark::TwoValues);
                headers.push("x-tenant: blue".to_owned());
                headers.push("x-tenant: red".to_owned());
            }
            _ => {}
        }
        if path.contains("%c3") {
            marks.insert(Mark::LowerCaseEscape);
        }
        if path.starts_with("/hosted") && host.contains(':') {
            marks.insert(Mark::HostWithPort);
        }
        if host.starts_with(char::is_uppercase) {
            marks.insert(Mark::UpperCaseHost);
        }
        if path.starts_with("/lenient") || path.starts_with("/all") {
            marks.insert(Mark::Lenient);
        }
        // Expressions over parts of escapes.
        let left_out = ["/caf", "/adm", "/t/", "/number/"];
        if left_out.iter().any(|start| path.starts_with(start)) {
            marks.insert(Mark::LeftOut);
        }
        if claimgate::request::path::canonical(&path).is_err() {
            marks.insert(Mark::AmbiguousPath);
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        Self {
            line: format!("{method} http://{host}{path}"),
            headers,
            marks,
            tokens,
        }
    }

    /// Puts the token somewhere, and says where.
    fn put(
        source: &Source,
        token: &str,
        rng: &mut Rng,
        marks: &mut BTreeSet<Mark>,
        headers: &mut Vec<String>,
        cookies: &mut Vec<String>,
        query: &mut Vec<String>,
    ) -> String {
        let in_header = |line: String, headers: &mut Vec<String>| {
            let shown = match token {
                "" => line.clone(),
                token => line.replace(token, "…"),
            };
            headers.push(line);
            shown
        };
        let of = |list: &[&'static str], rng: &mut Rng| {
            list.get(rng.usize(..list.len().max(1))).copied()
        };
        match rng.u8(..20) {
            0 => {
                marks.insert(Mark::SchemeInOtherCase);
                in_header(format!("authorization: bearer {token}"), headers)
            }
            1 => in_header(format!("authorization: Bearer   {token}"), headers),
            2 => {
                marks.insert(Mark::OddHeader);
                let odd = ["Token Bearer ", "Bearer=", "xBearer ", "Bearer :"][rng.usize(..4)];
                in_header(format!("authorization: {odd}{token}"), headers)
            }
            3 => {
                marks.insert(Mark::OddHeader);
                in_header(format!("authorization: Bearer {token} more"), headers)
            }
            4 => in_header(format!("authorization: {token}"), headers),
            5 => {
                marks.insert(Mark::OddHeader);
                in_header(
                    format!("authorization: Bearer {token}, Basic YTpi"),
                    headers,
                )
            }
            6 => in_header(format!("x-elsewhere: {token}"), headers),
            7..=9 => match of(source.parameters, rng) {
                Some(name) => {
                    query.push(format!("{name}={token}"));
                    format!("?{name}=")
                }
                None => "nowhere".to_owned(),
            },
            10 => match of(source.parameters, rng) {
                Some(name) => {
                    marks.insert(Mark::EncodedQuery);
                    query.push(format!("{name}={}", token.replace('.', "%2E")));
                    format!("?{name}= with escapes")
                }
                None => "nowhere".to_owned(),
            },
            11 => match of(source.parameters, rng) {
                Some(name) => {
                    marks.insert(Mark::OtherSpelling);
                    query.push(format!("{}={token}", name.to_uppercase()));
                    format!("?{name}= in upper case")
                }
                None => "nowhere".to_owned(),
            },
            12 | 13 => match of(source.cookies, rng) {
                Some(name) => {
                    cookies.push(format!("{name}={token}"));
                    format!("the cookie {name}")
                }
                None => in_header(format!("authorization: Bearer {token}"), headers),
            },
            14..=16 => match of(source.headers, rng) {
                Some(name) if name != "authorization" => {
                    in_header(format!("{name}: {token}"), headers)
                }
                _ => in_header(format!("authorization: Bearer {token}"), headers),
            },
            17 if source.headers.len() > 1 => {
                in_header(format!("authorization: Machine {token}"), headers)
            }
            _ => in_header(format!("authorization: Bearer {token}"), headers),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            headers,
            marks,
            tokens,
        } = self;
        write!(
            f,
            "{line}\n  headers: {headers:?}\n  marks: {marks:?}\n  tokens: {tokens:?}"
        )
    }
}
