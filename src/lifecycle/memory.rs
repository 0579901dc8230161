//! Keeps the memory of the process, which contains live tokens, from others.

use nix::sys::resource::{Resource, setrlimit};

/// From now on no core dump is written, and only root may read the memory or attach a debugger.
///
/// # Errors
///
/// Fails if the system refuses that.
pub(crate) fn protect() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // The limit does not count if the system pipes core dumps to a program (core(5)).
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}
