//! Puts a configuration file that was read again into force.

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Gate, Generation};
use claimgate_config::Config;
use claimgate_core::policy::{Policy, Provider};

/// What came of reading a configuration file again.
#[derive(Debug)]
pub enum Reloaded {
    /// It is the configuration in force.
    Unchanged,
    /// It is in force from now on.
    InForce,
    /// It has problems, so the previous configuration stays in force.
    Rejected(String),
}

/// Reads a configuration where requests are not decided: compiling 10,000 rules takes a while.
///
/// # Errors
///
/// Fails as `read` does.
pub async fn read_elsewhere<E: std::fmt::Display>(
    read: impl FnOnce() -> Result<Config, E> + Send + 'static,
) -> Result<Config, String> {
    let read = move || read().map_err(|error| error.to_string());
    let read = spawn_blocking(read).await;
    read.unwrap_or_else(|_| Err("reading it failed; this is a bug".to_owned()))
}

impl Gate {
    /// Puts the configuration that was read from `file` into force, unless it has problems, or is in
    /// force and `even_if_same` is false. Logs and counts what came of it. `then` runs once it is in
    /// force, before that is logged. Reloads must not overlap.
    pub async fn reload_file(
        &self,
        file: &Path,
        read: Result<Config, String>,
        even_if_same: bool,
        then: impl FnOnce(),
    ) -> Reloaded {
        let file = file.display();
        let metrics = self.metrics.reloads();
        let config = match read {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(
                    %file,
                    %error,
                    "the configuration file has problems; the previous configuration stays in force"
                );
                metrics.failed();
                return Reloaded::Rejected(error);
            }
        };
        if !even_if_same && config.hash == self.generation().hash {
            tracing::info!(%file, "the configuration file has not changed");
            metrics.reverted();
            return Reloaded::Unchanged;
        }
        warn_of(&config);
        let before = self.generation();
        self.reload(config).await;
        then();
        let generation = self.generation();
        tracing::info!(
            %file,
            hash = %generation.hash,
            providers = generation.policy.providers().count(),
            rules = generation.policy.rules().configured(),
            "configuration reloaded"
        );
        log_providers(&generation.policy, Some(&before));
        metrics.succeeded();
        Reloaded::InForce
    }
}

/// Logs the warnings of a configuration.
pub fn warn_of(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(%warning, "the configuration is probably not what you want");
    }
}

/// Logs whose tokens are accepted from now on.
pub fn log_providers(policy: &Policy, before: Option<&Arc<Generation>>) {
    let is_new = |provider: &&Provider| {
        let mut known = before
            .into_iter()
            .flat_map(|before| before.policy.providers());
        !known.any(|(_, known)| known.terms.issuer == provider.terms.issuer)
    };
    let providers = policy.providers().map(|(_, provider)| provider);
    for provider in providers.filter(is_new) {
        tracing::info!(
            provider = provider.name,
            issuer = provider.terms.issuer,
            "trusting this provider"
        );
    }
}
