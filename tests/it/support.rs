//! Shared by the tests.

pub mod authority;
pub mod call;
pub mod collector;
pub mod command;
pub mod examples;
pub mod gate;
pub mod host;
pub mod image;
pub mod issuer;
pub mod judge;
pub mod keys;
pub mod log;
pub mod proxy;
pub mod server;
