//! Envoy as the host: a safe wrapper of its functions. [`hooks`] has those that Envoy calls.

#![expect(unsafe_code, reason = "calls Envoy's C functions")]

use std::borrow::Cow;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;

use tracing::Level;

/// Declares hooks that Envoy demands and this module does not need, whose names begin like this. The status 0
/// is `Continue`.
macro_rules! unused {
    ($prefix:literal: $($hook:ident($($argument:ty),*) $(-> $status:ty)?;)*) => {
        $(
            #[unsafe(export_name = concat!("envoy_dynamic_module_on_", $prefix, stringify!($hook)))]
            extern "C" fn $hook($(_: $argument),*) $(-> $status)? {
                $(<$status>::default())?
            }
        )*
    };
}

mod bootstrap;
mod hooks;
mod routes;
mod scheduler;

use scheduler::Scheduler;

use crate::abi::{
    ConfigPtr, EnvoyBuffer, Functions, Header, METRICS_SUCCESS, ModuleBuffer, StreamPtr, attribute,
    header_type, log_level,
};
use crate::filter::Context;
use crate::lines::Log;
use crate::stats::{Kind, StatsHost};
use crate::stream::{Line, Response, Source, Stream};
use claimgate_core::answer::metadata::encoding;
use claimgate_core::request::as_text;

/// The namespace of the metadata: that of `ext_authz`, so that other filters and access logs need no
/// change.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// Envoy's functions. Empty outside Envoy.
static ENVOY: OnceLock<Functions> = OnceLock::new();

impl ModuleBuffer {
    fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// No bytes. Envoy removes a header that is set to this.
    const NONE: Self = Self {
        ptr: ptr::null(),
        length: 0,
    };
}

impl Header {
    const EMPTY: Self = Self {
        name: ptr::null(),
        name_length: 0,
        value: ptr::null(),
        value_length: 0,
    };

    fn of(name: &[u8], value: &[u8]) -> Self {
        Self {
            name: name.as_ptr(),
            name_length: name.len(),
            value: value.as_ptr(),
            value_length: value.len(),
        }
    }

    /// The name and the value.
    ///
    /// # Safety
    ///
    /// Both must be valid during `'a`.
    unsafe fn line<'a>(&self) -> Line<'a> {
        // SAFETY: the caller promises it.
        let name = unsafe { slice(self.name, self.name_length) };
        // SAFETY: as above.
        (name, unsafe { slice(self.value, self.value_length) })
    }
}

/// Values in Envoy's memory.
///
/// # Safety
///
/// Unless `first` is null, `length` values there must be valid during `'a`.
unsafe fn slice<'a, T>(first: *const T, length: usize) -> &'a [T] {
    match first.is_null() {
        true => &[],
        // SAFETY: the caller promises it.
        false => unsafe { std::slice::from_raw_parts(first, length) },
    }
}

/// Envoy's filter of one stream, during one hook.
///
/// INVARIANT: made by a hook for the pointer that Envoy passes to it, and gone when the hook returns.
/// Envoy keeps the stream during a hook until it is answered or resumed, and both take the value.
#[derive(Debug)]
struct EnvoyStream<'h> {
    envoy: &'static Functions,
    stream: StreamPtr,
    _during_hook: PhantomData<&'h ()>,
}

impl EnvoyStream<'_> {
    /// Whether Envoy has done it. An empty value removes the header.
    #[must_use]
    fn set_header(&mut self, kind: u32, name: &str, value: ModuleBuffer) -> bool {
        let name = ModuleBuffer::of(name.as_bytes());
        // SAFETY: Envoy keeps the stream, and copies both buffers. No slice of the headers is in use,
        // because those borrow from `self`.
        unsafe { (self.envoy.http_set_header)(self.stream, kind, name, value) }
    }

    /// A text that Envoy knows about the connection.
    fn attribute(&self, id: u32) -> Option<&[u8]> {
        let mut found = EnvoyBuffer {
            ptr: ptr::null(),
            length: 0,
        };
        // SAFETY: Envoy keeps the stream, and writes to `found` only.
        let is_known = unsafe {
            (self.envoy.http_filter_get_attribute_string)(self.stream, id, &raw mut found)
        };
        // SAFETY: Envoy keeps the text during the hook.
        is_known.then(|| unsafe { slice(found.ptr, found.length) })
    }

    /// What the route says about its requests. Empty if it says nothing. `None` if another module has
    /// read its configuration.
    fn context(&self) -> Option<Context> {
        // SAFETY: Envoy keeps the stream.
        let route = unsafe { (self.envoy.get_most_specific_route_config)(self.stream) };
        if route.is_null() {
            return Some(Context::from([]));
        }
        if !routes::is_ours(route) {
            return None;
        }
        // SAFETY: `hooks::route_new` made the pointer from a `Context`, which Envoy keeps at least
        // as long as the route of this stream.
        let context = unsafe { &*route.cast::<Context>() };
        Some(Context::clone(context))
    }
}

impl Stream for EnvoyStream<'_> {
    type Waker = Scheduler;

    fn request_headers(&self) -> Option<Vec<Line<'_>>> {
        let kind = header_type::REQUEST;
        // SAFETY: Envoy keeps the stream.
        let count = unsafe { (self.envoy.http_get_headers_size)(self.stream, kind) };
        let mut headers = vec![Header::EMPTY; count];
        // SAFETY: Envoy keeps the stream, and writes as many headers as it has counted.
        let found =
            unsafe { (self.envoy.http_get_headers)(self.stream, kind, headers.as_mut_ptr()) };
        if !found {
            return None;
        }
        // SAFETY: Envoy keeps the headers until they are changed, which takes `&mut self`.
        let lines = headers.iter().map(|header| unsafe { header.line() });
        Some(lines.collect())
    }

    fn source(&self) -> Source<'_> {
        let names = [
            attribute::URI_SAN_PEER_CERTIFICATE,
            attribute::DNS_SAN_PEER_CERTIFICATE,
            attribute::SUBJECT_PEER_CERTIFICATE,
        ];
        let address = self.attribute(attribute::SOURCE_ADDRESS);
        Source {
            address: address
                .and_then(|address| str::from_utf8(address).ok())
                .unwrap_or_default(),
            // The first kind of name that there is, even if the name is empty.
            principal: names
                .into_iter()
                .find_map(|id| self.attribute(id))
                .map_or(Cow::Borrowed(""), as_text),
        }
    }

    fn waker(&mut self) -> Scheduler {
        Scheduler::of_stream(self.envoy, self.stream)
    }

    fn set_request_header(&mut self, name: &str, value: &[u8]) -> bool {
        self.set_header(header_type::REQUEST, name, ModuleBuffer::of(value))
    }

    fn remove_request_header(&mut self, name: &str) -> bool {
        self.set_header(header_type::REQUEST, name, ModuleBuffer::NONE)
    }

    fn set_response_header(&mut self, name: &str, value: &[u8]) {
        // Without a response, there is nothing to change.
        let _ = self.set_header(header_type::RESPONSE, name, ModuleBuffer::of(value));
    }

    fn set_metadata(&mut self, metadata: &[u8]) {
        let namespace = ModuleBuffer::of(NAMESPACE.as_bytes());
        if let Some(set) = self.envoy.http_set_dynamic_metadata_struct {
            // SAFETY: Envoy keeps the stream, and copies both buffers.
            unsafe { set(self.stream, namespace, ModuleBuffer::of(metadata)) };
            return;
        }
        // Envoy 1.38 and 1.39 take no structure from a module, so the claims are missing there.
        for (name, text) in encoding::texts(metadata) {
            let (name, text) = (name.as_bytes(), text.as_bytes());
            // SAFETY: as above.
            unsafe {
                (self.envoy.http_set_dynamic_metadata_string)(
                    self.stream,
                    namespace,
                    ModuleBuffer::of(name),
                    ModuleBuffer::of(text),
                );
            }
        }
    }

    fn respond(self, response: Response<'_>) {
        let Response {
            status,
            headers,
            body,
            details,
        } = response;
        let mut headers: Vec<Header> = headers
            .iter()
            .map(|(name, value)| Header::of(name.as_bytes(), value.as_bytes()))
            .collect();
        let (body, details) = (body.as_bytes(), details.as_bytes());
        // SAFETY: Envoy keeps the stream until now, and copies all buffers.
        unsafe {
            (self.envoy.http_send_response)(
                self.stream,
                status.into(),
                headers.as_mut_ptr(),
                headers.len(),
                ModuleBuffer::of(body),
                ModuleBuffer::of(details),
            );
        }
    }

    fn resume(self) {
        // SAFETY: Envoy keeps the stream until now.
        unsafe { (self.envoy.http_filter_continue_decoding)(self.stream) };
    }
}

/// Envoy's metrics of one configuration, on the main thread during a hook.
struct EnvoyStats {
    envoy: &'static Functions,
    config: ConfigPtr,
}

/// The arguments for labels.
fn buffers(texts: &[&str]) -> Vec<ModuleBuffer> {
    texts
        .iter()
        .map(|text| ModuleBuffer::of(text.as_bytes()))
        .collect()
}

impl StatsHost for EnvoyStats {
    type Id = usize;

    fn define(&mut self, kind: Kind, name: &str, labels: &[&str]) -> Option<usize> {
        let define = match kind {
            Kind::Counter => self.envoy.http_filter_config_define_counter?,
            Kind::Gauge => self.envoy.http_filter_config_define_gauge?,
        };
        let mut labels = buffers(labels);
        let mut id = 0;
        // SAFETY: Envoy keeps the configuration during the hook, copies all texts, and writes to `id`.
        let result = unsafe {
            define(
                self.config,
                ModuleBuffer::of(name.as_bytes()),
                labels.as_mut_ptr(),
                labels.len(),
                &raw mut id,
            )
        };
        (result == METRICS_SUCCESS).then_some(id)
    }

    fn add(&mut self, id: usize, values: &[&str], increase: u64) {
        let mut values = buffers(values);
        if let Some(add) = self.envoy.http_filter_config_increment_counter {
            // SAFETY: Envoy keeps the configuration during the hook, and copies all texts.
            unsafe { add(self.config, id, values.as_mut_ptr(), values.len(), increase) };
        }
    }

    fn set(&mut self, id: usize, values: &[&str], value: u64) {
        let mut values = buffers(values);
        if let Some(set) = self.envoy.http_filter_config_set_gauge {
            // SAFETY: as above.
            unsafe { set(self.config, id, values.as_mut_ptr(), values.len(), value) };
        }
    }
}

/// Envoy's log.
#[derive(Clone, Copy, Debug)]
struct EnvoyLog(&'static Functions);

impl Log for EnvoyLog {
    fn is_enabled(&self, level: Level) -> bool {
        // SAFETY: it takes no pointer.
        unsafe { (self.0.log_enabled)(number(level)) }
    }

    fn write(&self, level: Level, line: &str) {
        // SAFETY: Envoy copies the line.
        unsafe { (self.0.log)(number(level), ModuleBuffer::of(line.as_bytes())) };
    }
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => log_level::ERROR,
        Level::WARN => log_level::WARN,
        Level::INFO => log_level::INFO,
        Level::DEBUG => log_level::DEBUG,
        Level::TRACE => log_level::TRACE,
    }
}

/// Whether Envoy only checks its configuration (`--mode validate`).
fn only_validates(envoy: &Functions) -> bool {
    // SAFETY: it takes no pointer. Hooks that create configurations run on the main thread.
    unsafe { (envoy.is_validation_mode)() }
}

/// A pointer for Envoy to keep.
fn keep<T>(value: T) -> *const c_void {
    Box::into_raw(Box::new(value)).cast_const().cast()
}
