//! Texts that a regular expression matches.

use regex_syntax::hir::{Class, Hir, HirKind};

/// The maximum number of texts of one expression, and of one part of it.
const MAX_SAMPLES: usize = 12;

/// The characters to take from a class if it has them: they have one reading in a path.
const PLAIN: [char; 4] = ['a', '0', 'A', 'x'];

/// A few texts that the expression matches from beginning to end: each alternative, the ends of each
/// class, and the least number of repetitions and one more. Empty if the expression cannot be parsed.
pub(super) fn samples(expression: &str) -> Vec<String> {
    regex_syntax::parse(expression).map_or_else(|_| Vec::new(), |parsed| of(&parsed))
}

fn of(hir: &Hir) -> Vec<String> {
    let mut found = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => {
            vec![String::from_utf8_lossy(&literal.0).into_owned()]
        }
        HirKind::Class(class) => of_class(class),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Alternation(parts) => {
            let each: Vec<Vec<String>> = parts.iter().map(of).collect();
            // The first text of every alternative comes before the second of any.
            let firsts = each.iter().filter_map(|texts| texts.first());
            let others = each.iter().flat_map(|texts| texts.iter().skip(1));
            firsts.chain(others).cloned().collect()
        }
        HirKind::Repetition(repetition) => {
            let least = usize::try_from(repetition.min).unwrap_or(0).min(64);
            let more = least + 1;
            let may_have_more = repetition.max.is_none_or(|max| max > repetition.min);
            let mut texts = Vec::new();
            for (index, text) in of(&repetition.sub).into_iter().enumerate() {
                if index == 0 {
                    texts.push(text.repeat(least));
                }
                if may_have_more {
                    texts.push(text.repeat(more));
                } else if index > 0 {
                    texts.push(text.repeat(least));
                }
            }
            texts
        }
        HirKind::Concat(parts) => of_concat(parts),
    };
    found.truncate(MAX_SAMPLES);
    found
}

/// The first text of every part, and then each other text of one part beside the first ones of the
/// others.
fn of_concat(parts: &[Hir]) -> Vec<String> {
    let each: Vec<Vec<String>> = parts.iter().map(of).collect();
    let first = |texts: &Vec<String>| texts.first().cloned().unwrap_or_default();
    let mut found = vec![each.iter().map(first).collect::<String>()];
    let longest = each.iter().map(Vec::len).max().unwrap_or(0);
    for index in 1..longest {
        for (position, texts) in each.iter().enumerate() {
            let Some(other) = texts.get(index) else {
                continue;
            };
            let parts = each.iter().enumerate();
            found.push(
                parts
                    .map(|(at, texts)| match at == position {
                        true => other.clone(),
                        false => first(texts),
                    })
                    .collect(),
            );
        }
    }
    found
}

fn of_class(class: &Class) -> Vec<String> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => {
            let ranges = class.ranges().iter();
            ranges.map(|range| (range.start(), range.end())).collect()
        }
        Class::Bytes(class) => {
            let ranges = class.ranges().iter();
            ranges
                .map(|range| (char::from(range.start()), char::from(range.end())))
                .collect()
        }
    };
    let has = |wanted: char| {
        ranges
            .iter()
            .any(|(start, end)| (*start..=*end).contains(&wanted))
    };
    let plain = PLAIN.into_iter().filter(|wanted| has(*wanted));
    let ends = ranges.iter().flat_map(|(start, end)| [*start, *end]);
    // Other characters are refused in paths, or have to be encoded.
    let ends = ends.filter(|c| c.is_ascii_graphic() && !matches!(c, '\\' | '#' | '?' | ';' | '%'));
    let mut found: Vec<String> = Vec::new();
    for c in plain.chain(ends) {
        let text = c.to_string();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    if found.is_empty() {
        found.extend(ranges.first().map(|(start, _)| start.to_string()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn every_sample_matches() {
        for (expression, at_least) in [
            ("/orders", 1),
            ("/orders/[0-9]+", 3),
            ("/(a|b|cd)/x?", 4),
            ("/v[12]/(orders|users)(/.*)?", 5),
            (r".*\.(css|js)", 2),
            (r"/[^/]+/edit", 2),
            (r"/\w{3,5}", 2),
            (r"^/a$", 1),
            ("/é", 1),
        ] {
            let found = samples(expression);
            let whole = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
            assert!(found.len() >= at_least, "{expression}: {found:?}");
            for text in found {
                assert!(whole.is_match(&text), "{expression}: {text}");
            }
        }
        assert!(samples("(").is_empty());
    }
}
