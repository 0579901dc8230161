//! A cache at the caller. agentgateway remembers an answer with its header changes, and carries them out again for
//! every request with the same key. claimgate's answer is for one request: it removes what that request brought.

use std::collections::{BTreeSet, HashMap};

use claimgate::ext_authz::proto::auth::CheckResponse;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use serde_json::{Value, json};

use super::{Caller, Line, Sent, joined, start_with};
use crate::support::gate::Gate as Started;

/// A key that holds what rules often look at.
const NAMED: [&str; 4] = [
    "request.method",
    "request.host",
    "request.uri",
    r#"request.headers["authorization"]"#,
];

/// What a client may add to a request that was allowed before.
const ADDED: [(&str, &str); 5] = [
    ("x-auth_subject", "root"),
    ("x.auth.subject", "root"),
    ("x-http-method-override", "DELETE"),
    ("x-original-url", "/admin"),
    ("cookie", "session=7"),
];

/// agentgateway with one `extAuthz` policy, in front of an API.
struct Gateway<'a> {
    claimgate: &'a Started,
    key: Vec<String>,
    remembered: HashMap<Vec<String>, CheckResponse>,
}

impl<'a> Gateway<'a> {
    fn with(policy: &Value, claimgate: &'a Started) -> Self {
        let key = policy["cache"]["key"].as_array().into_iter().flatten();
        Self {
            claimgate,
            key: key.map(|part| part.as_str().unwrap().to_owned()).collect(),
            remembered: HashMap::new(),
        }
    }

    /// The header lines with which the request reaches the API. `None` if it does not.
    async fn forwards(&mut self, sent: &Sent) -> Option<Vec<Line>> {
        let key = self.key(sent);
        if let Some(answer) = key.as_ref().and_then(|key| self.remembered.get(key)) {
            return Caller::Agentgateway.forwards(sent, answer);
        }
        let check = tonic::Request::new(Caller::Agentgateway.check(sent));
        let answer = self.claimgate.service.check(check).await.unwrap();
        let answer = answer.into_inner();
        self.remembered.extend(key.map(|key| (key, answer.clone())));
        Caller::Agentgateway.forwards(sent, &answer)
    }

    /// `None` if nothing is remembered: there is no key, or a part of it has no value.
    fn key(&self, sent: &Sent) -> Option<Vec<String>> {
        let headers = joined(&sent.lines, |_| ",");
        let parts = self.key.iter().map(|part| match part.as_str() {
            "request.method" => Some(sent.method.clone()),
            "request.host" => Some(sent.host.clone()),
            "request.uri" => Some(String::from_utf8(sent.path.clone()).unwrap()),
            header => {
                let name = header.strip_prefix("request.headers[\"")?;
                headers.get(name.strip_suffix("\"]")?).cloned()
            }
        });
        let parts: Option<Vec<_>> = parts.collect();
        parts.filter(|parts| !parts.is_empty())
    }
}

/// The names of the added headers that reach the API after a request without them was allowed.
async fn arriving(policy: &Value, upstream: &str) -> BTreeSet<&'static str> {
    let rules = "rules: [{ name: admin, match: { methods: [DELETE], path: { prefix: /admin } }, access: deny }]";
    let (claimgate, token) = start_with(upstream, rules).await;
    let mut gateway = Gateway::with(policy, &claimgate);
    let honest = Sent {
        method: "GET".to_owned(),
        host: "api.example.com".to_owned(),
        path: b"/orders".to_vec(),
        lines: vec![(
            "authorization".to_owned(),
            format!("Bearer {token}").into_bytes(),
        )],
        address: "192.0.2.1".to_owned(),
        context: HashMap::new(),
    };
    assert!(gateway.forwards(&honest).await.is_some());
    let mut arriving = BTreeSet::new();
    for (name, value) in ADDED {
        let mut sent = honest.clone();
        let line = (name.to_owned(), value.as_bytes().to_vec());
        sent.lines.push(line.clone());
        let arrived = gateway.forwards(&sent).await;
        if arrived.is_some_and(|lines| lines.contains(&line)) {
            arriving.insert(name);
        }
    }
    arriving
}

/// The file has no cache, because each cache lets something through.
#[tokio::test]
async fn the_file_for_agentgateway_remembers_no_answer() {
    let file = include_str!("../../../deploy/callers/agentgateway.yaml");
    let file: Value = serde_saphyr::from_str(file).unwrap();
    let policy = &file["binds"][0]["listeners"][0]["routes"][0]["policies"]["extAuthz"];
    let all: BTreeSet<_> = ADDED.iter().map(|(name, _)| *name).collect();
    for spoofed in ["remove", "refuse"] {
        let upstream = format!(
            "forward_token: false, remove_cookies: [session], spoofed: {spoofed}, \
             claim_headers: [{{ header: x-auth-subject, claim: sub }}]"
        );
        let none = BTreeSet::new();
        assert_eq!(arriving(policy, &upstream).await, none, "{spoofed}");
        for key in [&NAMED[..], &NAMED[3..]] {
            let mut remembering = policy.clone();
            remembering["cache"] = json!({ "key": key, "ttl": "extauthz.claims.exp" });
            let found = arriving(&remembering, &upstream).await;
            assert_eq!(found, all, "{spoofed}, {key:?}");
        }
    }
}
