//! The module as an extension of Envoy's bootstrap: what it does for the whole process. It holds the start
//! until there are keys, and fetches keys through Envoy's clusters.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response};

use super::hooks::{complain, guarded, text};
use super::scheduler::Scheduler;
use super::{ENVOY, ModuleBuffer, only_validates, slice};
use crate::abi::{
    BootstrapPtr, EnvoyBuffer, EventCallback, Functions, Header, callout_result, callout_start,
};
use crate::callouts::CalloutHost;
use crate::engine::{CALLOUTS, Engine};

/// The only extension of the module.
const EXTENSION_NAME: &str = "claimgate";

/// What [`config_scheduled`] is called for.
const SEND_QUEUED: u64 = 0;
const END_HOLD: u64 = 1;

/// What the hooks that make something return: Envoy takes null for a failure, and keeps nothing else.
const MADE: *const c_void = ptr::dangling::<u8>().cast();

/// Envoy's main thread, during one hook.
struct MainThread {
    envoy: &'static Functions,
    bootstrap: BootstrapPtr,
}

impl CalloutHost for MainThread {
    fn call_out(
        &mut self,
        cluster: &str,
        headers: &[(&str, &[u8])],
        max_wait: Duration,
    ) -> Result<u64, &'static str> {
        let mut headers: Vec<Header> = headers
            .iter()
            .map(|(name, value)| Header::of(name.as_bytes(), value))
            .collect();
        // Zero would be no limit.
        let max_wait = u64::try_from(max_wait.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let mut number = 0;
        // SAFETY: Envoy keeps the extension during the hook, copies all buffers, and writes to `number`.
        let started = unsafe {
            (self.envoy.bootstrap_extension_http_callout)(
                self.bootstrap,
                &raw mut number,
                ModuleBuffer::of(cluster.as_bytes()),
                headers.as_mut_ptr(),
                headers.len(),
                ModuleBuffer::NONE,
                max_wait,
            )
        };
        match started {
            callout_start::SUCCESS => Ok(number),
            callout_start::CLUSTER_NOT_FOUND => Err("there is no cluster of this name"),
            _ => Err("no host of the cluster is available"),
        }
    }
}

/// Whether the extension is there while Envoy only validates: then there is no engine that knows it.
static VALIDATED: AtomicBool = AtomicBool::new(false);

/// Whether `bootstrap_extensions` has the module, so that keys can be fetched through clusters.
pub(super) fn is_there(envoy: &Functions) -> bool {
    match only_validates(envoy) {
        true => VALIDATED.load(Ordering::SeqCst),
        false => Engine::get().is_ok_and(Engine::has_clusters),
    }
}

/// Reads the extension's configuration, which is empty. From now on, Envoy does not serve before
/// [`END_HOLD`].
#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_config_new")]
extern "C" fn config_new(
    bootstrap: BootstrapPtr,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
) -> *const c_void {
    guarded(ptr::null(), || {
        let Some(envoy) = ENVOY.get() else {
            return ptr::null();
        };
        // SAFETY: Envoy keeps the buffer during the hook.
        let name = unsafe { text(name) }.unwrap_or_default();
        match begin(envoy, bootstrap, name, config.length == 0) {
            Ok(()) => MADE,
            Err(error) => {
                complain(envoy, &error);
                ptr::null()
            }
        }
    })
}

fn begin(
    envoy: &'static Functions,
    bootstrap: BootstrapPtr,
    name: &str,
    has_no_config: bool,
) -> Result<(), String> {
    if name != EXTENSION_NAME {
        return Err(format!(
            "`extension_name: {name}` is not an extension of this module; its extension is \
             `{EXTENSION_NAME}`"
        ));
    }
    if !has_no_config {
        return Err(
            "`extension_config` has no effect; `filter_config` of the filter has the configuration"
                .to_owned(),
        );
    }
    let is_first = match only_validates(envoy) {
        true => {
            end_hold(envoy, bootstrap);
            !VALIDATED.swap(true, Ordering::SeqCst)
        }
        false => {
            let engine = Engine::get().map_err(|error| error.to_string())?;
            engine.hold_start(Scheduler::of_bootstrap(envoy, bootstrap))
        }
    };
    match is_first {
        true => Ok(()),
        false => Err("`bootstrap_extensions` has the module more than once".to_owned()),
    }
}

impl crate::engine::MainThread for Scheduler {
    fn send_queued(&self) {
        self.commit(SEND_QUEUED);
    }

    fn end_hold(&self) {
        self.commit(END_HOLD);
    }
}

fn end_hold(envoy: &Functions, bootstrap: BootstrapPtr) {
    // SAFETY: Envoy keeps the extension during the hook.
    unsafe { (envoy.bootstrap_extension_config_signal_init_complete)(bootstrap) };
}

/// Does on the main thread what only that can do.
#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_config_scheduled")]
extern "C" fn config_scheduled(bootstrap: BootstrapPtr, _config: *const c_void, event: u64) {
    guarded((), || {
        let Some(envoy) = ENVOY.get() else {
            return;
        };
        match event {
            END_HOLD => end_hold(envoy, bootstrap),
            _ => CALLOUTS.send_queued(&mut MainThread { envoy, bootstrap }),
        }
    });
}

/// Passes the response to a callout on.
#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_http_callout_done")]
extern "C" fn http_callout_done(
    _bootstrap: BootstrapPtr,
    _config: *const c_void,
    number: u64,
    result: u32,
    headers: *const Header,
    headers_length: usize,
    chunks: *const EnvoyBuffer,
    chunks_length: usize,
) {
    guarded((), || {
        let answer = match result {
            callout_result::SUCCESS => {
                // SAFETY: Envoy keeps as many headers during the hook.
                let headers = unsafe { slice(headers, headers_length) };
                // SAFETY: Envoy keeps as many chunks during the hook.
                let chunks = unsafe { slice(chunks, chunks_length) };
                response(headers, chunks)
            }
            callout_result::RESET => Err("no connection, or no response in time".to_owned()),
            _ => Err("the response is too large for Envoy".to_owned()),
        };
        CALLOUTS.done(number, answer);
    });
}

fn response(headers: &[Header], chunks: &[EnvoyBuffer]) -> Result<Response<Vec<u8>>, String> {
    let mut body = Vec::new();
    for chunk in chunks {
        // SAFETY: Envoy keeps the chunk during the hook.
        body.extend_from_slice(unsafe { slice(chunk.ptr, chunk.length) });
    }
    let mut response = Response::new(body);
    let mut status = None;
    for header in headers {
        // SAFETY: Envoy keeps the header during the hook.
        let (name, value) = unsafe { header.line() };
        if name == b":status" {
            status = str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse().ok());
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    let status: u16 = status.ok_or("a response without a status")?;
    *response.status_mut() = status
        .try_into()
        .map_err(|_| format!("the status {status} in the response"))?;
    Ok(response)
}

/// From now on, there are clusters.
#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_server_initialized")]
extern "C" fn server_initialized(_extension: *const c_void, _module: *const c_void) {
    guarded((), || {
        if let Ok(engine) = Engine::get() {
            engine.begin_serving();
        }
    });
}

/// Envoy waits until `completed` is called.
#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_shutdown")]
extern "C" fn shutdown(
    _extension: *const c_void,
    _module: *const c_void,
    completed: EventCallback,
    context: *mut c_void,
) {
    end_serving();
    if let Some(completed) = completed {
        // SAFETY: Envoy passes a function with its argument, to be called once.
        unsafe { completed(context) };
    }
}

#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_new")]
extern "C" fn new(_config: *const c_void, _extension: *const c_void) -> *const c_void {
    MADE
}

#[unsafe(export_name = "envoy_dynamic_module_on_bootstrap_extension_config_destroy")]
extern "C" fn config_destroy(_config: *const c_void) {
    if !VALIDATED.swap(false, Ordering::SeqCst) {
        end_serving();
    }
}

fn end_serving() {
    guarded((), || {
        if let Ok(engine) = Engine::get() {
            engine.end_serving();
        }
    });
}

unused! {
    "bootstrap_extension_":
    worker_thread_initialized(*const c_void, *const c_void);
    destroy(*const c_void);
    drain_started(*const c_void, *const c_void);
    timer_fired(BootstrapPtr, *const c_void, *const c_void);
    file_changed(BootstrapPtr, *const c_void, EnvoyBuffer, u32);
    admin_request(BootstrapPtr, *const c_void, EnvoyBuffer, EnvoyBuffer, EnvoyBuffer) -> u32;
    cluster_add_or_update(BootstrapPtr, *const c_void, EnvoyBuffer);
    cluster_removal(BootstrapPtr, *const c_void, EnvoyBuffer);
    listener_add_or_update(BootstrapPtr, *const c_void, EnvoyBuffer);
    listener_removal(BootstrapPtr, *const c_void, EnvoyBuffer);
}
