//! Tokens of a cluster's service accounts, judged by deploy/providers/kubernetes.yaml.

use std::net::SocketAddr;

use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::setup::{Claimgate, bearer, envoy_binary, http};

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
    let file = api.directory.path().join("claimgate.yaml");
    std::fs::write(&file, configuration.to_string()).unwrap();
    let claimgate = Claimgate::start(&file).await;
    claimgate.is_ready().await;
    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        claimgate: claimgate.check.into(),
        upstream: upstream.address(),
    };
    let envoy = Envoy::start(&envoy_binary(), EXAMPLE, &wiring)
        .await
        .unwrap();
    let ask = async |token: &str| http(envoy.address(), "GET /orders", &[bearer(token)]).await;

    let first = token(&api, "shop", "basket", Some("orders-api")).await;
    let allowed = ask(&first).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    let seen: Value = serde_json::from_str(&allowed.body).unwrap();
    let expected = [
        ("x-auth-subject", json!("system:serviceaccount:shop:basket")),
        ("x-auth-namespace", json!("shop")),
        ("x-auth-service-account", json!("basket")),
        ("x-auth-pod", Value::Null),
    ];
    for (header, value) in expected {
        assert_eq!(seen["headers"][header], value, "{header}");
    }
    let other = token(&api, "shop", "basket", Some("billing-api")).await;
    let (signed, _) = first.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let refused = [
        (
            "with another's signature",
            format!("{signed}.{signature}"),
            "invalid_token",
        ),
        ("for another API", other.clone(), "wrong_audience"),
        (
            "for the API server",
            token(&api, "shop", "basket", None).await,
            "wrong_audience",
        ),
    ];
    for (what, token, reason) in refused {
        let answer = ask(&token).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert!(answer.body.contains(reason), "{what}: {answer:?}");
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
            let answer = ask(token).await;
            assert_eq!(
                answer.status, 200,
                "rotation {rotation}: {what}: {answer:?}"
            );
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
