//! claimgate inside Envoy: the same decisions without a call to a service.
//!
//! Envoy loads this crate as a dynamic module. [`filter`] judges a request through the gate, as the
//! service does, and [`reply`] changes or answers it. Both know their host only as a
//! [`stream::Stream`], which a test can be, too.
//!
//! The only unsafe code is in `abi`, which declares Envoy's interface, and in `envoy`, which wraps it.

mod abi;
pub mod callouts;
pub mod engine;
mod envoy;
pub mod filter;
pub mod guard;
pub mod lines;
pub mod reply;
pub mod request;
pub mod route;
pub mod stats;
pub mod stream;
