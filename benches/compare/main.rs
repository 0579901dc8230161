//! Measures claimgate beside its references, in one run: `make bench`.
//!
//! Servers run on one core and whoever asks them on another; what counts is the CPU time of the
//! server for each check, and of that the ratio to a reference that was measured in turn with it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    clippy::cast_precision_loss,
    reason = "a harness fails by panicking, its output is its result, and its figures are rounded"
)]

use std::process::ExitCode;

mod constant;
mod core;
mod load;
mod message;
mod process;
mod report;
mod server;
mod tokens;

use report::Row;

/// That of claimgate: the reference should not be slower for want of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // That of claimgate, too: on one core it has one worker.
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().build().unwrap()
    };
    match arguments.as_slice() {
        // As processes of their own, on a core of their own.
        ["constant", address] => runtime().block_on(constant::serve(address.parse().unwrap())),
        ["load", address, file, count, connections, streams] => runtime().block_on(load::run(
            address.parse().unwrap(),
            file,
            count.parse().unwrap(),
            connections.parse().unwrap(),
            streams.parse().unwrap(),
        )),
        // What `cargo bench` passes.
        ["--bench"] => return measure(),
        other => panic!("{other:?}: run `make bench`"),
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(core::rows());
    rows.extend(server::rows(directory.path()));
    let table = report::table(&rows);
    println!("{table}");
    report::write(&table);
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
