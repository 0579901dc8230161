//! The operator's page: what it shows, that it escapes, and that a pasted token leaves no trace.

use claimgate::ext_authz::request::compose;
use claimgate::keyring::Algorithm::Es256;
use claimgate::request::{Peer, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::gate::{NOW, provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

const REST: &str = "
rules:
  - { name: never, match: { path: { prefix: /never } } }
  - { name: writers, match: { path: { prefix: /write } }, scopes: [orders:write] }
upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }] }
";

const EVIL: &str = "<script>alert('1')</script>";

/// Status, head and body of the answer to a form.
async fn post(server: &Server, form: &[(&str, &str)], lines: &str) -> (u16, String, String) {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    let body = body.extend_pairs(form).finish();
    let request = format!(
        "POST /explain HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.admin).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

async fn served() -> (Server, Issuer) {
    let issuer = Issuer::start(&[&*signer(Es256, "<real>")]).await;
    let server = Server::start(&format!("{}{REST}", provider(&issuer, "acme", ""))).await;
    while server.page("/readyz").await.0 != 200 {}
    (server, issuer)
}

#[tokio::test]
async fn what_requests_say_is_escaped() {
    let (server, issuer) = served().await;
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "sub": EVIL, "client_id": EVIL,
                        "exp": NOW + 60});
    let token = signer(Es256, "<real>").token(&claims).unwrap();
    let bearer = format!("Bearer {token}");
    let forged = format!("Bearer {EVIL}");
    let searched: String = url::form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    // Each place that an attacker chooses, in turn and together.
    let plain = ("GET", "api.example.com", "/write", "10.0.0.7", &bearer);
    for (number, (method, host, path, source, credential)) in [
        (EVIL, plain.1, plain.2, plain.3, plain.4),
        (plain.0, EVIL, plain.2, plain.3, plain.4),
        (
            plain.0,
            plain.1,
            "/write/<script>alert('1')</script>",
            plain.3,
            plain.4,
        ),
        (plain.0, plain.1, plain.2, EVIL, plain.4),
        (plain.0, plain.1, plain.2, plain.3, &forged),
        (plain.0, plain.1, "/write", plain.3, plain.4),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("request-{number}");
        let trace = format!("00-4bf92f3577b34da6a3ce929d0e0e473{number}-00f067aa0ba902b7-01");
        let check = compose(&Request {
            method,
            host,
            path,
            headers: [
                ("authorization", credential.as_bytes()),
                ("x-request-id", id.as_bytes()),
                ("traceparent", trace.as_bytes()),
            ]
            .into_iter()
            .collect(),
            source: Peer {
                address: source,
                ..Peer::default()
            },
            ..Request::default()
        });
        assert!(!server.check(check).await.is_allow(), "{id}");
        for path in [
            "/".to_owned(),
            format!("/?id={id}"),
            format!("/?id={searched}"),
        ] {
            let (status, html) = server.page(&path).await;
            assert_eq!(status, 200, "{path}");
            assert_eq!(html.matches("<script").count(), 1, "{path}: {html}");
            assert!(html.contains("<script src=\"/page.js\" defer></script>"));
            assert!(!html.contains("<real>") && html.contains("real"), "{path}");
        }
    }
    let (_, html) = server.page("/?id=request-5").await;
    for shown in ["&#60;script&#62;alert(", "insufficient_scope", "never"] {
        assert!(html.contains(shown), "no {shown} in {html}");
    }
    let (_, html) = server.page("/?id=nothing").await;
    assert!(html.contains("None of the last 1,024 denials"), "{html}");
    server.stop().await;
}

#[tokio::test]
async fn the_numbers_that_the_page_polls() {
    let (server, issuer) = served().await;
    let good = token(&issuer, &signer(Es256, "<real>"));
    for credential in [format!("Bearer {good}"), "Bearer bad".to_owned()] {
        let lines = [("authorization", &*credential)];
        server.check(crate::support::call::check(&lines)).await;
    }
    let (_, stats) = server.page("/stats").await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(
        stats["checks"],
        json!({"allow": 1, "deny": 1, "metadata": 0})
    );
    assert_eq!(stats["reasons"], json!([["malformed_token", 1]]));
    // `never`, `writers` and the default rule.
    assert_eq!(stats["rules"], json!([[0, 0, 0], [0, 0, 0], [1, 1, 2]]));
    assert_eq!(stats["ready"], true);
    assert_eq!(stats["providers"][0]["state"], "current");
    assert_eq!(stats["denials"][0]["reason"], "malformed_token");
    for (path, kind) in [
        ("/page.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/page.svg", "image/svg+xml"),
    ] {
        let (head, _) = server.page_as(path, "*/*").await;
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
    }
    server.stop().await;
}

async fn counted(server: &Server) -> [Value; 4] {
    let (_, stats) = server.page("/stats").await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    ["checks", "reasons", "rules", "denials"].map(|member| stats[member].clone())
}

#[tokio::test]
async fn a_pasted_token_leaves_no_trace() {
    let log = Log::start("trace");
    let (server, issuer) = served().await;
    let key = signer(Es256, "<real>");
    let good = token(&issuer, &key);
    let claims =
        json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": NOW - 600});
    let expired = key.token(&claims).unwrap();
    let before = counted(&server).await;
    for (token, path, decision, reason) in [
        (&*good, "/", "allow", ""),
        (&format!(" Bearer {good}\n"), "/", "allow", ""),
        (&*good, "/write", "deny", "insufficient_scope"),
        (&*expired, "/", "deny", "expired"),
        ("", "/", "deny", "missing_token"),
        ("eyJ<script>", "/", "deny", "malformed_token"),
    ] {
        let form = [("token", token), ("path", path)];
        let (status, _, body) = post(&server, &form, "accept: application/json\r\n").await;
        assert_eq!(status, 200, "{body}");
        let explained: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(explained["decision"], decision, "{body}");
        let failed = explained["failed"][0].as_str().unwrap_or_default();
        assert_eq!(failed, reason, "{body}");

        let (status, head, html) = post(&server, &form, "accept: text/html\r\n").await;
        assert_eq!(status, 200);
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert!(html.contains(reason), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        for part in token
            .trim()
            .split(['.', ' '])
            .filter(|part| part.len() > 20)
        {
            for (place, text) in [("HTML", &html), ("JSON", &body), ("log", &log.text())] {
                assert!(!text.contains(part), "a part of the token in the {place}");
            }
        }
    }
    let after = counted(&server).await;
    assert_eq!(before, after, "nothing is counted or kept");
    let (_, metrics) = server.page("/metrics").await;
    assert!(
        metrics.contains("claimgate_token_cache_entries 0\n"),
        "{metrics}"
    );

    let crossing = "origin: https://evil.example\r\n";
    assert_eq!(post(&server, &[("token", &good)], crossing).await.0, 403);
    let large = "a".repeat(300 * 1024);
    assert_eq!(post(&server, &[("token", &large)], "").await.0, 413);
    server.stop().await;
}
