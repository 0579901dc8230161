//! Every configuration in `deploy/envoy`: Envoy accepts the file, runs it, and answers as the table says.
//! claimgate runs with the snippet in the file's own comment.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use claimgate::dev::envoy::{Address, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::certificates::Certificates;
use crate::change;
use crate::front;
use crate::mesh::{inside, of_file};
use crate::setup::{Answer, Claimgate, bearer, configure_for, envoy_binary, eventually, http};

/// How Envoy reaches claimgate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Tcp,
    Unix,
    MutualTls,
    /// The text to replace holds the address: there is no cluster.
    Google,
    /// Envoy decides by itself, and asks nobody.
    Module,
    /// The same, although the file is for the service.
    Inside,
}

struct Row {
    file: &'static str,
    connection: Connection,
    /// Further texts to replace, so that a limit is reached soon.
    replace: &'static [(&'static str, &'static str)],
    /// A request, the claims of its token if it has one, and the expected status and part of the body.
    requests: &'static [(&'static str, Option<&'static str>, u16, &'static str)],
}

const READER: Option<&str> = Some(r#"{"sub": "alice", "scope": "orders:read"}"#);
const WRITER: Option<&str> = Some(r#"{"sub": "alice", "scope": "orders:write"}"#);
const ADMIN: Option<&str> = Some(r#"{"sub": "alice", "realm_access": {"roles": ["admin"]}}"#);
const BOB: Option<&str> = Some(r#"{"sub": "bob"}"#);
const CAROL: Option<&str> = Some(r#"{"sub": "carol", "plan": "free"}"#);
const DAVE: Option<&str> = Some(r#"{"sub": "dave", "plan": "gold"}"#);

const ROWS: [Row; 8] = [
    Row {
        file: "envoy.yaml",
        connection: Connection::Tcp,
        replace: &[],
        requests: &[],
    },
    Row {
        file: "unix-socket.yaml",
        connection: Connection::Unix,
        replace: &[],
        requests: &[],
    },
    Row {
        file: "mutual-tls.yaml",
        connection: Connection::MutualTls,
        replace: &[],
        requests: &[],
    },
    Row {
        file: "google-grpc.yaml",
        connection: Connection::Google,
        replace: &[],
        requests: &[],
    },
    Row {
        file: "envoy-module.yaml",
        connection: Connection::Module,
        replace: &[],
        requests: &[
            ("GET /healthz", None, 200, "/healthz"),
            ("GET /healthz/x", None, 401, "missing_token"),
        ],
    },
    Row {
        file: "per-route.yaml",
        connection: Connection::Tcp,
        replace: &[],
        requests: &[
            ("GET /healthz", None, 200, "/healthz"),
            ("GET /healthz/x", None, 401, "missing_token"),
            ("GET /orders", None, 401, "missing_token"),
            ("GET /orders/7", READER, 200, "/orders/7"),
            ("HEAD /orders/7", READER, 200, ""),
            ("POST /orders", READER, 403, "insufficient_scope"),
            ("DELETE /orders/7", READER, 403, "insufficient_scope"),
            ("POST /orders", WRITER, 200, "POST"),
            ("GET /orders", WRITER, 403, "insufficient_scope"),
            ("GET /orders-archive", ADMIN, 200, "/orders-archive"),
            ("GET http://admin.example.com/things", ADMIN, 200, "/things"),
            (
                "GET http://admin.example.com/things",
                WRITER,
                403,
                "access_denied",
            ),
            (
                "GET http://admin.example.com:8000/healthz",
                None,
                401,
                "missing_token",
            ),
            // Many APIs take these for the same host. Envoy itself refuses the last one.
            (
                "GET http://admin.example.com./healthz",
                None,
                401,
                "missing_token",
            ),
            (
                "GET http://admin.example.com:/healthz",
                None,
                400,
                "Bad Request",
            ),
        ],
    },
    Row {
        file: "rate-limit.yaml",
        connection: Connection::Tcp,
        replace: &[
            (
                "max_tokens: 600, tokens_per_fill: 600, fill_interval: 60s",
                "max_tokens: 3, tokens_per_fill: 3, fill_interval: 3600s",
            ),
            (
                "max_tokens: 60, tokens_per_fill: 60, fill_interval: 60s",
                "max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s",
            ),
        ],
        requests: &[
            ("GET /a", BOB, 200, ""),
            ("GET /b", BOB, 200, ""),
            ("GET /c", BOB, 200, ""),
            ("GET /d", BOB, 429, ""),
            // A refused request takes nothing from a bucket.
            ("GET /d", None, 401, "missing_token"),
            ("GET /a", CAROL, 200, ""),
            ("GET /b", CAROL, 429, ""),
            ("GET /a", DAVE, 200, ""),
            ("GET /b", DAVE, 200, ""),
            ("GET /c", DAVE, 200, ""),
            ("GET /d", DAVE, 429, ""),
        ],
    },
    Row {
        file: "login.yaml",
        connection: Connection::Tcp,
        replace: &[],
        requests: &[
            ("GET /healthz", None, 200, "/healthz"),
            ("GET /healthz/x", None, 401, "OAuth flow failed"),
            ("POST /healthz", None, 401, "missing_token"),
            ("POST /orders", READER, 200, "POST"),
        ],
    },
];

/// The sections of claimgate's configuration in a file's comment: its lines with three spaces, without
/// commands.
pub fn snippet(text: &str) -> Value {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    let lines = lines.filter_map(|line| line.strip_prefix("   "));
    let yaml: Vec<_> = lines.filter(|line| !line.starts_with("envoy ")).collect();
    match yaml.is_empty() {
        true => json!({}),
        false => serde_saphyr::from_str(&yaml.join("\n")).unwrap(),
    }
}

/// The configuration with these sections in it.
fn with(configured: &str, sections: &Value) -> Value {
    let mut whole: Value = serde_saphyr::from_str(configured).unwrap();
    for (name, section) in sections.as_object().unwrap() {
        match (whole[name].as_object_mut(), section) {
            (Some(own), Value::Object(more)) => own.extend(more.clone()),
            _ => whole[name] = section.clone(),
        }
    }
    whole
}

/// Envoy's own opinion of a file.
async fn validate(file: &Path) {
    let output = Command::new(envoy_binary())
        .args([
            "--mode",
            "validate",
            "--log-level",
            "warning",
            "--config-path",
        ])
        .arg(file)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", file.display());
    assert!(!said.contains("deprecated"), "{}: {said}", file.display());
}

#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn each_file_is_valid_and_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/envoy");
    let there: BTreeSet<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, ROWS.map(|row| row.file.to_owned()).into());

    let any = "127.0.0.1:0".parse().unwrap();
    let issuer = Issuer::start(any, "urn:orders-api").await.unwrap();
    for row in &ROWS {
        let text = fs::read_to_string(folder.join(row.file)).unwrap();
        if row.connection == Connection::Tcp {
            answers(row, Connection::Inside, text.clone(), &issuer).await;
        }
        answers(row, row.connection, text, &issuer).await;
    }
}

async fn answers(row: &Row, connection: Connection, mut text: String, issuer: &Issuer) {
    let file = row.file;
    let certificates = Certificates::create();
    let directory = certificates.directory();
    let socket = directory.join("check.sock");
    let mut configured = with(&configure_for(issuer.url(), "", ""), &snippet(&text));
    if connection == Connection::Unix {
        let listen = &mut configured["server"]["listen"];
        assert_eq!(listen["unix"], "/run/claimgate/check.sock", "{file}");
        listen["unix"] = socket.to_str().unwrap().into();
        // This machine has no group of that name.
        assert_eq!(listen["group"], "envoy", "{file}");
        listen.as_object_mut().unwrap().remove("group");
    }
    // Beside the certificates, whose paths are relative to the file.
    let own = directory.join("claimgate.yaml");
    fs::write(&own, configured.to_string()).unwrap();
    let mut claimgate = match connection {
        Connection::Unix => Claimgate::as_configured(&own).await,
        Connection::Tcp
        | Connection::MutualTls
        | Connection::Google
        | Connection::Module
        | Connection::Inside => Claimgate::start(&own).await,
    };
    claimgate.is_ready().await;

    let here = directory.to_str().unwrap();
    let target = format!("dns:///{}", claimgate.check);
    let by_file = format!("file:{here}");
    let replace = match connection {
        Connection::Tcp | Connection::Inside => None,
        Connection::Unix => Some(("/run/claimgate", here)),
        Connection::MutualTls => Some(("/etc/envoy", here)),
        Connection::Google => Some(("dns:///claimgate:9001", target.as_str())),
        Connection::Module => Some(("file:/etc/claimgate", by_file.as_str())),
    };
    if let Some((from, to)) = replace {
        assert!(text.contains(from), "{file}: no `{from}`");
        text = text.replace(from, to);
    }
    for (from, to) in row.replace {
        text = change(&text, from, to);
    }
    let has_login = file == "login.yaml";
    if has_login {
        text = front::wired(&text, issuer.url(), directory).to_string();
    }
    if connection == Connection::Inside {
        text = inside(&text, &of_file(&own));
    }
    let yaml = directory.join(file);
    fs::write(&yaml, &text).unwrap();
    validate(&yaml).await;

    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        claimgate: match connection {
            Connection::Unix => Address::Unix(socket),
            _ => claimgate.check.into(),
        },
        upstream: upstream.address(),
    };
    let envoy = Envoy::start(&envoy_binary(), &text, &wiring).await.unwrap();
    let mint = |claims: Value| bearer(&issuer.mint(claims.as_object().unwrap()).unwrap());
    let mut users = 0..;
    // Each time as another user, so that no limit is reached.
    let mut status = async || {
        let user = format!("user-{}", users.next().unwrap());
        let lines = [mint(json!({"sub": user}))];
        http(envoy.address(), "GET /things", &lines).await.status
    };
    eventually("Envoy asks claimgate", async || status().await == 200).await;

    let ask = async |request: &str, lines: &[String]| -> Answer {
        http(envoy.address(), request, lines).await
    };
    let good = || mint(json!({"sub": "erin"}));
    let denied_by = match has_login {
        true => "OAuth flow failed",
        false => "missing_token",
    };
    for (request, lines, expected, says) in [
        ("GET /things", vec![], 401, denied_by),
        ("GET /things", vec![bearer("x")], 401, "malformed_token"),
        ("GET /a%2Fb", vec![good()], 400, ""),
        (
            "GET /things",
            vec![good(), "x_auth_subject: root".to_owned()],
            400,
            "",
        ),
    ] {
        let answer = ask(request, &lines).await;
        assert_eq!(answer.status, expected, "{file}: {request}: {answer:?}");
        assert!(answer.body.contains(says), "{file}: {request}: {answer:?}");
    }
    let spoofed = [
        good(),
        "x-auth-subject: root".to_owned(),
        "x-auth-roles: admin".to_owned(),
    ];
    let answer = ask("GET /a/../things//x", &spoofed).await;
    assert_eq!(answer.status, 200, "{file}: {answer:?}");
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["path"], "/things/x", "{file}");
    assert_eq!(seen["headers"]["x-auth-subject"], "erin", "{file}");
    assert_eq!(seen["headers"]["x-auth-roles"], Value::Null, "{file}");

    for (request, claims, expected, says) in row.requests {
        let mut lines = vec!["x-auth-subject: root".to_owned()];
        lines.extend(claims.map(|claims| mint(serde_json::from_str(claims).unwrap())));
        let answer = ask(request, &lines).await;
        assert_eq!(answer.status, *expected, "{file}: {request}: {answer:?}");
        assert!(answer.body.contains(says), "{file}: {request}: {answer:?}");
        let is_echo = answer.body.contains("\"headers\"");
        assert!(
            !is_echo || !answer.body.contains("root"),
            "{file}: {answer:?}"
        );
    }

    if [Connection::Module, Connection::Inside].contains(&connection) {
        claimgate.kill().await;
        assert_eq!(status().await, 200, "{file}: nobody is asked");
        return;
    }
    // claimgate comes back, hangs, and goes for good.
    if connection != Connection::Unix {
        claimgate.restart().await;
        eventually("Envoy asks again", async || status().await == 200).await;
    }
    claimgate.freeze().await;
    assert_eq!(status().await, 503, "{file}: claimgate hangs");
    claimgate.kill().await;
    assert_eq!(status().await, 503, "{file}");
}
