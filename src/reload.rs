//! Puts a changed configuration file into force while requests are served.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Admin, Config, ConfigError, Server, Telemetry};
use crate::gate::Gate;
use crate::gate::file_watch::{Changes, looks};
use crate::gate::files::{Files, Stamp};
use crate::gate::reload::{Reloaded, read_elsewhere};
use crate::lifecycle::systemd::Systemd;
use crate::logging::Filter;

/// Reads the configuration, as it would be put in force.
#[derive(Clone)]
pub(crate) struct Load(Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>);

impl Load {
    /// Reads the file now. Blocks: compiling 10,000 rules takes a while.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        (self.0)()
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Load")
    }
}

/// The configuration file that the service uses, and the signal to read it again.
pub struct ConfigFile {
    file: Option<Watched>,
    hangup: Signal,
    state: FileState,
    log: Option<Filter>,
}

/// What an operator must do about the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileState {
    /// Why the file is not in force. Empty while it is.
    pub(crate) rejected: Arc<ArcSwapOption<String>>,
    /// The sections of the file that only a restart puts into force.
    pub(crate) restart_for: Arc<ArcSwapOption<Vec<&'static str>>>,
    /// Reads the file. `None` if there is none.
    pub(crate) load: Option<Load>,
}

impl FileState {
    /// Which sections wait for a restart, in words.
    pub(crate) fn restart_needed(&self) -> Option<String> {
        let sections = self.restart_for.load_full()?;
        let sections = sections.join("` and `");
        Some(format!(
            "changes of `{sections}` in the configuration file wait for a restart of the service"
        ))
    }
}

struct Watched {
    path: PathBuf,
    load: Load,
    /// The state of the file before it was read.
    loaded: Option<Stamp>,
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.file.as_ref().map(|file| &file.path);
        f.debug_struct("ConfigFile")
            .field("file", &path)
            .finish_non_exhaustive()
    }
}

impl ConfigFile {
    /// A file that is about to be read, and how to read a configuration from it. From now on SIGHUP
    /// does not end the process.
    ///
    /// # Errors
    ///
    /// Fails if the signal cannot be handled.
    pub fn new(
        path: PathBuf,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::of(Some(Watched {
            loaded: Stamp::of(&path),
            path,
            load: Load(Arc::new(load)),
        }))
    }

    /// No file: flags or variables configure the service, and SIGHUP changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the signal cannot be handled.
    pub fn none() -> io::Result<Self> {
        Self::of(None)
    }

    fn of(file: Option<Watched>) -> io::Result<Self> {
        let state = FileState {
            load: file.as_ref().map(|file| file.load.clone()),
            ..FileState::default()
        };
        Ok(Self {
            file,
            hangup: signal(SignalKind::hangup())?,
            state,
            log: None,
        })
    }

    /// Applies `log.level` at each reload.
    #[must_use]
    pub fn with_log(self, filter: Filter) -> Self {
        let log = Some(filter);
        Self { log, ..self }
    }

    /// What an operator must do about the file.
    pub(crate) fn state(&self) -> FileState {
        self.state.clone()
    }

    /// Reloads the file whenever it changes, and at each SIGHUP. A file with a problem changes
    /// nothing. Runs until the future is dropped.
    pub(crate) async fn watch(self, gate: Gate, bound: Bound, systemd: Systemd) {
        let Self {
            file,
            mut hangup,
            state,
            log,
        } = self;
        let Some(Watched { path, load, loaded }) = file else {
            while hangup.recv().await.is_some() {
                tracing::warn!("SIGHUP ignored: there is no configuration file to reload");
                // `systemctl reload` waits for both.
                systemd.reloading();
                systemd.ready();
            }
            return std::future::pending().await;
        };
        let reloader = Reloader {
            path,
            load,
            gate,
            bound,
            state,
            log,
            files: Files::default(),
        };
        let mut changes = Changes::since(loaded);
        let mut looks = looks();
        loop {
            let cause = tokio::select! {
                Some(()) = hangup.recv() => Cause::Signal,
                _ = looks.tick() => match changes.settled(reloader.stamp().await) {
                    true => Cause::Change,
                    false => continue,
                },
            };
            // Taken before the file is read: a change after that is seen at the next look.
            changes = Changes::since(reloader.stamp().await);
            systemd.reloading();
            reloader.reload(cause).await;
            systemd.ready();
        }
    }
}

/// The settings that only a restart changes, because addresses stay bound and exports go on.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) server: Server,
    pub(crate) admin: Admin,
    pub(crate) telemetry: Telemetry,
}

impl Bound {
    /// The sections that differ.
    fn changed(&self, config: &Config) -> Vec<&'static str> {
        let sections = [
            ("server", self.server != config.server),
            ("admin", self.admin != config.admin),
            ("telemetry", self.telemetry != config.telemetry),
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
    state: FileState,
    log: Option<Filter>,
    files: Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Signal,
    Change,
}

impl Reloader {
    async fn stamp(&self) -> Option<Stamp> {
        self.files.stamp(&self.path).await
    }

    async fn reload(&self, cause: Cause) {
        let load = self.load.clone();
        let read = read_elsewhere(move || load.read()).await;
        let config = read.as_ref().ok();
        let restart_for = config.map(|config| self.bound.changed(config));
        let level = config.map(|config| config.log.level);
        let then = || {
            for section in restart_for.iter().flatten() {
                tracing::warn!(section, "changes of this section require a restart");
            }
            if let (Some(log), Some(level)) = (&self.log, level) {
                log.configure(level);
            }
            // Pages say so before the log does.
            let restart_for = restart_for.filter(|sections| !sections.is_empty());
            self.state.restart_for.store(restart_for.map(Arc::new));
            self.state.rejected.store(None);
        };
        let even_if_same = cause == Cause::Signal;
        let reloading = self.gate.reload_file(&self.path, read, even_if_same, then);
        match reloading.await {
            Reloaded::Unchanged => self.state.rejected.store(None),
            Reloaded::InForce => {}
            Reloaded::Rejected(error) => self.state.rejected.store(Some(Arc::new(error))),
        }
    }
}
