//! The integration tests, by behaviour. They need nothing but Rust.

mod cases;
mod cli;
mod config;
mod deploy;
mod layering;
mod refresh;
mod serving;
mod support;
