//! Tokens of a cluster's service accounts, judged by deploy/providers/kubernetes.yaml.

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::guarded::Guarded;

#[tokio::test]
#[ignore = "needs a Kubernetes API server: run `make test-real`"]
async fn tokens_of_service_accounts_are_accepted_through_a_rotation() {
    let mut api = ApiServer::start().await;
    let accounts = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "claimgate" } }),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "claimgate", "namespace": "claimgate" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "basket", "namespace": "shop" } }),
    ];
    api.apply("accounts", &crate::stream(&accounts)).await;

    // The file as it is, with this API server's addresses. The account has no role of its own: a stock
    // cluster lets every service account read the keys.
    let own = api.directory.path().join("token");
    std::fs::write(&own, token(&api, "claimgate", "claimgate", None).await).unwrap();
    let mut configuration = crate::read("deploy/providers/kubernetes.yaml").remove(0);
    let provider = &mut configuration["providers"][0];
    provider["issuer"] = api.url().into();
    provider["jwks"]["uri"] = format!("{}/openid/v1/jwks", api.url()).into();
    provider["fetch"]["ca_file"] = json!(api.authority());
    provider["fetch"]["bearer_token_file"] = json!(own);
    provider["refresh"] = json!({ "unknown_key_wait": "200ms" });
    let guarded = Guarded::start(&configuration).await;

    let first = token(&api, "shop", "basket", Some("orders-api")).await;
    let seen = guarded.passes("a token", "GET /orders", &first).await;
    let expected = [
        ("x-auth-subject", json!("system:serviceaccount:shop:basket")),
        ("x-auth-namespace", json!("shop")),
        ("x-auth-service-account", json!("basket")),
        ("x-auth-pod", Value::Null),
    ];
    for (header, value) in expected {
        assert_eq!(seen[header], value, "{header}");
    }
    let other = token(&api, "shop", "basket", Some("billing-api")).await;
    let (signed, _) = first.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let elsewhere = "the token is for another API";
    let refused = [
        (
            "with another's signature",
            format!("{signed}.{signature}"),
            "bad_signature",
            "changed or cut in transit",
        ),
        (
            "for another API",
            other.clone(),
            "wrong_audience",
            elsewhere,
        ),
        (
            "for the API server",
            token(&api, "shop", "basket", None).await,
            "wrong_audience",
            elsewhere,
        ),
    ];
    for (what, token, reason, hint) in refused {
        guarded.refuses(what, &token, reason, hint).await;
    }

    for rotation in 1..=2 {
        let before = token(&api, "shop", "basket", Some("orders-api")).await;
        api.rotate().await;
        let after = token(&api, "shop", "basket", Some("orders-api")).await;
        assert_ne!(key_id(&before), key_id(&after), "the key is another one");
        for (what, token) in [
            ("the first of the new key", &after),
            ("one of the old key", &before),
        ] {
            let what = format!("rotation {rotation}: {what}");
            guarded.passes(&what, "GET /orders", token).await;
        }
    }
}

/// A token of an account. Without an audience, it is for the API server.
async fn token(api: &ApiServer, namespace: &str, account: &str, audience: Option<&str>) -> String {
    let mut arguments = vec!["create", "token", account, "--namespace", namespace];
    if let Some(audience) = audience {
        arguments.extend(["--audience", audience]);
    }
    let said = api.kubectl(&arguments, "").await;
    assert!(said.is_ok, "{}", said.err);
    said.out.trim().to_owned()
}

/// The header of a token, which names its key.
fn key_id(token: &str) -> &str {
    token.split('.').next().unwrap()
}
