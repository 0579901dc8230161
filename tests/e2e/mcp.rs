//! Rules on MCP calls, with the official SDK as client and as server.

use std::net::SocketAddr;

use claimgate::dev::envoy::EXAMPLE;
use claimgate::dev::issuer::Issuer;
use serde_json::{Value, json};

use crate::mesh::{Mesh, Place, in_both_places};
use crate::setup::{McpServer, bearer, mcp_client, post};

in_both_places! {
    tools_are_told_apart,
    headers_cannot_lie,
}

const RULES: &str = "
rules:
  - name: delete
    match: { path: { exact: /mcp }, mcp: { methods: [tools/call], names: [delete_order, löschen] } }
    scopes: [mcp:admin]
  - name: mcp
    match: { path: { exact: /mcp } }
    scopes: [mcp:tools]
";

async fn mesh(place: Place, issuer: &Issuer, upstream: SocketAddr) -> Mesh {
    Mesh::in_front_of(place, EXAMPLE, issuer.url(), RULES, upstream).await
}

fn token(issuer: &Issuer, scope: &str) -> String {
    let claims = json!({"sub": "agent", "scope": scope});
    issuer.mint(claims.as_object().unwrap()).unwrap()
}

/// The rules use the client's own headers, plain and in Base64.
async fn tools_are_told_apart(place: Place) {
    let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), "urn:orders-api")
        .await
        .unwrap();
    let server = McpServer::start().await;
    let mesh = mesh(place, &issuer, server.address).await;
    let url = format!("http://{}/mcp", mesh.envoy.address());
    let tools = ["read_order", "delete_order", "löschen"];
    let all = json!(["read_order", "delete_order", "löschen"]);

    let found = mcp_client(&url, &token(&issuer, "mcp:tools"), &tools).await;
    assert_eq!((&found[0], &found[1]), (&all, &json!("ran read_order")));
    for refused in [&found[2], &found[3]] {
        assert!(
            refused.as_str().unwrap().contains("Insufficient scope"),
            "{refused}"
        );
    }
    let found = mcp_client(&url, &token(&issuer, "mcp:tools mcp:admin"), &tools).await;
    assert_eq!(
        found[1..],
        [
            json!("ran read_order"),
            json!("ran delete_order"),
            json!("ran löschen")
        ]
    );
}

/// Headers that say less than the body, or something else, do not evade a rule.
async fn headers_cannot_lie(place: Place) {
    let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), "urn:orders-api")
        .await
        .unwrap();
    let server = McpServer::start().await;
    let mesh = mesh(place, &issuer, server.address).await;
    let token = token(&issuer, "mcp:tools");
    // Clients of earlier revisions send no such headers, and the server accepts that.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete_order", "arguments": {}}});
    let revision = "mcp-protocol-version: 2026-07-28";
    for (lines, expected) in [
        (&[][..], "ambiguous_header"),
        (
            &["mcp-method: tools/call", "mcp-name: read_order"],
            "ambiguous_header",
        ),
        (
            &[
                "mcp-protocol-version: 2025-11-25",
                "mcp-method: tools/call",
                "mcp-name: read_order",
            ],
            "ambiguous_header",
        ),
        (&[revision, "mcp-method: tools/call"], "ambiguous_header"),
        (
            &[
                revision,
                "mcp-method: tools/call",
                "mcp-name: read_order",
                "mcp-name: delete_order",
            ],
            "ambiguous_header",
        ),
        (
            &[revision, "mcp-method: tools/call", "mcp-name: delete_order"],
            "insufficient_scope",
        ),
        // Here the server compares headers and body.
        (
            &[revision, "mcp-method: tools/call", "mcp-name: read_order"],
            "error",
        ),
        (&[revision, "mcp-method: tools/list"], "error"),
    ] {
        let mut head = vec![
            bearer(&token),
            "content-type: application/json".to_owned(),
            "accept: application/json, text/event-stream".to_owned(),
        ];
        head.extend(lines.iter().map(ToString::to_string));
        let answer = post(mesh.envoy.address(), "/mcp", &head, &call.to_string()).await;
        assert!(!answer.body.contains("ran "), "{lines:?}: {answer:?}");
        // The server sends the response in chunks.
        let json = answer
            .body
            .split_once('{')
            .zip(answer.body.rsplit_once('}'));
        let ((before, _), (until, _)) = json.unwrap_or_else(|| panic!("{answer:?}"));
        let said = &answer.body[before.len()..=until.len()];
        let said: Value = serde_json::from_str(said).unwrap();
        let reason = said["reason"]
            .as_str()
            .unwrap_or_else(|| match said["error"].is_object() {
                true => "error",
                false => "",
            });
        assert_eq!(
            (answer.status / 100, reason),
            (4, expected),
            "{lines:?}: {answer:?}"
        );
    }
}
