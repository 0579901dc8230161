//! The work behind the server: a decision, the token cache, an answer.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claimgate::config::{
    Config, DecisionFile, DecisionLog, DecisionTarget, KeySource, LogSubject, LoggedAllows,
    TokenCache as Settings,
};
use claimgate::decision::{Decision, Memory, decide};
use claimgate::dev::signer::Signer;
use claimgate::ext_authz::service::Service;
use claimgate::ext_authz::wire;
use claimgate::gate::Gate;
use claimgate::identity::KnownToken;
use claimgate::keyring::{Algorithm, Keyring, Keys};
use claimgate::telemetry::metrics::TokenCacheMetrics;
use claimgate::time::{SystemClock, UnixTime};
use claimgate::token_cache::TokenCache;
use criterion::{Criterion, Throughput};
use futures_util::FutureExt as _;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use crate::process::block_on;
use crate::report::{Bar, Row, Sample};
use crate::rsa::Verification;
use crate::tokens::Provider;

/// A policy with its keys and its token cache, and a check for it.
pub struct Core {
    config: Config,
    keyring: Keyring,
    cache: TokenCache,
    pub check: Vec<u8>,
    signer: Provider,
}

impl Core {
    /// A policy with this many rules, of which the last one matches the request, and this many
    /// providers, of which the last one signed the token. Each provider has `keys` keys.
    pub fn new(alg: Algorithm, rules: usize, providers: usize, keys: usize) -> Self {
        let mut signers: Vec<Provider> = (0..providers)
            .map(|number| Provider::new(number, alg))
            .collect();
        let more: Vec<Value> = (1..keys)
            .map(|number| Signer::generate(alg, &format!("other-{number}")))
            .map(|signer| signer.unwrap().jwk())
            .collect();
        let configured: Vec<Value> = signers
            .iter()
            .map(|provider| {
                let keys: Vec<&Value> = more.iter().collect();
                let own = provider.signer.jwk();
                let keys = [keys, vec![&own]].concat();
                provider.configured(&json!({"inline": {"keys": keys}}))
            })
            .collect();
        let rule = |number: usize| {
            let path = match number + 1 == rules {
                true => "/orders".to_owned(),
                false => format!("/service-{number}"),
            };
            json!({"name": format!("r{number}"), "match": {"path": {"prefix": path}}})
        };
        let rules: Vec<Value> = (0..rules).map(rule).collect();
        let config = json!({"providers": configured, "rules": rules});
        let config = Config::from_yaml(&config.to_string()).unwrap();
        let mut keyring = Keyring::empty(providers);
        for ((id, _), keys) in config.policy.providers().zip(&config.keys) {
            let KeySource::Inline(known) = &keys.source else {
                panic!("inline keys were given")
            };
            keyring = keyring.with(id, Keys::Known(Arc::clone(known)));
        }
        let signer = signers.pop().unwrap();
        Self {
            keyring,
            cache: TokenCache::new(&config.token_cache, TokenCacheMetrics::default()),
            config,
            check: Provider::check(&signer.token(0)),
            signer,
        }
    }

    fn decide(&self, check: &[u8], memory: &impl Memory) -> Decision {
        let mut joined = String::new();
        let request = wire::read(check, &mut joined).unwrap();
        let now = UnixTime::from_secs(1_767_225_600);
        let (policy, keyring) = (&self.config.policy, &self.keyring);
        decide(policy, keyring, memory, &request, now, &mut ()).by_what_is_known()
    }

    fn allow(&self, check: &[u8], memory: &impl Memory) {
        let decision = self.decide(check, memory);
        assert!(matches!(decision, Decision::Allow(_)), "{decision:?}");
    }

    /// Decides about a token that is in the cache.
    pub fn decide_remembered(&self) {
        self.allow(&self.check, &self.cache);
    }

    /// Decides about a token that is never in the cache.
    fn decide_never_seen(&self) {
        self.allow(&self.check, &());
    }

    /// The service for this policy, which takes and returns bytes.
    pub fn service(&self) -> Service {
        serve(self.config.clone())
    }

    /// The same service, which also writes a decision log.
    pub fn service_with_log(&self) -> Service {
        let log = DecisionLog {
            target: DecisionTarget::File(DecisionFile {
                path: "/dev/null".into(),
                max_bytes: 100 * 1024 * 1024,
                keep: 4,
            }),
            allow: LoggedAllows::All,
            claims: Vec::new(),
            subject: LogSubject::Hash(None),
        };
        serve(Config {
            decision_log: Some(log),
            ..self.config.clone()
        })
    }

    /// `count` verified tokens.
    fn verified(&self, count: usize) -> Vec<Arc<KnownToken>> {
        let kept = Kept::default();
        for number in 0..count {
            self.allow(&Provider::check(&self.signer.token(number)), &kept);
        }
        kept.0.into_inner()
    }
}

/// The `CheckResponse` to a check, with a configuration whose keys are in files.
pub fn answer_under(config: &Path, check: &[u8]) -> Vec<u8> {
    let answer = block_on(async {
        let config = Config::load(config).unwrap();
        let gate = Gate::start(config, Arc::new(SystemClock)).await;
        gate.generation().jwks.all_known().await;
        let service = Service { gate };
        service.answer(Ok(check), Duration::MAX).await
    });
    // Without gRPC's prefix of five bytes.
    answer[5..].to_vec()
}

fn serve(config: Config) -> Service {
    let gate = block_on(Gate::start(config, Arc::new(SystemClock)));
    Service { gate }
}

/// The answer to a check that does not have to wait for anything.
pub fn answer(service: &Service, check: &[u8]) -> bytes::Bytes {
    let answer = service.answer(Ok(check), Duration::MAX);
    answer.now_or_never().unwrap()
}

/// A memory that collects every token and never returns one.
#[derive(Default)]
struct Kept(RefCell<Vec<Arc<KnownToken>>>);

impl Memory for Kept {
    fn recall(&self, _: &str) -> Option<Arc<KnownToken>> {
        None
    }

    fn remember(&self, token: &Arc<KnownToken>) {
        self.0.borrow_mut().push(Arc::clone(token));
    }

    fn forget(&self, _: &str) {}
}

/// The rows with bars.
pub fn rows() -> Vec<Row> {
    let core = |rules, providers, keys| Core::new(Algorithm::EdDsa, rules, providers, keys);
    let few = core(10, 1, 1);
    let rules = "10,000 rules for different paths, against 10";
    let grown = [
        (rules, core(10_000, 1, 1)),
        ("1,000 providers against 1", core(10, 1_000, 1)),
        ("200 keys against 1", core(10, 1, 200)),
    ];
    let row = |token: &str, what: &str, many: &Core, decide: fn(&Core)| Row {
        what: format!("`decide`, {token}, {what}: time"),
        sample: Sample::of(|| {
            let [many, few] = [many, &few].map(|core| best(|| decide(core)));
            many.as_secs_f64() / few.as_secs_f64()
        }),
        unit: "×",
        bar: Some(Bar::AtMost(1.5)),
    };
    let rows = |(what, many): &(&str, Core)| {
        [
            row("remembered token", what, many, Core::decide_remembered),
            row(
                "EdDSA token never seen",
                what,
                many,
                Core::decide_never_seen,
            ),
        ]
    };
    grown.iter().flat_map(rows).collect()
}

/// The minimum time for this over several rounds of some hundred calls each.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn best(mut decide: impl FnMut()) -> Duration {
    const ROUNDS: usize = 50;
    const TIMES: usize = 300;
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TIMES {
            decide();
        }
        best = best.min(start.elapsed());
    }
    best
}

/// Measures each piece by itself. Returns their names in the order to show them.
pub fn pieces(criterion: &mut Criterion) -> Vec<(String, String)> {
    let mut names = Vec::new();
    let mut measure = |group: &str, name: &str, piece: &mut dyn FnMut()| {
        let mut group_of = criterion.benchmark_group(group);
        group_of.throughput(Throughput::Elements(1));
        group_of.bench_function(name, |bencher| bencher.iter(&mut *piece));
        names.push((group.to_owned(), name.to_owned()));
    };
    references(&mut measure);
    for alg in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ] {
        let core = Core::new(alg, 10, 1, 1);
        let never_seen = &mut || core.decide_never_seen();
        measure("decide, token never seen", alg.name(), never_seen);
    }
    let core = Core::new(Algorithm::Rs256, 10, 1, 1);
    for bytes in [1_000, 2_000, 4_000, 8_000] {
        let check = Provider::check(&core.signer.token_of(bytes));
        let name = format!("{bytes} bytes");
        let never_seen = &mut || core.allow(&check, &());
        measure("decide, RS256 token never seen", &name, never_seen);
        let remembered = &mut || core.allow(&check, &core.cache);
        measure("decide, token remembered", &name, remembered);
    }
    for (name, rules, providers, keys) in [
        ("10,000 rules", 10_000, 1, 1),
        ("1,000 providers", 10, 1_000, 1),
        ("200 keys", 10, 1, 200),
    ] {
        let core = Core::new(Algorithm::EdDsa, rules, providers, keys);
        let remembered = &mut || core.decide_remembered();
        measure("decide, token remembered", name, remembered);
    }
    token_cache(&core, &mut measure);
    let service = core.service();
    let mut answers = |name: &str, check: &[u8]| {
        measure("bytes of a check to bytes of an answer", name, &mut || {
            std::hint::black_box(answer(&service, check));
        });
    };
    answers("token remembered", &core.check);
    answers("no token", &Provider::check_without_token());
    answers("not a token", &Provider::check("abc"));
    names
}

/// The signature check alone, and a middleware that already has the key.
fn references(measure: &mut impl FnMut(&str, &str, &mut dyn FnMut())) {
    let verification = Verification::new();
    let verify = &mut || verification.run();
    measure("reference", "RSA-2048 verification of aws-lc", verify);
    let provider = Provider::new(0, Algorithm::Rs256);
    let jwk = serde_json::from_value(provider.signer.jwk()).unwrap();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_issuer(&[provider.issuer()]);
    validation.set_audience(&["orders-api"]);
    let token = provider.token(0);
    measure("reference", "decode of jsonwebtoken, RS256", &mut || {
        jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    });
}

fn token_cache(core: &Core, measure: &mut impl FnMut(&str, &str, &mut dyn FnMut())) {
    let tokens = core.verified(2_000);
    let settings = Settings {
        max_entries: 1_000,
        max_bytes: 64 * 1024 * 1024,
    };
    let cache = TokenCache::new(&settings, TokenCacheMetrics::default());
    let mut next = 0;
    measure("token cache", "remember, and forget another", &mut || {
        next = (next + 1) % tokens.len();
        cache.remember(&tokens[next]);
    });
    cache.remember(&tokens[0]);
    let first = core.signer.token(0);
    measure("token cache", "recall", &mut || {
        assert!(cache.recall(&first).is_some());
    });
    let unknown = core.signer.token(1_000_000);
    measure("token cache", "recall what is not there", &mut || {
        assert!(cache.recall(&unknown).is_none());
    });
}
