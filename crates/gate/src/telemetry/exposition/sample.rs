//! One line of a metric.

/// A sample: its name, its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'t> {
    /// The name with its suffix, such as `_total`.
    pub name: &'t str,
    /// The labels in order.
    pub labels: Vec<(&'t str, String)>,
    /// The value as text.
    pub value: &'t str,
}

impl<'t> Sample<'t> {
    /// Reads `name{label="value"} 1` (OpenMetrics 1.0.0 §4). `None` if it is anything else.
    pub fn parse(line: &'t str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = rest.strip_prefix(' ')?.split(' ').next()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.push((name, value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// The text up to the closing quote, without escapes, and what follows the quote.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        for (line, expected) in [
            ("a_total 1", Some(("a_total", &[][..], "1"))),
            ("a{} 1.5", Some(("a", &[], "1.5"))),
            (
                r#"a_total{x="1",y="{b} \"c\\,\n"} NaN"#,
                Some(("a_total", &[("x", "1"), ("y", "{b} \"c\\,\n")], "NaN")),
            ),
            (r#"a{x="1} 2"#, None),
            (r#"a{x="1" 2"#, None),
            ("a", None),
        ] {
            let read = Sample::parse(line);
            let expected = expected.map(|(name, labels, value)| Sample {
                name,
                labels: labels
                    .iter()
                    .map(|(name, value): &(&str, &str)| (*name, (*value).to_owned()))
                    .collect(),
                value,
            });
            assert_eq!(read, expected, "{line}");
        }
    }
}
