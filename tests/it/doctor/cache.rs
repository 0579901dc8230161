//! A gateway that remembers allows, as agentgateway can.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use claimgate::ext_authz::proto::auth::OkHttpResponse;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::envoy::config::core::v3::HeaderValueOption;
use claimgate::ext_authz::request::compose;
use claimgate::keyring::Algorithm::EdDsa;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::support::command::run;
use crate::support::gate::{provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::server::Server;

#[derive(Clone)]
struct Gateway {
    claimgate: AuthorizationClient<Channel>,
    remembers: bool,
    allows: Arc<Mutex<HashMap<String, OkHttpResponse>>>,
}

impl Gateway {
    async fn start(claimgate: &Server, remembers: bool) -> SocketAddr {
        let gateway = Self {
            claimgate: AuthorizationClient::new(claimgate.channel().await),
            remembers,
            allows: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(serve).with_state(gateway);
        tokio::spawn(async { axum::serve(listener, routes).await });
        address
    }
}

/// Echoes an allowed request, as its API receives it.
async fn serve(State(mut gateway): State<Gateway>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = text("authorization").unwrap_or_default();
    let key = format!("{} {} {authorization}", head.method, head.uri);
    let remembered = match gateway.remembers {
        true => gateway.allows.lock().unwrap().get(&key).cloned(),
        false => None,
    };
    let allow = match remembered {
        Some(allow) => allow,
        None => {
            let lines = head.headers.iter();
            let check = compose(&claimgate::request::Request {
                method: head.method.as_str(),
                host: text("host").unwrap_or_default(),
                path: head.uri.path(),
                headers: lines
                    .map(|(name, value)| (name.as_str(), value.as_bytes()))
                    .collect(),
                ..claimgate::request::Request::default()
            });
            let answer = gateway.claimgate.check(check).await.unwrap().into_inner();
            match answer.http_response.unwrap() {
                HttpResponse::OkResponse(allow) => allow,
                HttpResponse::DeniedResponse(denied) => {
                    let status = u16::try_from(denied.status.unwrap().code).unwrap();
                    let status = StatusCode::from_u16(status).unwrap();
                    let mut response = (status, denied.body).into_response();
                    set(response.headers_mut(), &denied.headers);
                    return response;
                }
                HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
            }
        }
    };
    let mut headers = head.headers;
    for name in &allow.headers_to_remove {
        headers.remove(name);
    }
    set(&mut headers, &allow.headers);
    gateway.allows.lock().unwrap().insert(key, allow);
    let lines = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
    let lines: serde_json::Map<String, Value> = lines.collect();
    json!({ "path": head.uri.path(), "headers": lines })
        .to_string()
        .into_response()
}

fn set(headers: &mut HeaderMap, options: &[HeaderValueOption]) {
    for option in options {
        let header = option.header.as_ref().unwrap();
        let name: HeaderName = header.key.parse().unwrap();
        let value = match header.raw_value.is_empty() {
            true => header.value.as_bytes(),
            false => &header.raw_value,
        };
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
    }
}

/// Its key is the method, the path and the token. The API shows that it is not enough, and the instance why.
#[tokio::test]
async fn a_gateway_that_remembers_answers_is_found() {
    let key = signer(EdDsa, "doctor");
    let issuer = Issuer::start(&[&key]).await;
    let upstream = "upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }] }";
    let server = Server::start(&format!("{}{upstream}", provider(&issuer, "acme", ""))).await;
    server.is_serving().await;
    let token = token(&issuer, &key);
    let admin = server.admin.to_string();
    for (remembers, admin, expected) in [
        (false, Some(&admin), &[][..]),
        (true, None, &["spelling_spoofed"]),
        (true, Some(&admin), &["remembered", "spelling_spoofed"]),
    ] {
        let gateway = Gateway::start(&server, remembers).await;
        let through = format!("http://{gateway}/orders");
        let mut arguments = vec!["doctor", "--output", "json", "--token", "-"];
        arguments.extend(["--through", &through]);
        arguments.extend(admin.iter().flat_map(|admin| ["--admin", admin.as_str()]));
        let said = run(&arguments, &token).await;
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let names_cache = |finding: &&Value| {
            let changes = finding["changes"].as_array();
            changes.is_some_and(|all| all.iter().any(|change| change["setting"] == "cache"))
        };
        let codes = findings.filter(names_cache).map(|it| &it["code"]);
        let codes: Vec<_> = codes.collect();
        assert_eq!(codes, expected, "{report:#}");
    }
}
