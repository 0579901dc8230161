//! Why a request waited for keys in vain.

use std::time::Duration;

/// How long a request could wait for keys before it was denied without them.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The time from the arrival of the check to its answer.
    pub took: Duration,
    /// Half of the time that the caller's time-out left. An answer after that might come too late.
    pub max: Duration,
    /// The provider's `unknown_key_wait`.
    pub setting: Duration,
}

impl Wait {
    /// What ended the wait and what to set. `None` if the request did not use up its time.
    pub fn in_vain(self) -> Option<String> {
        let Self { took, max, setting } = self;
        if took < max.min(setting) {
            return None;
        }
        let (took, setting) = (millis(took), millis(setting));
        Some(if max < self.setting {
            let timeout = millis(max * 2);
            format!(
                "waited {took} ms for the provider's keys, which is half of the {timeout} ms that \
                 Envoy's time-out left: set `timeout` in Envoy's `grpc_service` to more than twice \
                 `refresh.unknown_key_wait` ({setting} ms)"
            )
        } else {
            format!(
                "waited {took} ms for the provider's keys, which is all that \
                 `refresh.unknown_key_wait` allows; the fetch went on, and if it fails, \
                 `/readyz?verbose` says why. If the provider needs longer, raise the setting, and keep \
                 `timeout` in Envoy's `grpc_service` above twice that"
            )
        })
    }
}

/// Whole milliseconds, rounded to the nearest.
fn millis(time: Duration) -> u128 {
    (time.as_micros() + 500) / 1000
}
