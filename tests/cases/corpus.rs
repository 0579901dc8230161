//! The cases are complete.

use std::collections::BTreeSet;

use claimgate::decision::Reason;

use super::file::{files, read, test_name, yaml_files};

/// Reasons for checks that cannot be read. `connections` covers them.
const UNREAD: [Reason; 3] = [
    Reason::CheckTooLarge,
    Reason::CheckUnreadable,
    Reason::Overloaded,
];

/// A filter finds one case.
pub fn every_case_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for path in files() {
        for case in read(&path).cases {
            let name = test_name(&path, &case);
            assert!(names.insert(name.clone()), "two cases `{name}`");
        }
    }
    assert!(names.len() > 50, "the cases were not found");
}

pub fn every_reason_has_a_case() {
    let tested: BTreeSet<String> = files()
        .iter()
        .flat_map(|path| read(path).cases)
        .filter_map(|case| case.expect.reason)
        .chain(UNREAD.map(|reason| reason.code().to_owned()))
        .collect();
    let all: BTreeSet<String> = Reason::ALL.map(|reason| reason.code().to_owned()).into();
    assert_eq!(
        tested, all,
        "a reason without a case, or a case with an unknown reason"
    );
}

/// Each configuration that a user may start from is tried with that provider's tokens.
pub fn every_provider_has_cases() {
    let names = |directory: &str| -> BTreeSet<_> {
        yaml_files(directory)
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("deploy/providers"), names("tests/cases/providers"));
}
