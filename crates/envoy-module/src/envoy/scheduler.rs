//! What makes Envoy call a hook again, on the thread of what it was made for.

use crate::abi::{BootstrapPtr, ConfigPtr, Functions, SchedulerPtr, StreamPtr};
use crate::stream::Wake;

/// Makes Envoy call the hook `scheduled` of a stream, of a configuration or of the extension of the
/// bootstrap.
///
/// INVARIANT: dropped before the stream, the configuration or the extension is gone. Later, its thread
/// may be gone too.
#[derive(Debug)]
pub(super) struct Scheduler {
    pointer: SchedulerPtr,
    commit: unsafe extern "C" fn(SchedulerPtr, u64),
    delete: unsafe extern "C" fn(SchedulerPtr),
}

// SAFETY: Envoy's scheduler may be used on any thread.
unsafe impl Send for Scheduler {}

impl Scheduler {
    /// Of a stream, during one of its hooks.
    pub(super) fn of_stream(envoy: &Functions, stream: StreamPtr) -> Self {
        Self {
            // SAFETY: Envoy keeps the stream during the hook.
            pointer: unsafe { (envoy.http_filter_scheduler_new)(stream) },
            commit: envoy.http_filter_scheduler_commit,
            delete: envoy.http_filter_scheduler_delete,
        }
    }

    /// Of a configuration, during one of its hooks. `None` if this Envoy shows no metrics of modules
    /// outside requests.
    pub(super) fn of_config(envoy: &Functions, config: ConfigPtr) -> Option<Self> {
        envoy.http_filter_config_increment_counter?;
        let create = envoy.http_filter_config_scheduler_new?;
        Some(Self {
            commit: envoy.http_filter_config_scheduler_commit?,
            delete: envoy.http_filter_config_scheduler_delete?,
            // SAFETY: Envoy keeps the configuration during the hook.
            pointer: unsafe { create(config) },
        })
    }

    /// Of the extension of the bootstrap, during one of its hooks.
    pub(super) fn of_bootstrap(envoy: &Functions, bootstrap: BootstrapPtr) -> Self {
        Self {
            // SAFETY: Envoy keeps the extension during the hook.
            pointer: unsafe { (envoy.bootstrap_extension_config_scheduler_new)(bootstrap) },
            commit: envoy.bootstrap_extension_config_scheduler_commit,
            delete: envoy.bootstrap_extension_config_scheduler_delete,
        }
    }

    /// Has the hook called with this event, soon.
    pub(super) fn commit(&self, event: u64) {
        // SAFETY: the scheduler exists until this value is dropped.
        unsafe { (self.commit)(self.pointer, event) };
    }
}

impl Wake for Scheduler {
    fn wake(&self) {
        self.commit(0);
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: this value owns the scheduler, and nothing uses it after this.
        unsafe { (self.delete)(self.pointer) };
    }
}
