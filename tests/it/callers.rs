//! Envoy is not the only program that calls `Check`. Each caller builds the message in its own way, and
//! carries out the answer in its own way. Both are modelled here, as seen with the programs themselves.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use claimgate::config::Config;
use claimgate::decision::Decision;
use claimgate::ext_authz::proto::auth::attribute_context::{self, HttpRequest};
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::proto::auth::authorization_server::{
    Authorization as AuthorizationService, AuthorizationServer,
};
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::auth::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use claimgate::ext_authz::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use claimgate::ext_authz::proto::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress, address,
};
use claimgate::ext_authz::proto::google::rpc::Status as RpcStatus;
use claimgate::ext_authz::request::describe;
use claimgate::ext_authz::service::Service;
use claimgate::gate::Gate;
use claimgate::identity::{HeaderName, Upstream};
use claimgate::keyring::Algorithm::EdDsa;
use claimgate::request::{grpc_metadata_name, is_spelling};
use claimgate::time::UnixTime;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

use crate::support::call::{Answer, with_http};
use crate::support::gate::{Gate as Started, NOW, provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::server::Server;

mod cache;
#[path = "../../deploy/callers/interceptor.rs"]
mod interceptor;

#[path = "../cases/decision_log.rs"]
mod decision_log;
#[path = "../cases/expect.rs"]
mod expect;
#[path = "../cases/file.rs"]
mod file;
#[path = "../cases/run.rs"]
#[expect(dead_code, reason = "the cases use the rest")]
mod run;

use file::{files, read, test_name};
use run::{CaseClock, as_envoy_shows, configuration, requests, with_keys};

/// A program that calls `Check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    /// Envoy by default, and so Istio, Envoy Gateway, Contour, Cilium and Consul.
    EnvoyJoined,
    /// Envoy with `encode_raw_headers`.
    EnvoyRaw,
    /// Envoy with `allowed_headers: [authorization]`, against which the documents advise.
    AllowedHeadersOnly,
    Agentgateway,
    /// gRPC's own filter (gRFC A92).
    Grpc,
    /// A gateway of gRPC services, which ignores `headers_to_remove`, `append`, `append_action` and the
    /// query parameters to remove.
    StructuredProxy,
}

impl Caller {
    const ALL: [Self; 6] = [
        Self::EnvoyJoined,
        Self::EnvoyRaw,
        Self::AllowedHeadersOnly,
        Self::Agentgateway,
        Self::Grpc,
        Self::StructuredProxy,
    ];

    /// Whether it carries out `headers_to_remove`.
    fn removes(self) -> bool {
        self != Self::StructuredProxy
    }

    /// Whether it replaces the headers of the same name.
    fn replaces(self, option: &HeaderValueOption) -> bool {
        match self {
            Self::EnvoyJoined | Self::EnvoyRaw | Self::AllowedHeadersOnly | Self::Agentgateway => {
                option.append == Some(false)
            }
            Self::Grpc => option.append_action() == HeaderAppendAction::OverwriteIfExistsOrAdd,
            Self::StructuredProxy => false,
        }
    }

    /// The message for a request.
    fn check(self, sent: &Sent) -> CheckRequest {
        let Sent {
            method,
            host,
            path,
            lines,
            address,
            context,
        } = sent;
        let shown_path = as_envoy_shows(path);
        let pseudo = [
            (":method", method.as_bytes()),
            (":authority", host.as_bytes()),
            (":path", path.as_slice()),
        ];
        let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.to_vec()));
        let whole = HttpRequest {
            id: "7".to_owned(),
            method: method.clone(),
            host: host.clone(),
            path: shown_path.clone(),
            scheme: "https".to_owned(),
            size: -1,
            protocol: "HTTP/2".to_owned(),
            ..HttpRequest::default()
        };
        let all = || [&pseudo[..], lines].concat();
        let http = match self {
            Self::EnvoyJoined => HttpRequest {
                headers: joined(&all(), |_| ","),
                ..whole
            },
            Self::EnvoyRaw => HttpRequest {
                header_map: Some(raw(&all())),
                ..whole
            },
            Self::AllowedHeadersOnly => {
                let mut headers = joined(lines, |_| ",");
                headers.retain(|name, _| name == "authorization");
                HttpRequest { headers, ..whole }
            }
            Self::Agentgateway => {
                let separator = |name: &str| match name {
                    "cookie" => "; ",
                    _ => ", ",
                };
                HttpRequest {
                    headers: joined(&all(), separator),
                    ..whole
                }
            }
            Self::Grpc => {
                let mut lines = lines.clone();
                lines.retain(|(name, _)| name != "content-type");
                HttpRequest {
                    method: "POST".to_owned(),
                    path: shown_path.split('?').next().unwrap().to_owned(),
                    header_map: Some(raw(&lines)),
                    size: -1,
                    protocol: "HTTP/2".to_owned(),
                    ..HttpRequest::default()
                }
            }
            Self::StructuredProxy => {
                let texts = lines.iter().filter(|(_, value)| value.is_ascii());
                // Of repeated lines, only the last remains.
                let headers = texts.map(|(name, value)| (name.clone(), as_envoy_shows(value)));
                let (path, query) = shown_path.split_once('?').unwrap_or((&shown_path, ""));
                HttpRequest {
                    method: method.clone(),
                    host: host.clone(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                    headers: headers.collect(),
                    ..HttpRequest::default()
                }
            }
        };
        let has_source = !matches!(self, Self::Grpc | Self::StructuredProxy);
        let source = has_source.then(|| attribute_context::Peer {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: address.clone(),
                    ..SocketAddress::default()
                })),
            }),
            ..attribute_context::Peer::default()
        });
        let mut check = with_http(http);
        check.attributes = check.attributes.map(|attributes| AttributeContext {
            source,
            context_extensions: match self {
                Self::Grpc => HashMap::new(),
                _ => context.clone(),
            },
            ..attributes
        });
        check
    }

    /// The header lines with which the request reaches the upstream. `None` if it does not.
    fn forwards(self, sent: &Sent, response: &CheckResponse) -> Option<Vec<Line>> {
        let ok = passes(response)?;
        let mut lines = sent.lines.clone();
        for option in &ok.headers {
            let header = option.header.as_ref().unwrap();
            if self.replaces(option) {
                lines.retain(|(name, _)| !name.eq_ignore_ascii_case(&header.key));
            }
            lines.push((header.key.clone(), header.value.clone().into_bytes()));
        }
        if self.removes() {
            let is_removed = |name: &str| {
                let mut names = ok.headers_to_remove.iter();
                names.any(|removed| removed.eq_ignore_ascii_case(name))
            };
            lines.retain(|(name, _)| !is_removed(name));
        }
        Some(lines)
    }
}

/// The changes of an allow. Some callers look only at the status, and some only at the kind of the
/// response, so the two must agree.
fn passes(response: &CheckResponse) -> Option<&OkHttpResponse> {
    let by_status = response
        .status
        .as_ref()
        .is_none_or(|status| status.code == 0);
    let ok = match &response.http_response {
        Some(HttpResponse::OkResponse(ok)) => Some(ok),
        Some(HttpResponse::DeniedResponse(_)) => None,
        other => panic!("{other:?} lets requests pass"),
    };
    assert_eq!(by_status, ok.is_some(), "{response:?}");
    ok
}

/// A header line; its name is in lower case, as HTTP/2 requires.
type Line = (String, Vec<u8>);

/// A request as it arrives at the caller.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    host: String,
    path: Vec<u8>,
    lines: Vec<Line>,
    address: String,
    context: HashMap<String, String>,
}

impl Sent {
    /// The request that Envoy describes by this check.
    fn of(check: &CheckRequest) -> Self {
        let mut whole = String::new();
        let request = describe(check, &mut whole);
        let lines = request.headers.lines();
        let lines = lines.filter(|(name, _)| !name.starts_with(':'));
        let context = request.context.iter();
        Self {
            method: request.method.to_owned(),
            host: request.host.to_owned(),
            path: request
                .path_bytes
                .unwrap_or(request.path.as_bytes())
                .to_vec(),
            lines: lines
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
                .collect(),
            address: request.source.address.to_owned(),
            context: context
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// The same request with another value under every spelling of these headers.
    fn spoofing(&self, upstream: &Upstream) -> Self {
        let mut spoofed = self.clone();
        for name in managed(upstream) {
            let spellings = [
                name.to_owned(),
                name.replace('-', "_"),
                name.replacen('-', "_", 1),
                name.replace('-', "."),
                format!("grpc-metadata-{name}"),
            ];
            let lines = spellings.map(|name| (name, b"evil".to_vec()));
            spoofed.lines.extend(lines);
        }
        spoofed
    }
}

fn joined(lines: &[Line], separator: impl Fn(&str) -> &'static str) -> HashMap<String, String> {
    let mut headers = HashMap::<String, String>::new();
    for (name, value) in lines {
        let value = as_envoy_shows(value);
        headers
            .entry(name.clone())
            .and_modify(|all| *all = format!("{all}{}{value}", separator(name)))
            .or_insert(value);
    }
    headers
}

fn raw(lines: &[Line]) -> HeaderMap {
    let headers = lines.iter().map(|(name, value)| HeaderValue {
        key: name.clone(),
        raw_value: value.clone(),
        ..HeaderValue::default()
    });
    HeaderMap {
        headers: headers.collect(),
    }
}

/// The names of all headers that only claimgate may set.
fn managed(upstream: &Upstream) -> impl Iterator<Item = &str> {
    let claims = upstream.claim_headers.iter().map(|(name, _)| name);
    claims
        .chain(&upstream.scope_header)
        .chain(&upstream.payload_header)
        .map(HeaderName::as_str)
}

/// The lines that some server reads as one of ours, although claimgate did not set them.
fn forged(
    caller: Caller,
    upstream: &Upstream,
    arrived: &[Line],
    response: &CheckResponse,
) -> Vec<String> {
    let ok = passes(response).unwrap();
    let set: BTreeMap<&str, &str> = ok
        .headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .map(|header| (header.key.as_str(), header.value.as_str()))
        .collect();
    let mut forged = Vec::new();
    for name in managed(upstream) {
        let is_ours = |sent: &str| match caller {
            // claimgate cannot remove spellings that it does not see, apart from these two.
            Caller::AllowedHeadersOnly => sent == name || sent == name.replace('-', "_"),
            _ => is_spelling(name, grpc_metadata_name(sent).unwrap_or(sent)),
        };
        let mut expected = set.get(name).copied();
        for (sent, value) in arrived.iter().filter(|(sent, _)| is_ours(sent)) {
            match expected.take() {
                Some(true_value) if sent == name && value == true_value.as_bytes() => {}
                _ => forged.push(format!("{sent}: {}", as_envoy_shows(value))),
            }
        }
        assert_eq!(expected, None, "`{name}` is set and does not arrive");
    }
    forged
}

/// Every case of `tests/cases`, with spoofed headers, as each caller describes it: no denial passes, and
/// no claim header of the client's choice reaches the upstream. Where the caller does not remove
/// headers, `upstream.spoofed: refuse` sees to that.
#[tokio::test]
async fn no_client_chooses_a_claim_header() {
    let (mut passed, mut refused) = (BTreeMap::new(), BTreeMap::new());
    let mut without_refuse = 0;
    for path in files() {
        let file = read(&path);
        for case in &file.cases {
            if case.clock_fails || case.request.empty || case.request.without_http {
                continue;
            }
            let check = requests(&file, case).pop().unwrap().1;
            let sent = Sent::of(&check);
            let removing = configuration(&file, case);
            let mut refusing = removing.clone();
            refusing["upstream"]["spoofed"] = "refuse".into();
            let start = async |config| {
                let config = with_keys(&file, config).to_string();
                let clock = CaseClock(Some(UnixTime::from_secs(case.now)));
                let config = Config::from_yaml(&config).unwrap();
                Gate::start(config, Arc::new(clock)).await
            };
            let (removing, refusing) = (start(removing).await, start(refusing).await);
            let upstream = removing.generation().policy.upstream().clone();
            for caller in Caller::ALL {
                let gate = match caller.removes() {
                    true => &removing,
                    false => &refusing,
                };
                // Where spoofed headers are refused, only requests without them show what passes.
                let honest = (!caller.removes()).then(|| sent.clone());
                for sent in honest.into_iter().chain([sent.spoofing(&upstream)]) {
                    let name = format!("{caller:?}: {}", test_name(&path, case));
                    let (response, is_allow) = ask(gate, &caller.check(&sent)).await;
                    let arrived = caller.forwards(&sent, &response);
                    assert_eq!(arrived.is_some(), is_allow, "{name}");
                    let Some(arrived) = arrived else {
                        *refused.entry(caller).or_insert(0) += 1;
                        continue;
                    };
                    *passed.entry(caller).or_insert(0) += 1;
                    let forged = forged(caller, &upstream, &arrived, &response);
                    assert!(forged.is_empty(), "{name}: {forged:?} reach the upstream");
                }
                if !caller.removes() {
                    let sent = sent.spoofing(&upstream);
                    let (response, _) = ask(&removing, &caller.check(&sent)).await;
                    let arrived = caller.forwards(&sent, &response);
                    without_refuse += usize::from(arrived.is_some_and(|arrived| {
                        !forged(caller, &upstream, &arrived, &response).is_empty()
                    }));
                }
            }
        }
    }
    for caller in Caller::ALL {
        let counts = [&passed, &refused].map(|counts| counts.get(&caller).copied().unwrap_or(0));
        assert!(
            counts.iter().all(|count| *count > 100),
            "{caller:?}: {counts:?}"
        );
    }
    assert!(without_refuse > 50, "the model sees no forged header");
}

/// A header that a caller does not show is neither refused nor removed.
#[tokio::test]
async fn a_header_that_is_not_shown_passes() {
    let upstream = "spoofed: refuse, claim_headers: [{ header: x-auth-subject, claim: sub }]";
    let (claimgate, token) = start_with(upstream, "").await;
    for (value, passes) in [(&b"root"[..], false), (b"r\xf6\xf6t", true)] {
        let sent = Sent {
            method: "GET".to_owned(),
            host: "api.example.com".to_owned(),
            path: b"/orders".to_vec(),
            lines: vec![
                (
                    "authorization".to_owned(),
                    format!("Bearer {token}").into_bytes(),
                ),
                ("x-auth-subject".to_owned(), value.to_vec()),
            ],
            address: String::new(),
            context: HashMap::new(),
        };
        let check = tonic::Request::new(Caller::StructuredProxy.check(&sent));
        let answer = claimgate.service.check(check).await.unwrap().into_inner();
        let arrived = Caller::StructuredProxy.forwards(&sent, &answer);
        let is_forged = arrived.is_some_and(|lines| lines.contains(&sent.lines[1]));
        assert_eq!(is_forged, passes, "{value:?}");
    }
}

/// The answer, and whether the decision is an allow.
async fn ask(gate: &Gate, check: &CheckRequest) -> (CheckResponse, bool) {
    let mut whole = String::new();
    let request = describe(check, &mut whole);
    let judged = gate.decide(&request, Duration::from_secs(10)).await;
    let service = Service { gate: gate.clone() };
    let response = service.check(tonic::Request::new(check.clone())).await;
    let is_allow = matches!(judged.decision(), Decision::Allow(_));
    (response.unwrap().into_inner(), is_allow)
}

/// A gate with one provider and these sections, and a good token.
async fn start(sections: &str) -> (Started, String) {
    let upstream = "forward_token: false, claim_headers: [{ header: x-auth-subject, claim: sub }]";
    start_with(upstream, sections).await
}

/// The same with these fields of `upstream`.
async fn start_with(upstream: &str, sections: &str) -> (Started, String) {
    let key = signer(EdDsa, "callers");
    let keys = json!({"keys": [key.jwk()]});
    let gate = Started::start(&format!(
        "providers: [{{ name: acme, issuer: 'https://idp.example.com', audiences: [api], \
         jwks: {{ inline: {keys} }}, token_from: [{{ header: authorization, scheme: Bearer }}, \
         {{ query: access_token }}] }}]\nupstream: {{ {upstream} }}\n{sections}"
    ))
    .await;
    let claims =
        json!({"iss": "https://idp.example.com", "aud": "api", "sub": "alice", "exp": NOW + 60});
    (gate, key.token(&claims).unwrap())
}

async fn answer(gate: &Started, http: HttpRequest) -> Answer {
    let check = tonic::Request::new(with_http(http));
    Answer::read(gate.service.check(check).await.unwrap().into_inner())
}

/// The reason in the body of a denial, or `allow`.
fn reason(answer: &Answer) -> String {
    match answer {
        Answer::Allow { .. } => "allow".to_owned(),
        Answer::Deny { body, .. } => {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            body["reason"].as_str().unwrap().to_owned()
        }
    }
}

/// The query in a field of its own counts as if it stood in the path.
#[tokio::test]
async fn a_query_that_comes_apart() {
    let rules = "rules: [{ name: trial, match: { path: { exact: /trial } }, condition: 'request.query == \"a=1&b\"' }]";
    let (gate, token) = start(rules).await;
    let in_query = format!("access_token={token}");
    for (path, query, header, expected) in [
        ("/x", in_query.as_str(), false, "allow"),
        ("/x", in_query.as_str(), true, "malformed_authorization"),
        ("/x", "", true, "allow"),
        ("/x", "", false, "missing_token"),
        ("/x", "a=1", true, "allow"),
        ("/trial", "a=1&b", true, "allow"),
        ("/trial", "a=1", true, "access_denied"),
        ("/x?", "", true, "allow"),
        ("/x?a=1", "a=1", true, "allow"),
        ("/x?a=1", "a=2", true, "ambiguous_path"),
        ("/x?", "a=1", true, "ambiguous_path"),
        ("/x?a=1", in_query.as_str(), false, "ambiguous_path"),
        ("", in_query.as_str(), false, "ambiguous_path"),
    ] {
        let mut http = HttpRequest {
            method: "GET".to_owned(),
            host: "api.example.com".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..HttpRequest::default()
        };
        if header {
            let line = ("authorization".to_owned(), format!("Bearer {token}"));
            http.headers.extend([line]);
        }
        let answer = answer(&gate, http).await;
        assert_eq!(reason(&answer), expected, "{path} {query} {header}");
        if let Answer::Allow { remove_query, .. } = &answer {
            assert_eq!(remove_query.is_empty(), header, "{path} {query}");
        }
    }
}

/// A pseudo-header that differs from its field could make the upstream see another request than the one
/// that is judged, whether rules look at that part or not.
#[tokio::test]
async fn pseudo_headers_repeat_their_fields() {
    let (gate, token) = start("").await;
    for (lines, expected) in [
        (&[][..], "allow"),
        (&[(":path", "/x?a=1")], "allow"),
        (
            &[
                (":method", "GET"),
                (":authority", "api.example.com"),
                (":scheme", "http"),
            ],
            "allow",
        ),
        (&[(":path", "/admin")], "ambiguous_path"),
        (&[(":path", "/x")], "ambiguous_path"),
        (&[(":path", "")], "ambiguous_path"),
        (&[(":method", "DELETE")], "ambiguous_method"),
        (&[(":authority", "admin.example.com")], "ambiguous_host"),
        (&[(":authority", "api.example.com:80")], "ambiguous_host"),
        (&[("host", "admin.example.com")], "ambiguous_host"),
    ] {
        let usual = HttpRequest {
            method: "GET".to_owned(),
            host: "api.example.com".to_owned(),
            path: "/x?a=1".to_owned(),
            ..HttpRequest::default()
        };
        let all: Vec<Line> = lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .chain([(
                "authorization".to_owned(),
                format!("Bearer {token}").into_bytes(),
            )])
            .collect();
        let in_text = HttpRequest {
            headers: joined(&all, |_| ","),
            ..usual.clone()
        };
        let in_bytes = HttpRequest {
            header_map: Some(raw(&all)),
            ..usual.clone()
        };
        // Where both are there, `header_map` counts, and neither may differ.
        let in_both = HttpRequest {
            headers: joined(&all, |_| ","),
            header_map: Some(raw(&all[lines.len()..])),
            ..usual
        };
        for http in [in_text, in_bytes, in_both] {
            let found = answer(&gate, http).await;
            assert_eq!(reason(&found), expected, "{lines:?}");
        }
    }
}

/// gRPC's own filter: headers in `header_map` alone, without `content-type`, no host, and no context.
#[tokio::test]
async fn a_check_of_grpc() {
    let sent = |line: &str| Sent {
        method: "POST".to_owned(),
        host: String::new(),
        path: b"/orders.Orders/List".to_vec(),
        lines: vec![
            ("content-type".to_owned(), b"application/grpc".to_vec()),
            ("authorization".to_owned(), line.as_bytes().to_vec()),
            ("x-auth-subject".to_owned(), b"evil".to_vec()),
        ],
        address: String::new(),
        context: HashMap::from([("claimgate.rule".to_owned(), "list".to_owned())]),
    };
    let by_path = "rules: [{ name: list, match: { methods: [POST], path: { prefix: /orders.Orders } }, scopes: [list] }]";
    let by_host = "rules: [{ name: list, match: { hosts: [api.example.com] }, scopes: [list] }]";
    for (rules, expected) in [
        ("", "allow"),
        (by_path, "insufficient_scope"),
        (by_host, "ambiguous_host"),
    ] {
        let (gate, token) = start(rules).await;
        let sent = sent(&format!("Bearer {token}"));
        let check = Caller::Grpc.check(&sent);
        let response = gate.service.check(tonic::Request::new(check)).await;
        let response = response.unwrap().into_inner();
        let found = Answer::read(response.clone());
        assert_eq!(reason(&found), expected, "{rules}");
        if found.is_allow() {
            assert_eq!(found.sets("x-auth-subject"), Some("alice"));
            let arrived = Caller::Grpc.forwards(&sent, &response).unwrap();
            let subjects = arrived.iter().filter(|(name, _)| name == "x-auth-subject");
            let subjects: Vec<_> = subjects.map(|(_, value)| as_envoy_shows(value)).collect();
            assert_eq!(subjects, ["alice"]);
        }
    }
    let (gate, _) = start("").await;
    let check = Caller::Grpc.check(&sent("Basic x"));
    let response = gate.service.check(tonic::Request::new(check)).await;
    let denied = Answer::read(response.unwrap().into_inner());
    // gRPC derives its status from these.
    let Answer::Deny { status, code, .. } = denied else {
        panic!("{denied:?}")
    };
    assert_eq!((status, code), (401, 16));
}

/// deploy/callers/interceptor.rs in front of a service that tells which headers it received.
#[tokio::test]
async fn a_service_that_asks_by_itself() {
    let key = signer(EdDsa, "callers");
    let issuer = Issuer::start(&[&key]).await;
    let sections = "upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }, \
                    { header: x-auth-team, claim: team }] }\n\
                    rules: [{ name: public, match: { path: { prefix: /grpc.health.v1.Health/ } }, access: public }]";
    let server = Server::start(&format!("{}{sections}", provider(&issuer, "acme", ""))).await;
    server.is_serving().await;
    let claimgate = AuthorizationClient::new(server.channel().await);
    let good = format!("Bearer {}", token(&issuer, &key));
    let spoofed = [
        ("x-auth-subject", "root"),
        ("x-auth-team", "root"),
        ("x_auth_team", "root"),
    ];
    for (path, authorization, expected) in [
        (
            "/orders.Orders/List",
            &[good.as_str()][..],
            Ok(Some("alice")),
        ),
        ("/grpc.health.v1.Health/Check", &[], Ok(None)),
        ("/orders.Orders/List", &[], Err(Code::Unauthenticated)),
        (
            "/orders.Orders/List",
            &["Bearer x"],
            Err(Code::Unauthenticated),
        ),
        (
            "/orders.Orders/List",
            &[&good, "Bearer x"],
            Err(Code::Unauthenticated),
        ),
        ("/orders.Orders/../x", &[&good], Err(Code::InvalidArgument)),
    ] {
        let lines = authorization.iter().map(|value| ("authorization", *value));
        let lines: Vec<_> = lines.chain(spoofed).collect();
        let answer = call(claimgate.clone(), path, &lines).await;
        match expected {
            Ok(subject) => {
                let seen = answer.unwrap_or_else(|status| panic!("{path}: {status}"));
                let ours: Vec<_> = seen.iter().filter(|(name, _)| is_ours(name)).collect();
                let true_one =
                    subject.map(|subject| ("x-auth-subject".to_owned(), subject.to_owned()));
                assert_eq!(ours, true_one.iter().collect::<Vec<_>>(), "{path}");
            }
            Err(code) => {
                let status = answer.unwrap_err();
                assert_eq!(status.code(), code, "{path}: {status}");
                let is_a_sentence =
                    status.message().contains(' ') && !status.message().contains('{');
                assert!(is_a_sentence, "{path}: {status}");
                let is_challenged = status.metadata().contains_key("www-authenticate");
                assert_eq!(
                    is_challenged,
                    code == Code::Unauthenticated,
                    "{path}: {status:?}"
                );
            }
        }
    }
}

/// What is not clearly an allow is a denial.
#[tokio::test]
async fn a_service_that_asks_by_itself_and_is_not_answered() {
    let allow = CheckResponse {
        status: Some(RpcStatus::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
        ..CheckResponse::default()
    };
    let denied = HttpResponse::DeniedResponse(DeniedHttpResponse::default());
    let refused = RpcStatus {
        code: 7,
        ..RpcStatus::default()
    };
    let no_header = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x y".to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    let broken = OkHttpResponse {
        headers: vec![no_header],
        ..OkHttpResponse::default()
    };
    for (what, expected, response) in [
        ("an allow", Ok(()), allow.clone()),
        ("nothing", Err(Code::Unavailable), CheckResponse::default()),
        (
            "a status alone",
            Err(Code::Unavailable),
            CheckResponse {
                http_response: None,
                ..allow.clone()
            },
        ),
        (
            "a denial with code 0",
            Err(Code::Unavailable),
            CheckResponse {
                http_response: Some(denied.clone()),
                ..allow.clone()
            },
        ),
        (
            "an allow with another code",
            Err(Code::Unavailable),
            CheckResponse {
                status: Some(refused.clone()),
                ..allow.clone()
            },
        ),
        (
            "a denial",
            Err(Code::PermissionDenied),
            CheckResponse {
                status: Some(refused),
                http_response: Some(denied),
                ..allow.clone()
            },
        ),
        (
            "an allow with an invalid header name",
            Err(Code::Unavailable),
            CheckResponse {
                http_response: Some(HttpResponse::OkResponse(broken)),
                ..allow
            },
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tonic::transport::Server::builder()
            .add_service(AuthorizationServer::new(Fixed(response)));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let claimgate = AuthorizationClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let answer = call(claimgate, "/orders.Orders/List", &[]).await;
        assert_eq!(
            answer.map(drop).map_err(|status| status.code()),
            expected,
            "{what}"
        );
    }
    // One that accepts connections and says nothing, and one that is gone.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for address in [silent.local_addr().unwrap(), gone] {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let answer = call(
            AuthorizationClient::new(channel),
            "/orders.Orders/List",
            &[],
        )
        .await;
        assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "{address}");
    }
}

/// Gives the same answer to every check.
struct Fixed(CheckResponse);

#[tonic::async_trait]
impl AuthorizationService for Fixed {
    async fn check(
        &self,
        _: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(self.0.clone()))
    }
}

/// A call of a service behind the interceptor: the headers that the service received, or its error.
async fn call(
    claimgate: AuthorizationClient<Channel>,
    path: &str,
    lines: &[(&str, &str)],
) -> Result<Vec<(String, String)>, tonic::Status> {
    let service = async |headers: http::HeaderMap| {
        let lines = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        serde_json::to_string(&lines.collect::<Vec<_>>()).unwrap()
    };
    let guarded =
        axum::Router::new()
            .fallback(service)
            .layer(axum::middleware::from_fn_with_state(
                claimgate,
                interceptor::ask,
            ));
    let mut request = http::Request::post(format!("http://orders.example.com{path}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let response = guarded
        .oneshot(request.body(axum::body::Body::empty()).unwrap())
        .await
        .unwrap();
    if let Some(status) = tonic::Status::from_header_map(response.headers()) {
        return Err(status);
    }
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    Ok(serde_json::from_slice(&body).unwrap())
}

fn is_ours(name: &str) -> bool {
    name.replace('_', "-").starts_with("x-auth-")
}

/// The files parse, and deny when claimgate does not answer.
#[test]
fn configurations_for_callers() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/callers")
            .join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let xds: serde_json::Value = serde_json::from_str(&read("grpc-xds.json")).unwrap();
    let filter = &xds["http_filters"][0]["typed_config"];
    let target = filter["grpc_service"]["google_grpc"]["target_uri"]
        .as_str()
        .unwrap();
    assert!(
        xds["bootstrap"]["allowed_grpc_services"]
            .get(target)
            .is_some(),
        "{xds}"
    );
    assert_eq!(filter["failure_mode_allow"], false);
    // With an override of any content, grpc-java does not ask.
    assert_eq!(xds.get("typed_per_filter_config"), None);
    let agentgateway: serde_json::Value =
        serde_saphyr::from_str(&read("agentgateway.yaml")).unwrap();
    let policies = &agentgateway["binds"][0]["listeners"][0]["routes"][0]["policies"];
    assert_eq!(
        policies["extAuthz"]["policies"]["http"]["requestTimeout"],
        "500ms"
    );
    assert!(policies["extAuthz"].get("failureMode").is_none());
    let consul = read("consul.hcl");
    let is_open = |line: &str| line.trim_start().starts_with("FailureModeAllow");
    assert!(consul.contains("Required  = true") && !consul.lines().any(is_open));
}
