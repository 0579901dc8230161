//! Regular expressions that take a request one table look-up per byte.
//!
//! The usual engines build their automaton while they match: a request decides how much memory that
//! takes, and a text that outgrows it is matched hundreds of times slower. A [`Pattern`] is a
//! complete deterministic automaton instead, built when the configuration is read. An expression
//! whose automaton would be too large is an error of the configuration.

use std::collections::HashSet;
use std::sync::Arc;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::{Hir, HirKind};

/// The largest automaton, in bytes. Without counted repetitions and Unicode classes one has a few
/// KiB; `\w` takes about 100 KiB.
const MAX_BYTES: usize = 1024 * 1024;

/// The automaton of most expressions that can be used, in one direction or the other, in bytes. Both
/// are tried within it before one that outgrows it is built: that takes 40 ms.
const USUAL_BYTES: usize = 32 * 1024;

/// The most memory that building an automaton takes, in bytes, besides the automaton itself.
const MAX_BYTES_WHILE_BUILDING: usize = 8 * 1024 * 1024;

/// A regular expression, compiled.
#[derive(Clone)]
pub struct Pattern {
    automaton: Arc<dense::DFA<Vec<u32>>>,
    scope: Scope,
    direction: Direction,
}

/// What has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the text.
    Whole,
    /// Any part of the text.
    Part,
}

/// Which way the text is read. Backwards, `.*[a-z]{40}/edit` has a small automaton; forwards, it
/// would have to remember each place where the repetition may have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Pattern {
    /// Compiles an expression (the syntax of the `regex` crate).
    ///
    /// # Errors
    ///
    /// Why it cannot be used, in a line.
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
            // All alternatives count, not the first that matches: only one may take up all.
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

    /// Whether it matches. Takes time in proportion to the text, and no memory.
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

    /// The state before anything is read. The automaton always has the one that `scope` asks for.
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

    /// Whether it matches every path of segments that are lower-case letters: `/a`, `/b/cd`.
    pub fn matches_all_plain_paths(&self) -> bool {
        let automaton = &*self.automaton;
        let Some(start) = self.start() else {
            return false;
        };
        // Each pair of a state and what was read last is followed once.
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

    /// The memory that the automaton takes, in bytes.
    pub fn memory(&self) -> usize {
        self.automaton.memory_usage()
    }
}

/// What of a path was read last.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Read {
    Nothing,
    Slash,
    Letter,
}

/// Whether it begins with `.*` or the like, so that the other direction is likely to be smaller.
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
                         counted repetitions (`{1,40}`) and Unicode classes make it so: write `+` \
                         or `*`, and `(?-u:\\w)` or `[a-z0-9_]` for `\\w`";

/// The last line of what the parser says, which is the cause.
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

    /// The same verdict as that of another engine.
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
