//! Nothing that the module allocates for a request outlives it: neither for one that is decided nor for one
//! whose client gives up at any point.

use std::sync::Arc;

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm::{Es256, Es384};
use claimgate_envoy::filter::Next;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::{EVERYTHING, Exchange};
use crate::support::gate::{Gate, NOW, provider};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;

/// How many requests are measured, unless `REQUESTS` says another number.
const REQUESTS: usize = 30_000;

/// How many requests fill what is bounded: the token cache, the list of denials, the metrics.
const WARM_UP: usize = 20_000;

/// How many different tokens of a kind there are: more than the cache holds.
const TOKENS: usize = 200;

/// The requests of a round, by what they lead to.
const ROUND: usize = 50;

#[test]
fn no_request_leaves_memory_behind() {
    let requests = std::env::var("REQUESTS").map_or(REQUESTS, |number| number.parse().unwrap());
    let runtime = Builder::new_current_thread()
        .enable_all()
        // So that the key endpoint hangs during the whole test.
        .start_paused(true)
        .build()
        .unwrap();
    let traffic = runtime.block_on(Traffic::start());
    runtime.block_on(traffic.run(WARM_UP));
    let measured = allocation_counter::measure(|| runtime.block_on(traffic.run(requests)));
    let (count, bytes) = (measured.count_current, measured.bytes_current);
    // A table may have grown.
    assert!(count.abs() < 20, "{count} allocations are left");
    assert!(bytes.abs() < 4 * 1024, "{bytes} bytes are left");
    assert!(measured.count_total > requests as u64, "what is counted");
}

struct Traffic {
    gate: Gate,
    /// Verified at once.
    fast: Vec<String>,
    /// Verified elsewhere, while the request waits.
    slow: Vec<String>,
    /// Of a key that nobody has.
    unknown: String,
    _issuer: Issuer,
}

impl Traffic {
    async fn start() -> Self {
        let (fast, slow) = (signer(Es256, "fast"), signer(Es384, "slow"));
        let issuer = Issuer::start(&[&fast, &slow]).await;
        let cache = "token_cache: { max_entries: 100 }\n";
        let more = "algorithms: [ES256, ES384], refresh: { unknown_key_wait: 10s }";
        let config = format!("{}{EVERYTHING}{cache}", provider(&issuer, "acme", more));
        let gate = Gate::start(&config).await;
        gate.service.gate.generation().jwks.all_known().await;
        issuer.reply(JWKS, Reply::Hang);
        let tokens = |key: &Arc<Signer>| {
            let numbers = 0..TOKENS;
            numbers
                .map(|number| token(&issuer, key, number))
                .collect::<Vec<_>>()
        };
        Self {
            fast: tokens(&fast),
            slow: tokens(&slow),
            unknown: token(&issuer, &signer(Es256, "stranger"), 0),
            gate,
            _issuer: issuer,
        }
    }

    async fn run(&self, requests: usize) {
        for number in 0..requests {
            self.request(number).await;
        }
        // Tasks that were aborted are dropped.
        yield_now().await;
    }

    async fn request(&self, number: usize) {
        let round = number / ROUND;
        let (fast, slow) = (&self.fast[round % TOKENS], &self.slow[round % TOKENS]);
        match number % ROUND {
            0 => self.is_denied(&[]),
            1 => self.is_denied(&[("authorization", "Basic YTpi")]),
            // Given up while the keys are fetched.
            2 => {
                let waiting = Exchange::with_token(&self.gate, &self.unknown);
                assert_eq!(waiting.begin(), Next::Wait);
                yield_now().await;
            }
            3 => self.is_denied(&[("x-long", &"x".repeat(300 * 1024))]),
            4 => self.is_denied(&[(":path", "/other")]),
            5 => self.is_denied(&[("authorization", &format!("{}x", bearer(fast)))]),
            6 => {
                let waiting = Exchange::with_token(&self.gate, slow);
                if waiting.begin() == Next::Wait {
                    assert_eq!(waiting.end().await, None);
                }
                waiting.filter.on_response_headers(waiting.host());
            }
            // Given up before the decision, and after it.
            7 => drop(self.waiting(slow)),
            8 => {
                let waiting = self.waiting(slow);
                waiting.wakers.woken.notified().await;
            }
            9 => drop(Exchange::new(Some(&self.gate), &[])),
            10 => {
                let lines = [("authorization", "Bearer"), ("x-auth-subject", "root")];
                self.is_denied(&lines);
            }
            11.. => {
                let exchange = Exchange::with_token(&self.gate, fast);
                assert_eq!(exchange.begin(), Next::Continue);
                // Some upstreams never answer.
                if number.is_multiple_of(2) {
                    exchange.filter.on_response_headers(exchange.host());
                }
            }
        }
    }

    fn is_denied(&self, lines: &[(&str, &str)]) {
        let exchange = Exchange::new(Some(&self.gate), lines);
        assert_eq!(exchange.begin(), Next::Answered);
    }

    /// A request that waits, because its signature is forged and checked elsewhere.
    fn waiting(&self, token: &str) -> Exchange {
        let waiting = Exchange::with_token(&self.gate, &super::forged(token));
        assert_eq!(waiting.begin(), Next::Wait);
        waiting
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn token(issuer: &Issuer, key: &Signer, number: usize) -> String {
    let number = format!("{number:04}");
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": NOW + 60, "jti": number});
    key.token(&claims).unwrap()
}
