//! Which tokens ask for newer keys, and when. Pure: the time is an argument.
//!
//! INVARIANT: whatever tokens name, this takes bounded memory, and lets them ask for [`BURST`]
//! fetches at once and for one more in each cool-down.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many fetches tokens may ask for at once: a provider may rotate twice within seconds.
const BURST: u32 = 3;

/// The longest pause between two look-ups of one key id, in cool-downs.
const MAX_PAUSE: u32 = 8;

/// How many key ids are remembered that a fetch was asked for. Invented ones take a place each
/// time they get a look-up, so a place lasts for about an hour at the default cool-down.
const MAX_SOUGHT: usize = 128;

/// How many key ids are remembered that the provider has withdrawn: a day of a rotation every six
/// minutes.
const MAX_GONE: usize = 256;

/// A key id as it is remembered: its hash, keyed so that nobody can choose two that collide.
pub(super) type KidHash = u64;

/// What fetches that tokens ask for have led to so far.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    allowance: Allowance,
    /// The ids of the current set, and when each came; no time for those of the first set.
    present: Option<Vec<(KidHash, Option<Instant>)>>,
    /// Ids of withdrawn keys, the oldest first.
    gone: VecDeque<KidHash>,
    /// The oldest first.
    sought: VecDeque<Sought>,
}

/// A key id that a fetch was asked for.
#[derive(Clone, Copy, Debug)]
struct Sought {
    kid: KidHash,
    /// The number of the fetch that answers for it.
    fetch: u64,
    /// From when on it may ask again, if that fetch did not bring it.
    again: Instant,
    pause: Duration,
}

impl LookUps {
    /// Whether the provider does not have this key, so that the token gets its verdict without a
    /// fetch: the key is withdrawn, or one of the fetches up to `good` looked for it a short while
    /// ago.
    pub(super) fn knows_absent(&self, kid: KidHash, good: u64, now: Instant) -> bool {
        self.gone.contains(&kid)
            || self
                .find(kid)
                .is_some_and(|sought| sought.fetch <= good && now < sought.again)
    }

    /// Whether one of the fetches up to `good` has looked for this key.
    pub(super) fn has_sought(&self, kid: KidHash, good: u64) -> bool {
        self.find(kid).is_some_and(|sought| sought.fetch <= good)
    }

    /// The fetch that answers for this key, if one was asked for.
    pub(super) fn answered_by(&self, kid: KidHash) -> Option<u64> {
        self.find(kid).map(|sought| sought.fetch)
    }

    fn find(&self, kid: KidHash) -> Option<&Sought> {
        self.sought.iter().find(|sought| sought.kid == kid)
    }

    /// Takes one fetch out of the allowance.
    ///
    /// # Errors
    ///
    /// How long until there is one again.
    pub(super) fn take(&mut self, now: Instant, cooldown: Duration) -> Result<(), Duration> {
        self.allowance.take(now, cooldown)
    }

    /// The fetch of this number looks for this key. `good` is the last that has brought keys: if
    /// the key has been looked for before, its pause grows.
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

    /// These are the ids of the provider's set from now on. One that is missing is withdrawn and
    /// asks for nothing any more, unless it came less than `settling` ago: then it may be a
    /// replica of the provider that does not know it yet.
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

/// How many fetches may be asked for, as a time: each takes one cool-down of it, and it may run
/// ahead by [`BURST`] of them.
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

    /// Three at once, then one in each cool-down, and three again after as many of them.
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

    /// A key that fetches do not bring asks after 30 s, then 60, 120, 240, and 240 from then on.
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
        // When the sets came, and whether key 1 is known to be absent 29 s and 31 s later.
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
