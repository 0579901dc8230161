//! What a check costs as there is more of something: tokens, connections, streams, cores.

use std::path::Path;

use crate::load::{Load, Protocol};
use crate::process::{BOTH, CLIENT, SERVER, Server, Work, ask};
use crate::report::{Row, Sample};
use crate::scene::Scene;

const CHECKS: usize = 30_000;

/// Each against two connections with 32 streams each, one token and one core.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, file) in [
        ("1,000 tokens", &scene.thousand),
        ("10,000 tokens", &scene.all),
    ] {
        rows.push(row(scene, what, file, |load| load));
    }
    for (connections, streams) in [(1, 1), (1, 8), (1, 64), (8, 8), (32, 2), (2, 128)] {
        let what = format!("{connections} connections with {streams} streams each");
        rows.push(row(scene, &what, &scene.one, |load| Load {
            connections,
            streams,
            ..load
        }));
    }
    for (name, is_claimgate) in [("claimgate", true), ("constant allow", false)] {
        rows.push(Row {
            what: format!("two cores, shared with whoever asks: requests/s of {name} against one core of its own"),
            sample: Sample::of(|| {
                let start = |cores| {
                    let server = match is_claimgate {
                        true => Server::claimgate(cores, &scene.config),
                        false => Server::constant(cores, Work::Nothing),
                    };
                    server.wait(Protocol::Check, &scene.first)
                };
                let rate = |server: &Server, cores| {
                    ask(cores, &server.checks(&scene.one, CHECKS / 3));
                    ask(cores, &server.checks(&scene.one, CHECKS)).rate()
                };
                let (one, two) = (start(SERVER), start(BOTH));
                rate(&two, BOTH) / rate(&one, CLIENT)
            }),
            unit: "×",
            bar: None,
        });
    }
    rows
}

fn row(scene: &Scene, what: &str, file: &Path, change: impl Fn(Load) -> Load) -> Row {
    Row {
        what: format!("{what}: CPU time of a check"),
        sample: Sample::of(|| {
            let server = super::server::claimgate(scene);
            ask(CLIENT, &server.checks(&scene.one, CHECKS / 3));
            ask(CLIENT, &server.checks(file, CHECKS / 3));
            let few = server.cost(CLIENT, &server.checks(&scene.one, CHECKS));
            server.cost(CLIENT, &change(server.checks(file, CHECKS))) / few
        }),
        unit: "×",
        bar: None,
    }
}
