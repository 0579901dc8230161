//! Measures claimgate beside its references in one run: `make bench`.
//!
//! Servers run on one core and their clients on another. The result is the CPU time of the server
//! per check, as a ratio to a reference that is measured alternately with it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    clippy::cast_precision_loss,
    reason = "a harness fails by panicking, its output is its result, and its figures are rounded"
)]

use std::process::ExitCode;
use std::time::Duration;

mod constant;
mod core;
mod dearest;
mod envoy;
mod flood;
mod instructions;
mod issuers;
mod load;
mod message;
mod module;
mod peers;
mod plot;
mod process;
mod report;
mod rsa;
mod scaling;
mod scene;
mod server;
mod tokens;

use report::Row;

/// The same allocator as claimgate's, so that the reference is not slower for lack of it. Only claimgate
/// overwrites what it frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The same runtime as claimgate's: one worker on one core.
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().build().unwrap()
    };
    match arguments.as_slice() {
        // These run as separate processes on a separate core.
        ["constant", address] => {
            let constant = constant::Constant::default();
            runtime().block_on(constant.serve(address.parse().unwrap()));
        }
        ["verifying", address] => {
            let constant = constant::Constant::verifying();
            runtime().block_on(constant.serve(address.parse().unwrap()));
        }
        ["answering", address, file] => {
            let constant = constant::Constant::answering(file.as_ref());
            runtime().block_on(constant.serve(address.parse().unwrap()));
        }
        ["load"] => {
            let load: load::Load = serde_json::from_reader(std::io::stdin()).unwrap();
            let outcome = runtime().block_on(load.run());
            println!("{}", serde_json::to_string(&outcome).unwrap());
        }
        ["instructions", case] => instructions::run(case),
        ["--quick", "--bench"] => return instructions::compare(false),
        ["--accept", "--bench"] => return instructions::compare(true),
        // Writes files to inspect, and to run the processes above by hand.
        ["--scene", directory, "--bench"] => {
            scene::Scene::set_up(directory.as_ref());
        }
        ["--pictures", "--bench"] => {
            let directory = tempfile::tempdir().unwrap();
            plot::draw(&scene::Scene::set_up(directory.path()));
        }
        // Prints one table.
        ["--only", part, "--bench"] => {
            let directory = tempfile::tempdir().unwrap();
            let scene = scene::Scene::set_up(directory.path());
            shown(part, report::table(&rows(part, &scene)));
        }
        // What `cargo bench` passes.
        ["--bench"] => return measure(),
        other => panic!("{other:?}: run `make bench`"),
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let scene = scene::Scene::set_up(directory.path());
    let parts = ["server", "envoy", "flood", "core"];
    let mut rows: Vec<Row> = parts.iter().flat_map(|part| rows(part, &scene)).collect();
    let bars = shown("Bars", report::table(&rows));
    let worst = ["dearest", "peers"];
    let worst: Vec<Row> = worst
        .iter()
        .flat_map(|part| self::rows(part, &scene))
        .collect();
    let worst_table = shown("At worst", report::table(&worst));
    rows.extend(worst);
    let inside = self::rows("module", &scene);
    let inside_table = shown("Inside Envoy", report::table(&inside));
    rows.extend(inside);
    let ways = shown("Through Envoy", report::table(&self::rows("ways", &scene)));
    let issuers = self::rows("issuers", &scene);
    let issuers_table = shown("Many issuers", report::table(&issuers));
    rows.extend(issuers);
    let scaling = shown("Scaling", report::table(&self::rows("scaling", &scene)));
    plot::draw(&scene);
    let found = directory.path().join("criterion");
    let mut criterion = criterion::Criterion::default()
        .output_directory(&found)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    let names = core::pieces(&mut criterion);
    let pieces = shown("Pieces", report::pieces(&names, &found));
    report::write(&[
        ("bars", &bars),
        ("worst", &worst_table),
        ("ways", &ways),
        ("inside", &inside_table),
        ("issuers", &issuers_table),
        ("scaling", &scaling),
        ("pieces", &pieces),
    ]);
    let short: Vec<&str> = rows
        .iter()
        .filter(|row| !row.is_met())
        .map(|row| row.what.as_str())
        .collect();
    if short.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("On the wrong side of the bar:\n- {}", short.join("\n- "));
    ExitCode::FAILURE
}

/// The rows of one part.
fn rows(part: &str, scene: &scene::Scene) -> Vec<Row> {
    match part {
        "server" => server::rows(scene),
        "envoy" => envoy::rows(scene),
        "module" => module::rows(scene),
        "flood" => vec![flood::row(scene)],
        "core" => core::rows(),
        "dearest" => dearest::rows(scene),
        "peers" => peers::rows(scene),
        "ways" => envoy::ways(scene),
        "issuers" => issuers::rows(scene),
        "scaling" => scaling::rows(scene),
        other => panic!("there is no part `{other}`"),
    }
}

fn shown(title: &str, table: String) -> String {
    println!("{title}\n\n{table}");
    table
}
