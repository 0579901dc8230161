//! The report of a test run: for people, scripts and build servers.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::cases::Suite;
use super::judge::{Difference, Outcome};
use crate::command::Failure;

type Outcomes<'s> = [(&'s Suite, Vec<Outcome>)];

/// The number of passed cases, and of failed ones.
fn counts(outcomes: &Outcomes<'_>) -> (usize, usize) {
    let all = || outcomes.iter().flat_map(|(_, outcomes)| outcomes);
    let passed = all().filter(|outcome| outcome.passed()).count();
    (passed, all().count() - passed)
}

pub(super) fn text(outcomes: &Outcomes<'_>, colours: bool) -> String {
    let paint = |code: &str, text: &str| match colours {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let (red, green) = (
        |text: &str| paint("31", text),
        |text: &str| paint("32", text),
    );
    let mut lines = Vec::new();
    for (suite, outcomes) in outcomes {
        let file = suite.file.display();
        lines.push(file.to_string());
        for outcome in outcomes {
            let Outcome { name, line, .. } = outcome;
            if outcome.passed() {
                lines.push(format!("  {}    {name}", green("ok")));
                continue;
            }
            lines.push(format!("  {}  {name}  ({file}:{line})", red("FAIL")));
            for difference in &outcome.differences {
                let Difference {
                    what,
                    expected,
                    found,
                } = difference;
                lines.push(format!("        {what}"));
                lines.push(red(&format!("        - expected  {expected}")));
                lines.push(green(&format!("        + found     {found}")));
            }
            lines.push("        because".to_owned());
            let explanation = outcome.explanation.lines();
            lines.extend(explanation.map(|line| format!("          {line}")));
        }
    }
    let (passed, failed) = counts(outcomes);
    lines.push(format!("{passed} passed, {failed} failed"));
    lines.join("\n")
}

pub(super) fn json(outcomes: &Outcomes<'_>) -> Value {
    let difference = |difference: &Difference| {
        let Difference {
            what,
            expected,
            found,
        } = difference;
        json!({"what": what, "expected": expected, "found": found})
    };
    let case = |outcome: &Outcome| {
        let Outcome {
            name,
            line,
            differences,
            explanation,
        } = outcome;
        json!({
            "name": name,
            "line": line,
            "passed": outcome.passed(),
            "differences": differences.iter().map(difference).collect::<Vec<_>>(),
            "explanation": explanation,
        })
    };
    let file = |(suite, outcomes): &(&Suite, Vec<Outcome>)| {
        json!({
            "file": suite.file.display().to_string(),
            "cases": outcomes.iter().map(case).collect::<Vec<_>>(),
        })
    };
    let (passed, failed) = counts(outcomes);
    json!({
        "files": outcomes.iter().map(file).collect::<Vec<_>>(),
        "passed": passed,
        "failed": failed,
    })
}

pub(super) fn junit(outcomes: &Outcomes<'_>) -> Result<String, Failure> {
    let mut report = Report::new("claimgate test");
    for (suite, outcomes) in outcomes {
        let file = suite.file.display().to_string();
        let mut cases = TestSuite::new(file.clone());
        for outcome in outcomes {
            let status = match outcome.passed() {
                true => TestCaseStatus::success(),
                false => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    let words: Vec<_> = outcome.differences.iter().map(in_words).collect();
                    status.set_message(words.join("; "));
                    status.set_description(outcome.explanation.clone());
                    status
                }
            };
            let mut case = TestCase::new(outcome.name.clone(), status);
            case.set_classname(file.clone());
            cases.add_test_case(case);
        }
        report.add_test_suite(cases);
    }
    Ok(report.to_string()?)
}

fn in_words(difference: &Difference) -> String {
    let Difference {
        what,
        expected,
        found,
    } = difference;
    format!("{what}: expected {expected}, found {found}")
}
