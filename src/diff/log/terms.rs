//! What changed settings of a provider mean for tokens that were accepted before.

use std::borrow::Cow;

use super::Known;
use crate::diff::Side;
use crate::diff::structure::ProviderPair;
use crate::token::claims::ClaimPath;
use crate::token::{Audiences, RequiredClaim, Tenants, Terms};

/// The change of one provider's settings.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Whether no setting of its tokens differs.
    is_nothing: bool,
    /// Why an accepted token may be refused now, whatever the record holds.
    obstacle: Option<Cow<'static, str>>,
    /// The claims that tell whether it is.
    asked: Vec<Vec<String>>,
    is_gone: bool,
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
            is_enforced_alike: !pair.differing.contains(&"enforce"),
            first: pair
                .differing
                .iter()
                .map(|setting| Check::of_setting(setting))
                .min()
                .unwrap_or(Check::Rules),
        };
        if pair.old.is_none() {
            return change;
        }
        if pair.new.is_none() {
            change.is_nothing = false;
            change.is_gone = true;
            change.first = Check::Form;
            return change;
        }
        let before = pair.old.and_then(|id| old.policy.provider(id));
        let after = pair.new.and_then(|id| new.policy.provider(id));
        if let (Some(before), Some(after)) = (before, after) {
            for setting in &pair.differing {
                change.add(setting, &before.terms, &after.terms);
            }
        }
        if pair.words.iter().any(|words| is_about_keys(words)) {
            change.is_nothing = false;
            change.first = change.first.min(Check::Signature);
            let why = format!("the keys of `{}` come from elsewhere", pair.name);
            change.obstacle = Some(why.into());
        }
        change
    }

    fn add(&mut self, setting: &str, old: &Terms, new: &Terms) {
        let names = |path: &ClaimPath| path.names().to_vec();
        let one = |name: &str| vec![name.to_owned()];
        let is_in = |all: &[String], text: &String| all.contains(text);
        match setting {
            "issuer" | "issuer_aliases" => {
                let own: Vec<&str> = new.issuers().collect();
                if !old.issuers().all(|issuer| own.contains(&issuer)) {
                    self.asked.push(one("iss"));
                }
            }
            "tenants" => {
                let keeps = match (&old.tenants, &new.tenants) {
                    (_, Tenants::Any) => true,
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
        self.is_nothing || reason.is_some_and(|reason| Check::of_reason(reason) < self.first)
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

fn is_about_keys(words: &str) -> bool {
    words.starts_with("`jwks") || words.starts_with("`discovery_url")
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
