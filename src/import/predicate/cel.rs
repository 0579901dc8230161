//! Predicates in the Common Expression Language, as conditions of claimgate.

use std::fmt::Write as _;

use super::{Claim, Header, Path, Peer, Predicate, Shape, Test, Text, escape};

/// The strength of an operator: what binds weaker needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Or,
    And,
    Unary,
}

/// The expression. It never fails, except for lists of more than 500 elements, so it means the same below `!`.
pub fn cel(predicate: &Predicate) -> String {
    written(predicate, Strength::Or)
}

fn written(predicate: &Predicate, around: Strength) -> String {
    match predicate {
        Predicate::True => "true".to_owned(),
        // No bound is unknown, and what is unknown must not allow.
        Predicate::False | Predicate::Unknown => "false".to_owned(),
        Predicate::Between(lower, _) => written(lower, around),
        Predicate::Not(inner) => match &**inner {
            Predicate::Test(test) => match exact_of(test) {
                Some((what, value)) => bracketed(
                    format!("{what} != {}", quoted(value)),
                    Strength::And,
                    around,
                ),
                None => format!("!{}", written(inner, Strength::Unary)),
            },
            inner => format!("!{}", written(inner, Strength::Unary)),
        },
        Predicate::All(parts) => joined(parts, " && ", Strength::And, around),
        Predicate::Any(parts) => any(parts, around),
        Predicate::Test(test) => {
            let (text, strength) = tested(test);
            bracketed(text, strength, around)
        }
    }
}

fn joined(parts: &[Predicate], operator: &str, own: Strength, around: Strength) -> String {
    let parts: Vec<String> = parts.iter().map(|part| written(part, own)).collect();
    bracketed(parts.join(operator), own, around)
}

/// A disjunction. Exact values of the same text become one list.
fn any(parts: &[Predicate], around: Strength) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut lists: Vec<(&'static str, Vec<String>)> = Vec::new();
    let mut rest: Vec<&Predicate> = Vec::new();
    for part in parts {
        let exact = match part {
            Predicate::Test(test) => exact_of(test),
            _ => None,
        };
        match exact {
            None => rest.push(part),
            Some((of, value)) => match lists.iter_mut().find(|(known, _)| *known == of) {
                Some((_, values)) => values.push(quoted(value)),
                None => lists.push((of, vec![quoted(value)])),
            },
        }
    }
    for (of, values) in lists {
        texts.push(match values.as_slice() {
            [one] => format!("{of} == {one}"),
            _ => format!("{of} in [{}]", values.join(", ")),
        });
    }
    texts.extend(rest.into_iter().map(|part| written(part, Strength::Or)));
    match texts.len() {
        1 => bracketed(texts.remove(0), Strength::And, around),
        _ => bracketed(texts.join(" || "), Strength::Or, around),
    }
}

/// What is compared with a whole text, and that text.
fn exact_of(test: &Test) -> Option<(&'static str, &str)> {
    match test {
        Test::Method(Text::Exact(value)) => Some(("request.method", value)),
        Test::Host(Text::Exact(value)) => Some(("request.host", value)),
        Test::Path(Path::Text(Text::Exact(value)) | Path::Refused(value)) => {
            Some(("request.path", value))
        }
        _ => None,
    }
}

fn bracketed(text: String, own: Strength, around: Strength) -> String {
    match own < around {
        true => format!("({text})"),
        false => text,
    }
}

/// The test and its strength. A comparison counts as a conjunction, because `!` must not stand before it.
fn tested(test: &Test) -> (String, Strength) {
    match test {
        Test::Method(text) => compared("request.method", text),
        Test::Host(text) => compared("request.host", text),
        Test::Path(path) => of_path(path),
        Test::Header(header) => of_header(header),
        Test::Claim(claim) => (of_claim(claim), Strength::And),
        Test::Address(networks) => of_address(networks),
        Test::Peer(Peer::Text(text)) => compared("source.principal", text),
        Test::Peer(Peer::Regex(regex)) => (matches("source.principal", regex), Strength::Unary),
    }
}

fn compared(what: &str, text: &Text) -> (String, Strength) {
    match text {
        Text::Exact(value) => (format!("{what} == {}", quoted(value)), Strength::And),
        Text::Prefix(value) => (
            format!("{what}.startsWith({})", quoted(value)),
            Strength::Unary,
        ),
        Text::Suffix(value) => (
            format!("{what}.endsWith({})", quoted(value)),
            Strength::Unary,
        ),
        Text::Present => (format!("{what} != \"\""), Strength::And),
    }
}

fn of_path(path: &Path) -> (String, Strength) {
    match path {
        Path::Text(text) => compared("request.path", text),
        Path::Below(path) => {
            let whole = quoted(path);
            let below = quoted(&format!("{path}/"));
            (
                format!("request.path == {whole} || request.path.startsWith({below})"),
                Strength::Or,
            )
        }
        Path::Refused(path) => compared("request.path", &Text::Exact(path.clone())),
        Path::Template { lower, .. } => (matches("request.path", lower), Strength::Unary),
        Path::WithQuery(regex) => {
            let whole =
                "(request.query == \"\" ? request.path : request.path + \"?\" + request.query)";
            (matches(whole, regex), Strength::Unary)
        }
    }
}

fn of_header(header: &Header) -> (String, Strength) {
    let Header {
        name,
        value,
        is_any_line,
    } = header;
    let name = quoted(name);
    let what = format!("request.headers[{name}]");
    let is_there = format!("{name} in request.headers");
    // A value between commas, or a whole line.
    let (start, end) = ("(?:^|,)[ \\t]*", "[ \\t]*(?:,|$)");
    let text = match (value, is_any_line) {
        (Text::Present, _) => return (is_there, Strength::And),
        (value, false) => compared(&what, value).0,
        (Text::Exact(value), true) => {
            part_matches(&what, &format!("{start}{}{end}", escape(value)))
        }
        (Text::Prefix(value), true) => part_matches(&what, &format!("{start}{}", escape(value))),
        (Text::Suffix(value), true) => part_matches(&what, &format!("{}{end}", escape(value))),
    };
    (format!("{is_there} && {text}"), Strength::And)
}

fn of_address(networks: &[String]) -> (String, Strength) {
    let texts: Vec<String> = networks
        .iter()
        .map(|network| format!("cidr({}).containsIP(source.address)", quoted(network)))
        .collect();
    match texts.as_slice() {
        [one] => (one.clone(), Strength::Unary),
        _ => (texts.join(" || "), Strength::Or),
    }
}

/// Looks at each member on the way, so that a token without one of them is no failure.
fn of_claim(claim: &Claim) -> String {
    let Claim {
        names,
        values,
        shape,
    } = claim;
    let mut guards: Vec<String> = Vec::new();
    let mut at = "claims".to_owned();
    for name in names {
        if at != "claims" {
            guards.push(format!("type({at}) == map"));
        }
        let (guard, member) = match is_identifier(name) {
            true => (format!("has({at}.{name})"), format!("{at}.{name}")),
            false => {
                let name = quoted(name);
                (format!("{name} in {at}"), format!("{at}[{name}]"))
            }
        };
        guards.push(guard);
        at = member;
    }
    // These two are texts in every token that claimgate accepts.
    let is_text = matches!(names.as_slice(), [name] if name == "iss" || name == "sub");
    let test = match (shape, is_text) {
        (_, true) => in_brackets(of_text(&at, values)),
        (Shape::Text, false) => {
            let text = in_brackets(of_text(&at, values));
            format!("type({at}) == string && {text}")
        }
        (Shape::List, false) => format!("type({at}) == list && {}", of_list(&at, values)),
        (Shape::TextOrList | Shape::Words, false) => {
            let text = match shape {
                Shape::Words => of_words(&at, values),
                _ => Some(in_brackets(of_text(&at, values))),
            };
            let list = of_list(&at, values);
            match text {
                Some(text) => {
                    format!("(type({at}) == string && {text} || type({at}) == list && {list})")
                }
                None => format!("type({at}) == list && {list}"),
            }
        }
    };
    guards.push(test);
    guards.join(" && ")
}

fn in_brackets((text, strength): (String, Strength)) -> String {
    bracketed(text, strength, Strength::And)
}

fn of_text(what: &str, values: &[Text]) -> (String, Strength) {
    let mut texts = Vec::new();
    let exact = exact(values);
    match exact.as_slice() {
        [] => {}
        [one] => texts.push(format!("{what} == {one}")),
        _ => texts.push(format!("{what} in [{}]", exact.join(", "))),
    }
    let others = values.iter().filter(|it| !matches!(it, Text::Exact(_)));
    texts.extend(others.map(|text| compared(what, text).0));
    let strength = match texts.len() {
        0 => return ("false".to_owned(), Strength::Unary),
        1 => Strength::And,
        _ => Strength::Or,
    };
    (texts.join(" || "), strength)
}

fn exact(values: &[Text]) -> Vec<String> {
    let exact = values.iter().filter_map(|text| match text {
        Text::Exact(value) => Some(quoted(value)),
        _ => None,
    });
    exact.collect()
}

fn of_list(what: &str, values: &[Text]) -> String {
    let exact = exact(values);
    match (exact.as_slice(), exact.len() == values.len()) {
        ([one], true) => format!("{one} in {what}"),
        (_, true) => format!("{what}.exists(it, it in [{}])", exact.join(", ")),
        (_, false) => {
            let (text, strength) = of_text("it", values);
            let text = bracketed(text, strength, Strength::And);
            format!("{what}.exists(it, type(it) == string && {text})")
        }
    }
}

/// Whether a word of the text fits. `None` if no word can: none is empty, and none contains a space.
fn of_words(what: &str, values: &[Text]) -> Option<String> {
    let words: Vec<String> = values
        .iter()
        .filter(|text| match text {
            Text::Exact(value) => !value.is_empty() && !value.contains(' '),
            Text::Prefix(value) | Text::Suffix(value) => !value.contains(' '),
            Text::Present => true,
        })
        .map(|text| match text {
            Text::Exact(value) => format!("{}(?: |$)", escape(value)),
            Text::Prefix(value) => escape(value),
            Text::Suffix(value) => format!("[^ ]*{}(?: |$)", escape(value)),
            Text::Present => "[^ ]".to_owned(),
        })
        .collect();
    (!words.is_empty()).then(|| part_matches(what, &format!("(?:^| )(?:{})", words.join("|"))))
}

fn matches(what: &str, regex: &str) -> String {
    part_matches(what, &format!("^(?:{regex})$"))
}

fn part_matches(what: &str, regex: &str) -> String {
    format!("{what}.matches({})", quoted(regex))
}

/// Whether CEL takes the name after a dot.
fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name)
}

/// A literal text.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
