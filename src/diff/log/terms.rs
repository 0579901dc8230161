//! What changed settings of a provider mean for tokens that were accepted before.

use std::borrow::Cow;

use serde_json::Value;

use super::Known;
use super::predictor::OTHER_PROVIDER;
use crate::diff::Side;
use crate::diff::structure::ProviderPair;
use crate::keyring::ProviderId;
use crate::token::claims::ClaimPath;
use crate::token::{Audiences, RequiredClaim, Tenants, Terms};

/// The change of one provider's settings.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with a name of its own"
)]
pub(super) struct Change {
    /// Whether no setting of its tokens differs.
    is_nothing: bool,
    /// Why an accepted token may be refused now, whatever the record holds.
    obstacle: Option<Cow<'static, str>>,
    /// The claims that tell whether it is.
    asked: Vec<Vec<String>>,
    is_gone: bool,
    /// Whether other keys may have been known at the time of a decision.
    are_keys_in_doubt: bool,
    is_enforced_alike: bool,
    /// The first check of a token that a setting changes.
    first: Check,
}

/// The checks of a token in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    Form,
    Issuer,
    Algorithm,
    Signature,
    Type,
    Times,
    Audience,
    SenderConstraint,
    RequiredClaims,
    /// What only rules look at.
    Rules,
}

impl Check {
    /// The check that a setting of a provider is about.
    fn of_setting(setting: &str) -> Self {
        match setting {
            "issuer" | "issuer_aliases" | "tenants" => Self::Issuer,
            "algorithms" => Self::Algorithm,
            "token_types" | "also_accept" => Self::Type,
            "clock_skew" | "max_lifetime" => Self::Times,
            "audiences" | "audience_claim" => Self::Audience,
            "required_claims" => Self::RequiredClaims,
            "scope_claims" | "enforce" => Self::Rules,
            _ => Self::Form,
        }
    }

    /// The last check that may have refused a token for this reason.
    fn of_reason(reason: &str) -> Self {
        match reason {
            "malformed_authorization" => Self::Form,
            "unknown_issuer" => Self::Issuer,
            "unsupported_algorithm" => Self::Algorithm,
            "unknown_key" | "bad_signature" | "keys_unavailable" => Self::Signature,
            "unsupported_type" => Self::Type,
            "expired" | "not_yet_valid" | "lifetime_too_long" => Self::Times,
            "wrong_audience" => Self::Audience,
            "sender_constraint_unmet" => Self::SenderConstraint,
            // Several checks read claims, and give the same reasons.
            _ => Self::RequiredClaims,
        }
    }
}

impl Change {
    pub(super) fn of(pair: &ProviderPair, old: &Side<'_>, new: &Side<'_>) -> Self {
        let mut change = Self {
            is_nothing: pair.differing.iter().all(|name| *name == "enforce"),
            obstacle: None,
            asked: Vec::new(),
            is_gone: false,
            are_keys_in_doubt: false,
            is_enforced_alike: !pair.differing.contains(&"enforce"),
            first: pair
                .differing
                .iter()
                .map(|setting| Check::of_setting(setting))
                .min()
                .unwrap_or(Check::Rules),
        };
        let (Some(old_id), Some(before)) =
            (pair.old, pair.old.and_then(|id| old.policy.provider(id)))
        else {
            return change;
        };
        let after = pair.new.and_then(|id| new.policy.provider(id));
        let (Some(new_id), Some(after)) = (pair.new, after) else {
            let is_accepted = |issuer: &str| new.policy.by_issuer(issuer).is_some();
            let is_taken_over = before.terms.issuers().any(is_accepted)
                || is_taken_over(old_id, &before.terms, old, new, |_| true);
            change.remove(is_taken_over, &before.terms, new);
            return change;
        };
        for setting in &pair.differing {
            change.add(setting, &before.terms, &after.terms);
        }
        if is_taken_over(old_id, &before.terms, old, new, |id| id != new_id) {
            change.is_nothing = false;
            change.ask_issuer(&before.terms);
        }
        let keys = Keys::of(effective(old, old_id), effective(new, new_id));
        // Without a source, the issuer's own metadata names the keys.
        let is_elsewhere = keys.are_elsewhere
            || (keys.are_discovered && before.terms.issuer != after.terms.issuer);
        change.are_keys_in_doubt = is_elsewhere || keys.are_fetched_otherwise;
        if is_elsewhere {
            change.is_nothing = false;
            change.first = change.first.min(Check::Signature);
            let why = format!("the keys of `{}` come from elsewhere", pair.name);
            change.obstacle = Some(why.into());
        }
        change
    }

    fn remove(&mut self, is_taken_over: bool, old: &Terms, new: &Side<'_>) {
        self.is_nothing = false;
        self.is_gone = true;
        self.first = Check::Form;
        if is_taken_over {
            self.obstacle = Some(OTHER_PROVIDER.into());
        } else if new.policy.max_token_bytes() < old.max_token_bytes {
            self.obstacle = Some("`max_token_bytes` is smaller now".into());
        }
    }

    /// The issuer of an accepted token matters.
    fn ask_issuer(&mut self, old: &Terms) {
        self.asked.push(vec!["iss".to_owned()]);
        // A token of a trust domain may have no `iss`.
        if old.issuers().any(is_domain) {
            self.asked.push(vec!["sub".to_owned()]);
        }
    }

    fn add(&mut self, setting: &str, old: &Terms, new: &Terms) {
        let names = |path: &ClaimPath| path.names().to_vec();
        let one = |name: &str| vec![name.to_owned()];
        let is_in = |all: &[String], text: &String| all.contains(text);
        match setting {
            "issuer" | "issuer_aliases" => {
                let own: Vec<&str> = new.issuers().collect();
                if !old.issuers().all(|issuer| own.contains(&issuer)) || asks_subject(old, new) {
                    self.ask_issuer(old);
                }
                if asks_subject(old, new) {
                    self.asked.push(one("sub"));
                }
            }
            "tenants" => {
                let keeps = match (&old.tenants, &new.tenants) {
                    // Without tenants, `tid` is not checked.
                    (Tenants::AnyOf(_) | Tenants::Any, Tenants::Any) => true,
                    (Tenants::AnyOf(old), Tenants::AnyOf(new)) => {
                        old.iter().all(|tenant| is_in(new, tenant))
                    }
                    _ => false,
                };
                if !keeps {
                    self.asked.extend([one("iss"), one("tid")]);
                }
            }
            "audiences" => {
                let keeps = match (&old.audiences, &new.audiences) {
                    (_, Audiences::Any) => true,
                    (Audiences::AnyOf(old), Audiences::AnyOf(new)) => {
                        old.iter().all(|audience| is_in(new, audience))
                    }
                    (Audiences::Any, Audiences::AnyOf(_)) => false,
                };
                if !keeps {
                    self.asked.push(names(&new.audience_claim));
                }
            }
            "audience_claim" => self.asked.push(names(&new.audience_claim)),
            "algorithms"
                if old
                    .algorithms
                    .iter()
                    .all(|alg| new.algorithms.contains(alg)) => {}
            "token_types"
                if !old.token_types.is_empty()
                    && old
                        .token_types
                        .iter()
                        .all(|typ| is_in(&new.token_types, typ)) => {}
            "also_accept"
                if old
                    .also_accept
                    .iter()
                    .all(|kind| new.also_accept.contains(kind)) => {}
            "clock_skew" if old.clock_skew <= new.clock_skew => {}
            "clock_skew" => self.asked.extend([one("exp"), one("iat"), one("nbf")]),
            "max_lifetime" => {
                let keeps = match (old.max_lifetime, new.max_lifetime) {
                    (_, None) => true,
                    (Some(old), Some(new)) => old <= new,
                    (None, Some(_)) => false,
                };
                if !keeps {
                    self.asked.extend([one("exp"), one("iat")]);
                }
            }
            "max_token_bytes" if old.max_token_bytes <= new.max_token_bytes => {}
            "required_claims" => {
                let is_new = |claim: &&RequiredClaim| {
                    !old.required_claims.iter().any(|own| {
                        own.path == claim.path
                            && own.any_of.iter().all(|text| is_in(&claim.any_of, text))
                    })
                };
                let claims = new.required_claims.iter().filter(is_new);
                self.asked.extend(claims.map(|claim| names(&claim.path)));
            }
            "scope_claims" => {
                let both = old.scope_claims.iter().chain(&new.scope_claims);
                self.asked.extend(both.map(names));
            }
            // The place is logged, and who enforces is decided anew.
            "token_from" | "enforce" => {}
            other => {
                self.obstacle = Some(format!("`{other}` of the provider is stricter now").into());
            }
        }
    }

    /// Whether a token that was refused for this reason is refused for it again: no earlier check, and
    /// not that one, is changed.
    pub(super) fn refuses_again(&self, reason: Option<&str>) -> bool {
        let check = reason.map(Check::of_reason);
        let is_before = check.is_some_and(|check| check < self.first);
        let is_for_keys = check == Some(Check::Signature) && self.are_keys_in_doubt;
        (self.is_nothing || is_before) && !is_for_keys
    }

    /// Whether an accepted token is accepted now.
    pub(super) fn keeps_valid(&self) -> bool {
        self.obstacle.is_none() && self.asked.is_empty() && !self.is_gone
    }

    /// Whether its refusals take effect as before.
    pub(super) fn is_enforced_alike(&self) -> bool {
        self.is_enforced_alike
    }

    /// Whether the time of the decision matters for that.
    pub(super) fn asks_times(&self) -> bool {
        let times = ["exp", "iat", "nbf"];
        let mut first = self.asked.iter().filter_map(|path| path.first());
        first.any(|name| times.contains(&name.as_str()))
    }

    /// The claims that tell whether an accepted token is accepted now.
    pub(super) fn asked(&self) -> &[Vec<String>] {
        &self.asked
    }

    /// Whether an accepted token is certainly accepted now. `false` if that is to be judged with the
    /// logged claims.
    pub(super) fn of_valid(&self, is_listed: impl Fn(&[String]) -> Known<()>) -> Known<bool> {
        if let Some(why) = &self.obstacle {
            return Err(why.clone());
        }
        for path in &self.asked {
            is_listed(path)?;
        }
        Ok(self.is_nothing && !self.is_gone)
    }
}

/// How the settings of a provider's keys differ.
struct Keys {
    are_elsewhere: bool,
    are_discovered: bool,
    are_fetched_otherwise: bool,
}

impl Keys {
    /// Of two providers as an operator reads them.
    fn of(old: Option<&Value>, new: Option<&Value>) -> Self {
        let of = |side: Option<&Value>, name: &str| {
            let found = side.and_then(|side| side.get(name)).cloned();
            found.unwrap_or_default()
        };
        let differs = |name: &&str| of(old, name) != of(new, name);
        let mut sources = KEY_SOURCES.iter();
        Self {
            are_elsewhere: KEY_SOURCES.iter().any(&differs),
            are_discovered: sources.all(|name| of(new, name).is_null()),
            are_fetched_otherwise: KEY_FETCHES.iter().any(differs),
        }
    }
}

fn effective<'s>(side: &'s Side<'_>, id: ProviderId) -> Option<&'s Value> {
    let all = side.settings.get("providers")?.as_array()?;
    all.get(id.0)
}

/// The settings that say where keys come from. Without one, the issuer's metadata says it.
const KEY_SOURCES: [&str; 2] = ["discovery_url", "jwks"];

/// The settings that say when they are fetched.
const KEY_FETCHES: [&str; 3] = ["fetch", "refresh", "required"];

/// Whether a token's `sub` decides now: with trust domains, every token must be for a workload of one
/// of them.
fn asks_subject(old: &Terms, new: &Terms) -> bool {
    let domains = |terms: &Terms| -> Vec<String> {
        let issuers = terms.issuers().filter(|issuer| is_domain(issuer));
        issuers.map(str::to_owned).collect()
    };
    let (before, after) = (domains(old), domains(new));
    let keeps = !before.is_empty() && before.iter().all(|domain| after.contains(domain));
    !after.is_empty() && !keeps
}

fn is_domain(issuer: &str) -> bool {
    issuer.starts_with("spiffe://")
}

/// Whether one of these providers of NEW may accept tokens that this provider of OLD has accepted.
fn is_taken_over(
    id: ProviderId,
    terms: &Terms,
    old: &Side<'_>,
    new: &Side<'_>,
    is_other: impl Fn(ProviderId) -> bool,
) -> bool {
    let is_own = |issuer: &str| {
        let found = old.policy.by_issuer(issuer);
        found.is_some_and(|(found, _)| found == id) || terms.issuers().any(|own| own == issuer)
    };
    let mut others = new.policy.providers().filter(|(id, _)| is_other(*id));
    others.any(|(_, other)| other.terms.issuers().any(is_own))
}

/// Whether a change of this provider may matter for tokens of others, or of none: another issuer, or
/// another place.
pub(super) fn affects_others(pair: &ProviderPair) -> bool {
    let of_all = [
        "issuer",
        "issuer_aliases",
        "tenants",
        "token_from",
        "max_token_bytes",
    ];
    pair.old.is_none()
        || pair.new.is_none()
        || pair.differing.iter().any(|name| of_all.contains(name))
}
