//! The part of a predicate that `match` of a rule can say: hosts, methods and paths.

use std::fmt::Write as _;

use claimgate_core::request::method;

use crate::import::model::{Match, PathPattern};
use crate::import::predicate::{Path, Predicate, Test, Text, escape};

/// Requests by host, method and path. An empty list stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    hosts: Vec<Text>,
    methods: Vec<String>,
    paths: Vec<Path>,
}

impl Operation {
    /// Takes out of a conjunction what `match` can say. The conjunction of both results equals that of the
    /// operands.
    pub fn split(operands: impl IntoIterator<Item = Predicate>) -> (Self, Predicate) {
        let mut operation = Self::default();
        let mut rest = Vec::new();
        for part in operands.into_iter().flat_map(Predicate::conjuncts) {
            if !operation.take(&part) {
                rest.push(part);
            }
        }
        (operation, Predicate::all(rest).simplified())
    }

    fn take(&mut self, part: &Predicate) -> bool {
        let tests = part.disjuncts().iter().map(|part| match part {
            Predicate::Test(test) => Some(test),
            _ => None,
        });
        let Some(tests) = tests.collect::<Option<Vec<&Test>>>() else {
            return false;
        };
        let hosts = tests.iter().map(|test| match test {
            Test::Host(host) if is_host(host) => Some(host.clone()),
            _ => None,
        });
        if let Some(hosts) = hosts
            .collect::<Option<Vec<_>>>()
            .filter(|_| self.hosts.is_empty())
        {
            self.hosts = hosts;
            return true;
        }
        let methods = tests.iter().map(|test| match test {
            Test::Method(Text::Exact(method)) if method::is_canonical(method) => {
                Some(method.clone())
            }
            _ => None,
        });
        let methods = methods.collect::<Option<Vec<_>>>();
        if let Some(methods) = methods.filter(|_| self.methods.is_empty()) {
            self.methods = methods;
            return true;
        }
        let paths = tests.iter().map(|test| match test {
            Test::Path(path) if is_path(path) => Some(path.clone()),
            _ => None,
        });
        if let Some(paths) = paths
            .collect::<Option<Vec<_>>>()
            .filter(|_| self.paths.is_empty())
        {
            self.paths = paths;
            return true;
        }
        false
    }

    /// The same as a predicate.
    pub fn predicate(&self) -> Predicate {
        let hosts = self.hosts.iter().cloned().map(Test::Host);
        let methods = self
            .methods
            .iter()
            .cloned()
            .map(|it| Test::Method(Text::Exact(it)));
        let paths = self.paths.iter().cloned().map(Test::Path);
        let lists = [
            hosts.collect::<Vec<_>>(),
            methods.collect(),
            paths.collect(),
        ];
        let lists = lists.into_iter().filter(|tests| !tests.is_empty());
        let any = |tests: Vec<Test>| Predicate::any(tests.into_iter().map(Predicate::Test));
        Predicate::all(lists.map(any).collect::<Vec<_>>())
    }

    /// The same as `match` of a rule.
    pub fn as_match(&self) -> Match {
        let hosts = self.hosts.iter().map(|host| match host {
            Text::Suffix(domain) => format!("*{domain}"),
            Text::Exact(host) | Text::Prefix(host) => host.clone(),
            Text::Present => String::new(),
        });
        Match {
            hosts: hosts.collect(),
            methods: self.methods.clone(),
            paths: self.paths.iter().map(pattern).collect(),
            ..Match::default()
        }
    }

    /// Whether some request may belong to both. May say so although none does.
    pub fn overlaps(&self, other: &Self) -> bool {
        both(&self.hosts, &other.hosts, hosts_overlap)
            && both(&self.methods, &other.methods, |one, other| one == other)
            && both(&self.paths, &other.paths, paths_overlap)
    }

    /// Whether every request of `other` belongs to this, too. May miss that.
    pub fn contains(&self, other: &Self) -> bool {
        within(&self.hosts, &other.hosts, host_contains)
            && within(&self.methods, &other.methods, |own, other| own == other)
            && within(&self.paths, &other.paths, path_contains)
    }
}

fn both<T>(one: &[T], other: &[T], overlap: impl Fn(&T, &T) -> bool) -> bool {
    one.is_empty()
        || other.is_empty()
        || one
            .iter()
            .any(|one| other.iter().any(|other| overlap(one, other)))
}

fn within<T>(own: &[T], other: &[T], contains: impl Fn(&T, &T) -> bool) -> bool {
    own.is_empty()
        || (!other.is_empty()
            && other
                .iter()
                .all(|other| own.iter().any(|own| contains(own, other))))
}

/// Whether `hosts` of a rule can say this.
fn is_host(host: &Text) -> bool {
    let fits = |name: &str| {
        let labels = name.split('.');
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
        };
        labels.into_iter().all(is_label)
    };
    match host {
        Text::Exact(host) => fits(host),
        Text::Suffix(domain) => domain.strip_prefix('.').is_some_and(fits),
        Text::Prefix(_) | Text::Present => false,
    }
}

/// Whether `path` of a rule can say this.
fn is_path(path: &Path) -> bool {
    match path {
        Path::Text(Text::Exact(_) | Text::Prefix(_) | Text::Suffix(_))
        | Path::Below(_)
        | Path::Template { .. } => true,
        Path::Text(Text::Present) | Path::WithQuery(_) | Path::Refused(_) => false,
    }
}

fn hosts_overlap(one: &Text, other: &Text) -> bool {
    host_contains(one, other) || host_contains(other, one)
}

fn host_contains(own: &Text, other: &Text) -> bool {
    match (own, other) {
        (Text::Suffix(own), Text::Exact(other) | Text::Suffix(other)) => {
            other.ends_with(own.as_str())
        }
        (own, other) => own == other,
    }
}

/// The text that every matching path begins with, and whether that is the whole path.
fn beginning(path: &Path) -> (&str, bool) {
    match path {
        Path::Text(Text::Exact(text)) => (text, true),
        Path::Text(Text::Prefix(text)) | Path::Below(text) => (text, false),
        Path::Template { lower, .. } => {
            let end = lower.find(|c: char| !(c.is_ascii_alphanumeric() || "/_~".contains(c)));
            (
                lower.get(..end.unwrap_or(lower.len())).unwrap_or_default(),
                false,
            )
        }
        Path::Text(Text::Suffix(_) | Text::Present) | Path::WithQuery(_) | Path::Refused(_) => {
            ("", false)
        }
    }
}

fn paths_overlap(one: &Path, other: &Path) -> bool {
    match (one, other) {
        (Path::Text(Text::Exact(path)), other) | (other, Path::Text(Text::Exact(path))) => {
            match other {
                Path::Text(Text::Exact(other)) => path == other,
                Path::Text(Text::Prefix(prefix)) => path.starts_with(prefix.as_str()),
                Path::Text(Text::Suffix(suffix)) => path.ends_with(suffix.as_str()),
                Path::Below(outer) => is_below(path, outer),
                Path::Template { .. } => path.starts_with(beginning(other).0),
                Path::Text(Text::Present) | Path::WithQuery(_) | Path::Refused(_) => true,
            }
        }
        (one, other) => {
            let ((one, _), (other, _)) = (beginning(one), beginning(other));
            one.starts_with(other) || other.starts_with(one)
        }
    }
}

fn path_contains(own: &Path, other: &Path) -> bool {
    match (own, other) {
        (Path::Text(Text::Prefix(prefix)), other) => {
            beginning(other).0.starts_with(prefix.as_str())
        }
        (Path::Text(Text::Suffix(suffix)), Path::Text(Text::Exact(text) | Text::Suffix(text))) => {
            text.ends_with(suffix.as_str())
        }
        (Path::Below(outer), Path::Text(Text::Exact(path)) | Path::Below(path)) => {
            is_below(path, outer)
        }
        (Path::Below(outer), Path::Text(Text::Prefix(prefix))) => {
            prefix.starts_with(&format!("{outer}/"))
        }
        (own, other) => own == other,
    }
}

fn is_below(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn pattern(path: &Path) -> PathPattern {
    match path {
        Path::Text(Text::Exact(path)) => PathPattern::Exact(encoded(path)),
        Path::Text(Text::Prefix(prefix)) => {
            let regex = format!("{}.*", escape(prefix));
            PathPattern::Regex(regex, Some(format!("{}example", encoded(prefix))))
        }
        Path::Text(Text::Suffix(suffix)) => {
            let regex = format!(".*{}", escape(suffix));
            PathPattern::Regex(regex, Some(format!("/example{}", encoded(suffix))))
        }
        Path::Below(path) => PathPattern::Prefix(encoded(path)),
        Path::Template { lower, .. } => PathPattern::Regex(lower.clone(), None),
        // `is_path` keeps these out.
        Path::Text(Text::Present) | Path::WithQuery(_) | Path::Refused(_) => {
            PathPattern::Regex(".*".to_owned(), None)
        }
    }
}

/// The path as a URL spells it, with the characters encoded that a rule would take for a placeholder.
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for c in path.chars() {
        let is_placeholder = "*{}<>[]^|$?%\"`".contains(c)
            || (c == ':' && encoded.ends_with('/'))
            || c.is_whitespace()
            || !c.is_ascii();
        if is_placeholder {
            for byte in c.to_string().bytes() {
                let _ = write!(encoded, "%{byte:02X}");
            }
        } else {
            encoded.push(c);
        }
    }
    encoded
}
