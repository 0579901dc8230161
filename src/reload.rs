//! Puts a changed configuration file into force while requests are served.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::{Admin, Config, ConfigError, Server};
use crate::gate::Gate;

/// The time between two looks at the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the configuration.
type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// The configuration file that the service runs by, and the signal to read it again.
pub struct ConfigFile {
    file: Option<(PathBuf, Load)>,
    hangup: Signal,
    rejected: Rejected,
}

/// Why the file is not in force. Empty while it is.
pub(crate) type Rejected = Arc<ArcSwapOption<String>>;

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.file.as_ref().map(|(path, _)| path);
        f.debug_struct("ConfigFile").field("file", &path).finish()
    }
}

impl ConfigFile {
    /// A file, and how to read a configuration from it. From now on SIGHUP does not end the
    /// process.
    ///
    /// # Errors
    ///
    /// Fails if the signal cannot be handled.
    pub fn new(
        path: PathBuf,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::of(Some((path, Box::new(load))))
    }

    /// No file: flags or variables configure the service, and SIGHUP changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the signal cannot be handled.
    pub fn none() -> io::Result<Self> {
        Self::of(None)
    }

    fn of(file: Option<(PathBuf, Load)>) -> io::Result<Self> {
        Ok(Self {
            file,
            hangup: signal(SignalKind::hangup())?,
            rejected: Rejected::default(),
        })
    }

    /// Why the file is not in force.
    pub(crate) fn rejected(&self) -> Rejected {
        Arc::clone(&self.rejected)
    }

    /// Reloads the file whenever it changes, and at each SIGHUP. A file with a problem changes
    /// nothing. Runs until the future is dropped.
    pub(crate) async fn watch(self, gate: Gate, bound: Bound) {
        let Self {
            file,
            mut hangup,
            rejected,
        } = self;
        let Some((path, load)) = file else {
            while hangup.recv().await.is_some() {
                tracing::warn!("SIGHUP ignored: there is no configuration file to reload");
            }
            return std::future::pending().await;
        };
        let reloader = Reloader {
            path,
            load,
            gate,
            bound,
            rejected,
        };
        let mut changes = Changes::since(Stamp::of(&reloader.path).await);
        let mut looks = every(LOOK_INTERVAL);
        loop {
            let cause = tokio::select! {
                Some(()) = hangup.recv() => Cause::Signal,
                _ = looks.tick() => match changes.settled(Stamp::of(&reloader.path).await) {
                    true => Cause::Change,
                    false => continue,
                },
            };
            // Taken before the file is read: a change after that is seen at the next look.
            changes = Changes::since(Stamp::of(&reloader.path).await);
            reloader.reload(cause).await;
        }
    }
}

/// The settings that only a restart changes, because addresses stay bound.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) server: Server,
    pub(crate) admin: Admin,
}

impl Bound {
    /// The sections that differ.
    fn changed(&self, config: &Config) -> Vec<&'static str> {
        let sections = [
            ("server", self.server != config.server),
            ("admin", self.admin != config.admin),
        ];
        let changed = sections.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(name, _)| name).collect()
    }
}

struct Reloader {
    path: PathBuf,
    load: Load,
    gate: Gate,
    bound: Bound,
    rejected: Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Signal,
    Change,
}

impl Reloader {
    async fn reload(&self, cause: Cause) {
        let file = self.path.display();
        let metrics = self.gate.metrics.reloads();
        match (self.load)() {
            Ok(config) if cause == Cause::Change && config.hash == self.gate.generation().hash => {
                tracing::info!(%file, "the configuration file has not changed");
                metrics.reverted();
                self.rejected.store(None);
            }
            Ok(config) => {
                for warning in &config.warnings {
                    tracing::warn!(%warning, "the configuration is probably not what you want");
                }
                for section in self.bound.changed(&config) {
                    tracing::warn!(section, "changes of this section require a restart");
                }
                self.gate.reload(config).await;
                let generation = self.gate.generation();
                tracing::info!(
                    %file,
                    hash = %generation.hash,
                    providers = generation.policy.providers().count(),
                    rules = generation.policy.rules().names().count(),
                    "configuration reloaded"
                );
                metrics.succeeded();
                self.rejected.store(None);
            }
            Err(error) => {
                tracing::error!(
                    %file,
                    %error,
                    "the configuration file has problems; the previous configuration stays in force"
                );
                metrics.failed();
                self.rejected.store(Some(Arc::new(error.to_string())));
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Distinguishes versions of a file. A link counts as its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    /// `None` if there is no such file.
    async fn of(path: &Path) -> Option<Self> {
        let metadata = tokio::fs::metadata(path).await.ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Finds changes of a file. A change counts at the second look that finds the same version, so that
/// nobody loads the half of a file that an editor or `cp` is still writing: half of a list of rules
/// can be valid, and open.
#[derive(Debug)]
struct Changes {
    loaded: Option<Stamp>,
    last: Option<Stamp>,
}

impl Changes {
    fn since(loaded: Option<Stamp>) -> Self {
        Self {
            loaded,
            last: loaded,
        }
    }

    /// Whether a new version has stayed the same since the previous look.
    fn settled(&mut self, now: Option<Stamp>) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        now != self.loaded && now == before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_has_settled() {
        let stamp = |inode| {
            Some(Stamp {
                device: 1,
                inode,
                bytes: 1,
                changed: (0, 0),
            })
        };
        let (loaded, half, whole) = (stamp(1), stamp(2), stamp(3));
        for (what, looks) in [
            ("unchanged", &[(loaded, false), (loaded, false)][..]),
            ("changed", &[(whole, false), (whole, true)]),
            (
                "being written",
                &[(half, false), (whole, false), (whole, true)],
            ),
            ("replaced", &[(None, false), (whole, false), (whole, true)]),
            ("gone", &[(None, false), (None, true)]),
            ("changed and back", &[(half, false), (loaded, false)]),
        ] {
            let mut changes = Changes::since(loaded);
            for (now, settled) in looks {
                assert_eq!(changes.settled(*now), *settled, "{what}");
            }
        }
    }
}
