//! `claimgate dev`, and the tokens that it gives.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::dev::issuer::Issuer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::command::{claimgate, run, terminate};
use crate::support::issuer;

/// Waits for a file that is renamed into place when it is complete.
async fn state(file: &Path, child: &mut Child) -> Value {
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return serde_json::from_str(&text).unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "`dev` ended at once");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dev_has_it_all() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let any = "127.0.0.1:0";
    let mut child = claimgate(&[
        "dev",
        "--listen",
        any,
        "--admin-listen",
        any,
        "--issuer-listen",
        any,
        "--state",
        file.to_str().unwrap(),
    ])
    .spawn()
    .unwrap();
    let state = state(&file, &mut child).await;
    let text = |name: &str| state[name].as_str().unwrap().to_owned();
    assert_eq!(state["envoy"], Value::Null);
    assert!(!text("admin").is_empty());

    let check = async |token: &str| {
        let arguments = [
            "check",
            "--target",
            &text("check"),
            "--token",
            "-",
            "--output",
            "json",
        ];
        let outcome = run(&arguments, token).await;
        let report: Value = serde_json::from_str(&outcome.out).unwrap();
        report["response"]["headers"]["x-auth-subject"]
            .as_str()
            .map(ToOwned::to_owned)
    };
    assert_eq!(check(&text("token")).await.as_deref(), Some("alice"));

    let http = reqwest::Client::new();
    let post = async |path: &str, body: &'static str, kind: &str| -> Value {
        let request = http
            .post(format!("{}{path}", text("issuer")))
            .body(body)
            .header("content-type", kind);
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post("/rotate", "", form).await["kid"], "dev-2");
    let minted = post("/token", "grant_type=client_credentials&sub=bob", form).await;
    assert_eq!(
        check(minted["access_token"].as_str().unwrap())
            .await
            .as_deref(),
        Some("bob")
    );
    assert_eq!(
        check(&text("token")).await.as_deref(),
        Some("alice"),
        "the key before is still good"
    );
    let minted = post(
        "/token",
        r#"{"sub": "carol", "aud": "other"}"#,
        "application/json",
    )
    .await;
    assert_eq!(check(minted["access_token"].as_str().unwrap()).await, None);
    let minted = post("/token", "expires_in=-120", form).await;
    assert_eq!(check(minted["access_token"].as_str().unwrap()).await, None);
    assert_eq!(
        post("/token", "claims=nonsense", form).await["error"],
        "invalid_request"
    );

    // The commands that it prints work in any shell, without anything of this test's own.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut commands = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with("Ctrl-C") {
            break;
        }
        if line.contains(" dev token") {
            commands.push(line);
        }
    }
    let [passes, denied, help] = commands.as_slice() else {
        panic!("{commands:#?}")
    };
    for (command, code, text) in [
        (passes, 0, "x-auth-subject: alice"),
        (denied, 1, "FAIL  wrong_audience"),
        (help, 0, "NAME=VALUE"),
    ] {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env_clear();
        let output = shell.output().await.unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{command}\n{out}");
        assert!(out.contains(text), "{command}\n{out}");
    }
    assert_eq!(terminate(child).await, Some(0));
}

/// The claims of a token that `claimgate dev token` prints.
async fn claims(issuer: &str, arguments: &[&str]) -> Value {
    let arguments = [&["dev", "token", "--issuer", issuer], arguments].concat();
    let outcome = run(&arguments, "").await;
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.err);
    let token = outcome.out.strip_suffix('\n').unwrap();
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn tokens_have_any_claims() {
    let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), "orders-api").await;
    let issuer = issuer.unwrap();
    let usual = claims(issuer.url(), &[]).await;
    assert_eq!(usual["sub"], "alice");
    for (arguments, expected) in [
        (&["sub=bob"][..], json!({"sub": "bob", "aud": "orders-api"})),
        (
            &["scope=a b", "level=2", "email_verified=true"],
            json!({"scope": "a b", "level": 2, "email_verified": true}),
        ),
        (
            &["realm_access={\"roles\": [\"admin\"]}", "sub=\"42\""],
            json!({"realm_access": {"roles": ["admin"]}, "sub": "42"}),
        ),
        (
            &["client_id=null", "a=b=c&d"],
            json!({"client_id": null, "a": "b=c&d"}),
        ),
        (&["exp=1"], json!({"exp": 1})),
    ] {
        let found = claims(issuer.url(), arguments).await;
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(found[name], *value, "{arguments:?}");
        }
    }
    for seconds in [60, -300] {
        let found = claims(issuer.url(), &["--expires-in", &seconds.to_string()]).await;
        let lifetime = found["exp"].as_i64().unwrap() - found["iat"].as_i64().unwrap();
        // A second may have begun between the two.
        assert!((seconds - 1..=seconds).contains(&lifetime), "{lifetime}");
    }
}

#[tokio::test]
async fn without_a_token_it_says_why() {
    // It has keys, and gives no tokens.
    let other = issuer::Issuer::start(&[]).await;
    let other = other.url();
    for (arguments, expected) in [
        (
            vec!["--issuer", "http://127.0.0.1:1"],
            "start `claimgate dev` first",
        ),
        (
            vec!["--issuer", &other],
            "is not the issuer of a `claimgate dev`",
        ),
        (vec!["sub"], "expected `NAME=VALUE`, such as `sub=bob`"),
        (vec!["sub=a", "sub=b"], "the claim `sub` is given twice"),
        (vec!["--issuer", "http://192.0.2.1"], "a loopback address"),
        (vec!["--expires-in", "soon"], "--expires-in"),
    ] {
        let arguments = [vec!["dev", "token"], arguments].concat();
        let outcome = run(&arguments, "").await;
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.err);
        assert_eq!(outcome.out, "", "{arguments:?}");
        assert!(
            outcome.err.contains(expected),
            "{arguments:?}: {}",
            outcome.err
        );
    }
}
