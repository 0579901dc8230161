//! Bytes as streams that are open at once in the module for Envoy, behind its C interface. `AddressSanitizer` sees what
//! uses memory that is gone, the host what uses a stream that is gone, and no request passes that should not.
//!
//! The first byte chooses a configuration. Byte 0 ends a stream: its first byte chooses a token, the second how it ends, and the rest is an `Input`.

#![no_main]

#[expect(dead_code, reason = "no input begins or ends Envoy")]
#[path = "../../crates/envoy-module/tests/boundary/bootstrap.rs"]
mod bootstrap;
#[path = "../../crates/envoy-module/tests/boundary/callbacks.rs"]
mod callbacks;
#[path = "../../crates/envoy-module/tests/boundary/host.rs"]
mod host;
#[path = "../../crates/envoy-module/tests/boundary/memory.rs"]
mod memory;

use std::mem::ManuallyDrop;
use std::sync::LazyLock;
use std::time::Duration;

use claimgate_fuzz::input::Input;
use claimgate_fuzz::{AUDIENCE, GATE, ISSUER};
use host::{CONTINUE, Config, End, Open, Route, Worker};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// How many streams are open at once.
const STREAMS: usize = 8;

/// Good tokens by the clock of the module.
static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000_u64, "sub": "alice", "scope": "read",
    });
    let signers = GATE.signers.iter();
    signers
        .map(|signer| signer.token(&claims).unwrap())
        .collect()
});

thread_local! {
    /// With a cache of tokens, and without one, where tokens are always verified, some on another thread. Never
    /// destroyed: at the end of the program, what that needs is gone.
    static CONFIGS: ManuallyDrop<[Config; 2]> = ManuallyDrop::new([100, 0].map(configured));
}

fn configured(max_entries: u64) -> Config {
    let mut config: Value = serde_json::from_str(&GATE.config).unwrap();
    config["token_cache"] = json!({"max_entries": max_entries});
    Config::new(b"claimgate", config.to_string().as_bytes()).unwrap()
}

fuzz_target!(|data: &[u8]| {
    if let [first, data @ ..] = data {
        CONFIGS.with(|configs| check(&configs[usize::from(first % 2)], data));
    }
});

fn check(config: &Config, data: &[u8]) {
    let worker = Worker::new();
    let streams = data.split(|byte| *byte == 0).take(STREAMS);
    let streams: Vec<_> = streams
        .filter_map(|stream| {
            let [token, end, text @ ..] = stream else {
                return None;
            };
            let end = End::ALL[usize::from(*end) % End::ALL.len()];
            let input = Input::read(&GOOD, *token, text);
            let is_public = input.path_begins_with(b"/public");
            let has_token = usize::from(*token) < GOOD.len();
            Some((route_of(&input), input, end, is_public || has_token))
        })
        .collect();
    config.metric("claimgate_checks_total", Duration::ZERO);
    let mut open = Vec::new();
    for (route, input, end, may_pass) in &streams {
        let lines = input.lines();
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        let source = (&*lines, input.address.as_str());
        let begun = Open::begin(&worker, config, route.as_ref(), source, *end);
        open.push((begun, *may_pass || route.is_some()));
    }
    for (stream, may_pass) in open {
        let seen = stream.finish();
        assert!(may_pass || !seen.passed());
        assert!(!(seen.passed() && seen.answered.is_some()));
        assert!(seen.status != Some(CONTINUE) || seen.answered.is_none());
        for name in ["x-auth-subject", "x_auth_subject"] {
            let values = seen.request(name);
            assert!(values.iter().all(|value| *value == b"alice"), "{values:?}");
        }
        let is_complete = seen.passed() && !seen.response.is_empty();
        assert!(!is_complete || seen.response("x-checked-by") == [b"claimgate"]);
    }
}

fn route_of(input: &Input) -> Option<Route> {
    let context: serde_json::Map<_, _> = input
        .context
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    Route::new(serde_json::Value::from(context).to_string().as_bytes())
}
