//! The configuration file changes while the service runs.

use std::os::unix::fs::symlink;
use std::path::Path;

use claimgate::keyring::Algorithm::Es256;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr};

use crate::support::command::{claimgate, line_with, lines_with, run, signal, terminate};
use crate::support::gate::provider;
use crate::support::issuer::{Issuer, JWKS};
use crate::support::keys::signer;

const DENY: &str = "rules: [{ name: closed, access: deny, match: { path: { prefix: / } } }]\n";

const RELOADED: &str = "configuration reloaded";
const REJECTED: &str =
    "the configuration file has problems; the previous configuration stays in force";

/// The binary with a configuration file.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    check: String,
    admin: String,
}

impl Running {
    async fn start(file: &Path) -> Self {
        Self::start_in(file, &[]).await
    }

    /// Starts with these variables.
    async fn start_in(file: &Path, variables: &[(&str, &str)]) -> Self {
        let any = "127.0.0.1:0";
        let file = file.to_str().unwrap();
        let mut child = claimgate(&["serve", "--config", file, "--log-format", "json"])
            .args(["--listen", any, "--admin-listen", any])
            .envs(variables.iter().copied())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = |line: &Value| line["address"].as_str().unwrap().to_owned();
        let texts = [
            "serving Check",
            "serving /livez, /readyz and /metrics",
            "keys fetched",
        ];
        let [check, admin, _] = lines_with(&mut lines, texts).await;
        let (check, admin) = (address(&check), address(&admin));
        Self {
            child,
            lines,
            check,
            admin,
        }
    }

    /// Whether a check with this token is allowed.
    async fn allows(&self, token: &str) -> bool {
        let arguments = ["check", "--target", &self.check, "--token", "-"];
        let asked = run(&arguments, token).await;
        match asked.code {
            Some(0) => true,
            Some(1) => false,
            _ => panic!("{}{}", asked.out, asked.err),
        }
    }

    async fn logs(&mut self, message: &str) -> Value {
        line_with(&mut self.lines, message).await
    }

    async fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn has_metric(&self, line: &str) {
        let metrics = self.page("/metrics").await;
        let found = metrics.lines().any(|found| found == line);
        assert!(found, "no `{line}` in\n{metrics}");
    }
}

async fn issuer_and_token() -> (Issuer, String) {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&*key]).await;
    let claims =
        json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": 4_102_444_800_u64});
    let token = key.token(&claims).unwrap();
    (issuer, token)
}

/// Replaces a file as editors do: with another one of the same name.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn each_kind_of_change_takes_effect_and_a_wrong_file_changes_nothing() {
    let (issuer, token) = issuer_and_token().await;
    let open = provider(&issuer, "acme", "");
    let closed = format!("{open}{DENY}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, &open).unwrap();
    let mut running = Running::start(&file).await;
    assert!(running.allows(&token).await);
    running
        .has_metric("claimgate_config_last_reload_successful 1")
        .await;

    // Written in place.
    std::fs::write(&file, &closed).unwrap();
    let line = running.logs(RELOADED).await;
    assert_eq!((&line["providers"], &line["rules"]), (&json!(1), &json!(1)));
    assert!(!running.allows(&token).await);
    let hash = line["hash"].as_str().unwrap();
    running
        .has_metric(&format!("claimgate_config_info{{hash=\"{hash}\"}} 1"))
        .await;

    // Replaced by a file with a problem.
    replace(&file, "providers: [{ isuer: x }]");
    let line = running.logs(REJECTED).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("claimgate.yaml:1:"), "{error}");
    assert!(!running.allows(&token).await, "the closing rule stays");
    let ready = running.page("/readyz?verbose").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    for part in [
        &format!("configuration {hash} is in force"),
        "the configuration file is rejected: ",
        "isuer",
        "provider `acme`: keys fetched ",
    ] {
        assert!(ready.contains(part), "no {part:?} in {ready}");
    }
    running
        .has_metric("claimgate_config_last_reload_successful 0")
        .await;
    running
        .has_metric("claimgate_config_reloads_total{result=\"failure\"} 1")
        .await;

    // Mended. Sections that require a restart are named.
    let bound = "server: { drain: 0s }\ntelemetry: { otlp: { traces: false, metrics: false } }\n";
    replace(&file, &format!("{bound}{open}"));
    for section in ["server", "telemetry"] {
        let line = running.logs("changes of this section require a restart");
        assert_eq!(line.await["section"], section);
    }
    running.logs(RELOADED).await;
    assert!(running.allows(&token).await);
    running
        .has_metric("claimgate_config_last_reload_successful 1")
        .await;
    let ready = running.page("/readyz?verbose").await;
    assert!(!ready.contains("rejected"), "{ready}");
    let restart = "changes of `server` and `telemetry` in the configuration file wait for a restart of the service";
    for path in ["/readyz?verbose", "/stats", "/"] {
        let page = running.page(path).await;
        assert!(page.contains(restart), "{page}");
    }

    // SIGHUP loads an unchanged file too, and does not end the process.
    signal(&running.child, "HUP").await;
    running.logs(RELOADED).await;
    assert!(running.allows(&token).await);
    assert_eq!(issuer.asked(JWKS), 1, "the keys live on");
    assert!(running.page("/readyz?verbose").await.contains(restart));

    // As it was when the service was started.
    replace(&file, &open);
    running.logs(RELOADED).await;
    assert!(!running.page("/readyz?verbose").await.contains(restart));
    assert_eq!(terminate(running.child).await, Some(0));
}

/// A flag or variable beats the file, from the start and at each reload.
#[tokio::test]
async fn the_log_level_is_that_of_the_first_who_says() {
    let (issuer, token) = issuer_and_token().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let open = provider(&issuer, "acme", "");
    let with_level = |level: &str| format!("{open}log: {{ level: {level} }}\n");
    let variables = |claimgate: Option<&'static str>, rust: Option<&'static str>| {
        let variables = [("CLAIMGATE_LOG", claimgate), ("RUST_LOG", rust)];
        let given = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        given.collect::<Vec<_>>()
    };
    for (variables, first, second, logs_allows) in [
        (variables(None, None), "info", "debug", [false, true]),
        (variables(None, None), "debug", "info", [true, false]),
        (
            variables(Some("info"), None),
            "info",
            "debug",
            [false, false],
        ),
        (
            variables(None, Some("info")),
            "debug",
            "debug",
            [false, false],
        ),
        (variables(None, Some("debug")), "info", "info", [true, true]),
        (
            variables(Some("info"), Some("debug")),
            "info",
            "info",
            [false, false],
        ),
    ] {
        std::fs::write(&file, with_level(first)).unwrap();
        let mut running = Running::start_in(&file, &variables).await;
        for (level, logs_allows) in [first, second].into_iter().zip(logs_allows) {
            std::fs::write(&file, with_level(level)).unwrap();
            signal(&running.child, "HUP").await;
            running.logs(RELOADED).await;
            assert!(running.allows(&token).await);
            assert!(!running.allows("a.b.c").await);
            let line = loop {
                let line = running.lines.next_line().await.unwrap().unwrap();
                let line: Value = serde_json::from_str(&line).unwrap();
                if ["allowed", "denied"].contains(&line["message"].as_str().unwrap()) {
                    break line;
                }
            };
            assert_eq!(
                line["message"] == "allowed",
                logs_allows,
                "{variables:?} {level}"
            );
        }
        assert_eq!(terminate(running.child).await, Some(0));
    }
}

/// Kubernetes swaps a link to the directory with the files.
#[tokio::test]
async fn a_swapped_config_map_takes_effect() {
    let (issuer, token) = issuer_and_token().await;
    let open = provider(&issuer, "acme", "");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (version, text) in [("..1", open.clone()), ("..2", format!("{open}{DENY}"))] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::write(path(version).join("claimgate.yaml"), text).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/claimgate.yaml", path("claimgate.yaml")).unwrap();
    let mut running = Running::start(&path("claimgate.yaml")).await;
    assert!(running.allows(&token).await);

    symlink("..2", path("..data_tmp")).unwrap();
    std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
    running.logs(RELOADED).await;
    assert!(!running.allows(&token).await);
    assert_eq!(terminate(running.child).await, Some(0));
}

#[tokio::test]
async fn without_a_file_sighup_is_ignored() {
    let (issuer, token) = issuer_and_token().await;
    let any = "127.0.0.1:0";
    let mut child = claimgate(&["serve", "--log-format", "json"])
        .args(["--listen", any, "--admin-listen", any])
        .env("OIDC_ISSUER", issuer.url())
        .env("OIDC_AUDIENCE", "orders-api")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let [check, _] = lines_with(&mut lines, ["serving Check", "keys fetched"]).await;
    let check = check["address"].clone();
    signal(&child, "HUP").await;
    line_with(
        &mut lines,
        "SIGHUP ignored: there is no configuration file to reload",
    )
    .await;
    let arguments = ["check", "--target", check.as_str().unwrap(), "--token", "-"];
    assert_eq!(run(&arguments, &token).await.code, Some(0));
    assert_eq!(terminate(child).await, Some(0));
}

/// `/diff` compares the file with what is in force, also if the file is wrong.
#[tokio::test]
async fn the_file_beside_what_is_in_force() {
    let (issuer, _) = issuer_and_token().await;
    let open = provider(&issuer, "acme", "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    replace(&file, &open);
    let mut running = Running::start(&file).await;
    let compare = async |running: &Running| -> Value {
        let answer = running.page("/diff").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    };
    assert_eq!(compare(&running).await["equal"], true);
    // A slow machine may put a file in force before it is compared, so the next one differs again.
    let mut texts = [format!("{open}{DENY}"), open.clone()].into_iter().cycle();
    let found = loop {
        replace(&file, &texts.next().unwrap());
        let found = compare(&running).await;
        if found["equal"] == false {
            break found;
        }
    };
    let effects = found["differences"][0]["effects"].as_array();
    assert_eq!(found["differences"][0]["name"], "closed", "{found:#}");
    assert!(!effects.unwrap().is_empty(), "{found:#}");
    running.logs(RELOADED).await;
    replace(&file, "providers: []\n");
    running.logs(REJECTED).await;
    let found = compare(&running).await;
    let why = found["file_rejected"].as_str().unwrap();
    assert!(why.contains("providers"), "{found:#}");
    terminate(running.child).await;
}
