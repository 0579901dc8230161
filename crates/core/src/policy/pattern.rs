//! Regular expressions that cost a request one table lookup per byte.
//!
//! The usual engines build their automaton while they match. Then a request decides how much memory
//! that takes, and a text that outgrows the memory is matched hundreds of times slower. A
//! [`Pattern`] is instead a complete deterministic automaton, built when the configuration is read.
//! An expression whose automaton would be too large is a configuration error.

use std::collections::HashSet;
use std::sync::Arc;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::{Hir, HirKind};

/// The maximum size of an automaton in bytes. Without counted repetitions and Unicode classes, an
/// automaton has a few KiB; `\w` takes about 100 KiB.
const MAX_BYTES: usize = 1024 * 1024;

/// The size in bytes that suffices for most usable expressions in one of the two directions. Both
/// directions are tried within this size first, because building a larger automaton can take 40 ms.
const USUAL_BYTES: usize = 32 * 1024;

/// The maximum memory in bytes for building an automaton, besides the automaton itself.
const MAX_BYTES_WHILE_BUILDING: usize = 8 * 1024 * 1024;

/// A compiled regular expression.
#[derive(Clone)]
pub struct Pattern {
    automaton: Arc<dense::DFA<Vec<u32>>>,
    scope: Scope,
    direction: Direction,
}

/// What must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole text.
    Whole,
    /// Any part of the text.
    Part,
}

/// The direction in which the text is read. Backwards, `.*[a-z]{40}/edit` has a small automaton.
/// Forwards, the automaton would have to remember each position where the repetition may have
/// begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Pattern {
    /// Compiles an expression in the syntax of the `regex` crate.
    ///
    /// # Errors
    ///
    /// Says in one line why the expression cannot be used.
    pub fn compile(text: &str, scope: Scope) -> Result<Self, String> {
        let expression = regex_syntax::parse(text).map_err(|error| syntax(&error.to_string()))?;
        let (first, second) = match begins_with_anything(&expression) {
            true => (Direction::Backward, Direction::Forward),
            false => (Direction::Forward, Direction::Backward),
        };
        Self::build(&expression, scope, first, USUAL_BYTES)
            .or_else(|_| Self::build(&expression, scope, second, USUAL_BYTES))
            .or_else(|_| Self::build(&expression, scope, first, MAX_BYTES))
            .or_else(|why| Self::build(&expression, scope, second, MAX_BYTES).map_err(|_| why))
    }

    fn build(
        expression: &Hir,
        scope: Scope,
        direction: Direction,
        max_bytes: usize,
    ) -> Result<Self, String> {
        let nfa = thompson::Config::new()
            .reverse(direction == Direction::Backward)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_BYTES));
        let nfa: NFA = thompson::Compiler::new()
            .configure(nfa)
            .build_from_hir(expression)
            .map_err(|_| TOO_LARGE.to_owned())?;
        let (start, matches) = match scope {
            // All alternatives must be tried, because only one may match the whole text.
            Scope::Whole => (StartKind::Anchored, MatchKind::All),
            Scope::Part => (StartKind::Unanchored, MatchKind::LeftmostFirst),
        };
        let automaton = dense::Config::new()
            .start_kind(start)
            .match_kind(matches)
            .accelerate(false)
            .dfa_size_limit(Some(max_bytes))
            .determinize_size_limit(Some(MAX_BYTES_WHILE_BUILDING.min(8 * max_bytes)));
        let automaton = dense::Builder::new()
            .configure(automaton)
            .build_from_nfa(&nfa)
            .map_err(|error| match error.is_size_limit_exceeded() {
                true => TOO_LARGE.to_owned(),
                false => "`\\b` and `\\B` must be limited to ASCII: write `(?-u:\\b)`".to_owned(),
            })?;
        Ok(Self {
            automaton: Arc::new(automaton),
            scope,
            direction,
        })
    }

    /// Whether the expression matches. Takes time proportional to the text, and no memory.
    pub fn is_match(&self, text: &str) -> bool {
        let Some(start) = self.start() else {
            return false;
        };
        let bytes = text.bytes();
        match self.direction {
            Direction::Forward => self.run(start, bytes),
            Direction::Backward => self.run(start, bytes.rev()),
        }
    }

    /// The start state. The automaton always has the one for its `scope`.
    fn start(&self) -> Option<StateID> {
        let anchored = match self.scope {
            Scope::Whole => Anchored::Yes,
            Scope::Part => Anchored::No,
        };
        let config = start::Config::new().anchored(anchored);
        self.automaton.start_state(&config).ok()
    }

    fn run(&self, start: StateID, bytes: impl Iterator<Item = u8>) -> bool {
        let automaton = &*self.automaton;
        let mut state = start;
        for byte in bytes {
            state = automaton.next_state(state, byte);
            if !automaton.is_special_state(state) {
                continue;
            }
            if automaton.is_dead_state(state) || automaton.is_quit_state(state) {
                return false;
            }
            if self.scope == Scope::Part && automaton.is_match_state(state) {
                return true;
            }
        }
        automaton.is_match_state(automaton.next_eoi_state(state))
    }

    /// Whether the expression matches every path whose segments are lower-case letters: `/a`,
    /// `/b/cd`.
    pub fn matches_all_plain_paths(&self) -> bool {
        let automaton = &*self.automaton;
        let Some(start) = self.start() else {
            return false;
        };
        // Follows each pair of a state and the last byte's kind once.
        let mut seen = HashSet::from([(start, Read::Nothing)]);
        let mut left = vec![(start, Read::Nothing)];
        while let Some((state, read)) = left.pop() {
            let is_path = match self.direction {
                Direction::Forward => read == Read::Letter,
                Direction::Backward => read == Read::Slash,
            };
            if is_path && !automaton.is_match_state(automaton.next_eoi_state(state)) {
                return false;
            }
            let takes_slash = match self.direction {
                Direction::Forward => read != Read::Slash,
                Direction::Backward => read == Read::Letter,
            };
            let takes_letter = self.direction == Direction::Backward || read != Read::Nothing;
            let letters = (b'a'..=b'z').filter(|_| takes_letter);
            let letters = letters.map(|letter| (letter, Read::Letter));
            let slash = takes_slash.then_some((b'/', Read::Slash));
            for (byte, read) in letters.chain(slash) {
                let next = (automaton.next_state(state, byte), read);
                if seen.insert(next) {
                    left.push(next);
                }
            }
        }
        true
    }

    /// The memory of the automaton, in bytes.
    pub fn memory(&self) -> usize {
        self.automaton.memory_usage()
    }
}

/// The part of a path that was read last.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Read {
    Nothing,
    Slash,
    Letter,
}

/// Whether the expression begins with an unbounded part, such as `.*`. Then the automaton is
/// probably smaller in the other direction.
fn begins_with_anything(expression: &Hir) -> bool {
    match expression.kind() {
        HirKind::Repetition(repetition) => repetition.max.is_none(),
        HirKind::Capture(capture) => begins_with_anything(&capture.sub),
        HirKind::Concat(parts) => parts.first().is_some_and(begins_with_anything),
        _ => false,
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            automaton: _,
            scope,
            direction,
        } = self;
        f.debug_struct("Pattern")
            .field("scope", scope)
            .field("direction", direction)
            .finish_non_exhaustive()
    }
}

const TOO_LARGE: &str = "its automaton would be too large to match every request in bounded time; \
                         the cause is counted repetitions (`{1,40}`) or Unicode classes: write `+` \
                         or `*`, and `(?-u:\\w)` or `[a-z0-9_]` for `\\w`";

/// The last line of the parser's message, which states the cause.
fn syntax(error: &str) -> String {
    let why = error.lines().last().unwrap_or_default();
    format!(
        "not a regular expression: {}",
        why.trim_start_matches("error: ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every verdict agrees with that of the `regex` crate.
    #[test]
    fn matches_as_the_regex_crate_does() {
        let expressions = [
            "a|ab",
            "(a|ab)(c|bcd)",
            "",
            "a*",
            "a*?",
            "/[^/]+",
            ".*-[a-z0-9-]{1,40}/edit1",
            ".*x[a-z]{4}/7",
            r"/\d+/\w+",
            "(?i)/Admin",
            "^/a$",
            "/a.c",
            r"/(?-u:\b)a(?-u:\b)/",
            "a{2,3}",
            "[^a]b",
            "(?s).*\n.",
            "é+",
            "$",
            "^",
        ];
        let texts = [
            "",
            "a",
            "ab",
            "abcd",
            "acd",
            "aaaa",
            "/x",
            "/x/y",
            "q-a-b/edit1",
            "q-a-b/edit11",
            "axabcd/7",
            "xabcde/7",
            "/12/ü9",
            "/٣/a",
            "/aDMIN",
            "/a",
            "/abc",
            "/aéc",
            "/a/",
            "bb",
            "éé",
            "\n",
            "a\nb",
            "//a//",
        ];
        for expression in expressions {
            let whole = Pattern::compile(expression, Scope::Whole).unwrap();
            let part = Pattern::compile(expression, Scope::Part).unwrap();
            let expected_whole = regex::Regex::new(&format!(r"\A(?:{expression})\z")).unwrap();
            let expected_part = regex::Regex::new(expression).unwrap();
            for text in texts {
                assert_eq!(
                    whole.is_match(text),
                    expected_whole.is_match(text),
                    "{expression} {text:?}"
                );
                assert_eq!(
                    part.is_match(text),
                    expected_part.is_match(text),
                    "{expression} in {text:?}"
                );
            }
        }
    }

    #[test]
    fn all_plain_paths() {
        for (expression, expected) in [
            (".*", true),
            ("/.*", true),
            ("/[^/]*(/.*)?", true),
            ("/([^/]+/?)*", true),
            ("(/[^/]+)*/?", true),
            ("(/[a-z0-9-]+)+", true),
            ("/[a-z/]*", true),
            ("/[a-m].*|/[n-z].*", true),
            (".*[a-z]", true),
            (".*[a-z]+/?", true),
            ("/[a-z]+", false),
            ("/[a-z]+(/[a-z]+)?", false),
            ("/.+/.*", false),
            ("/[^i].*", false),
            ("/public(/.*)?", false),
            (r".*\.css", false),
            (".*/x", false),
            ("", false),
        ] {
            let pattern = Pattern::compile(expression, Scope::Whole).unwrap();
            assert_eq!(pattern.matches_all_plain_paths(), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        for (expression, is_accepted) in [
            (".*x[a-z]{40}/7", true),
            (".*-[a-z0-9-]{1,40}/edit7", true),
            (r"/users/\w+/edit", true),
            (r".*x(?-u:\w){10}/7", true),
            (r".*x\w{100}.*y\w{100}", false),
            (r".*x\w{10}/7", false),
            (".*[ab][a-z]{60}.*[cd][a-z]{60}/", true),
            (".*a[a-z]{20}b.*", false),
            (r"((a{100}){100}){100}", false),
            (r"/\bx", false),
        ] {
            let pattern = Pattern::compile(expression, Scope::Whole);
            assert_eq!(pattern.is_ok(), is_accepted, "{expression}");
        }
    }
}
