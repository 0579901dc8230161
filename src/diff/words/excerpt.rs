//! Shows two long texts around their difference, so that both do not read the same.

use crate::escaped::Escaped;

/// The longest text that is shown completely, in characters.
const MAX_CHARS: usize = 120;

/// The number of equal characters that are shown before and after the difference.
const AROUND: usize = 30;

/// The text as it is shown beside `other`.
pub(super) fn beside(text: &str, other: &str) -> Escaped {
    let own: Vec<char> = text.chars().collect();
    if own.len() <= MAX_CHARS {
        return Escaped::from(text);
    }
    let same = text.chars().zip(other.chars());
    let before = same.take_while(|(one, other)| one == other).count();
    let rest = own.len().min(other.chars().count()) - before;
    let same = text.chars().rev().zip(other.chars().rev()).take(rest);
    let after = same.take_while(|(one, other)| one == other).count();
    let from = before.saturating_sub(AROUND);
    let to = (own.len() - after + AROUND).min(own.len());
    let mut shown = String::new();
    if from > 0 {
        shown.push('…');
    }
    shown.extend(own.iter().skip(from).take(to - from));
    if to < own.len() {
        shown.push('…');
    }
    Escaped::from(shown.as_str())
}

/// The text as it is shown beside the one of `others` that begins most like it.
pub(super) fn beside_nearest<'o>(text: &str, others: impl Iterator<Item = &'o str>) -> Escaped {
    let common = |other: &&str| {
        let same = text.chars().zip(other.chars());
        same.take_while(|(one, other)| one == other).count()
    };
    let nearest = others.max_by_key(common);
    beside(text, nearest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{beside, beside_nearest};

    #[test]
    fn long_texts_show_their_difference() {
        let long = |middle: &str| format!("{}{middle}{}", "a".repeat(200), "z".repeat(200));
        let (a, z) = ("a".repeat(30), "z".repeat(30));
        for (text, other, expected) in [
            ("short".to_owned(), long(""), "short".to_owned()),
            (long("x"), long("y"), format!("…{a}x{z}…")),
            (long("x"), long(""), format!("…{a}x{z}…")),
            (long(""), long("x"), format!("…{a}{z}…")),
            (long(""), long("az"), format!("…{a}{z}…")),
            (long("x"), String::new(), format!("{}…", "a".repeat(120))),
        ] {
            assert_eq!(beside(&text, &other).to_string(), expected);
            let others = ["b", &other];
            let shown = beside_nearest(&text, others.into_iter()).to_string();
            assert_eq!(shown, expected);
        }
    }
}
