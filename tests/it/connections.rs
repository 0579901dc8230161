//! HTTP/2 connections: many requests at once, unusual clients, shutdown.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use claimgate::ext_authz::proto::auth::CheckResponse;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::http2::body::Body;
use claimgate::http2::{self, Admitted, Handler, HandlerResult, Shared};
use claimgate::keyring::Algorithm::Es256;
use claimgate::telemetry::metrics::{BadConnectionMetrics, BudgetMetrics, ConnectionMetrics};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::StreamExt as _;
use futures_util::future::{join_all, pending};
use futures_util::stream::FuturesUnordered;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::support::call::{Answer, bearer};
use crate::support::gate::{provider, token};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

const CHECK: &str = "http://claimgate/envoy.service.auth.v3.Authorization/Check";

/// A server that trusts a key, and a token of that key.
async fn served(more: &str) -> (Server, Issuer, String) {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let server = Server::start(&provider(&issuer, "acme", more)).await;
    let good = token(&issuer, &key);
    while !server.check(bearer(&good)).await.is_allow() {}
    (server, issuer, good)
}

async fn connect(server: &Server) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(server.check).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn post() -> Request<()> {
    let request = Request::post(CHECK).header("content-type", "application/grpc");
    request.body(()).unwrap()
}

/// A check with gRPC's prefix.
fn framed(token: &str) -> Bytes {
    let message = bearer(token).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

/// The answer to a check with this token.
fn asked(channel: &Channel, token: &str) -> impl Future<Output = Answer> + use<> {
    let mut client = AuthorizationClient::new(channel.clone());
    let check = bearer(token);
    async move { Answer::read(client.check(check).await.unwrap().into_inner()) }
}

/// The message of an answer, without gRPC's prefix.
async fn message(answer: ResponseFuture) -> Vec<u8> {
    let mut body = answer.await.unwrap().into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    bytes
}

/// Whether the answer is an allow: its first field is a status without a code.
fn is_allow(message: &[u8]) -> bool {
    message[5..].starts_with(&[0x0a, 0])
}

#[tokio::test]
async fn waiting_checks_delay_no_others() {
    let (server, issuer, good) = served("refresh: { unknown_key_wait: 10s }").await;
    issuer.reply(JWKS, Reply::Hang);
    let unknown = token(&issuer, &signer(Es256, "new"));
    let channel = server.channel().await;
    let waiting: Vec<_> = (0..40)
        .map(|_| tokio::spawn(asked(&channel, &unknown)))
        .collect();
    for answer in join_all((0..200).map(|_| asked(&channel, &good))).await {
        assert!(answer.is_allow());
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    let in_flight = "claimgate_checks_in_flight";
    until(&server, in_flight, |count| count == 40).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until(&server, in_flight, |count| count == 0).await;
}

#[tokio::test]
async fn waiting_requests_are_limited() {
    let (server, issuer, good) = served("refresh: { unknown_key_wait: 10s }").await;
    issuer.reply(JWKS, Reply::Hang);
    let unknown = token(&issuer, &signer(Es256, "new"));
    let channel = server.channel().await;
    let mut answers: FuturesUnordered<_> = (0..150).map(|_| asked(&channel, &unknown)).collect();
    for _ in 128..150 {
        assert_eq!(answers.next().await.unwrap().status(), 503);
    }
    let turned_away = "claimgate_unknown_key_total{provider=\"acme\",outcome=\"turned_away\"} 22";
    let (_, metrics) = server.page("/metrics").await;
    assert!(metrics.contains(turned_away), "{metrics}");
    assert!(server.check(bearer(&good)).await.is_allow());
}

/// Far more than Envoy sends, except with a client's long `tracestate`.
#[tokio::test]
async fn headers_of_a_check_may_be_long() {
    let (server, _issuer, good) = served("").await;
    let mut client = connect(&server).await;
    let mut request = post();
    let long = HeaderValue::from_str(&"a=b,".repeat(15_000)).unwrap();
    request.headers_mut().insert("tracestate", long);
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(framed(&good), true).unwrap();
    assert!(is_allow(&message(answer).await));
}

#[tokio::test]
async fn checks_that_are_too_long_are_denied() {
    let (server, _issuer, good) = served("").await;
    let mut client = connect(&server).await;
    let long = framed(&good.repeat(3_000));
    for _ in 0..60 {
        let (answer, mut body) = client.send_request(post(), false).unwrap();
        body.send_data(long.clone(), true).unwrap();
        assert!(!is_allow(&message(answer).await));
        client = client.ready().await.unwrap();
    }
    let (answer, mut body) = client.send_request(post(), false).unwrap();
    body.send_data(framed(&good), true).unwrap();
    assert!(is_allow(&message(answer).await));
}

/// Each token needs a signature check, so several cores share the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn many_unknown_tokens_at_once() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let forgetful = format!(
        "{}token_cache: {{ max_entries: 0 }}",
        provider(&issuer, "acme", "")
    );
    let server = Server::start(&forgetful).await;
    let (good, bad) = (
        token(&issuer, &key),
        token(&issuer, &signer(Es256, "other")),
    );
    while !server.check(bearer(&good)).await.is_allow() {}
    let channel = server.channel().await;
    let checks = (0..300).map(|number| {
        let is_good = number % 3 != 0;
        let answer = asked(&channel, if is_good { &good } else { &bad });
        async move { (is_good, answer.await) }
    });
    for (is_good, answer) in join_all(checks).await {
        assert_eq!(answer.is_allow(), is_good);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_check_may_come_in_pieces() {
    let (server, _issuer, good) = served("").await;
    let mut client = connect(&server).await;
    let (answer, mut stream) = client.send_request(post(), false).unwrap();
    let mut check = framed(&good);
    while !check.is_empty() {
        let piece = check.split_to(check.len().min(100));
        stream.send_data(piece, check.is_empty()).unwrap();
        // The rest is sent in a separate frame.
        tokio::task::yield_now().await;
    }
    let bytes = message(answer).await;
    assert!(is_allow(&bytes), "{bytes:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_resets_streams_harms_no_one() {
    let (server, _issuer, good) = served("").await;
    let client = connect(&server).await;
    // More resets at once than `h2` tolerates by default.
    for number in 0..100 {
        let mut client = client.clone().ready().await.unwrap();
        let (_, mut stream) = client.send_request(post(), false).unwrap();
        if number % 2 == 0 {
            stream.send_data(framed(&good).split_to(20), false).unwrap();
        }
        stream.send_reset(h2::Reason::CANCEL);
    }
    let mut client = client.ready().await.unwrap();
    let (answer, mut stream) = client.send_request(post(), false).unwrap();
    stream.send_data(framed(&good), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let (_, metrics) = server.page("/metrics").await;
    let none = "claimgate_denials_total{reason=\"internal\",provider=\"none\"} 0";
    assert!(
        metrics.contains(none),
        "what was taken back is not judged: {metrics}"
    );
    server.stop().await;
}

/// All of it arrives at once: the check, its end, and its reset.
#[tokio::test]
async fn a_whole_check_that_is_taken_back_is_not_judged() {
    let (server, _issuer, good) = served("").await;
    let allows = "claimgate_checks_total{decision=\"allow\",rule=\"default\",provider=\"acme\"}";
    let before = metric(&server, allows).await;
    let check = |stream: u32| {
        let body = framed(&good);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let id = stream.to_be_bytes();
        let data = [&length[1..], &[0, END_STREAM], &id[..], &body].concat();
        [headers(stream, "claimgate", END_HEADERS), data].concat()
    };
    // RST_STREAM of stream 1, with CANCEL (RFC 9113 §6.4).
    let reset = vec![0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    let mut stream = TcpStream::connect(server.check).await.unwrap();
    let frames = [BEGINNING.to_vec(), check(1), reset, check(3)].concat();
    stream.write_all(&frames).await.unwrap();
    let counted = until(&server, allows, |count| count > before).await;
    assert_eq!(counted, before + 1);
}

/// A connection that is never idle is still told to end, and the requests that it has already
/// received are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_connection_ends() {
    let (server, _issuer, good) = served("").await;
    let client = connect(&server).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(Notify::new());
    let busy: Vec<_> = (0..32)
        .map(|_| {
            let (client, check) = (client.clone(), framed(&good));
            let (answered, begun) = (Arc::clone(&answered), Arc::clone(&begun));
            tokio::spawn(async move {
                // After the server has said that it stops, new requests are refused.
                while let Ok(mut client) = client.clone().ready().await {
                    let Ok((answer, mut stream)) = client.send_request(post(), false) else {
                        return;
                    };
                    let sent = stream.send_data(check.clone(), true);
                    match answer.await {
                        Ok(answer) => assert_eq!(answer.status(), 200),
                        Err(error) => {
                            assert!(error.is_go_away() || error.is_io(), "{error}");
                            return;
                        }
                    }
                    sent.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                    begun.notify_one();
                }
            })
        })
        .collect();
    begun.notified().await;
    server.stop().await;
    for busy in busy {
        busy.await.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
}

/// A connection that shares nothing with others.
async fn admitted() -> Admitted {
    admitted_until(None).await
}

/// The same, with an age at which it ends.
async fn admitted_until(max_age: Option<Duration>) -> Admitted {
    Shared::new(
        1,
        max_age,
        ConnectionMetrics::default(),
        BudgetMetrics::default(),
        BadConnectionMetrics::default(),
    )
    .admit(None)
    .await
}

/// Answers every request with an empty response.
#[derive(Clone)]
struct Empty;

impl Handler for Empty {
    async fn handle(self, _: Request<Incoming>) -> HandlerResult {
        let nothing = tonic::body::Body::empty();
        Ok(Response::new(Body::stream(nothing, 0, None)))
    }
}

/// Panics on a request for `/panic`.
#[derive(Clone)]
struct Fragile;

impl Handler for Fragile {
    async fn handle(self, request: Request<Incoming>) -> HandlerResult {
        assert_ne!(request.uri().path(), "/panic", "as asked for");
        Empty.handle(request).await
    }
}

#[tokio::test]
async fn a_panic_is_the_end_of_one_request() {
    let (ours, theirs) = duplex(4096);
    tokio::spawn(http2::serve(theirs, admitted().await, Fragile, pending()));
    let (client, connection) = h2::client::handshake(ours).await.unwrap();
    tokio::spawn(connection);
    for (path, is_answered) in [("/a", true), ("/panic", false), ("/b", true)] {
        let mut client: SendRequest<Bytes> = client.clone().ready().await.unwrap();
        let request = Request::get(format!("http://claimgate{path}"))
            .body(())
            .unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        assert_eq!(answer.await.is_ok(), is_answered, "{path}");
    }
}

/// The client's preface (RFC 9113 §3.4) with empty settings.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Answers `/slow` slowly, and every other request only once two of them are in progress.
#[derive(Clone, Default)]
struct Sociable(Arc<(Mutex<usize>, Condvar)>);

impl Handler for Sociable {
    async fn handle(self, request: Request<Incoming>) -> HandlerResult {
        self.meet(request.uri().path());
        Empty.handle(request).await
    }
}

impl Sociable {
    fn meet(&self, path: &str) {
        let (here, met) = &*self.0;
        let begin = Instant::now();
        if path == "/slow" {
            while begin.elapsed() < Duration::from_millis(1) {}
            return;
        }
        let mut here = here.lock().unwrap();
        *here += 1;
        met.notify_all();
        let alone = |here: &mut usize| *here < 2;
        let time_left = Duration::from_secs(10);
        let (_here, waited) = met.wait_timeout_while(here, time_left, alone).unwrap();
        assert!(!waited.timed_out(), "one after the other");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slow_checks_are_answered_concurrently() {
    let (ours, theirs) = duplex(4096);
    tokio::spawn(http2::serve(
        theirs,
        admitted().await,
        Sociable::default(),
        pending(),
    ));
    let (client, connection) = h2::client::handshake(ours).await.unwrap();
    tokio::spawn(connection);
    let ask = |path| {
        let client = client.clone();
        async move {
            let mut client: SendRequest<Bytes> = client.ready().await.unwrap();
            let request = Request::get(path).body(()).unwrap();
            client.send_request(request, true).unwrap().0.await.unwrap();
        }
    };
    ask("http://claimgate/slow").await;
    join_all([ask("http://claimgate/a"), ask("http://claimgate/b")]).await;
}

/// Answers with a message that the client has ten seconds to take.
#[derive(Clone)]
struct Talkative;

impl Handler for Talkative {
    async fn handle(self, _: Request<Incoming>) -> HandlerResult {
        let message = Bytes::from_static(b"an answer");
        let max_sending = Duration::from_secs(10);
        Ok(Response::new(Body::message(message, max_sending)))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_in_time_is_given_up() {
    let (ours, theirs) = duplex(4096);
    let admitted = admitted().await;
    tokio::spawn(http2::serve(theirs, admitted, Talkative, pending()));
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (client, connection) = builder.handshake::<_, Bytes>(ours).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::get("http://claimgate/").body(()).unwrap();
    let begin = Instant::now();
    let (answer, _) = client.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(begin.elapsed().as_secs(), 10);
}

/// How long a connection is served, in seconds.
async fn served_for(connection: DuplexStream, stop: impl Future<Output = ()>) -> u64 {
    let start = Instant::now();
    http2::serve(connection, admitted().await, Empty, stop).await;
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let (_silent, theirs) = duplex(4096);
    assert_eq!(
        served_for(theirs, async {}).await,
        0,
        "when it is time to end"
    );
    let (_silent, theirs) = duplex(4096);
    assert_eq!(served_for(theirs, pending()).await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_vanished_client_is_noticed() {
    let (mut ours, theirs) = duplex(4096);
    ours.write_all(BEGINNING).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut read = Vec::new();
        ours.read_to_end(&mut read).await.unwrap();
    });
    assert_eq!(served_for(theirs, pending()).await, 45);
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_could_not_be_read_in_time_counts() {
    let (mut ours, theirs) = duplex(4096);
    ours.write_all(BEGINNING).await.unwrap();
    let mut serving = pin!(http2::serve(theirs, admitted().await, Empty, pending()));
    let ping = async {
        loop {
            let mut frame = vec![0; 9];
            ours.read_exact(&mut frame).await.unwrap();
            frame.resize(9 + usize::from(frame[2]), 0);
            ours.read_exact(&mut frame[9..]).await.unwrap();
            // RFC 9113 §6.7.
            if frame[3] == 6 {
                return frame;
            }
        }
    };
    let mut frame = tokio::select! {
        () = &mut serving => panic!("served no longer"),
        ping = ping => ping,
    };
    frame[4] = 1;
    ours.write_all(&frame).await.unwrap();
    // The answer is ready, but our tasks do not run for a minute.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let served_on = tokio::time::timeout(Duration::from_secs(30), &mut serving).await;
    assert!(served_on.is_err(), "the answer was overlooked");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_but_live_connection_is_kept() {
    let (ours, theirs) = duplex(4096);
    let (client, connection) = h2::client::handshake(ours).await.unwrap();
    let quiet = tokio::spawn(connection);
    let serving = tokio::spawn(http2::serve(theirs, admitted().await, Empty, pending()));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let mut client: SendRequest<Bytes> = client.ready().await.unwrap();
    let request = Request::get("http://claimgate/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    poll_fn(|context| client.poll_ready(context)).await.unwrap();
    assert!(!serving.is_finished());
    drop(client);
    quiet.await.unwrap().unwrap();
    serving.await.unwrap();
}

/// Answers after this time.
#[derive(Clone)]
struct Slow(Duration);

impl Handler for Slow {
    async fn handle(self, request: Request<Incoming>) -> HandlerResult {
        tokio::time::sleep(self.0).await;
        Empty.handle(request).await
    }
}

/// A connection that is old takes no further requests, and answers those that it has.
#[tokio::test(start_paused = true)]
async fn old_connections_end() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
    let max_age = 10 * minute;
    let mut ages = Vec::new();
    for _ in 0..20 {
        let (ours, theirs) = duplex(4096);
        let admitted = admitted_until(Some(max_age)).await;
        let begin = Instant::now();
        let serving = http2::serve(theirs, admitted, Slow(12 * minute), pending());
        let serving = tokio::spawn(serving);
        let (client, connection) = h2::client::handshake(ours).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client: SendRequest<Bytes> = client.ready().await.unwrap();
        let request = Request::get("http://claimgate/").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        while poll_fn(|context| client.poll_ready(context)).await.is_ok() {
            tokio::time::sleep(second).await;
        }
        ages.push(begin.elapsed());
        assert_eq!(answer.await.unwrap().status(), 200);
        serving.await.unwrap();
        connection.await.unwrap().unwrap();
    }
    let (least, most) = (9 * minute, 11 * minute + second);
    assert!(
        ages.iter().all(|age| (least..=most).contains(age)),
        "{ages:?}"
    );
    assert!(ages.iter().any(|age| *age < max_age), "{ages:?}");
    assert!(ages.iter().any(|age| *age > max_age), "{ages:?}");
}

/// The value of a gauge.
async fn metric(server: &Server, name: &str) -> u64 {
    let (_, metrics) = server.page("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.strip_prefix(' '));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{name}: {metrics}"))
}

/// Waits until other tasks have set a gauge to this value.
async fn until(server: &Server, name: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    loop {
        let value = metric(server, name).await;
        if wanted(value) {
            return value;
        }
    }
}

/// The answer to a check, as Envoy reads it.
async fn read(answer: ResponseFuture) -> Answer {
    let bytes = message(answer).await;
    Answer::read(CheckResponse::decode(&bytes[5..]).unwrap())
}

/// The same, or `None` if the connection ends first.
async fn read_if_any(answer: ResponseFuture) -> Option<Answer> {
    let mut body = answer.await.ok()?.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        bytes.extend_from_slice(&data);
    }
    Some(Answer::read(CheckResponse::decode(&bytes[5..]).ok()?))
}

/// A message with gRPC's prefix.
fn prefixed(compressed: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    [&[compressed], &length.to_be_bytes()[..], message]
        .concat()
        .into()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

/// gRPC over HTTP/2, `Length-Prefixed-Message` and `Message-Encoding`.
#[tokio::test]
async fn compressed_checks_are_read_and_others_are_denied() {
    let (server, _issuer, good) = served("").await;
    let check = bearer(&good).encode_to_vec();
    let bomb = gzip(&vec![0; 64 * 1024 * 1024]);
    let large = gzip(&bearer(&good.repeat(3_000)).encode_to_vec());
    let mut damaged = gzip(&check);
    damaged.truncate(damaged.len() / 2);
    let cases = [
        ("gzip", prefixed(1, &gzip(&check)), 200),
        ("deflate", prefixed(1, &deflate(&check)), 200),
        ("gzip", prefixed(0, &check), 200),
        ("gzip", prefixed(1, &bomb), 413),
        ("gzip", prefixed(1, &large), 413),
        ("gzip", prefixed(1, &damaged), 400),
        ("gzip", prefixed(1, &deflate(&check)), 400),
        ("gzip", prefixed(1, &gzip(&check)).slice(..40), 400),
        ("gzip", prefixed(2, &gzip(&check)), 400),
        ("identity", prefixed(1, &gzip(&check)), 400),
        ("snappy", prefixed(1, &check), 400),
        ("", prefixed(1, &gzip(&check)), 400),
        ("", prefixed(0, &check).slice(..3), 400),
        (
            "",
            [prefixed(0, &check), prefixed(0, &check)].concat().into(),
            400,
        ),
        ("", Bytes::new(), 400),
    ];
    let mut client = connect(&server).await;
    for (index, (encoding, body, status)) in cases.into_iter().enumerate() {
        let mut request = post();
        if !encoding.is_empty() {
            let encoding = HeaderValue::from_static(encoding);
            request.headers_mut().insert("grpc-encoding", encoding);
        }
        let (answer, mut stream) = client.send_request(request, false).unwrap();
        stream.send_data(body, true).unwrap();
        assert_eq!(read(answer).await.status(), status, "case {index}");
        client = client.ready().await.unwrap();
    }
    let internal = "claimgate_denials_total{reason=\"internal\",provider=\"none\"}";
    assert_eq!(
        metric(&server, internal).await,
        0,
        "that is a bug, and nothing else"
    );
}

#[tokio::test]
async fn a_check_that_is_late_is_denied_in_time() {
    let (server, _issuer, good) = served("").await;
    let mut client = connect(&server).await;
    let mut request = post();
    request
        .headers_mut()
        .insert("grpc-timeout", HeaderValue::from_static("200m"));
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(framed(&good).split_to(50), false).unwrap();
    assert_eq!(read(answer).await.status(), 400);
    assert_eq!(metric(&server, "claimgate_unfinished_bytes").await, 0);
}

/// A header field that is not indexed (RFC 7541 §6.2.2), by the index of its name.
fn field(index: u8, value: &str) -> Vec<u8> {
    [
        &[index, u8::try_from(value.len()).unwrap()],
        value.as_bytes(),
    ]
    .concat()
}

/// The frame of `POST CHECK` for an authority, with these flags.
fn headers(stream: u32, authority: &str, flags: u8) -> Vec<u8> {
    // RFC 7541, appendix A: `:method: POST` is 3, `:scheme: http` 6, `:path` 4, `:authority` 1.
    let path = "/envoy.service.auth.v3.Authorization/Check";
    let block = [vec![0x83, 0x86], field(4, path), field(1, authority)].concat();
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    [&length[1..], &[1, flags], &stream.to_be_bytes()[..], &block].concat()
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Envoy sends the name of its cluster as authority, and gRPC's C core the path of a socket. `h2`
/// refuses what is not an authority. The refusal must at least be visible.
#[tokio::test]
async fn what_http2_refuses_is_counted() {
    let (server, _issuer, _good) = served("").await;
    let name = "claimgate_bad_connections_total{kind=\"reset\"}";
    let mut stream = TcpStream::connect(server.check).await.unwrap();
    stream.write_all(BEGINNING).await.unwrap();
    let authorities = [
        ("claimgate", true),
        ("claimgate.ns.svc:9001", true),
        ("outbound|9001||claimgate.x.svc.cluster.local", false),
        ("default/claimgate:grpc", false),
        ("run%2Fclaimgate%2Fcheck.sock", false),
        ("a:b:c", false),
    ];
    for (index, (authority, _)) in authorities.iter().enumerate() {
        let id = u32::try_from(2 * index + 1).unwrap();
        let frame = headers(id, authority, END_STREAM | END_HEADERS);
        stream.write_all(&frame).await.unwrap();
    }
    let refused = authorities.iter().filter(|(_, fits)| !fits).count() as u64;
    assert_eq!(
        until(&server, name, |count| count >= refused).await,
        refused
    );
}

/// Each wrong client counts once, as what it is, and the log says once what to change.
#[tokio::test]
async fn wrong_clients_are_noticed() {
    let (server, _issuer, good) = served("").await;
    let log = Log::start("warn");
    let series = |kind: &str| format!("claimgate_bad_connections_total{{kind=\"{kind}\"}}");
    // A frame of SETTINGS that is too short (RFC 9113 §6.5).
    let broken = [BEGINNING, &[0, 0, 1, 4, 0, 0, 0, 0, 0, 0]].concat();
    let bad_authority = [
        BEGINNING,
        &headers(
            1,
            "outbound|9001||claimgate.x.svc",
            END_STREAM | END_HEADERS,
        ),
    ]
    .concat();
    let client_hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
    let cases: [(&str, &[u8], &str); 5] = [
        (
            "http1",
            b"GET /livez HTTP/1.1\r\nhost: claimgate\r\n\r\n",
            "`grpc_service`",
        ),
        ("tls", &client_hello, "`transport_socket`"),
        (
            "not_http2",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
            "`upstream_proxy_protocol`",
        ),
        ("protocol_error", &broken, "violate"),
        ("reset", &bad_authority, "`authority: claimgate`"),
    ];
    let mut open = Vec::new();
    for (kind, bytes, advice) in cases {
        for times in 1..=2 {
            let mut client = TcpStream::connect(server.check).await.unwrap();
            client.write_all(bytes).await.unwrap();
            assert_eq!(
                until(&server, &series(kind), |count| count >= times).await,
                times
            );
            open.push(client);
        }
        let lines = log.take();
        let [line] = &*lines else {
            panic!("{kind}: {lines:?}");
        };
        assert_eq!(line["message"], "bad connection");
        assert_eq!((&line["kind"], &line["times"]), (&kind.into(), &1.into()));
        assert!(line["advice"].as_str().unwrap().contains(advice), "{line}");
        assert!(
            line["client"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{line}"
        );
    }
    // A client that only probes whether the port is open, and one that is as it should be.
    drop(TcpStream::connect(server.check).await.unwrap());
    assert!(server.check(bearer(&good)).await.is_allow());
    for (kind, ..) in cases {
        assert_eq!(metric(&server, &series(kind)).await, 2, "{kind}");
    }
    assert!(log.take().is_empty());
}

/// If there are more unfinished requests than memory allows, the oldest are given up, and clients
/// that send complete requests are served as usual.
#[tokio::test]
async fn unfinished_requests_take_a_bounded_amount() {
    const MOST: u64 = 16 * 1024 * 1024;
    let used = "claimgate_unfinished_bytes";
    let evicted = "claimgate_unfinished_evicted_total";
    let (server, _issuer, good) = served("").await;
    let whole = connect(&server).await;
    let asked = async |pieces: usize| {
        let mut client = whole.clone().ready().await.unwrap();
        let (answer, mut stream) = client.send_request(post(), false).unwrap();
        let mut check = framed(&good);
        while !check.is_empty() {
            let piece = check.split_to(check.len().min(check.len() / pieces + 1));
            stream.send_data(piece, check.is_empty()).unwrap();
            tokio::task::yield_now().await;
        }
        assert!(read(answer).await.is_allow());
    };

    // A prefix that announces 4 MiB, to every service.
    for (path, status) in [
        ("/grpc.health.v1.Health/Check", "11"),
        ("/grpc.health.v1.Health/Watch", "11"),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "11",
        ),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "11",
        ),
    ] {
        let mut client = connect(&server).await;
        for number in 0..200 {
            let request = Request::post(format!("http://claimgate{path}"));
            let request = request
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            let (answer, mut stream) = client.send_request(request, false).unwrap();
            let is_last = number == 199 && path.contains("health");
            let prefix = Bytes::from_static(&[0, 0, 0x40, 0, 0]);
            stream.send_data(prefix, is_last).unwrap();
            if is_last {
                let answer = answer.await.unwrap();
                assert_eq!(answer.headers()["grpc-status"], status, "{path}");
            }
            client = client.ready().await.unwrap();
        }
        assert!(metric(&server, used).await <= MOST, "{path}");
    }

    // Checks of which little has arrived, and checks of which nearly everything has.
    let mut open = Vec::new();
    for (connections, requests, bytes) in [(1, 1, 5), (5, 1_000, 5), (1, 100, 250 * 1024)] {
        let before = metric(&server, evicted).await;
        for _ in 0..connections {
            let mut client = connect(&server).await;
            for _ in 0..requests {
                let (answer, mut stream) = client.send_request(post(), false).unwrap();
                stream.send_data(vec![0; bytes].into(), false).unwrap();
                open.push((tokio::spawn(read_if_any(answer)), stream));
                client = client.ready().await.unwrap();
            }
        }
        if requests > 1 {
            until(&server, evicted, |count| count > before).await;
        }
        assert!(metric(&server, used).await <= MOST);
        asked(1).await;
        asked(5).await;
    }
    let (first, _stream) = open.swap_remove(0);
    let first = first.await.unwrap().expect("the oldest is answered");
    assert_eq!(first.status(), 503);
    drop(open);

    // Header blocks without an end.
    let before = metric(&server, evicted).await;
    let mut blocks = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(server.check).await.unwrap();
        stream.write_all(BEGINNING).await.unwrap();
        stream.write_all(&headers(1, "claimgate", 0)).await.unwrap();
        blocks.push(stream);
    }
    until(&server, evicted, |count| count > before).await;
    assert!(metric(&server, used).await <= MOST);
    asked(1).await;
    asked(5).await;
    drop(blocks);
    until(&server, used, |bytes| bytes == 0).await;
}

/// A client that does not read answers.
#[tokio::test]
async fn answers_that_are_not_read_take_a_bounded_amount() {
    let (server, _issuer, good) = served("").await;
    let mut open = Vec::new();
    let mut closed_window = BEGINNING.to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE: 0 (RFC 9113 §6.5.2).
    closed_window.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.check).await.unwrap();
        stream.write_all(&closed_window).await.unwrap();
        for index in 0..1_000 {
            let frame = headers(2 * index + 1, "claimgate", END_STREAM | END_HEADERS);
            stream.write_all(&frame).await.unwrap();
        }
        open.push(stream);
    }
    until(&server, "claimgate_unfinished_evicted_total", |count| {
        count > 0
    })
    .await;
    assert!(metric(&server, "claimgate_unfinished_bytes").await <= 16 * 1024 * 1024);
    assert!(server.check(bearer(&good)).await.is_allow());
    drop(open);
    until(&server, "claimgate_unfinished_bytes", |bytes| bytes == 0).await;
}

#[tokio::test]
async fn a_further_connection_closes_the_idlest() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let listen = "127.0.0.1:0, max_connections: 2";
    let server = Server::start_listening(listen, &provider(&issuer, "acme", "")).await;
    let good = token(&issuer, &key);
    let mut idle = TcpStream::connect(server.check).await.unwrap();
    idle.write_all(BEGINNING).await.unwrap();
    let busy = server.channel().await;
    // Other connections come and go, but the one in use stays.
    let evicted = "claimgate_connections_evicted_total{listener=\"check\"}";
    let mut others = Vec::new();
    for number in 1..=5 {
        while !asked(&busy, &good).await.is_allow() {}
        let mut other = TcpStream::connect(server.check).await.unwrap();
        other.write_all(BEGINNING).await.unwrap();
        others.push(other);
        assert_eq!(
            until(&server, evicted, |count| count >= number).await,
            number
        );
    }
    let mut told = Vec::new();
    idle.read_to_end(&mut told).await.unwrap();
    assert!(is_told_to_go(&told), "{told:?}");
    assert!(asked(&busy, &good).await.is_allow());
    assert!(metric(&server, "claimgate_connections{listener=\"check\"}").await <= 2);
}

/// Whether among these frames is a GOAWAY without an error (RFC 9113 §6.8).
fn is_told_to_go(mut frames: &[u8]) -> bool {
    while let [_, _, length, kind, _, _, _, _, _, rest @ ..] = frames {
        let (payload, rest) = rest.split_at(usize::from(*length));
        if *kind == 7 && payload[4..8] == [0; 4] {
            return true;
        }
        frames = rest;
    }
    false
}

#[tokio::test]
async fn half_sent_requests_do_not_close_the_admin_port() {
    let (server, _issuer, _good) = served("").await;
    let mut open = Vec::new();
    for _ in 0..80 {
        let mut stream = TcpStream::connect(server.admin).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n")
            .await
            .unwrap();
        open.push(stream);
    }
    assert_eq!(server.page("/livez").await.0, 200);
    assert!(metric(&server, "claimgate_connections{listener=\"admin\"}").await <= 16);
    let evicted = "claimgate_connections_evicted_total{listener=\"admin\"}";
    assert!(metric(&server, evicted).await >= 64);
    drop(open);
}
