//! Reads lines, those of newer versions included: these may have further kinds and values.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::gate::decision_log::record::{
    Cause, ConfigurationRecord, Line, LostRecord, StoppedRecord,
};

/// A line of a log.
#[derive(Debug)]
pub(super) enum Read {
    /// A line that this version understands.
    Line(Box<Line<'static>>),
    /// A decision with a value that this version does not know.
    NewerDecision {
        /// Its number.
        n: u64,
    },
    /// A kind that this version does not know.
    NewerKind,
    /// A `configuration` line that does not say which instance writes.
    NoInstance,
    /// It is cut, or not a line of the log.
    Unreadable,
}

/// How a line begins that says what the next ones mean.
const CONFIGURATION: &str = r#"{"kind":"configuration""#;

pub(super) fn read(line: &[u8]) -> Read {
    // Text with replaced bytes would be another request.
    let Ok(text) = str::from_utf8(line) else {
        return unreadable(line);
    };
    match Line::read(text) {
        Ok(line) => Read::Line(Box::new(line)),
        Err(_) => newer(text).unwrap_or_else(|| unreadable(line)),
    }
}

fn unreadable(line: &[u8]) -> Read {
    match line.starts_with(CONFIGURATION.as_bytes()) {
        true => Read::NoInstance,
        false => Read::Unreadable,
    }
}

/// A line that this version does not fully know.
fn newer(text: &str) -> Option<Read> {
    let members: Map<String, Value> = serde_json::from_str(text).ok()?;
    let number = |name: &str| members.get(name).and_then(Value::as_u64);
    let kind = members.get("kind")?.as_str()?;
    let n = number("n");
    let line = |line| Read::Line(Box::new(line));
    Some(match kind {
        "decision" => Read::NewerDecision { n: n? },
        "configuration" => line(Line::Configuration(configuration(&members, n?)?)),
        "lost" => line(Line::Lost(LostRecord {
            n: n?,
            time: String::new(),
            count: number("count")?,
        })),
        "stopped" => line(Line::Stopped(StoppedRecord {
            n: n?,
            time: String::new(),
        })),
        _ => Read::NewerKind,
    })
}

fn configuration(members: &Map<String, Value>, n: u64) -> Option<ConfigurationRecord> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let text_or_none = |name: &str| text(name).unwrap_or_default().to_owned();
    // A list that is not understood lists nothing, so nothing is taken for known.
    let list = |name: &str| -> Vec<String> {
        let list = members.get(name).map(Vec::<String>::deserialize);
        list.and_then(Result::ok).unwrap_or_default()
    };
    let cause = members.get("cause").map(Cause::deserialize);
    Some(ConfigurationRecord {
        n,
        time: String::new(),
        // Any cause but a start says only that the instance writes here.
        cause: cause.and_then(Result::ok).unwrap_or(Cause::Reopened),
        instance: text("instance")?.to_owned(),
        version: text_or_none("version"),
        configuration: text_or_none("configuration"),
        claims: list("claims"),
        headers: list("headers"),
        other_headers: true,
        allow: text_or_none("allow"),
        sample_ratio: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_versions() {
        let head = |more: &str| {
            format!(
                r#"{{"kind":"configuration","n":7,"time":"2026-01-31T10:00:00.000Z","instance":"5f","version":"9.0.0","configuration":"8e0b",{more}}}"#
            )
        };
        for (line, expected) in [
            (r#"{"kind":"pause","n":4}"#.to_owned(), "kind"),
            (r#"{"kind":"pause"}"#.to_owned(), "kind"),
            (r#"{"kind":7}"#.to_owned(), "unreadable"),
            (r#"{"n":7}"#.to_owned(), "unreadable"),
            (r#"["kind"]"#.to_owned(), "unreadable"),
            ("level=info".to_owned(), "unreadable"),
            (
                r#"{"kind":"decision","n":4,"decision":"delay"}"#.to_owned(),
                "decision 4",
            ),
            (r#"{"kind":"decision"}"#.to_owned(), "unreadable"),
            (r#"{"kind":"decision","n":4"#.to_owned(), "unreadable"),
            (r#"{"kind":"lost","n":4,"count":2}"#.to_owned(), "lost 4 2"),
            (r#"{"kind":"lost","n":4}"#.to_owned(), "unreadable"),
            (r#"{"kind":"stopped"}"#.to_owned(), "unreadable"),
            (
                head(r#""cause":"moved","claims":["a"],"headers":["b"],"allow":"all""#),
                "head 5f 7 Reopened [\"a\"] [\"b\"] all",
            ),
            (
                head(r#""cause":"started","claims":[{"path":"a"}],"allow":7"#),
                "head 5f 7 Started [] [] ",
            ),
            (
                r#"{"kind":"configuration","n":7}"#.to_owned(),
                "no instance",
            ),
            (r#"{"kind":"configuration","n":7"#.to_owned(), "no instance"),
        ] {
            let found = match read(line.as_bytes()) {
                Read::Line(line) => match *line {
                    Line::Lost(lost) => format!("lost {} {}", lost.n, lost.count),
                    Line::Configuration(head) => format!(
                        "head {} {} {:?} {:?} {:?} {}",
                        head.instance, head.n, head.cause, head.claims, head.headers, head.allow
                    ),
                    other => format!("{other:?}"),
                },
                Read::NewerDecision { n } => format!("decision {n}"),
                Read::NewerKind => "kind".to_owned(),
                Read::NoInstance => "no instance".to_owned(),
                Read::Unreadable => "unreadable".to_owned(),
            };
            assert_eq!(found, expected, "{line}");
        }
        let latin1 = b"{\"kind\":\"decision\",\"n\":4,\"path\":\"/\xe9\"}";
        assert!(matches!(read(latin1), Read::Unreadable));
    }
}
