//! With `enforce: false`, hostile requests pass without their spoofed headers, and are counted as if
//! they were refused.

use std::collections::BTreeMap;

use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::keyring::Algorithm::Es256;
use claimgate::request::Request;
use serde_json::Value;

use crate::denials::{RULES, requests};
use crate::support::call::{Answer, bearer};
use crate::support::command::run;
use crate::support::gate::{Gate, provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::server::Server;

const REQUESTS: usize = 10_000;

/// The upstream trusts these headers.
const UPSTREAM: &str = "
upstream:
  scope_header: x-auth-scopes
  payload_header: x-auth-claims
  forward_token: false
  claim_headers: [{ header: x-auth-subject, claim: sub }]
";

const METHODS: [&str; 5] = ["GET", "DELETE", "delete", "", "QUERY"];
const HOSTS: [&str; 4] = ["api.example.com", "API.example.com.", "evil.example", ""];
/// Before the path of the request.
const DETOURS: [&str; 9] = [
    "",
    "",
    "",
    "",
    "/public/..",
    "//",
    "/x/..;",
    "/%2e%2e",
    "/orders%2f",
];
const SPOOFED: [&str; 6] = [
    "x-auth-subject",
    "X-Auth-Subject",
    "x_auth_subject",
    "x-auth_claims",
    "x.auth.scopes",
    "x-auth-scopes",
];

/// The series of a metric that are not zero.
fn counted(gate: &Gate, family: &str) -> BTreeMap<String, u64> {
    let text = gate.service.gate.metrics.encode().unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(family));
    let series = lines.map(|line| line.rsplit_once(' ').unwrap());
    series
        .map(|(labels, count)| (labels.to_owned(), count.parse().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Adds up the counts without this label.
fn without(label: &str, series: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (labels, count) in series {
        let labels = labels.trim_matches(['{', '}']).split(',');
        let rest: Vec<&str> = labels.filter(|it| !it.starts_with(label)).collect();
        *sums.entry(format!("{{{}}}", rest.join(","))).or_default() += count;
    }
    sums
}

#[tokio::test]
async fn hostile_requests_pass_without_what_they_spoof() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let config = format!("{}{RULES}{UPSTREAM}", provider(&issuer, "acme", ""));
    let enforcing = Gate::start(&config).await;
    let observing = Gate::start(&format!("{config}enforce: false\n")).await;
    for gate in [&enforcing, &observing] {
        gate.service.gate.generation().jwks.all_known().await;
    }
    let good = token(&issuer, &signer(Es256, "real"));
    let mut credentials = requests(&issuer);
    credentials.push((format!("Bearer {good}"), "/orders", ""));
    let mut random = fastrand::Rng::with_seed(7);
    let (mut refused, mut allowed) = (0, 0);
    for _ in 0..REQUESTS {
        let (credential, path, _) = random.choice(&credentials).unwrap();
        let path = format!("{}{path}?a=b", random.choice(DETOURS).unwrap());
        let mut lines: Vec<(&str, &[u8])> = vec![("authorization", credential.as_bytes())];
        let spoofed = random.choose_multiple(SPOOFED, 2);
        lines.extend(spoofed.iter().map(|name| (*name, b"evil".as_slice())));
        if random.u8(..) < 32 {
            lines.push(("x-http-method-override", b"DELETE"));
        }
        let check = compose(&Request {
            method: random.choice(METHODS).unwrap(),
            host: random.choice(HOSTS).unwrap(),
            path: &path,
            path_bytes: Some(path.as_bytes()),
            headers: lines
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
            ..Request::default()
        });
        let asked = |gate: &Gate| {
            let (service, check) = (gate.service.clone(), check.clone());
            async move {
                let answer = service.check(tonic::Request::new(check)).await;
                Answer::read(answer.unwrap().into_inner())
            }
        };
        let (enforced, observed) = (asked(&enforcing).await, asked(&observing).await);
        match enforced {
            Answer::Deny { .. } => refused += 1,
            Answer::Allow { .. } => {
                allowed += 1;
                assert_eq!(enforced, observed, "{path}");
            }
        }
        let Answer::Allow { set, remove, .. } = &observed else {
            panic!("{path}: {observed:?}")
        };
        for name in spoofed {
            let name = name.to_ascii_lowercase();
            let is_set = set
                .iter()
                .any(|(own, value)| *own == name && value != "evil");
            assert!(is_set || remove.contains(&name), "{name}: {observed:?}");
        }
        assert!(
            credential.is_empty() || remove.iter().any(|name| name == "authorization"),
            "{observed:?}"
        );
    }
    assert!(
        refused > REQUESTS / 2 && allowed > 100,
        "{refused} {allowed}"
    );

    let would_deny = counted(&observing, "claimgate_would_deny_total");
    assert_eq!(
        without("rule", &would_deny),
        counted(&enforcing, "claimgate_denials_total")
    );
    assert_eq!(
        counted(&observing, "claimgate_denials_total"),
        BTreeMap::new()
    );
    let denied = without(
        "decision",
        &counted(&enforcing, "claimgate_checks_total{decision=\"deny\","),
    );
    assert_eq!(
        without("reason", &would_deny).values().sum::<u64>(),
        denied.values().sum::<u64>()
    );
    assert_eq!(would_deny.values().sum::<u64>(), refused as u64);
}

#[tokio::test]
async fn an_observed_denial_is_explained() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let config = format!("{}enforce: false\n", provider(&issuer, "acme", ""));
    let server = Server::start(&config).await;
    let mut check = bearer("no-token");
    let http = check.attributes.as_mut().unwrap().request.as_mut().unwrap();
    let headers = &mut http.http.as_mut().unwrap().headers;
    headers.insert("x-request-id".to_owned(), "observed-1".to_owned());
    assert!(server.check(check).await.is_allow());

    let admin = server.admin.to_string();
    let told = run(&["why", "observed-1", "--admin", &admin], "").await;
    assert_eq!(told.code, Some(0), "{}", told.err);
    for line in [
        "passed at",
        "because of `enforce: false`",
        "reason      malformed_token",
    ] {
        assert!(told.out.contains(line), "no {line:?} in {}", told.out);
    }
    let address = server.check.to_string();
    let told = run(&["check", "--target", &address, "--output", "json"], "").await;
    let report: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(
        (told.code, report["decision"].as_str()),
        (Some(0), Some("allow"))
    );
    assert_eq!(report["enforced"], Value::Bool(false));
    assert_eq!(report["failed"]["reason"], "missing_token");
    server.stop().await;
}

#[tokio::test]
async fn check_and_test_show_observed_denials() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let config = file(
        "claimgate.yaml",
        "providers: [{ name: acme, issuer: https://idp.example.com, audiences: [orders-api] }]\n\
         rules: [{ name: closed, match: { path: { prefix: /closed } }, access: deny, enforce: false }]\n",
    );
    let told = run(&["check", "--config", &config, "--path", "/closed"], "").await;
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(
        told.out
            .starts_with("ALLOW, because the denial is not enforced\n")
            && told.out.contains("FAIL  access_denied"),
        "{}",
        told.out
    );
    let suite = file(
        "tests.yaml",
        "config: claimgate.yaml\n\
         cases:\n\
         - name: not closed yet\n  \
           request: { path: /closed }\n  \
           expect: { decision: allow, reason: access_denied }\n",
    );
    let told = run(&["test", &suite], "").await;
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);

    let told = run(&["validate", &config], "").await;
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(
        (told.out + &told.err).contains("rules[0].enforce"),
        "a warning names the setting"
    );
}
