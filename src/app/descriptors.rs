//! How many connections the system's limit of open files leaves room for.

use nix::sys::resource::{Resource, getrlimit};

/// What is kept back besides: files that are read, names that are looked up, a connection that is
/// accepted before another is closed.
const RESERVE: usize = 8;

/// What one provider takes: a connection, and one for a look-up.
const OF_PROVIDER: usize = 2;

/// The most providers that are reckoned with: no more fetch at once.
const MAX_PROVIDERS: usize = 64;

/// As many connections as are wanted, or as fit beside what is open, what the operator's listener
/// may take, and what is kept back to fetch keys.
pub(super) fn fit(wanted: usize, admin: usize, providers: usize) -> usize {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Where that cannot be counted, about as many as are open at the start.
    let open = std::fs::read_dir("/proc/self/fd").map_or(24, Iterator::count);
    let fitting = room(limit, open + admin, providers);
    if fitting < wanted {
        tracing::warn!(
            limit,
            max_connections = fitting,
            wanted,
            "the limit of open files (`ulimit -n`) leaves room for fewer connections"
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
