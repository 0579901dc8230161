//! What it takes to try claimgate out on one machine: an issuer that mints any token, an upstream
//! that shows what reaches it, and a real Envoy between them. For tests too.

#[cfg(feature = "issuer")]
pub mod envoy;
#[cfg(feature = "issuer")]
pub mod issuer;
pub mod signer;
#[cfg(feature = "issuer")]
pub mod upstream;
