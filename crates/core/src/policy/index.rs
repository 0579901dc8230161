//! Finds the first rule that is about a request without asking each of them: by host, then by the
//! segments of the path.
//!
//! INVARIANT: the index only leaves out rules whose [`Matcher`] would refuse; whether a rule that
//! is left is about a request, its matcher alone decides.

use std::collections::HashMap;
use std::iter;

use super::matcher::{HostPattern, Matcher, PathPattern, Target};

/// Rules by where they may match.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Rules about one host, by that.
    exact: HashMap<String, PathTrie>,
    /// Rules about hosts below a domain, by that.
    below: HashMap<String, PathTrie>,
    /// How many labels the longest of those domains has.
    most_labels: usize,
    /// Rules about any host.
    any: PathTrie,
}

/// Rules by path: what follows a slash leads from one to the next.
#[derive(Clone, Debug, Default)]
struct PathTrie {
    /// Rules that may be about this path.
    here: Vec<usize>,
    /// Rules that may be about this path, and every one below it.
    onward: Vec<usize>,
    children: HashMap<String, PathTrie>,
    /// How many regular expressions the rules have that are listed here.
    expressions: usize,
}

impl Index {
    /// An index of these rules, which are called by their position; those without a matcher are
    /// about no request.
    pub(super) fn of<'m>(matchers: impl Iterator<Item = Option<&'m Matcher>>) -> Self {
        let mut index = Self::default();
        let matchers = matchers.enumerate();
        for (rule, matcher) in matchers.filter_map(|(rule, matcher)| Some((rule, matcher?))) {
            if matcher.hosts.is_empty() {
                index.any.add(rule, matcher);
            }
            for host in &matcher.hosts {
                let paths = match host {
                    HostPattern::Exact(host) => index.exact.entry(host.clone()).or_default(),
                    HostPattern::Below(domain) => {
                        let labels = domain.split('.').count();
                        index.most_labels = index.most_labels.max(labels);
                        index.below.entry(domain.clone()).or_default()
                    }
                };
                paths.add(rule, matcher);
            }
        }
        index
    }

    /// The first rule that `is_about` the request.
    pub(super) fn first(
        &self,
        target: &Target<'_>,
        mut is_about: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut first = None;
        let mut search = |paths: &PathTrie| first = paths.first(&target.path, first, &mut is_about);
        search(&self.any);
        let host = target.host.as_ref();
        self.exact.get(host).into_iter().for_each(&mut search);
        if !self.below.is_empty() {
            // From the top-level domain down, as far as any domain that is known.
            let dots = host.rmatch_indices('.').take(self.most_labels);
            for (dot, _) in dots {
                let domain = host
                    .get(dot + 1..)
                    .and_then(|domain| self.below.get(domain));
                domain.into_iter().for_each(&mut search);
            }
        }
        first
    }

    /// The most regular expressions that a request can be compared with.
    pub(super) fn most_expressions(&self) -> usize {
        let exact = self.exact.values().map(PathTrie::most_expressions).max();
        // A host is below each of the domains that it ends in.
        let below = self.below.keys().map(|domain| {
            let dots = domain.match_indices('.').map(|(dot, _)| dot + 1);
            let ends = iter::once(0)
                .chain(dots)
                .filter_map(|from| domain.get(from..));
            let paths = ends.filter_map(|end| self.below.get(end));
            paths.map(PathTrie::most_expressions).sum::<usize>()
        });
        self.any.most_expressions() + exact.unwrap_or(0) + below.max().unwrap_or(0)
    }
}

impl PathTrie {
    /// Lists a rule where its paths lead, but only once on the way to each: a request asks it there
    /// about all of its paths.
    fn add(&mut self, rule: usize, matcher: &Matcher) {
        let expressions = matcher.expressions().count();
        let mut places: Vec<(&str, Reach)> = matcher.paths.iter().map(place).collect();
        if places.is_empty() {
            places.push(("", Reach::Below));
        }
        places.sort_by_key(|(path, reach)| (path.len(), *reach));
        for (path, reach) in places {
            self.list(rule, path, reach, expressions);
        }
    }

    fn list(&mut self, rule: usize, path: &str, reach: Reach, expressions: usize) {
        let mut paths = self;
        // Rules come in their order, so that one that is listed already is the last.
        let mut is_listed = paths.onward.last() == Some(&rule);
        for segment in path.split('/').skip(1) {
            paths = paths.children.entry(segment.to_owned()).or_default();
            is_listed |= paths.onward.last() == Some(&rule);
        }
        let list = match reach {
            Reach::Here => &mut paths.here,
            Reach::Below => &mut paths.onward,
        };
        if !is_listed && list.last() != Some(&rule) {
            list.push(rule);
            paths.expressions += expressions;
        }
    }

    fn most_expressions(&self) -> usize {
        let children = self.children.values().map(Self::most_expressions);
        self.expressions + children.max().unwrap_or(0)
    }

    /// The first rule, if there is one before `first`.
    fn first(
        &self,
        path: &str,
        mut first: Option<usize>,
        is_about: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut look = |rules: &[usize]| {
            let earlier = rules
                .iter()
                .copied()
                .take_while(|rule| first.is_none_or(|first| *rule < first))
                .find(|rule| is_about(*rule));
            first = earlier.or(first);
        };
        let mut paths = self;
        look(&paths.onward);
        for segment in path.split('/').skip(1) {
            match paths.children.get(segment) {
                Some(child) => paths = child,
                None => return first,
            }
            look(&paths.onward);
        }
        look(&paths.here);
        first
    }
}

/// How far a rule reaches from its place in the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// It may be about this path, and every one below it.
    Below,
    /// It may be about this path.
    Here,
}

/// Where a pattern is listed.
fn place(pattern: &PathPattern) -> (&str, Reach) {
    match pattern {
        PathPattern::Exact(path) => (path, Reach::Here),
        PathPattern::Prefix(prefix) => (prefix, Reach::Below),
        PathPattern::Regex(regex) => {
            let prefix = regex.literal_prefix();
            let whole_segments = prefix.rsplit_once('/').map_or("", |(whole, _)| whole);
            (whole_segments, Reach::Below)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::matcher::{McpCall, Observed, PathRegex};
    use crate::request::Request;

    /// However many rules there are, those about other hosts and paths are not asked.
    #[test]
    fn few_are_asked() {
        let matchers: Vec<Matcher> = (0..10_000)
            .map(|number| match number % 4 {
                0 => Matcher {
                    paths: vec![PathPattern::Prefix(format!("/service-{number}"))],
                    ..Matcher::default()
                },
                1 => Matcher {
                    hosts: vec![HostPattern::Exact(format!("s{number}.example.org"))],
                    ..Matcher::default()
                },
                2 => Matcher {
                    hosts: vec![HostPattern::Below(format!("t{number}.example.org"))],
                    ..Matcher::default()
                },
                _ => {
                    let regex = PathRegex::compile(&format!("/team/{number}/[0-9]+")).unwrap();
                    Matcher {
                        paths: vec![PathPattern::Regex(regex)],
                        ..Matcher::default()
                    }
                }
            })
            .collect();
        let index = Index::of(matchers.iter().map(Some));
        for (host, path, expected) in [
            ("a.example", "/service-9996/x", Some(9996)),
            ("s9997.example.org", "/service-9996/x", Some(9996)),
            ("a.b.t9998.example.org", "/", Some(9998)),
            ("a.example", "/team/9999/7", Some(9999)),
            ("a.example", "/team/9999/x", None),
            ("a.example", "/", None),
        ] {
            let request = Request::default();
            let target = Target {
                request: &request,
                host: host.into(),
                path: path.into(),
                headers: Observed::default(),
                mcp: McpCall::None,
            };
            let mut asked = 0;
            let first = index.first(&target, |rule| {
                asked += 1;
                matchers[rule].check(&target).is_ok()
            });
            assert_eq!(first, expected, "{host}{path}");
            assert!(asked <= 2, "{host}{path}: {asked} rules were asked");
        }
    }

    /// A rule with many paths and hosts is asked once, whatever leads to it.
    #[test]
    fn each_is_asked_once() {
        let nested = (1..200).map(|depth| PathPattern::Prefix("/a".repeat(depth)));
        let regexes = (0..200).map(|number| {
            PathPattern::Regex(PathRegex::compile(&format!("/a/.*/{number}")).unwrap())
        });
        let exact = (1..200).map(|depth| PathPattern::Exact("/a".repeat(depth)));
        let matcher = Matcher {
            paths: exact.chain(regexes).chain(nested).collect(),
            methods: vec!["POST".to_owned()],
            ..Matcher::default()
        };
        let index = Index::of([Some(&matcher)].into_iter());
        assert_eq!(index.most_expressions(), 200);
        let request = Request::default();
        let target = Target {
            request: &request,
            host: "".into(),
            path: "/a".repeat(300).into(),
            headers: Observed::default(),
            mcp: McpCall::None,
        };
        let mut asked = 0;
        let first = index.first(&target, |_| {
            asked += 1;
            false
        });
        assert_eq!((first, asked), (None, 1));
    }
}
