//! Requests that tell rules apart: for each pattern of either configuration, some that it matches and
//! some that it just does not match.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

mod patterns;
mod special;

pub(in crate::diff) use patterns::encoded;
use patterns::parts_of;
use special::special;

use super::request::Shape;
use crate::policy::Policy;
use crate::policy::rule::{PathMode, Rule};
use crate::policy::rules::RuleId;

/// A host that no rule names, unless an operator does.
pub(super) const HOST: &str = "api.example.com";

/// A path that no rule names, unless an operator does.
const OTHER_PATH: &str = "/other-path";

/// The maximum number of requests for one changed rule.
const MAX_OF_CHANGED: usize = 2000;

/// The minimum number of requests for one rule that did not change, unless the limit of all is reached.
const MIN_OF_OTHER: usize = 60;

/// The maximum number of changed rules whose values are combined with those of other rules.
const MAX_NEAR: usize = 8;

type Lines = Vec<(String, String)>;

/// The values of each part of a request that the search combines.
#[derive(Clone, Debug, Default)]
struct Parts {
    hosts: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
    headers: Vec<Lines>,
    /// Whether values were left out that only one side has.
    is_cut: bool,
}

/// The requests to try, the most promising first, and whether these are all combinations.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) all: Vec<Shape>,
    pub(super) is_complete: bool,
    /// The changed rules, by side and position, for which not every request was made.
    pub(super) cut: BTreeSet<(usize, usize)>,
}

/// Collects requests without repetition, up to a limit.
struct Collector {
    all: Vec<Shape>,
    seen: HashSet<Shape>,
    max: usize,
    is_complete: bool,
}

impl Collector {
    fn add(&mut self, shape: Shape) {
        if self.all.len() >= self.max {
            self.is_complete = false;
        } else if self.seen.insert(shape.clone()) {
            self.all.push(shape);
        }
    }

    /// Every combination, but at most `max` of them. False if there are more.
    fn combine(&mut self, parts: &Parts, max: usize) -> bool {
        let had_room = self.is_complete;
        let mut left = max;
        for headers in &parts.headers {
            for path in &parts.paths {
                for host in &parts.hosts {
                    for method in &parts.methods {
                        if left == 0 {
                            self.is_complete = false;
                            return false;
                        }
                        left -= 1;
                        let mut shape = Shape::plain(method, host, path);
                        shape.headers.clone_from(headers);
                        self.add(shape);
                    }
                }
            }
        }
        self.is_complete || !had_room
    }
}

/// Which rules belong together.
pub(super) trait Pairs {
    /// Whether the other side judges otherwise by its counterpart of this rule, or may do so.
    fn is_changed(&self, side: usize, index: usize) -> bool;

    /// The position of the same rule on the other side.
    fn other(&self, side: usize, index: usize) -> Option<usize>;
}

/// The requests to try.
pub(super) fn shapes(policies: [&Policy; 2], pairs: &impl Pairs, max: usize) -> Shapes {
    let mut collector = Collector {
        all: Vec::new(),
        seen: HashSet::new(),
        max,
        is_complete: true,
    };
    let is_as_is = policies
        .iter()
        .any(|policy| policy.rules().paths() == PathMode::AsIs);
    let mut everything = AllParts::default();
    let mut others = Vec::new();
    let mut of_changed = Vec::new();
    for (side, policy) in policies.iter().enumerate() {
        for (index, rule) in policy.rules().all().enumerate() {
            let other: Option<&Rule> = pairs.other(side, index).and_then(|other| {
                let policy = policies.get(1 - side)?;
                policy.rule(RuleId(other))
            });
            let is_changed = pairs.is_changed(side, index);
            let parts = match (is_changed, other) {
                (true, other) => parts_of(rule, other, is_as_is),
                // Most values of a rule that is the same on both sides show the same.
                (false, _) => parts_of(rule, Some(rule), is_as_is),
            };
            everything.add(&parts);
            match is_changed {
                true => of_changed.push(((side, index), parts)),
                false => others.push(parts),
            }
        }
    }
    let outside = Parts {
        hosts: vec![HOST.to_owned()],
        methods: vec!["GET".to_owned(), unmentioned(&everything.methods.list)],
        paths: vec!["/".to_owned(), OTHER_PATH.to_owned()],
        headers: vec![Lines::new()],
        is_cut: false,
    };
    everything.add(&outside);
    let everything = everything.parts();
    special(&mut collector, policies, &everything);
    let of_each = (max / 2 / of_changed.len().max(1)).clamp(1, MAX_OF_CHANGED);
    let mut cut = BTreeSet::new();
    for (rule, parts) in &of_changed {
        if !collector.combine(&parts.with(&outside), of_each) {
            cut.insert(*rule);
        }
    }
    let combinations = everything.count();
    if combinations.is_some_and(|count| count <= max.saturating_sub(collector.all.len())) {
        // This contains what was cut above.
        collector.is_complete = true;
        cut.clear();
        collector.combine(&everything, usize::MAX);
    } else {
        collector.is_complete = false;
        // Rules that did not change may lie inside those that did.
        let mut near = outside.clone();
        for (_, parts) in of_changed.iter().take(MAX_NEAR) {
            let parts = Parts {
                hosts: parts.hosts.iter().take(2).cloned().collect(),
                methods: parts.methods.iter().take(2).cloned().collect(),
                paths: Vec::new(),
                headers: parts.headers.iter().take(1).cloned().collect(),
                is_cut: false,
            };
            near.extend(&parts);
        }
        let left = max.saturating_sub(collector.all.len());
        let of_each = (left / others.len().max(1)).clamp(MIN_OF_OTHER, MAX_OF_CHANGED);
        for parts in &others {
            collector.combine(&parts.with(&near), of_each);
        }
        let wide = Parts {
            hosts: vec![HOST.to_owned()],
            methods: outside.methods.clone(),
            paths: everything.paths.clone(),
            headers: vec![Lines::new()],
            is_cut: false,
        };
        collector.combine(&wide, max);
    }
    let with_cut = of_changed.iter().filter(|(_, parts)| parts.is_cut);
    cut.extend(with_cut.map(|(rule, _)| *rule));
    Shapes {
        all: collector.all,
        is_complete: collector.is_complete && cut.is_empty(),
        cut,
    }
}

/// The parts of all rules, of which there may be thousands.
#[derive(Default)]
struct AllParts {
    hosts: Unique<String>,
    methods: Unique<String>,
    paths: Unique<String>,
    headers: Unique<Lines>,
}

impl AllParts {
    fn add(&mut self, parts: &Parts) {
        let Parts {
            hosts,
            methods,
            paths,
            headers,
            is_cut: _,
        } = parts;
        self.hosts.add(hosts);
        self.methods.add(methods);
        self.paths.add(paths);
        self.headers.add(headers);
    }

    fn parts(self) -> Parts {
        let Self {
            hosts,
            methods,
            paths,
            headers,
        } = self;
        Parts {
            hosts: hosts.list,
            methods: methods.list,
            paths: paths.list,
            headers: headers.list,
            is_cut: false,
        }
    }
}

/// Values in the order in which they were added, each once.
struct Unique<T> {
    list: Vec<T>,
    seen: HashSet<T>,
}

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            seen: HashSet::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Unique<T> {
    fn add(&mut self, more: &[T]) {
        for item in more {
            if self.seen.insert(item.clone()) {
                self.list.push(item.clone());
            }
        }
    }
}

impl Parts {
    fn extend(&mut self, other: &Self) {
        let Self {
            hosts,
            methods,
            paths,
            headers,
            is_cut,
        } = other;
        self.is_cut |= is_cut;
        add_new(&mut self.hosts, hosts);
        add_new(&mut self.methods, methods);
        add_new(&mut self.paths, paths);
        add_new(&mut self.headers, headers);
    }

    fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.extend(other);
        both
    }

    fn count(&self) -> Option<usize> {
        self.hosts
            .len()
            .checked_mul(self.methods.len())?
            .checked_mul(self.paths.len())?
            .checked_mul(self.headers.len())
    }
}

fn add_new<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// A method that no rule names.
fn unmentioned(methods: &[String]) -> String {
    let usual = ["DELETE", "PATCH", "PUT", "POST", "HEAD", "OTHER"];
    let mut free = usual
        .into_iter()
        .filter(|method| !methods.iter().any(|own| own == method));
    free.next().unwrap_or("UNUSUAL").to_owned()
}
