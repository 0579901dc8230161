//! The service over real connections: gRPC, health, reflection, the admin listener, shutdown.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use claimgate::app;
use claimgate::ext_authz::SERVICE_NAME;
use claimgate::ext_authz::proto::DESCRIPTORS;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::proto::auth::{CheckRequest, CheckResponse};
use claimgate::keyring::Algorithm::Es256;
use claimgate::time::{Clock as _, SystemClock};
use prost::Message as _;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

use crate::support::call::{Answer, bearer, check, raw_check};
use crate::support::command::run;
use crate::support::gate::{Still, provider, token};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::server::Server;

/// The health of a service, as it is reported from now on.
async fn watch(channel: Channel, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let told = HealthClient::new(channel).watch(request).await;
    told.unwrap().into_inner()
}

/// Waits until the health is as expected.
async fn health(channel: Channel, service: &str, wanted: ServingStatus) {
    let mut told = watch(channel, service).await;
    while told.message().await.unwrap().unwrap().status() != wanted {}
}

#[tokio::test]
async fn judges_over_grpc() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let upstream = "upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }] }";
    let server = Server::start(&format!("{}{upstream}", provider(&issuer, "acme", ""))).await;
    health(server.channel().await, SERVICE_NAME, ServingStatus::Serving).await;
    health(server.channel().await, "", ServingStatus::Serving).await;

    let good = token(&issuer, &key);
    let allowed = server.check(bearer(&good)).await;
    assert_eq!(allowed.sets("x-auth-subject"), Some("alice"));
    let line = format!("Bearer {good}");
    assert!(
        server
            .check(raw_check(&[("Authorization", &line)]))
            .await
            .is_allow()
    );
    assert_eq!(server.check(check(&[])).await.status(), 401);
    assert_eq!(
        server.check(bearer(&format!("{good}x"))).await.status(),
        401
    );

    assert_eq!(server.page("/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(server.page("/readyz").await, (200, "ready\n".to_owned()));
    let (status, metrics) = server.page("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "claimgate_checks_total{decision=\"allow\",rule=\"default\",provider=\"acme\"} 2",
        "claimgate_checks_total{decision=\"deny\",rule=\"default\",provider=\"none\"} 2",
        "claimgate_denials_total{reason=\"missing_token\",provider=\"none\"} 1",
        "claimgate_denials_total{reason=\"expired\",provider=\"acme\"} 0",
        "claimgate_check_duration_seconds_count 4",
        "claimgate_check_duration_seconds_bucket{le=\"+Inf\"} 4",
        "claimgate_jwks_fetches_total{provider=\"acme\",result=\"success\"} 1",
        "claimgate_jwks_keys{provider=\"acme\"} 1",
        "claimgate_jwks_stale{provider=\"acme\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "no {line} in\n{metrics}"
        );
    }
    for (accept, content_type, counter) in [
        (
            "text/plain;version=0.0.4",
            "content-type: text/plain; version=0.0.4; charset=utf-8",
            "# TYPE claimgate_checks_total counter",
        ),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE claimgate_checks counter",
        ),
    ] {
        let (head, body) = server.page_as("/metrics", accept).await;
        assert!(head.lines().any(|line| line == content_type), "{head}");
        assert!(body.lines().any(|line| line == counter), "{body}");
        assert_eq!(body.ends_with("# EOF\n"), accept.starts_with("application"));
    }
    assert_eq!(server.page("/").await.0, 200);
    assert_eq!(server.page("/elsewhere").await.0, 404);
    server.stop().await;
}

/// The names are those of other Prometheus clients, without a prefix.
#[tokio::test]
async fn the_process_is_measured() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let server = Server::start(&provider(&issuer, "acme", "")).await;
    let (_, metrics) = server.page("/metrics").await;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name}: {metrics}"))
            .parse()
            .unwrap()
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let now = SystemClock.now().as_secs() as f64;
    assert!(
        metrics.contains("\n# TYPE process_cpu_seconds_total counter\n"),
        "{metrics}"
    );
    assert!(value("process_cpu_seconds_total") > 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 5.0);
    assert!(value("process_max_fds") > value("process_open_fds"));
    let start = value("process_start_time_seconds");
    assert!((now - 3600.0..=now + 1.0).contains(&start), "{start}");
    assert!(!metrics.contains("claimgate_process"));
}

#[tokio::test]
async fn is_not_ready_without_keys_and_says_why() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let (address, yaml, good) = (
        issuer.address(),
        provider(&issuer, "acme", "refresh: { min: 1s }"),
        token(&issuer, &key),
    );
    drop(issuer);
    let server = Server::start(&yaml).await;
    let channel = server.channel().await;
    health(channel.clone(), SERVICE_NAME, ServingStatus::NotServing).await;
    let (status, body) = server.page("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("no keys of provider `acme`"), "{body}");
    assert_eq!(server.page("/livez").await.0, 200);
    assert_eq!(server.check(bearer(&good)).await.status(), 503);
    let mut ask = tokio::process::Command::new(env!("CARGO_BIN_EXE_claimgate"));
    let target = server.check.to_string();
    ask.args([
        "check",
        "--target",
        &target,
        "--header",
        &format!("authorization: Bearer {good}"),
    ]);
    let told = ask.output().await.unwrap();
    assert_eq!(
        told.status.code(),
        Some(2),
        "whether it would pass could not be found out"
    );

    let _back = Issuer::start_at(address, &[&key]).await;
    health(channel, SERVICE_NAME, ServingStatus::Serving).await;
    assert_eq!(server.page("/readyz").await.0, 200);
    assert!(server.check(bearer(&good)).await.is_allow());
    server.stop().await;
}

#[tokio::test]
async fn drains_before_it_ends() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let server = Server::start(&provider(&issuer, "acme", "")).await;
    let mut told = watch(server.channel().await, SERVICE_NAME).await;
    while told.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    let (check, stopping) = (server.check, tokio::spawn(server.stop()));
    while let Ok(Some(answer)) = told.message().await {
        if answer.status() == ServingStatus::NotServing {
            break;
        }
    }
    drop(told);
    stopping.await.unwrap();
    let gone = Endpoint::from_shared(format!("http://{check}"))
        .unwrap()
        .connect()
        .await;
    assert!(gone.is_err(), "nobody listens any more");
}

/// The reflection protocol of older clients: grpcurl before 1.8.8, grpcio-reflection, Postman.
#[tokio::test]
async fn supports_the_older_reflection_too() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let server = Server::start(&provider(&issuer, "acme", "")).await;
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "envoy.service.auth.v3.AttributeContext.HttpRequest".to_owned(),
    );
    let asked = tokio_stream::once(v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(symbol),
    });
    let mut told = client
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let told = told.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(
            &told,
            Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ),
        "{told:?}"
    );
    server.stop().await;
}

/// Every message that Envoy may send, built from JSON by a client that knows the API only by
/// reflection.
#[test]
fn the_api_has_every_envoy_field() {
    let pool = prost_reflect::DescriptorPool::decode(DESCRIPTORS).unwrap();
    let check = pool
        .get_message_by_name("envoy.service.auth.v3.CheckRequest")
        .unwrap();
    let json = r#"{
        "attributes": {
            "source": {
                "address": {"socketAddress": {"protocol": "TCP", "address": "10.0.0.9", "portValue": 51234}},
                "service": "web", "labels": {"app": "web"},
                "principal": "spiffe://example.org/web", "certificate": "x"
            },
            "destination": {"address": {"pipe": {"path": "/run/envoy.sock", "mode": 384}}},
            "request": {
                "time": "2026-11-05T12:00:00.5Z",
                "http": {
                    "id": "7", "method": "GET", "headers": {":path": "/orders"}, "path": "/orders",
                    "host": "api.example.com", "scheme": "https", "query": "", "fragment": "",
                    "size": "-1", "protocol": "HTTP/2", "body": "b", "rawBody": "Yg==",
                    "headerMap": {"headers": [{"key": "a", "value": "", "rawValue": "Yg=="}]}
                }
            },
            "contextExtensions": {"claimgate.rule": "orders"},
            "metadataContext": {
                "filterMetadata": {"envoy.filters.http.jwt_authn": {"a": [1, true, null]}},
                "typedFilterMetadata": {}
            },
            "tlsSession": {"sni": "api.example.com"},
            "routeMetadataContext": {"filterMetadata": {}}
        }
    }"#;
    let mut json = serde_json::Deserializer::from_str(json);
    let read = prost_reflect::DynamicMessage::deserialize(check, &mut json).unwrap();
    let check = CheckRequest::decode(&*read.encode_to_vec()).unwrap();
    let mut joined = String::new();
    let request = claimgate::ext_authz::request::describe(&check, &mut joined);
    assert_eq!(
        (request.method, request.source.address),
        ("GET", "10.0.0.9")
    );

    for (message, fields) in [
        ("envoy.service.auth.v3.AttributeContext", 7),
        ("envoy.service.auth.v3.AttributeContext.HttpRequest", 13),
        ("envoy.service.auth.v3.AttributeContext.Peer", 5),
        ("envoy.service.auth.v3.CheckResponse", 5),
        ("envoy.service.auth.v3.OkHttpResponse", 6),
        ("envoy.service.auth.v3.DeniedHttpResponse", 3),
        ("envoy.config.core.v3.SocketAddress", 7),
        ("envoy.config.core.v3.HeaderValueOption", 4),
    ] {
        let message = pool.get_message_by_name(message).unwrap();
        assert_eq!(message.fields().len(), fields, "{}", message.full_name());
    }
}

#[tokio::test]
async fn supports_reflection() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let server = Server::start(&provider(&issuer, "acme", "")).await;
    let ask = async |request: MessageRequest| -> ServerReflectionResponse {
        let mut client = ServerReflectionClient::new(server.channel().await);
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let asked = tokio_stream::once(request);
        let mut told = client
            .server_reflection_info(asked)
            .await
            .unwrap()
            .into_inner();
        told.message().await.unwrap().unwrap()
    };
    match ask(MessageRequest::ListServices(String::new()))
        .await
        .message_response
    {
        Some(MessageResponse::ListServicesResponse(list)) => {
            let names: Vec<_> = list
                .service
                .iter()
                .map(|service| service.name.as_str())
                .collect();
            assert!(names.contains(&SERVICE_NAME), "{names:?}");
            assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
        }
        other => panic!("{other:?}"),
    }
    let symbol =
        MessageRequest::FileContainingSymbol("envoy.service.auth.v3.CheckRequest".to_owned());
    assert!(matches!(
        ask(symbol).await.message_response,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
    server.stop().await;
}

/// A `CheckRequest` as a careless or hostile client may encode it: arbitrary bytes in text fields.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    attributes: Vec<u8>,
}

/// Anything that arrives as a check gets a denial, never a gRPC error, which `failure_mode_allow`
/// would turn into an allow.
#[tokio::test]
async fn unreadable_checks_are_denied() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let server = Server::start(&provider(&issuer, "acme", "")).await;
    let method = vec![0x12, 3, 0xff, 0xfe, 0xfd];
    let nested =
        |tag: u8, inner: Vec<u8>| [vec![tag, u8::try_from(inner.len()).unwrap()], inner].concat();
    for (what, attributes, status) in [
        (
            "text that is not UTF-8",
            nested(0x22, nested(0x12, nested(0x12, method))),
            400,
        ),
        ("a length beyond the end", vec![0x22, 0x7f], 400),
        ("a wrong wire type", vec![0x20, 0x01], 400),
        ("more than is read", vec![0; 256 * 1024 + 1], 413),
    ] {
        let mut client = tonic::client::Grpc::new(server.channel().await);
        client.ready().await.unwrap();
        let path = "/envoy.service.auth.v3.Authorization/Check"
            .parse()
            .unwrap();
        let codec = tonic_prost::ProstCodec::<Bytes, CheckResponse>::default();
        let answer = client
            .unary(Request::new(Bytes { attributes }), path, codec)
            .await;
        let answer = answer.unwrap_or_else(|status| panic!("{what}: a gRPC error: {status}"));
        assert_eq!(Answer::read(answer.into_inner()).status(), status, "{what}");
    }

    let (_, metrics) = server.page("/metrics").await;
    for (reason, count) in [
        ("check_unreadable", 3),
        ("check_too_large", 1),
        ("internal", 0),
    ] {
        let counted =
            format!("claimgate_denials_total{{reason=\"{reason}\",provider=\"none\"}} {count}");
        assert!(metrics.contains(&counted), "{counted}: {metrics}");
    }

    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let path = "/envoy.service.auth.v3.Authorization/Other"
        .parse()
        .unwrap();
    let codec = tonic_prost::ProstCodec::<Bytes, CheckResponse>::default();
    let answer = client
        .unary(Request::new(Bytes::default()), path, codec)
        .await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    server.stop().await;
}

/// A caller whose time-out is shorter than the wait for an unknown key still gets an answer in
/// time.
#[tokio::test]
async fn answers_before_the_caller_gives_up() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&real]).await;
    let wait = "refresh: { unknown_key_wait: 10s }";
    let server = Server::start(&provider(&issuer, "acme", wait)).await;
    health(server.channel().await, "", ServingStatus::Serving).await;
    issuer.reply(JWKS, Reply::Hang);
    let mut request = Request::new(bearer(&token(&issuer, &new)));
    request.set_timeout(std::time::Duration::from_millis(500));
    let mut client = AuthorizationClient::new(server.channel().await);
    let answer = client.check(request).await.unwrap();
    assert_eq!(Answer::read(answer.into_inner()).status(), 503);
    server.stop().await;
}

/// A channel to a Unix socket.
async fn socket_channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://claimgate");
    endpoint.connect_with_connector(connector).await.unwrap()
}

#[tokio::test]
async fn serves_on_a_unix_socket() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("check.sock");
    // A leftover of an earlier run that was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = Server::start_on(
        &format!("unix://{}", socket.display()),
        &provider(&issuer, "acme", ""),
    )
    .await;

    let channel = socket_channel(&socket).await;
    health(channel.clone(), "", ServingStatus::Serving).await;
    let good = token(&issuer, &key);
    let answer = AuthorizationClient::new(channel).check(bearer(&good)).await;
    assert!(Answer::read(answer.unwrap().into_inner()).is_allow());

    for target in [
        format!("unix://{}", socket.display()),
        format!("unix:{}", socket.display()),
    ] {
        let asked = run(&["check", "--target", &target, "--token", "-"], &good).await;
        assert_eq!(asked.code, Some(0), "{target}: {}", asked.err);
    }
    server.stop().await;
    assert!(!socket.exists());
    let target = format!("unix:{}", socket.display());
    let gone = run(&["check", "--target", &target, "--token", "-"], &good).await;
    assert_eq!(gone.code, Some(2));
    assert!(gone.err.contains("No such file"), "{}", gone.err);
}

/// The permissions of a socket are set before anyone can connect.
#[tokio::test]
async fn a_unix_socket_has_the_mode_and_group_that_are_configured() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let directory = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(directory.path()).unwrap().gid();
    let group = nix::unistd::Group::from_gid(own.into())
        .unwrap()
        .unwrap()
        .name;
    for (settings, mode) in [
        ("mode: '0600'".to_owned(), Some(0o600)),
        ("mode: '666'".to_owned(), Some(0o666)),
        (format!("group: '{own}'"), Some(0o660)),
        (format!("group: {group}, mode: '0640'"), Some(0o640)),
        (String::new(), None),
    ] {
        let socket = directory.path().join("check.sock");
        let listen = format!("{{ unix: {}, {settings} }}", socket.display());
        let server = Server::start_listening(&listen, &provider(&issuer, "acme", "")).await;
        let there = std::fs::metadata(&socket).unwrap();
        if let Some(mode) = mode {
            assert_eq!(there.mode() & 0o777, mode, "{settings}");
        }
        assert_eq!(there.gid(), own, "{settings}");
        health(socket_channel(&socket).await, "", ServingStatus::Serving).await;
        server.stop().await;
    }

    let nobody = format!(
        "server: {{ listen: {{ unix: {}/a.sock, group: no-such-group }} }}\n{}",
        directory.path().display(),
        provider(&issuer, "acme", "")
    );
    let config = claimgate::config::Config::from_yaml(&nobody).unwrap();
    let error = app::bind(config, Still::default()).await.unwrap_err();
    assert!(
        error.to_string().contains("no group `no-such-group`"),
        "{error}"
    );
    assert!(!directory.path().join("a.sock").exists());
}

/// `[::]` accepts IPv4 too. `localhost` listens on both families, because Envoy may use either.
#[tokio::test]
async fn both_families_are_served() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    for listen in ["[::]:0", "localhost:0"] {
        let server = Server::start_on(listen, &provider(&issuer, "acme", "")).await;
        let port = server.check.port();
        let mut asked = 0;
        for host in ["127.0.0.1", "[::1]"] {
            // A machine may have no IPv6.
            if std::net::TcpListener::bind(format!("{host}:0")).is_err() {
                continue;
            }
            let endpoint = Endpoint::from_shared(format!("http://{host}:{port}")).unwrap();
            let channel = endpoint.connect().await.unwrap();
            let answer = AuthorizationClient::new(channel).check(check(&[])).await;
            assert_eq!(
                Answer::read(answer.unwrap().into_inner()).status(),
                401,
                "{host}"
            );
            asked += 1;
        }
        assert!(asked > 0);
        server.stop().await;
    }
}
