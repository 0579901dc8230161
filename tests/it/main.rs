//! The integration tests, by behaviour. They need nothing but Rust.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cases;
mod cli;
mod config;
mod deploy;
mod layering;
mod refresh;
mod serving;
mod support;
