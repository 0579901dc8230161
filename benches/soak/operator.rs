//! The operator, who reloads the configuration and replaces certificates while requests flow.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::certificates::Certificates;
use crate::configuration::Configuration;
use crate::process::Claimgate;

/// Reloads the configuration and replaces the certificate, alternately and each once a minute.
pub struct Operator {
    pub minute: Duration,
    pub next: Instant,
    pub certificates: Certificates,
    pub configuration: Arc<Configuration>,
    pub reloads: u64,
    pub rotations: u64,
    pub broken: Vec<String>,
}

impl Operator {
    /// Does what is due.
    pub async fn act(&mut self, claimgate: &Claimgate) {
        if Instant::now() < self.next {
            return;
        }
        self.next += self.minute / 2;
        if self.reloads > self.rotations {
            self.certificates.rotate();
            self.rotations += 1;
            if !claimgate.rotated(self.rotations).await {
                let which = self.rotations;
                self.broken
                    .push(format!("certificate {which} was not loaded"));
            }
            return;
        }
        self.configuration.change();
        self.reloads += 1;
        if claimgate.reloaded(self.reloads).await {
            self.configuration.changed();
        } else {
            let which = self.reloads;
            self.broken
                .push(format!("configuration {which} was not loaded"));
        }
    }
}
