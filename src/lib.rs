//! claimgate is an Envoy external-authorization service: it answers `Check` by validating the
//! request's bearer token as an OpenID Connect resource server must.
//!
//! The layers, each of which knows only those above it:
//!
//! - **vocabulary**: [`time`], [`request`], [`escaped`];
//! - **core**, pure and total: [`keyring`] (whom we trust now), [`token`] (evidence), [`identity`]
//!   (what the upstream gets), [`policy`] (what is required), [`decision`] (the verdict), [`answer`] (what the caller is told), [`advice`] (its likely cause);
//! - **edges**, bytes to and from the core: [`config`], [`ext_authz`], [`http2`], [`telemetry`];
//! - **I/O**: [`gate`] (decides, and gets what a decision needs), [`jwks`], [`token_cache`], the gRPC service in [`ext_authz::service`], the admin listener;
//! - **composition**: [`app`]; then [`dev`] and the commands.
//!
//! [`decision::decide`] is the heart: the server, the command line and the tests all call it. To
//! run the whole service inside a test, see [`app::bind`] and [`dev::issuer`].

// Vocabulary.
pub mod escaped;
mod lifecycle;
pub mod request;
pub mod time;

// Core.
pub mod advice;
pub mod answer;
pub mod decision;
pub mod identity;
pub mod keyring;
pub mod policy;
pub mod token;
pub mod trace;

// Edges.
pub mod config;
pub mod ext_authz;
pub mod http2;
pub mod telemetry;

// I/O.
mod admin;
pub mod gate;
pub mod jwks;
mod listener;
pub mod token_cache;

// Composition.
pub mod app;
pub mod command;
pub mod dev;

/// The examples of the documents, which are run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/testing.md")]
pub struct Testing;
