//! The report: for people and for scripts.

use serde_json::{Value, json};

use super::findings::{Finding, Verdict};

/// Where the documents describe the settings.
const SEE: &str = "docs/envoy.md";

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Unseen => "unseen",
            Self::Warning => "warning",
            Self::CannotProbe => "cannot probe",
            Self::Problem => "PROBLEM",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Unseen => "unseen",
            Self::Warning => "warning",
            Self::CannotProbe => "cannot_probe",
            Self::Problem => "problem",
        }
    }
}

/// The worst verdict.
pub(super) fn worst(findings: &[Finding]) -> Verdict {
    let verdicts = findings.iter().map(|finding| finding.verdict);
    verdicts.max().unwrap_or(Verdict::CannotProbe)
}

pub(super) fn text(through: &str, findings: &[Finding]) -> String {
    let mut lines = vec![through.to_owned()];
    for finding in findings {
        let Finding {
            verdict,
            code,
            what,
            seen,
            changes,
        } = finding;
        lines.push(format!("  {:<12}  {what}", verdict.word()));
        let mut detail = |label: &str, text: &str| lines.push(format!("      {label:<8}{text}"));
        match verdict {
            Verdict::Well => {}
            _ => detail("code", code),
        }
        if !seen.is_empty() {
            detail("seen", seen);
        }
        for change in changes {
            let label = match verdict {
                Verdict::Unseen => "look at",
                _ => "change",
            };
            detail(label, &format!("`{}`: {}", change.setting, change.advice));
        }
    }
    let count = |wanted| {
        let all = findings.iter();
        all.filter(|finding| finding.verdict == wanted).count()
    };
    let counted = |wanted, what| match count(wanted) {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    lines.push(match worst(findings) {
        Verdict::Problem | Verdict::Warning => format!(
            "{}, {}; see {SEE}",
            counted(Verdict::Problem, "problem"),
            counted(Verdict::Warning, "warning")
        ),
        Verdict::CannotProbe => "the gateway could not be probed".to_owned(),
        Verdict::Well | Verdict::Unseen => "no problem was found".to_owned(),
    });
    lines.join("\n")
}

pub(super) fn json(through: &str, findings: &[Finding]) -> Value {
    let described = findings.iter().map(|finding| {
        let Finding {
            verdict,
            code,
            what,
            seen,
            changes,
        } = finding;
        let changes = changes
            .iter()
            .map(|change| json!({"setting": change.setting, "advice": change.advice}));
        json!({
            "verdict": verdict.code(),
            "code": code,
            "what": what,
            "seen": seen,
            "changes": changes.collect::<Vec<_>>(),
        })
    });
    json!({
        "through": through,
        "verdict": worst(findings).code(),
        "findings": described.collect::<Vec<_>>(),
    })
}
