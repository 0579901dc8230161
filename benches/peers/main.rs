//! Measures claimgate beside other services that answer `Check`: `make bench-peers`.
//!
//! Each service runs alone on one core, and its client on another. All get the same requests from the same
//! client, and must give the same answers. The figure is requests per second of the service's CPU time.
//!
//! The services are not installed by anything here: those on `PATH` are measured, and the others are named.

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

mod answers;
mod cluster;
mod issuer;
mod measure;
mod peer;
mod scene;

// What `make bench` uses too.
#[path = "../compare/constant.rs"]
#[expect(dead_code, reason = "`compare` uses all of it")]
mod constant;
#[path = "../compare/load.rs"]
#[expect(dead_code, reason = "`compare` uses all of it")]
mod load;
#[path = "../compare/message.rs"]
mod message;
#[path = "../compare/process.rs"]
#[expect(dead_code, reason = "`compare` uses all of it")]
mod process;
#[path = "../compare/rsa.rs"]
mod rsa;
#[path = "../compare/tokens.rs"]
#[expect(dead_code, reason = "`compare` uses all of it")]
mod tokens;

use peer::Peer;
use scene::Scene;

/// The same allocator as claimgate's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().build().unwrap()
    };
    match arguments.as_slice() {
        // These run as separate processes.
        ["constant", address] => {
            let constant = constant::Constant::default();
            runtime().block_on(constant.serve(address.parse().unwrap()));
            ExitCode::SUCCESS
        }
        ["load"] => {
            let load: load::Load = serde_json::from_reader(std::io::stdin()).unwrap();
            let outcome = runtime().block_on(load.run());
            println!("{}", serde_json::to_string(&outcome).unwrap());
            ExitCode::SUCCESS
        }
        // What `cargo bench` passes.
        ["--bench"] => {
            // The keys are served meanwhile.
            let runtime = runtime();
            let _guard = runtime.enter();
            measure_all()
        }
        other => panic!("{other:?}: run `make bench-peers`"),
    }
}

fn measure_all() -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::set_up(directory.path());
    // The checks of answers must be able to fail.
    let everything = peer::allowing_everything();
    let found = answers::wrong(&everything, &scene);
    assert_eq!(
        found.len(),
        scene.expected.len(),
        "a service that allows everything passed: {found:?}"
    );

    let (mut measured, mut notes) = (Vec::new(), Vec::new());
    for peer in Peer::all() {
        let Some(program) = peer.program() else {
            let names = peer.names.join("` or `");
            notes.push(format!("{}: not measured, no `{names}` on PATH", peer.name));
            continue;
        };
        match measure::Measured::of(peer, &program, &scene) {
            Ok(figures) => measured.push(figures),
            Err(why) => notes.push(format!("{}: not measured, {why}", peer.name)),
        }
    }
    println!("{}", measure::table(&measured));
    for note in &notes {
        println!("- {note}");
    }
    let is_complete = notes.iter().all(|note| note.contains(" on PATH"));
    match is_complete {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
