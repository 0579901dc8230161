//! Decides requests. Pure and total: no async, no I/O, no clock.
//!
//! The modules, each of which depends only on those above it:
//!
//! - vocabulary: [`time`], [`request`], [`escaped`], [`secrets`];
//! - [`keyring`] (the keys trusted now), [`token`] (evidence), [`identity`] (what the upstream
//!   gets), [`policy`] (what is required), [`decision`] (the verdict), [`answer`] (what the caller
//!   is told), [`advice`] (its likely cause).
//!
//! [`decision::decide`] is the core: the server, the command line and the tests all call it.

pub mod escaped;
pub mod request;
pub mod secrets;
pub mod time;

pub mod advice;
pub mod answer;
pub mod decision;
pub mod identity;
pub mod keyring;
pub mod policy;
pub mod token;
pub mod trace;
