//! Metadata as Envoy's `dynamic_metadata`, a `Struct`.
//!
//! Numbers are doubles, as a `Struct` has no others, and text where a double would be taken for
//! another whole number. What is nested too deep is JSON text.

use prost::Message as _;
use prost_types::Struct;

use super::structs::{Lengths, entry_len, measure, put_entry};
use crate::answer::Metadata;

/// How deep claims may be nested, themselves included, and still be passed on as they are. Envoy
/// reads messages of a hundred levels at most, of which each level of JSON takes three; what it
/// cannot read is an error to it, which `failure_mode_allow` would turn into an allow.
const DEPTH: usize = 17;

/// The metadata as a message.
pub(super) fn to_struct(metadata: &Metadata<'_>) -> Struct {
    let mut bytes = Vec::new();
    put_all(metadata, &measure_claims(metadata), &mut bytes);
    // What was just written can be read.
    Struct::decode(&*bytes).unwrap_or_default()
}

/// Measures what is inside the claims.
pub(super) fn measure_claims(metadata: &Metadata<'_>) -> Lengths {
    let claims = metadata.claims();
    claims.map_or_else(Lengths::default, |claims| measure(claims, DEPTH))
}

/// The length of the message in bytes, by what was measured.
pub(super) fn len(metadata: &Metadata<'_>, lengths: &[u32]) -> usize {
    let entries = metadata.entries();
    entries
        .map(|(name, value)| entry_len(name, value, DEPTH, lengths))
        .sum()
}

/// Writes the message.
pub(super) fn put_all(metadata: &Metadata<'_>, lengths: &[u32], into: &mut Vec<u8>) {
    for (name, value) in metadata.entries() {
        put_entry(name, value, DEPTH, lengths, into);
    }
}
