//! Decides which tokens trigger a fetch for newer keys, and when. Pure: the time is an argument.
//!
//! INVARIANT: whatever key ids tokens name, this takes bounded memory, and allows [`BURST`] fetches
//! at once and one more per cool-down.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The number of fetches that tokens may trigger at once, because a provider may rotate twice
/// within seconds.
const BURST: u32 = 3;

/// The maximum pause between two look-ups of one key id, in cool-downs.
const MAX_PAUSE: u32 = 8;

/// The maximum number of key ids remembered as looked up. An invented id takes an entry only with a
/// look-up, so an entry lasts about an hour at the default cool-down.
const MAX_SOUGHT: usize = 128;

/// The maximum number of withdrawn key ids that are remembered: a day of rotations every six
/// minutes.
const MAX_GONE: usize = 256;

/// A remembered key id: a keyed hash, so that nobody can construct two ids that collide.
pub(super) type KidHash = u64;

/// The state of the fetches that tokens have triggered.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    allowance: Allowance,
    /// The ids in the current set and when each one appeared; `None` for those of the first set.
    present: Option<Vec<(KidHash, Option<Instant>)>>,
    /// The ids of withdrawn keys, oldest first.
    gone: VecDeque<KidHash>,
    /// The ids that were looked up, oldest first.
    sought: VecDeque<Sought>,
}

/// A key id that a fetch looked up.
#[derive(Clone, Copy, Debug)]
struct Sought {
    kid: KidHash,
    /// The number of the fetch that looks for it.
    fetch: u64,
    /// When it may trigger a fetch again, if that fetch did not bring it.
    again: Instant,
    pause: Duration,
}

impl LookUps {
    /// Whether the provider certainly does not have this key, so that the token gets its verdict
    /// without a fetch. Either the key is withdrawn, or a successful fetch up to number `good`
    /// looked for it recently.
    pub(super) fn knows_absent(&self, kid: KidHash, good: u64, now: Instant) -> bool {
        self.gone.contains(&kid)
            || self
                .find(kid)
                .is_some_and(|sought| sought.fetch <= good && now < sought.again)
    }

    /// Whether a fetch up to number `good` has looked for this key.
    pub(super) fn has_sought(&self, kid: KidHash, good: u64) -> bool {
        self.find(kid).is_some_and(|sought| sought.fetch <= good)
    }

    /// The fetch that looks for this key, if one was triggered.
    pub(super) fn answered_by(&self, kid: KidHash) -> Option<u64> {
        self.find(kid).map(|sought| sought.fetch)
    }

    fn find(&self, kid: KidHash) -> Option<&Sought> {
        self.sought.iter().find(|sought| sought.kid == kid)
    }

    /// Takes one fetch from the allowance.
    ///
    /// # Errors
    ///
    /// Returns the time until the allowance permits one again.
    pub(super) fn take(&mut self, now: Instant, cooldown: Duration) -> Result<(), Duration> {
        self.allowance.take(now, cooldown)
    }

    /// Records that fetch number `fetch` looks for this key. `good` is the last successful fetch:
    /// if an earlier one already looked for the key, its pause grows.
    pub(super) fn seek(
        &mut self,
        kid: KidHash,
        fetch: u64,
        good: u64,
        now: Instant,
        cooldown: Duration,
    ) {
        let pause = match self.find(kid) {
            Some(before) if before.fetch <= good => (2 * before.pause).min(MAX_PAUSE * cooldown),
            Some(before) => before.pause,
            None => cooldown,
        };
        self.remember(Sought {
            kid,
            fetch,
            again: now + pause,
            pause,
        });
    }

    fn remember(&mut self, sought: Sought) {
        self.sought.retain(|other| other.kid != sought.kid);
        self.sought.push_back(sought);
        if self.sought.len() > MAX_SOUGHT {
            self.sought.pop_front();
        }
    }

    /// Records the ids of the provider's current set. A missing id counts as withdrawn and never
    /// triggers a fetch again, unless it appeared less than `settling` ago: then a replica of the
    /// provider may just not have it yet.
    pub(super) fn settle(
        &mut self,
        kids: &[KidHash],
        now: Instant,
        settling: Duration,
        cooldown: Duration,
    ) {
        let before = self.present.take();
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        for (kid, came) in before.iter().filter(|(kid, _)| !kids.contains(kid)) {
            match came {
                Some(came) if now.duration_since(*came) < settling => self.remember(Sought {
                    kid: *kid,
                    fetch: 0,
                    again: now + cooldown,
                    pause: cooldown,
                }),
                _ => self.gone.push_back(*kid),
            }
        }
        self.gone.retain(|kid| !kids.contains(kid));
        self.sought.retain(|sought| !kids.contains(&sought.kid));
        let excess = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..excess);
        let came = |kid: &KidHash| {
            let known = before.iter().find(|(other, _)| other == kid);
            match known {
                Some((_, came)) => *came,
                None => (!is_first).then_some(now),
            }
        };
        self.present = Some(kids.iter().map(|kid| (*kid, came(kid))).collect());
    }
}

/// The allowance of fetches, kept as a time. Each fetch moves it forward by one cool-down, and it
/// may be ahead of the clock by [`BURST`] cool-downs.
#[derive(Debug, Default)]
struct Allowance {
    taken_until: Option<Instant>,
}

impl Allowance {
    fn take(&mut self, now: Instant, cooldown: Duration) -> Result<(), Duration> {
        let until = self.taken_until.map_or(now, |until| until.max(now)) + cooldown;
        let excess = until.duration_since(now).saturating_sub(BURST * cooldown);
        match excess.is_zero() {
            true => {
                self.taken_until = Some(until);
                Ok(())
            }
            false => Err(excess),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);
    const SETTLING: Duration = Duration::from_mins(15);

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Three at once, then one per cool-down, and three again after three idle cool-downs.
    #[test]
    fn a_burst_and_then_one_in_each_cool_down() {
        let (start, mut allowance) = (Instant::now(), Allowance::default());
        for (at, expected) in [
            (0, Ok(())),
            (0, Ok(())),
            (5, Ok(())),
            (5, Err(secs(25))),
            (29, Err(secs(1))),
            (30, Ok(())),
            (31, Err(secs(29))),
            (1_000, Ok(())),
            (1_000, Ok(())),
            (1_000, Ok(())),
            (1_000, Err(secs(30))),
        ] {
            let found = allowance.take(start + secs(at), COOLDOWN);
            assert_eq!(found, expected, "after {at} s");
        }
    }

    /// A key that no fetch brings triggers one after 30 s, then 60, 120, 240, and every 240 s.
    #[test]
    fn pauses_grow_up_to_a_limit() {
        let (mut now, mut look_ups) = (Instant::now(), LookUps::default());
        for (fetch, pause) in (1..).zip([30, 60, 120, 240, 240, 240]) {
            assert!(!look_ups.knows_absent(7, fetch - 1, now), "{fetch}");
            look_ups.seek(7, fetch, fetch - 1, now, COOLDOWN);
            assert!(!look_ups.knows_absent(7, fetch - 1, now), "not yet ended");
            now += secs(pause - 1);
            assert!(look_ups.knows_absent(7, fetch, now), "{fetch}");
            now += secs(1);
        }
    }

    #[test]
    fn a_fetch_that_fails_makes_no_pause_longer() {
        let (now, mut look_ups) = (Instant::now(), LookUps::default());
        for fetch in 1..10 {
            look_ups.seek(7, fetch, 0, now, COOLDOWN);
            assert!(!look_ups.knows_absent(7, 0, now));
        }
        assert_eq!(look_ups.find(7).unwrap().pause, COOLDOWN);
    }

    #[test]
    fn withdrawn_keys() {
        let start = Instant::now();
        // When the sets arrived, and whether key 1 is known to be absent 29 s and 31 s later.
        for (what, sets, expected) in [
            (
                "of the first set",
                &[(0, &[1, 2][..]), (1, &[2])][..],
                [true, true],
            ),
            (
                "that came later, long ago",
                &[(0, &[2]), (10, &[1, 2]), (910, &[2])],
                [true, true],
            ),
            (
                "that came just now",
                &[(0, &[2]), (10, &[1, 2]), (909, &[2])],
                [true, false],
            ),
            (
                "that has come back",
                &[(0, &[1, 2]), (1, &[2]), (2, &[1, 2])],
                [false, false],
            ),
            (
                "that went twice",
                &[(0, &[1]), (1, &[2]), (2, &[1]), (1_000, &[2])],
                [true, true],
            ),
            ("that never was", &[(0, &[2]), (1, &[2])], [false, false]),
        ] {
            let mut look_ups = LookUps::default();
            let mut now = start;
            for (at, kids) in sets {
                now = start + secs(*at);
                look_ups.settle(kids, now, SETTLING, COOLDOWN);
            }
            let found = [29, 31].map(|later| look_ups.knows_absent(1, 0, now + secs(later)));
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (now, mut look_ups) = (Instant::now(), LookUps::default());
        for kid in 0..10_000 {
            look_ups.seek(kid, 1, 0, now, COOLDOWN);
            look_ups.settle(&[kid, kid + 1], now, Duration::ZERO, COOLDOWN);
        }
        assert!(look_ups.sought.len() <= MAX_SOUGHT);
        assert!(look_ups.gone.len() <= MAX_GONE);
        assert!(look_ups.knows_absent(9_998, 0, now), "the newest are kept");
    }
}
