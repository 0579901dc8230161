//! `claimgate doctor` as a client: TLS, time limits, exit codes. What it concludes is tested beside the code,
//! and with a real Envoy in `tests/e2e`.

mod cache;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use claimgate::dev::upstream::Upstream;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::support::authority::authority;
use crate::support::command::run;

/// The denial that claimgate gives to a request without a token, with the request's own id.
async fn deny(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = request.headers()["x-request-id"].to_str().unwrap();
    let reason = match request.headers().get_all("authorization").iter().count() {
        0 => "missing_token",
        1 => "malformed_token",
        _ => "malformed_authorization",
    };
    let body = json!({"error": "e", "reason": reason, "request_id": id}).to_string();
    let response = Response::builder()
        .status(401)
        .header("x-request-id", id)
        .header("www-authenticate", "Bearer")
        .body(Full::from(body));
    Ok(response.unwrap())
}

/// A gateway over TLS that denies everything.
async fn gateway(mut config: ServerConfig, protocols: &[&str]) -> SocketAddr {
    let protocols = protocols.iter();
    config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let (io, service) = (TokioIo::new(stream), service_fn(deny));
            tokio::spawn(async move {
                // A client that goes away is no failure.
                let _ = match is_http2 {
                    true => {
                        let server = http2::Builder::new(TokioExecutor::new());
                        server.serve_connection(io, service).await
                    }
                    false => http1::Builder::new().serve_connection(io, service).await,
                };
            });
        }
    });
    address
}

fn seen<'r>(report: &'r Value, code: &str) -> &'r str {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["code"] == code);
    finding.unwrap_or_else(|| panic!("no {code} in {report:#}"))["seen"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn gateways_over_tls_are_probed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    for (protocols, methods) in [
        (
            &["h2", "http/1.1"][..],
            "401 `missing_token`, 401 `missing_token`",
        ),
        // Without HTTP/2, one probe cannot be sent.
        (&["http/1.1"], "401 `missing_token`"),
        (&[], "401 `missing_token`"),
    ] {
        let (ca, config) = authority("127.0.0.1");
        std::fs::write(&file, ca).unwrap();
        let address = gateway(config, protocols).await;
        let through = format!("https://{address}/orders");
        let arguments = ["doctor", "--output", "json", "--through", &through];
        let trusting = ["--ca-file", file.to_str().unwrap()];
        let trusted = run(&[&arguments[..], &trusting].concat(), "").await;
        let report: Value = serde_json::from_str(&trusted.out).unwrap();
        assert_eq!(seen(&report, "methods"), methods, "{protocols:?}");
        assert!(seen(&report, "asked").starts_with("401 `missing_token`, request id `doctor-"));
        // Only that names with `_` are not refused is wrong with this gateway.
        assert_eq!(
            (trusted.code, &report["verdict"]),
            (Some(0), &json!("warning"))
        );

        let untrusted = run(&arguments, "").await;
        assert_eq!((untrusted.code, untrusted.out.as_str()), (Some(2), ""));
        assert!(
            untrusted
                .err
                .contains("cannot connect: invalid peer certificate"),
            "{}",
            untrusted.err
        );
    }
}

/// A gateway that checks requests with TLS, and lets those without pass.
#[tokio::test]
async fn the_port_without_tls_is_probed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let (ca, config) = authority("127.0.0.1");
    std::fs::write(&file, ca).unwrap();
    let address = gateway(config, &["h2", "http/1.1"]).await;
    let through = format!("https://{address}/orders");
    let upstream = Upstream::start().await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    for (port, code) in [(upstream.address().port(), Some(1)), (closed_port, Some(0))] {
        let port = port.to_string();
        let arguments = ["doctor", "--through", &through, "--plain-port", &port];
        let trusting = ["--ca-file", file.to_str().unwrap()];
        let said = run(&[&arguments[..], &trusting].concat(), "").await;
        assert_eq!(said.code, code, "{}{}", said.out, said.err);
        let is_named =
            said.out.contains("code    plain_port") && said.out.contains("`permitInsecure`");
        assert_eq!(is_named, code == Some(1), "{}", said.out);
    }
}

#[tokio::test]
async fn a_silent_gateway_is_a_problem() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("http://{}/", listener.local_addr().unwrap());
    let silent = run(&["doctor", "--timeout", "50ms", "--through", &through], "").await;
    assert_eq!(silent.code, Some(1), "{}", silent.err);
    for line in [
        "code    no_answer",
        "seen    no answer within 50ms",
        "change  `timeout`: ",
    ] {
        assert!(silent.out.contains(line), "no {line:?} in {}", silent.out);
    }
    drop(listener);
    let gone = run(&["doctor", "--through", &through], "").await;
    assert_eq!((gone.code, gone.out.as_str()), (Some(2), ""));
    assert!(
        gone.err.contains("--through: cannot connect: "),
        "{}",
        gone.err
    );
}

#[tokio::test]
async fn arguments_are_checked() {
    for (arguments, expected) in [
        (
            &["--through", "ftp://a/"][..],
            "expected an `http` or `https` URL",
        ),
        (
            &["--through", "api.example.com"],
            "expected `https://host/path`",
        ),
        (
            &["--through", "https://u:p@a/"],
            "leave out the user and password",
        ),
        (&["--through", "https://a/?x"], "leave out the query"),
        (
            &["--through", "https://a/", "--claim-header", "a b"],
            "expected the name of a header",
        ),
        (
            &["--through", "https://a/", "--ca-file", "/nonexistent"],
            "--ca-file: cannot read",
        ),
        (
            &["--through", "http://a/", "--token", "/nonexistent"],
            "cannot read `/nonexistent`",
        ),
        (
            &["--through", "http://a/", "--ca-file", "ca.pem"],
            "--ca-file: the URL is not `https`",
        ),
        (
            &["--through", "http://a/", "--token", "-"],
            "--token: it is empty",
        ),
    ] {
        let refused = run(&[&["doctor"], arguments].concat(), "").await;
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(
            refused.err.contains(expected),
            "{arguments:?}: {}",
            refused.err
        );
    }
}
