//! Tokens of a real Keycloak, judged by deploy/providers/keycloak.yaml.

mod guide;
mod login;
pub mod server;

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;
use serde_json::{Value, json};

use crate::guarded::{Guarded, part, provider};
use crate::setup::eventually;
use server::{
    CLIENT_CREDENTIALS, KeyKind, Keycloak, Realm, TOKENS, access, audience_mapper, client, tokens,
    user,
};

const FILE: &str = "deploy/providers/keycloak.yaml";
/// What the log says of each key that claimgate cannot use.
const KEY_NOT_USED: &str = "a key of the provider is not used";
const API: &str = "orders.api";

/// A realm with the API, and these clients, which get tokens for it.
fn realm(name: &str, clients: Vec<Value>) -> Value {
    let mut all = vec![client(
        API,
        &json!({ "user.info.response.signature.alg": "RS256" }),
        &[],
    )];
    all.extend(clients);
    json!({
        "realm": name, "enabled": true, "clients": all,
        "roles": {
            "realm": [{ "name": "orders-admin" }],
            "client": { API: [{ "name": "editor" }] },
        },
        "users": [
            user(name, "alice", &json!(["orders-admin", "offline_access"]), &json!({ API: ["editor"] })),
            user(name, "bob", &json!([]), &json!({})),
        ],
    })
}

/// Makes a realm of the shared Keycloak.
async fn create(name: &'static str, clients: Vec<Value>) -> Realm {
    let keycloak = Keycloak::shared().await;
    keycloak.create(name, &realm(name, clients)).await
}

/// The setting "Always use lightweight access token".
fn lightweight() -> Value {
    json!({ "client.use.lightweight.access.token.enabled": "true" })
}

fn for_the_api(id: &str, attributes: &Value) -> Value {
    client(id, attributes, &[audience_mapper(API, true)])
}

#[tokio::test]
#[ignore = "needs Keycloak: run `make test-real`"]
async fn each_kind_of_token_is_accepted() {
    let clients = vec![
        for_the_api("web", &json!({ "standard.token.exchange.enabled": "true" })),
        for_the_api(
            "rfc9068",
            &json!({ "access.token.header.type.rfc9068": "true" }),
        ),
        for_the_api("light", &lightweight()),
    ];
    let keycloak = create("accepted", clients).await;
    let api = Guarded::start(&provider(FILE, &keycloak.issuer)).await;

    let login = keycloak.login("web", "alice", "openid").await;
    let exchanged = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &access(&login)),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("audience", API),
    ];
    let exchanged = keycloak.tokens("web", &exchanged).await;
    let offline = keycloak.login("web", "alice", "offline_access").await;
    let refreshed = [
        ("grant_type", "refresh_token"),
        ("refresh_token", offline["refresh_token"].as_str().unwrap()),
    ];
    let refreshed = keycloak.tokens("web", &refreshed).await;
    let rfc9068 = keycloak.user_token("rfc9068", "alice").await;
    assert_eq!(part(&rfc9068, 0)["typ"], "at+jwt");
    let service = keycloak.client_token("web").await;
    let subject = &part(&keycloak.client_token("web").await, 1)["sub"];

    let alice = json!({
        "x-auth-subject": "accepted-alice", "x-auth-username": "alice", "x-auth-client": "web",
        "x-auth-roles": "offline_access,orders-admin", "x-auth-client-roles": "editor",
    });
    let mut of_rfc9068 = alice.clone();
    of_rfc9068["x-auth-client"] = "rfc9068".into();
    let mut logged_in = alice.clone();
    logged_in["x-auth-scope"] = "email openid profile".into();
    let accepted = [
        ("a user's", access(&login), &logged_in),
        ("by the offline token", access(&refreshed), &alice),
        ("exchanged", access(&exchanged), &alice),
        ("with the type at+jwt", rfc9068, &of_rfc9068),
        (
            "a service account's",
            service,
            &json!({
                "x-auth-subject": subject, "x-auth-username": "service-account-web",
                "x-auth-client": "web", "x-auth-client-roles": null, "x-auth-groups": null,
            }),
        ),
        (
            "lightweight, with neither subject nor roles",
            keycloak.user_token("light", "alice").await,
            &json!({
                "x-auth-subject": null, "x-auth-username": null, "x-auth-client": "light",
                "x-auth-roles": null, "x-auth-client-roles": null, "x-auth-scope": "email profile",
            }),
        ),
    ];
    for (what, token, expected) in accepted {
        let mut seen = api.passes(what, "GET /orders", &token).await;
        // Keycloak writes roles and scopes in any order.
        for (header, separator) in [("x-auth-roles", ","), ("x-auth-scope", " ")] {
            let sorted = seen[header].as_str().map(|values| {
                let mut values: Vec<_> = values.split(separator).collect();
                values.sort_unstable();
                values.join(separator)
            });
            seen[header] = sorted.into();
        }
        for (header, value) in expected.as_object().unwrap() {
            assert_eq!(&seen[header], value, "{what}: {header} in {seen}");
        }
    }
}

#[tokio::test]
#[ignore = "needs Keycloak: run `make test-real`"]
async fn tokens_for_other_purposes_are_refused() {
    let keycloak = create("purposes", vec![for_the_api("web", &json!({}))]).await;
    let api = Guarded::start(&provider(FILE, &keycloak.issuer)).await;
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let login = keycloak.login("web", "alice", "openid").await;
    let offline = keycloak.login("web", "alice", "offline_access").await;
    // The client is the API itself, so `aud` names the API in its ID tokens too.
    let own = keycloak.login(API, "alice", "openid").await;
    let user_info = keycloak.user_info(&access(&own)).await;
    for token in [&text(&own, "id_token"), &user_info] {
        assert_eq!(part(token, 1)["aud"], API);
    }

    for (what, token, reason, hint) in [
        (
            "an ID token",
            text(&login, "id_token"),
            "unsupported_type",
            "this is an ID token",
        ),
        (
            "an ID token for the API",
            text(&own, "id_token"),
            "unsupported_type",
            "this is an ID token",
        ),
        (
            "a signed answer about a user, for the API",
            user_info,
            "missing_claim",
            "signed answers of a userinfo endpoint",
        ),
        (
            "a refresh token",
            text(&login, "refresh_token"),
            "unsupported_algorithm",
            "this is a refresh token",
        ),
        (
            "an offline token",
            text(&offline, "refresh_token"),
            "unsupported_algorithm",
            "this is a refresh token",
        ),
        (
            "a token for registering clients",
            keycloak.initial_access_token().await,
            "unsupported_algorithm",
            "issues for its own use",
        ),
    ] {
        api.refuses(what, &token, reason, hint).await;
    }
}

#[tokio::test]
#[ignore = "needs Keycloak: run `make test-real`"]
async fn access_tokens_that_are_not_meant_for_the_api_are_refused() {
    let clients = vec![
        for_the_api("web", &json!({})),
        for_the_api("bound", &json!({ "dpop.bound.access.tokens": "true" })),
        client("unmapped", &json!({}), &[]),
        client(
            "unmapped-light",
            &lightweight(),
            &[audience_mapper(API, false)],
        ),
    ];
    let keycloak = create("refused", clients).await;
    let other = create("other", vec![for_the_api("web", &json!({}))]).await;
    let api = Guarded::start(&provider(FILE, &keycloak.issuer)).await;

    let elsewhere = keycloak.issuer.replace("127.0.0.1", "localhost");
    let elsewhere = tokens(&elsewhere, "web", CLIENT_CREDENTIALS, None).await;
    let of_alice = keycloak.user_token("web", "alice").await;
    let of_web = keycloak.client_token("web").await;
    let (signed, _) = of_alice.rsplit_once('.').unwrap();
    let (_, signature) = of_web.rsplit_once('.').unwrap();

    for (what, token, reason, hint) in [
        (
            "with another's signature",
            format!("{signed}.{signature}"),
            "bad_signature",
            "changed or cut in transit",
        ),
        (
            "another realm's",
            other.user_token("web", "alice").await,
            "unknown_issuer",
            "by its path",
        ),
        (
            "by another host name",
            access(&elsewhere),
            "unknown_issuer",
            "by its host",
        ),
        (
            "bound to a key",
            bound(&keycloak, &of_alice).await,
            "sender_constraint_unmet",
            "a plain bearer token",
        ),
        (
            "without the audience mapper",
            keycloak.client_token("unmapped").await,
            "wrong_audience",
            "add an audience mapper",
        ),
        (
            "the same of a user without roles",
            keycloak.user_token("unmapped", "bob").await,
            "missing_claim",
            "add an audience mapper",
        ),
        (
            "lightweight, with the mapper off",
            keycloak.user_token("unmapped-light", "alice").await,
            "missing_claim",
            "Add to lightweight access token",
        ),
    ] {
        api.refuses(what, &token, reason, hint).await;
    }
}

/// A token that is bound to a key (RFC 9449). `earlier` is a recent token.
async fn bound(keycloak: &Realm, earlier: &str) -> String {
    let key = Signer::generate(Algorithm::Es256, "").unwrap();
    let mut public = key.jwk();
    for member in ["kid", "use"] {
        public.as_object_mut().unwrap().remove(member);
    }
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public });
    let claims = json!({
        "jti": "1", "htm": "POST", "htu": format!("{}{TOKENS}", keycloak.issuer),
        "iat": part(earlier, 1)["iat"],
    });
    let proof = key.sign(&header.to_string(), &claims.to_string()).unwrap();
    let answer = tokens(&keycloak.issuer, "bound", CLIENT_CREDENTIALS, Some(&proof)).await;
    let token = access(&answer);
    assert!(part(&token, 1)["cnf"]["jkt"].is_string());
    token
}

#[tokio::test]
#[ignore = "needs Keycloak: run `make test-real`"]
async fn each_algorithm_is_verified_except_ed448() {
    let algorithms = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    ];
    let clients = algorithms
        .map(|name| for_the_api(name, &json!({ "access.token.signed.response.alg": name })));
    let keycloak = create("algorithms", clients.into()).await;
    let keys = [
        (KeyKind::Rsa, "RS384"),
        (KeyKind::Rsa, "RS512"),
        (KeyKind::Rsa, "PS256"),
        (KeyKind::Rsa, "PS384"),
        (KeyKind::Rsa, "PS512"),
        (KeyKind::Ec, "P-256"),
        (KeyKind::Ec, "P-384"),
        (KeyKind::Ec, "P-521"),
        (KeyKind::Ed, "Ed25519"),
    ];
    for (kind, value) in keys {
        keycloak.add_key(kind, value, 100).await;
    }
    keycloak.add_key(KeyKind::Ed, "Ed448", 90).await;
    // The file names the algorithm of most realms. Without it, all are accepted.
    let mut configuration = provider(FILE, &keycloak.issuer);
    let restricted = Guarded::start(&configuration).await;
    let fields = configuration["providers"][0].as_object_mut();
    fields.unwrap().remove("algorithms");
    let api = Guarded::start(&configuration).await;

    for name in algorithms {
        let token = keycloak.client_token(name).await;
        assert_eq!(part(&token, 0)["alg"], name);
        let seen = api.passes(name, "GET /orders", &token).await;
        assert_eq!(seen["x-auth-client"], name);
        if name != "RS256" {
            let hint = format!("if the provider signs with {name} on purpose, add it");
            restricted
                .refuses(name, &token, "unsupported_algorithm", &hint)
                .await;
        }
    }

    keycloak.add_key(KeyKind::Ed, "Ed448", 110).await;
    let token = keycloak.client_token("EdDSA").await;
    let hint = "a kind of key that claimgate does not support";
    api.refuses("Ed448", &token, "unknown_key", hint).await;
    assert_eq!(api.claimgate.logged(KEY_NOT_USED), 2);
}

#[tokio::test]
#[ignore = "needs Keycloak: run `make test-real`"]
async fn keys_are_rotated() {
    let keycloak = create("rotation", vec![for_the_api("web", &json!({}))]).await;
    let mut configuration = provider(FILE, &keycloak.issuer);
    configuration["providers"][0]["refresh"]["min"] = "1s".into();
    let api = Guarded::start(&configuration).await;
    let kid = |token: &str| part(token, 0)["kid"].as_str().unwrap().to_owned();

    let before = keycloak.user_token("web", "alice").await;
    api.passes("before", "GET /orders", &before).await;
    keycloak.add_key(KeyKind::Rsa, "RS256", 110).await;
    let after = keycloak.user_token("web", "alice").await;
    assert_ne!(kid(&before), kid(&after), "the key is another one");
    api.passes("the first token of the new key", "GET /orders", &after)
        .await;
    api.passes("a token of the old key", "GET /orders", &before)
        .await;

    keycloak.disable_key(&kid(&before)).await;
    eventually("tokens of a key that is gone are refused", async || {
        api.ask("GET /orders", &before).await.status == 401
    })
    .await;
    // The hint names the keys that are left.
    api.refuses("the key is gone", &before, "unknown_key", &kid(&after))
        .await;
    api.passes("a token of the new key", "GET /orders", &after)
        .await;
    // Keycloak's set has a key for encryption, which is no reason to warn.
    assert_eq!(api.claimgate.logged(KEY_NOT_USED), 0);
}
