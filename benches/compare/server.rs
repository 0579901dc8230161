//! The whole server, beside one that lets every request pass.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::process::Server;
use crate::report::{Bar, Row, Sample};
use crate::tokens::{Provider, configuration};
use crate::{core, load};
use claimgate::keyring::Algorithm;

/// So many tokens are used where each is another.
const TOKENS: usize = 10_000;

/// So often a remembered token is asked about.
const CHECKS: usize = 100_000;

/// The figures of the server, which are measured below this directory.
pub fn rows(directory: &Path) -> Vec<Row> {
    let providers: Vec<Provider> = (0..10)
        .map(|number| Provider::new(number, Algorithm::Rs256))
        .collect();
    let messages: Vec<Vec<u8>> = (0..TOKENS)
        .map(|number| providers[number % providers.len()].check(number))
        .collect();
    let setting = Setting {
        config: configuration(directory, &providers),
        all: directory.join("all"),
        one: directory.join("one"),
        first: messages[0].clone(),
    };
    load::write(&setting.all, &messages);
    load::write(&setting.one, &messages[..1]);
    vec![
        Row {
            what: "Check, remembered token: CPU time of constant allow against claimgate's"
                .to_owned(),
            sample: Sample::of(|| setting.remembered()),
            unit: "×",
            bar: Bar::AtLeast(0.95),
        },
        Row {
            what: "Check, RS256-2048 token never seen: CPU time against constant allow and one \
                   RSA verification of aws-lc"
                .to_owned(),
            sample: Sample::of(|| setting.never_seen()),
            unit: "×",
            bar: Bar::AtMost(1.15),
        },
        Row {
            what: "Resident memory, 10 providers, 10,000 remembered tokens".to_owned(),
            sample: Sample::of(|| setting.resident()),
            unit: "MiB",
            bar: Bar::AtMost(40.0),
        },
        Row {
            what: "From start to the first allow, keys in files".to_owned(),
            sample: Sample::of(|| setting.start()),
            unit: "ms",
            bar: Bar::AtMost(100.0),
        },
    ]
}

struct Setting {
    config: PathBuf,
    /// Files of messages: each with a token of its own; a single one.
    all: PathBuf,
    one: PathBuf,
    first: Vec<u8>,
}

impl Setting {
    fn claimgate(&self) -> Server {
        let server = Server::claimgate(&self.config);
        server.wait(&self.first);
        server
    }

    fn constant(&self) -> Server {
        let server = Server::constant();
        server.wait(&self.first);
        server
    }

    fn remembered(&self) -> f64 {
        let (constant, claimgate) = (self.constant(), self.claimgate());
        for server in [&constant, &claimgate] {
            server.ask(&self.one, CHECKS / 10);
        }
        let reference = constant.cost(&self.one, CHECKS);
        reference / claimgate.cost(&self.one, CHECKS)
    }

    fn never_seen(&self) -> f64 {
        let (constant, claimgate) = (self.constant(), self.claimgate());
        constant.ask(&self.one, CHECKS / 10);
        let reference = constant.cost(&self.all, TOKENS) + core::rsa_verify();
        claimgate.cost(&self.all, TOKENS) / reference
    }

    fn resident(&self) -> f64 {
        let claimgate = self.claimgate();
        claimgate.ask(&self.all, TOKENS);
        claimgate.resident()
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn start(&self) -> f64 {
        let start = Instant::now();
        let _server = self.claimgate();
        start.elapsed().as_secs_f64() * 1e3
    }
}
