//! What an expression computes, and the constants in it: a condition that calculates is tried with
//! values near these.

use std::time::Duration;

/// Functions whose results the search can steer: they compare, or only change the spelling or type.
const SIMPLE: [&str; 26] = [
    "all",
    "bool",
    "cidr",
    "contains",
    "containsIP",
    "double",
    "dyn",
    "endsWith",
    "exists",
    "existsOne",
    "exists_one",
    "getDayOfWeek",
    "getHours",
    "has",
    "int",
    "ip",
    "lowerAscii",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "trim",
    "type",
    "uint",
    "upperAscii",
];

/// The constants of an expression, and whether it does more than compare.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Literals {
    /// Numbers; durations are in seconds.
    pub(super) numbers: Vec<f64>,
    pub(super) texts: Vec<String>,
    /// Where the expression splits texts.
    pub(super) separators: Vec<String>,
    /// Whether it puts texts together.
    pub(super) joins: bool,
    /// An operator or function that calculates.
    pub(super) calculates: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(f64),
    Sign(char),
}

/// Reads the text of an expression that compiles.
pub(super) fn literals(expression: &str) -> Literals {
    let tokens = tokens(expression);
    let mut found = Literals::default();
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let next = tokens.get(at + 1);
        let is_operand = |token: Option<&Token>| match token {
            Some(Token::Sign(sign)) => matches!(sign, ')' | ']'),
            Some(_) => true,
            None => false,
        };
        match token {
            Token::Number(number) => found.numbers.push(*number),
            Token::Text(text) => {
                let function = match (before(2), before(1)) {
                    (Some(Token::Name(name)), Some(Token::Sign('('))) => name.as_str(),
                    _ => "",
                };
                match function {
                    "split" => found.separators.push(text.clone()),
                    "duration" => found.numbers.extend(seconds(text)),
                    _ => found.texts.push(text.clone()),
                }
            }
            Token::Name(name) => {
                let is_simple = SIMPLE.contains(&name.as_str());
                if next == Some(&Token::Sign('(')) && !is_simple && name != "in" {
                    found.calculates.get_or_insert_with(|| name.clone());
                }
            }
            Token::Sign(sign) => {
                found.joins |= *sign == '+';
                let is_text = |token: Option<&Token>| matches!(token, Some(Token::Text(_)));
                let calculates = match sign {
                    '%' | '*' | '/' => true,
                    '-' => is_operand(before(1)),
                    // A text beside it is put together, which the search can do too.
                    '+' => !is_text(before(1)) && !is_text(next),
                    _ => false,
                };
                if calculates {
                    found.calculates.get_or_insert_with(|| sign.to_string());
                }
            }
        }
    }
    found
}

fn seconds(text: &str) -> Option<f64> {
    let duration: Duration = humantime::parse_duration(text).ok()?;
    Some(duration.as_secs_f64())
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let length = if c == '"' || c == '\'' {
            let is_raw = matches!(tokens.last(), Some(Token::Name(name)) if is_raw(name));
            let (text, length) = quoted(rest, c, is_raw);
            if is_raw {
                tokens.pop();
            }
            tokens.push(Token::Text(text));
            length
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c.is_ascii_digit() {
            let is_other = |c: char| !(c.is_ascii_alphanumeric() || c == '.');
            let end = rest.find(is_other).unwrap_or(rest.len());
            let text = rest.split_at(end).0.trim_end_matches(['u', 'U']);
            tokens.extend(text.parse().ok().map(Token::Number));
            end
        } else if c.is_alphabetic() || c == '_' {
            let is_other = |c: char| !(c.is_alphanumeric() || c == '_');
            let end = rest.find(is_other).unwrap_or(rest.len());
            tokens.push(Token::Name(rest.split_at(end).0.to_owned()));
            end
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Sign(c));
            }
            c.len_utf8()
        };
        rest = rest.split_at(length).1;
    }
    tokens
}

fn is_raw(prefix: &str) -> bool {
    ["r", "R", "b", "B", "br", "rb"].contains(&prefix)
}

/// The text between quotes, and the number of bytes that it takes with them.
fn quoted(rest: &str, quote: char, is_raw: bool) -> (String, usize) {
    let triple = quote.to_string().repeat(3);
    let close = match rest.starts_with(&triple) {
        true => triple,
        false => quote.to_string(),
    };
    let mut text = String::new();
    let mut at = close.len();
    let mut left = rest.split_at(at).1;
    while let Some(c) = left.chars().next() {
        if left.starts_with(&close) {
            at += close.len();
            break;
        }
        let mut taken = c.len_utf8();
        match (c, left.chars().nth(1)) {
            ('\\', Some(escaped)) if !is_raw => {
                text.push(escaped);
                taken += escaped.len_utf8();
            }
            _ => text.push(c),
        }
        at += taken;
        left = left.split_at(taken).1;
    }
    (text, at)
}

#[cfg(test)]
mod tests {
    use super::literals;

    #[test]
    fn what_calculates() {
        for (expression, expected) in [
            ("claims.a == 'x - y' && claims.b > -1", None),
            ("request.path.startsWith('/users/' + claims.sub)", None),
            ("claims.a.exists(o, o.id in [1, 2])", None),
            ("!(claims.a in ['b'])", None),
            ("now < timestamp('2030-01-01T00:00:00Z') // a - b", None),
            ("claims.email.matches(r'\\d+')", None),
            ("claims.level % 2 == 0", Some("%")),
            ("int(now) - claims.auth_time < 900", Some("-")),
            ("claims.a + claims.b == 'xy'", Some("+")),
            ("claims.email.split('@')[1] == 'a.com'", Some("split")),
            ("claims.a.filter(x, x > 1).size() > 0", Some("filter")),
        ] {
            let found = literals(expression).calculates;
            assert_eq!(found.as_deref(), expected, "{expression}");
        }
    }

    #[test]
    fn constants() {
        let found = literals(
            "claims.a.split(',')[0] in ['x', \"y\\\"\"] || now - t < duration('15m') && n > 1.5",
        );
        assert_eq!(found.separators, [","]);
        assert_eq!(found.texts, ["x", "y\""]);
        assert_eq!(found.numbers, [0.0, 900.0, 1.5]);
    }
}
