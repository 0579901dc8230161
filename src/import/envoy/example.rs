//! Texts that regular expressions probably match, for the tests of a result.

/// A path that the expression probably matches.
pub(super) fn path(regex: &str) -> Option<String> {
    some_match(regex).filter(|text| text.starts_with('/'))
}

/// A text that the expression probably matches. Its user checks that.
pub(super) fn some_match(regex: &str) -> Option<String> {
    let mut chars = regex.chars().peekable();
    let mut out = String::new();
    alternative(&mut chars, &mut out, 0)?;
    Some(out)
}

type Chars<'r> = std::iter::Peekable<std::str::Chars<'r>>;

/// Reads the first alternative of a group or of the whole, and skips the others.
fn alternative(chars: &mut Chars<'_>, out: &mut String, depth: usize) -> Option<()> {
    if depth > 8 {
        return None;
    }
    let mut is_first = true;
    while let Some(c) = chars.next() {
        let atom = match c {
            ')' if depth > 0 => return Some(()),
            '|' => {
                is_first = false;
                String::new()
            }
            '^' | '$' => String::new(),
            '(' => {
                let mut inner = String::new();
                if group(chars)? {
                    alternative(chars, &mut inner, depth + 1)?;
                }
                inner
            }
            '[' => class(chars)?.to_string(),
            '.' => "x".to_owned(),
            '\\' => match chars.next()? {
                'd' => "1".to_owned(),
                'w' | 'S' | 'D' => "x".to_owned(),
                other if other.is_ascii_alphanumeric() => return None,
                other => other.to_string(),
            },
            c => c.to_string(),
        };
        let times = quantity(chars)?;
        if is_first {
            out.push_str(&atom.repeat(times));
        }
    }
    (depth == 0).then_some(())
}

/// Skips the `?:` or the flags of a group. Returns false if it holds nothing else, such as `(?i)`.
fn group(chars: &mut Chars<'_>) -> Option<bool> {
    if chars.peek() != Some(&'?') {
        return Some(true);
    }
    loop {
        match chars.next()? {
            ':' | '>' => return Some(true),
            ')' => return Some(false),
            _ => {}
        }
    }
}

/// One character of a class.
fn class(chars: &mut Chars<'_>) -> Option<char> {
    let first = chars.next()?;
    let picked = match first {
        '^' => 'x',
        '\\' => match chars.next()? {
            'd' => '1',
            'w' => 'x',
            other => other,
        },
        other => other,
    };
    while chars.next()? != ']' {}
    Some(picked)
}

/// The smallest number of times that the quantifier after an atom allows.
fn quantity(chars: &mut Chars<'_>) -> Option<usize> {
    let times = match chars.peek() {
        Some('*' | '?') => {
            chars.next();
            0
        }
        Some('+') => {
            chars.next();
            1
        }
        Some('{') => {
            chars.next();
            let mut digits = String::new();
            loop {
                match chars.next()? {
                    '}' => break,
                    c if c.is_ascii_digit() => digits.push(c),
                    _ => {
                        while chars.next()? != '}' {}
                        break;
                    }
                }
            }
            digits.parse().ok().filter(|times| *times < 100)?
        }
        _ => return Some(1),
    };
    if chars.peek() == Some(&'?') {
        chars.next();
    }
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples() {
        for (regex, expected) in [
            ("/a/.*", Some("/a/")),
            (r"/a/[0-9]+\.json", Some("/a/0.json")),
            ("/(orders|items)/[^/]+", Some("/orders/x")),
            ("/a(b(c|d)e)?/f{3}", Some("/a/fff")),
            (r"^/(?:v1|v2)/\d{2,3}$", Some("/v1/11")),
            ("(?i)/a", Some("/a")),
            (".*/a", Some("/a")),
            ("a/b", None),
            ("/a(", None),
        ] {
            assert_eq!(path(regex).as_deref(), expected, "{regex}");
        }
    }
}
