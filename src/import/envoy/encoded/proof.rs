//! Shows that an expression for decoded paths decides as one for encoded paths.
//!
//! Both run over every path at the same time, the first one behind a decoder. Automata have finitely many states,
//! so all combinations of states can be visited.

use std::collections::HashSet;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// The maximum size of an automaton in bytes. claimgate accepts none that is larger.
const MAX_BYTES: usize = 1024 * 1024;

/// The maximum number of combinations of states. Usual expressions have some hundreds.
const MAX_STATES: usize = 20_000;

/// Whether a path that claimgate accepts can contain the character without an escape.
pub(super) fn is_plain(c: char) -> bool {
    matches!(c, '!'..='~') && !matches!(c, '%' | '\\' | '#' | ';' | '?')
}

/// Whether the expression for decoded paths matches exactly the paths whose usual encoding the original matches.
/// In it, only characters that need an escape have one, in upper case.
pub(super) fn is_same(original: &Hir, decoded: &str) -> bool {
    let decoded = regex_syntax::parse(decoded).ok();
    let pair = decoded.and_then(|decoded| Some((Machine::of(original)?, Machine::of(&decoded)?)));
    let Some((original, decoded)) = pair else {
        return false;
    };
    let first = State {
        original: original.start,
        decoded: decoded.start,
        at: At::Start,
        rest: Rest::NONE,
    };
    let mut seen = HashSet::from([first]);
    let mut left = vec![first];
    while let Some(state) = left.pop() {
        let is_path = matches!(state.at, At::Slash | At::Inside) && state.rest == Rest::NONE;
        if is_path && original.accepts(state.original) != decoded.accepts(state.decoded) {
            return false;
        }
        for byte in b'!'..=b'~' {
            let Some((at, rest, character)) = state.after(byte) else {
                continue;
            };
            let next = State {
                original: original.next(state.original, byte),
                decoded: match character {
                    Some(byte) => decoded.next(state.decoded, byte),
                    None => state.decoded,
                },
                at,
                rest,
            };
            if seen.len() > MAX_STATES {
                return false;
            }
            if seen.insert(next) {
                left.push(next);
            }
        }
    }
    true
}

/// An expression for a whole text.
struct Machine {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Machine {
    fn of(expression: &Hir) -> Option<Self> {
        let nfa = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(MAX_BYTES));
        let nfa: NFA = thompson::Compiler::new()
            .configure(nfa)
            .build_from_hir(expression)
            .ok()?;
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(MAX_BYTES))
            .determinize_size_limit(Some(8 * MAX_BYTES));
        let automaton = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&nfa)
            .ok()?;
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let start = automaton.start_state(&anchored).ok()?;
        Some(Self { automaton, start })
    }

    fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(state, byte)
    }

    fn accepts(&self, state: StateID) -> bool {
        let end = self.automaton.next_eoi_state(state);
        self.automaton.is_match_state(end)
    }
}

/// Where both expressions and the decoder are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    original: StateID,
    decoded: StateID,
    at: At,
    rest: Rest,
}

/// The place in an encoded path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Start,
    /// After a slash, which no other may follow.
    Slash,
    Inside,
    /// After `%`.
    Sign,
    /// After `%` and this digit.
    Digit(u8),
}

/// The bytes that a character of UTF-8 still needs: their number, and the range of the next one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Rest {
    count: u8,
    least: u8,
    most: u8,
}

impl Rest {
    const NONE: Self = Self::of(0);

    const fn of(count: u8) -> Self {
        Self {
            count,
            least: 0x80,
            most: 0xbf,
        }
    }

    /// After this byte of an escape. `None` if no path has it there.
    fn after(self, byte: u8) -> Option<Self> {
        if self.count > 0 {
            let fits = (self.least..=self.most).contains(&byte);
            return fits.then_some(Self::of(self.count - 1));
        }
        let first = |count, least, most| Self { count, least, most };
        // RFC 3629 §4.
        Some(match byte {
            b' ' | b'%' => Self::NONE,
            0xc2..=0xdf => Self::of(1),
            0xe0 => first(2, 0xa0, 0xbf),
            0xed => first(2, 0x80, 0x9f),
            0xe1..=0xef => Self::of(2),
            0xf0 => first(3, 0x90, 0xbf),
            0xf1..=0xf3 => Self::of(3),
            0xf4 => first(3, 0x80, 0x8f),
            _ => return None,
        })
    }
}

impl State {
    /// Where the decoder is after this byte, and the byte that it has decoded. `None` if no path goes on so.
    fn after(&self, byte: u8) -> Option<(At, Rest, Option<u8>)> {
        let digit = char::from(byte)
            .to_digit(16)
            .filter(|_| !byte.is_ascii_lowercase())
            .and_then(|digit| u8::try_from(digit).ok());
        match (self.at, byte) {
            (At::Sign, _) => Some((At::Digit(digit?), self.rest, None)),
            (At::Digit(high), _) => {
                let decoded = high << 4 | digit?;
                Some((At::Inside, self.rest.after(decoded)?, Some(decoded)))
            }
            (At::Slash | At::Inside, b'%') => Some((At::Sign, self.rest, None)),
            _ if self.rest != Rest::NONE => None,
            (At::Start | At::Inside, b'/') => Some((At::Slash, self.rest, Some(byte))),
            (At::Start, _) | (At::Slash, b'/') => None,
            _ => is_plain(char::from(byte)).then_some((At::Inside, self.rest, Some(byte))),
        }
    }
}
