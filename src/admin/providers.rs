//! `/providers`: the state of each provider's keys, as JSON.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use super::Admin;
use crate::escaped::Escaped;
use crate::gate::Generation;
use crate::jwks::{ClockDifference, KeysReport};
use crate::keyring::KeySet;
use crate::policy::Provider;
use crate::time::UnixTime;

/// A provider and its keys.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProviderView {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) state: KeysState,
    /// Why missing keys do not delay readiness, if they do not.
    exemption: Option<String>,
    /// Whether denials of its tokens take effect.
    enforced: bool,
    /// When the last keys were fetched, in use or not (RFC 3339).
    pub(super) fetched_at: Option<String>,
    pub(super) age_seconds: Option<u64>,
    /// Whether the last keys are not used, because they are older than `refresh.max_stale`.
    discarded: bool,
    pub(super) next_refresh_seconds: Option<u64>,
    /// How far this machine's clock is ahead of the provider's, by the `Date` of its last response.
    clock_difference_seconds: Option<f64>,
    /// Why the last fetch failed.
    last_error: Option<String>,
    /// Why the keys in `refresh.cache_dir` are not used.
    stored_keys_unused: Option<String>,
    pub(super) keys: Vec<KeyView>,
    /// The keys in the set that cannot verify tokens, each with the reason.
    pub(super) unused_keys: Vec<String>,
}

/// A usable key.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KeyView {
    pub(super) kid: Option<String>,
    pub(super) algorithms: String,
    /// Always `sig`: keys for another purpose are not used.
    #[serde(rename = "use")]
    usage: &'static str,
    /// RFC 7638, with SHA-256.
    pub(super) thumbprint: String,
    /// The time since this process first saw the key.
    pub(super) seen_seconds: Option<u64>,
    /// The time since the key last verified a token that was not remembered.
    last_used_seconds: Option<u64>,
    /// The only issuer whose tokens the key verifies, if it is restricted.
    issuer: Option<String>,
}

/// Whether tokens can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeysState {
    /// The keys are those of the last fetch.
    Current,
    /// The last fetch failed, and the keys of an earlier one are in use.
    Stale,
    /// The keys are those of an earlier run, and no fetch has ended yet.
    FromDisk,
    /// There are no keys, so tokens get 503.
    NoKeys,
}

impl KeysState {
    fn of(report: &KeysReport) -> Self {
        match report {
            KeysReport { keys: None, .. } => Self::NoKeys,
            KeysReport { error: Some(_), .. } => Self::Stale,
            KeysReport {
                from_disk: true, ..
            } => Self::FromDisk,
            KeysReport { .. } => Self::Current,
        }
    }

    pub(super) const fn is_good(self) -> bool {
        matches!(self, Self::Current)
    }

    /// The state in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "last fetch failed, older keys in use",
            Self::FromDisk => "stored keys in use until a fetch succeeds",
            Self::NoKeys => "no keys: its tokens get 503",
        }
    }
}

impl ProviderView {
    pub(super) fn fetched_words(&self) -> String {
        match (&self.fetched_at, self.age_seconds) {
            (Some(at), Some(age)) if self.discarded => format!(
                "{} ago, at {at}; discarded: older than `refresh.max_stale`",
                in_words(age)
            ),
            (Some(at), Some(age)) => format!("{} ago, at {at}", in_words(age)),
            _ => "never".to_owned(),
        }
    }

    pub(super) fn next_words(&self) -> String {
        match self.next_refresh_seconds {
            Some(0) => "now".to_owned(),
            Some(next) => format!("in {}", in_words(next)),
            None => "when its file or the configuration changes".to_owned(),
        }
    }

    pub(super) fn error_words(&self) -> String {
        let error = self.last_error.as_deref().unwrap_or("none");
        match &self.stored_keys_unused {
            Some(why) => format!("{error}; the stored keys are not used: {why}"),
            None => error.to_owned(),
        }
    }
}

impl KeyView {
    pub(super) fn seen_words(&self) -> String {
        self.seen_seconds.map(in_words).unwrap_or_default()
    }

    pub(super) fn used_words(&self) -> String {
        match self.last_used_seconds {
            None => "never".to_owned(),
            Some(seconds) => format!("{} ago", in_words(seconds)),
        }
    }
}

/// A time for people, with at most two units: `2h 5m`.
fn in_words(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

pub(super) async fn providers(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({ "providers": views(&admin.gate.generation(), admin.gate.now()) }))
}

/// All providers, in the order of the configuration.
pub(super) fn views(generation: &Generation, now: UnixTime) -> Vec<ProviderView> {
    let views = generation.policy.providers().filter_map(|(id, provider)| {
        let report = generation.jwks.report(id)?;
        let exemption = generation.jwks.exemption(id).map(|it| it.to_string());
        Some(ProviderView {
            exemption,
            ..view(provider, &report, now)
        })
    });
    views.collect()
}

fn view(provider: &Provider, report: &KeysReport, now: UnixTime) -> ProviderView {
    let keys = report.keys.as_deref();
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    ProviderView {
        name: provider.name.clone(),
        issuer: provider.terms.issuer.clone(),
        exemption: None,
        enforced: provider.is_enforced,
        state: KeysState::of(report),
        fetched_at: report.age.map(|age| now.saturating_sub(age).to_string()),
        age_seconds: seconds(report.age),
        discarded: report.discarded,
        next_refresh_seconds: seconds(report.next_fetch),
        clock_difference_seconds: report.clock.map(ClockDifference::seconds),
        last_error: report.error.as_ref().map(ToString::to_string),
        stored_keys_unused: report.stored.as_deref().map(str::to_owned),
        keys: keys
            .map(|keys| key_views(keys, report, now))
            .unwrap_or_default(),
        unused_keys: keys
            .into_iter()
            .flat_map(KeySet::unfit)
            .map(ToString::to_string)
            .collect(),
    }
}

fn key_views(keys: &KeySet, report: &KeysReport, now: UnixTime) -> Vec<KeyView> {
    let views = keys.iter().map(|key| {
        let thumbprint = key.thumbprint();
        let seen = report.seen.iter().find(|(other, _)| *other == thumbprint);
        KeyView {
            kid: key.kid().map(|kid| Escaped::from(kid).to_string()),
            algorithms: key.algorithms().to_string(),
            usage: "sig",
            thumbprint: thumbprint.to_string(),
            seen_seconds: seen.map(|(_, seen)| seen.as_secs()),
            last_used_seconds: key
                .last_use()
                .get()
                .map(|used| now.saturating_since(used).as_secs()),
            issuer: key.issuer().map(|issuer| Escaped::from(issuer).to_string()),
        }
    });
    views.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_too_old_keep_their_time() {
        let view = |discarded| ProviderView {
            name: "acme".to_owned(),
            issuer: "https://idp.example.com".to_owned(),
            state: KeysState::NoKeys,
            exemption: None,
            enforced: true,
            fetched_at: Some("2025-12-30T23:00:00Z".to_owned()),
            age_seconds: Some(90_000),
            discarded,
            next_refresh_seconds: None,
            clock_difference_seconds: None,
            last_error: Some("no answer".to_owned()),
            stored_keys_unused: discarded.then(|| "too old".to_owned()),
            keys: Vec::new(),
            unused_keys: Vec::new(),
        };
        for (discarded, fetched, error) in [
            (false, "1 d 1 h ago, at 2025-12-30T23:00:00Z", "no answer"),
            (
                true,
                "1 d 1 h ago, at 2025-12-30T23:00:00Z; discarded: older than `refresh.max_stale`",
                "no answer; the stored keys are not used: too old",
            ),
        ] {
            assert_eq!(view(discarded).fetched_words(), fetched);
            assert_eq!(view(discarded).error_words(), error);
        }
    }
}
