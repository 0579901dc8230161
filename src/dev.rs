//! What it takes to try claimgate out on one machine: an issuer that mints any token, an upstream
//! that shows what reaches it, and a real Envoy between them. For tests too.

pub mod envoy;
pub mod issuer;
pub mod signer;
pub mod upstream;
