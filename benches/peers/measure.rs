//! The figures of one service.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::answers;
use crate::load::{Load, Protocol, Refused};
use crate::peer::Peer;
use crate::process::{CLIENT, Server, ask, block_on};
use crate::scene::{EACH_BAD, Scene, TOKENS};

/// How many times each figure is measured, each time by a new process.
const ROUNDS: usize = 5;

/// How long a service may take until it allows the first request.
const MAX_START: Duration = Duration::from_secs(20);

/// The number of requests with the same token.
const REPEATED: usize = 10_000;

/// The medians of a service, in the order of the table.
pub struct Measured {
    name: &'static str,
    version: String,
    /// Requests per second of CPU time: one token, tokens never seen, one in ten bad.
    rates: [f64; 3],
    /// Resident memory afterwards, in MiB.
    resident: f64,
}

impl Measured {
    /// Measures a service. The error says why it cannot be measured.
    pub fn of(peer: &Peer, program: &Path, scene: &Scene) -> Result<Self, String> {
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            let server = started(peer, program, scene)?;
            let wrong = answers::wrong(&server, scene);
            if !wrong.is_empty() {
                return Err(format!("its answers are wrong: {}", wrong.join("; ")));
            }
            for (figures, figure) in rounds.iter_mut().zip(round(&server, scene)) {
                figures.push(figure);
            }
        }
        let [one, many, mixed, resident] = rounds.map(median);
        Ok(Self {
            name: peer.name,
            version: peer.version(program),
            rates: [one, many, mixed],
            resident,
        })
    }
}

/// The service, once it allows a request.
fn started(peer: &Peer, program: &Path, scene: &Scene) -> Result<Server, String> {
    let server = peer.start(program, scene);
    let (_, message, _) = &scene.expected[0];
    let allowed = block_on(async {
        let first = server.server.first(Protocol::Check, message);
        tokio::time::timeout(MAX_START, first).await
    });
    match allowed {
        Ok(()) => Ok(server),
        Err(_) => Err(format!(
            "`{}` did not allow a good token within {} s",
            program.display(),
            MAX_START.as_secs()
        )),
    }
}

fn round(server: &Server, scene: &Scene) -> [f64; 4] {
    let load = |file: &Path, count, refused| Load {
        refused,
        ..server.checks(file, count)
    };
    let rate = |load: Load| 1e6 / server.cost(CLIENT, &load);
    // Every code path has run before it is measured.
    ask(CLIENT, &load(&scene.others, TOKENS, Refused::None));
    ask(CLIENT, &load(&scene.one, REPEATED / 4, Refused::None));
    [
        rate(load(&scene.one, REPEATED, Refused::None)),
        rate(load(&scene.many, TOKENS, Refused::None)),
        rate(load(&scene.mixed, TOKENS, Refused::OneOf(EACH_BAD))),
        server.resident(),
    ]
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The figures as a Markdown table, each rate with its ratio to the first service's.
pub fn table(measured: &[Measured]) -> String {
    let mut table = "\
| requests per CPU-second | one token | tokens never seen | one in ten bad | memory |
|---|---|---|---|---|
"
    .to_owned();
    let Some(first) = measured.first() else {
        return table;
    };
    for Measured {
        name,
        version,
        rates,
        resident,
    } in measured
    {
        let cells: Vec<String> = rates
            .iter()
            .zip(first.rates)
            .map(|(rate, first)| format!("{rate:.0} ({:.2} ×)", rate / first))
            .collect();
        let cells = cells.join(" | ");
        writeln!(
            table,
            "| {name} ({version}) | {cells} | {resident:.0} MiB |"
        )
        .unwrap();
    }
    table
}
