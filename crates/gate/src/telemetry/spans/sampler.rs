//! Decides which spans are recorded (OpenTelemetry, Trace SDK, "Sampling").

use claimgate_core::request::TraceParent;

/// Which spans are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the caller decides, if there is one.
    pub follows_caller: bool,
    /// The share of the other traces, from 0 to 1.
    pub ratio: f64,
}

impl Sampler {
    /// Whether a span of this trace is recorded. All services with the same ratio decide alike.
    pub(super) fn records(self, trace_id: u128, caller: Option<TraceParent>) -> bool {
        match caller {
            Some(caller) if self.follows_caller => caller.is_sampled,
            _ => is_in_share(trace_id, self.ratio),
        }
    }
}

/// Whether a trace belongs to this share, from 0 to 1, of all traces.
///
/// The lower half of a trace id is random (W3C Trace Context §3.2.2.3). OpenTelemetry's SDKs
/// compare 63 bits of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the ratio is from 0 to 1, and a rounded limit is as good"
)]
pub(crate) fn is_in_share(trace_id: u128, ratio: f64) -> bool {
    let random = (trace_id as u64) >> 1;
    let limit = ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64;
    random < limit as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(is_sampled: bool) -> TraceParent {
        TraceParent {
            trace_id: u128::MAX,
            span_id: 1,
            is_sampled,
        }
    }

    #[test]
    fn who_decides() {
        for (follows_caller, ratio, caller, expected) in [
            (true, 0.0, None, false),
            (true, 1.0, None, true),
            (true, 0.0, Some(caller(true)), true),
            (true, 1.0, Some(caller(false)), false),
            (false, 0.0, Some(caller(true)), false),
            (false, 1.0, Some(caller(false)), true),
        ] {
            let sampler = Sampler {
                follows_caller,
                ratio,
            };
            let records = sampler.records(u128::MAX, caller);
            assert_eq!(records, expected, "{sampler:?} {caller:?}");
        }
    }

    #[test]
    fn the_ratio_is_that_of_random_traces() {
        let sampler = Sampler {
            follows_caller: true,
            ratio: 0.25,
        };
        let is_recorded = |eighth: &u128| sampler.records(eighth << 61, None);
        let recorded: Vec<u128> = (0..8).filter(is_recorded).collect();
        assert_eq!(recorded, [0, 1]);
    }
}
