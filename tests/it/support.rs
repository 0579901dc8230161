//! What the tests share.

pub mod call;
pub mod issuer;
pub mod keys;
