//! How spans are sent, and what happens if the collector does not take them.

use std::time::Duration;

use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::keyring::Algorithm::Es256;
use claimgate::otlp::proto::trace::v1::span::SpanKind;
use tokio::time::timeout;
use tonic::{Request, Status};

use super::{Exporting, eventually, prepare};
use crate::support::authority::authority;
use crate::support::call::bearer;
use crate::support::collector::{Behaviour, Collector, Received, texts};
use crate::support::gate::{provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}

/// The whole service, over real connections, until it stops.
#[tokio::test]
async fn a_check_arrives_as_a_span_of_its_caller() {
    for protocol in ["grpc", "http/protobuf"] {
        let key = signer(Es256, "real");
        let issuer = Issuer::start(&[&key]).await;
        let collector = Collector::start().await;
        let telemetry = collector.section(&format!("protocol: {protocol}"));
        let sections = format!("{}{telemetry}", provider(&issuer, "acme", ""));
        let server = Server::start(&sections).await;
        server.is_serving().await;
        let token = token(&issuer, &key);
        let mut request = Request::new(bearer(&token));
        request
            .metadata_mut()
            .insert("traceparent", PARENT.parse().unwrap());
        let mut client = AuthorizationClient::new(server.channel().await);
        client.check(request).await.unwrap();
        drop(client);
        server.stop().await;

        let received = collector.received();
        let spans = received.checks();
        assert_eq!(spans.len(), 1, "{received:#?}");
        let span = spans[0];
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
        assert_eq!(span.span_id.len(), 8);
        assert_eq!(span.flags, 0x301, "sampled, and the parent is remote");
        assert_eq!(span.kind(), SpanKind::Server);
        assert_eq!(span.status, None);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert_eq!(texts(&span.attributes)["claimgate.subject"], "alice");
        assert_eq!(span.events[0].name, "rule_found");
        let resource = received.traces[0].resource_spans[0]
            .resource
            .as_ref()
            .unwrap();
        let resource = texts(&resource.attributes);
        assert_eq!(resource["service.name"], "claimgate");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(resource["service.instance.id"].len(), 36);
        let names: Vec<_> = received
            .last_metrics()
            .iter()
            .map(|it| it.name.clone())
            .collect();
        assert!(
            names.contains(&"claimgate_checks_total".to_owned()),
            "{names:?}"
        );
        for part in token.split('.') {
            let is_part = |window: &[u8]| window == part.as_bytes();
            assert!(!received.bytes.windows(part.len()).any(is_part), "{part}");
        }
    }
}

#[tokio::test]
async fn variables_are_enough_and_headers_are_sent() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let specific = format!("http://{}/v1/traces", collector.address);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "# for the collector\napi-key: from file\n").unwrap();
    let headers_file = format!(
        "telemetry: {{ otlp: {{ headers_file: {} }} }}\n",
        file.path().display()
    );
    for (sections, variables, key, name) in [
        (
            "",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=from%20variable"),
                ("OTEL_SERVICE_NAME", "edge"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb"),
            ][..],
            "from variable",
            "edge",
        ),
        (
            "",
            &[
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &specific),
                ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=general"),
                ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=specific"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
            ],
            "specific",
            "other",
        ),
        (
            &headers_file,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=from variable"),
            ],
            "from file",
            "claimgate",
        ),
    ] {
        let more = ("OTEL_METRICS_EXPORTER", "none");
        let variables: Vec<_> = variables.iter().copied().chain([more]).collect();
        let exporting = Exporting::start(sections, &variables).await;
        exporting.check(1).await;
        exporting.exports.flush().await;
        let received = collector.received();
        assert_eq!(received.headers.last().unwrap()["api-key"], key);
        let last = received.traces.last().unwrap();
        let resource = last.resource_spans[0].resource.as_ref().unwrap();
        let resource = texts(&resource.attributes);
        assert_eq!(resource["service.name"], name);
        assert_eq!(
            resource.get("team").is_some_and(|team| team == "a,b"),
            name == "edge"
        );
        assert!(received.metrics.is_empty());
    }
}

/// A batch is sent when it is full, or when its first span has waited long enough.
#[tokio::test]
async fn spans_are_sent_in_batches() {
    let collector = Collector::start().await;
    let section = collector.section("metrics: false");
    let variables = [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let exporting = Exporting::start(&section, &variables).await;
    exporting.check(7).await;
    let received = collector
        .wait_for(|received| received.checks().len() == 7)
        .await;
    let sizes: Vec<_> = received
        .traces
        .iter()
        .map(|sent| sent.resource_spans[0].scope_spans[0].spans.len())
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), received.spans().len());
    assert!(
        sizes.iter().all(|size| *size <= 3) && sizes[0] == 3,
        "{sizes:?}"
    );
}

/// The collector is away for a while: nothing is lost. It refuses spans for good: they are.
#[tokio::test(start_paused = true)]
async fn temporary_failures_are_tried_again() {
    let unavailable = || Status::unavailable("restarting");
    let invalid = || Status::invalid_argument("no");
    for protocol in ["grpc", "http/protobuf"] {
        for (behaviour, sent, lost) in [
            (Behaviour::Fails(vec![unavailable(), unavailable()]), 1, 0),
            (Behaviour::Fails(vec![invalid()]), 0, 1),
            (Behaviour::Rejects(1), 1, 1),
        ] {
            let collector = Collector::behaving(behaviour.clone()).await;
            let section = collector.section(&format!("metrics: false, protocol: {protocol}"));
            // Loopback needs no time, but the paused clock moves on while it is awaited.
            let variables = [
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "100000"),
                ("OTEL_BSP_EXPORT_TIMEOUT", "1000000"),
            ];
            let exporting = Exporting::start(&section, &variables).await;
            exporting.check(1).await;
            let series = "claimgate_spans_dropped_total{cause=\"export_failed\"}";
            let done = |received: &Received| {
                let dropped = exporting.gate.metric(series);
                received.checks().len() == sent && dropped == lost.to_string()
            };
            eventually(async || done(&collector.received())).await;
            exporting.exports.flush().await;
            assert!(done(&collector.received()), "{protocol} {behaviour:?}");
        }
    }
}

/// Without a collector, checks are answered as ever. The loss is counted, and reported once a minute.
#[tokio::test(start_paused = true)]
async fn a_dead_collector_costs_only_spans() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let section =
        format!("telemetry: {{ otlp: {{ endpoint: \"http://{address}\", metrics: false }} }}");
    let log = Log::start("warn");
    let variables = [
        ("OTEL_BSP_EXPORT_TIMEOUT", "2000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
    ];
    let exporting = Exporting::start(&section, &variables).await;
    exporting.check(10).await;
    let series = "claimgate_spans_dropped_total{cause=\"export_failed\"}";
    eventually(async || exporting.gate.metric(series) == "10").await;
    let lines = log.take();
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "spans were lost")
        .collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["spans"], 2);
    assert_eq!(lines[0]["endpoint"], format!("http://{address}/"));
    let error = lines[0]["error"].as_str().unwrap();
    assert!(error.contains("Connection refused"), "{error}");
}

/// A collector that accepts connections and then says nothing does not hold up the end.
#[tokio::test(start_paused = true)]
async fn a_silent_collector_does_not_delay_the_end() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let section = format!("telemetry: {{ otlp: {{ endpoint: \"http://{address}\" }} }}");
    let exporting = Exporting::start(&section, &[]).await;
    exporting.check(3).await;
    let flushed = timeout(Duration::from_secs(4), exporting.exports.flush());
    flushed.await.expect("the end is bounded");
}

#[tokio::test]
async fn a_collector_behind_tls_must_be_trusted() {
    let (ours, tls) = authority("localhost");
    let (stranger, _) = authority("localhost");
    for protocol in ["grpc", "http/protobuf"] {
        for (authority, is_trusted) in [(&ours, true), (&stranger, false)] {
            let collector = Collector::behind(tls.clone()).await;
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, authority).unwrap();
            let section = format!(
                "telemetry: {{ otlp: {{ endpoint: \"https://localhost:{}\", protocol: {protocol}, \
                 metrics: false, ca_file: {} }} }}",
                collector.address.port(),
                file.path().display()
            );
            let log = Log::start("warn");
            let variables = [("OTEL_BSP_EXPORT_TIMEOUT", "900")];
            let exporting = Exporting::start(&section, &variables).await;
            exporting.check(1).await;
            exporting.exports.flush().await;
            assert_eq!(collector.received().checks().len(), usize::from(is_trusted));
            let errors: Vec<_> = log
                .take()
                .iter()
                .map(|line| line["error"].to_string())
                .collect();
            let is_refused = errors
                .iter()
                .any(|error| error.contains("invalid peer certificate"));
            assert_eq!(is_refused, !is_trusted, "{protocol}: {errors:?}");
        }
    }
}

/// Nothing is set: nothing is recorded.
#[tokio::test]
async fn nothing_runs_unless_it_is_asked_for() {
    let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let section = "telemetry: { otlp: {} }";
    let quiet = "telemetry: { otlp: { traces: false } }";
    for (section, variables, is_traced) in [
        ("", &[][..], false),
        ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false),
        ("", &[on], true),
        ("", &[("OTEL_TRACES_EXPORTER", "otlp")], true),
        ("", &[on, ("OTEL_TRACES_EXPORTER", "none")], false),
        ("", &[on, ("OTEL_SDK_DISABLED", "true")], false),
        ("", &[on, ("OTEL_SDK_DISABLED", "false")], true),
        (section, &[], true),
        (section, &[("OTEL_SDK_DISABLED", "TRUE")], false),
        (section, &[("OTEL_TRACES_EXPORTER", "none")], false),
        (quiet, &[on], false),
        ("telemetry: {}", &[], false),
    ] {
        let (tracer, _) = prepare(section, variables).await.unwrap();
        assert_eq!(tracer.is_some(), is_traced, "{section} {variables:?}");
    }
}
