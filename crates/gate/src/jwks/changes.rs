//! How two key sets differ, for the log.

use std::collections::{BTreeSet, HashSet};

use claimgate_core::escaped::Escaped;
use claimgate_core::keyring::{Key, KeySet};

/// The maximum number of keys in one log line.
pub(super) const MAX_LISTED: usize = 10;

/// The ids under which `after` has another key than `before`, without the previous one.
pub(super) fn replaced(before: &KeySet, after: &KeySet) -> BTreeSet<String> {
    if before == after {
        return BTreeSet::new();
    }
    let left: HashSet<_> = after.iter().map(Key::thumbprint).collect();
    let gone = before
        .iter()
        .filter(|old| !left.contains(&old.thumbprint()));
    let gone: BTreeSet<&str> = gone.filter_map(Key::kid).collect();
    let kept = after.iter().filter_map(Key::kid);
    let kept = kept.filter(|kid| gone.contains(kid));
    kept.map(|kid| Escaped::from(kid).to_string()).collect()
}

/// The keys as the log names them. The thumbprint is included, because a provider may replace a key
/// and keep its id.
pub(super) fn described(keys: &KeySet) -> BTreeSet<String> {
    let described = keys.iter().map(|key| {
        let kid = key.kid().unwrap_or("(without id)");
        let (algorithms, thumbprint) = (key.algorithms(), key.thumbprint());
        let kid = Escaped::from(kid);
        format!("`{kid}` for {algorithms}, thumbprint {thumbprint}")
    });
    described.collect()
}

/// The names that are in the first set but not in the second.
pub(super) fn list(these: &BTreeSet<String>, those: &BTreeSet<String>) -> String {
    let mut shown: Vec<_> = these.difference(those).map(String::as_str).collect();
    let more = shown.len().saturating_sub(MAX_LISTED);
    shown.truncate(MAX_LISTED);
    let listed = shown.join("; ");
    match more {
        0 => listed,
        more => format!("{listed}; and {more} more"),
    }
}
