//! What `claimgate check` says is the likely cause of a denial.

use claimgate::keyring::Algorithm::Es256;
use serde_json::{Value, json};

use crate::support::command::run;
use crate::support::keys::signer;

/// What is asked: a token as text, or changes to the header and the claims of a good one.
enum Token {
    Text(&'static str),
    Changed(Value, Value),
}

use Token::{Changed, Text};

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
    let keys = json!({"inline": {"keys": [key.jwk(), encryption, personal]}});
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
    json!({"providers": [
        provider("keycloak", KEYCLOAK),
        provider("okta", "https://acme.okta.com/oauth2/default"),
        entra, cognito, proxy,
    ]})
}

#[tokio::test]
async fn likely_causes() {
    let iss = |issuer: &str| claims(json!({"iss": issuer}));
    let aud = |audience: Value| claims(json!({"aud": audience}));
    let entra = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let rows = [
        ("no token at all", Text(""), "its login failed unnoticed"),
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
            "take the text of `access_token` alone",
        ),
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
            "and not encrypt them",
        ),
        (
            "a shared secret",
            header(json!({"alg": "HS256"})),
            "signs with a shared secret",
        ),
        (
            "none",
            header(json!({"alg": "none"})),
            "anyone can write such",
        ),
        (
            "milliseconds",
            claims(json!({"exp": 4_102_444_800_000_u64})),
            "`exp` is in milliseconds",
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
            "this is how a client logs in",
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
            "the key set has this `kid`, but for encryption",
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
            "changed or cut on its way",
        ),
        (
            "old",
            claims(json!({"exp": 1_000_000_000})),
            "get a new one",
        ),
        (
            "early",
            claims(json!({"nbf": 4_000_000_000_u64})),
            "this machine's clock is wrong",
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
            "`https://orders` and `https://orders/` differ only by a slash",
        ),
        (
            "an audience's case",
            aud(json!("Orders-API")),
            "upper and lower case",
        ),
        (
            "Entra's prefix",
            aud(json!("x")),
            "Entra ID has it in tokens of version 1.0",
        ),
        (
            "user info",
            aud(json!("https://acme.auth0.com/userinfo")),
            "the client asked for no API",
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
            "Keycloak names no audience by itself",
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
    for (what, token, expected) in rows {
        let text = match token {
            Text(text) => text.to_owned(),
            Changed(header, claims) => sign(&header, &claims),
        };
        let report = run(
            &[
                "check", "--config", file, "--token", "-", "--output", "json",
            ],
            &text,
        )
        .await;
        let report: Value =
            serde_json::from_str(&report.out).unwrap_or_else(|_| panic!("{what}: {}", report.err));
        assert_eq!(report["decision"], "deny", "{what}");
        let cause = report["likely_cause"]
            .as_str()
            .unwrap_or_else(|| panic!("{what}: {report:#}"));
        assert!(cause.contains(expected), "{what}: {cause}");
    }

    // Nobody guesses where there is nothing to guess.
    let good = sign(&json!({}), &json!({}));
    let report = run(
        &[
            "check", "--config", file, "--token", "-", "--output", "json",
        ],
        &good,
    )
    .await;
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["decision"], "allow");
    assert_eq!(report["likely_cause"], Value::Null);
}

/// A good token, changed; `sign: wrong` in the header is for a signature that is not the key's.
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
