//! Each denial can be found by its id, and holds no token.

use std::collections::BTreeSet;

use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::gate::denials::DenialRecord;
use claimgate::keyring::Algorithm::Es256;
use claimgate::request::{Peer, Request};
use serde_json::{Value, json};

use crate::support::call::{Answer, bearer, check};
use crate::support::command::run;
use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

pub const RULES: &str = "
rules:
  - { name: closed, match: { path: { prefix: /closed } }, access: deny }
  - { name: writers, match: { path: { prefix: /write } }, scopes: [orders:write] }
";

/// Requests with twelve reasons: the credential's line, the path and the reason.
pub fn requests(issuer: &Issuer) -> Vec<(String, &'static str, &'static str)> {
    let key = signer(Es256, "real");
    let with = |changes: Value| {
        let mut claims =
            json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": NOW + 60});
        let members = claims.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        format!("Bearer {}", key.token(&claims).unwrap())
    };
    let good = format!("Bearer {}", token(issuer, &key));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let header = |header: Value| format!("Bearer {}", key.sign(&header.to_string(), "{}").unwrap());
    vec![
        (String::new(), "/", "missing_token"),
        ("Bearer a b".to_owned(), "/", "malformed_authorization"),
        ("Bearer abc".to_owned(), "/", "malformed_token"),
        (
            header(json!({"alg": "HS256", "kid": "real"})),
            "/",
            "unsupported_algorithm",
        ),
        (
            header(json!({"alg": "ES256", "kid": "real", "typ": "logout+jwt"})),
            "/",
            "unsupported_type",
        ),
        (
            with(json!({"iss": "https://evil.example"})),
            "/",
            "unknown_issuer",
        ),
        (forged, "/", "bad_signature"),
        (with(json!({"exp": NOW - 600})), "/", "expired"),
        (with(json!({"nbf": NOW + 600})), "/", "not_yet_valid"),
        (with(json!({"aud": "other"})), "/", "wrong_audience"),
        (
            with(json!({"client_id": "web"})),
            "/write",
            "insufficient_scope",
        ),
        (good, "/closed", "access_denied"),
    ]
}

#[tokio::test]
async fn every_id_leads_to_its_own_denial_and_no_token_is_kept() {
    let log = Log::start("debug");
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let gate = Gate::start(&format!("{}{RULES}", provider(&issuer, "acme", ""))).await;
    gate.service.gate.generation().jwks.all_known().await;
    let requests = requests(&issuer);
    let asked = (0..1_000).map(|number| {
        let (credential, path, reason) = &requests[number % requests.len()];
        let id = format!("request-{number}");
        let lines = [
            ("authorization", credential.as_bytes()),
            ("x-request-id", id.as_bytes()),
        ];
        let check = compose(&Request {
            method: "GET",
            host: "api.example.com",
            path: &format!("{path}?access_token=q7Zz"),
            headers: lines
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
            source: Peer {
                address: "10.0.0.7",
                ..Peer::default()
            },
            ..Request::default()
        });
        let service = gate.service.clone();
        async move {
            let answer = service.check(tonic::Request::new(check)).await;
            (
                id,
                *path,
                *reason,
                Answer::read(answer.unwrap().into_inner()),
            )
        }
    });
    let answered = futures_util::future::join_all(asked).await;

    let denials = &gate.service.gate.denials;
    let mut reasons = BTreeSet::new();
    for (id, path, reason, answer) in &answered {
        let Answer::Deny { headers, body, .. } = answer else {
            panic!("{id}: {answer:?}")
        };
        assert!(
            headers.contains(&("x-request-id".to_owned(), id.clone())),
            "{headers:?}"
        );
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["request_id"], **id);
        let record = denials.find(id).unwrap();
        assert_eq!(
            (record.reason, record.path.as_deref()),
            (*reason, Some(*path)),
            "{id}"
        );
        assert_eq!(record.source.as_deref(), Some("10.0.0.7"));
        assert_eq!(record.host.as_deref(), Some("api.example.com"));
        reasons.insert(record.reason);
    }
    assert_eq!(reasons.len(), 12);
    let scope = answered
        .iter()
        .find(|(_, _, reason, _)| *reason == "insufficient_scope");
    let record = denials.find(&scope.unwrap().0).unwrap();
    assert_eq!(
        (
            record.subject.as_deref(),
            record.client.as_deref(),
            record.rule.as_deref()
        ),
        (Some("alice"), Some("web"), Some("writers"))
    );

    let kept: Vec<DenialRecord> = denials
        .newest()
        .map(|it| DenialRecord::clone(&it))
        .collect();
    let kept = serde_json::to_string(&kept).unwrap();
    let answers = format!("{answered:?}");
    let logged = log.text();
    for (credential, ..) in &requests {
        let token = credential.strip_prefix("Bearer ").unwrap_or_default();
        for part in token.split('.').filter(|part| part.len() > 8) {
            for (place, text) in [("ring", &kept), ("answers", &answers), ("log", &logged)] {
                assert!(!text.contains(part), "a part of a token in the {place}");
            }
        }
    }
    assert!(
        !kept.contains("q7Zz") && !logged.contains("q7Zz"),
        "the query"
    );
}

#[tokio::test]
async fn why_asks_a_running_instance() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&*key]).await;
    let server = Server::start(&format!("{}{RULES}", provider(&issuer, "acme", ""))).await;
    let admin = server.admin.to_string();
    while server.page("/readyz").await.0 != 200 {
        tokio::task::yield_now().await;
    }
    let expired = key
        .token(&json!({"iss": issuer.url(), "aud": "orders-api", "sub": "a", "exp": NOW - 600}))
        .unwrap();
    let answer = server.check(bearer(&expired)).await;
    let Answer::Deny { headers, .. } = answer else {
        panic!("{answer:?}")
    };
    let (_, own) = headers
        .iter()
        .find(|(name, _)| name == "x-request-id")
        .unwrap();
    assert_eq!(own.len(), 32, "an id created here");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    server
        .check(check(&[
            ("traceparent", &parent),
            ("x-request-id", "a/b c"),
        ]))
        .await;
    server.check(check(&[("x-request-id", "a/b")])).await;

    let told = run(&["why", own, "--admin", &admin], "").await;
    assert_eq!(told.code, Some(0), "{}", told.err);
    for line in [
        "reason      expired",
        "provider    acme",
        "hint        ",
        "see         docs/",
        "do          refresh the token",
    ] {
        assert!(told.out.contains(line), "no {line:?} in {}", told.out);
    }
    for id in [trace, "a/b"] {
        let told = run(&["why", id, "--admin", &admin, "--output", "json"], "").await;
        let record: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(
            (&record["request_id"], &record["reason"]),
            (&json!(id), &json!("missing_token"))
        );
    }
    let told = run(&["why", "nothing", "--admin", &admin], "").await;
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert!(told.err.contains("search the log"), "{}", told.err);

    let (status, page) = server.page("/denials").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(status, 200);
    let ids: Vec<&Value> = page["denials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["request_id"])
        .collect();
    assert_eq!(ids, [&json!("a/b"), &json!(trace), &json!(own)]);
    assert_eq!(server.page("/denials/nothing").await.0, 404);
    server.stop().await;

    let told = run(&["why", "a", "--admin", &admin], "").await;
    assert_eq!(told.code, Some(2));
    assert!(told.err.contains("--admin"), "{}", told.err);
}
