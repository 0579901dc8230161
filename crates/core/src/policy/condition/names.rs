//! The names that conditions may use.

use crate::escaped::nearest;

pub(super) const VARIABLES: [&str; 5] = ["claims", "context", "now", "request", "source"];
pub(super) const REQUEST: [&str; 5] = ["headers", "host", "method", "path", "query"];
pub(super) const SOURCE: [&str; 3] = ["address", "certificate", "principal"];

/// The names of types, for `type(x) == string`.
pub(super) const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// The functions called without a receiver. Each takes one argument.
const FUNCTIONS: [&str; 12] = [
    "bool",
    "bytes",
    "cidr",
    "double",
    "duration",
    "dyn",
    "int",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// The functions called on a value, with the numbers of arguments that they accept.
const METHODS: [(&str, &[usize]); 25] = [
    ("charAt", &[1]),
    ("contains", &[1]),
    ("containsIP", &[1]),
    ("endsWith", &[1]),
    ("getDate", &[0, 1]),
    ("getDayOfMonth", &[0, 1]),
    ("getDayOfWeek", &[0, 1]),
    ("getDayOfYear", &[0, 1]),
    ("getFullYear", &[0, 1]),
    ("getHours", &[0, 1]),
    ("getMilliseconds", &[0, 1]),
    ("getMinutes", &[0, 1]),
    ("getMonth", &[0, 1]),
    ("getSeconds", &[0, 1]),
    ("indexOf", &[1, 2]),
    ("lastIndexOf", &[1, 2]),
    ("lowerAscii", &[0]),
    ("matches", &[1]),
    ("replace", &[2, 3]),
    ("size", &[0]),
    ("split", &[1, 2]),
    ("startsWith", &[1]),
    ("substring", &[1, 2]),
    ("trim", &[0]),
    ("upperAscii", &[0]),
];

/// The message for an unknown name.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are `{}`", known.join("`, `")),
    };
    format!("`{name}` is not a {what}; {hint}")
}

/// Fails if values have no such function, or if it does not accept `count` arguments.
pub(super) fn method(name: &str, count: usize) -> Result<(), String> {
    match METHODS.iter().find(|(known, _)| *known == name) {
        Some((_, counts)) if counts.contains(&count) => Ok(()),
        Some(_) => Err(format!("`{name}` does not take {count} arguments")),
        None => {
            let known: Vec<&str> = METHODS.iter().map(|(known, _)| *known).collect();
            Err(unknown("function of a value", name, &known))
        }
    }
}

/// Fails if there is no such function, or if it does not accept `count` arguments.
pub(super) fn function(name: &str, count: usize) -> Result<(), String> {
    match (FUNCTIONS.contains(&name), name, count) {
        (true, _, 1) | (_, "matches", 2) => Ok(()),
        (true, _, _) => Err(format!("`{name}` takes one argument")),
        (false, "has", _) => Err("`has` takes a field, such as `has(claims.email)`".to_owned()),
        (false, _, _) if METHODS.iter().any(|(known, _)| *known == name) => Err(format!(
            "`{name}` is a function of a value: write `x.{name}(…)`"
        )),
        (false, _, _) => Err(unknown("function", name, &FUNCTIONS)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Condition;

    /// The evaluator knows every name in the tables.
    #[test]
    fn every_function_is_there() {
        for call in [
            "bool('true')",
            "size(bytes('a')) == 1",
            "cidr('10.0.0.0/8').containsIP('10.0.0.1')",
            "double('1.5') > 1.0",
            "duration('1m') > duration('1s')",
            "dyn(1) == 1",
            "int('1') == 1",
            "size('abc') == 3",
            "string(1) == '1'",
            "timestamp('2026-01-01T00:00:00Z') < timestamp(1900000000)",
            "type(1) == int",
            "uint(1) == 1u",
            "matches('abc', 'b')",
            "'abc'.charAt(0) == 'a'",
            "'abc'.contains('b')",
            "'abc'.endsWith('c')",
            "timestamp('2026-01-02T03:04:05.006Z').getDate('+01:00') == 2",
            "timestamp('2026-01-02T03:04:05.006Z').getDayOfMonth() == 1",
            "timestamp('2026-01-02T03:04:05.006Z').getDayOfWeek() == 5",
            "timestamp('2026-01-02T03:04:05.006Z').getDayOfYear() == 1",
            "timestamp('2026-01-02T03:04:05.006Z').getFullYear() == 2026",
            "timestamp('2026-01-02T03:04:05.006Z').getHours('Europe/Berlin') == 4",
            "timestamp('2026-01-02T03:04:05.006Z').getMilliseconds() == 6",
            "timestamp('2026-01-02T03:04:05.006Z').getMinutes() == 4",
            "timestamp('2026-01-02T03:04:05.006Z').getMonth() == 0",
            "timestamp('2026-01-02T03:04:05.006Z').getSeconds() == 5",
            "'abc'.indexOf('b') == 1 && 'abcb'.indexOf('b', 2) == 3",
            "'abcb'.lastIndexOf('b') == 3 && 'abcb'.lastIndexOf('b', 2) == 1",
            "'ABC'.lowerAscii() == 'abc'",
            "'abc'.matches('^a')",
            "'abb'.replace('b', 'c') == 'acc' && 'abb'.replace('b', 'c', 1) == 'acb'",
            "'abc'.size() == 3",
            "'a,b'.split(',') == ['a', 'b'] && size('a,b,c'.split(',', 2)) == 2",
            "'abc'.startsWith('a')",
            "'abc'.substring(1) == 'bc' && 'abc'.substring(1, 2) == 'b'",
            "' a '.trim() == 'a'",
            "'abc'.upperAscii() == 'ABC'",
        ] {
            let request = crate::request::Request::default();
            let target = crate::policy::matcher::Target {
                request: &request,
                host: "".into(),
                path: "".into(),
                headers: crate::policy::matcher::Observed::default(),
                mcp: crate::policy::matcher::McpCall::None,
            };
            let condition =
                Condition::compile(call).unwrap_or_else(|error| panic!("{call}: {error}"));
            let now = crate::time::UnixTime::EPOCH;
            assert_eq!(condition.holds(&target, None, now), Ok(true), "{call}");
        }
    }
}
