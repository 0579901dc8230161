//! The same module in each version of Envoy that it is for, and in one that it is not for.

use std::path::{Path, PathBuf};

use claimgate::dev::envoy::{EXAMPLE, Envoy, EnvoyError};
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};

use super::{issuer, metric, mint, started};
use crate::mesh::{MANAGER, access_log, inside, metrics, of_file};
use crate::setup::{bearer, configure_for, envoy_binary, eventually, http};

/// What a version shows, as the guide says.
struct Row {
    version: &'static str,
    guide: &'static str,
    has_claims: bool,
    has_metrics: bool,
}

const ROWS: [Row; 3] = [
    Row {
        version: "1.40",
        guide: "nothing",
        has_claims: true,
        has_metrics: true,
    },
    Row {
        version: "1.39",
        guide: "the metadata has no `claims`",
        has_claims: false,
        has_metrics: true,
    },
    Row {
        version: "1.38",
        guide: "the metadata has no `claims`, and there are no metrics",
        has_claims: false,
        has_metrics: false,
    },
];

const UNFIT: &str = "1.37";

const SECTIONS: &str = r#"
rules:
  - { name: near, match: { path: { prefix: /near } }, condition: 'source.address == "127.0.0.1"' }
  - { name: team, match: { path: { prefix: /team } }, condition: claims.team == "orders" }
"#;

/// The program of a version. `ENVOYS` is the directory of those that other tests do not use.
fn program(version: &str) -> PathBuf {
    if version == ROWS[0].version {
        return envoy_binary();
    }
    let all = std::env::var_os("ENVOYS").expect("ENVOYS names a directory: run `make e2e`");
    Path::new(&all).join(version).join("envoy/_bin/envoy")
}

/// The example with the module, and with an access log of the metadata.
fn logged(file: &Path, log: &Path) -> String {
    let mut whole: Value = serde_json::from_str(&inside(EXAMPLE, &of_file(file))).unwrap();
    let manager = whole.pointer_mut(MANAGER).unwrap();
    let format = json!({
        "path": "%REQ(:PATH)%",
        "metadata": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%",
    });
    manager["access_log"] = access_log(log, &format);
    whole.to_string()
}

#[tokio::test]
#[ignore = "needs several versions of Envoy: run `make e2e`"]
async fn each_version_decides_alike() {
    let guide = include_str!("../../../docs/guides/envoy-module.md");
    for row in &ROWS {
        let line = format!("| {} | {} |\n", row.version, row.guide);
        assert!(guide.contains(&line), "no {line}");
    }
    futures_util::future::join_all(ROWS.iter().map(decides)).await;
}

async fn decides(row: &Row) {
    let version = row.version;
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let directory = tempfile::tempdir().unwrap();
    let [file, log] = ["claimgate.yaml", "access.log"].map(|name| directory.path().join(name));
    let configured = configure_for(issuer.url(), "refresh: { unknown_key_wait: 10s }", SECTIONS);
    std::fs::write(&file, &configured).unwrap();
    let configuration = logged(&file, &log);
    let envoy = started(&program(version), &configuration, upstream.address())
        .await
        .unwrap();
    let ask = async |request: &str, lines: &[String]| http(envoy.address(), request, lines).await;

    let token = bearer(&mint(&issuer, &json!({"sub": "alice", "team": "orders"})));
    let forged = "x-auth-subject: root".to_owned();
    for (request, lines, status) in [
        ("GET /orders", vec![], 401),
        ("GET /orders", vec![token.clone(), forged], 200),
        ("GET /near", vec![token.clone()], 200),
        ("GET /team", vec![token.clone()], 200),
    ] {
        let answer = ask(request, &lines).await;
        assert_eq!(answer.status, status, "{version}: {request}: {answer:?}");
        assert!(!answer.body.contains("root"), "{version}: {answer:?}");
        match status {
            200 => assert!(
                answer.body.contains("\"x-auth-subject\": \"alice\""),
                "{version}: {answer:?}"
            ),
            401 => assert!(
                answer.body.contains("missing_token"),
                "{version}: {answer:?}"
            ),
            _ => assert!(
                answer.body.contains("access_denied"),
                "{version}: {answer:?}"
            ),
        }
    }
    issuer.rotate().unwrap();
    let newer = bearer(&mint(&issuer, &json!({"sub": "alice"})));
    let answer = ask("GET /orders", &[newer]).await;
    assert_eq!(
        answer.status, 200,
        "{version}: the first with a new key: {answer:?}"
    );
    let denied = metric(
        envoy.admin(),
        "claimgate_denials_total",
        "reason=\"missing_token\"",
    );
    if row.has_metrics {
        eventually("the denial is counted", async || {
            metric(
                envoy.admin(),
                "claimgate_denials_total",
                "reason=\"missing_token\"",
            )
            .await
                == Some(1)
        })
        .await;
    } else {
        assert_eq!(denied.await, None, "{version}");
        assert!(
            !metrics(envoy.admin()).await.contains("claimgate_denials"),
            "{version}"
        );
    }

    std::fs::write(&file, configured.replace("claims.team", "claims.other")).unwrap();
    eventually("the changed file is in force", async || {
        ask("GET /team", std::slice::from_ref(&token)).await.status == 403
    })
    .await;
    let told = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    eventually("the access log is written", async || told().len() >= 4).await;
    let lines = told();
    assert_eq!(
        lines[0]["metadata"]["decision"], "deny",
        "{version}: {lines:?}"
    );
    assert_eq!(
        lines[0]["metadata"]["reason"], "missing_token",
        "{version}: {lines:?}"
    );
    let metadata = &lines[1]["metadata"];
    assert_eq!(metadata["decision"], "allow", "{version}: {metadata}");
    assert_eq!(metadata["subject"], "alice", "{version}: {metadata}");
    let team = if row.has_claims {
        json!("orders")
    } else {
        Value::Null
    };
    assert_eq!(metadata["claims"]["team"], team, "{version}: {metadata}");
}

/// An Envoy that lacks what the module needs does not start, so nothing passes it.
#[tokio::test]
#[ignore = "needs several versions of Envoy: run `make e2e`"]
async fn an_older_version_refuses_the_module() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, configure_for("http://127.0.0.1:9", "", "")).unwrap();
    let upstream = Upstream::start().await.unwrap();
    let refused: Result<Envoy, _> = started(
        &program(UNFIT),
        &inside(EXAMPLE, &of_file(&file)),
        upstream.address(),
    )
    .await;
    let Err(EnvoyError::Ended { log, .. }) = refused else {
        panic!("{refused:?}");
    };
    let sentence = "claimgate: this Envoy has no `envoy_dynamic_module_callback_is_validation_mode`: \
                    the module is for Envoy 1.38 to 1.40";
    assert!(log.contains(sentence), "{log}");
}
