//! Limits connections to what the open-files limit (`ulimit -n`) allows.

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors reserved for files, DNS look-ups, and a connection that is accepted before another
/// is closed.
const RESERVE: usize = 8;

/// Descriptors per provider: one for a connection and one for a DNS look-up.
const OF_PROVIDER: usize = 2;

/// The maximum number of providers that count, because no more of them fetch at once.
const MAX_PROVIDERS: usize = 64;

/// The number of connections to allow: `wanted`, or fewer if they would not fit beside the open
/// descriptors, those of the admin listener (`admin`) and those reserved for fetching keys.
pub(super) fn fit(wanted: usize, admin: usize, providers: usize) -> usize {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Without `/proc`, assumes about as many as are open at start.
    let open = std::fs::read_dir("/proc/self/fd").map_or(24, Iterator::count);
    let fitting = room(limit, open + admin, providers);
    if fitting < wanted {
        tracing::warn!(
            limit,
            max_connections = fitting,
            wanted,
            "the open-files limit (`ulimit -n`) allows fewer connections than configured"
        );
    }
    fitting.min(wanted)
}

fn room(limit: usize, taken: usize, providers: usize) -> usize {
    let kept_back = RESERVE + OF_PROVIDER * providers.min(MAX_PROVIDERS);
    limit.saturating_sub(taken + kept_back).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_back() {
        for (limit, taken, providers, expected) in [
            (64, 30, 1, 24),
            (64, 30, 5, 16),
            (1024, 30, 1000, 858),
            (20, 30, 1, 1),
            (usize::MAX, 30, 1, usize::MAX - 40),
        ] {
            assert_eq!(room(limit, taken, providers), expected);
        }
    }
}
