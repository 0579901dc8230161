//! Faults of the key endpoint and of clients.

use std::sync::Arc;

use claimgate::dev::issuer::Issuer;
use claimgate::dev::signer::Signer;
use claimgate::dev::upstream::Upstream;
use claimgate::keyring::Algorithm::Es256;
use serde_json::json;
use tokio::task::JoinSet;

use super::process::{Passage, Process, bootstrap};
use super::same::clients::Http1;
use super::{issuer, metric, mint};
use crate::http2::{Connection, Request};
use crate::setup::{bearer, configure_for, eventually, http};

/// How many tokens name keys that nobody has.
const INVENTED: usize = 10_000;

/// How many requests clients give up while they wait.
const GIVEN_UP: usize = 3_000;

/// Envoy, with keys behind a passage that can be blocked.
pub struct World {
    pub envoy: Process,
    pub issuer: Issuer,
    pub keys: Passage,
    _upstream: Upstream,
}

impl World {
    pub async fn start(workers: &str, refresh: &str) -> Self {
        let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
        let address = issuer.url().trim_start_matches("http://").parse().unwrap();
        let keys = Passage::to(address).await;
        let configured = configured(&issuer, &keys, refresh, "");
        let options = ["--disable-hot-restart", "--concurrency", workers];
        let envoy = Process::start(&bootstrap(&configured, upstream.address()), &options).await;
        Self {
            envoy,
            issuer,
            keys,
            _upstream: upstream,
        }
    }

    pub async fn ask(&self, token: &str) -> u16 {
        let answer = http(self.envoy.address, "GET /orders", &[bearer(token)]).await;
        answer.status
    }

    /// Nothing is left of requests that have ended.
    pub async fn is_idle(&self) {
        for (name, labels) in [
            ("claimgate_checks_in_flight", ""),
            ("envoy_http_downstream_rq_active", "=\"ingress\""),
        ] {
            eventually(name, async || {
                metric(self.envoy.admin, name, labels).await == Some(0)
            })
            .await;
        }
    }
}

/// claimgate's configuration, with keys behind the passage.
pub fn configured(issuer: &Issuer, keys: &Passage, refresh: &str, sections: &str) -> String {
    let jwks = format!("jwks: {{ uri: \"http://{}/jwks\" }}", keys.address);
    let more = format!("{jwks}, refresh: {{ unknown_key_cooldown: 1s, {refresh} }}");
    configure_for(issuer.url(), &more, sections)
}

/// While the key endpoint hangs, requests with known keys are answered at once, by the worker whose other
/// requests wait. Those are denied when their wait is over, and pass when the endpoint answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_hanging_key_endpoint_delays_only_new_keys() {
    for workers in ["1", "2"] {
        let world = Arc::new(World::start(workers, "unknown_key_wait: 2s").await);
        let known = mint(&world.issuer, &json!({"sub": "alice"}));
        assert_eq!(world.ask(&known).await, 200);
        world.keys.block(true);
        world.issuer.rotate().unwrap();
        let new = mint(&world.issuer, &json!({"sub": "bob"}));
        let mut waiting = JoinSet::new();
        for _ in 0..20 {
            let (world, new) = (Arc::clone(&world), new.clone());
            waiting.spawn(async move { world.ask(&new).await });
        }
        for _ in 0..100 {
            assert_eq!(world.ask(&known).await, 200);
        }
        let ended = waiting.try_join_next();
        assert!(ended.is_none(), "nobody waited: {ended:?}");
        while let Some(status) = waiting.join_next().await {
            assert_eq!(status.unwrap(), 503);
        }
        world.keys.block(false);
        eventually("the new key is fetched", async || {
            world.ask(&new).await == 200
        })
        .await;
        world.is_idle().await;
    }
}

/// Thousands of invented key ids cause a few fetches, and no good token is refused meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn invented_key_ids_disturb_nobody() {
    for workers in ["1", "2"] {
        let world = World::start(workers, "unknown_key_wait: 100ms").await;
        let before = world.keys.used();
        let known: Arc<str> = mint(&world.issuer, &json!({"sub": "alice"})).into();
        let stranger = Arc::new(Signer::generate(Es256, "stranger").unwrap());
        let claims = json!({"iss": world.issuer.url(), "aud": "urn:orders-api", "sub": "mallory", "exp": 4_000_000_000_u64});
        let mut clients = JoinSet::new();
        for part in 0..4 {
            let mut client = Http1::new(world.envoy.address);
            let (stranger, known) = (Arc::clone(&stranger), Arc::clone(&known));
            let claims = claims.to_string();
            clients.spawn(async move {
                for number in 0..INVENTED / 4 {
                    let kid = format!("invented-{part}-{number}");
                    let header = json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"});
                    let token = stranger.sign(&header.to_string(), &claims).unwrap();
                    let status = status(&mut client, &token).await;
                    assert!(matches!(status, 401 | 503), "{status}");
                    if number % 10 == 0 {
                        assert_eq!(self::status(&mut client, &known).await, 200);
                    }
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let fetches = world.keys.used() - before;
        assert!(fetches < 100, "{fetches} fetches");
        world.is_idle().await;
    }
}

async fn status(client: &mut Http1, token: &str) -> u16 {
    let line = bearer(token);
    let request = format!("GET /orders HTTP/1.1\r\nhost: api.example.com\r\n{line}\r\n\r\n");
    let response = client.send(request.as_bytes(), false).await;
    response.unwrap().status.unwrap()
}

/// Clients reset their streams, or close their connections, while the requests wait for a key. Envoy goes on,
/// and nothing is left of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn requests_are_given_up_while_they_wait() {
    for workers in ["1", "2"] {
        let world = World::start(workers, "unknown_key_wait: 5s").await;
        let known = mint(&world.issuer, &json!({"sub": "alice"}));
        assert_eq!(world.ask(&known).await, 200);
        world.keys.block(true);
        world.issuer.rotate().unwrap();
        let new = mint(&world.issuer, &json!({"sub": "bob"}));
        let line = format!("Bearer {new}");
        let headers = [("authorization", line.as_str())];
        let request = Request {
            method: "GET",
            path: b"/orders",
            headers: &headers,
            ..Request::default()
        };
        let (mut given_up, mut is_reset) = (0, false);
        eventually("enough requests are given up", async || {
            is_reset = !is_reset;
            let mut connection = Connection::open(world.envoy.address).await;
            let mut streams = Vec::new();
            for _ in 0..100 {
                streams.push(connection.send(request).await);
            }
            let answered = connection.is_handled().await;
            given_up += streams.len() - answered;
            if is_reset {
                for stream in streams {
                    connection.reset(stream).await;
                }
                connection.is_handled().await;
            }
            given_up >= GIVEN_UP
        })
        .await;
        assert_eq!(world.ask(&known).await, 200);
        world.is_idle().await;
        world.keys.block(false);
        eventually("the new key is fetched", async || {
            world.ask(&new).await == 200
        })
        .await;
    }
}
