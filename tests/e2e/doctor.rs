//! `claimgate doctor` in front of Envoy configurations, right and wrong.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::sleep;

use crate::late_routes::lua;
use crate::setup::{Claimgate, configure_for, envoy_binary};

/// A rule that uses paths.
const RULES: &str = "rules: [{ name: admin, match: { path: { prefix: /admin } }, access: deny }]";

/// The example, and what surrounds it.
struct Gateway {
    issuer: Issuer,
    upstream: Upstream,
    claimgate: Claimgate,
    _directory: tempfile::TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let issuer = Issuer::start(any, "urn:orders-api").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, configure_for(issuer.url(), "", RULES)).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        Self {
            issuer,
            upstream: Upstream::start().await.unwrap(),
            claimgate,
            _directory: directory,
        }
    }

    /// An Envoy that asks at this address.
    async fn envoy(&self, configuration: &Value, check: SocketAddr) -> Envoy {
        let wiring = Wiring {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claimgate: check.into(),
            upstream: self.upstream.address(),
        };
        Envoy::start(&envoy_binary(), &configuration.to_string(), &wiring)
            .await
            .unwrap()
    }

    fn token(&self) -> String {
        let claims = json!({"sub": "alice"});
        self.issuer.mint(claims.as_object().unwrap()).unwrap()
    }
}

/// The exit code and the report.
async fn doctor(envoy: &Envoy, token: Option<&str>, admin: Option<SocketAddr>) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimgate"));
    command
        .args(["doctor", "--output", "json", "--through"])
        .arg(format!("http://{}/orders", envoy.address()))
        .args([
            "--claim-header",
            "x-auth-subject",
            "--claim-header",
            "x-auth-roles",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(admin) = admin {
        command.args(["--admin", &admin.to_string()]);
    }
    if token.is_some() {
        command.args(["--large", "--token", "-"]);
    }
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(token.unwrap_or_default().as_bytes())
        .await
        .unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report:?}"));
    (output.status.code().unwrap(), report)
}

/// The codes with this verdict.
fn codes<'r>(report: &'r Value, verdict: &str) -> Vec<&'r str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["verdict"] == verdict)
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

/// The settings that a finding names, in their order.
fn settings<'r>(report: &'r Value, code: &str) -> Vec<&'r str> {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["code"] == code);
    let finding = finding.unwrap_or_else(|| panic!("no {code} in {report:#}"));
    let changes = finding["changes"].as_array().unwrap().iter();
    changes
        .map(|change| change["setting"].as_str().unwrap())
        .collect()
}

/// The example with changes to its connection manager, its `ext_authz` filter and claimgate's cluster.
fn example(change: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let mut cluster = example["static_resources"]["clusters"][0].take();
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    change(example.pointer_mut(manager).unwrap(), &mut cluster);
    example["static_resources"]["clusters"][0] = cluster;
    example
}

fn ext_authz(manager: &mut Value) -> &mut Value {
    let filter = &mut manager["http_filters"][0];
    assert_eq!(filter["name"], "envoy.filters.http.ext_authz");
    &mut filter["typed_config"]
}

#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_finds_nothing_wrong_with_the_example() {
    let gateway = Gateway::start().await;
    let envoy = gateway
        .envoy(&example(|_, _| {}), gateway.claimgate.check)
        .await;
    let token = gateway.token();
    for (token, admin) in [
        (Some(token.as_str()), Some(gateway.claimgate.admin)),
        (None, None),
    ] {
        let (code, report) = doctor(&envoy, token, admin).await;
        assert_eq!(code, 0, "{report:#}");
        for verdict in ["problem", "warning", "cannot_probe"] {
            assert_eq!(codes(&report, verdict), [""; 0], "{report:#}");
        }
        let mut expected = vec![
            "asked",
            "asked_elsewhere",
            "authorization",
            "headers",
            "two_authorizations",
            "underscores",
            "paths",
            "methods",
            "preflight",
        ];
        if token.is_some() {
            expected.insert(2, "instance");
            expected.insert(6, "token");
            expected.insert(7, "claim_headers");
            expected.push("large_header");
        }
        assert_eq!(codes(&report, "ok"), expected, "{report:#}");
    }
}

/// A sabotaged configuration, the code of the finding, and settings that it names.
type Sabotage = (&'static str, Value, &'static str, &'static [&'static str]);

/// What is found out from outside, without a token and without claimgate's help.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_names_mistakes_from_outside() {
    let gateway = Gateway::start().await;
    let no_http2 = |cluster: &mut Value| {
        let cluster = cluster.as_object_mut().unwrap();
        cluster.remove("typed_extension_protocol_options");
        // Envoy refuses gRPC health checks over HTTP/1.
        cluster.remove("health_checks");
    };
    let sabotages: [Sabotage; 11] = [
        (
            "without the filter",
            example(|manager, _| {
                manager["http_filters"].as_array_mut().unwrap().remove(0);
            }),
            "not_asked",
            &["http_filters"],
        ),
        (
            "disabled on the route",
            example(|manager, _| {
                let route = &mut manager["route_config"]["virtual_hosts"][0]["routes"][0];
                route["typed_per_filter_config"]["envoy.filters.http.ext_authz"] = json!({
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                    "disabled": true,
                });
            }),
            "not_asked",
            &[
                "typed_per_filter_config",
                "SecurityPolicy",
                "AuthorizationPolicy",
            ],
        ),
        (
            "a route only after the check",
            example(|manager, _| {
                manager["route_config"]["virtual_hosts"][0]["routes"][0]["match"]["prefix"] =
                    "/v2/".into();
                let change = lua(r#"replace(":path", "/v2/orders")"#);
                manager["http_filters"]
                    .as_array_mut()
                    .unwrap()
                    .insert(1, change);
            }),
            "not_asked",
            &["routes"],
        ),
        (
            "filter_enabled",
            example(|manager, _| {
                let nobody = json!({"default_value": {"numerator": 0}});
                ext_authz(manager)["filter_enabled"] = nobody;
            }),
            "not_asked",
            &["filter_enabled"],
        ),
        (
            "shadow_mode",
            example(|manager, _| ext_authz(manager)["shadow_mode"] = true.into()),
            "not_asked",
            &["shadow_mode"],
        ),
        (
            "without HTTP/2",
            example(|_, cluster| no_http2(cluster)),
            "checks_fail",
            &["http2_protocol_options"],
        ),
        (
            "not normalized",
            example(|manager, _| manager["normalize_path"] = false.into()),
            "paths_not_normalized",
            &["normalize_path"],
        ),
        (
            "allowed_headers",
            example(|manager, _| {
                let only = json!({"patterns": [{"exact": "authorization"}]});
                ext_authz(manager)["allowed_headers"] = only;
            }),
            "headers_hidden",
            &["allowed_headers"],
        ),
        (
            "authorization removed",
            example(|manager, _| {
                let mutation = json!({
                    "name": "before",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                        "mutations": {"request_mutations": [{"remove": "authorization"}]},
                    },
                });
                manager["http_filters"]
                    .as_array_mut()
                    .unwrap()
                    .insert(0, mutation);
            }),
            "authorization_missing",
            &["request_headers_to_remove", "allowed_headers"],
        ),
        (
            "underscores",
            example(|manager, _| {
                manager["common_http_protocol_options"]["headers_with_underscores_action"] =
                    "ALLOW".into();
            }),
            "underscores_allowed",
            &["headers_with_underscores_action"],
        ),
        (
            "after another filter",
            example(|manager, _| {
                let limit = json!({
                    "name": "before",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                        "providers": {"p": {"issuer": "https://idp.example.com", "local_jwks": {"inline_string": "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}"}}},
                        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
                    },
                });
                manager["http_filters"]
                    .as_array_mut()
                    .unwrap()
                    .insert(0, limit);
            }),
            "other_filter",
            &["http_filters"],
        ),
    ];
    for (what, configuration, code, named) in sabotages {
        let envoy = gateway.envoy(&configuration, gateway.claimgate.check).await;
        let (exit, report) = doctor(&envoy, None, None).await;
        let is_warning = code == "underscores_allowed";
        assert_eq!(exit, i32::from(!is_warning), "{what}: {report:#}");
        let verdict = if is_warning { "warning" } else { "problem" };
        assert_eq!(codes(&report, verdict), [code], "{what}: {report:#}");
        let found = settings(&report, code);
        for setting in named {
            assert!(found.contains(setting), "{what}: {setting} in {found:?}");
        }
    }
}

/// With the help of claimgate and of the API, the cause is certain.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_knows_the_cause_with_the_instance() {
    let gateway = Gateway::start().await;
    let token = gateway.token();
    let sabotages: [Sabotage; 4] = [
        (
            "shadow_mode",
            example(|manager, _| ext_authz(manager)["shadow_mode"] = true.into()),
            "shadow_mode",
            &["shadow_mode"],
        ),
        (
            "without HTTP/2",
            example(|_, cluster| {
                let cluster = cluster.as_object_mut().unwrap();
                cluster.remove("typed_extension_protocol_options");
                cluster.remove("health_checks");
            }),
            "checks_fail",
            &["http2_protocol_options"],
        ),
        (
            "allowed_headers, underscores",
            example(|manager, _| {
                let only = json!({"patterns": [{"exact": "authorization"}]});
                ext_authz(manager)["allowed_headers"] = only;
                manager["common_http_protocol_options"]["headers_with_underscores_action"] =
                    "ALLOW".into();
            }),
            "spelling_spoofed",
            &["headers_with_underscores_action", "allowed_headers"],
        ),
        (
            "not normalized",
            example(|manager, _| manager["normalize_path"] = false.into()),
            "paths_not_normalized",
            &["normalize_path", "paths"],
        ),
    ];
    for (what, configuration, code, named) in sabotages {
        let envoy = gateway.envoy(&configuration, gateway.claimgate.check).await;
        let admin = Some(gateway.claimgate.admin);
        let (exit, report) = doctor(&envoy, Some(&token), admin).await;
        assert_eq!(exit, 1, "{what}: {report:#}");
        let found = settings(&report, code);
        assert_eq!(found.get(..named.len()), Some(named), "{what}: {report:#}");
    }
    // Answers that take 20 ms are too late for 1 ms, and in time for the example's 500 ms.
    let far = delayed(gateway.claimgate.check).await;
    let hasty = example(|manager, _| {
        ext_authz(manager)["grpc_service"]["timeout"] = "0.001s".into();
    });
    let envoy = gateway.envoy(&hasty, far).await;
    let (exit, report) = doctor(&envoy, None, None).await;
    assert_eq!((exit, codes(&report, "problem")), (1, vec!["checks_fail"]));
    assert!(settings(&report, "checks_fail").contains(&"timeout"));
    let (exit, report) = doctor(&envoy, None, Some(gateway.claimgate.admin)).await;
    assert_eq!(
        (exit, codes(&report, "problem")),
        (1, vec!["timeout_too_short"])
    );
    let envoy = gateway.envoy(&example(|_, _| {}), far).await;
    assert_eq!(doctor(&envoy, None, None).await.0, 0);
}

/// An address behind which a server is 20 ms away.
async fn delayed(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let (mut from, mut to) = server.split();
                let (mut asks, mut answers) = client.split();
                let back = async {
                    let mut bytes = vec![0; 16 * 1024];
                    while let Ok(length @ 1..) = from.read(&mut bytes).await {
                        sleep(Duration::from_millis(20)).await;
                        answers.write_all(&bytes[..length]).await?;
                    }
                    Ok::<_, std::io::Error>(())
                };
                tokio::select! {
                    _ = back => {}
                    _ = tokio::io::copy(&mut asks, &mut to) => {}
                }
            });
        }
    });
    address
}

#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_names_an_unreachable_claimgate() {
    let gateway = Gateway::start().await;
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let open = |manager: &mut Value, _: &mut Value| {
        ext_authz(manager)["failure_mode_allow"] = true.into();
    };
    let telling = |manager: &mut Value, cluster: &mut Value| {
        open(manager, cluster);
        ext_authz(manager)["failure_mode_allow_header_add"] = true.into();
    };
    let admin = gateway.claimgate.admin;
    for (what, configuration, admin, code, first) in [
        (
            "port",
            example(|_, _| {}),
            None,
            "checks_fail",
            "load_assignment",
        ),
        (
            "port",
            example(|_, _| {}),
            Some(admin),
            "checks_fail",
            "load_assignment",
        ),
        (
            "open",
            example(open),
            Some(nobody),
            "not_asked",
            "failure_mode_allow",
        ),
        (
            "header",
            example(telling),
            None,
            "failure_mode_allow",
            "failure_mode_allow",
        ),
    ] {
        let envoy = gateway.envoy(&configuration, nobody).await;
        let (exit, report) = doctor(&envoy, None, admin).await;
        assert_eq!(exit, 1, "{what}: {report:#}");
        assert!(
            codes(&report, "problem").contains(&code),
            "{what}: {report:#}"
        );
        assert_eq!(settings(&report, code)[0], first, "{what}: {report:#}");
    }
    // From outside alone, it looks like a filter that is off.
    let envoy = gateway.envoy(&example(open), nobody).await;
    let (_, report) = doctor(&envoy, None, None).await;
    assert!(
        settings(&report, "not_asked").contains(&"failure_mode_allow"),
        "{report:#}"
    );
}
