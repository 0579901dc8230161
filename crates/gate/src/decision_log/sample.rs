//! Which of the requests that pass are written, if not all are.

use crate::Circumstances;
use crate::telemetry::spans::is_in_share;
use claimgate_core::request::Request;

/// Whether a request is in the share that is written. Requests of one trace are written together, and
/// repeats of one request too.
pub(super) fn is_sampled(circumstances: Circumstances<'_, '_>, ratio: f64) -> bool {
    let request = circumstances.request;
    let trace = request
        .and_then(Request::trace_id)
        .and_then(|id| u128::from_str_radix(id, 16).ok());
    let by_id = || request.and_then(Request::id).map(scattered);
    let id = trace.or_else(by_id).or(circumstances.trace_id);
    is_in_share(id.unwrap_or_else(|| fastrand::u128(..)), ratio)
}

/// A number that depends on the text alone, and on all its bytes (FNV-1a, then the finalizer of
/// `SplitMix64`).
fn scattered(id: &str) -> u128 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u128::from(hash ^ (hash >> 31))
}
