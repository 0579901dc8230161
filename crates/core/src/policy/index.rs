//! Finds the first rule that matches a request without checking every rule: first by host, then by
//! the segments of the path.
//!
//! INVARIANT: the index leaves out only rules whose [`Matcher`] would refuse the request. For the
//! others, the matcher alone decides.

use std::collections::HashMap;
use std::iter;

use super::matcher::{HostPattern, Matcher, PathPattern, Target};

/// Rules by the hosts and paths that they may match.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Rules for one host, keyed by host.
    exact: HashMap<String, PathTrie>,
    /// Rules for the hosts below a domain, keyed by domain.
    below: HashMap<String, PathTrie>,
    /// The number of labels in the longest of those domains.
    max_labels: usize,
    /// Rules for any host.
    any: PathTrie,
}

/// Rules by path: a trie in which each path segment leads to a child.
#[derive(Clone, Debug, Default)]
struct PathTrie {
    /// Rules that may match this path.
    here: Vec<usize>,
    /// Rules that may match this path and every path below it.
    onward: Vec<usize>,
    children: HashMap<String, PathTrie>,
    /// The number of regular expressions in the rules listed at this node.
    expressions: usize,
}

impl Index {
    /// An index of these rules, identified by position. Rules without a matcher are left out.
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
                        index.max_labels = index.max_labels.max(labels);
                        index.below.entry(domain.clone()).or_default()
                    }
                };
                paths.add(rule, matcher);
            }
        }
        index
    }

    /// The first rule for which `is_about` is true.
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
            // From the top-level domain down, to the depth of the longest domain in the index.
            let dots = host.rmatch_indices('.').take(self.max_labels);
            for (dot, _) in dots {
                let domain = host
                    .get(dot + 1..)
                    .and_then(|domain| self.below.get(domain));
                domain.into_iter().for_each(&mut search);
            }
        }
        first
    }

    /// The maximum number of regular expressions that one request is compared with.
    pub(super) fn max_expressions(&self) -> usize {
        let exact = self.exact.values().map(PathTrie::max_expressions).max();
        // A host lies below every domain that it ends with, so their counts add up.
        let below = self.below.keys().map(|domain| {
            let dots = domain.match_indices('.').map(|(dot, _)| dot + 1);
            let ends = iter::once(0)
                .chain(dots)
                .filter_map(|from| domain.get(from..));
            let paths = ends.filter_map(|end| self.below.get(end));
            paths.map(PathTrie::max_expressions).sum::<usize>()
        });
        self.any.max_expressions() + exact.unwrap_or(0) + below.max().unwrap_or(0)
    }
}

impl PathTrie {
    /// Lists a rule wherever its paths lead, but only once along each way: a request that meets the
    /// rule there checks all its paths.
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
        // Rules are added in order, so if this rule is already listed here, it is the last one.
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

    fn max_expressions(&self) -> usize {
        let children = self.children.values().map(Self::max_expressions);
        self.expressions + children.max().unwrap_or(0)
    }

    /// The first matching rule before `first`, or else `first`.
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

/// Which paths a rule may match from its place in the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// This path and every path below it.
    Below,
    /// This path only.
    Here,
}

/// The place in the index for a pattern.
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

    /// However many rules exist, rules for other hosts and paths are not checked.
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

    /// A rule with many paths and hosts is checked once, however many of them lead to it.
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
        assert_eq!(index.max_expressions(), 200);
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
