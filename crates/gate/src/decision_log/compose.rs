//! Makes the record of a decision: what rules look at, without tokens and unlisted claims.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::parts::{self, Withheld};
use super::queue::{LINE_BYTES, Queue};
use super::record::{Cause, ClaimValue, ConfigurationRecord, DecisionRecord, HeaderValue, Verdict};
use super::sample::is_sampled;
use super::token_state::{bearer, token_state};
use super::{DecisionLog, Destination};
use crate::subjects::Subjects;
use crate::{Circumstances, Judged};
use claimgate_config::{Config, ConfigHash, DecisionLog as Settings, LoggedAllows};
use claimgate_core::answer;
use claimgate_core::decision::{Decision, Fault};
use claimgate_core::identity::Bearer;
use claimgate_core::policy::Policy;
use claimgate_core::policy::inputs::Inputs;
use claimgate_core::policy::rules::RULE_EXTENSION;
use claimgate_core::request::Request;
use claimgate_core::request::by_header_name::ByHeaderName;
use claimgate_core::secrets::{looks_like_token, names_secret};
use claimgate_core::time::UnixTime;
use claimgate_core::token::claims::ClaimPath;
use claimgate_core::token::source::TokenSource;

/// How a record begins. The writer puts the number in.
pub(super) const BODY_START: &[u8] = br#"{"n":0,"#;

/// The maximum length of all header values in bytes, so that no record takes more than some 64 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Makes the records of one configuration.
#[derive(Debug)]
pub(crate) struct Recorder {
    queue: Arc<Queue>,
    destination: Destination,
    allow: LoggedAllows,
    /// The claims to write, by their names in records.
    claims: Vec<(String, ClaimPath)>,
    subjects: Subjects,
    inputs: Inputs,
    headers: ByHeaderName<Treatment>,
    configuration: String,
}

/// What happens to a header that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Write,
    /// It may carry a token or a secret.
    Withhold,
}

impl Recorder {
    /// The recorder of a configuration. `None` if it writes no decision log.
    pub(crate) async fn start(config: &Config, log: &DecisionLog) -> Option<Self> {
        let settings = config.decision_log.as_ref()?;
        let queue = match log.queue() {
            Ok(queue) => queue,
            Err(error) => {
                tracing::error!(%error, "cannot start the decision log; no decisions are written");
                return None;
            }
        };
        let Settings {
            target,
            allow,
            claims,
            subject,
        } = settings;
        let inputs = Inputs::of(config.policy.rules());
        let claims = claims.iter().map(|path| (path.to_string(), path.clone()));
        let destination = Destination {
            target: target.clone(),
            head: head(settings, &inputs, &config.hash),
        };
        Some(Self {
            queue,
            destination,
            allow: *allow,
            claims: claims.collect(),
            subjects: Subjects::load(subject).await,
            headers: treatments(&inputs, &config.policy),
            inputs,
            configuration: config.hash.to_string(),
        })
    }

    /// Where its records go.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Records a decision, if it is one of those to write.
    pub(crate) fn record(
        &self,
        judged: &Judged,
        circumstances: Circumstances<'_, '_>,
        now: Option<UnixTime>,
    ) {
        if !self.writes(judged, circumstances) {
            return;
        }
        let mut line = Vec::with_capacity(LINE_BYTES);
        let unread = Request::default();
        let request = circumstances.request.unwrap_or(&unread);
        append(
            &mut line,
            &self.compose(judged, request, circumstances, now),
        );
        self.queue.put(line);
    }

    fn writes(&self, judged: &Judged, circumstances: Circumstances<'_, '_>) -> bool {
        let decision = judged.decision();
        let policy = &judged.generation().policy;
        let rule = decision.rule().and_then(|id| policy.rule(id));
        decision.denial().is_some()
            || rule.is_some_and(|rule| rule.is_audited)
            || match self.allow {
                LoggedAllows::All => true,
                LoggedAllows::None => false,
                LoggedAllows::Sampled(ratio) => is_sampled(circumstances, ratio),
            }
    }

    fn compose<'r>(
        &'r self,
        judged: &'r Judged,
        request: &'r Request<'r>,
        circumstances: Circumstances<'_, '_>,
        now: Option<UnixTime>,
    ) -> DecisionRecord<'r> {
        let policy = &judged.generation().policy;
        let decision = judged.decision();
        let denial = decision.denial();
        let bearer = bearer(decision);
        let mut withheld = Withheld::default();
        let (path, query) = request.split_path();
        let (path, path_cut) = parts::shown_path(path);
        let query = !query.is_empty() || request.path.contains('?');
        if query && self.inputs.query {
            withheld.note("query");
        }
        if let Some(Fault::SpoofedHeader(name)) = denial.map(|denial| &denial.fault) {
            withheld.note(name.to_string().to_ascii_lowercase());
        }
        if self.inputs.source && !request.source.certificate.is_empty() {
            withheld.note("source.certificate");
        }
        let reason = denial.map(|denial| Cow::Borrowed(denial.reason().code()));
        let is_denied = matches!(decision, Decision::Deny(_));
        let named = |name: &'r str| (!name.is_empty()).then_some(Cow::Borrowed(name));
        let trace_id = circumstances.trace_id.map(|id| format!("{id:032x}").into());
        let place = bearer.map(|bearer| &*bearer.place);
        let place = place.filter(|place| **place != TokenSource::authorization());
        DecisionRecord {
            n: 0,
            time: now
                .map(|now| now.with_millis().to_string())
                .unwrap_or_default()
                .into(),
            configuration: Cow::Borrowed(&self.configuration),
            request_id: judged.id().or_else(|| request.id()).map(Cow::Borrowed),
            trace_id: trace_id.or_else(|| request.trace_id().map(Cow::Borrowed)),
            decision: match decision {
                Decision::Allow(_) => Verdict::Allow,
                Decision::Deny(_) => Verdict::Deny,
                Decision::Respond(_) => Verdict::Respond,
            },
            reason: reason.clone().filter(|_| is_denied),
            would_be: reason.filter(|_| !is_denied),
            status: answer::status(decision, request),
            rule: decision
                .rule()
                .and_then(|id| policy.rule(id))
                .map(|rule| Cow::Borrowed(rule.name.as_str())),
            provider: decision
                .provider()
                .and_then(|id| policy.provider(id))
                .map(|provider| Cow::Borrowed(provider.name.as_str())),
            token: token_state(decision, policy, request),
            token_from: place.map(|place| place.to_string().into()),
            subject: bearer.and_then(|bearer| self.subject(bearer, &mut withheld)),
            claims: bearer
                .map(|bearer| self.claims(bearer, &mut withheld))
                .unwrap_or_default(),
            method: withheld.unless_secret("method", request.method),
            host: withheld.unless_secret("host", request.host),
            path,
            path_cut,
            path_bytes: parts::path_bytes(request),
            query,
            conflict: request.conflict.map(parts::part),
            grpc: request.is_grpc(),
            preflight: request.is_cors_preflight(),
            headers: self.headers(request, &mut withheld),
            context: self.context(request, &mut withheld),
            source: named(request.source.address)
                .map(|_| withheld.unless_secret("source.address", request.source.address)),
            source_principal: named(request.source.principal)
                .map(|_| withheld.unless_secret("source.principal", request.source.principal)),
            withheld: withheld.0,
            took_us: micros(circumstances.took),
        }
    }

    fn subject<'r>(&self, bearer: &'r Bearer, withheld: &mut Withheld<'r>) -> Option<Cow<'r, str>> {
        let subject = bearer.token().claims().subject()?;
        match self.subjects.exact(subject)? {
            Cow::Borrowed(plain) => Some(withheld.unless_secret("subject", plain)),
            Cow::Owned(hash) => Some(Cow::Owned(hash)),
        }
    }

    fn claims<'r>(
        &'r self,
        bearer: &'r Bearer,
        withheld: &mut Withheld<'r>,
    ) -> BTreeMap<Cow<'r, str>, ClaimValue<'r>> {
        let mut found = BTreeMap::new();
        let claims = bearer.token().claims();
        for (name, path) in &self.claims {
            let Some(value) = claims.at_or_null(path) else {
                continue;
            };
            match parts::is_writable(value) {
                true => {
                    found.insert(Cow::Borrowed(name.as_str()), ClaimValue::InToken(value));
                }
                false => withheld.note(format!("claims.{name}")),
            }
        }
        found
    }

    /// The lines of the headers that rules look at. A header is written with all its lines or not at
    /// all.
    fn headers<'r>(
        &self,
        request: &'r Request<'r>,
        withheld: &mut Withheld<'r>,
    ) -> BTreeMap<Cow<'r, str>, Vec<HeaderValue<'r>>> {
        let mut found: BTreeMap<Cow<'r, str>, Vec<HeaderValue<'r>>> = BTreeMap::new();
        if self.headers.is_empty() {
            return found;
        }
        let mut bytes = 0;
        for (name, value) in request.headers.lines() {
            let treatments = self.headers.get(name);
            if treatments.is_empty() {
                continue;
            }
            let name = parts::lower_case(name);
            bytes += value.len();
            let is_withheld = treatments.contains(&Treatment::Withhold)
                || bytes > MAX_HEADER_BYTES
                || looks_like_token(&String::from_utf8_lossy(value));
            if is_withheld || withheld.has(&name) {
                found.remove(&name);
                withheld.note(name);
                continue;
            }
            let value = parts::header_value(value);
            match found.entry(name) {
                Entry::Occupied(mut lines) => lines.get_mut().push(value),
                Entry::Vacant(first) => {
                    first.insert(vec![value]);
                }
            }
        }
        found
    }

    fn context<'r>(
        &self,
        request: &Request<'r>,
        withheld: &mut Withheld<'r>,
    ) -> BTreeMap<Cow<'r, str>, Cow<'r, str>> {
        let mut found = BTreeMap::new();
        for (name, value) in &request.context {
            if !self.inputs.context && *name != RULE_EXTENSION {
                continue;
            }
            let is_secret = names_secret(name) || parts::is_unfit(name) || parts::is_unfit(value);
            match is_secret {
                true if parts::is_unfit(name) => withheld.note("context"),
                true => withheld.note(format!("context.{name}")),
                false => {
                    found.insert(Cow::Borrowed(*name), Cow::Borrowed(*value));
                }
            }
        }
        found
    }
}

/// Appends JSON. Nothing that is written here fails to become JSON.
pub(super) fn append(line: &mut Vec<u8>, record: &impl Serialize) {
    let before = line.len();
    if let Err(error) = serde_json::to_writer(&mut *line, record) {
        line.truncate(before);
        tracing::error!(%error, "cannot write a line of the decision log; this is a bug");
    }
}

fn head(settings: &Settings, inputs: &Inputs, hash: &ConfigHash) -> ConfigurationRecord {
    let claims = settings.claims.iter().map(ClaimPath::to_string);
    ConfigurationRecord {
        n: 0,
        time: String::new(),
        cause: Cause::Started,
        instance: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration: hash.to_string(),
        claims: claims.collect(),
        headers: inputs.headers.iter().cloned().collect(),
        other_headers: inputs.other_headers,
        allow: settings.allow.name().to_owned(),
        sample_ratio: match settings.allow {
            LoggedAllows::Sampled(ratio) => Some(ratio),
            LoggedAllows::All | LoggedAllows::None => None,
        },
    }
}

/// What happens to each header that rules look at.
fn treatments(inputs: &Inputs, policy: &Policy) -> ByHeaderName<Treatment> {
    let places = policy.token_places().all();
    let carriers: Vec<&str> = places.iter().filter_map(|place| place.header()).collect();
    let mut treatments = ByHeaderName::default();
    for name in &inputs.headers {
        let name = name.as_str();
        let is_secret = carriers.contains(&name) || names_secret(name);
        let treatment = match is_secret {
            true => Treatment::Withhold,
            false => Treatment::Write,
        };
        treatments.insert(name, treatment);
    }
    treatments
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
