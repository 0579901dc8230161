//! Settings for all rules that differ, and what else is the same for all pairs of rules.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Search;
use crate::diff::Side;
use crate::diff::knobs::Surroundings;
use crate::policy::Policy;

/// Settings for all rules that differ.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, whose members have names of their own"
)]
pub(super) struct Globals {
    pub(super) enforce: bool,
    pub(super) preflight: bool,
    pub(super) paths: bool,
    pub(super) upstream: bool,
    pub(super) resources: bool,
    pub(super) denials: bool,
}

impl Globals {
    pub(super) fn of(old: &Side<'_>, new: &Side<'_>) -> Self {
        let (before, after) = (old.policy, new.policy);
        let resources = |policy: &Policy| -> Vec<String> {
            let resources = policy.resources();
            resources
                .map(|resource| format!("{} {}", resource.metadata_url(), resource.document()))
                .collect()
        };
        Self {
            enforce: before.is_enforced() != after.is_enforced(),
            preflight: before.cors_preflight() != after.cors_preflight(),
            paths: before.rules().paths() != after.rules().paths(),
            upstream: format!("{:?}", before.upstream()) != format!("{:?}", after.upstream()),
            resources: resources(before) != resources(after),
            denials: format!("{:?}", old.denials) != format!("{:?}", new.denials),
        }
    }

    /// Whether verdicts or what upstreams receive may differ for every rule.
    pub(super) fn any(self) -> bool {
        let Self {
            enforce,
            preflight,
            paths,
            upstream,
            resources,
            denials: _,
        } = self;
        enforce || preflight || paths || upstream || resources
    }
}

impl Search<'_> {
    pub(super) fn surroundings(&self) -> Surroundings {
        let [old, new] = self.sides;
        let providers = [old, new]
            .into_iter()
            .flat_map(|side| side.policy.providers());
        let skews = providers.map(|(_, provider)| provider.terms.clock_skew.as_secs());
        let skews: BTreeSet<u64> = skews.collect();
        let cookies = |side: &Side<'_>| -> BTreeSet<String> {
            let listed = side.settings.pointer("/upstream/remove_cookies");
            let listed = match listed {
                Some(Value::Array(names)) => names.as_slice(),
                Some(one) => std::slice::from_ref(one),
                None => &[],
            };
            let names = listed.iter().filter_map(Value::as_str);
            names.map(|name| name.replace('*', "x")).collect()
        };
        let (before, after) = (cookies(old), cookies(new));
        Surroundings {
            now: self.now.as_secs(),
            skews: skews.into_iter().collect(),
            cookies: before.symmetric_difference(&after).cloned().collect(),
        }
    }
}
