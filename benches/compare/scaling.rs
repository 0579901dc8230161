//! How the cost of a check grows with the number of tokens, connections, streams and cores.

use std::path::{Path, PathBuf};

use claimgate::keyring::Algorithm;

use crate::load::{self, Load, Protocol, Refused};
use crate::process::{BOTH, CLIENT, SERVER, Server, Work, ask};
use crate::report::{Row, Sample};
use crate::scene::Scene;
use crate::server::{claimgate, constant};
use crate::tokens::{Provider, forgetful};

const CHECKS: usize = 30_000;

pub fn rows(scene: &Scene) -> Vec<Row> {
    let bad = "1,000 tokens, every tenth with a bad signature";
    let mut rows = vec![
        tokens("1,000 tokens", scene, &scene.thousand, Refused::None),
        tokens("10,000 tokens", scene, &scene.all, Refused::None),
        tokens(bad, scene, &scene.tenth_bad, Refused::OneOf(10)),
    ];
    for (connections, streams) in [(1, 1), (1, 8), (1, 64), (8, 8), (32, 2), (2, 128)] {
        rows.push(at_once(scene, connections, streams));
    }
    for (connections, streams) in [(1, 8), (1, 64), (2, 32)] {
        rows.push(shared_cores(scene, connections, streams));
    }
    let slow = Slow::set_up(scene);
    for (connections, streams) in [(1, 2), (1, 8), (1, 64)] {
        rows.push(slow.two_cores(connections, streams));
    }
    rows
}

fn row(what: String, measure: impl FnMut() -> f64) -> Row {
    Row {
        what,
        sample: Sample::of(measure),
        unit: "×",
        bar: None,
    }
}

fn tokens(what: &str, scene: &Scene, file: &Path, refused: Refused) -> Row {
    row(
        format!("{what}: CPU time of a check against 1 token"),
        || {
            let server = claimgate(scene);
            let many = |count| Load {
                refused,
                ..server.checks(file, count)
            };
            ask(CLIENT, &server.checks(&scene.one, CHECKS / 3));
            ask(CLIENT, &many(CHECKS / 3));
            let one = server.cost(CLIENT, &server.checks(&scene.one, CHECKS));
            server.cost(CLIENT, &many(CHECKS)) / one
        },
    )
}

fn at_once(scene: &Scene, connections: usize, streams: usize) -> Row {
    let what = format!(
        "connections: {connections}, streams of each: {streams}: checks in the same CPU time, \
         against constant allow"
    );
    row(what, || {
        let cost = |server: &Server| {
            ask(CLIENT, &server.checks(&scene.one, CHECKS / 3));
            let load = load_of(server, &scene.one, [connections, streams], CHECKS);
            server.cost(CLIENT, &load)
        };
        cost(&constant(scene, Work::Nothing)) / cost(&claimgate(scene))
    })
}

/// A setting in which each check takes an RSA verification.
fn shared_cores(scene: &Scene, connections: usize, streams: usize) -> Row {
    let what = format!(
        "two cores, shared with the client, every RS256 token verified, connections: \
         {connections}, streams of each: {streams}: checks/s against constant allow with one RSA \
         verification of aws-lc"
    );
    row(what, || {
        let rate = |server: Server| {
            let server = server.wait(Protocol::Check, &scene.first);
            rate(&server, BOTH, &scene.all, [connections, streams], CHECKS)
        };
        let claimgate = rate(Server::claimgate(BOTH, &scene.config_forgetful));
        claimgate / rate(Server::constant(BOTH, Work::Verification))
    })
}

/// Tokens whose verification takes so long that the client uses hardly any of the cores' time.
struct Slow {
    config: PathBuf,
    checks: PathBuf,
    first: Vec<u8>,
}

impl Slow {
    fn set_up(scene: &Scene) -> Self {
        let provider = Provider::new(200, Algorithm::Es384);
        let checks: Vec<Vec<u8>> = (0..100)
            .map(|number| Provider::check(&provider.token(number)))
            .collect();
        let file = scene.directory.join("slow");
        load::write(&file, &checks);
        let provider = provider.with_key_file(&scene.directory);
        Self {
            config: forgetful(&scene.directory, "slow", &[provider]),
            checks: file,
            first: checks[0].clone(),
        }
    }

    fn two_cores(&self, connections: usize, streams: usize) -> Row {
        let what = format!(
            "two cores, every ES384 token verified, connections: {connections}, streams of each: \
             {streams}: checks/s against one core"
        );
        row(what, || {
            let rate = |cores, client| {
                let server = Server::claimgate(cores, &self.config);
                let server = server.wait(Protocol::Check, &self.first);
                let at_once = [connections, streams];
                rate(&server, client, &self.checks, at_once, CHECKS / 6)
            };
            rate(BOTH, BOTH) / rate(SERVER, CLIENT)
        })
    }
}

/// A load of `count` checks over this many connections with this many streams each.
fn load_of(server: &Server, file: &Path, [connections, streams]: [usize; 2], count: usize) -> Load {
    Load {
        connections,
        streams,
        ..server.checks(file, count)
    }
}

/// The checks per second of such a load, sent as fast as they are answered.
fn rate(server: &Server, client: &str, file: &Path, at_once: [usize; 2], count: usize) -> f64 {
    let load = |count| load_of(server, file, at_once, count);
    ask(client, &load(count / 3));
    ask(client, &load(count)).rate()
}
