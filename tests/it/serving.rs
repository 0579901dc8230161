//! The service over real connections: gRPC, health, reflection, the admin listener, the end.

use claimgate::ext_authz::SERVICE_NAME;
use claimgate::ext_authz::proto::auth::CheckResponse;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::keyring::Algorithm::Es256;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::support::call::{Answer, bearer, check, raw_check};
use crate::support::gate::{provider, token};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::server::Server;

/// What is told of a service's health, from now on.
async fn watch(channel: Channel, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let told = HealthClient::new(channel).watch(request).await;
    told.unwrap().into_inner()
}

/// Waits until health is as told.
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
        "claimgate_checks_total{decision=\"allow\",reason=\"none\",rule=\"default\",provider=\"acme\"} 2",
        "claimgate_checks_total{decision=\"deny\",reason=\"missing_token\",rule=\"default\",provider=\"none\"} 1",
        "claimgate_checks_total{decision=\"deny\",reason=\"expired\",rule=\"default\",provider=\"acme\"} 0",
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

#[tokio::test]
async fn tells_its_api_by_reflection() {
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

/// A `CheckRequest` as a careless or hostile client may encode it: bytes where text belongs.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    attributes: Vec<u8>,
}

/// Whatever arrives as a check is answered by a denial, never by a gRPC error, which
/// `failure_mode_allow` would turn into an allow.
#[tokio::test]
async fn what_cannot_be_read_is_denied() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let server = Server::start(&provider(&issuer, "acme", "")).await;
    let method = vec![0x12, 3, 0xff, 0xfe, 0xfd];
    let nested =
        |tag: u8, inner: Vec<u8>| [vec![tag, u8::try_from(inner.len()).unwrap()], inner].concat();
    for (what, attributes) in [
        ("text that is not UTF-8", nested(0x22, nested(0x12, method))),
        ("a length beyond the end", vec![0x22, 0x7f]),
        ("a wrong wire type", vec![0x20, 0x01]),
        ("more than is read", vec![0; 256 * 1024 + 1]),
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
        assert_eq!(Answer::read(answer.into_inner()).status(), 500, "{what}");
    }

    let (_, metrics) = server.page("/metrics").await;
    let counted = "claimgate_checks_total{decision=\"deny\",reason=\"internal\",rule=\"none\",provider=\"none\"} 4";
    assert!(metrics.contains(counted), "{metrics}");

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

/// Whoever waits less than a token with an unknown key would have to gets an answer in time.
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

#[tokio::test]
async fn serves_on_a_unix_socket() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("check.sock");
    // What a former run that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = Server::start_on(
        &format!("unix://{}", socket.display()),
        &provider(&issuer, "acme", ""),
    )
    .await;

    let path = socket.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://claimgate");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    health(channel.clone(), "", ServingStatus::Serving).await;
    let answer = AuthorizationClient::new(channel)
        .check(bearer(&token(&issuer, &key)))
        .await;
    assert!(Answer::read(answer.unwrap().into_inner()).is_allow());
    server.stop().await;
    assert!(!socket.exists());
}
