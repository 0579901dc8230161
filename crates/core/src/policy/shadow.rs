//! Finds rules that lose requests to another rule: because that rule comes earlier, or because a
//! client omits what the rule looks at.

use std::collections::{BTreeSet, HashMap};

use super::matcher::{HeaderPattern, HostPattern, Matcher, McpPattern, PathPattern, cover};
use super::rule::{PathMode, Rule};

/// The maximum number of combinations of host, method and path in one rule. Larger rules are not
/// analysed.
const MAX_PARTS: usize = 4096;

/// A rule that no request reaches, and the rules that hide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The position of the hidden rule.
    pub rule: usize,
    /// The positions of the earlier rules that together match all its requests.
    pub by: Vec<usize>,
}

/// The rules that no request reaches. May miss some: a regular expression counts as hiding another
/// only if their texts prove it.
pub(super) fn hidden(rules: &[Rule], paths: PathMode) -> Vec<Hidden> {
    let mut earlier = Index::new(rules, paths);
    let mut found = Vec::new();
    for (position, rule) in rules.iter().enumerate() {
        let Some(matcher) = &rule.matcher else {
            continue;
        };
        let by: Option<BTreeSet<usize>> = parts(matcher)
            .iter()
            .map(|part| earlier.first(part, 0))
            .collect();
        match by {
            Some(by) if !by.is_empty() => found.push(Hidden {
                rule: position,
                by: by.into_iter().collect(),
            }),
            _ => earlier.add(position, matcher),
        }
    }
    found
}

/// A rule that a client can evade with another host or without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escape {
    /// The position of the rule, which requires a token or denies.
    pub rule: usize,
    /// The position of a later rule that then gets some of its requests, and requires no token.
    pub to: usize,
}

/// The rules on paths that a client can evade. If a rule's hosts are bound, Envoy lets no other
/// host pass.
pub(super) fn escapes(
    rules: &[Rule],
    paths: PathMode,
    are_bound: impl Fn(usize) -> bool,
) -> Vec<Escape> {
    let mut all = Index::new(rules, paths);
    for (position, rule) in rules.iter().enumerate() {
        if let Some(matcher) = &rule.matcher {
            all.add(position, matcher);
        }
    }
    let mut found = Vec::new();
    for (position, rule) in rules.iter().enumerate() {
        let Some(matcher) = rule.matcher.as_ref().filter(|_| !rule.is_open()) else {
            continue;
        };
        let mut left = matcher.clone();
        left.headers.clear();
        if !are_bound(position) {
            left.hosts.clear();
        }
        let is_escaped =
            left.headers.len() < matcher.headers.len() || left.hosts.len() < matcher.hosts.len();
        if left.paths.is_empty() || !is_escaped {
            continue;
        }
        let parts = parts(&left);
        let mut others = parts
            .iter()
            .filter_map(|part| all.first(part, position + 1));
        if let Some(to) = others.find(|other| rules.get(*other).is_some_and(Rule::is_open)) {
            found.push(Escape { rule: position, to });
        }
    }
    found
}

/// Some of a rule's requests: one host, one method and one path. `None` stands for all.
struct Part<'m> {
    host: Option<&'m HostPattern>,
    method: Option<&'m str>,
    path: Option<&'m PathPattern>,
    headers: &'m [HeaderPattern],
    mcp: Option<&'m McpPattern>,
}

/// Whether `matcher` matches every request that `other` matches. May miss that, as [`hidden`] does.
pub(super) fn contains(matcher: &Matcher, other: &Matcher, paths: PathMode) -> bool {
    let parts = parts(other);
    !parts.is_empty() && parts.iter().all(|part| covers(matcher, part, paths))
}

/// All parts of a rule's requests. Empty if there are more than [`MAX_PARTS`].
fn parts(matcher: &Matcher) -> Vec<Part<'_>> {
    let Matcher {
        hosts,
        methods,
        paths,
        headers,
        mcp,
    } = matcher;
    let count = hosts.len().max(1) * methods.len().max(1) * paths.len().max(1);
    if count > MAX_PARTS {
        return Vec::new();
    }
    let mut parts = Vec::with_capacity(count);
    for host in each(hosts) {
        for method in each(methods) {
            for path in each(paths) {
                parts.push(Part {
                    host,
                    method: method.map(String::as_str),
                    path,
                    headers,
                    mcp: mcp.as_ref(),
                });
            }
        }
    }
    parts
}

/// Each item as `Some`, or a single `None` if there are no items.
fn each<T>(items: &[T]) -> impl Iterator<Item = Option<&T>> {
    let none = items.is_empty().then_some(None);
    items.iter().map(Some).chain(none)
}

/// The key under which a rule is filed: its host, the certain part of its path, and the rarest
/// header that it requires. An empty string stands for any.
type Place = (String, String, String);

/// Rules by [`Place`].
struct Index<'m> {
    paths: PathMode,
    /// For each header, with or without one of its values: how many rules require it.
    common: HashMap<String, usize>,
    matchers: HashMap<usize, &'m Matcher>,
    by_place: HashMap<Place, Vec<usize>>,
    /// Rules with more than [`MAX_PARTS`] places.
    large: Vec<usize>,
}

impl<'m> Index<'m> {
    /// An empty index that knows how common the headers of these rules are.
    fn new(rules: &[Rule], paths: PathMode) -> Self {
        let mut common: HashMap<String, usize> = HashMap::new();
        let matchers = rules.iter().filter_map(|rule| rule.matcher.as_ref());
        for place in matchers
            .flat_map(|matcher| &matcher.headers)
            .flat_map(header_places)
        {
            *common.entry(place).or_default() += 1;
        }
        Self {
            paths,
            common,
            matchers: HashMap::new(),
            by_place: HashMap::new(),
            large: Vec::new(),
        }
    }

    fn add(&mut self, position: usize, matcher: &'m Matcher) {
        self.matchers.insert(position, matcher);
        let headers = self.places_of_rarest(&matcher.headers);
        if matcher.hosts.len().max(1) * matcher.paths.len().max(1) * headers.len() > MAX_PARTS {
            self.large.push(position);
            return;
        }
        for host in each(&matcher.hosts) {
            for path in each(&matcher.paths) {
                for header in &headers {
                    let host = host.map(ToString::to_string).unwrap_or_default();
                    let path = path.map(cover::certain_part).unwrap_or_default();
                    let place = (host, path, header.clone());
                    self.by_place.entry(place).or_default().push(position);
                }
            }
        }
    }

    /// The places of the header that the fewest rules require, because many rules may share the
    /// others.
    fn places_of_rarest(&self, headers: &[HeaderPattern]) -> Vec<String> {
        let count = |place: &String| self.common.get(place).copied().unwrap_or(0);
        let places = headers.iter().map(header_places);
        let rarest = places.min_by_key(|places| places.iter().map(count).max());
        rarest.unwrap_or_else(|| vec![String::new()])
    }

    /// The first rule at or after position `from` that matches all requests of this part.
    fn first(&self, part: &Part<'_>, from: usize) -> Option<usize> {
        let covers = |position: &&usize| {
            let matcher = self.matchers.get(position);
            matcher.is_some_and(|matcher| covers(matcher, part, self.paths))
        };
        let first_of = |positions: &[usize]| {
            let begins = positions.partition_point(|position| *position < from);
            let mut positions = positions.iter().skip(begins);
            positions.find(covers).copied()
        };
        let mut first = first_of(&self.large);
        let headers = part.headers.iter().flat_map(|header| {
            let own = header_places(header).into_iter().next();
            own.into_iter().chain([header.name().to_owned()])
        });
        let headers: Vec<String> = headers.chain([String::new()]).collect();
        let hosts = above(part.host);
        let path = part.path.map(cover::certain_part).unwrap_or_default();
        let slashes = path.match_indices('/').map(|(slash, _)| slash);
        for end in slashes.chain([path.len()]) {
            let path = path.get(..end).unwrap_or_default();
            for host in &hosts {
                for header in &headers {
                    let place = (host.clone(), path.to_owned(), header.clone());
                    let found = self.by_place.get(&place);
                    let found = found.and_then(|positions| first_of(positions));
                    first = found.into_iter().chain(first).min();
                }
            }
        }
        first
    }
}

/// The header with each of its values, or its name alone if it accepts any value.
fn header_places(header: &HeaderPattern) -> Vec<String> {
    let with = |value: &String| format!("{}: {value}", header.name());
    match header.values() {
        [] => vec![header.name().to_owned()],
        values => values.iter().map(with).collect(),
    }
}

/// The hosts that a rule may name so that it matches everything that this one matches.
fn above(host: Option<&HostPattern>) -> Vec<String> {
    let mut above = vec![String::new()];
    if let Some(host) = host {
        let own = host.to_string();
        let dots = own.match_indices('.').map(|(dot, _)| dot);
        above.extend(dots.filter_map(|dot| Some(format!("*{}", own.get(dot..)?))));
        above.push(own);
    }
    above
}

fn covers(matcher: &Matcher, part: &Part<'_>, paths: PathMode) -> bool {
    let Matcher {
        hosts,
        methods,
        paths: own_paths,
        headers,
        mcp,
    } = matcher;
    let is_asked = |header: &HeaderPattern| part.headers.iter().any(|later| header.covers(later));
    (hosts.is_empty()
        || part
            .host
            .is_some_and(|later| hosts.iter().any(|host| cover::hosts(host, later))))
        && (methods.is_empty()
            || part
                .method
                .is_some_and(|later| methods.iter().any(|own| own == later)))
        && headers.iter().all(is_asked)
        && mcp
            .as_ref()
            .is_none_or(|own| part.mcp.is_some_and(|later| cover::calls(own, later)))
        && match part.path {
            _ if own_paths.is_empty() => true,
            Some(later) => own_paths.iter().any(|path| cover::paths(path, later)),
            // In strict mode, a path that does not begin with `/` is refused before rules are
            // compared.
            None => match paths {
                PathMode::Strict => own_paths.iter().any(cover::is_every_path),
                PathMode::AsIs => false,
            },
        }
}
