//! Envoy's external authorization API. The types generated from `proto/` stay in this layer.

pub mod request;
pub mod response;
pub mod server;
pub mod service;
pub mod wire;

/// The types that `build.rs` generates from `proto/`. Public for callers of `Check`, mainly tests.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "generated"
)]
pub mod proto {
    pub mod envoy {
        pub mod config {
            pub mod core {
                pub mod v3 {
                    tonic::include_proto!("envoy.config.core.v3");
                }
            }
        }
        pub mod service {
            pub mod auth {
                pub mod v3 {
                    tonic::include_proto!("envoy.service.auth.v3");
                }
            }
        }
        pub mod r#type {
            pub mod v3 {
                tonic::include_proto!("envoy.r#type.v3");
            }
        }
    }
    pub mod google {
        pub mod rpc {
            tonic::include_proto!("google.rpc");
        }
    }

    /// The service and its messages.
    pub use envoy::service::auth::v3 as auth;

    /// The compiled `proto/`, as a `FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

/// The full name of the service, as used in health checks and reflection.
pub const SERVICE_NAME: &str = "envoy.service.auth.v3.Authorization";
