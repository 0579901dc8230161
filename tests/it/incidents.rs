//! Incidents explain themselves: the hint of a denial, the log and the admin port name the cause and
//! say what to do.

use std::net::SocketAddr;
use std::time::Duration;

use claimgate::dev::signer::Signer;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::keyring::Algorithm::Es256;
use claimgate::keyring::ProviderId;
use claimgate::request::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::call::Answer;
use crate::support::command::run;
use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The hint for a token that is denied.
async fn hint(gate: &Gate, token: &str) -> String {
    let answer = gate.check(token).await;
    assert!(!answer.is_allow(), "{answer:?}");
    let denial = gate.service.gate.denials.newest().next().unwrap();
    denial.hint.clone().unwrap_or_default()
}

/// Waits until the first provider's fetch has failed.
async fn failed(gate: &Gate) -> String {
    loop {
        match gate.error() {
            Some(error) => return error,
            None => tokio::task::yield_now().await,
        }
    }
}

/// The number of lines with these texts.
fn count(log: &Log, texts: &[&str]) -> usize {
    let lines = log.lines(texts[0]);
    let lines = lines
        .iter()
        .filter(|line| texts.iter().all(|text| line.contains(text)));
    lines.count()
}

/// The provider has one name inside and another outside. Its metadata and its tokens agree.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_only_the_metadata_names() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let url = issuer.url();
    for (named, expected) in [
        (
            "https://login.example.com/realms/a".to_owned(),
            format!(
                "the metadata of provider `acme` names this issuer too, but `{url}` is configured, so \
                 its keys are not fetched: set `issuer: https://login.example.com/realms/a` with \
                 `discovery_url: {url}{DISCOVERY}`"
            ),
        ),
        (
            format!("{url}/"),
            format!(
                "the metadata of provider `acme` names this issuer too, but `{url}` is configured, so \
                 its keys are not fetched: set `issuer: {url}/`"
            ),
        ),
    ] {
        let metadata = json!({"issuer": named, "jwks_uri": format!("{url}{JWKS}")});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        let gate = Gate::start(&provider(&issuer, "acme", "")).await;
        let error = failed(&gate).await;
        let claims = |iss: &str| json!({"iss": iss, "aud": "orders-api", "exp": NOW + 60});
        let outside = key.token(&claims(&named)).unwrap();
        assert_eq!(hint(&gate, &outside).await, expected);
        let stranger = key.token(&claims("https://evil.example")).unwrap();
        assert!(!hint(&gate, &stranger).await.contains("metadata"));
        // A token of the configured issuer is told why there are no keys.
        assert_eq!(hint(&gate, &token(&issuer, &key)).await, error);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_discarded_are_reported_once() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let log = Log::start("info");
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 60s, max_stale: 10m }").await;
    issuer.reply(JWKS, Reply::status(500));
    let discarded = ["keys discarded: older than `refresh.max_stale`", "WARN"];
    let report = || {
        let generation = gate.service.gate.generation();
        generation.jwks.report(ProviderId(0)).unwrap()
    };
    sleep(secs(590)).await;
    assert_eq!((count(&log, &discarded), report().discarded), (0, false));
    sleep(secs(60)).await;
    assert_eq!((count(&log, &discarded), report().discarded), (1, true));
    assert_eq!(report().age.unwrap().as_secs(), 650);
    let hint = hint(&gate, &token(&issuer, &key)).await;
    for text in [
        "answers 500",
        "the last keys are 650 s old and discarded: older than `refresh.max_stale`",
    ] {
        assert!(hint.contains(text), "{hint}");
    }
    issuer.publish(&[&key]);
    sleep(secs(11)).await;
    assert!(!report().discarded);
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn one_warning_for_one_failed_fetch() {
    let (key, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
    issuer.reply(DISCOVERY, Reply::status(503));
    issuer.reply(JWKS, Reply::status(404));
    let fetches = || issuer.asked(JWKS);
    let log = Log::start("warn");
    let before = fetches();
    sleep(secs(30)).await;
    // A request's look-up fails too.
    assert_eq!(gate.check(&token(&issuer, &new)).await.status(), 503);
    let (failed, lines) = (fetches() - before, log.take());
    let warnings: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] != "denied")
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(warnings, vec!["cannot fetch keys"; failed]);
}

/// A key that was replaced by another one with the same id.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_replaced_under_its_id() {
    let (old, new) = (signer(Es256, "a"), Signer::generate(Es256, "a").unwrap());
    let other = signer(Es256, "b");
    let issuer = Issuer::start(&[&old, &other]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
    let log = Log::start("warn");
    let forged = |key: &Signer| {
        let good = token(&issuer, key);
        format!("{}AAAA", &good[..good.len() - 4])
    };
    assert!(!hint(&gate, &forged(&old)).await.contains("seen at"));
    issuer.publish(&[&new, &other]);
    sleep(secs(11)).await;
    gate.clock.set(NOW + 30);
    for refused in [token(&issuer, &old), forged(&new)] {
        let hint = hint(&gate, &refused).await;
        let expected = "has replaced the key `a` and kept its `kid` (seen at 2026-01-01T00:00:00Z)";
        assert!(hint.contains(expected), "{hint}");
    }
    assert!(!hint(&gate, &forged(&other)).await.contains("seen at"));
    assert_eq!(
        count(&log, &["has replaced a key and kept its id", "\"a\""]),
        1
    );
    // A reload with other settings does not forget it.
    let reloaded = provider(&issuer, "acme", "refresh: { min: 11s, max: 11s }");
    gate.reload(&reloaded).await;
    assert!(hint(&gate, &token(&issuer, &old)).await.contains("seen at"));
}

const DIFFERENCE: &str = "claimgate_clock_difference_seconds{provider=\"acme\"}";

#[tokio::test(start_paused = true)]
async fn a_clock_that_differs_from_the_providers() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let keys = Reply::json(&json!({"keys": [key.jwk()]}));
    let claims = |name: &str, time: u64| {
        let mut claims = json!({"iss": issuer.url(), "aud": "orders-api", "exp": NOW + 3600});
        claims[name] = time.into();
        key.token(&claims).unwrap()
    };
    // The clock of this machine stands at midnight.
    for (header, ahead, expired, early) in [
        ("x-date: none", "NaN", None, None),
        ("date: Thu, 01 Jan 2026 00:00:20 GMT", "-20", None, None),
        (
            "date: Wed, 31 Dec 2025 23:55:00 GMT",
            "300",
            Some("about 300 s ahead of the provider's"),
            None,
        ),
        (
            "date: Thu, 01 Jan 2026 00:05:00 GMT",
            "-300",
            None,
            Some("about 300 s behind the provider's"),
        ),
        // It was in a cache for five minutes.
        (
            "date: Wed, 31 Dec 2025 23:55:00 GMT\r\nage: 300",
            "0",
            None,
            None,
        ),
    ] {
        issuer.reply(JWKS, keys.clone().header(header));
        let log = Log::start("warn");
        let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
        let measured: f64 = gate.metric(DIFFERENCE).parse().unwrap();
        match ahead.parse::<f64>().unwrap() {
            ahead if ahead.is_nan() => assert!(measured.is_nan()),
            ahead => assert!((measured - ahead).abs() < 1.0, "{header}: {measured}"),
        }
        for (token, expected) in [
            (claims("exp", NOW - 200), expired),
            (claims("nbf", NOW + 200), early),
            // The clocks do not explain these.
            (claims("exp", NOW - 1000), None),
            (claims("nbf", NOW + 1000), None),
        ] {
            let hint = hint(&gate, &token).await;
            match expected {
                Some(expected) => assert!(hint.contains(expected), "{header}: {hint}"),
                None => assert!(!hint.contains("`Date`"), "{header}: {hint}"),
            }
        }
        let agree = matches!(ahead, "-20" | "0");
        let late = hint(&gate, &claims("exp", NOW - 400)).await;
        let expected = "the clocks agree, so the client keeps a token that expired 400 s ago";
        assert_eq!(late.contains(expected), agree, "{header}: {late}");
        sleep(secs(30)).await;
        let is_large = expired.or(early).is_some();
        let warned = count(&log, &["tokens may be refused as expired or not yet valid"]);
        assert_eq!(warned, usize::from(is_large), "{header}");
        let jwks = &gate.service.gate.generation().jwks;
        let status = jwks.status(ProviderId(0)).unwrap();
        assert_eq!(status.large_clock_difference().is_some(), is_large);
    }
}

/// Sends these bytes, and reads until the server closes the connection.
async fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    // Some are closed with an error.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Connections that never carry a check are shown with what to change, without addresses where
/// everyone may look.
#[tokio::test]
async fn bad_connections_are_shown() {
    const PROVIDERS: &str = "providers: [{ name: acme, issuer: https://idp.example.com, \
                             audiences: [api], jwks: { uri: 'http://127.0.0.1:1/jwks' } }]";
    let check = "POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\nhost: claimgate\r\n\
                 connection: close\r\n\r\n";
    for (at_admin, bytes, kind, advice) in [
        (
            false,
            "GET / HTTP/1.1\r\n\r\n",
            "http1",
            "`http2_protocol_options`",
        ),
        (
            true,
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "admin_port",
            "set the address of `server.listen`",
        ),
        (
            true,
            check,
            "admin_port",
            "set the address of `server.listen`",
        ),
    ] {
        let log = Log::start("warn");
        let server = Server::start(PROVIDERS).await;
        let address = if at_admin { server.admin } else { server.check };
        for _ in 0..2 {
            send(address, bytes.as_bytes()).await;
        }
        let seen = format!("bad connections: 2 of kind `{kind}`, the last ");
        let verbose = loop {
            let (_, verbose) = server.page("/readyz?verbose").await;
            if verbose.to_lowercase().contains(&seen) {
                break verbose;
            }
        };
        assert!(verbose.contains(advice), "{verbose}");
        assert!(!verbose.contains(" from 127"), "{verbose}");
        for path in ["/stats", "/"] {
            let (_, page) = server.page(path).await;
            let page = page.replace("&#96;", "`");
            assert!(page.to_lowercase().contains(&seen), "{path}: {page}");
            assert!(page.contains(" from 127.0.0.1:"), "{path}: {page}");
            assert!(page.contains(advice), "{path}: {page}");
        }
        assert_eq!(
            count(&log, &["bad connection", kind, advice]),
            1,
            "one line a minute"
        );
        let (_, metrics) = server.page("/metrics").await;
        let counted = format!("claimgate_bad_connections_total{{kind=\"{kind}\"}} 2");
        assert!(metrics.contains(&counted), "{metrics}");
        server.stop().await;
    }
}

/// A general rule in front of a special one.
#[tokio::test]
async fn a_wrong_order_of_rules_shows() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let yaml = json!({
        "providers": [{
            "issuer": "https://idp.example.com", "audiences": ["orders-api"],
            "jwks": {"inline": {"keys": [signer(Es256, "real").jwk()]}},
        }],
        "rules": [
            {"name": "files", "match": {"path": {"prefix": "/files"}}, "access": "public"},
            {"name": "api", "match": {"path": {"regex": "/(orders|admin)(/.*)?"}}, "access": "public"},
            {"name": "admin", "match": {"path": {"prefix": "/admin"}}, "scopes": ["admin"]},
            // More general rules belong at the end.
            {"name": "reading", "match": {"methods": ["GET"]}, "scopes": ["read"]},
            {"name": "rest", "match": {"path": {"prefix": "/"}}, "access": "deny"},
        ],
    });
    std::fs::write(&file, yaml.to_string()).unwrap();
    let check = ["check", "--config", file.to_str().unwrap(), "--path"];
    for (path, later) in [
        ("/admin/users", Some("`admin`, `reading`")),
        ("/orders", Some("`reading`")),
        ("/", None),
    ] {
        let told = run(&[&check[..], &[path]].concat(), "").await.out;
        let expected = later.map(|later| {
            format!(
                "  note  rule        the first rule that matches decides; later ones that match too: \
                 {later}"
            )
        });
        let note = told.lines().find(|line| line.contains("note  rule"));
        assert_eq!(note, expected.as_deref(), "{path}: {told}");
        let told = run(&[&check[..], &[path, "--output", "json"]].concat(), "").await;
        let report: Value = serde_json::from_str(&told.out).unwrap();
        let later = later.unwrap_or_default().replace('`', "");
        let later: Vec<&str> = later.split(", ").filter(|name| !name.is_empty()).collect();
        assert_eq!(report["rules_also_matching"], json!(later), "{path}");
    }
}

/// A rule refuses what a later one is for.
#[tokio::test(start_paused = true)]
async fn a_denial_names_later_rules() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let rules = "rules:
  - { name: api, match: { path: { prefix: /orders }, methods: [GET, POST] }, scopes: [write] }
  - { name: health, match: { path: { exact: /orders/health } }, access: public }
  - { name: rest, access: deny, match: { path: { prefix: / } } }
";
    let gate = Gate::start(&format!("{}{rules}", provider(&issuer, "acme", ""))).await;
    gate.service.gate.generation().jwks.all_known().await;
    let good = format!("Bearer {}", token(&issuer, &key));
    let later =
        "the rule `api` decides because it comes first; a later one that matches too: `health`";
    for (path, credential, expected) in [
        ("/orders/health", None, true),
        ("/orders/health", Some(good.as_str()), true),
        ("/orders/health", Some("Bearer x"), false),
        ("/orders/1", None, false),
        ("/other", None, false),
    ] {
        let lines = credential.map(|value| ("authorization", value.as_bytes()));
        let request = Request {
            method: "GET",
            host: "api.example.com",
            path,
            headers: lines.into_iter().collect(),
            ..Request::default()
        };
        let asked = tonic::Request::new(compose(&request));
        let answer = gate.service.check(asked).await;
        assert!(
            !Answer::read(answer.unwrap().into_inner()).is_allow(),
            "{path}"
        );
        let denial = gate.service.gate.denials.newest().next().unwrap();
        let hint = denial.hint.clone().unwrap_or_default();
        assert_eq!(
            hint.contains(later),
            expected,
            "{path} {credential:?}: {hint}"
        );
    }
}

/// A file that is missing, because it is not mounted where the configuration says.
#[tokio::test]
async fn a_file_that_is_not_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("claimgate.yaml");
    let beginning = format!("cannot read `{}`: ", missing.display());
    let start = ["serve", "--config", missing.to_str().unwrap()];
    let told = run(&start, "").await.err;
    for says in [
        &*beginning,
        "in a container, that the file is mounted there",
    ] {
        assert!(told.contains(says), "{told}");
    }
    // Docker creates a directory in place of a file that the host does not have.
    std::fs::create_dir(&missing).unwrap();
    let told = run(&start, "").await.err;
    for says in [&*beginning, "Docker creates a directory"] {
        assert!(told.contains(says), "{told}");
    }
    let key_file = Issuer::start(&[]).await;
    let jwks = format!("jwks: {{ file: {} }}", missing.display());
    let gate = Gate::start(&provider(&key_file, "acme", &jwks)).await;
    let error = gate.error().unwrap();
    assert!(error.contains("Docker creates a directory"), "{error}");
}
