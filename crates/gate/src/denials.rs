//! The last denials, for an operator who asks why a request was refused.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use serde::Serialize;

use claimgate_core::escaped::Escaped;
use claimgate_core::request::Request;
use claimgate_core::secrets::without_jwts;

/// The number of denials kept. Each takes at most about 2 KiB.
const MAX_RECORDS: usize = 1024;

/// The maximum length of a path in bytes. [`Escaped`] shows 120 characters.
const MAX_PATH_BYTES: usize = 512;

/// A request that was denied or would have been, without its credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DenialRecord {
    /// When it was denied (RFC 3339).
    pub time: String,
    /// The request's id, which a denied caller was told.
    pub request_id: String,
    /// Whether the request was denied. If not, the denial was only observed (`enforce: false`).
    pub enforced: bool,
    /// The trace that the caller belongs to (W3C Trace Context).
    pub trace_id: Option<String>,
    /// The request's method.
    pub method: Option<String>,
    /// The request's host.
    pub host: Option<String>,
    /// The request's path, without the query.
    pub path: Option<String>,
    /// The address of the sender, as the proxy sees it.
    pub source: Option<String>,
    /// The reason code.
    pub reason: &'static str,
    /// The rule that applies, if one was found.
    pub rule: Option<String>,
    /// The configured provider that the token claims to be from.
    pub provider: Option<String>,
    /// The `sub` of a valid token.
    pub subject: Option<String>,
    /// The client that a valid token was issued to: `azp` or `client_id`.
    pub client: Option<String>,
    /// Seconds since the provider's keys were fetched, if that matters.
    pub keys_age_seconds: Option<u64>,
    /// What was wrong.
    pub detail: String,
    /// The likely cause. Computed only for the first denials of each reason in a window.
    pub hint: Option<String>,
    /// The section of the documents about the reason.
    pub see: String,
}

impl DenialRecord {
    /// The facts of a request, escaped and cut.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let (path, _) = request.split_path();
        Self {
            trace_id: request.trace_id().map(str::to_owned),
            method: shown(request.method),
            host: shown(request.host),
            path: escaped(&without_tokens(path, MAX_PATH_BYTES)),
            source: shown(request.source.address),
            ..Self::default()
        }
    }
}

fn shown(text: &str) -> Option<String> {
    escaped(&without_jwts(text))
}

fn escaped(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| Escaped::from(text).to_string())
}

/// Cuts whatever looks like a JWT, and an encoded query. Looks only at the first `max_bytes` of a path.
pub(crate) fn without_tokens(path: &str, max_bytes: usize) -> Cow<'_, str> {
    let shown = path.get(..path.floor_char_boundary(max_bytes));
    let shown = shown.unwrap_or_default();
    let query = encoded_query(shown).unwrap_or(shown.len());
    let (shown, _) = shown.split_at(query);
    without_jwts(shown)
}

/// Where an encoded query begins: `%3F`, `%253F`, and so on.
fn encoded_query(path: &str) -> Option<usize> {
    let mut signs = path.match_indices('%').map(|(at, _)| at);
    signs.find(|at| {
        let escape = path.get(at + 1..).unwrap_or_default();
        let escape = escape.trim_start_matches("25").as_bytes();
        escape
            .get(..2)
            .is_some_and(|two| two.eq_ignore_ascii_case(b"3f"))
    })
}

/// The last denials. Writing takes no lock.
#[derive(Debug)]
pub struct RecentDenials {
    records: Box<[ArcSwapOption<DenialRecord>]>,
    /// The number of denials so far.
    count: AtomicUsize,
}

impl Default for RecentDenials {
    fn default() -> Self {
        let records = std::iter::repeat_with(ArcSwapOption::empty);
        Self {
            records: records.take(MAX_RECORDS).collect(),
            count: AtomicUsize::new(0),
        }
    }
}

impl RecentDenials {
    pub(crate) fn add(&self, record: DenialRecord) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.records.get(number % MAX_RECORDS) {
            slot.store(Some(Arc::new(record)));
        }
    }

    /// The denials, newest first.
    pub fn newest(&self) -> impl Iterator<Item = Arc<DenialRecord>> {
        let count = self.count.load(Ordering::Relaxed);
        let slots = (1..=MAX_RECORDS.min(count)).map(move |back| (count - back) % MAX_RECORDS);
        slots.filter_map(|slot| self.records.get(slot)?.load_full())
    }

    /// The newest denial with this request id or trace id, with [its hint](Self::hint).
    pub fn find(&self, id: &str) -> Option<DenialRecord> {
        let is_it = |record: &DenialRecord| {
            record.request_id == id || record.trace_id.as_deref() == Some(id)
        };
        let found = self.newest().find(|record| is_it(record))?;
        Some(DenialRecord {
            hint: self.hint(&found),
            ..DenialRecord::clone(&found)
        })
    }

    /// The hint of a denial. If it was not computed, that of the newest similar denial: one with the
    /// same reason, rule and provider.
    pub fn hint(&self, record: &DenialRecord) -> Option<String> {
        let is_similar = |other: &DenialRecord| {
            (other.reason, &other.rule, &other.provider)
                == (record.reason, &record.rule, &record.provider)
        };
        let of_similar = || {
            let mut others = self.newest().filter(|other| is_similar(other));
            others.find_map(|other| other.hint.clone())
        };
        record.hint.clone().or_else(of_similar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: usize, hint: Option<&str>) -> DenialRecord {
        DenialRecord {
            request_id: id.to_string(),
            reason: "expired",
            hint: hint.map(str::to_owned),
            ..DenialRecord::default()
        }
    }

    #[test]
    fn the_newest_are_kept() {
        let denials = RecentDenials::default();
        assert_eq!(denials.newest().count(), 0);
        for id in 0..MAX_RECORDS + 10 {
            denials.add(record(id, None));
        }
        let ids: Vec<String> = denials.newest().map(|it| it.request_id.clone()).collect();
        assert_eq!(ids.len(), MAX_RECORDS);
        assert_eq!(ids[0], (MAX_RECORDS + 9).to_string());
        assert_eq!(ids[MAX_RECORDS - 1], "10");
        assert!(denials.find("9").is_none());
        assert!(denials.find("10").is_some());
    }

    #[test]
    fn a_missing_hint_is_that_of_a_similar_denial() {
        let denials = RecentDenials::default();
        denials.add(record(1, Some("the clock")));
        denials.add(record(2, None));
        let hint = denials.find("2").unwrap().hint;
        assert_eq!(hint.as_deref(), Some("the clock"));
    }

    #[test]
    fn no_token_in_a_path() {
        for (path, expected) in [
            ("/orders/7?access_token=eyJhbGciOi", "/orders/7"),
            ("/reset/eyJhbGciOiJub25lIn0.e30.c2ln/now", "/reset/eyJ…/now"),
            ("/v1;jwt=eyJhbGciOi.e30.c2ln", "/v1;jwt=eyJ…"),
            (
                "/login;token=eyJhbGciOi.e30.c2ln;a=b/c",
                "/login;token=eyJ…;a=b/c",
            ),
            ("/x/token=eyJhbGciOi", "/x/token=eyJ…"),
            ("/x/Bearer%20eyJhbGciOi.e30.c2ln", "/x/Bearer%20eyJ…"),
            ("/x/%3DeyJhbGciOi.eyJpc3Mi.c2ln", "/x/%3DeyJ…"),
            ("/orders%3Faccess_token=opaque", "/orders"),
        ] {
            let request = Request {
                path,
                ..Request::default()
            };
            assert_eq!(DenialRecord::of(&request).path.unwrap(), expected);
        }
    }
}
