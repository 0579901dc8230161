//! Spans and metrics reach a real collector, under the spans of a real Envoy.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::change;
use crate::production::issuer;
use crate::setup::{Claimgate, configure_for, envoy_binary, eventually, http};

/// All digits of a trace id but the last.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e473";
const PARENT: &str = "00f067aa0ba902b7";
const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";

/// rotel, which prints what it receives.
struct Rotel {
    grpc: SocketAddr,
    http: SocketAddr,
    printed: Arc<Mutex<Vec<String>>>,
    directory: tempfile::TempDir,
    _child: Child,
}

/// A span as rotel prints it.
#[derive(Clone, Debug, Default)]
struct Printed {
    trace: String,
    parent: String,
    id: String,
    name: String,
}

impl Rotel {
    async fn start() -> Self {
        let binary = std::env::var_os("ROTEL_BIN").expect("ROTEL_BIN names rotel: run `make e2e`");
        let directory = tempfile::tempdir().unwrap();
        // It takes no port 0.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let [grpc, http] = [free(), free()].map(|it| it.local_addr().unwrap());
        let mut child = Command::new(binary)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log", "metrics"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .args(["--otlp-http-endpoint", &http.to_string()])
            .arg("--pid-file")
            .arg(directory.path().join("pid"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let printed = Arc::<Mutex<Vec<String>>>::default();
        let written = Arc::clone(&printed);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                written.lock().unwrap().push(line);
            }
        });
        eventually("rotel listens", async || {
            TcpStream::connect(grpc).await.is_ok() && TcpStream::connect(http).await.is_ok()
        })
        .await;
        Self {
            grpc,
            http,
            printed,
            directory,
            _child: child,
        }
    }

    fn text(&self) -> String {
        self.printed.lock().unwrap().join("\n")
    }

    fn spans(&self) -> Vec<Printed> {
        let mut spans: Vec<Printed> = Vec::new();
        for line in self.printed.lock().unwrap().iter() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim().to_owned();
            if name.trim() == "Trace ID" {
                spans.push(Printed::default());
            }
            let Some(span) = spans.last_mut() else {
                continue;
            };
            match name.trim() {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" if span.name.is_empty() => span.name = value,
                _ => {}
            }
        }
        spans
    }

    /// The span of the check in this trace, once it has arrived.
    async fn check_in(&self, trace: &str) -> Printed {
        let found = || {
            let mut spans = self.spans().into_iter();
            spans.find(|span| span.trace == trace && span.name == CHECK)
        };
        eventually("the span of the check arrives", async || found().is_some()).await;
        found().unwrap()
    }
}

/// The example configuration, with Envoy's own spans sent to the same collector.
fn traced(collector: SocketAddr) -> String {
    let tracing = "stat_prefix: ingress
                tracing:
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      grpc_service: { envoy_grpc: { cluster_name: collector } }
                      service_name: edge";
    let cluster = format!(
        "
    - name: collector
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{ http2_protocol_options: {{}} }}
      load_assignment:
        cluster_name: collector
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
",
        collector.ip(),
        collector.port()
    );
    change(EXAMPLE, "stat_prefix: ingress", tracing) + &cluster
}

#[tokio::test]
#[ignore = "needs Envoy and rotel: run `make e2e`"]
async fn spans_arrive_in_the_trace_of_the_caller() {
    let rotel = Rotel::start().await;
    for (number, configuration, protocol, collector) in [
        (1, EXAMPLE.to_owned(), "grpc", rotel.grpc),
        (2, traced(rotel.grpc), "http/protobuf", rotel.http),
    ] {
        let (issuer, bearer) = issuer().await;
        let telemetry = format!(
            "telemetry: {{ otlp: {{ endpoint: \"http://{collector}\", protocol: {protocol}, \
             metrics_interval: 1s }} }}"
        );
        let file = rotel.directory.path().join(format!("{number}.yaml"));
        let configured = configure_for(issuer.url(), "clock_skew: 0s", &telemetry);
        std::fs::write(&file, configured).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        let upstream = Upstream::start().await.unwrap();
        let wiring = Wiring {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claimgate: claimgate.check.into(),
            upstream: upstream.address(),
        };
        let envoy = Envoy::start(&envoy_binary(), &configuration, &wiring)
            .await
            .unwrap();
        let trace = format!("{TRACE}{number}");
        let lines = [
            bearer.clone(),
            format!("traceparent: 00-{trace}-{PARENT}-01"),
        ];
        let answer = http(envoy.address(), "GET /orders?page=2", &lines).await;
        assert_eq!(answer.status, 200, "{answer:?}");

        let span = rotel.check_in(&trace).await;
        if configuration == EXAMPLE {
            assert_eq!(span.parent, PARENT);
        } else {
            let parent = || {
                let spans = rotel.spans().into_iter();
                let mut spans = spans.filter(|other| other.trace == trace);
                spans.find(|other| other.id == span.parent)
            };
            eventually("Envoy's span arrives", async || parent().is_some()).await;
            assert_ne!(span.parent, PARENT, "{:?}", parent());
        }
        eventually("metrics arrive", async || {
            rotel.text().contains("-> Name: claimgate_checks_total")
        })
        .await;
        let text = rotel.text();
        for part in bearer.rsplit(' ').next().unwrap().split('.') {
            assert!(!text.contains(part), "rotel printed a part of the token");
        }
        claimgate.stop().await;
    }
}
