//! No part of a token stays behind: in the memory of the process, in its log, in the list of denials, and
//! in its answers.

use std::collections::{BTreeMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use claimgate::dev::signer::Signer;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::request::compose;
use claimgate::keyring::Algorithm::Es256;
use claimgate::request::Request;
use claimgate::time::{Clock as _, SystemClock};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::denials::RULES;
use crate::support::call::Answer;
use crate::support::command::{claimgate, line_with, run, terminate};
use crate::support::gate::provider;
use crate::support::image::{WINDOW, found, middle, writable};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;

const DENIALS: usize = 1_000;
const ALLOWS: usize = 100;

/// A request that is denied, and how.
struct Denied {
    id: String,
    path: String,
    token: Option<String>,
    reason: &'static str,
    /// A part of the detail that no other denial has, if the detail says something about the token.
    detail: Option<String>,
    subject: Option<String>,
}

/// Request number `number`, for one of twelve reasons.
fn denied(issuer: &Issuer, key: &Signer, number: usize) -> Denied {
    let now = SystemClock.now().as_secs();
    let subject = format!("alice-{number}");
    let with = |changes: Value| {
        let mut claims = usual(issuer, &subject);
        let members = claims.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        claims
    };
    let token = |changes: Value| key.token(&with(changes)).unwrap();
    let headed = |header: Value| {
        let claims = with(json!({})).to_string();
        key.sign(&header.to_string(), &claims).unwrap()
    };
    let good = token(json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = token(json!({"nonce": "other"}));
    let (other, _) = other.rsplit_once('.').unwrap();
    let at = now + 1_000 + number as u64;
    let [evil, api] = ["evil", "other"].map(|name| format!("{name}-{number}.example"));
    let issued_by_evil = token(json!({"iss": format!("https://{evil}")}));
    let hs256 = headed(json!({"alg": "HS256", "kid": "real"}));
    let logout = headed(json!({"alg": "ES256", "kid": "real", "typ": "logout+jwt"}));
    let (reason, directory, token, detail) = match number % 12 {
        0 => ("missing_token", "orders", None, None),
        1 => ("malformed_authorization", "orders", Some(good), None),
        2 => ("malformed_token", "orders", Some(signed.to_owned()), None),
        3 => ("unsupported_algorithm", "orders", Some(hs256), None),
        4 => ("unsupported_type", "orders", Some(logout), None),
        5 => ("unknown_issuer", "orders", Some(issued_by_evil), Some(evil)),
        6 => (
            "bad_signature",
            "orders",
            Some(format!("{other}.{signature}")),
            None,
        ),
        7 => (
            "expired",
            "orders",
            Some(token(json!({"exp": at - 9_000}))),
            None,
        ),
        8 => (
            "not_yet_valid",
            "orders",
            Some(token(json!({"nbf": at}))),
            None,
        ),
        9 => (
            "wrong_audience",
            "orders",
            Some(token(json!({"aud": api}))),
            Some(api),
        ),
        10 => ("insufficient_scope", "write", Some(good), None),
        _ => ("access_denied", "closed", Some(good), None),
    };
    Denied {
        id: format!("denial-{number}"),
        path: format!("/{directory}/{number}"),
        token,
        reason,
        detail,
        subject: (directory == "write").then_some(subject),
    }
}

impl Denied {
    fn check(&self) -> CheckRequest {
        let twice = self.reason == "malformed_authorization";
        let credential = self.token.as_ref().map(|token| match twice {
            true => format!("Bearer {token} {token}"),
            false => format!("Bearer {token}"),
        });
        check(&self.id, &self.path, credential.as_deref())
    }

    /// Checks the record of a denial.
    fn is_described_by(&self, record: &Value) {
        let Self {
            id,
            path,
            token: _,
            reason,
            detail,
            subject,
        } = self;
        let expected = json!([id, path, reason, subject]);
        let members = ["request_id", "path", "reason", "subject"].map(|name| record[name].clone());
        assert_eq!(json!(members), expected, "{record}");
        let told = record["detail"].as_str().unwrap();
        assert!(!told.is_empty(), "{record}");
        if let Some(detail) = detail {
            assert!(told.contains(detail), "{record}");
        }
    }
}

/// Claims whose middle is unique when encoded.
fn usual(issuer: &Issuer, subject: &str) -> Value {
    let exp = SystemClock.now().as_secs() + 600;
    let jti: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(128)
        .collect();
    json!({"iss": issuer.url(), "aud": "orders-api", "sub": subject, "exp": exp, "jti": jti})
}

fn allowed(issuer: &Issuer, key: &Signer, number: usize) -> String {
    key.token(&usual(issuer, &format!("bob-{number}"))).unwrap()
}

fn check(id: &str, path: &str, credential: Option<&str>) -> CheckRequest {
    let lines = [("x-request-id", Some(id)), ("authorization", credential)];
    compose(&Request {
        method: "GET",
        host: "api.example.com",
        path,
        headers: lines
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.as_bytes())))
            .collect(),
        ..Request::default()
    })
}

async fn ask(channel: Channel, check: CheckRequest) -> Answer {
    let answer = AuthorizationClient::new(channel).check(check).await;
    Answer::read(answer.unwrap().into_inner())
}

/// A running `claimgate serve`.
struct Running {
    child: Child,
    check: String,
    admin: String,
    /// Everything logged after the start.
    log: JoinHandle<String>,
    client: reqwest::Client,
}

impl Running {
    async fn start(file: &str) -> Self {
        let arguments = ["serve", "--log-format", "json", "--log-level", "debug"];
        let mut child = claimgate(&arguments)
            .args(["--config", file])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = async |message| {
            let event = line_with(&mut lines, message).await;
            event["address"].as_str().unwrap().to_owned()
        };
        let check = address("serving Check").await;
        let admin = address("serving /livez, /readyz and /metrics").await;
        let log = tokio::spawn(async move {
            let mut log = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                log.push_str(&line);
            }
            log
        });
        let running = Self {
            child,
            check,
            admin,
            log,
            client: reqwest::Client::new(),
        };
        running.reaches("/readyz", "ready").await;
        running
    }

    async fn page(&self, path: &str) -> String {
        let request = self.client.get(format!("http://{}{path}", self.admin));
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Waits until a page contains this text.
    async fn reaches(&self, path: &str, text: &str) {
        let reached = timeout(Duration::from_mins(1), async {
            while !self.page(path).await.contains(text) {
                yield_now().await;
            }
        });
        assert!(reached.await.is_ok(), "{path} never says {text:?}");
    }

    /// A connection for checks.
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.check)).unwrap();
        endpoint.connect().await.unwrap()
    }
}

/// The middle of the part number `part` of each of these tokens.
fn windows<'t>(
    tokens: impl IntoIterator<Item = &'t &'t str>,
    part: usize,
) -> HashSet<[u8; WINDOW]> {
    let parts = tokens
        .into_iter()
        .filter_map(|token| token.split('.').nth(part));
    parts.map(middle).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_of_a_token_stays_behind() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&*key]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let server = "server: { listen: 127.0.0.1:0, drain: 0s }\nadmin: { listen: 127.0.0.1:0 }\n";
    let text = format!("{server}{}{RULES}", provider(&issuer, "acme", ""));
    std::fs::write(&file, text).unwrap();
    let running = Running::start(file.to_str().unwrap()).await;

    let denials: Vec<Denied> = (0..DENIALS)
        .map(|number| denied(&issuer, &key, number))
        .collect();
    let allows: Vec<String> = (0..ALLOWS)
        .map(|number| allowed(&issuer, &key, number))
        .collect();
    let channels = join_all((0..8).map(|_| running.channel())).await;
    let asked = denials
        .iter()
        .zip(channels.iter().cycle())
        .map(|(denied, channel)| ask(channel.clone(), denied.check()));
    let mut answers = join_all(asked).await;
    for token in allows.iter().chain(&allows) {
        let check = check("allow", "/orders", Some(&format!("Bearer {token}")));
        let answer = ask(channels[0].clone(), check).await;
        assert!(answer.is_allow(), "{answer:?}");
        answers.push(answer);
    }

    let mut reasons = BTreeMap::new();
    for (denied, answer) in denials.iter().zip(&answers) {
        assert_eq!(
            answer.header("x-request-id"),
            Some(denied.id.as_str()),
            "{answer:?}"
        );
        let record = running.page(&format!("/denials/{}", denied.id)).await;
        let record: Value = serde_json::from_str(&record).unwrap();
        denied.is_described_by(&record);
        reasons.insert(denied.reason, &denied.id);
    }
    assert_eq!(reasons.len(), 12);
    for (reason, id) in reasons {
        let told = run(&["why", id, "--admin", &running.admin], "").await;
        assert!(
            told.out.contains(&format!("reason      {reason}\n")),
            "{id}: {}",
            told.out
        );
    }

    let ring = running.page("/denials").await;
    let answers = format!("{answers:?}");
    drop(channels);
    let closed = "claimgate_connections{listener=\"check\"} 0\n";
    running.reaches("/metrics", closed).await;
    let pid = running.child.id().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core, ["0", "0", "bytes"], "no core dumps");
    let image = writable(pid);
    let Running { child, log, .. } = running;
    assert_eq!(terminate(child).await, Some(0));
    let log = log.await.unwrap();

    // Valid tokens are cached, whatever the rules say about them.
    let is_cached = |denied: &&Denied| denied.reason == "insufficient_scope";
    let (scopeless, refused): (Vec<_>, Vec<_>) = denials.iter().partition(is_cached);
    let [scopeless, refused] = [scopeless, refused].map(|denials| {
        let tokens = denials
            .into_iter()
            .filter_map(|denied| denied.token.as_deref());
        tokens.collect::<Vec<&str>>()
    });
    let valid: Vec<&str> = allows.iter().map(String::as_str).chain(scopeless).collect();
    let tokens: Vec<&str> = [refused, valid.clone()].concat();
    let all = [1, 2].map(|part| windows(&tokens, part));
    let count = |part| {
        tokens
            .iter()
            .filter(|token| token.split('.').nth(part).is_some())
            .count()
    };
    assert_eq!(
        all.each_ref().map(HashSet::len),
        [1, 2].map(count),
        "each is unique"
    );
    let all: HashSet<_> = all.into_iter().flatten().collect();

    // The claims of cached tokens are there, which shows that the search finds what is there.
    let cached = windows(&valid, 1);
    let found_in = |bytes: &[u8]| found(bytes, &all).collect::<HashSet<_>>();
    let in_memory: HashSet<_> = image.iter().flat_map(|region| found_in(region)).collect();
    // The cache may have dropped a few of them.
    let stray = in_memory.difference(&cached).count();
    let there = in_memory.len() * 10 >= cached.len() * 9;
    assert!(stray == 0 && there, "{stray} others, {in_memory:?}");
    for (place, text) in [
        ("list of denials", &ring),
        ("answers", &answers),
        ("log", &log),
    ] {
        let count = found_in(text.as_bytes()).len();
        assert_eq!(count, 0, "parts of tokens in the {place}");
    }
}
