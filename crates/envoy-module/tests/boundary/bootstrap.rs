//! Envoy's bootstrap as the host of the module's extension. It stops the process if the module uses the extension or
//! a scheduler that is gone, calls out after the shutdown, or completes the shutdown more than once.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::callbacks::{Callback, callbacks, nth};
use super::host::{MAX_WAIT, hooks, start};
use super::memory::{
    Buffer, Bytes, ConstPtr, Event, HeaderLine, Inbox, Ptr, Scheduler, born, buried, copied, live,
    locked, text,
};

type Completed = extern "C" fn(*mut c_void);

hooks! {
    fn config_new = "bootstrap_extension_config_new"(bootstrap: Ptr, name: Buffer, text: Buffer) -> ConstPtr;
    fn new = "bootstrap_extension_new"(config: ConstPtr, extension: Ptr) -> ConstPtr;
    fn server_initialized = "bootstrap_extension_server_initialized"(extension: Ptr, own: ConstPtr);
    fn worker_thread_initialized = "bootstrap_extension_worker_thread_initialized"(extension: Ptr, own: ConstPtr);
    fn drain_started = "bootstrap_extension_drain_started"(extension: Ptr, own: ConstPtr);
    fn config_scheduled = "bootstrap_extension_config_scheduled"(bootstrap: Ptr, config: ConstPtr, event: u64);
    fn http_callout_done = "bootstrap_extension_http_callout_done"(
        bootstrap: Ptr,
        config: ConstPtr,
        number: u64,
        result: u32,
        headers: *const HeaderLine,
        headers_length: usize,
        chunks: *const Buffer,
        chunks_length: usize
    );
    fn shutdown = "bootstrap_extension_shutdown"(extension: Ptr, own: ConstPtr, completed: Completed, context: *mut c_void);
    fn destroy = "bootstrap_extension_destroy"(own: ConstPtr);
    fn config_destroy = "bootstrap_extension_config_destroy"(config: ConstPtr);
}

/// What happens to a request of the module to a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cluster {
    /// It waits for [`Bootstrap::answer`].
    #[default]
    Reached,
    Unknown,
    /// No host is healthy: Envoy answers within the call, and then says that it cannot send.
    Empty,
}

/// A request of the module.
#[derive(Clone, Debug)]
pub struct Callout {
    pub number: u64,
    pub cluster: String,
    pub headers: Vec<String>,
    pub max_wait: u64,
}

#[derive(Default)]
struct HostBootstrap {
    inbox: Arc<Inbox>,
    schedulers: Arc<AtomicUsize>,
    own: Option<ConstPtr>,
    cluster: Cluster,
    callouts: Vec<Callout>,
    /// How often the module has ended the hold.
    ready: usize,
    is_shut_down: bool,
}

/// What the hook for an answer is told.
pub mod result {
    pub const SUCCESS: u32 = 0;
    pub const RESET: u32 = 1;
    pub const TOO_LARGE: u32 = 2;
}

/// The extension, on the thread that made it.
pub struct Bootstrap {
    host: Ptr,
    own: ConstPtr,
    /// Envoy's extension, and the module's.
    extension: (Ptr, ConstPtr),
}

impl Bootstrap {
    /// `None` if the module refuses it.
    pub fn new(name: &[u8], config: &[u8]) -> Option<Self> {
        start();
        let host = born(HostBootstrap::default());
        let (name, text) = (Bytes::from(name), Bytes::from(config));
        // SAFETY: the buffers are valid during the call.
        let own = unsafe { config_new(host, name.buffer(), text.buffer()) };
        drop((name, text));
        if own.is_null() {
            bury(host);
            return None;
        }
        // SAFETY: it is a bootstrap.
        unsafe { live::<HostBootstrap>(host) }.own = Some(own);
        let envoys = born(0_u8);
        // SAFETY: both exist.
        let extension = unsafe { new(own, envoys) };
        assert!(!extension.is_null());
        Some(Self {
            host,
            own,
            extension: (envoys, extension),
        })
    }

    #[expect(clippy::mut_from_ref, reason = "used for one statement at a time")]
    fn state(&self) -> &mut HostBootstrap {
        // SAFETY: it is a bootstrap, and no call of the module is under way.
        unsafe { live::<HostBootstrap>(self.host) }
    }

    /// What happens to requests from now on.
    pub fn reach(&self, cluster: Cluster) {
        self.state().cluster = cluster;
    }

    /// Envoy has its clusters and its workers.
    pub fn initialized(&self) {
        let (envoys, own) = self.extension;
        // SAFETY: both exist.
        unsafe { server_initialized(envoys, own) };
        // SAFETY: see above.
        unsafe { worker_thread_initialized(envoys, own) };
    }

    /// How often the module has ended the hold.
    pub fn ready(&self) -> usize {
        self.state().ready
    }

    /// Runs the events that have arrived.
    pub fn run(&self) {
        let inbox = Arc::clone(&self.state().inbox);
        loop {
            let next = locked(&inbox.events).pop_front();
            let Some(Event { event, .. }) = next else {
                return;
            };
            // SAFETY: both exist.
            unsafe { config_scheduled(self.host, self.own, event) };
        }
    }

    /// Runs events until the module has ended the hold.
    pub fn is_ready(&self) {
        self.run_until(|state| state.ready > 0);
    }

    /// Runs events until the module sends a request, and takes that.
    pub fn sent(&self) -> Callout {
        self.run_until(|state| !state.callouts.is_empty());
        self.state().callouts.remove(0)
    }

    fn run_until(&self, is_so: impl Fn(&HostBootstrap) -> bool) {
        loop {
            self.run();
            if is_so(self.state()) {
                return;
            }
            let inbox = Arc::clone(&self.state().inbox);
            let events = locked(&inbox.events);
            let is_none = |events: &mut VecDeque<Event>| events.is_empty();
            let waited = inbox.arrived.wait_timeout_while(events, MAX_WAIT, is_none);
            assert!(!waited.expect("nothing panics").1.timed_out(), "no event");
        }
    }

    /// Answers a request with headers and a body in pieces. All of it is overwritten after the call.
    pub fn answer(&self, number: u64, headers: &[(&str, &str)], body: &[&[u8]]) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (Bytes::from(name.as_bytes()), Bytes::from(value.as_bytes())))
            .collect();
        let lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| HeaderLine {
                name: name.0.as_ptr(),
                name_length: name.0.len(),
                value: value.0.as_ptr(),
                value_length: value.0.len(),
            })
            .collect();
        let body: Vec<_> = body.iter().map(|piece| Bytes::from(*piece)).collect();
        let chunks: Vec<_> = body.iter().map(Bytes::buffer).collect();
        let (lines, chunks) = (lines.into_boxed_slice(), chunks.into_boxed_slice());
        // SAFETY: all of it exists during the call.
        unsafe {
            http_callout_done(
                self.host,
                self.own,
                number,
                result::SUCCESS,
                lines.as_ptr(),
                lines.len(),
                chunks.as_ptr(),
                chunks.len(),
            );
        }
    }

    /// A request has failed.
    pub fn fail(&self, number: u64, result: u32) {
        fail(self.host, self.own, number, result);
    }

    /// Envoy ends, and waits until the module has completed its shutdown.
    pub fn shut_down(&self) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        static SHUTDOWNS: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn completed(context: *mut c_void) {
            // SAFETY: the context is the count.
            unsafe { &*context.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
        }
        let (envoys, own) = self.extension;
        // SAFETY: both exist.
        unsafe { drain_started(envoys, own) };
        let context = (&raw const COUNT).cast_mut().cast();
        // SAFETY: both exist, and the context as well.
        unsafe { shutdown(envoys, own, completed, context) };
        // None was completed twice, the ones before included.
        let shutdowns = SHUTDOWNS.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(COUNT.load(Ordering::SeqCst), shutdowns);
        let state = self.state();
        state.is_shut_down = true;
        assert_eq!(state.schedulers.load(Ordering::SeqCst), 0);
        state.inbox.is_closed.store(true, Ordering::SeqCst);
    }
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        let (envoys, own) = self.extension;
        // SAFETY: the module made both, and each is destroyed once.
        unsafe { destroy(own) };
        // SAFETY: it is Envoy's extension.
        unsafe { buried::<u8>(envoys) };
        // SAFETY: see above.
        unsafe { config_destroy(self.own) };
        bury(self.host);
    }
}

fn fail(host: Ptr, own: ConstPtr, number: u64, result: u32) {
    // SAFETY: both exist, and there is nothing to read.
    unsafe {
        http_callout_done(
            host,
            own,
            number,
            result,
            std::ptr::null(),
            0,
            std::ptr::null(),
            0,
        );
    }
}

fn bury(host: Ptr) {
    // SAFETY: it is a bootstrap.
    let state = unsafe { live::<HostBootstrap>(host) };
    let left = state.schedulers.load(Ordering::SeqCst);
    assert_eq!(left, 0, "a scheduler outlives the extension");
    state.inbox.is_closed.store(true, Ordering::SeqCst);
    // SAFETY: it is a bootstrap.
    unsafe { buried::<HostBootstrap>(host) };
}

callbacks! {
    fn scheduler_new = "bootstrap_extension_config_scheduler_new"(bootstrap: Ptr) -> Ptr {
        // SAFETY: the module names a bootstrap.
        let state = unsafe { live::<HostBootstrap>(bootstrap) };
        Scheduler::create(&state.inbox, bootstrap, &state.schedulers)
    }
    fn scheduler_commit = "bootstrap_extension_config_scheduler_commit"(scheduler: Ptr, event: u64) {
        // SAFETY: the module has not deleted it.
        unsafe { Scheduler::commit(scheduler, event) };
    }
    fn scheduler_delete = "bootstrap_extension_config_scheduler_delete"(scheduler: Ptr) {
        // SAFETY: the module has not deleted it.
        unsafe { Scheduler::delete(scheduler) };
    }
    fn end_hold = "bootstrap_extension_config_signal_init_complete"(bootstrap: Ptr) {
        // SAFETY: the module names a bootstrap.
        let state = unsafe { live::<HostBootstrap>(bootstrap) };
        assert!(!state.is_shut_down);
        state.ready += 1;
    }
    fn call_out = "bootstrap_extension_http_callout"(
        bootstrap: Ptr,
        number: *mut u64,
        cluster: Buffer,
        headers: *mut HeaderLine,
        count: usize,
        body: Buffer,
        max_wait: u64
    ) -> u32 {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        // SAFETY: the module names a bootstrap.
        let state = unsafe { live::<HostBootstrap>(bootstrap) };
        assert!(!state.is_shut_down, "called out after the shutdown");
        assert!(copied(body).is_empty() && max_wait > 0);
        let own = state.own.expect("the configuration is made");
        let callout = Callout {
            number: NUMBER.fetch_add(1, Ordering::SeqCst) as u64,
            cluster: text(cluster),
            headers: (0..count).map(|index| {
                // SAFETY: the module gives as many lines as it says.
                let line = unsafe { nth(headers, index) };
                let name = text(Buffer { ptr: line.name, length: line.name_length });
                let value = text(Buffer { ptr: line.value, length: line.value_length });
                format!("{name}={value}")
            }).collect(),
            max_wait,
        };
        match state.cluster {
            Cluster::Unknown => 2,
            Cluster::Empty => {
                fail(bootstrap, own, callout.number, result::RESET);
                4
            }
            Cluster::Reached => {
                // SAFETY: the module gives a place for it.
                unsafe { number.write(callout.number) };
                state.callouts.push(callout);
                0
            }
        }
    }
}
