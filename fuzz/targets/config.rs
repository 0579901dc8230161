//! Bytes as a configuration. Nothing panics, every problem has a location, and no valid
//! configuration allows a token that nobody signed.

#![no_main]

use claimgate::config::{Config, ConfigError, KeySource};
use claimgate::decision::{Decision, decide};
use claimgate::keyring::{Keyring, Keys};
use claimgate::request::Request;
use claimgate::time::UnixTime;
use claimgate_fuzz::{GATE, NOW};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(yaml) = std::str::from_utf8(data) else {
        return;
    };
    let config = match Config::from_yaml(yaml) {
        Ok(config) => config,
        Err(ConfigError::Wrong { problems, .. }) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(config.keys.len(), config.policy.providers().count());
    assert!(!config.server.listen.is_empty());
    let mut keyring = Keyring::empty(config.keys.len());
    for ((id, _), keys) in config.policy.providers().zip(&config.keys) {
        if let KeySource::Inline(known) = &keys.source {
            keyring = keyring.with(id, Keys::Known(known.clone()));
        }
    }
    for token in &GATE.good {
        let line = format!("Bearer {token}");
        let request = Request {
            path: "/",
            headers: [("authorization", line.as_bytes())].into_iter().collect(),
            ..Request::default()
        };
        let now = UnixTime::from_secs(NOW);
        let decision =
            decide(&config.policy, &keyring, &(), &request, now, &mut ()).by_what_is_known();
        // A rule may let a request pass whatever its token is, but then the allow has no bearer.
        assert!(!matches!(&decision, Decision::Allow(permit) if permit.bearer().is_some()));
    }
});
