//! The likely cause of a denial, as `claimgate check` and the log report it.

use std::sync::Arc;

use claimgate::config::Config;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::ext_authz::service::Service;
use claimgate::gate::Gate;
use claimgate::keyring::Algorithm::{Es256, Rs256};
use claimgate::request::Request;
use claimgate::time::SystemClock;
use serde_json::{Value, json};

use crate::support::command::run;
use crate::support::keys::signer;
use crate::support::log::Log;

/// The request: a token as text, changes to header and claims of a good token, the whole
/// `Authorization` line, a good token with changes for another path, a preflight, or claims as
/// text.
enum Token {
    Text(&'static str),
    Changed(Value, Value),
    Line(&'static str),
    At(&'static str, Value),
    Preflight,
    Claims(&'static str),
}

use Token::{At, Changed, Claims, Line, Preflight, Text};

fn claims(change: Value) -> Token {
    Changed(json!({}), change)
}

fn header(change: Value) -> Token {
    Changed(change, json!({}))
}

const KEYCLOAK: &str = "https://sso.example.com/realms/acme";
const ENTRA: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";
const TENANT: &str = "8c1f6d2e-3b47-4a59-9e0d-5f7a2b6c4d10";
const OTHER_TENANT: &str = "e7d4a0b3-95c8-4e21-b6f4-1a3c5d7e9f02";

fn configuration() -> Value {
    let key = signer(Es256, "a");
    let mut encryption = key.jwk();
    encryption["kid"] = "enc".into();
    encryption["use"] = "enc".into();
    let mut personal = key.jwk();
    personal["kid"] = "personal".into();
    personal["issuer"] =
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0".into();
    let ed448 = json!({"kty": "OKP", "crv": "Ed448", "kid": "ed448", "use": "sig", "alg": "EdDSA", "x": "AA"});
    let keys = json!({"inline": {"keys": [key.jwk(), encryption, personal, ed448]}});
    let provider = |name: &str, issuer: &str| {
        json!({
            "name": name, "issuer": issuer, "audiences": ["orders-api", "https://orders/", "api://x"],
            "jwks": keys,
        })
    };
    let mut entra = provider("entra", ENTRA);
    entra["tenants"] = json!([TENANT]);
    let mut cognito = provider(
        "cognito",
        "https://cognito-idp.eu-west-1.amazonaws.com/pool",
    );
    cognito["required_claims"] = json!({"token_use": "access"});
    let mut proxy = provider("proxy", "https://proxy.example.com");
    proxy["token_from"] = json!([{"header": "x-assertion"}]);
    let mut rsa = provider("rsa", "https://rsa.example.com");
    rsa["algorithms"] = json!(["RS256"]);
    rsa["jwks"] = json!({"inline": {"keys": [signer(Rs256, "r").jwk()]}});
    let mut bare = provider("bare", "https://bare.example.com");
    let mut nameless = key.jwk();
    nameless.as_object_mut().unwrap().remove("kid");
    bare["jwks"] = json!({"inline": {"keys": [nameless]}});
    json!({
        "providers": [
            provider("keycloak", KEYCLOAK),
            provider("okta", "https://acme.okta.com/oauth2/default"),
            provider("adfs", "https://adfs.acme.example/adfs"),
            provider("adfs-access", "http://sts.acme.example/adfs/services/trust"),
            provider("dex", "https://id.acme.example/dex"),
            provider("inside", "http://keycloak.keycloak.svc:8080/realms/inside"),
            entra, cognito, proxy, rsa, bare,
        ],
        "rules": [
            {
                "name": "admin",
                "match": {"path": {"exact": "/admin"}},
                "claims": {"realm_access.roles": "admin"},
            },
        ],
    })
}

#[tokio::test]
async fn likely_causes() {
    let iss = |issuer: &str| claims(json!({"iss": issuer}));
    let aud = |audience: Value| claims(json!({"aud": audience}));
    let entra = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let rows = [
        (
            "no token at all",
            Text(""),
            "its login probably failed unnoticed",
        ),
        (
            "an opaque token",
            Text("2YotnFZFEjr1zCsicMWpAA"),
            "an opaque token",
        ),
        (
            "one of Google's",
            Text("ya29.a0AfH6SMBx"),
            "are for Google's own APIs",
        ),
        (
            "the whole answer",
            Text("{\"access_token\":\"a.b.c\"}"),
            "send only the text of `access_token`",
        ),
        (
            "the whole answer, with more in it",
            Text("{\"access_token\":\"a.b.c\",\"token_type\":\"Bearer\",\"expires_in\":300}"),
            "send only the text of `access_token`",
        ),
        (
            "the whole answer, with spaces",
            Text("{ \"access_token\": \"a.b.c\" }"),
            "send only the text of `access_token`",
        ),
        (
            "the whole answer, alone in the header",
            Line("{\"access_token\":\"a.b.c\",\"expires_in\":300}"),
            "send only the text of `access_token`",
        ),
        (
            "two tokens",
            Line("Bearer 2YotnFZFEjr1zCsicMWpAA, Bearer 2YotnFZFEjr1zCsicMWpAA"),
            "a proxy adds a second token",
        ),
        (
            "only a token",
            Line("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwcyJ9.c2lnbmF0dXJl"),
            "must write `Bearer ` before it",
        ),
        (
            "an opaque token alone",
            Line("2YotnFZFEjr1zCsicMWpAA"),
            "does not begin with `Bearer `",
        ),
        (
            "Django's scheme",
            Line("JWT eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwcyJ9.c2lnbmF0dXJl"),
            "has the scheme `JWT`",
        ),
        (
            "a password",
            Line("Basic YWxpY2U6Y29ycmVjdCBob3JzZQ=="),
            "has the scheme `Basic`",
        ),
        (
            "a scheme in lower case",
            Line("dpop eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwcyJ9.c2lnbmF0dXJl"),
            "has the scheme `DPoP`",
        ),
        (
            "a secret that begins as a scheme does",
            Line("Basic42YotnFZFEjr1zCsicMWpAA x"),
            "does not begin with `Bearer `",
        ),
        (
            "a colon",
            Line("Bearer: eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwcyJ9.c2lnbmF0dXJl"),
            "exactly one space must separate the scheme",
        ),
        (
            "the scheme twice",
            Line("Bearer Bearer eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwcyJ9.c2lnbmF0dXJl"),
            "the scheme occurs twice",
        ),
        ("undefined", Text("undefined"), "this is a placeholder"),
        ("null", Text("null"), "this is a placeholder"),
        ("a variable", Text("$TOKEN"), "this is a placeholder"),
        (
            "a variable in braces",
            Text("${ACCESS_TOKEN}"),
            "this is a placeholder",
        ),
        (
            "what documents say",
            Text("<your-token>"),
            "this is a placeholder",
        ),
        ("a template", Text("{{token}}"), "this is a placeholder"),
        (
            "an object of JavaScript",
            Text("[object Object]"),
            "this is a placeholder",
        ),
        (
            "undefined alone",
            Line("undefined"),
            "this is a placeholder",
        ),
        ("a preflight", Preflight, "`cors_preflight: allow`"),
        (
            "half a token",
            Text("eyJhbGciOiJFUzI1NiJ9.eyJpc3Mi"),
            "was cut off",
        ),
        (
            "unsigned",
            Text("eyJhbGciOiJFUzI1NiJ9.e30."),
            "is not signed",
        ),
        (
            "encrypted",
            Text("eyJhbGciOiJFUzI1NiJ9.a.b.c.d"),
            "without encrypting them",
        ),
        (
            "a shared secret",
            Changed(
                json!({"alg": "HS256"}),
                json!({"iss": "https://acme.okta.com/oauth2/default"}),
            ),
            "signs with a shared secret",
        ),
        (
            "Keycloak's refresh token",
            Changed(
                json!({"alg": "HS512", "typ": "JWT"}),
                json!({"typ": "Refresh", "aud": KEYCLOAK}),
            ),
            "this is a refresh token: send the `access_token`",
        ),
        (
            "Keycloak's offline token",
            Changed(
                json!({"alg": "HS512", "typ": "JWT"}),
                json!({"typ": "Offline", "aud": KEYCLOAK}),
            ),
            "this is a refresh token: send the `access_token`",
        ),
        (
            "a link that Keycloak sends by mail",
            Changed(
                json!({"alg": "HS512", "typ": "JWT"}),
                json!({"typ": "verify-email"}),
            ),
            "that Keycloak issues for its own use: send the `access_token`",
        ),
        (
            "an ID token by a shared secret",
            Changed(json!({"alg": "HS256"}), json!({"token_use": "id"})),
            "this is an ID token",
        ),
        (
            "another algorithm than the provider's",
            claims(json!({"iss": "https://rsa.example.com"})),
            "if the provider signs with ES256 on purpose, add it to the provider's `algorithms`",
        ),
        (
            "a curve that is not known",
            header(json!({"alg": "EdDSA", "kid": "ed448"})),
            "a kind of key that claimgate does not support",
        ),
        (
            "keys without names",
            claims(json!({"iss": "https://bare.example.com"})),
            "`bare` publishes its keys without `kid`",
        ),
        (
            "none",
            header(json!({"alg": "none"})),
            "anyone could have written it",
        ),
        (
            "milliseconds",
            claims(json!({"exp": 4_102_444_800_000_u64})),
            "`exp` is in milliseconds",
        ),
        (
            "nanoseconds",
            claims(json!({"iat": 1_767_225_600_000_000_000_u64})),
            "`iat` is in nanoseconds",
        ),
        (
            "not a date",
            claims(json!({"exp": 1.7e26})),
            "that is not a date in any unit",
        ),
        (
            "no date, a little smaller",
            claims(json!({"exp": 1e20})),
            "that is not a date in any unit",
        ),
        (
            "no date, and no number that many readers know",
            Claims(
                r#"{"iss": "https://sso.example.com/realms/acme", "aud": "orders-api", "exp": 1e400}"#,
            ),
            "a number in the token is larger than JSON parsers accept",
        ),
        (
            "too long",
            claims(
                json!({"groups": vec!["e7d4a0b3-95c8-4e21-b6f4-1a3c5d7e9f02"; 2000], "roles": ["a"]}),
            ),
            "leave out what makes it long, `groups` (78001 bytes)",
        ),
        (
            "too long, of Entra ID",
            claims(json!({"iss": entra(TENANT), "groups": vec![TENANT; 2000]})),
            "only the groups that are assigned to the application",
        ),
        (
            "Dex's access token",
            Changed(
                json!({"typ": null}),
                json!({"iss": "https://id.acme.example/dex", "at_hash": "Tz0qLb8TyYc5mPf7sGhAVg"}),
            ),
            "Dex's access tokens look like ID tokens",
        ),
        (
            "Dex's access token, by its subject",
            Changed(
                json!({"typ": null}),
                json!({"sub": "CgVhbGljZRIEbGRhcA", "at_hash": "Tz0qLb8TyYc5mPf7sGhAVg"}),
            ),
            "Dex's access tokens look like ID tokens",
        ),
        (
            "an ID token",
            Changed(json!({"typ": "JWT"}), json!({"nonce": "n"})),
            "this is an ID token",
        ),
        (
            "a refresh token",
            Changed(json!({"typ": "JWT"}), json!({"typ": "Refresh"})),
            "this is a refresh token",
        ),
        (
            "a client assertion",
            Changed(json!({"typ": "JWT"}), json!({"sub": KEYCLOAK})),
            "this token authenticates a client",
        ),
        (
            "a slash",
            iss(&format!("{KEYCLOAK}/")),
            "differs from `https://sso.example.com/realms/acme` only by a slash at the end",
        ),
        (
            "upper case",
            iss("https://SSO.example.com/realms/acme"),
            "only by upper and lower case",
        ),
        (
            "http",
            iss("http://sso.example.com:443/realms/acme"),
            "only by `http` and `https`",
        ),
        (
            "http, and its own port",
            iss("http://sso.example.com/realms/acme"),
            "only by `http` and `https`",
        ),
        (
            "ADFS's access token",
            iss("http://adfs.acme.example/adfs/services/trust"),
            "(`access_token_issuer` in its metadata): list it in `issuer_aliases`",
        ),
        (
            "ADFS's ID token",
            iss("https://sts.acme.example/adfs"),
            "ADFS uses this name in ID tokens",
        ),
        (
            "the public name of a provider that is known by another one",
            iss("https://login.acme.example/realms/inside"),
            "`discovery_url: http://keycloak.keycloak.svc:8080/realms/inside/.well-known/openid-configuration`",
        ),
        (
            "an old Keycloak",
            iss("https://sso.example.com/auth/realms/acme"),
            "only by `/auth` in the path",
        ),
        (
            "another realm",
            iss("https://sso.example.com/realms/test"),
            "by its path",
        ),
        (
            "another host",
            iss("http://keycloak:8080/realms/acme"),
            "by its host",
        ),
        (
            "Okta itself",
            iss("https://acme.okta.com"),
            "Okta's organization server",
        ),
        (
            "another tenant",
            iss(&entra(OTHER_TENANT)),
            "by its tenant, which is not among `tenants`",
        ),
        ("the template", iss(ENTRA), "names no tenant"),
        (
            "version 1.0",
            iss(&format!("https://sts.windows.net/{TENANT}/")),
            "`requestedAccessTokenVersion`",
        ),
        (
            "a stranger",
            iss("https://evil.example"),
            "from another provider or environment",
        ),
        (
            "a very long issuer",
            iss(&format!("https://{}example/", "é.".repeat(1_800))),
            "an issuer of 5416 bytes is unusual",
        ),
        (
            "the wrong place",
            iss("https://proxy.example.com"),
            "to the provider's `token_from`",
        ),
        (
            "an unknown key",
            header(json!({"kid": "old"})),
            "`keycloak` has the keys `a`, `personal`",
        ),
        (
            "a key for encryption",
            header(json!({"kid": "enc"})),
            "the key set has this `kid`, but only for encryption",
        ),
        (
            "a key of personal accounts",
            Changed(
                json!({"kid": "personal"}),
                json!({"iss": entra(TENANT), "tid": TENANT}),
            ),
            "from a personal account",
        ),
        (
            "Graph",
            header(json!({"nonce": "n", "kid": "a", "sign": "wrong"})),
            "a token for Microsoft Graph",
        ),
        (
            "changed",
            header(json!({"sign": "wrong"})),
            "changed or cut in transit",
        ),
        (
            "old",
            claims(json!({"exp": 1_000_000_000})),
            "get a new one",
        ),
        (
            "old, or our clock is fast",
            claims(json!({"iat": 999_999_700, "exp": 1_000_000_000})),
            "It lived for 5 min and expired",
        ),
        (
            "early",
            claims(json!({"nbf": 4_000_000_000_u64})),
            "this machine's clock is slow",
        ),
        ("account", aud(json!("account")), "add an audience mapper"),
        (
            "Graph's audience",
            aud(json!("00000003-0000-0000-c000-000000000000")),
            "a token for Microsoft Graph",
        ),
        (
            "an audience's slash",
            aud(json!(["https://orders"])),
            "`https://orders` and `https://orders/` differ only in a trailing slash",
        ),
        (
            "an audience's case",
            aud(json!("Orders-API")),
            "upper and lower case",
        ),
        (
            "Entra's prefix",
            aud(json!("x")),
            "Entra ID writes it in tokens of version 1.0",
        ),
        (
            "an audience's slash, behind many others",
            aud(json!(
                [vec!["billing"; 20], vec!["https://orders"]].concat()
            )),
            "the token is for another API",
        ),
        (
            "user info",
            aud(json!("https://acme.auth0.com/userinfo")),
            "the client did not request an API",
        ),
        (
            "the client itself",
            claims(json!({"aud": "web", "azp": "web"})),
            "the audience is the client itself",
        ),
        (
            "another API",
            aud(json!("billing")),
            "the token is for another API",
        ),
        (
            "no audience in Keycloak",
            aud(Value::Null),
            "Keycloak adds no audience by default",
        ),
        (
            "no audience in a lightweight token",
            claims(json!({"aud": null, "sub": null, "typ": "Bearer"})),
            "switch on \"Add to lightweight access token\"",
        ),
        (
            "no roles in a lightweight token",
            At("/admin", json!({"sub": null, "typ": "Bearer"})),
            "switch on \"Add to lightweight access token\"",
        ),
        (
            "no roles",
            At("/admin", json!({"typ": "Bearer"})),
            "does not put it into access tokens",
        ),
        (
            "no audience in Cognito",
            claims(json!({"aud": null, "iss": "https://cognito-idp.eu-west-1.amazonaws.com/pool"})),
            "set `audience_claim: client_id`",
        ),
        (
            "Cognito's ID token",
            claims(
                json!({"token_use": "id", "iss": "https://cognito-idp.eu-west-1.amazonaws.com/pool"}),
            ),
            "this is an ID token",
        ),
        (
            "no end",
            claims(json!({"exp": null})),
            "legacy Kubernetes tokens",
        ),
        (
            "bound",
            claims(json!({"cnf": {"jkt": "x"}})),
            "a plain bearer token",
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, configuration().to_string()).unwrap();
    let file = file.to_str().unwrap();
    let service = service().await;
    let log = Log::start("info");
    for (what, token, expected) in rows {
        let asked = Asked::of(&token);
        let cause = asked.check(file).await;
        let cause = cause.unwrap_or_else(|| panic!("{what}: nothing is likely"));
        assert!(cause.contains(expected), "{what}: {cause}");

        service
            .check(tonic::Request::new(compose(&asked.request())))
            .await
            .unwrap();
        let lines = log.take();
        let [line] = lines.as_slice() else {
            panic!("{what}: {lines:#?}")
        };
        let hint = line["hint"].as_str().unwrap();
        assert_eq!(without_numbers(hint), without_numbers(&cause), "{what}");
        let section = format!(
            "docs/troubleshooting.md#{}",
            line["reason"].as_str().unwrap()
        );
        assert_eq!(line["see"], section, "{what}");
        // The token itself, or a part of it that would help anyone, is never there.
        let line = line.to_string();
        for part in asked.authorization.as_bytes().windows(16) {
            let part = str::from_utf8(part).unwrap();
            assert!(!line.contains(part), "{what}: `{part}` in {line}");
        }
    }

    // If there is nothing to guess, there is no hint.
    let good = Asked::of(&Changed(json!({}), json!({})));
    assert_eq!(good.check(file).await, None);
}

/// A service that judges as `claimgate check` does.
async fn service() -> Service {
    let config = Config::from_yaml(&configuration().to_string()).unwrap();
    let service = Service {
        gate: Gate::start(config, Arc::new(SystemClock)).await,
    };
    service.gate.generation().jwks.all_known().await;
    service
}

/// One request.
struct Asked {
    method: &'static str,
    path: &'static str,
    authorization: String,
    origin: Option<&'static str>,
}

impl Asked {
    fn of(token: &Token) -> Self {
        let bearer = |text: &str| format!("Bearer {text}");
        let (path, authorization) = match token {
            Text(text) => ("/", bearer(text).trim_end().to_owned()),
            Changed(header, claims) => ("/", bearer(&sign(header, claims))),
            Line(line) => ("/", (*line).to_owned()),
            At(path, claims) => (*path, bearer(&sign(&json!({}), claims))),
            Preflight => ("/", String::new()),
            Claims(text) => {
                let key = signer(Es256, "a");
                let token = key.sign(&key.header().to_string(), text).unwrap();
                ("/", bearer(&token))
            }
        };
        let (method, origin) = match token {
            Preflight => ("OPTIONS", Some("https://app.example.com")),
            _ => ("GET", None),
        };
        Self {
            method,
            path,
            authorization,
            origin,
        }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        match self.origin {
            Some(origin) => vec![("origin", origin), ("access-control-request-method", "PUT")],
            None => vec![("authorization", &self.authorization)],
        }
    }

    fn request(&self) -> Request<'_> {
        let headers = self.headers();
        let lines = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        Request {
            method: self.method,
            host: "localhost",
            path: self.path,
            headers: lines.collect(),
            ..Request::default()
        }
    }

    /// The likely cause that `claimgate check` prints.
    async fn check(&self, file: &str) -> Option<String> {
        let mut arguments: Vec<String> = ["check", "--config", file, "--output", "json"]
            .map(ToOwned::to_owned)
            .into();
        let more = ["--method", self.method, "--path", self.path].map(ToOwned::to_owned);
        arguments.extend(more);
        for (name, value) in self.headers() {
            arguments.extend(["--header".to_owned(), format!("{name}: {value}")]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let report = run(&arguments, "").await;
        let report: Value =
            serde_json::from_str(&report.out).unwrap_or_else(|_| panic!("{}", report.err));
        report["likely_cause"].as_str().map(ToOwned::to_owned)
    }
}

/// Removes differences that a few seconds make.
fn without_numbers(text: &str) -> String {
    let words = text.split(|c: char| c.is_ascii_digit());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("#")
}

/// A good token with changes. `sign: wrong` in the header makes the signature invalid.
fn sign(header: &Value, claims: &Value) -> String {
    let key = signer(Es256, "a");
    let merge = |base: Value, change: &Value| {
        let mut members = base.as_object().unwrap().clone();
        members.extend(change.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        Value::Object(members)
    };
    let mut header = merge(key.header(), header);
    let wrong = header.as_object_mut().unwrap().remove("sign").is_some();
    let claims = merge(
        json!({"iss": KEYCLOAK, "aud": "orders-api", "sub": "alice", "exp": 4_102_444_800_u64}),
        claims,
    );
    let signer = if wrong {
        signer(Es256, "stranger")
    } else {
        key
    };
    signer
        .sign(&header.to_string(), &claims.to_string())
        .unwrap()
}
