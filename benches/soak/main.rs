//! Mixed traffic through Envoy for a long time, while providers fail and rotate, and the operator reloads
//! the configuration and replaces certificates: `make soak TIME=30m`.
//!
//! Every answer is compared with what is right at that moment ([`oracle`]). The exit status is 1 if
//! claimgate broke a promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a harness fails by panicking, its output is its result, and its figures are rounded"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use claimgate::keyring::Algorithm;
use clap::Parser as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

mod behaviour;
#[path = "../../tests/e2e/certificates.rs"]
mod certificates;
mod class;
mod client;
mod configuration;
mod operator;
mod oracle;
mod process;
mod provider;
mod report;
mod traffic;

use behaviour::{flaps, hangs, rotates_carefully, rotates_suddenly};
use certificates::Certificates;
use client::Shared;
use configuration::Configuration;
use operator::Operator;
use process::Claimgate;
use provider::Provider;
use report::{Circumstances, Memory, Tally};
use traffic::Traffic;

const AUDIENCE: &str = "urn:orders-api";

/// `unknown_key_cooldown`.
const COOLDOWN: Duration = Duration::from_secs(3);

/// Memory that is not counted as growth is taken in this time, at most.
const WARM_UP: Duration = Duration::from_mins(3);

#[derive(clap::Parser)]
struct Arguments {
    /// How long to send requests
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    time: Duration,

    /// The maximum number of requests per second
    #[arg(long, default_value_t = 700.0)]
    rate: f64,

    /// The number of clients, each with a connection of its own
    #[arg(long, default_value_t = 48)]
    clients: u32,

    /// The claimgate to test; default: the one that was built with this program
    #[arg(long, env = "CLAIMGATE_BIN", default_value = env!("CARGO_BIN_EXE_claimgate"))]
    claimgate: PathBuf,

    /// Envoy's binary
    #[arg(long, env = "ENVOY_BIN")]
    envoy: PathBuf,

    /// How many MiB the resident memory may grow after the warm-up
    #[arg(long, default_value_t = 32.0)]
    max_growth: f64,

    /// File for the report as JSON
    #[arg(long)]
    json: Option<PathBuf>,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (text, json, is_kept) = soak(&arguments).await;
    println!("{text}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{json:#}\n")).unwrap();
    }
    match is_kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn soak(arguments: &Arguments) -> (String, serde_json::Value, bool) {
    // Short runs have several rounds too.
    let minute = (arguments.time / 3).clamp(Duration::from_secs(15), Duration::from_mins(1));
    let providers = [
        Provider::start("healthy", Algorithm::Rs256, true).await,
        Provider::start("careful", Algorithm::Es256, true).await,
        Provider::start("sudden", Algorithm::EdDsa, true).await,
        Provider::start("flapping", Algorithm::Es256, false).await,
        Provider::start("hanging", Algorithm::Es384, false).await,
    ];
    let [healthy, careful, sudden, flapping, hanging] = providers.clone();
    let certificates = Certificates::create();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let server = certificates.server("max_connection_age: 10s");
    let configuration = Arc::new(Configuration::write(file.clone(), &server, &providers));
    let claimgate = Claimgate::start(&arguments.claimgate, &file).await;
    claimgate.ready().await;
    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: "127.0.0.1:0".parse().unwrap(),
        claimgate: claimgate.check.into(),
        upstream: upstream.address(),
    };
    // The example's `timeout` leaves 250 ms for a fetch.
    let envoy = certificates.envoy().replace("timeout: 0.5s", "timeout: 1s");
    let envoy = Envoy::start(&arguments.envoy, &envoy, &wiring)
        .await
        .unwrap();

    let mut background = JoinSet::new();
    background.spawn(rotates_carefully(careful.clone(), minute));
    background.spawn(rotates_suddenly(sudden.clone(), minute));
    background.spawn(flaps(flapping.clone(), minute));
    background.spawn(hangs(hanging.clone(), minute));
    let tally = Arc::new(Tally::default());
    let floods = [
        (healthy, true),
        (careful, false),
        (sudden, false),
        (flapping, true),
        (hanging, true),
    ];
    let shared = Arc::new(Shared {
        envoy: envoy.address(),
        traffic: Traffic::new(&floods),
        configuration: Arc::clone(&configuration),
        tally: Arc::clone(&tally),
        done: AtomicBool::new(false),
    });
    let pause = Duration::from_secs_f64(f64::from(arguments.clients) / arguments.rate);
    let mut clients = JoinSet::new();
    for _ in 0..arguments.clients {
        clients.spawn(client::run(Arc::clone(&shared), pause));
    }

    let start = Instant::now();
    let mut operator = Operator {
        minute,
        next: start + minute / 2,
        certificates,
        configuration,
        reloads: 0,
        rotations: 0,
        broken: Vec::new(),
    };
    let memory = watch(arguments, &claimgate, &tally, &mut operator, start).await;
    shared.done.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let Operator {
        reloads,
        rotations,
        mut broken,
        ..
    } = operator;
    let growth = memory.end - memory.warm;
    if growth > arguments.max_growth {
        broken.push(format!(
            "the resident memory grew by {growth:.1} MiB after the warm-up"
        ));
    }
    let fetches = providers
        .iter()
        .map(|provider| (provider.name(), provider.fetches()));
    report::write(
        &tally,
        &Circumstances {
            took: start.elapsed(),
            memory,
            fetches: fetches.collect(),
            reloads,
            rotations,
            log: claimgate.log(),
            broken,
        },
    )
}

/// Watches the process and the clients until the time is over, and lets the operator act. A line every ten
/// seconds tells how it goes.
async fn watch(
    arguments: &Arguments,
    claimgate: &Claimgate,
    tally: &Tally,
    operator: &mut Operator,
    start: Instant,
) -> Memory {
    let mut memory = Memory {
        start: claimgate.resident(),
        ..Memory::default()
    };
    let warm_up = WARM_UP.min(arguments.time / 2);
    let mut seconds = interval(Duration::from_secs(1));
    let (mut second, mut before, mut prompt) = (0_u32, 0, 0);
    while start.elapsed() < arguments.time {
        seconds.tick().await;
        let now = claimgate.resident();
        memory.peak = memory.peak.max(now);
        if start.elapsed() < warm_up {
            memory.warm = memory.warm.max(now);
        }
        memory.end = now;
        operator.act(claimgate).await;
        second += 1;
        if second.is_multiple_of(10) {
            let (count, wrong) = tally.progress();
            let (prompt_now, [p50, p99]) = tally.prompt(prompt);
            prompt = prompt_now;
            println!(
                "{:>6} s {count:>9} requests, {:>5.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms, {now:.1} MiB, \
                 {} reloads, {} rotations, {wrong} wrong",
                start.elapsed().as_secs(),
                (count - before) as f64 / 10.0,
                operator.reloads,
                operator.rotations,
            );
            before = count;
        }
    }
    memory
}
