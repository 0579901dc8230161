//! Why waiting for keys was in vain.

use std::time::Duration;

/// A denial for want of keys, and how long the request could wait for them.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// From the arrival of the check to its answer.
    pub took: Duration,
    /// Half of what the caller's time-out left: an answer after that might come too late.
    pub most: Duration,
    /// The provider's `unknown_key_wait`.
    pub setting: Duration,
}

impl Wait {
    /// What ended the wait, and what to set; `None` if the request did not wait that long.
    pub fn in_vain(self) -> Option<String> {
        let Self {
            took,
            most,
            setting,
        } = self;
        if took < most.min(setting) {
            return None;
        }
        let (took, setting) = (millis(took), millis(setting));
        Some(if most < self.setting {
            let timeout = millis(most * 2);
            format!(
                "waited {took} ms for the provider's keys, which is half of the {timeout} ms that \
                 Envoy's time-out left: set `timeout` of Envoy's `grpc_service` to more than twice \
                 `refresh.unknown_key_wait` ({setting} ms)"
            )
        } else {
            format!(
                "waited {took} ms for the provider's keys, which is all that \
                 `refresh.unknown_key_wait` allows: if the provider answers more slowly, raise it, \
                 and keep `timeout` of Envoy's `grpc_service` above twice as much"
            )
        })
    }
}

/// In whole milliseconds, to the nearest.
fn millis(time: Duration) -> u128 {
    (time.as_micros() + 500) / 1000
}
