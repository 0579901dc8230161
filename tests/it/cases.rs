//! Decisions as data: runs every case in `tests/cases/*.yaml` through the service.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use claimgate::decision::Reason;

mod expect;
mod fields;
mod file;
mod run;
mod second_opinion;

use file::{files, read, yaml_files};
use run::{configuration, requests, run};

#[tokio::test]
async fn every_case() {
    let mut failures = String::new();
    let mut count = 0;
    for path in files() {
        let file = read(&path);
        for case in &file.cases {
            count += 1;
            let name = format!("{}: {}", path.file_stem().unwrap().display(), case.name);
            for (form, request) in requests(&file, case) {
                let config = configuration(&file, case);
                if let Err(why) = run(&file, case, config, request).await {
                    writeln!(failures, "{name} ({form}): {why}").unwrap();
                }
            }
        }
    }
    assert!(count > 50, "the cases were not found");
    assert!(failures.is_empty(), "\n{failures}");
}

/// Reasons for checks that cannot be read. `connections` covers them.
const UNREAD: [Reason; 3] = [
    Reason::CheckTooLarge,
    Reason::CheckUnreadable,
    Reason::Overloaded,
];

#[test]
fn every_reason_has_a_case() {
    let tested: BTreeSet<String> = files()
        .iter()
        .flat_map(|path| read(path).cases)
        .filter_map(|case| case.expect.deny)
        .chain(UNREAD.map(|reason| reason.code().to_owned()))
        .collect();
    let all: BTreeSet<String> = Reason::ALL.map(|reason| reason.code().to_owned()).into();
    assert_eq!(
        tested, all,
        "a reason without a case, or a case with an unknown reason"
    );
}

/// Every configuration that users may start from is tested with tokens of its provider.
#[test]
fn every_provider_has_cases() {
    let names = |directory: &str| -> BTreeSet<_> {
        yaml_files(directory)
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("deploy/providers"), names("tests/cases/providers"));
}
