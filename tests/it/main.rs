//! The integration tests, by behaviour. They require only Rust.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and tables of cases are long"
)]

mod admin;
mod admin_page;
mod advice;
mod api_gate;
mod callers;
mod cli;
mod config;
mod connections;
mod dearest;
mod decision_log;
mod denials;
mod deploy;
mod dev;
mod dev_gate;
mod diff;
mod doctor;
mod documents;
mod fetch_errors;
mod forged;
mod generation;
mod guides;
mod hostile;
mod import;
mod import_meshes;
mod incidents;
mod key_sources;
mod keyring;
mod kubernetes;
mod last_routes;
mod layering;
mod leaks;
mod lifecycle;
mod log;
mod look_ups;
mod module;
mod mutation;
mod numbers;
mod observability;
mod observe;
mod overlays;
mod packaging;
mod properties;
mod proxy;
mod readiness;
mod refresh;
mod reload;
mod rules;
mod schema;
mod serving;
mod support;
mod table_tests;
mod telemetry;
mod tls;
mod tls_server;
mod token_cache;
mod totals;
mod wire;
