//! Whether one pattern matches everything that another one matches.

use super::path_regex::Simple;
use super::{HostPattern, McpPattern, PathPattern, PathRegex};

/// Whether `own` matches every host that `later` matches.
pub fn hosts(own: &HostPattern, later: &HostPattern) -> bool {
    match (own, later) {
        (HostPattern::Exact(own), HostPattern::Exact(later)) => own == later,
        (HostPattern::Below(_), HostPattern::Exact(later)) => own.is_of(later),
        (HostPattern::Below(domain), HostPattern::Below(later)) => {
            domain == later || own.is_of(later)
        }
        (HostPattern::Exact(_), HostPattern::Below(_)) => false,
    }
}

/// Whether `own` matches every path that `later` matches. May miss this if one of them is a regular
/// expression.
pub fn paths(own: &PathPattern, later: &PathPattern) -> bool {
    match (PathSet::of(own), PathSet::of(later)) {
        (PathSet::One(own), PathSet::One(later)) => own == later,
        (PathSet::Beginning(own), later) => later.all_begin(|text| text.starts_with(&own)),
        (PathSet::Below(own), PathSet::One(later) | PathSet::Below(later)) => {
            own == later || is_below(&own, &later)
        }
        (PathSet::Below(own), later) => later.all_begin(|text| is_below(&own, text)),
        (PathSet::Some(own), PathSet::One(later)) => own.is_match(&later),
        (PathSet::Some(own), PathSet::Some(later)) => own.text() == later.text(),
        (PathSet::One(_) | PathSet::Some(_), _) => false,
    }
}

/// Whether `own` matches every MCP call that `later` matches.
pub fn calls(own: &McpPattern, later: &McpPattern) -> bool {
    let McpPattern { methods, names } = own;
    let holds = |own: &[String], later: &[String]| {
        own.is_empty() || (!later.is_empty() && later.iter().all(|text| own.contains(text)))
    };
    holds(methods, &later.methods) && holds(names, &later.names)
}

/// Whether the pattern matches every path that begins with `/`.
pub fn is_every_path(own: &PathPattern) -> bool {
    paths(own, &PathPattern::Prefix(String::new()))
}

/// Whether the pattern matches every path, or all except paths that few APIs have.
pub fn is_nearly_every_path(own: &PathPattern) -> bool {
    match own {
        PathPattern::Regex(regex) => regex.is_about_plain_paths(),
        PathPattern::Exact(_) | PathPattern::Prefix(_) => is_every_path(own),
    }
}

/// Whether the pattern is not bound to a first segment, so that the path keeps no request out.
pub fn is_anywhere(own: &PathPattern) -> bool {
    match own {
        PathPattern::Exact(_) => false,
        PathPattern::Prefix(prefix) => prefix.is_empty(),
        PathPattern::Regex(regex) => regex.is_anywhere(),
    }
}

/// The segments that all matching paths begin with, as far as that is certain.
pub fn certain_part(own: &PathPattern) -> String {
    match PathSet::of(own) {
        PathSet::One(path) | PathSet::Below(path) => path,
        PathSet::Beginning(text) => whole_segments(&text),
        PathSet::Some(regex) => whole_segments(regex.literal_prefix()),
    }
}

fn whole_segments(text: &str) -> String {
    let whole = text.rsplit_once('/');
    whole.map_or("", |(whole, _)| whole).to_owned()
}

/// The paths that a pattern matches.
enum PathSet<'p> {
    One(String),
    /// This path and every path below it. Empty for `/`, which covers every path.
    Below(String),
    /// Every path that begins with this text.
    Beginning(String),
    /// The paths that an expression matches.
    Some(&'p PathRegex),
}

impl<'p> PathSet<'p> {
    fn of(pattern: &'p PathPattern) -> Self {
        match pattern {
            PathPattern::Exact(path) => Self::One(path.clone()),
            PathPattern::Prefix(path) => Self::Below(path.clone()),
            PathPattern::Regex(regex) => match regex.simple() {
                Some(Simple::Exact(path)) => Self::One(path),
                Some(Simple::Prefix(path)) => Self::Below(path),
                Some(Simple::Beginning(text)) => Self::Beginning(text),
                None => Self::Some(regex),
            },
        }
    }

    /// Whether `holds` is true for some beginning of each path.
    fn all_begin(&self, holds: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Below(path) if path.is_empty() => holds("/"),
            Self::One(text) | Self::Below(text) => holds(text),
            Self::Beginning(text) => holds(text) || (text.is_empty() && holds("/")),
            Self::Some(regex) => {
                let beginnings = regex.beginnings();
                beginnings.is_some_and(|texts| texts.iter().all(|text| holds(text)))
                    || (regex.is_about_paths() && holds("/"))
            }
        }
    }
}

fn is_below(path: &str, text: &str) -> bool {
    text.strip_prefix(path)
        .is_some_and(|rest| rest.starts_with('/'))
}
