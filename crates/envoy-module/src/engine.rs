//! What all filters of a process share: the threads that fetch keys, and one gate per configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{interval, timeout};

use crate::callouts::Callouts;
use crate::filter::Judge;
use crate::guard::locked;
use crate::stats::Shown;
use claimgate_config::{Config, ConfigError};
use claimgate_core::time::SystemClock;
use claimgate_gate::Gate;
use claimgate_gate::clusters;
use claimgate_gate::file_watch::{Changes, looks};
use claimgate_gate::files::{Files, Stamp};
use claimgate_gate::reload::{log_providers, read_elsewhere};

/// The threads that fetch keys, and that decide what takes waiting.
const THREADS: usize = 2;

/// Fetches through Envoy's clusters.
pub static CALLOUTS: LazyLock<Callouts> = LazyLock::new(Callouts::default);

/// The maximum time that Envoy waits for the keys of a configuration before it uses it, unless an extension
/// of its bootstrap holds the start. Meanwhile, Envoy's main thread does nothing else, but requests are
/// handled by the configuration before.
const MAX_HOLD: Duration = Duration::from_secs(5);

/// The maximum time to write the rest of the decision log.
const MAX_FLUSH: Duration = Duration::from_secs(1);

/// The time between updates of the host's metrics.
const STATS_INTERVAL: Duration = Duration::from_secs(2);

/// Where a configuration is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// In this file. It is read again when it changes.
    File(PathBuf),
    /// Here, as YAML.
    Text(String),
}

/// The prefix of the path of a file.
const FILE: &str = "file:";

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// Nothing is configured.
    Empty,
    /// The configuration is wrong.
    Config(ConfigError),
    /// The threads cannot be started.
    Runtime(String),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "`filter_config` is empty: it is a `google.protobuf.StringValue` with claimgate's \
                 configuration, or with `file:` and the path of one",
            ),
            Self::Config(error) => write!(f, "{error}"),
            Self::Runtime(error) => write!(f, "cannot start threads: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}

impl ConfigSource {
    /// Reads the text of a filter's configuration. It may be a JSON string: Envoy Gateway writes
    /// every text so.
    ///
    /// # Errors
    ///
    /// Fails if it is empty.
    pub fn read(text: &str) -> Result<Self, LoadError> {
        let unquoted: Option<String> = serde_json::from_str(text).ok();
        let text = unquoted.as_deref().unwrap_or(text).trim();
        match text.strip_prefix(FILE) {
            _ if text.is_empty() => Err(LoadError::Empty),
            Some(path) => Ok(Self::File(path.trim().into())),
            None => Ok(Self::Text(text.to_owned())),
        }
    }

    /// Reads the configuration. Blocks: compiling 10,000 rules takes a while.
    ///
    /// # Errors
    ///
    /// Lists every problem with its place.
    pub fn load(self) -> Result<Loaded, LoadError> {
        let (stamp, read) = match &self {
            // The state before it is read: a change after that is seen at the next look.
            Self::File(path) => (Stamp::of(path), Config::load(path)),
            Self::Text(yaml) => (None, Config::from_yaml(yaml)),
        };
        let config = read.map_err(LoadError::Config)?;
        Ok(Loaded {
            source: self,
            stamp,
            config,
        })
    }
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    source: ConfigSource,
    /// The state of the file before it was read.
    stamp: Option<Stamp>,
    /// The configuration.
    pub config: Config,
}

/// Everything that a process has once.
pub struct Engine {
    runtime: Runtime,
    /// The host's main thread, which reads configurations.
    main_thread: ThreadId,
    /// The extension of the host's bootstrap.
    extension: Mutex<Option<Arc<Extension>>>,
    /// What decides by each configuration that is in use.
    judges: Mutex<HashMap<ConfigSource, Weak<Running>>>,
}

/// The extension of the host's bootstrap, from its configuration to the host's end.
struct Extension {
    /// What the main thread does on request. `None` after the host's end.
    main_thread: Mutex<Option<Box<dyn MainThread>>>,
    /// Whether it holds the start.
    holds_start: AtomicBool,
}

impl Extension {
    fn on_main_thread(&self, action: impl FnOnce(&dyn MainThread)) {
        if let Some(main_thread) = &*locked(&self.main_thread) {
            action(&**main_thread);
        }
    }
}

/// What has the host do something on its main thread, soon.
pub trait MainThread: Send {
    /// Send the [`CALLOUTS`] that wait.
    fn send_queued(&self);

    /// Serve: the keys are there.
    fn end_hold(&self);
}

/// A configuration in use.
#[derive(Debug)]
pub struct Running {
    /// What decides by it.
    pub judge: Arc<Judge>,
    /// Which of its metrics the host has.
    pub shown: Mutex<Shown>,
}

impl Running {
    /// The metrics, as OpenMetrics text.
    pub fn metrics(&self) -> String {
        let gate = &self.judge.gate;
        gate.generation().observe();
        gate.metrics.encode().unwrap_or_default()
    }
}

impl Engine {
    /// The engine of this process.
    ///
    /// # Errors
    ///
    /// Fails if its threads cannot be started.
    pub fn get() -> Result<&'static Self, LoadError> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        let engine = ENGINE.get_or_init(|| Self::start().map_err(|error| error.to_string()));
        engine
            .as_ref()
            .map_err(|error| LoadError::Runtime(error.clone()))
    }

    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("claimgate")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            main_thread: std::thread::current().id(),
            extension: Mutex::default(),
            judges: Mutex::default(),
        })
    }

    /// What decides by a configuration. The same for all filters with the same configuration, so that
    /// each key is fetched once. Waits a while for the keys.
    pub fn run(&self, loaded: Loaded) -> Arc<Running> {
        let Loaded {
            source,
            stamp,
            config,
        } = loaded;
        let through_clusters = needs_clusters(&config);
        let mut judges = locked(&self.judges);
        judges.retain(|_, judge| judge.strong_count() > 0);
        if let Some(running) = judges.get(&source).and_then(Weak::upgrade) {
            return running;
        }
        // A change of Envoy's configuration must not cost the keys that the one before has.
        let others: Vec<_> = judges.values().filter_map(Weak::upgrade).collect();
        let gate = self.runtime.block_on(async {
            log_providers(&config.policy, None);
            let others: Vec<_> = others.iter().map(|other| &other.judge.gate).collect();
            let gate = Gate::start_beside(&others, config, Arc::new(SystemClock)).await;
            // Missing keys may arrive later. Those from a cluster cannot arrive while the main thread waits.
            if !self.holds_start() && !through_clusters {
                let _ = timeout(MAX_HOLD, keys_arrive(&gate)).await;
            }
            gate
        });
        let judge = Judge {
            gate,
            runtime: self.runtime.handle().clone(),
        };
        let running = Arc::new(Running {
            judge: Arc::new(judge),
            shown: Mutex::default(),
        });
        if let ConfigSource::File(path) = &source {
            let watching = watch(path.clone(), stamp, Arc::downgrade(&running));
            self.runtime.spawn(watching);
        }
        judges.insert(source, Arc::downgrade(&running));
        running
    }

    /// Holds the start of the host until [`MainThread::end_hold`]. Whether it is the first to do so: there is
    /// one extension.
    #[must_use]
    pub fn hold_start(&self, main_thread: impl MainThread + 'static) -> bool {
        let mut current = locked(&self.extension);
        if current.is_some() {
            return false;
        }
        *current = Some(Arc::new(Extension {
            main_thread: Mutex::new(Some(Box::new(main_thread))),
            holds_start: AtomicBool::new(true),
        }));
        clusters::provide(&*CALLOUTS);
        true
    }

    fn extension(&self) -> Option<Arc<Extension>> {
        locked(&self.extension).clone()
    }

    /// Whether keys can be fetched through clusters.
    pub fn has_clusters(&self) -> bool {
        self.extension().is_some()
    }

    fn holds_start(&self) -> bool {
        let extension = self.extension();
        extension.is_some_and(|extension| extension.holds_start.load(Ordering::SeqCst))
    }

    /// The host has its first configuration and its clusters. It serves as soon as no provider delays that.
    pub fn begin_serving(&'static self) {
        let Some(extension) = self.extension() else {
            return;
        };
        let sender = Arc::clone(&extension);
        CALLOUTS.begin(move || sender.on_main_thread(|thread| thread.send_queued()));
        self.runtime.spawn(async move {
            self.all_keys_arrive(&extension).await;
            extension.on_main_thread(|thread| thread.end_hold());
        });
    }

    /// The host ends, and must not be called any more.
    pub fn end_serving(&self) {
        CALLOUTS.end();
        let extension = locked(&self.extension).take();
        if let Some(extension) = extension {
            // No call is under way after this.
            *locked(&extension.main_thread) = None;
        }
    }

    /// Waits until no provider of any configuration delays readiness. Then the extension does not hold the
    /// start.
    async fn all_keys_arrive(&self, extension: &Extension) {
        loop {
            let mut changed = {
                let judges = locked(&self.judges);
                let mut running = judges.values().filter_map(Weak::upgrade);
                let waiting = running.find_map(|running| {
                    let gate = &running.judge.gate;
                    // First, so that no change is missed.
                    let changed = gate.changed();
                    (!gate.generation().jwks.awaited().is_empty()).then_some(changed)
                });
                match waiting {
                    Some(changed) => changed,
                    None => {
                        // Under the lock: a configuration is either seen above, or waits for its keys itself.
                        extension.holds_start.store(false, Ordering::SeqCst);
                        return;
                    }
                }
            };
            // An error means that the configuration is gone.
            let _ = changed.changed().await;
        }
    }

    /// Calls `tick` now and then, until the returned value is dropped.
    pub fn tick(&self, tick: impl Fn() + Send + 'static) -> Ticking {
        let tick: Arc<Mutex<Option<Tick>>> = Arc::new(Mutex::new(Some(Box::new(tick))));
        let ticking = Ticking(Arc::clone(&tick));
        self.runtime.spawn(async move {
            let mut interval = interval(STATS_INTERVAL);
            loop {
                interval.tick().await;
                match &*locked(&tick) {
                    Some(tick) => tick(),
                    None => return,
                }
            }
        });
        ticking
    }

    /// Ends what decided for filters, if no other filter uses it: writes the rest of its decision log. The
    /// main thread waits for that, because the process may be about to end. A worker does not: the last
    /// request of an old configuration may end on one.
    pub fn end(&self, running: Arc<Running>) {
        let Some(running) = Arc::into_inner(running) else {
            return;
        };
        let gate = running.judge.gate.clone();
        let stopping = async move { gate.stop_decision_log(MAX_FLUSH).await };
        match std::thread::current().id() == self.main_thread {
            true => self.runtime.block_on(stopping),
            false => drop(self.runtime.spawn(stopping)),
        }
    }
}

/// Whether keys are fetched through the host's clusters.
pub fn needs_clusters(config: &Config) -> bool {
    let mut keys = config.keys.iter();
    keys.any(|settings| settings.fetch.envoy_cluster.is_some())
}

type Tick = Box<dyn Fn() + Send>;

/// Calls that are repeated until this is dropped. Then none is under way.
pub struct Ticking(Arc<Mutex<Option<Tick>>>);

impl Drop for Ticking {
    fn drop(&mut self) {
        *locked(&self.0) = None;
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl std::fmt::Debug for Ticking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticking")
    }
}

/// Reloads the file whenever it changes. A file with a problem changes nothing. Ends when nothing
/// decides by the file any more.
async fn watch(path: PathBuf, loaded: Option<Stamp>, running: Weak<Running>) {
    let files = Files::default();
    let mut changes = Changes::since(loaded);
    let mut looks = looks();
    loop {
        looks.tick().await;
        let stamp = files.stamp(&path).await;
        let Some(running) = running.upgrade() else {
            return;
        };
        if !changes.settled(stamp) {
            continue;
        }
        // Taken before the file is read: a change after that is seen at the next look.
        changes = Changes::since(files.stamp(&path).await);
        let file = path.clone();
        let read = read_elsewhere(move || Config::load(&file)).await;
        let gate = &running.judge.gate;
        gate.reload_file(&path, read, false, || ()).await;
    }
}

/// Waits until no provider delays readiness.
async fn keys_arrive(gate: &Gate) {
    let mut changed = gate.changed();
    while !gate.generation().jwks.awaited().is_empty() {
        if changed.changed().await.is_err() {
            return;
        }
    }
}
