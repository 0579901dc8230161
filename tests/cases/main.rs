//! Decisions as data: every case of `tests/cases/*.yaml` is a test, through the service itself and through
//! the module for Envoy.
//!
//! `cargo test --test cases expired` runs the cases that expect this reason or have it in their
//! names. `-- --list` lists all.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod corpus;
mod decision_log;
mod expect;
mod fields;
mod file;
mod inside;
mod run;
mod second_opinion;
mod support;

use std::panic;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use file::{Case, File, files, read, test_name};
use run::{CLOCK_FAILS, configuration, is_for_module, requests, run};

fn main() -> ExitCode {
    hide_failing_clocks();
    let mut trials = vec![
        trial(
            "corpus::every_case_has_a_name_of_its_own",
            corpus::every_case_has_a_name_of_its_own,
        ),
        trial(
            "corpus::every_reason_has_a_case",
            corpus::every_reason_has_a_case,
        ),
        trial(
            "corpus::every_provider_has_cases",
            corpus::every_provider_has_cases,
        ),
        trial(
            "fields::every_field_has_a_case_that_fails_without_it",
            || {
                block_on(fields::every_field_has_a_case_that_fails_without_it());
            },
        ),
        trial(
            "second_opinion::jsonwebtoken_accepts_whatever_claimgate_does",
            || {
                block_on(second_opinion::jsonwebtoken_accepts_whatever_claimgate_does());
            },
        ),
    ];
    for path in files() {
        let file = Arc::new(read(&path));
        for index in 0..file.cases.len() {
            let file = Arc::clone(&file);
            let name = test_name(&path, &file.cases[index]);
            trials.push(Trial::test(name, move || {
                block_on(passes(&file, &file.cases[index]))
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test that fails by panicking.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Each form in which Envoy may describe the request must be answered as the case says.
async fn passes(file: &File, case: &Case) -> Result<(), Failed> {
    let mut failures = Vec::new();
    for (form, request) in requests(file, case) {
        let config = configuration(file, case);
        if is_for_module(form, case) {
            let answered = run(file, case, config.clone(), request.clone(), inside::module).await;
            failures.extend(answered.err().map(|why| format!("in the module: {why}")));
        }
        let answered = run(file, case, config, request, run::service).await;
        failures.extend(answered.err().map(|why| format!("{form}: {why}")));
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("\n").into()),
    }
}

fn block_on<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test)
}

/// A failing clock panics on purpose, and the service catches that, so it is not printed.
fn hide_failing_clocks() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(CLOCK_FAILS) {
            tell(panic);
        }
    }));
}
