//! What a check costs as there is more of something: tokens, connections, streams, cores.

use crate::load::{Load, Protocol};
use crate::process::{BOTH, CLIENT, SERVER, Server, Work, ask};
use crate::report::{Row, Sample};
use crate::scene::Scene;
use crate::server::{claimgate, constant};

const CHECKS: usize = 30_000;

pub fn rows(scene: &Scene) -> Vec<Row> {
    let mut rows = vec![
        tokens(scene, "1,000 tokens", &scene.thousand),
        tokens(scene, "10,000 tokens", &scene.all),
    ];
    for (connections, streams) in [(1, 1), (1, 8), (1, 64), (8, 8), (32, 2), (2, 128)] {
        rows.push(at_once(scene, connections, streams));
    }
    for connections in [1, 2] {
        rows.push(cores(scene, "claimgate", connections, |cores| {
            Server::claimgate(cores, &scene.config_forgetful)
        }));
        rows.push(cores(scene, "constant allow", connections, |cores| {
            Server::constant(cores, Work::Verification)
        }));
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

fn tokens(scene: &Scene, what: &str, file: &std::path::Path) -> Row {
    row(
        format!("{what}: CPU time of a check against 1 token"),
        || {
            let server = claimgate(scene);
            ask(CLIENT, &server.checks(&scene.one, CHECKS / 3));
            ask(CLIENT, &server.checks(file, CHECKS / 3));
            let few = server.cost(CLIENT, &server.checks(&scene.one, CHECKS));
            server.cost(CLIENT, &server.checks(file, CHECKS)) / few
        },
    )
}

fn at_once(scene: &Scene, connections: usize, streams: usize) -> Row {
    let what = format!(
        "connections: {connections}, streams of each: {streams}: CPU time of constant allow \
         against claimgate's"
    );
    row(what, || {
        let cost = |server: &Server| {
            ask(CLIENT, &server.checks(&scene.one, CHECKS / 3));
            let load = Load {
                connections,
                streams,
                ..server.checks(&scene.one, CHECKS)
            };
            server.cost(CLIENT, &load)
        };
        cost(&constant(scene, Work::Nothing)) / cost(&claimgate(scene))
    })
}

/// Where each check takes an RSA verification.
fn cores(scene: &Scene, name: &str, connections: usize, start: impl Fn(&str) -> Server) -> Row {
    let what = format!(
        "two cores, of which whoever asks takes its part, every token verified, connections: \
         {connections}: checks/s of {name} against one core"
    );
    row(what, || {
        let rate = |server: &Server, cores| {
            let load = |count| Load {
                connections,
                streams: 64 / connections,
                ..server.checks(&scene.all, count)
            };
            ask(cores, &load(CHECKS / 6));
            ask(cores, &load(CHECKS / 2)).rate()
        };
        let [one, two] = [SERVER, BOTH].map(|cores| {
            let server = start(cores);
            server.wait(Protocol::Check, &scene.first)
        });
        rate(&two, BOTH) / rate(&one, CLIENT)
    })
}
