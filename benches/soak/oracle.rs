//! Says which answers are right.
//!
//! claimgate knows a key from the moment that it was served a key set with it, and no longer once it was
//! served one without it. In between, it may answer 503 (`keys_unavailable`), which is no verdict: see
//! "When keys rotate" in docs/operations.md. A provider that answers all fetches leaves it at most one
//! cool-down for that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::COOLDOWN;
use crate::configuration::Color;
use crate::provider::{Key, Times};

/// How long claimgate may take to use a key set that it was served.
const SETTLE: Duration = Duration::from_secs(1);

/// What a request should lead to.
pub struct Expected {
    /// The verdict if the token's key is known.
    pub verdict: Verdict,
    /// The key that the verdict depends on.
    pub key: Option<Arc<Key>>,
    /// Whether the key's provider answers all fetches.
    pub is_reliable: bool,
    /// The token names a key that no provider has.
    pub names_unknown_key: bool,
}

#[derive(Clone, Debug)]
pub enum Verdict {
    /// With these claim headers, or with none.
    Allow(Option<Identity>),
    /// This status and this reason.
    Deny(u16, &'static str),
}

/// What the upstream must see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub subject: String,
    pub client: String,
    /// The claims as they are in the token.
    pub payload: String,
}

/// An answer to a request.
pub struct Got {
    pub status: u16,
    /// The denial's id.
    pub id: Option<String>,
    /// The configuration that a denial shows.
    pub color: Option<String>,
    pub body: Vec<u8>,
    pub sent: Instant,
    pub answered: Instant,
}

/// What the oracle says about an answer.
pub struct Judged {
    pub finding: Finding,
    /// The answers that were right.
    pub expected: String,
    /// The token was valid, and nothing had to be fetched for it.
    pub is_prompt: bool,
}

/// Whether an answer keeps the promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// As expected.
    Right,
    /// No verdict, because the key was published but not fetched yet.
    Waiting,
    WrongAllow,
    WrongDenial,
    /// Denied, with another status or reason than the expected one.
    WrongReason,
    /// An answer of Envoy, or a denial by a bug.
    Unexplained,
    /// The upstream saw other claim headers than those of the token.
    WrongIdentity,
    /// The answer is not that of the configuration in force.
    WrongConfiguration,
}

impl Finding {
    /// What breaks a promise, and how the report calls it.
    pub const WRONG: [(Self, &'static str); 6] = [
        (Self::WrongAllow, "wrong allows"),
        (Self::WrongDenial, "wrong denials"),
        (Self::WrongReason, "denials for another reason"),
        (Self::Unexplained, "unexplained answers"),
        (Self::WrongIdentity, "wrong claim headers at the upstream"),
        (Self::WrongConfiguration, "answers of another configuration"),
    ];
}

/// What claimgate knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has the key.
    Known,
    /// It may not have the key yet.
    Coming,
    /// It may still have the key.
    Leaving,
    /// It has seen that the key is gone.
    Gone,
    /// The key is gone, and it never saw it.
    NeverSeen,
}

fn standing(key: &Key, is_reliable: bool, at: Instant) -> Standing {
    let Times {
        served,
        withdrawn,
        gone,
    } = key.times();
    let is_past = |time: Option<Instant>| time.is_some_and(|time| at >= time + SETTLE);
    if withdrawn.is_some_and(|withdrawn| at >= withdrawn) {
        return match (is_past(gone), served) {
            (true, Some(_)) => Standing::Gone,
            (true, None) => Standing::NeverSeen,
            (false, _) => Standing::Leaving,
        };
    }
    let is_due = is_reliable && is_past(Some(key.published + COOLDOWN));
    match is_past(served) || is_due {
        true => Standing::Known,
        false => Standing::Coming,
    }
}

/// A kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allow,
    Deny(u16, &'static str),
}

const NO_VERDICT: Answer = Answer::Deny(503, "keys_unavailable");
const INVALID: Answer = Answer::Deny(401, "invalid_token");

impl Expected {
    /// The answers that are right for a request with these times. A verdict comes first.
    fn answers(&self, sent: Instant, answered: Instant) -> Vec<Answer> {
        let verdict = match &self.verdict {
            Verdict::Allow(_) => Answer::Allow,
            Verdict::Deny(status, reason) => Answer::Deny(*status, reason),
        };
        let mut answers = vec![verdict];
        if self.names_unknown_key {
            answers.push(NO_VERDICT);
        }
        for at in [sent, answered] {
            let Some(key) = &self.key else { break };
            match standing(key, self.is_reliable, at) {
                Standing::Known => {}
                Standing::Coming => answers.push(NO_VERDICT),
                Standing::Leaving => answers.extend([INVALID, NO_VERDICT]),
                // The verdict on a key that is gone at both times is that it is invalid.
                Standing::Gone if at == sent => answers = vec![INVALID],
                Standing::NeverSeen if at == sent => answers = vec![INVALID, NO_VERDICT],
                Standing::Gone | Standing::NeverSeen => answers.push(INVALID),
            }
        }
        answers.dedup();
        answers
    }

    /// Compares an answer with what was expected. `color` is the configuration in force, unless it was
    /// being changed.
    pub fn judge(&self, got: &Got, color: Option<Color>) -> Judged {
        let answers = self.answers(got.sent, got.answered);
        Judged {
            finding: self.find(&answers, got, color),
            expected: format!("{answers:?}"),
            is_prompt: answers == [Answer::Allow],
        }
    }

    fn find(&self, answers: &[Answer], got: &Got, color: Option<Color>) -> Finding {
        let expects_allow = answers.contains(&Answer::Allow);
        if got.status == 200 {
            return match expects_allow {
                true => self.judge_allow(&got.body, color),
                false => Finding::WrongAllow,
            };
        }
        let body: Value = serde_json::from_slice(&got.body).unwrap_or_default();
        let reason = body["reason"].as_str().unwrap_or_default();
        let color_shown = got.color.as_deref().and_then(Color::named);
        let is_right = |answer: &Answer| match answer {
            Answer::Allow => false,
            Answer::Deny(status, code) => (got.status, reason) == (*status, code),
        };
        match color_shown {
            None => Finding::Unexplained,
            Some(shown) if color.is_some_and(|color| color != shown) => Finding::WrongConfiguration,
            Some(_) if !answers.iter().any(is_right) => match answers {
                _ if got.status >= 500 && reason != "keys_unavailable" => Finding::Unexplained,
                [Answer::Allow, ..] => Finding::WrongDenial,
                _ => Finding::WrongReason,
            },
            Some(_) if got.status == 503 && expects_allow => Finding::Waiting,
            Some(_) => Finding::Right,
        }
    }

    /// Compares what the upstream saw with the token's own claims.
    fn judge_allow(&self, body: &[u8], color: Option<Color>) -> Finding {
        let seen: Value = serde_json::from_slice(body).unwrap_or_default();
        let header = |name: &str| seen["headers"][name].as_str();
        let names = ["x-auth-subject", "x-auth-client", "x-auth-claims"];
        let found = names.map(header);
        let Verdict::Allow(identity) = &self.verdict else {
            return Finding::WrongAllow;
        };
        let Some(identity) = identity else {
            return match found == [None; 3] && seen["path"].is_string() {
                true => Finding::Right,
                false => Finding::WrongIdentity,
            };
        };
        if header("authorization").is_some() {
            return Finding::WrongIdentity;
        }
        let of = |color: Color| {
            let [subject, client] = match color {
                Color::Blue => [&identity.subject, &identity.client],
                Color::Green => [&identity.client, &identity.subject],
            };
            [subject, client, &identity.payload].map(|value| Some(value.as_str()))
        };
        match [Color::Blue, Color::Green]
            .into_iter()
            .find(|color| found == of(*color))
        {
            None => Finding::WrongIdentity,
            Some(shown) if color.is_some_and(|color| color != shown) => Finding::WrongConfiguration,
            Some(_) => Finding::Right,
        }
    }
}
