//! What Envoy calls. No panic leaves a hook: the request is denied, or the configuration refused.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use super::scheduler::Scheduler;
use super::{
    ENVOY, EnvoyLog, EnvoyStats, EnvoyStream, bootstrap, keep, only_validates, routes, slice,
};
use crate::abi::{
    ConfigPtr, EnvoyBuffer, Functions, StreamPtr, VERSION, body_status, headers_status,
    trailers_status,
};
use crate::engine::{ConfigSource, Engine, LoadError, Running, Ticking, needs_clusters};
use crate::filter::{Context, Filter, Next};
use crate::guard::{locked, or_deny};
use crate::lines::{Lines, Log as _};
use crate::route;
use crate::stats::Stats;
use claimgate_gate::reload::warn_of;

/// The filter of the module. Envoy refuses a configuration with a problem, and keeps the one before.
const FILTER_NAME: &str = "claimgate";

/// The same filter. With a problem in its configuration, it denies every request. A control plane may
/// use a filter in its routes although Envoy has refused the listener with the filter: then the routes
/// have no filter.
const FAIL_CLOSED_NAME: &str = "claimgate_fail_closed";

/// What Envoy keeps for a configuration of a filter. `None` while Envoy only validates, and after a
/// problem with [`FAIL_CLOSED_NAME`]: then nothing passes.
struct FilterConfig(Option<InUse>);

/// A configuration of a filter that requests are judged by.
struct InUse {
    running: Arc<Running>,
    stats: Stats<usize>,
    /// Keeps the metrics up to date. `None` if this Envoy cannot show them. Dropped first.
    ticking: Option<Ticking>,
}

type EnvoyFilter = Filter<Scheduler>;

/// Runs a hook. After a panic, the result is `otherwise`.
pub(super) fn guarded<T>(otherwise: T, hook: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(hook)).unwrap_or(otherwise)
}

/// A text that Envoy passes to a hook.
///
/// # Safety
///
/// The buffer must be valid during `'a`.
pub(super) unsafe fn text<'a>(buffer: EnvoyBuffer) -> Result<&'a str, std::str::Utf8Error> {
    // SAFETY: the caller promises it.
    str::from_utf8(unsafe { slice(buffer.ptr, buffer.length) })
}

fn stream<'h>(stream: StreamPtr) -> Option<EnvoyStream<'h>> {
    Some(EnvoyStream {
        envoy: ENVOY.get()?,
        stream,
        _during_hook: PhantomData,
    })
}

/// The filter behind a pointer. It lives until this value is dropped, even if Envoy drops it meanwhile:
/// Envoy does so while it answers.
///
/// # Safety
///
/// The pointer must be null or from [`filter_new`], and not have been destroyed.
unsafe fn filter(filter: *const c_void) -> Option<Rc<EnvoyFilter>> {
    if filter.is_null() {
        return None;
    }
    let filter = filter.cast::<EnvoyFilter>();
    // SAFETY: `filter_new` made the pointer from an `Rc`, on this thread, which is still counted.
    unsafe { Rc::increment_strong_count(filter) };
    // SAFETY: as above, and this value now has a count of its own.
    Some(unsafe { Rc::from_raw(filter) })
}

/// Finds Envoy's functions and starts logging. Returns the version of the interface, or null if this
/// Envoy lacks a function.
#[unsafe(export_name = "envoy_dynamic_module_on_program_init")]
extern "C" fn program_init() -> *const c_char {
    guarded(ptr::null(), || {
        let envoy = match Functions::find() {
            Ok(envoy) => ENVOY.get_or_init(|| envoy),
            Err(missing) => {
                refuse(missing.0);
                return ptr::null();
            }
        };
        // In a process that loads the module twice, the first one logs.
        let _ = tracing::subscriber::set_global_default(Lines(EnvoyLog(envoy)));
        hide_panic_messages();
        VERSION.as_ptr()
    })
}

/// Says why the module cannot be used. Standard error is where Envoy logs unless told otherwise.
#[expect(clippy::print_stderr, reason = "this Envoy's log is not known")]
fn refuse(missing: &str) {
    eprintln!(
        "claimgate: this Envoy has no `envoy_dynamic_module_callback_{missing}`: the module is for \
         Envoy 1.38 to 1.40"
    );
}

/// A panic message may quote a request, so only its location is logged.
fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked; this is a bug");
    }));
}

/// Reads a configuration. Each problem is logged. Null if Envoy is to refuse the configuration.
#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_config_new")]
extern "C" fn config_new(
    config_ptr: ConfigPtr,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
) -> *const c_void {
    guarded(ptr::null(), || {
        let Some(envoy) = ENVOY.get() else {
            return ptr::null();
        };
        // SAFETY: Envoy keeps the buffer during the hook.
        let name = unsafe { text(name) }.unwrap_or_default();
        // SAFETY: as above.
        let config = unsafe { text(config) }.unwrap_or_default();
        let panicked = Err("the configuration could not be read; this is a bug".to_owned());
        match guarded(panicked, || configure(envoy, name, config)) {
            Ok(running) => keep(FilterConfig(
                running.and_then(|running| in_use(envoy, config_ptr, running)),
            )),
            Err(error) => {
                complain(envoy, &error);
                if name != FAIL_CLOSED_NAME || only_validates(envoy) {
                    return ptr::null();
                }
                complain(
                    envoy,
                    "every request is denied until the configuration is replaced",
                );
                keep(FilterConfig(None))
            }
        }
    })
}

fn configure(envoy: &Functions, name: &str, config: &str) -> Result<Option<Arc<Running>>, String> {
    if ![FILTER_NAME, FAIL_CLOSED_NAME].contains(&name) {
        return Err(format!(
            "`filter_name: {name}` is not a filter of this module; its filters are `{FILTER_NAME}` \
             and `{FAIL_CLOSED_NAME}`"
        ));
    }
    let problem = |error: LoadError| error.to_string();
    let source = ConfigSource::read(config).map_err(problem)?;
    let loaded = source.load().map_err(problem)?;
    warn_of(&loaded.config);
    if envoy.http_set_dynamic_metadata_struct.is_none()
        && loaded.config.policy.upstream().dynamic_metadata
    {
        tracing::warn!("the metadata has no `claims`: only Envoy 1.40 takes them from a module");
    }
    if envoy.http_filter_config_increment_counter.is_none() {
        tracing::warn!("Envoy shows no metrics of claimgate: 1.39 and later do");
    }
    if needs_clusters(&loaded.config) && !bootstrap::is_there(envoy) {
        return Err(
            "`fetch.envoy_cluster` needs the module in `bootstrap_extensions`, too".to_owned(),
        );
    }
    if only_validates(envoy) {
        return Ok(None);
    }
    let engine = Engine::get().map_err(problem)?;
    Ok(Some(engine.run(loaded)))
}

/// Defines the metrics of a configuration, and begins to show them.
fn in_use(envoy: &'static Functions, config: ConfigPtr, running: Arc<Running>) -> Option<InUse> {
    let stats = Stats::define(&running.metrics(), &mut EnvoyStats { envoy, config });
    let engine = Engine::get().ok()?;
    let ticking = Scheduler::of_config(envoy, config)
        .map(|scheduler| engine.tick(move || scheduler.commit(0)));
    Some(InUse {
        running,
        stats,
        ticking,
    })
}

/// Shows the current metrics, on Envoy's main thread.
#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_config_scheduled")]
extern "C" fn config_scheduled(config_ptr: ConfigPtr, config: *const c_void, _event: u64) {
    guarded((), || {
        if config.is_null() {
            return;
        }
        // SAFETY: `config_new` made the pointer from this type, and Envoy still uses it.
        let FilterConfig(in_use) = unsafe { &*config.cast::<FilterConfig>() };
        if let (Some(in_use), Some(envoy)) = (in_use, ENVOY.get()) {
            let InUse { running, stats, .. } = in_use;
            let mut shown = locked(&running.shown);
            let host = &mut EnvoyStats {
                envoy,
                config: config_ptr,
            };
            stats.show(&running.metrics(), &mut shown, host);
        }
    });
}

/// Logs each line of an error by itself, as problems of a configuration are listed.
pub(super) fn complain(envoy: &'static Functions, error: &str) {
    for line in error.lines() {
        EnvoyLog(envoy).write(tracing::Level::ERROR, &format!("claimgate: {line}"));
    }
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_config_destroy")]
extern "C" fn config_destroy(config: *const c_void) {
    guarded((), || {
        if !config.is_null() {
            // SAFETY: `config_new` made the pointer from this type, and Envoy uses it no more.
            let config = unsafe { Box::from_raw(config.cast_mut().cast::<FilterConfig>()) };
            if let (FilterConfig(Some(in_use)), Ok(engine)) = (*config, Engine::get()) {
                drop(in_use.ticking);
                engine.end(in_use.running);
            }
        }
    });
}

/// Reads the configuration of a route. Null if it has a problem, which is logged.
#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_per_route_config_new")]
extern "C" fn route_new(_name: EnvoyBuffer, config: EnvoyBuffer) -> *const c_void {
    guarded(ptr::null(), || {
        // SAFETY: Envoy keeps the buffer during the hook.
        let config = unsafe { text(config) };
        match route::read(config.unwrap_or_default()) {
            Ok(context) => {
                let route = keep(context);
                routes::add(route);
                route
            }
            Err(error) => {
                if let Some(envoy) = ENVOY.get() {
                    complain(envoy, &error.to_string());
                }
                ptr::null()
            }
        }
    })
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_per_route_config_destroy")]
extern "C" fn route_destroy(config: *const c_void) {
    guarded((), || {
        if routes::remove(config) {
            let context = config.cast_mut().cast::<Context>();
            // SAFETY: `route_new` made the pointer from this type, and Envoy uses it no more.
            drop(unsafe { Box::from_raw(context) });
        }
    });
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_new")]
extern "C" fn filter_new(config: *const c_void, _stream: StreamPtr) -> *const c_void {
    guarded(ptr::null(), || {
        let judge = match config.is_null() {
            true => None,
            false => {
                // SAFETY: `config_new` made the pointer from this type, and Envoy keeps it as long
                // as its filters.
                let FilterConfig(in_use) = unsafe { &*config.cast::<FilterConfig>() };
                in_use
                    .as_ref()
                    .map(|in_use| Arc::clone(&in_use.running.judge))
            }
        };
        Rc::into_raw(Rc::new(EnvoyFilter::new(judge))).cast()
    })
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_destroy")]
extern "C" fn filter_destroy(filter: *const c_void) {
    guarded((), || {
        if !filter.is_null() {
            // SAFETY: `filter_new` made the pointer from an `Rc`, on this thread, and Envoy uses it
            // no more.
            drop(unsafe { Rc::from_raw(filter.cast::<EnvoyFilter>()) });
        }
    });
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_request_headers")]
extern "C" fn request_headers(
    stream_ptr: StreamPtr,
    filter_ptr: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    let judge = || {
        // SAFETY: Envoy calls no hook with a filter that it has destroyed.
        let filter = unsafe { filter(filter_ptr) }?;
        let stream = stream(stream_ptr)?;
        let context = stream.context().or_else(foreign_route)?;
        Some(filter.on_request_headers(stream, &context))
    };
    match or_deny(|| stream(stream_ptr), judge) {
        Some(Next::Continue) => headers_status::CONTINUE,
        Some(Next::Wait | Next::Answered) | None => {
            headers_status::STOP_ALL_ITERATION_AND_WATERMARK
        }
    }
}

/// Says why a request is denied whose route is configured by another module.
fn foreign_route() -> Option<Context> {
    tracing::error!("the configuration of a route under this filter's name is another module's");
    None
}

/// Whether the filter has let the headers of the request pass. If not, its body and its trailers must
/// not take them along.
fn has_passed(filter_ptr: *const c_void) -> bool {
    guarded(false, || {
        // SAFETY: Envoy calls no hook with a filter that it has destroyed.
        unsafe { filter(filter_ptr) }.is_some_and(|filter| filter.has_passed())
    })
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_request_body")]
extern "C" fn request_body(
    _stream: StreamPtr,
    filter_ptr: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    match has_passed(filter_ptr) {
        true => body_status::CONTINUE,
        false => body_status::STOP_ITERATION_NO_BUFFER,
    }
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_request_trailers")]
extern "C" fn request_trailers(_stream: StreamPtr, filter_ptr: *const c_void) -> u32 {
    match has_passed(filter_ptr) {
        true => trailers_status::CONTINUE,
        false => trailers_status::STOP_ITERATION,
    }
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_scheduled")]
extern "C" fn scheduled(stream_ptr: StreamPtr, filter_ptr: *const c_void, _event: u64) {
    let _ = or_deny(
        || stream(stream_ptr),
        || {
            // SAFETY: Envoy calls no hook with a filter that it has destroyed.
            let filter = unsafe { filter(filter_ptr) }?;
            filter.on_woken(stream(stream_ptr)?);
            Some(())
        },
    );
}

#[unsafe(export_name = "envoy_dynamic_module_on_http_filter_response_headers")]
extern "C" fn response_headers(
    stream_ptr: StreamPtr,
    filter_ptr: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    guarded((), || {
        // SAFETY: Envoy calls no hook with a filter that it has destroyed.
        let filter = unsafe { filter(filter_ptr) };
        if let (Some(filter), Some(stream)) = (filter, stream(stream_ptr)) {
            filter.on_response_headers(stream);
        }
    });
    headers_status::CONTINUE
}

unused! {
    "http_filter_":
    response_body(StreamPtr, *const c_void, bool) -> u32;
    response_trailers(StreamPtr, *const c_void) -> u32;
    stream_complete(StreamPtr, *const c_void);
    http_callout_done(StreamPtr, *const c_void, u64, u32, *const c_void, usize, *const c_void, usize);
    http_stream_headers(StreamPtr, *const c_void, u64, *const c_void, usize, bool);
    http_stream_data(StreamPtr, *const c_void, u64, *const c_void, usize, bool);
    http_stream_trailers(StreamPtr, *const c_void, u64, *const c_void, usize);
    http_stream_complete(StreamPtr, *const c_void, u64);
    http_stream_reset(StreamPtr, *const c_void, u64, u32);
    downstream_above_write_buffer_high_watermark(StreamPtr, *const c_void);
    downstream_below_write_buffer_low_watermark(StreamPtr, *const c_void);
}
