//! The binary, as users and scripts see it.

use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::keyring::Algorithm::Es256;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::call::bearer;
use crate::support::command::{claimgate, line_with, lines_with, run, terminate};
use crate::support::gate::provider;
use crate::support::issuer::{DISCOVERY, Issuer, Reply};
use crate::support::keys::signer;

/// A token that is valid now, by the wall clock.
fn token(issuer: &Issuer, claims: &Value) -> String {
    let mut all =
        json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": 4_102_444_800_u64});
    all.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    signer(Es256, "real").token(&all).unwrap()
}

async fn issuer() -> Issuer {
    Issuer::start(&[&*signer(Es256, "real")]).await
}

/// `--version` says what the binary is; more on request, for a report or an audit.
#[tokio::test]
async fn version() {
    let short = format!("claimgate {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        let said = run(&[flag], "").await;
        assert_eq!((said.code, said.out.as_str()), (Some(0), short.as_str()));
    }
    let said = run(&["--version", "--verbose"], "").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let facts: Vec<_> = said
        .out
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let names: Vec<_> = facts.iter().map(|(name, _)| *name).collect();
    let expected = [
        "commit",
        "target",
        "compiler",
        "TLS and signatures",
        "development issuer",
    ];
    assert_eq!(names, expected, "{}", said.out);
    let fact = |name| facts.iter().find(|(own, _)| *own == name).unwrap().1;
    assert!(fact("target").starts_with(std::env::consts::ARCH));
    assert!(fact("compiler").starts_with("rustc 1."));
    let mode = if cfg!(feature = "fips") {
        "FIPS mode"
    } else {
        "not FIPS"
    };
    assert!(fact("TLS and signatures").contains(mode), "{}", said.out);

    for wrong in [&["--verbose"][..], &["--version", "schema"], &[]] {
        let said = run(wrong, "").await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(
            said.err.contains("Usage: claimgate"),
            "{wrong:?}: {}",
            said.err
        );
    }
}

#[tokio::test]
async fn check_explains() {
    let issuer = issuer().await;
    let url = issuer.url();
    let flags = |more: &[&'static str]| -> Vec<String> {
        [
            "check",
            "--issuer",
            &url,
            "--audience",
            "orders-api",
            "--token",
            "-",
        ]
        .into_iter()
        .chain(more.iter().copied())
        .map(ToOwned::to_owned)
        .collect()
    };
    let check = async |more: &[&'static str], input: String| {
        let flags = flags(more);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        run(&flags, &input).await
    };

    let good = check(&[], format!("Bearer {}\n", token(&issuer, &json!({})))).await;
    assert_eq!(good.code, Some(0), "{}", good.err);
    for line in [
        "ALLOW",
        "  ok    signature   ES256 by key `real`",
        "  ok    audience    names `orders-api`",
    ] {
        assert!(
            good.out.lines().any(|found| found == line),
            "no {line:?} in\n{}",
            good.out
        );
    }

    let forged = format!("{}AAAA", {
        let good = token(&issuer, &json!({}));
        good[..good.len() - 4].to_owned()
    });
    let forged = check(&[], forged).await;
    for line in [
        "ok    keys        1 usable, fetched just now; a running service may have older ones",
        "FAIL  bad_signature: the signature does not verify (`kid`: `real`)",
    ] {
        assert!(forged.out.contains(line), "{}", forged.out);
    }

    let expired = check(&[], token(&issuer, &json!({"exp": 1_000_000_000}))).await;
    assert_eq!(expired.code, Some(1));
    assert!(
        expired
            .out
            .contains("FAIL  expired: the token expired at 2001-09-09T01:46:40Z"),
        "{}",
        expired.out
    );
    assert!(
        expired
            .out
            .contains("\n  see: docs/troubleshooting.md#expired\nthe caller gets 401"),
        "{}",
        expired.out
    );

    let stranger = check(
        &["--output", "json"],
        token(&issuer, &json!({"iss": "https://evil.example"})),
    )
    .await;
    assert_eq!(stranger.code, Some(1));
    let report: Value = serde_json::from_str(&stranger.out).unwrap();
    assert_eq!(report["decision"], "deny");
    assert_eq!(report["failed"]["reason"], "unknown_issuer");
    assert_eq!(report["see"], "docs/troubleshooting.md#unknown_issuer");
    assert_eq!(report["response"]["status"], 401);
    let detail = report["failed"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("`https://evil.example`; configured: `http://127.0.0.1:"),
        "{detail}"
    );

    issuer.reply(DISCOVERY, Reply::status(502));
    let undecided = check(&[], token(&issuer, &json!({}))).await;
    assert_eq!(undecided.code, Some(2));
    assert!(
        undecided.out.starts_with("CANNOT JUDGE"),
        "{}",
        undecided.out
    );
    assert!(undecided.out.contains("answers 502"), "{}", undecided.out);
    // The server was reached.
    assert!(!undecided.out.contains("likely cause"), "{}", undecided.out);
}

/// `claimgate schema | head -1`: a reader that stops early is not an error.
#[tokio::test]
async fn a_reader_may_stop_early() {
    for arguments in [&["schema"][..], &["--no-such-flag"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = claimgate(arguments);
        command.stdout(writer);
        let output = command.output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!error.contains("panicked"), "{arguments:?}: {error}");
        let is_known = arguments == ["schema"];
        assert_eq!(output.status.success(), is_known, "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn validate_reports() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let validate = async |yaml: &str, more: &[&str]| {
        std::fs::write(&file, yaml).unwrap();
        let arguments = [&["validate", file.to_str().unwrap()], more].concat();
        run(&arguments, "").await
    };
    let issuer = issuer().await;
    let right = validate(&provider(&issuer, "acme", ""), &[]).await;
    assert_eq!((right.code, right.err.as_str()), (Some(0), ""));
    assert!(right.out.contains("valid, 1 provider"), "{}", right.out);
    assert_eq!(issuer.asked(DISCOVERY), 0);

    let wrong = validate("providers:\n  - isuer: x\n", &[]).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""));
    let expected = format!(
        "{}:2:5: providers[0].isuer: unknown field; did you mean `issuer`?\n",
        file.display()
    );
    assert!(wrong.err.starts_with(&expected), "{}", wrong.err);

    let not_yaml = validate("providers: [", &[]).await;
    assert_eq!((not_yaml.code, not_yaml.out.as_str()), (Some(1), ""));

    let open = provider(&issuer, "acme", "") + "rules: [{ name: open, access: public }]\n";
    let expected = format!("{}:", file.display());
    let warned = validate(&open, &[]).await;
    assert_eq!(warned.code, Some(0), "{}", warned.err);
    assert!(
        warned.err.starts_with(&expected) && warned.err.contains(": rules[0]: warning: "),
        "{}",
        warned.err
    );
    assert!(warned.out.contains("1 rule, 1 warning"), "{}", warned.out);
    let strict = validate(&open, &["--strict"]).await;
    assert_eq!((strict.code, strict.out.as_str()), (Some(1), ""));
    assert_eq!(strict.err, warned.err);

    let hashed = provider(&issuer, "acme", "") + "log: { subject: hash, subject_key_file: key }\n";
    std::fs::write(directory.path().join("key"), "too short").unwrap();
    let short = validate(&hashed, &[]).await;
    assert_eq!(short.code, Some(1));
    assert!(
        short.err.contains("log.subject_key_file: cannot use `"),
        "{}",
        short.err
    );
    assert!(short.err.contains("fewer than 16 bytes"), "{}", short.err);
    std::fs::write(directory.path().join("key"), "0123456789abcdef").unwrap();
    assert_eq!(validate(&hashed, &[]).await.code, Some(0));

    let exporting = provider(&issuer, "acme", "") + "telemetry: { otlp: { headers_file: otlp } }\n";
    std::fs::write(directory.path().join("otlp"), "api-key").unwrap();
    let wrong = validate(&exporting, &[]).await;
    assert_eq!(wrong.code, Some(1));
    let expected = "otlp`: line 1 is not `name: value`";
    let is_named = wrong
        .err
        .starts_with("`telemetry.otlp.headers_file`: cannot use `");
    assert!(is_named && wrong.err.contains(expected), "{}", wrong.err);
    std::fs::write(directory.path().join("otlp"), "api-key: a").unwrap();
    assert_eq!(validate(&exporting, &[]).await.code, Some(0));

    let online = validate(&provider(&issuer, "acme", ""), &["--online"]).await;
    assert_eq!(online.code, Some(0), "{}", online.err);
    assert!(
        online
            .out
            .contains("provider `acme`: 1 usable\n  key `real` for ES256, thumbprint "),
        "{}",
        online.out
    );
    issuer.reply(DISCOVERY, Reply::status(503));
    let down = validate(&provider(&issuer, "acme", ""), &["--online"]).await;
    assert_eq!(down.code, Some(1));
    assert!(
        down.err.contains("provider `acme`: `http://127.0.0.1:"),
        "{}",
        down.err
    );

    let here = "providers: [{ issuer: https://a.example, audiences: a, jwks: { file: keys.json }, fetch: { ca_file: ca.pem } }]";
    let files = validate(here, &[]).await;
    assert_eq!(files.code, Some(1));
    for name in ["keys.json", "ca.pem"] {
        let path = directory.path().join(name).display().to_string();
        assert!(
            files.err.contains(&format!("`{path}`: No such file")),
            "{}",
            files.err
        );
    }

    let none = run(&["validate", "/nonexistent.yaml"], "").await;
    assert_eq!(none.code, Some(2));
    assert!(
        none.err
            .contains("cannot read `/nonexistent.yaml`: No such file"),
        "{}",
        none.err
    );
}

#[tokio::test]
async fn serve_from_variables_alone_until_sigterm() {
    let issuer = issuer().await;
    let mut child = claimgate(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ])
    .env("OIDC_ISSUER", issuer.url())
    .env("OIDC_AUDIENCE", "other, orders-api")
    .env("OIDC_JWKS_URL", format!("{}/jwks", issuer.url()))
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let [check, _] = lines_with(&mut lines, ["serving Check", "keys fetched"]).await;
    let address = check["address"].as_str().unwrap().to_owned();
    assert_eq!(
        issuer.asked(DISCOVERY),
        0,
        "the address of the keys was given"
    );

    let secret = token(&issuer, &json!({"sub": "alice"}));
    let allowed = run(&["check", "--target", &address, "--token", "-"], &secret).await;
    assert_eq!(allowed.code, Some(0), "{}{}", allowed.out, allowed.err);
    let forged = format!("{}AAAA", &secret[..secret.len() - 4]);
    let denied = run(&["check", "--target", &address, "--token", "-"], &forged).await;
    let next = denied.out.split_once("`claimgate why ").map(|(_, id)| id);
    assert!(
        next.is_some_and(|next| next.contains(" --admin ADDRESS`")),
        "{}",
        denied.out
    );
    assert_eq!(denied.code, Some(1), "{}", denied.out);
    for (input, expected, code) in [
        (&secret, "allow", 0),
        (&secret, "deny", 1),
        (&secret, "missing_token", 1),
        (&forged, "invalid_token", 0),
        (&forged, "deny", 0),
        (&forged, "missing_token", 1),
        (&forged, "allow", 1),
        (&forged, "no_such_reason", 2),
    ] {
        let check = [
            "check", "--target", &address, "--token", "-", "--expect", expected,
        ];
        let outcome = run(&check, input).await;
        assert_eq!(
            outcome.code,
            Some(code),
            "{expected}: {}{}",
            outcome.out,
            outcome.err
        );
    }
    let event = line_with(&mut lines, "denied").await;
    assert_eq!(event["reason"], "bad_signature");
    assert_eq!(event["see"], "docs/troubleshooting.md#bad_signature");

    let unknown = json!({"iss": "https://evil.example"});
    let stranger = token(&issuer, &unknown);
    let denied = run(
        &[
            "check", "--target", &address, "--token", "-", "--output", "json",
        ],
        &stranger,
    )
    .await;
    let report: Value = serde_json::from_str(&denied.out).unwrap();
    assert_eq!(
        report["failed"]["reason"], "invalid_token",
        "what any caller is told"
    );
    assert_eq!(report["see"], Value::Null);

    let ended = tokio::spawn(terminate(child));
    let mut rest = String::new();
    lines.into_inner().read_to_string(&mut rest).await.unwrap();
    assert_eq!(ended.await.unwrap(), Some(0));
    assert!(
        rest.contains("draining") && rest.contains("stopped"),
        "{rest}"
    );
    assert!(
        !rest.contains(secret.rsplit('.').next().unwrap()),
        "a token in the log"
    );
}

/// If the reader of the log hangs, checks are still answered.
#[tokio::test]
async fn an_unread_log_blocks_nothing() {
    let issuer = issuer().await;
    let any = "127.0.0.1:0";
    let arguments = [
        "serve",
        "--listen",
        any,
        "--admin-listen",
        any,
        "--log-format",
        "json",
    ];
    let mut child = claimgate(&arguments)
        .env("OIDC_ISSUER", issuer.url())
        .env("OIDC_AUDIENCE", "orders-api")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let event = line_with(&mut lines, "serving Check").await;
    let address = event["address"].as_str().unwrap();
    // From here on, nobody reads the pipe. It holds 64 KiB, and a line has over 100 bytes.
    let client = AuthorizationClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    for _ in 0..50 {
        let checks = (0..100).map(|_| {
            let mut client = client.clone();
            async move { client.check(bearer("a.b.c")).await.unwrap() }
        });
        futures_util::future::join_all(checks).await;
    }
    drop(lines);
}

/// Tokens for any audience are accepted only if a dedicated variable says so, and the log warns
/// about it.
#[tokio::test]
async fn any_audience_needs_its_own_flag() {
    let issuer = issuer().await;
    let serve = |name: &str, value: &str| {
        claimgate(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ])
        .env("OIDC_ISSUER", issuer.url())
        .env(name, value)
        .spawn()
        .unwrap()
    };
    let mut child = serve("OIDC_ANY_AUDIENCE", "true");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let event = line_with(
        &mut lines,
        "the configuration is probably not what you want",
    )
    .await;
    assert_eq!(event["level"], "WARN");
    let warning = event["warning"].as_str().unwrap();
    assert!(
        warning.starts_with("OIDC_ANY_AUDIENCE: warning: tokens for any other API"),
        "{warning}"
    );
    line_with(&mut lines, "serving Check").await;
    assert_eq!(terminate(child).await, Some(0));

    for (name, value, expected) in [
        (
            "OIDC_AUDIENCE",
            "any",
            "OIDC_AUDIENCE: `any` would be an audience with that name",
        ),
        ("OIDC_AUDIENCE", "a ", "OIDC_AUDIENCE: `a ` has white space"),
        (
            "OIDC_ANY_AUDIENCE",
            "yes",
            "OIDC_ANY_AUDIENCE: write `true` or `false`",
        ),
    ] {
        let output = serve(name, value).wait_with_output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_failed_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let _holder = std::net::TcpListener::bind(&taken);
    let idp = ["--issuer", "https://idp.example.com", "--audience", "a"];
    for (arguments, expected) in [
        (vec!["serve"], "no configuration: use --config FILE"),
        (
            vec!["serve", "--issuer", "https://idp.example.com"],
            "--audience: empty",
        ),
        (
            vec![
                "serve",
                "--issuer",
                "https://idp.example.com",
                "--audience",
                "any",
            ],
            "--audience: `any` would be an audience with that name",
        ),
        (
            vec!["serve", "--config", "/nonexistent.yaml"],
            "cannot read `/nonexistent.yaml`",
        ),
        (
            [&["serve", "--listen", &taken], &idp[..]].concat(),
            "cannot listen on 127.0.0.1:",
        ),
        (
            [&["serve", "--log-level", "lo=ud"], &idp[..]].concat(),
            "`lo=ud` is not a log level or filter",
        ),
        (
            [&["serve", "--log-level", "verbose"], &idp[..]].concat(),
            "a level is one of off, error, warn, info, debug and trace",
        ),
        (
            vec![
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--state",
                "/nonexistent/state.json",
            ],
            "cannot write `/nonexistent/state.json`",
        ),
        (
            vec!["dev", "--listen", "0.0.0.0:0"],
            "0.0.0.0:0 is not a loopback address",
        ),
        (
            vec!["dev", "--issuer-listen", "0.0.0.0:0"],
            "0.0.0.0:0 is not a loopback address",
        ),
        (
            vec!["dev", "--envoy", "--envoy-bin", "/nonexistent/envoy"],
            "cannot run `/nonexistent/envoy`",
        ),
        (
            vec!["check", "--target", "127.0.0.1:1"],
            "cannot ask `127.0.0.1:1`: Connection refused",
        ),
    ] {
        let outcome = run(&arguments, "").await;
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.err);
        assert!(
            outcome.err.contains(expected),
            "{arguments:?}: {}",
            outcome.err
        );
    }
}

/// Who reads the log by machine finds the reason in it too, whatever the level.
#[tokio::test]
async fn a_failed_start_is_logged_in_the_format_of_the_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let _holder = std::net::TcpListener::bind(&taken);
    let idp = ["--issuer", "https://idp.example.com", "--audience", "a"];
    for (arguments, variable, expected) in [
        (vec![], None, "no configuration: use --config FILE"),
        (
            vec!["--config", "/nonexistent.yaml"],
            None,
            "cannot read `/nonexistent.yaml`",
        ),
        (
            [&["--listen", &taken], &idp[..]].concat(),
            None,
            "cannot listen on 127.0.0.1:",
        ),
        (
            [&["--listen", &taken, "--log-level", "off"], &idp[..]].concat(),
            None,
            "cannot listen",
        ),
        (
            [&["--log-level", "verbose"], &idp[..]].concat(),
            None,
            "a level is one of off, error",
        ),
        (
            idp.to_vec(),
            Some("verbose"),
            "RUST_LOG: `verbose` is not a log level or filter",
        ),
    ] {
        let mut command = claimgate(&["serve", "--log-format", "json"]);
        command.args(&arguments);
        if let Some(filter) = variable {
            command.env("RUST_LOG", filter);
        }
        let output = command.output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        let lines: Vec<Value> = error
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect();
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["error"].as_str().unwrap().contains(expected), "{last}");
        assert!(last["timestamp"].is_string(), "{last}");
    }
}

/// With few file descriptors, half-sent requests and idle connections lock nobody out, and keys can
/// be fetched.
#[tokio::test]
async fn scarce_descriptors_are_shared() {
    let issuer = issuer().await;
    let any = "127.0.0.1:0";
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_claimgate"), "serve", "--listen", any])
        .args(["--admin-listen", any, "--log-format", "json"])
        .env("OIDC_ISSUER", issuer.url())
        .env("OIDC_AUDIENCE", "orders-api")
        .env("CLAIMGATE_LOG", "info")
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let texts = [
        "serving Check",
        "serving /livez, /readyz and /metrics",
        "keys fetched",
    ];
    let [check, admin, _] = lines_with(&mut lines, texts).await;
    let (check, admin) = (&check["address"], &admin["address"]);
    let (check, admin) = (check.as_str().unwrap(), admin.as_str().unwrap());

    let mut open = Vec::new();
    for _ in 0..80 {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n")
            .await
            .unwrap();
        open.push(stream);
        open.push(TcpStream::connect(check).await.unwrap());
    }
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // A new key must be fetched.
    let new = signer(Es256, "new");
    issuer.publish(&[&*new]);
    let claims =
        json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": 4_102_444_800_u64});
    let asked = run(
        &["check", "--target", check, "--token", "-"],
        &new.token(&claims).unwrap(),
    )
    .await;
    assert_eq!(asked.code, Some(0), "{}{}", asked.out, asked.err);
    drop(open);

    assert_eq!(terminate(child).await, Some(0));
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    let rest = rest.join("\n");
    assert_eq!(
        rest.matches("connection limit reached").count(),
        2,
        "{rest}"
    );
    assert!(!rest.contains("cannot accept connections"), "{rest}");
}
