//! What the cases share with the integration tests.

#[path = "../it/support/call.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
pub mod call;
#[path = "../it/support/host.rs"]
pub mod host;
#[path = "../it/support/keys.rs"]
pub mod keys;
#[path = "../it/support/log.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
pub mod log;
