//! docs/guides/login.md, followed with a real Keycloak and a headless browser.

use serde_json::{Value, json};

use super::server::{Keycloak, audience_mapper, client, user};
use crate::front::{Front, block, browse};
use crate::setup::{bearer, http};

/// The realm and the client in deploy/envoy/login.yaml.
const REALM: &str = "acme";
const APP: &str = "app";

/// The life of an access token in seconds: the browser waits until two have ended.
const LIFE: &str = "4";

#[tokio::test]
#[ignore = "needs Keycloak, Envoy, Chromium and playwright-core: run `make test-real`"]
async fn a_person_logs_in_with_a_browser() {
    let machine = client("machine", &json!({}), &[audience_mapper(APP, false)]);
    let realm = json!({
        "realm": REALM, "enabled": true, "clients": [machine],
        "roles": { "realm": [{ "name": "orders-admin" }] },
        "users": [person("alice", &json!(["orders-admin"])), person("bob", &json!([]))],
    });
    let keycloak = Keycloak::shared().await.create(REALM, &realm).await;
    let front = Front::start(&keycloak.issuer, &[]).await;
    let envoy = front.envoy(|_| {}).await;
    let application = format!("http://localhost:{}", envoy.address().port());
    keycloak.add_client(&app(&application)).await;
    let token = keycloak.client_token("machine").await;
    front.is_at(&application, &envoy, &token).await;

    browse(&application, "keycloak", &keycloak.issuer).await;

    let machine = http(envoy.address(), "GET /orders", &[bearer(&token)]).await;
    assert_eq!(machine.status, 200, "{machine:?}");
    let page = ["accept: text/html".to_owned()];
    let login = http(envoy.address(), "GET /orders", &page).await;
    assert_eq!(login.status, 302, "{login:?}");
}

/// A user whose `sub` is the name, as the browser's steps expect.
fn person(name: &str, roles: &Value) -> Value {
    let mut person = user(REALM, name, roles, &json!({}));
    person["id"] = name.into();
    person
}

/// The client that the guide describes.
fn app(application: &str) -> Value {
    let secret: Value = serde_saphyr::from_str(&block("client-secret.yaml")).unwrap();
    json!({
        "clientId": APP,
        "secret": secret["resources"][0]["generic_secret"]["secret"]["inline_string"],
        "publicClient": false, "standardFlowEnabled": true, "directAccessGrantsEnabled": false,
        "redirectUris": [format!("{application}/oauth2/callback")],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": format!("{application}/"),
            "access.token.lifespan": LIFE,
        },
        "protocolMappers": [audience_mapper(APP, false)],
    })
}
