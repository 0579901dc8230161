//! Texts that a regular expression matches, and some that it just does not.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// The maximum number of texts of one part of an expression.
const MAX_OF_PART: usize = 1024;

/// The longest text of one part, in bytes.
const MAX_BYTES: usize = 2048;

/// The characters to take from a class if it has them: they have one reading in a path.
const PLAIN: [char; 4] = ['a', '0', 'A', 'x'];

/// Texts of one expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// The expression matches these from beginning to end.
    pub(super) matching: Vec<String>,
    /// Like these, but with one repetition too many.
    pub(super) beyond: Vec<String>,
    /// Whether no part has further texts.
    pub(super) is_complete: bool,
}

/// A few texts: each alternative, the ends of each class, and the least and the largest number of
/// repetitions and one more. Empty if the expression cannot be parsed.
pub(super) fn samples(expression: &str) -> Samples {
    let Ok(parsed) = regex_syntax::parse(expression) else {
        return Samples::default();
    };
    let mut within = Sampler::default();
    let matching = within.of(&parsed);
    let mut further = Sampler {
        goes_beyond: true,
        ..Sampler::default()
    };
    let mut beyond = further.of(&parsed);
    beyond.retain(|text| !matching.contains(text));
    Samples {
        matching,
        beyond,
        is_complete: !within.is_cut && !further.is_cut,
    }
}

#[derive(Default)]
struct Sampler {
    /// Whether a part is repeated once more than it may be.
    goes_beyond: bool,
    is_cut: bool,
}

impl Sampler {
    fn of(&mut self, hir: &Hir) -> Vec<String> {
        let mut found = match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => vec![String::new()],
            HirKind::Literal(literal) => {
                vec![String::from_utf8_lossy(&literal.0).into_owned()]
            }
            HirKind::Class(class) => of_class(class),
            HirKind::Capture(capture) => self.of(&capture.sub),
            HirKind::Alternation(parts) => {
                let each: Vec<Vec<String>> = parts.iter().map(|part| self.of(part)).collect();
                // The first text of every alternative comes before the second of any.
                let firsts = each.iter().filter_map(|texts| texts.first());
                let others = each.iter().flat_map(|texts| texts.iter().skip(1));
                firsts.chain(others).cloned().collect()
            }
            HirKind::Repetition(repetition) => self.of_repetition(repetition),
            HirKind::Concat(parts) => self.of_concat(parts),
        };
        self.is_cut |= found.len() > MAX_OF_PART;
        found.truncate(MAX_OF_PART);
        found
    }

    fn of_repetition(&mut self, repetition: &Repetition) -> Vec<String> {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let least = count(repetition.min);
        let most = repetition.max.map(count);
        let mut counts = vec![least, least.saturating_add(1)];
        match most {
            Some(most) if self.goes_beyond => counts.extend([most, most.saturating_add(1)]),
            Some(most) => {
                counts.push(most);
                counts.retain(|count| *count <= most);
            }
            None => counts.push(least.saturating_add(2)),
        }
        let usual = counts.get(1).or(counts.first()).copied().unwrap_or(least);
        let mut texts = Vec::new();
        for (index, text) in self.of(&repetition.sub).into_iter().enumerate() {
            let of_first = counts.iter().filter(|_| index == 0);
            let of_others = [usual];
            let of_others = of_others.iter().filter(|_| index > 0);
            for count in of_first.chain(of_others) {
                match text.len().saturating_mul(*count) > MAX_BYTES {
                    true => self.is_cut = true,
                    false => {
                        let repeated = text.repeat(*count);
                        if !texts.contains(&repeated) {
                            texts.push(repeated);
                        }
                    }
                }
            }
        }
        texts
    }

    /// The first text of every part, and then each other text of one part beside the first ones of
    /// the others.
    fn of_concat(&mut self, parts: &[Hir]) -> Vec<String> {
        let each: Vec<Vec<String>> = parts.iter().map(|part| self.of(part)).collect();
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
        for (expression, at_least, beyond) in [
            ("/orders", 1, 0),
            ("/orders/[0-9]+", 3, 0),
            ("/(a|b|cd)/x?", 4, 1),
            ("/v[12]/(orders|users)(/.*)?", 5, 1),
            (r".*\.(css|js)", 2, 0),
            (r"/[^/]+/edit", 2, 0),
            (r"/\w{3,5}", 3, 1),
            (r"/[0-9]{1,5}", 3, 1),
            (r"/a(/b)*", 3, 0),
            (r"^/a$", 1, 0),
            ("/é", 1, 0),
        ] {
            let found = samples(expression);
            let whole = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
            let number = found.matching.len();
            assert!(number >= at_least, "{expression}: {found:?}");
            assert!(found.beyond.len() >= beyond, "{expression}: {found:?}");
            assert!(found.is_complete, "{expression}");
            for text in found.matching {
                assert!(whole.is_match(&text), "{expression}: {text}");
            }
        }
        assert!(samples("(").matching.is_empty());
        assert!(!samples("/[0-9]{1,5000}").is_complete);
    }
}
