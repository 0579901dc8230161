//! What it takes to try claimgate on one machine: an issuer that mints any token, an upstream that
//! shows what it receives, and a real Envoy between them. Tests use it too.

#[cfg(feature = "issuer")]
pub mod envoy;
#[cfg(feature = "issuer")]
pub mod issuer;
pub mod signer;
#[cfg(feature = "issuer")]
pub mod upstream;
