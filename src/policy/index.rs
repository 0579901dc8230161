//! Finds the first rule that is about a request without asking each of them: by host, then by the
//! segments of the path.
//!
//! INVARIANT: the index only leaves out rules whose [`Matcher`] would refuse; whether a rule that
//! is left is about a request, its matcher alone decides.

use std::collections::HashMap;

use super::matcher::{HostPattern, Matcher, PathPattern, Target};

/// Rules by where they may match.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Rules about one host, by that.
    exact: HashMap<String, Paths>,
    /// Rules about hosts below a domain, by that.
    below: HashMap<String, Paths>,
    /// How many labels the longest of those domains has.
    most_labels: usize,
    /// Rules about any host.
    any: Paths,
}

/// Rules by path: what follows a slash leads from one to the next.
#[derive(Clone, Debug, Default)]
struct Paths {
    /// Rules that may be about this path.
    here: Vec<usize>,
    /// Rules that may be about this path, and every one below it.
    onward: Vec<usize>,
    children: HashMap<String, Paths>,
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
        let mut search = |paths: &Paths| first = paths.first(&target.path, first, &mut is_about);
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
}

impl Paths {
    fn add(&mut self, rule: usize, matcher: &Matcher) {
        if matcher.paths.is_empty() {
            self.onward.push(rule);
        }
        for path in &matcher.paths {
            match path {
                PathPattern::Exact(path) => self.at(path).here.push(rule),
                PathPattern::Prefix(prefix) => self.at(prefix).onward.push(rule),
                PathPattern::Regex(regex) => {
                    let prefix = regex.literal_prefix();
                    let whole_segments = prefix.rsplit_once('/').map_or("", |(whole, _)| whole);
                    self.at(whole_segments).onward.push(rule);
                }
            }
        }
    }

    fn at(&mut self, path: &str) -> &mut Self {
        path.split('/').skip(1).fold(self, |paths, segment| {
            paths.children.entry(segment.to_owned()).or_default()
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::matcher::PathRegex;
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
}
