use super::*;

fn head(instance: &str, n: u64, cause: Cause) -> ConfigurationRecord {
    ConfigurationRecord {
        n,
        time: String::new(),
        cause,
        instance: instance.to_owned(),
        version: String::new(),
        configuration: String::new(),
        claims: Vec::new(),
        headers: Vec::new(),
        other_headers: false,
        allow: "all".to_owned(),
        sample_ratio: None,
    }
}

/// A line of a file.
#[derive(Clone, Copy)]
enum Step {
    File,
    Head(&'static str, u64, Cause),
    Decisions(u64, u64),
    Lost(u64, u64),
    Stopped(u64),
    Unreadable,
    UnknownHead,
}

/// What is missing after these lines, and which decisions counted.
fn read(steps: &[Step]) -> (Missing, Vec<Place>) {
    let mut sequences = Sequences::default();
    let mut places = Vec::new();
    for step in steps {
        match *step {
            Step::File => sequences.begin_file(),
            Step::Head(instance, n, cause) => {
                sequences.configuration(&head(instance, n, cause));
            }
            Step::Decisions(first, last) => {
                places.extend((first..=last).map(|n| sequences.decision(n)));
            }
            Step::Lost(n, count) => sequences.lost(n, count),
            Step::Stopped(n) => sequences.stopped(n),
            Step::Unreadable => sequences.unreadable(),
            Step::UnknownHead => sequences.unknown_configuration(),
        }
    }
    (sequences.finish(), places)
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn what_is_missing() {
    use Cause::{Reopened, Rotated, Started};
    use Step::*;
    let nothing = Missing::default();
    for (what, steps, expected) in [
        (
            "files in any order",
            &[
                File,
                Head("a", 4, Rotated),
                Decisions(4, 4),
                Lost(5, 3),
                Decisions(8, 8),
                Stopped(9),
                Head("b", 1, Started),
                Decisions(1, 1),
                Decisions(3, 3),
                Unreadable,
                Head("c", 1, Started),
                File,
                Head("a", 1, Started),
                Decisions(1, 3),
            ][..],
            Missing {
                lost: 3,
                gaps: 1,
                unreadable: 1,
                unclean_ends: 1,
                ..nothing
            },
        ),
        (
            "a file given twice counts once, with all that it says",
            &[
                File,
                Head("z", 1, Started),
                Head("a", 1, Started),
                Decisions(1, 3),
                Lost(4, 2),
                Decisions(8, 9),
                File,
                Head("z", 1, Started),
                Head("a", 1, Started),
                Decisions(1, 3),
                Lost(4, 2),
                Decisions(8, 9),
            ],
            Missing {
                lost: 2,
                gaps: 2,
                read_before: 5,
                unclean_ends: 1,
                ..nothing
            },
        ),
        (
            "files that overlap do not hide a gap",
            &[
                File,
                Head("a", 1, Started),
                Decisions(1, 5),
                File,
                Head("a", 3, Reopened),
                Decisions(3, 5),
                Decisions(9, 9),
            ],
            Missing {
                gaps: 3,
                read_before: 3,
                ..nothing
            },
        ),
        (
            "the numbers of another instance are others",
            &[
                File,
                Head("a", 1, Started),
                Decisions(1, 2),
                Stopped(3),
                Head("b", 1, Started),
                Decisions(1, 2),
                Stopped(3),
            ],
            nothing,
        ),
        (
            "earlier files were removed",
            &[
                File,
                Head("a", 101, Rotated),
                Decisions(101, 104),
                Decisions(106, 106),
            ],
            Missing {
                gaps: 1,
                late_instances: 1,
                earlier: 100,
                ..nothing
            },
        ),
        (
            "the end of a file was removed",
            &[
                File,
                Head("a", 1, Started),
                Decisions(1, 2),
                File,
                Head("a", 6, Rotated),
                Stopped(8),
            ],
            Missing { gaps: 5, ..nothing },
        ),
        (
            "a count that no log reaches",
            &[
                File,
                Head("a", 1, Started),
                Lost(1, u64::MAX),
                Lost(u64::MAX, u64::MAX),
                Lost(0, 0),
                Decisions(5, 5),
                Decisions(u64::MAX, u64::MAX),
                Stopped(u64::MAX),
                Head("b", u64::MAX, Rotated),
                Head("c", u64::MAX, Rotated),
            ],
            Missing {
                lost: u64::MAX - 2,
                late_instances: 2,
                earlier: u64::MAX,
                ..nothing
            },
        ),
    ] {
        let (missing, places) = read(steps);
        assert_eq!(missing, expected, "{what}");
        let counted = places.iter().filter(|place| **place == Place::ReadBefore);
        assert_eq!(counted.count() as u64, expected.read_before, "{what}");
    }
}

/// Decisions do not count for an instance that did not write them.
#[test]
fn whose_decisions() {
    use Cause::Started;
    use Place::{New, Unknown};
    use Step::*;
    for (what, steps, expected) in [
        (
            "no first line",
            &[
                File,
                Decisions(4, 5),
                Head("a", 1, Started),
                Decisions(1, 1),
            ][..],
            &[Unknown, Unknown, New][..],
        ),
        (
            "the earlier file's instance is not this one's",
            &[File, Head("a", 1, Started), File, Decisions(1, 1)],
            &[Unknown],
        ),
        (
            "an unknown first line",
            &[
                File,
                Head("a", 1, Started),
                Decisions(1, 1),
                UnknownHead,
                Decisions(2, 2),
            ],
            &[New, Unknown],
        ),
        (
            "a line that may have been the first of another instance",
            &[
                File,
                Head("a", 1, Started),
                Decisions(1, 2),
                Unreadable,
                Decisions(1, 1),
            ],
            &[New, New, Unknown],
        ),
        (
            "a decision that cannot be read",
            &[
                File,
                Head("a", 1, Started),
                Decisions(1, 1),
                Unreadable,
                Decisions(3, 3),
            ],
            &[New, New],
        ),
    ] {
        assert_eq!(read(steps).1, expected, "{what}");
    }
}

/// Neither instances nor gaps take memory without a limit.
#[test]
fn memory_is_limited() {
    let mut sequences = Sequences::default();
    sequences.configuration(&head("a", 1, Cause::Started));
    for n in 1..=MAX_RANGES as u64 + 10 {
        assert_eq!(sequences.decision(2 * n), Place::New);
    }
    assert!(sequences.ranges <= MAX_RANGES);
    assert_eq!(sequences.decision(2), Place::ReadBefore);
    for instance in 0..=MAX_INSTANCES {
        sequences.configuration(&head(&instance.to_string(), 1, Cause::Started));
    }
    assert!(sequences.seen.len() <= MAX_INSTANCES);
    assert!(sequences.finish().is_unchecked);
}
