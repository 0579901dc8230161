//! A host of the module in the terms of C, which takes every liberty that Envoy has. Each change of headers moves
//! all of them. What a hook was given is overwritten and freed when the hook returns. A stream may end within a
//! call of the module.
//!
//! It stops the process if the module uses a stream that is gone, or on another thread, or keeps a scheduler longer
//! than a stream. Valgrind or `AddressSanitizer` finds uses of memory that is gone.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::memory::{
    Buffer, Bytes, ConstPtr, Event, Inbox, Object, Ptr, born, buried, live, locked,
};

/// Declares the hooks of the module, which the linker finds in it.
macro_rules! hooks {
    ($(fn $name:ident = $symbol:literal ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        unsafe extern "C" {
            $(
                #[link_name = concat!("envoy_dynamic_module_on_", $symbol)]
                pub fn $name($($argument: $type),*) $(-> $result)?;
            )*
        }
    };
}

pub(crate) use hooks;

hooks! {
    fn program_init = "program_init"() -> *const c_char;
    fn config_new = "http_filter_config_new"(config: Ptr, name: Buffer, text: Buffer) -> ConstPtr;
    fn config_destroy = "http_filter_config_destroy"(config: ConstPtr);
    fn config_scheduled = "http_filter_config_scheduled"(config: Ptr, own: ConstPtr, event: u64);
    fn route_new = "http_filter_per_route_config_new"(name: Buffer, text: Buffer) -> ConstPtr;
    fn route_destroy = "http_filter_per_route_config_destroy"(route: ConstPtr);
    fn filter_new = "http_filter_new"(config: ConstPtr, stream: Ptr) -> ConstPtr;
    fn filter_destroy = "http_filter_destroy"(filter: ConstPtr);
    fn request_headers = "http_filter_request_headers"(stream: Ptr, filter: ConstPtr, is_end: bool) -> u32;
    fn request_body = "http_filter_request_body"(stream: Ptr, filter: ConstPtr, is_end: bool) -> u32;
    fn request_trailers = "http_filter_request_trailers"(stream: Ptr, filter: ConstPtr) -> u32;
    fn response_headers = "http_filter_response_headers"(stream: Ptr, filter: ConstPtr, is_end: bool) -> u32;
    fn response_body = "http_filter_response_body"(stream: Ptr, filter: ConstPtr, is_end: bool) -> u32;
    fn response_trailers = "http_filter_response_trailers"(stream: Ptr, filter: ConstPtr) -> u32;
    fn stream_complete = "http_filter_stream_complete"(stream: Ptr, filter: ConstPtr);
    fn scheduled = "http_filter_scheduled"(stream: Ptr, filter: ConstPtr, event: u64);
}

/// What a hook for the headers of a request returns.
pub const CONTINUE: u32 = 0;
pub const STOP_ALL_ITERATION_AND_WATERMARK: u32 = 4;

/// A name and a value.
pub type Line = (Vec<u8>, Vec<u8>);

/// How long the module may take to wake a stream, or to update metrics.
pub const MAX_WAIT: Duration = Duration::from_mins(1);

/// A thread of streams.
pub struct Worker(Arc<Inbox>);

impl Worker {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Waits until the stream is woken. Events of others are left.
    fn is_woken(&self, stream: Object) {
        let events = locked(&self.0.events);
        let is_none =
            |events: &mut VecDeque<Event>| !events.iter().any(|event| event.object == stream);
        let waited = self.0.arrived.wait_timeout_while(events, MAX_WAIT, is_none);
        assert!(
            !waited.expect("nothing panics").1.timed_out(),
            "never woken"
        );
    }

    /// Runs the events that have arrived. Those of streams that are gone do nothing.
    fn run(&self) {
        loop {
            let next = locked(&self.0.events).pop_front();
            let Some(Event { object, event }) = next else {
                return;
            };
            if object.is_live() {
                let stream = object.place.0;
                // SAFETY: the inbox has streams only.
                let filter = unsafe { live::<HttpStream>(stream) }.filter;
                // SAFETY: the stream and its filter exist.
                unsafe { scheduled(stream, filter, event) };
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }
}

/// When a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After the response.
    Complete,
    BeforeHeaders,
    /// While it waits.
    Waiting,
    /// After it was woken, before the module is told.
    Woken,
    /// Within the call that answers it.
    InAnswer,
    /// Within the call that resumes it.
    InResume,
    BeforeResponse,
}

impl End {
    pub const ALL: [Self; 7] = [
        Self::Complete,
        Self::BeforeHeaders,
        Self::Waiting,
        Self::Woken,
        Self::InAnswer,
        Self::InResume,
        Self::BeforeResponse,
    ];
}

/// What the module did to a stream.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the hook for the headers returned.
    pub status: Option<u32>,
    pub answered: Option<u32>,
    pub resumed: usize,
    pub metadata: usize,
    /// The headers that reach the upstream, once they do.
    pub request: Vec<(Vec<u8>, Vec<u8>)>,
    pub response: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Seen {
    /// Whether the request reached the upstream.
    pub fn passed(&self) -> bool {
        self.status == Some(CONTINUE) || self.resumed > 0
    }

    /// The values of a header that reached the upstream.
    pub fn request(&self, name: &str) -> Vec<&[u8]> {
        values(&self.request, name)
    }

    pub fn response(&self, name: &str) -> Vec<&[u8]> {
        values(&self.response, name)
    }
}

fn values<'l>(lines: &'l [(Vec<u8>, Vec<u8>)], name: &str) -> Vec<&'l [u8]> {
    let lines = lines.iter().filter(|(found, _)| found == name.as_bytes());
    lines.map(|(_, value)| value.as_slice()).collect()
}

pub type Lines = Vec<(Bytes, Bytes)>;

pub struct HttpStream {
    pub request: Lines,
    pub response: Lines,
    pub address: Bytes,
    pub route: ConstPtr,
    pub filter: ConstPtr,
    pub end: End,
    pub inbox: Arc<Inbox>,
    pub schedulers: Arc<AtomicUsize>,
    pub seen: Arc<Mutex<Seen>>,
}

/// Moves all lines, so that no line is where it was.
pub fn moved(lines: &Lines) -> Lines {
    let lines = lines.iter();
    lines
        .map(|(name, value)| (Bytes::from(&*name.0), Bytes::from(&*value.0)))
        .collect()
}

pub fn plain(lines: &Lines) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lines = lines.iter();
    lines
        .map(|(name, value)| (name.0.to_vec(), value.0.to_vec()))
        .collect()
}

fn lines_of<'l>(lines: impl IntoIterator<Item = &'l (Vec<u8>, Vec<u8>)>) -> Lines {
    let lines = lines.into_iter();
    lines
        .map(|(name, value)| (Bytes::from(&**name), Bytes::from(&**value)))
        .collect()
}

/// A stream that has begun.
pub struct Open<'w> {
    worker: &'w Worker,
    stream: Object,
    end: End,
    seen: Arc<Mutex<Seen>>,
}

impl<'w> Open<'w> {
    /// Begins a stream, and shows its headers to the module.
    pub fn begin(
        worker: &'w Worker,
        config: &Config,
        route: Option<&Route>,
        (lines, address): (&[Line], &str),
        end: End,
    ) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let stream = born(HttpStream {
            request: lines_of(lines),
            response: Lines::new(),
            address: Bytes::from(address.as_bytes()),
            route: route.map_or(ptr::null(), |route| route.0),
            filter: ptr::null(),
            end,
            inbox: Arc::clone(&worker.0),
            schedulers: Arc::default(),
            seen: Arc::clone(&seen),
        });
        // SAFETY: the configuration exists.
        let filter = unsafe { filter_new(config.own, stream) };
        // SAFETY: it is a stream.
        unsafe { live::<HttpStream>(stream) }.filter = filter;
        let open = Self {
            worker,
            stream: Object::at(stream),
            end,
            seen,
        };
        if end == End::BeforeHeaders {
            open.ends();
            return open;
        }
        // SAFETY: the stream and its filter exist.
        let status = unsafe { request_headers(stream, filter, true) };
        locked(&open.seen).status = Some(status);
        open
    }

    fn ends(&self) {
        if self.stream.is_live() {
            end(self.stream.place.0);
        }
    }

    /// What becomes of the stream.
    pub fn finish(self) -> Seen {
        self.go_on();
        self.ends();
        std::mem::take(&mut *locked(&self.seen))
    }

    fn go_on(&self) {
        let status = locked(&self.seen).status;
        // Another stream may have run its event.
        let is_stopped = status == Some(STOP_ALL_ITERATION_AND_WATERMARK);
        let is_waiting = is_stopped && !self.is_decided();
        if is_waiting && self.end == End::Waiting {
            return;
        }
        if is_waiting {
            self.worker.is_woken(self.stream);
            if self.end == End::Woken {
                self.ends();
            }
            self.worker.run();
        }
        if !self.stream.is_live() || !locked(&self.seen).passed() || self.end == End::BeforeResponse
        {
            return;
        }
        self.responds();
    }

    fn is_decided(&self) -> bool {
        let seen = locked(&self.seen);
        seen.answered.is_some() || seen.resumed > 0
    }

    /// The upstream answers.
    fn responds(&self) {
        let upstream = [
            (b":status".to_vec(), b"200".to_vec()),
            (b"x-checked-by".to_vec(), b"upstream".to_vec()),
        ];
        let stream = self.stream.place.0;
        // SAFETY: it is a stream.
        let own = unsafe { live::<HttpStream>(stream) };
        locked(&self.seen).request = plain(&own.request);
        own.response = lines_of(&upstream);
        let filter = own.filter;
        // SAFETY: the stream and its filter exist, as in the calls below.
        let mut statuses = vec![unsafe { request_body(stream, filter, true) }];
        // SAFETY: see above.
        statuses.push(unsafe { request_trailers(stream, filter) });
        // SAFETY: see above.
        statuses.push(unsafe { response_headers(stream, filter, false) });
        // SAFETY: see above.
        statuses.push(unsafe { response_body(stream, filter, true) });
        // SAFETY: see above.
        statuses.push(unsafe { response_trailers(stream, filter) });
        assert!(
            statuses.iter().all(|status| *status == CONTINUE),
            "{statuses:?}"
        );
        // SAFETY: it is a stream.
        let own = unsafe { live::<HttpStream>(stream) };
        locked(&self.seen).response = plain(&own.response);
    }
}

/// Destroys the filter of a stream, and then the stream.
pub fn end(stream: Ptr) {
    // SAFETY: it is a stream.
    let own = unsafe { live::<HttpStream>(stream) };
    let (filter, schedulers) = (own.filter, Arc::clone(&own.schedulers));
    // SAFETY: the stream and its filter exist.
    unsafe { stream_complete(stream, filter) };
    // SAFETY: the filter exists, and is used no more.
    unsafe { filter_destroy(filter) };
    let left = schedulers.load(Ordering::SeqCst);
    assert_eq!(left, 0, "a scheduler outlives its filter");
    // SAFETY: it is a stream.
    unsafe { buried::<HttpStream>(stream) };
}

/// A configuration of the filter, on the thread that made it.
pub struct Config {
    host: Ptr,
    own: ConstPtr,
}

pub struct HostConfig {
    /// The sum of each metric.
    pub metrics: Vec<(String, u64)>,
    pub inbox: Arc<Inbox>,
    pub schedulers: Arc<AtomicUsize>,
}

impl Config {
    /// `None` if the module refuses it.
    pub fn new(name: &[u8], config: &[u8]) -> Option<Self> {
        start();
        let host = born(HostConfig {
            metrics: Vec::new(),
            inbox: Arc::default(),
            schedulers: Arc::default(),
        });
        let (name, text) = (Bytes::from(name), Bytes::from(config));
        // SAFETY: the buffers are valid during the call.
        let own = unsafe { config_new(host, name.buffer(), text.buffer()) };
        if own.is_null() {
            // SAFETY: it is a configuration.
            unsafe { buried::<HostConfig>(host) };
            return None;
        }
        Some(Self { host, own })
    }

    /// The value of a metric after its next update. `None` if that takes longer.
    pub fn metric(&self, name: &str, max_wait: Duration) -> Option<u64> {
        // SAFETY: it is a configuration.
        let inbox = Arc::clone(&unsafe { live::<HostConfig>(self.host) }.inbox);
        let events = locked(&inbox.events);
        let is_none = |events: &mut VecDeque<Event>| events.is_empty();
        let waited = inbox.arrived.wait_timeout_while(events, max_wait, is_none);
        let mut events = waited.expect("nothing panics").0;
        if std::mem::take(&mut *events).is_empty() {
            return None;
        }
        drop(events);
        // SAFETY: both exist.
        unsafe { config_scheduled(self.host, self.own, 0) };
        // SAFETY: it is a configuration.
        let metrics = &unsafe { live::<HostConfig>(self.host) }.metrics;
        let mut values = metrics.iter().filter(|(found, _)| found == name);
        values.next().map(|(_, value)| *value)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it is a configuration.
        let own = unsafe { live::<HostConfig>(self.host) };
        let (schedulers, inbox) = (Arc::clone(&own.schedulers), Arc::clone(&own.inbox));
        // SAFETY: the module made it, and no filter uses it any more.
        unsafe { config_destroy(self.own) };
        let left = schedulers.load(Ordering::SeqCst);
        assert_eq!(left, 0, "a scheduler outlives its configuration");
        inbox.is_closed.store(true, Ordering::SeqCst);
        // SAFETY: it is a configuration.
        unsafe { buried::<HostConfig>(self.host) };
    }
}

/// A configuration of a route. Any thread may use it.
pub struct Route(ConstPtr);

// SAFETY: the module only reads it.
unsafe impl Sync for Route {}

impl Route {
    pub fn new(config: &[u8]) -> Option<Self> {
        start();
        let (name, text) = (Bytes::from(&b""[..]), Bytes::from(config));
        // SAFETY: the buffers are valid during the call.
        let own = unsafe { route_new(name.buffer(), text.buffer()) };
        (!own.is_null()).then_some(Self(own))
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: the module made it, and no stream uses it any more.
        unsafe { route_destroy(self.0) };
    }
}

// SAFETY: requests on any thread read a configuration. The main thread alone does more.
unsafe impl Sync for Config {}

/// Whether the host only validates configurations.
pub static VALIDATES: AtomicBool = AtomicBool::new(false);

/// The module is loaded once.
pub fn start() {
    static VERSION: std::sync::Once = std::sync::Once::new();
    VERSION.call_once(|| {
        let hook = std::panic::take_hook();
        // SAFETY: it takes nothing.
        let version = unsafe { program_init() };
        // Tests print what the module hides.
        std::panic::set_hook(hook);
        assert!(!version.is_null(), "the module finds no host");
    });
}
