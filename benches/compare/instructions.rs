//! Counts the instructions that a check takes, with callgrind. The count is the same on every run,
//! so a review sees any change that adds instructions. The verification of signatures is left out,
//! because its instructions differ by processor. The SHA-256 digest of a remembered token's signature
//! is counted.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};

use claimgate::ext_authz::service::Service;
use claimgate::keyring::Algorithm;
use claimgate::token::{MAX_TOKEN_BYTES, Unverified};

use crate::core::{Core, answer};
use crate::tokens::Provider;

const BASELINE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/compare/instructions.json"
);

/// The maximum increase over the baseline, in percent.
const TOLERANCE: f64 = 3.0;

const TIMES: usize = 1_000;

/// The cases to count.
const CASES: [&str; 7] = [
    "decide, token remembered",
    "decide, token remembered, 10,000 rules",
    "answer, token remembered",
    "answer, token remembered, decision log",
    "answer, no token",
    "answer, not a token",
    "token read",
];

/// Runs a case many times while callgrind watches.
pub fn run(case: &str) {
    let rules = if case.ends_with("10,000 rules") {
        10_000
    } else {
        10
    };
    let core = Core::new(Algorithm::EdDsa, rules, 1, 1);
    let answered = |service: &Service, check: &[u8]| {
        std::hint::black_box(answer(service, check));
    };
    match case {
        "decide, token remembered" | "decide, token remembered, 10,000 rules" => {
            watched(|| core.decide_remembered());
        }
        "answer, token remembered" => {
            let service = core.service();
            watched(|| answered(&service, &core.check));
        }
        // What the thread that answers does; another one writes the lines.
        "answer, token remembered, decision log" => {
            let service = core.service_with_log();
            watched(|| answered(&service, &core.check));
        }
        "answer, no token" => {
            let (service, check) = (core.service(), Provider::check_without_token());
            watched(|| answered(&service, &check));
        }
        "answer, not a token" => {
            let (service, check) = (core.service(), Provider::check("abc"));
            watched(|| answered(&service, &check));
        }
        "token read" => {
            let token = Provider::new(0, Algorithm::EdDsa).token(0);
            watched(|| {
                std::hint::black_box(Unverified::parse(&token, MAX_TOKEN_BYTES).unwrap());
            });
        }
        other => panic!("there is no case `{other}`"),
    }
}

/// Calls it once before callgrind counts, to fill caches.
fn watched(piece: impl Fn()) {
    piece();
    counted(&piece);
}

/// The function in which callgrind counts, by its name.
#[inline(never)]
fn counted(piece: &dyn Fn()) {
    for _ in 0..TIMES {
        piece();
    }
    std::hint::black_box(());
}

/// Counts every case. Compares the counts with the baseline, or stores them as the new baseline.
pub fn compare(accept: bool) -> ExitCode {
    let found: BTreeMap<&str, u64> = CASES.map(|case| (case, count(case))).into();
    if accept {
        let json = serde_json::to_string_pretty(&found).unwrap();
        std::fs::write(BASELINE, json + "\n").unwrap();
        println!("Wrote {BASELINE}");
        return ExitCode::SUCCESS;
    }
    let baseline = std::fs::read(BASELINE).unwrap();
    let baseline: BTreeMap<String, u64> = serde_json::from_slice(&baseline).unwrap();
    assert_eq!(
        std::env::consts::ARCH,
        "x86_64",
        "the baseline is of another processor"
    );
    println!("| instructions | before | now | change |\n|---|---|---|---|");
    let mut longer = Vec::new();
    for (case, now) in found {
        let before = *baseline
            .get(case)
            .unwrap_or_else(|| panic!("the baseline has no `{case}`: run `make bench-accept`"));
        let change = (now as f64 / before as f64 - 1.0) * 100.0;
        println!("| {case} | {before} | {now} | {change:+.1} % |");
        if change > TOLERANCE {
            longer.push(case);
        }
        if change < -TOLERANCE {
            println!("`{case}` has become shorter: keep that with `make bench-accept`");
        }
    }
    if longer.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "More than {TOLERANCE} % longer: {}.\nIf that is worth it, say why in the commit, and run \
         `make bench-accept`.",
        longer.join("; ")
    );
    ExitCode::FAILURE
}

/// The instructions for one call.
fn count(case: &str) -> u64 {
    let own = std::env::current_exe().unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*instructions::counted*")
        .arg(own)
        .args(["instructions", case])
        .stdout(Stdio::null())
        .output()
        .expect("valgrind cannot be run: install it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<u64>().ok());
    let collected = collected.unwrap_or_else(|| panic!("callgrind counted nothing:\n{said}"));
    assert!(collected > 0, "callgrind did not find what to count");
    collected / TIMES as u64
}
