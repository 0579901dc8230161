//! What the search varies once it knows which two rules judge a request: the token, and what their
//! conditions ask for.

use serde_json::Value;

mod conditions;
mod set;
mod values;

pub(super) use set::set;
pub(super) use values::texts_of;

use super::groups::{self, Ordered};
use super::request::{Bearer, Shape, TokenSpec};
use crate::policy::condition::facts::Step;
use crate::policy::requirement::{Access, Requirement};
use crate::policy::rule::Rule;
use crate::token::claims::ClaimPath;

/// The maximum number of values of one knob that come from conditions, and of sets of scopes.
const MAX_VALUES: usize = 256;

/// A part of a request or token with the values to try.
#[derive(Clone, Debug)]
pub(super) enum Knob {
    /// No token, a text that is none, or a token of one of these providers.
    Bearer(Vec<Carried>),
    Scopes(Vec<Vec<String>>),
    Claim(Vec<Step>, Vec<Option<Value>>),
    /// Whether the list at this claim has its first element twice.
    Twice(Vec<Step>),
    /// The time since the login in seconds.
    AuthTime(Vec<Option<i64>>),
    Text(Part, Vec<Text>),
    /// The time of the decision, in seconds since 1970.
    Now(Vec<u64>),
}

/// A part of a request that is a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Method,
    Host,
    Path,
    Query,
    Header(String),
    Address,
    Principal,
    Context(String),
}

/// What becomes of a text of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// It stays as it is in the request that stands for the two rules.
    Keep,
    Remove,
    Set(String),
}

/// What a request carries.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Carried {
    Nothing,
    Garbage,
    /// A token like this one, with scopes and claims to come.
    Token(Box<TokenSpec>, ScopeClaims),
}

/// The claims that get the scopes: one, or two if the configurations read different ones.
pub(super) type ScopeClaims = Vec<Vec<String>>;

/// A request with its token, at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) shape: Shape,
    pub(super) bearer: Bearer,
    pub(super) now: u64,
}

impl Trial {
    pub(super) fn weight(&self) -> usize {
        self.shape.weight() + self.bearer.weight()
    }
}

impl Knob {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bearer(values) => values.len(),
            Self::Scopes(values) => values.len(),
            Self::Claim(_, values) => values.len(),
            Self::Twice(_) => 2,
            Self::AuthTime(values) => values.len(),
            Self::Text(_, values) => values.len(),
            Self::Now(values) => values.len(),
        }
    }

    /// Whether the knob changes the token alone.
    pub(super) fn is_of_token(&self) -> bool {
        match self {
            Self::Scopes(_) | Self::Claim(..) | Self::Twice(_) | Self::AuthTime(_) => true,
            Self::Bearer(_) | Self::Text(..) | Self::Now(_) => false,
        }
    }
}

/// What is the same for all pairs of rules.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) now: u64,
    /// The `clock_skew` of every provider in seconds, each once.
    pub(super) skews: Vec<u64>,
    /// Cookies that only one side keeps from the upstream.
    pub(super) cookies: Vec<String>,
}

/// The knobs for two rules.
#[derive(Clone, Debug)]
pub(super) struct Knobs {
    pub(super) list: Vec<Knob>,
    /// Whether no value was left out.
    pub(super) is_complete: bool,
}

/// Collects the knobs.
struct Builder {
    claims: Vec<Claim>,
    texts: Vec<Texts>,
    times: Vec<u64>,
    is_complete: bool,
}

/// The values of a claim.
struct Claim {
    path: Vec<Step>,
    values: Vec<Option<Value>>,
    /// What stands for "another value" and "none". It comes last.
    others: Vec<Option<Value>>,
}

/// The values of a text.
struct Texts {
    part: Part,
    values: Vec<String>,
}

/// The knobs for two rules, of which one may be missing. `carried` are the tokens to try.
pub(super) fn knobs(
    rules: [Option<&Rule>; 2],
    carried: Vec<Carried>,
    around: &Surroundings,
) -> Knobs {
    let mut list = vec![Knob::Bearer(carried)];
    let nothing = Requirement::default();
    let requirements = rules.map(|rule| match rule.map(|rule| &rule.access) {
        Some(Access::Optional(requirement) | Access::Required(requirement)) => requirement,
        Some(Access::Deny | Access::Public) | None => &nothing,
    });
    let mut builder = Builder {
        claims: Vec::new(),
        texts: Vec::new(),
        times: Vec::new(),
        is_complete: true,
    };
    let scopes = builder.scopes(requirements);
    if scopes.len() > 1 {
        list.push(Knob::Scopes(scopes));
    }
    builder.required(requirements);
    list.extend(login(requirements, &around.skews));
    builder.conditions(rules, around.now);
    for name in &around.cookies {
        let part = Part::Header("cookie".to_owned());
        builder.add_texts(part, vec![format!("{name}=x")]);
    }
    builder.finish(list, around.now)
}

impl Builder {
    /// Sets of scopes: each rule's own, both together, each without one of them, and none.
    fn scopes(&mut self, requirements: [&Requirement; 2]) -> Vec<Vec<String>> {
        let [old, new] = requirements;
        let mut sets: Vec<Vec<String>> = Vec::new();
        let mut add = |mut set: Vec<String>| {
            set.sort();
            set.dedup();
            if !sets.contains(&set) {
                sets.push(set);
            }
        };
        let own = |requirement: &Requirement| -> Vec<String> {
            requirement.wanted_scopes().map(str::to_owned).collect()
        };
        add(own(new));
        add(own(old));
        add([own(old), own(new)].concat());
        let any = groups::members(&old.any_scope, &new.any_scope);
        let wanted = groups::members(&own(old), &own(new));
        self.is_complete &= any.is_complete && wanted.is_complete;
        for requirement in [new, old] {
            for any in &any.values {
                if requirement.any_scope.contains(any) {
                    let all = requirement.scopes.iter().chain([any]);
                    add(all.cloned().collect());
                }
            }
            let own = own(requirement);
            for left_out in &wanted.values {
                let others = own.iter().filter(|scope| *scope != left_out);
                add(others.cloned().collect());
            }
        }
        add(Vec::new());
        self.is_complete &= sets.len() <= MAX_VALUES;
        sets.truncate(MAX_VALUES);
        sets
    }

    /// The claims that rules require, `acr` included.
    fn required(&mut self, requirements: [&Requirement; 2]) {
        let [old, new] = requirements;
        let mut paths: Vec<&ClaimPath> = Vec::new();
        for claim in new.claims.iter().chain(&old.claims) {
            if !paths.contains(&&claim.path) {
                paths.push(&claim.path);
            }
        }
        for path in paths {
            let [old, new] = requirements.map(|own| {
                let mut own = own.claims.iter();
                own.find(|claim| claim.path == *path)
                    .map_or(&[][..], |claim| claim.any_of.as_slice())
            });
            let values = groups::members(old, new);
            let names = path.names().iter();
            let path = names.map(|name| Step::Member(name.clone())).collect();
            self.add_members(path, values, "other-value");
        }
        if !(old.acr.is_empty() && new.acr.is_empty()) {
            let values = groups::members(&old.acr, &new.acr);
            self.add_members(vec![Step::Member("acr".to_owned())], values, "other-acr");
        }
    }

    fn add_members(&mut self, path: Vec<Step>, of: Ordered<String>, other: &str) {
        self.is_complete &= of.is_complete;
        let values = of.values.into_iter();
        let values = values.map(|text| Some(Value::from(text))).collect();
        self.add_claim(path, values, vec![Some(other.into()), None]);
    }

    fn add_claim(
        &mut self,
        path: Vec<Step>,
        values: Vec<Option<Value>>,
        others: Vec<Option<Value>>,
    ) {
        let at = match self.claims.iter().position(|claim| claim.path == path) {
            Some(at) => at,
            None => {
                self.claims.push(Claim {
                    path,
                    values: Vec::new(),
                    others: Vec::new(),
                });
                self.claims.len() - 1
            }
        };
        if let Some(claim) = self.claims.get_mut(at) {
            self.is_complete &= merge(&mut claim.values, values, MAX_VALUES);
            merge(&mut claim.others, others, MAX_VALUES);
        }
    }

    fn add_texts(&mut self, part: Part, values: Vec<String>) {
        let at = match self.texts.iter().position(|texts| texts.part == part) {
            Some(at) => at,
            None => {
                let values = Vec::new();
                self.texts.push(Texts { part, values });
                self.texts.len() - 1
            }
        };
        if let Some(texts) = self.texts.get_mut(at) {
            self.is_complete &= merge(&mut texts.values, values, MAX_VALUES);
        }
    }

    fn finish(self, mut list: Vec<Knob>, now: u64) -> Knobs {
        let mut claims = self.claims;
        // What a condition asks of a member replaces what it asks of the whole.
        claims.sort_by_key(|claim| claim.path.len());
        for claim in claims {
            let Claim {
                path,
                mut values,
                others,
            } = claim;
            merge(&mut values, others, usize::MAX);
            let first = path.iter().position(|step| *step == Step::Element);
            let twice = first.and_then(|first| path.get(..first)).map(<[_]>::to_vec);
            list.push(Knob::Claim(path, values));
            let is_new = |path: &Vec<Step>| {
                let mut knobs = list.iter();
                !knobs.any(|knob| matches!(knob, Knob::Twice(own) if own == path))
            };
            let twice = twice.filter(is_new);
            list.extend(twice.map(Knob::Twice));
        }
        for Texts { part, values } in self.texts {
            let values = values.into_iter().map(Text::Set);
            let other = Text::Set("other-value".to_owned());
            let values: Vec<Text> = match &part {
                // What the rules matched comes first where it selects the rules.
                Part::Method | Part::Host | Part::Path => {
                    [Text::Keep].into_iter().chain(values).collect()
                }
                Part::Query
                | Part::Header(_)
                | Part::Address
                | Part::Principal
                | Part::Context(_) => values.chain([Text::Keep, other, Text::Remove]).collect(),
            };
            list.push(Knob::Text(part, values));
        }
        if !self.times.is_empty() {
            let mut times = self.times;
            merge(&mut times, [now], usize::MAX);
            list.push(Knob::Now(times));
        }
        Knobs {
            list,
            is_complete: self.is_complete,
        }
    }
}

/// Times since the login just within and just beyond each `max_age`, for each `clock_skew`.
fn login(requirements: [&Requirement; 2], skews: &[u64]) -> Option<Knob> {
    let [old, new] = requirements;
    let ages = [new, old].into_iter().filter_map(|own| own.max_age);
    let ages: Vec<i64> = ages
        .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX / 4))
        .collect();
    if ages.is_empty() {
        return None;
    }
    let mut values: Vec<Option<i64>> = vec![Some(0)];
    for age in ages {
        let skews = skews
            .iter()
            .map(|skew| i64::try_from(*skew).unwrap_or(3600));
        let limits = skews.map(|skew| age.saturating_add(skew));
        let around = limits.flat_map(|limit| [limit, limit.saturating_add(1), limit - 1]);
        let all = [age].into_iter().chain(around);
        merge(&mut values, all.map(Some), usize::MAX);
    }
    values.push(None);
    Some(Knob::AuthTime(values))
}

/// Adds values that are new. False if there are more than `max`.
fn merge<T: PartialEq>(own: &mut Vec<T>, more: impl IntoIterator<Item = T>, max: usize) -> bool {
    for value in more {
        if !own.contains(&value) {
            if own.len() >= max {
                return false;
            }
            own.push(value);
        }
    }
    true
}
