//! The whole server, beside a service that lets every request pass.

use std::time::Instant;

use crate::load::Protocol;
use crate::process::{CLIENT, SERVER, Server, Work, ask};
use crate::report::{Bar, Row, Sample};
use crate::scene::{Scene, TOKENS};

/// The number of checks with a cached token.
const CHECKS: usize = 60_000;

/// The rows with bars.
pub fn rows(scene: &Scene) -> Vec<Row> {
    vec![
        Row {
            what: "Check, remembered token: checks in the same CPU time, against constant allow"
                .to_owned(),
            sample: Sample::of(|| remembered(scene)),
            unit: "×",
            bar: Some(Bar::AtLeast(0.95)),
        },
        Row {
            what: "Check, RS256-2048 token never seen: CPU time against constant allow with one \
                   RSA verification of aws-lc"
                .to_owned(),
            sample: Sample::of(|| never_seen(scene)),
            unit: "×",
            bar: Some(Bar::AtMost(1.15)),
        },
        Row {
            what: "Resident memory, 10 providers, 10,000 remembered tokens".to_owned(),
            sample: Sample::of(|| resident(scene)),
            unit: "MiB",
            bar: Some(Bar::AtMost(45.0)),
        },
        Row {
            what: "From start to the first allow, keys in files".to_owned(),
            sample: Sample::of(|| start(scene)),
            unit: "ms",
            bar: Some(Bar::AtMost(100.0)),
        },
    ]
}

/// claimgate with everything it needs, on its core.
pub fn claimgate(scene: &Scene) -> Server {
    Server::claimgate(SERVER, &scene.config).wait(Protocol::Check, &scene.first)
}

/// The reference, on the same core.
pub fn constant(scene: &Scene, work: Work<'_>) -> Server {
    Server::constant(SERVER, work).wait(Protocol::Check, &scene.first)
}

fn remembered(scene: &Scene) -> f64 {
    let (constant, claimgate) = (constant(scene, Work::Nothing), claimgate(scene));
    let cost = |server: &Server| {
        ask(CLIENT, &server.checks(&scene.one, CHECKS / 6));
        server.cost(CLIENT, &server.checks(&scene.one, CHECKS))
    };
    cost(&constant) / cost(&claimgate)
}

/// Measured after as many other tokens, so that the memory is already allocated.
fn never_seen(scene: &Scene) -> f64 {
    let (constant, claimgate) = (constant(scene, Work::Verification), claimgate(scene));
    let cost = |server: &Server| {
        ask(CLIENT, &server.checks(&scene.others, TOKENS));
        server.cost(CLIENT, &server.checks(&scene.all, TOKENS))
    };
    cost(&claimgate) / cost(&constant)
}

/// Each token is checked twice, so that everything ever cached for it is in memory.
fn resident(scene: &Scene) -> f64 {
    let claimgate = claimgate(scene);
    ask(CLIENT, &claimgate.checks(&scene.all, 2 * TOKENS));
    claimgate.resident()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn start(scene: &Scene) -> f64 {
    let start = Instant::now();
    let _server = claimgate(scene);
    start.elapsed().as_secs_f64() * 1e3
}
