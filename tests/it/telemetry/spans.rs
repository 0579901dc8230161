//! What the span of a check says, and what it never does.

use std::collections::BTreeMap;
use std::time::Duration;

use claimgate::dev::signer::Signer;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::keyring::Algorithm::Es256;
use claimgate::request;
use claimgate::telemetry::spans::{Sampler, Span, SpanKind, Tracer, Value};
use tokio::sync::mpsc;
use tonic::Request;

use super::local;
use crate::support::call::{Answer, bearer, check};
use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const PROXY: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01";

const ALL: Sampler = Sampler {
    follows_caller: true,
    ratio: 1.0,
};

/// A gate that trusts an issuer, and its finished spans.
struct Traced {
    gate: Gate,
    spans: mpsc::Receiver<Span>,
    issuer: Issuer,
    token: String,
}

impl Traced {
    async fn start(sampler: Sampler, sections: &str) -> Self {
        let key = signer(Es256, "real");
        let issuer = Issuer::start(&[&key]).await;
        let (tracer, spans) = Tracer::new(sampler, 8);
        let yaml = format!("{}{sections}", provider(&issuer, "acme", ""));
        let gate = Gate::start_traced(&yaml, Some(tracer)).await;
        gate.service.gate.generation().jwks.all_known().await;
        let token = token(&issuer, &key);
        let mut traced = Self {
            gate,
            spans,
            issuer,
            token,
        };
        traced.drain();
        traced
    }

    /// Forgets the spans of fetches.
    fn drain(&mut self) {
        while self.spans.try_recv().is_ok() {}
    }

    /// Sends a check, in whose metadata is this `traceparent`. Returns the answer and the span.
    async fn send(&mut self, check: CheckRequest, proxy: Option<&str>) -> (Answer, Option<Span>) {
        let mut request = Request::new(check);
        if let Some(proxy) = proxy {
            let metadata = request.metadata_mut();
            metadata.insert("traceparent", proxy.parse().unwrap());
        }
        let answer = self.gate.service.check(request).await.unwrap();
        let answer = Answer::read(answer.into_inner());
        let mut found = None;
        while let Ok(span) = self.spans.try_recv() {
            if span.kind == SpanKind::Server {
                assert!(found.replace(span).is_none(), "one span for a check");
            }
        }
        (answer, found)
    }

    async fn span(&mut self, lines: &[(&str, &str)]) -> Span {
        self.send(check(lines), None).await.1.unwrap()
    }
}

fn texts(attributes: &[(&'static str, Value)]) -> BTreeMap<&'static str, String> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Time(time) => format!("{time:?}"),
    };
    let pairs = attributes.iter();
    pairs.map(|(name, value)| (*name, text(value))).collect()
}

fn events(span: &Span) -> Vec<&'static str> {
    span.events.iter().map(|event| event.name).collect()
}

#[tokio::test]
async fn the_caller_decides_and_is_the_parent() {
    let mut traced = Traced::start(ALL, "").await;
    let (client, proxy) = (0x00f0_67aa_0ba9_02b7, 0xb7ad_6b71_6920_3331);
    let none = Sampler { ratio: 0.0, ..ALL };
    let mut unasked = Traced::start(none, "").await;
    for (header, metadata, expected) in [
        (Some(CLIENT), None, Some((TRACE, client))),
        // Envoy's own span is closer to the check.
        (Some(CLIENT), Some(PROXY), Some((TRACE, proxy))),
        (None, Some(PROXY), Some((TRACE, proxy))),
        (Some(CLIENT), Some("00-nonsense"), Some((TRACE, client))),
        (Some(UNSAMPLED), None, None),
        (Some(CLIENT), Some(UNSAMPLED), None),
    ] {
        let lines: Vec<_> = header
            .map(|line| ("traceparent", line))
            .into_iter()
            .collect();
        for traced in [&mut traced, &mut unasked] {
            let (answer, span) = traced.send(check(&lines), metadata).await;
            assert_eq!(answer.status(), 401);
            let context = span.map(|span| span.context);
            let seen = context.map(|it| (it.trace_id, it.parent.unwrap()));
            assert_eq!(seen, expected, "{header:?} {metadata:?}");
        }
    }
    // Without a caller, the ratio decides.
    let (_, span) = traced.send(check(&[]), None).await;
    let root = span.unwrap().context;
    assert_eq!(root.parent, None);
    assert!(root.trace_id != TRACE && root.trace_id != 0 && root.span_id != 0);
    assert_eq!(unasked.send(check(&[]), None).await.1, None);
}

#[tokio::test]
async fn an_allow_shows_each_step() {
    let mut traced = Traced::start(ALL, "").await;
    let token = traced.token.clone();
    let lines = [
        ("authorization", &*format!("Bearer {token}")),
        ("traceparent", CLIENT),
        ("x-request-id", "r-1"),
    ];
    let span = traced.span(&lines).await;
    assert_eq!(span.name, "envoy.service.auth.v3.Authorization/Check");
    assert_eq!(span.kind, SpanKind::Server);
    assert_eq!(span.error, None);
    assert_eq!(span.end.as_secs(), NOW);
    assert!(span.start <= span.end);
    let times: Vec<_> = span.events.iter().map(|event| event.time).collect();
    assert!(times.is_sorted() && times[0] >= span.start, "{times:?}");
    let expected = [
        ("claimgate.decision", "allow"),
        ("claimgate.provider", "acme"),
        ("claimgate.request_id", "r-1"),
        ("claimgate.rule", "default"),
        ("claimgate.subject", "alice"),
        ("http.request.method", "GET"),
        ("rpc.method", "Check"),
        ("rpc.service", "envoy.service.auth.v3.Authorization"),
        ("rpc.system", "grpc"),
        ("server.address", "api.example.com"),
        ("url.path", "/orders"),
    ];
    let expected = expected.map(|(name, value)| (name, value.to_owned()));
    assert_eq!(texts(&span.attributes), expected.into());
    let steps = [
        "rule_found",
        "token_found",
        "token_read",
        "provider_found",
        "keys_known",
        "signature_verified",
        "times_valid",
        "audience_accepted",
    ];
    assert_eq!(events(&span), steps);
    let place = &texts(&span.events[1].attributes)["claimgate.token_place"];
    assert_eq!(place, "`Authorization: Bearer` header");

    // The second time, the token is remembered.
    let span = traced.span(&lines).await;
    let steps = ["rule_found", "token_found", "token_remembered"];
    assert_eq!(events(&span), steps);
}

/// Only failures of this service are errors.
#[tokio::test]
async fn denials_say_why() {
    let rules = "rules: [{ name: open, match: { path: { prefix: /open } }, enforce: false }]\n";
    let mut traced = Traced::start(ALL, rules).await;
    let at = |path: &'static str, context: &'static [(&str, &str)]| {
        compose(&request::Request {
            method: "PROPFIND",
            host: "api.example.com:8443",
            path,
            context: context.to_vec(),
            ..request::Request::default()
        })
    };
    for (check, expected, error) in [
        (
            at("/orders", &[]),
            &[
                ("claimgate.decision", "deny"),
                ("claimgate.reason", "missing_token"),
                ("http.request.method", "_OTHER"),
                ("server.address", "api.example.com"),
                ("server.port", "8443"),
            ][..],
            None,
        ),
        (
            at("/open", &[]),
            &[
                ("claimgate.decision", "allow"),
                ("claimgate.rule", "open"),
                ("claimgate.would_deny", "missing_token"),
            ],
            None,
        ),
        (
            at("/orders", &[("claimgate.rule", "closed")]),
            &[("claimgate.reason", "unknown_rule")],
            None,
        ),
    ] {
        let (_, span) = traced.send(check, None).await;
        let span = span.unwrap();
        let texts = texts(&span.attributes);
        for (name, value) in expected {
            assert_eq!(
                texts.get(name).map(String::as_str),
                Some(*value),
                "{texts:?}"
            );
        }
        assert_eq!(span.error.as_deref(), error);
        assert!(!texts.contains_key("error.type"), "{texts:?}");
        // A caller who reports the id of a denial names its span.
        let has_id = texts.contains_key("claimgate.request_id");
        assert!(has_id, "{texts:?}");
        let denials = &traced.gate.service.gate.denials;
        let trace_id = format!("{:032x}", span.context.trace_id);
        let denial = denials.find(&trace_id).expect("the log names the trace");
        assert_eq!(denial.request_id, texts["claimgate.request_id"]);
    }
}

#[tokio::test]
async fn an_unreadable_check_has_a_span() {
    let mut traced = Traced::start(ALL, "").await;
    let service = &traced.gate.service;
    service.answer(Ok(b"\xff"), Duration::MAX).await;
    let span = traced.spans.try_recv().unwrap();
    let texts = texts(&span.attributes);
    assert_eq!(texts["claimgate.reason"], "check_unreadable");
    assert_eq!(events(&span), [""; 0]);
}

/// A new key is fetched while the request waits. If there are no keys, the span is an error.
#[tokio::test(start_paused = true)]
async fn waiting_for_keys_is_an_event() {
    let mut traced = Traced::start(ALL, "").await;
    let new = signer(Es256, "new");
    traced.issuer.publish(&[&new]);
    let fresh = token(&traced.issuer, &new);
    let (answer, span) = traced.send(bearer(&fresh), None).await;
    assert!(answer.is_allow(), "{answer:?}");
    let span = span.unwrap();
    let waited = span
        .events
        .iter()
        .find(|event| event.name == "keys_awaited");
    let waited = texts(&waited.unwrap().attributes);
    assert_eq!(waited["claimgate.outcome"], "refreshed");
    assert!(waited.contains_key("claimgate.wait_duration"));
    assert_eq!(
        events(&span)
            .iter()
            .filter(|name| **name == "token_found")
            .count(),
        2
    );

    traced.issuer.reply(JWKS, Reply::status(500));
    let unknown = token(&traced.issuer, &signer(Es256, "unknown"));
    let (answer, span) = traced.send(bearer(&unknown), None).await;
    assert_eq!(answer.status(), 503);
    let span = span.unwrap();
    assert_eq!(span.error.as_deref(), Some("keys_unavailable"));
    assert_eq!(texts(&span.attributes)["error.type"], "keys_unavailable");
}

/// Fetches of keys are spans too, without a parent: several checks may wait for one.
#[tokio::test(start_paused = true)]
async fn fetches_are_spans() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let (tracer, mut spans) = Tracer::new(ALL, 8);
    let gate = Gate::start_traced(&provider(&issuer, "acme", ""), Some(tracer)).await;
    let port = issuer.address().port().to_string();
    let mut fetched = async || {
        let span = spans.recv().await.unwrap();
        assert_eq!((span.name, span.kind), ("fetch keys", SpanKind::Client));
        assert_eq!(span.context.parent, None);
        let mut texts = texts(&span.attributes);
        assert_eq!(texts.remove("claimgate.provider").unwrap(), "acme");
        assert_eq!(texts.remove("server.address").unwrap(), "127.0.0.1");
        assert_eq!(texts.remove("server.port").unwrap(), port);
        (texts, span.error)
    };
    let (attributes, error) = fetched().await;
    let keys = ("claimgate.keys", "1".to_owned());
    assert_eq!((attributes, error), ([keys].into(), None));
    issuer.reply(JWKS, Reply::status(404));
    let (attributes, error) = fetched().await;
    let status = |name| (name, "404".to_owned());
    let expected = ["error.type", "http.response.status_code"].map(status);
    assert_eq!(attributes, expected.into());
    assert_eq!(error, gate.error());
}

#[tokio::test]
async fn a_subject_is_named_as_in_the_log() {
    for (setting, expected) in [
        ("plain", Some("alice".len())),
        ("hash", Some(32)),
        ("omit", None),
    ] {
        let mut traced = Traced::start(ALL, &format!("log: {{ subject: {setting} }}\n")).await;
        let authorization = format!("Bearer {}", traced.token);
        let span = traced.span(&[("authorization", &authorization)]).await;
        let texts = texts(&span.attributes);
        let subject = texts.get("claimgate.subject");
        assert_eq!(subject.map(String::len), expected, "{setting}");
        assert!(setting == "plain" || subject.is_none_or(|it| it != "alice"));
    }
}

/// Wherever a request carries a token, the span does not.
#[tokio::test]
async fn no_span_contains_a_token() {
    let places =
        "token_from: [{ header: authorization, scheme: Bearer }, { query: t }, { cookie: t }]";
    let key: &Signer = &signer(Es256, "real");
    let issuer = Issuer::start(&[key]).await;
    let (tracer, mut spans) = Tracer::new(ALL, 64);
    let yaml = provider(&issuer, "acme", places);
    let gate = Gate::start_traced(&yaml, Some(tracer)).await;
    gate.service.gate.generation().jwks.all_known().await;
    let good = token(&issuer, key);
    let forged = token(&issuer, &signer(Es256, "stranger"));
    let mut count = 0;
    for token in [&good, &forged] {
        let authorization = format!("Bearer {token}");
        let cookie = format!("t={token}");
        let with_query = format!("/orders?t={token}");
        let with_path = format!("/reset/{token}/now");
        let encoded = format!("/orders%3Ft={token}");
        for (path, lines) in [
            ("/orders", vec![("authorization", authorization.as_str())]),
            ("/orders", vec![("cookie", &cookie)]),
            (&with_query, vec![]),
            (&with_path, vec![]),
            (&encoded, vec![("authorization", &authorization)]),
            ("/orders", vec![("authorization", token)]),
            (
                "/orders",
                vec![("traceparent", token), ("user-agent", token)],
            ),
        ] {
            let check = compose(&request::Request {
                method: "GET",
                host: "api.example.com",
                path,
                headers: lines
                    .iter()
                    .map(|(name, value)| (*name, value.as_bytes()))
                    .collect(),
                ..request::Request::default()
            });
            gate.service.check(Request::new(check)).await.unwrap();
        }
        while let Ok(span) = spans.try_recv() {
            count += usize::from(span.kind == SpanKind::Server);
            let shown = format!("{span:?}");
            for part in token.split('.') {
                assert!(!shown.contains(part), "{shown}");
            }
        }
    }
    assert_eq!(count, 14);
}

/// A queue that nobody empties costs spans, but no check.
#[tokio::test]
async fn spans_that_find_no_room_are_counted() {
    let (tracer, spans) = Tracer::new(ALL, 2);
    let gate = Gate::start_traced(&local(), Some(tracer)).await;
    for _ in 0..5 {
        assert_eq!(gate.check("").await.status(), 401);
    }
    assert_eq!(spans.len(), 2);
    let dropped = gate.metric("claimgate_spans_dropped_total{cause=\"queue_full\"}");
    assert_eq!(dropped, "3");
}
