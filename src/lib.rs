//! claimgate is an Envoy external-authorization service: it answers `Check` by validating the
//! request's bearer token as an OpenID Connect resource server must.
//!
//! The crates below this one. Each knows only those listed before it:
//!
//! - `claimgate-core` decides: [`keyring`], [`token`], [`identity`], [`policy`], [`decision`],
//!   [`answer`], [`advice`].
//! - `claimgate-config` reads the configuration: [`config`].
//! - `claimgate-gate` fetches keys and runs decisions: [`gate`], [`jwks`], [`token_cache`],
//!   [`telemetry`].
//! - `claimgate-dev` serves trials and tests: [`dev`].
//!
//! This crate is the program: the protocol ([`ext_authz`]), its transport ([`http2`]), the
//! listeners, the composition ([`app`]) and the commands. To run the whole service in a test, see
//! [`app::bind`] and [`dev::issuer`].

pub use claimgate_config as config;
pub use claimgate_core::{
    advice, answer, decision, escaped, identity, keyring, policy, request, time, token, trace,
};
pub use claimgate_dev as dev;
pub use claimgate_gate as gate;
pub use claimgate_gate::{jwks, telemetry, token_cache};

pub mod diff;
mod explain;
mod guide;

pub mod ext_authz;
pub mod http2;
pub mod import;

mod admin;
mod listener;

pub mod app;
pub mod command;
pub mod lifecycle;
pub mod logging;
pub mod otlp;
pub mod reload;
pub mod version;

/// The examples in the documents, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/testing.md")]
pub struct Testing;
