//! The functions of Envoy that the module calls.

use std::sync::atomic::Ordering;

use super::host::{
    End, HostConfig, HttpStream, Lines, VALIDATES, end, moved, plain, response_headers,
};
use super::memory::{
    Buffer, Bytes, ConstPtr, HeaderLine, Ptr, Scheduler, copied, live, locked, text,
};

/// Defines functions of Envoy, which the module finds by their names.
macro_rules! callbacks {
    ($(fn $name:ident = $symbol:literal ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(
            #[unsafe(export_name = concat!("envoy_dynamic_module_callback_", $symbol))]
            extern "C" fn $name($($argument: $type),*) $(-> $result)? $body
        )*

        /// Keeps them in the program.
        #[used]
        static CALLBACKS: [Callback; [$($symbol),*].len()] = [$(Callback::of($name as ConstPtr)),*];
    };
}

pub(crate) use callbacks;

pub struct Callback(#[expect(dead_code, reason = "the linker uses it")] ConstPtr);

impl Callback {
    pub const fn of(function: ConstPtr) -> Self {
        Self(function)
    }
}

// SAFETY: nobody uses the address.
unsafe impl Sync for Callback {}

/// The lines of a request or of a response.
///
/// # Safety
///
/// It must be a stream.
unsafe fn headers<'s>(stream: Ptr, kind: u32) -> &'s mut Lines {
    // SAFETY: the caller promises it.
    let stream = unsafe { live::<HttpStream>(stream) };
    match kind {
        0 => &mut stream.request,
        2 => &mut stream.response,
        other => panic!("headers of kind {other}"),
    }
}

callbacks! {
    fn log = "log"(_level: u32, line: Buffer) {
        assert!(!text(line).is_empty());
    }
    fn log_enabled = "log_enabled"(_level: u32) -> bool {
        true
    }
    fn is_validation_mode = "is_validation_mode"() -> bool {
        VALIDATES.load(Ordering::SeqCst)
    }
    fn get_headers_size = "http_get_headers_size"(stream: Ptr, kind: u32) -> usize {
        // SAFETY: the module names a stream.
        unsafe { headers(stream, kind) }.len()
    }
    fn get_headers = "http_get_headers"(stream: Ptr, kind: u32, found: *mut HeaderLine) -> bool {
        // SAFETY: the module names a stream.
        let lines = unsafe { headers(stream, kind) };
        for (index, (name, value)) in lines.iter().enumerate() {
            let line = HeaderLine {
                name: name.0.as_ptr(),
                name_length: name.0.len(),
                value: value.0.as_ptr(),
                value_length: value.0.len(),
            };
            // SAFETY: the module has room for as many lines as it was told.
            let place = unsafe { found.add(index) };
            // SAFETY: as above.
            unsafe { place.write(line) };
        }
        true
    }
    fn set_header = "http_set_header"(stream: Ptr, kind: u32, name: Buffer, value: Buffer) -> bool {
        let (name, is_removed, value) = (copied(name), value.ptr.is_null(), copied(value));
        // SAFETY: the module names a stream.
        let lines = unsafe { headers(stream, kind) };
        let mut changed = moved(lines);
        changed.retain(|(other, _)| *other.0 != *name);
        if !is_removed {
            changed.push((Bytes::from(&*name), Bytes::from(&*value)));
        }
        *lines = changed;
        true
    }
    fn send_response = "http_send_response"(
        stream: Ptr,
        status: u32,
        lines: *mut HeaderLine,
        count: usize,
        body: Buffer,
        details: Buffer
    ) {
        let mut response = vec![(Bytes::from(&b":status"[..]), Bytes::from(status.to_string().as_bytes()))];
        for index in 0..count {
            // SAFETY: the module gives as many lines as it says.
            let line = unsafe { nth(lines, index) };
            let name = Buffer { ptr: line.name, length: line.name_length };
            let value = Buffer { ptr: line.value, length: line.value_length };
            response.push((Bytes::from(&*copied(name)), Bytes::from(&*copied(value))));
        }
        text(body);
        assert_eq!(text(details), "claimgate_denied");
        // SAFETY: the module names a stream.
        let own = unsafe { live::<HttpStream>(stream) };
        own.response = response;
        let (filter, is_last) = (own.filter, own.end == End::InAnswer);
        {
            let mut seen = locked(&own.seen);
            assert_eq!(seen.answered.replace(status), None, "answered twice");
            assert_eq!(seen.resumed, 0, "answered after it passed");
        }
        // Envoy shows the answer to the filters of the response before the call returns.
        // SAFETY: the stream and its filter exist.
        unsafe { response_headers(stream, filter, false) };
        // SAFETY: it is a stream.
        let own = unsafe { live::<HttpStream>(stream) };
        locked(&own.seen).response = plain(&own.response);
        if is_last {
            end(stream);
        }
    }
    fn continue_decoding = "http_filter_continue_decoding"(stream: Ptr) {
        // SAFETY: the module names a stream.
        let own = unsafe { live::<HttpStream>(stream) };
        let is_last = own.end == End::InResume;
        {
            let mut seen = locked(&own.seen);
            seen.resumed += 1;
            assert_eq!((seen.resumed, seen.answered), (1, None));
        }
        if is_last {
            end(stream);
        }
    }
    fn set_metadata_string = "http_set_dynamic_metadata_string"(stream: Ptr, _namespace: Buffer, name: Buffer, value: Buffer) {
        text(name);
        text(value);
        // SAFETY: the module names a stream.
        locked(&unsafe { live::<HttpStream>(stream) }.seen).metadata += 1;
    }
    fn set_metadata_struct = "http_set_dynamic_metadata_struct"(stream: Ptr, namespace: Buffer, value: Buffer) {
        assert_eq!(text(namespace), "envoy.filters.http.ext_authz");
        // SAFETY: the module names a stream.
        locked(&unsafe { live::<HttpStream>(stream) }.seen).metadata += copied(value).len();
    }
    fn get_attribute = "http_filter_get_attribute_string"(stream: Ptr, id: u32, found: *mut Buffer) -> bool {
        // SAFETY: the module names a stream.
        let address = unsafe { live::<HttpStream>(stream) }.address.buffer();
        let is_known = id == 24;
        if is_known {
            // SAFETY: the module gives a place for it.
            unsafe { found.write(address) };
        }
        is_known
    }
    fn route_of = "get_most_specific_route_config"(stream: Ptr) -> ConstPtr {
        // SAFETY: the module names a stream.
        unsafe { live::<HttpStream>(stream) }.route
    }
    fn scheduler_new = "http_filter_scheduler_new"(stream: Ptr) -> Ptr {
        // SAFETY: the module names a stream.
        let own = unsafe { live::<HttpStream>(stream) };
        Scheduler::create(&own.inbox, stream, &own.schedulers)
    }
    fn scheduler_commit = "http_filter_scheduler_commit"(scheduler: Ptr, event: u64) {
        // SAFETY: the module has not deleted it.
        unsafe { Scheduler::commit(scheduler, event) };
    }
    fn scheduler_delete = "http_filter_scheduler_delete"(scheduler: Ptr) {
        // SAFETY: the module has not deleted it.
        unsafe { Scheduler::delete(scheduler) };
    }
    fn define_counter = "http_filter_config_define_counter"(config: Ptr, name: Buffer, labels: *mut Buffer, count: usize, id: *mut usize) -> u32 {
        define(config, name, labels, count, id)
    }
    fn define_gauge = "http_filter_config_define_gauge"(config: Ptr, name: Buffer, labels: *mut Buffer, count: usize, id: *mut usize) -> u32 {
        define(config, name, labels, count, id)
    }
    fn increment_counter = "http_filter_config_increment_counter"(config: Ptr, id: usize, labels: *mut Buffer, count: usize, increase: u64) -> u32 {
        texts(labels, count);
        // SAFETY: the module names a configuration.
        let own = unsafe { live::<HostConfig>(config) };
        own.metrics.get_mut(id).expect("a metric that is defined").1 += increase;
        0
    }
    fn set_gauge = "http_filter_config_set_gauge"(config: Ptr, id: usize, labels: *mut Buffer, count: usize, value: u64) -> u32 {
        texts(labels, count);
        // SAFETY: the module names a configuration.
        let own = unsafe { live::<HostConfig>(config) };
        own.metrics.get_mut(id).expect("a metric that is defined").1 = value;
        0
    }
    fn config_scheduler_new = "http_filter_config_scheduler_new"(config: Ptr) -> Ptr {
        // SAFETY: the module names a configuration.
        let own = unsafe { live::<HostConfig>(config) };
        Scheduler::create(&own.inbox, config, &own.schedulers)
    }
    fn config_scheduler_commit = "http_filter_config_scheduler_commit"(scheduler: Ptr, event: u64) {
        // SAFETY: the module has not deleted it.
        unsafe { Scheduler::commit(scheduler, event) };
    }
    fn config_scheduler_delete = "http_filter_config_scheduler_delete"(scheduler: Ptr) {
        // SAFETY: the module has not deleted it.
        unsafe { Scheduler::delete(scheduler) };
    }
}

fn define(config: Ptr, name: Buffer, labels: *mut Buffer, count: usize, id: *mut usize) -> u32 {
    texts(labels, count);
    // SAFETY: the module names a configuration.
    let own = unsafe { live::<HostConfig>(config) };
    own.metrics.push((text(name), 0));
    // SAFETY: the module gives a place for it.
    unsafe { id.write(own.metrics.len() - 1) };
    0
}

/// Reads texts as Envoy does.
fn texts(buffers: *mut Buffer, count: usize) {
    for index in 0..count {
        // SAFETY: the module gives as many as it says.
        text(unsafe { nth(buffers, index) });
    }
}

/// # Safety
///
/// There must be more values than `index`.
pub unsafe fn nth<T: Copy>(values: *mut T, index: usize) -> T {
    // SAFETY: the caller promises it.
    let value = unsafe { values.add(index) };
    // SAFETY: as above.
    unsafe { value.read() }
}
