//! Envoy's C interface for dynamic modules, as far as this module uses it
//! (`source/extensions/dynamic_modules/abi/abi.h`, version `v0.2.0`; 1.38 and 1.39 have the same
//! functions with the same arguments).
//!
//! Envoy's functions are looked up by name when it loads the module. So a version of Envoy that lacks
//! one is refused with a sentence, and the tests link without an Envoy.

#![expect(unsafe_code, reason = "the declarations of a C interface")]

use std::ffi::{CStr, c_void};

/// The version of the interface. Envoy compares it with its own.
pub(crate) const VERSION: &CStr = c"v0.2.0";

/// Envoy's filter of one stream.
pub(crate) type StreamPtr = *mut c_void;

/// Envoy's configuration of a filter.
pub(crate) type ConfigPtr = *mut c_void;

/// Envoy's configuration of the extension of its bootstrap.
pub(crate) type BootstrapPtr = *mut c_void;

/// What Envoy has called when something has ended. The argument is Envoy's.
pub(crate) type EventCallback = Option<unsafe extern "C" fn(*mut c_void)>;

/// What wakes a stream from another thread.
pub(crate) type SchedulerPtr = *mut c_void;

/// Bytes that Envoy owns until the end of the hook, or until the module changes what they are part of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnvoyBuffer {
    pub(crate) ptr: *const u8,
    pub(crate) length: usize,
}

/// Bytes of the module, which Envoy copies during the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleBuffer {
    pub(crate) ptr: *const u8,
    pub(crate) length: usize,
}

/// A header line, in Envoy's memory or in the module's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) name: *const u8,
    pub(crate) name_length: usize,
    pub(crate) value: *const u8,
    pub(crate) value_length: usize,
}

/// `envoy_dynamic_module_type_http_header_type`.
pub(crate) mod header_type {
    pub(crate) const REQUEST: u32 = 0;
    pub(crate) const RESPONSE: u32 = 2;
}

/// `envoy_dynamic_module_type_attribute_id`.
pub(crate) mod attribute {
    pub(crate) const SOURCE_ADDRESS: u32 = 24;
    pub(crate) const SUBJECT_PEER_CERTIFICATE: u32 = 33;
    pub(crate) const DNS_SAN_PEER_CERTIFICATE: u32 = 35;
    pub(crate) const URI_SAN_PEER_CERTIFICATE: u32 = 37;
}

/// `envoy_dynamic_module_type_log_level`.
pub(crate) mod log_level {
    pub(crate) const TRACE: u32 = 0;
    pub(crate) const DEBUG: u32 = 1;
    pub(crate) const INFO: u32 = 2;
    pub(crate) const WARN: u32 = 3;
    pub(crate) const ERROR: u32 = 4;
}

/// `envoy_dynamic_module_type_on_http_filter_request_headers_status`.
pub(crate) mod headers_status {
    pub(crate) const CONTINUE: u32 = 0;
    pub(crate) const STOP_ALL_ITERATION_AND_WATERMARK: u32 = 4;
}

/// `envoy_dynamic_module_type_on_http_filter_request_body_status`.
pub(crate) mod body_status {
    pub(crate) const CONTINUE: u32 = 0;
    pub(crate) const STOP_ITERATION_NO_BUFFER: u32 = 3;
}

/// `envoy_dynamic_module_type_on_http_filter_request_trailers_status`.
pub(crate) mod trailers_status {
    pub(crate) const CONTINUE: u32 = 0;
    pub(crate) const STOP_ITERATION: u32 = 1;
}

/// `envoy_dynamic_module_type_http_callout_init_result`.
pub(crate) mod callout_start {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const CLUSTER_NOT_FOUND: u32 = 2;
}

/// `envoy_dynamic_module_type_http_callout_result`.
pub(crate) mod callout_result {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const RESET: u32 = 1;
}

/// `envoy_dynamic_module_type_metrics_result`.
pub(crate) const METRICS_SUCCESS: u32 = 0;

/// The function of Envoy that the module requires and does not find.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) &'static str);

/// Declares the table of Envoy's functions, each as `envoy_dynamic_module_callback_NAME`.
macro_rules! functions {
    (
        required { $(fn $name:ident($($argument:ty),*) $(-> $result:ty)?;)* }
        optional { $(fn $maybe:ident($($given:ty),*) $(-> $returned:ty)?;)* }
    ) => {
        /// Envoy's functions.
        #[derive(Debug)]
        pub(crate) struct Functions {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            $(pub(crate) $maybe: Option<unsafe extern "C" fn($($given),*) $(-> $returned)?>,)*
        }

        impl Functions {
            /// Finds Envoy's functions in the program.
            ///
            /// # Errors
            ///
            /// Names a function that this Envoy lacks.
            pub(crate) fn find() -> Result<Self, Missing> {
                Ok(Self {
                    $($name: {
                        let found = symbol(symbol_name!($name)).ok_or(Missing(stringify!($name)))?;
                        // SAFETY: Envoy defines the function of this name with these arguments.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(found)
                        }
                    },)*
                    $($maybe: symbol(symbol_name!($maybe)).map(|found| {
                        // SAFETY: as above.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($given),*) $(-> $returned)?>(found)
                        }
                    }),)*
                })
            }
        }
    };
}

macro_rules! symbol_name {
    ($name:ident) => {
        concat!("envoy_dynamic_module_callback_", stringify!($name), "\0")
    };
}

/// The address of a function in the program. `name` ends in a zero byte.
fn symbol(name: &'static str) -> Option<*mut c_void> {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
    // SAFETY: looking up a name that ends in a zero byte has no precondition.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

functions! {
    required {
        // What tells Envoy 1.38 from 1.37, whose other functions have other arguments.
        fn is_validation_mode() -> bool;
        fn log(u32, ModuleBuffer);
        fn log_enabled(u32) -> bool;
        fn http_get_headers_size(StreamPtr, u32) -> usize;
        fn http_get_headers(StreamPtr, u32, *mut Header) -> bool;
        fn http_set_header(StreamPtr, u32, ModuleBuffer, ModuleBuffer) -> bool;
        fn http_send_response(StreamPtr, u32, *mut Header, usize, ModuleBuffer, ModuleBuffer);
        fn http_set_dynamic_metadata_string(StreamPtr, ModuleBuffer, ModuleBuffer, ModuleBuffer);
        fn http_filter_get_attribute_string(StreamPtr, u32, *mut EnvoyBuffer) -> bool;
        fn http_filter_scheduler_new(StreamPtr) -> SchedulerPtr;
        fn http_filter_scheduler_commit(SchedulerPtr, u64);
        fn http_filter_scheduler_delete(SchedulerPtr);
        fn http_filter_continue_decoding(StreamPtr);
        fn get_most_specific_route_config(StreamPtr) -> *const c_void;
        fn bootstrap_extension_config_scheduler_new(BootstrapPtr) -> SchedulerPtr;
        fn bootstrap_extension_config_scheduler_commit(SchedulerPtr, u64);
        fn bootstrap_extension_config_scheduler_delete(SchedulerPtr);
        fn bootstrap_extension_config_signal_init_complete(BootstrapPtr);
        fn bootstrap_extension_http_callout(
            BootstrapPtr,
            *mut u64,
            ModuleBuffer,
            *mut Header,
            usize,
            ModuleBuffer,
            u64
        ) -> u32;
    }
    optional {
        // Since 1.39, or not needed before.
        fn http_filter_config_define_counter(ConfigPtr, ModuleBuffer, *mut ModuleBuffer, usize, *mut usize) -> u32;
        fn http_filter_config_define_gauge(ConfigPtr, ModuleBuffer, *mut ModuleBuffer, usize, *mut usize) -> u32;
        fn http_filter_config_increment_counter(ConfigPtr, usize, *mut ModuleBuffer, usize, u64) -> u32;
        fn http_filter_config_set_gauge(ConfigPtr, usize, *mut ModuleBuffer, usize, u64) -> u32;
        fn http_filter_config_scheduler_new(ConfigPtr) -> SchedulerPtr;
        fn http_filter_config_scheduler_commit(SchedulerPtr, u64);
        fn http_filter_config_scheduler_delete(SchedulerPtr);
        // Since 1.40.
        fn http_set_dynamic_metadata_struct(StreamPtr, ModuleBuffer, ModuleBuffer);
    }
}
