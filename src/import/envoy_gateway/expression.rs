//! Expressions over the path as the client wrote it, while claimgate compares the decoded path.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::import::envoy::path::ascii_classes;
use crate::import::predicate::{Path, Predicate, Test};

/// The characters that a path may contain without an escape (RFC 3986 §3.3).
const PLAIN: &str = "[A-Za-z0-9._~!$&'()*+,;=:@/-]*";

/// A test of path and query. It is exact for paths without escapes. For other paths it is known only if the
/// expression can match none of them.
pub(super) fn path_and_query(regex: &str) -> Predicate {
    let regex = ascii_classes(regex);
    let is_plain = regex_syntax::parse(&regex).is_ok_and(|it| is_plain(&it));
    let matches = Predicate::Test(Test::Path(Path::WithQuery(regex)));
    if is_plain {
        return matches;
    }
    let plain = Predicate::Test(Test::Path(Path::Template {
        lower: PLAIN.to_owned(),
        upper: PLAIN.to_owned(),
    }));
    Predicate::between(
        Predicate::all([plain.clone(), matches.clone()]),
        Predicate::any([plain.negated(), matches]),
    )
}

/// Whether the expression matches only texts of characters that need no escape. The query may need some.
fn is_plain(hir: &Hir) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._~!$&'()*+,;=:@/-?".contains(c);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            std::str::from_utf8(&literal.0).is_ok_and(|text| text.chars().all(fits))
        }
        HirKind::Class(Class::Unicode(class)) => class
            .iter()
            .all(|range| range.end().is_ascii() && (range.start()..=range.end()).all(fits)),
        HirKind::Class(Class::Bytes(class)) => class.iter().all(|range| {
            range.end().is_ascii() && (range.start()..=range.end()).all(|byte| fits(byte.into()))
        }),
        HirKind::Repetition(repetition) => is_plain(&repetition.sub),
        HirKind::Capture(capture) => is_plain(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_plain),
    }
}
