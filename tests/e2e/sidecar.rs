//! claimgate beside Envoy in a pod, with the files of `deploy/kubernetes/overlays/sidecar`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use claimgate::dev::envoy::{Address, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::change;
use crate::setup::{bearer, envoy_binary, eventually, http};

const CLAIMGATE: &str = include_str!("../../deploy/kubernetes/overlays/sidecar/claimgate.yaml");
const ENVOY: &str = include_str!("../../deploy/kubernetes/overlays/sidecar/envoy.yaml");

#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn envoy_asks_over_the_socket() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let issuer = Issuer::start(any, "orders-api").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let (file, socket, keys) = (place("claimgate.yaml"), place("check.sock"), place("keys"));
    let mut configured = CLAIMGATE.to_owned();
    for (from, to) in [
        ("/run/claimgate/check.sock", socket.to_str().unwrap()),
        ("'[::]:9002'", "127.0.0.1:0"),
        ("https://idp.example.com/realms/acme", issuer.url()),
        ("/var/cache/claimgate/keys", keys.to_str().unwrap()),
    ] {
        configured = change(&configured, from, to);
    }
    fs::write(&file, configured).unwrap();
    let mut claimgate = Command::new(env!("CARGO_BIN_EXE_claimgate"))
        .args(["serve", "--config"])
        .arg(&file)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: any,
        claimgate: Address::Unix(socket.clone()),
        upstream: upstream.address(),
    };
    // The tests ask Envoy's admin listener whether it has started.
    let configuration = format!("admin: {{ address: {{}} }}\n{ENVOY}");
    let envoy = Envoy::start(&envoy_binary(), &configuration, &wiring)
        .await
        .unwrap();
    let claims = json!({"sub": "alice"});
    let token = bearer(&issuer.mint(claims.as_object().unwrap()).unwrap());
    let ask = async |request: &str, lines: &[String]| http(envoy.address(), request, lines).await;
    eventually("claimgate answers", async || {
        ask("GET /orders", std::slice::from_ref(&token))
            .await
            .status
            == 200
    })
    .await;
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let spoofed = "x-auth-subject: root".to_owned();
    for (request, lines, status, subject) in [
        ("GET /orders", vec![], 401, Value::Null),
        (
            "GET /orders",
            vec![token.clone(), spoofed.clone()],
            200,
            "alice".into(),
        ),
        ("GET /healthz", vec![spoofed.clone()], 200, Value::Null),
        ("POST /healthz", vec![spoofed], 401, Value::Null),
    ] {
        let answer = ask(request, &lines).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        let seen: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(seen["headers"]["x-auth-subject"], subject, "{request}");
    }

    claimgate.kill().await.unwrap();
    for request in ["GET /orders", "GET /healthz"] {
        let answer = ask(request, std::slice::from_ref(&token)).await;
        assert_eq!(answer.status, 503, "{request}: {answer:?}");
    }
}
