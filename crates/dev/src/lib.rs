//! What it takes to try claimgate out on one machine: an issuer that mints any token, an upstream
//! that shows what reaches it, and a real Envoy between them. For the tests of an API: [`Gate`].

pub mod clock;
#[cfg(feature = "issuer")]
pub mod envoy;
#[cfg(feature = "gate")]
pub mod gate;
#[cfg(feature = "issuer")]
pub mod issuer;
#[cfg(feature = "issuer")]
pub mod issuers;
pub mod mint;
pub mod signer;
#[cfg(feature = "issuer")]
pub mod upstream;

#[cfg(feature = "gate")]
pub use gate::Gate;
