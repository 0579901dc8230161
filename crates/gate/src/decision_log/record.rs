//! The lines of the decision log, as they are written and read.
//!
//! A record holds what rules can look at, exactly, or says what it leaves out. It never holds a
//! token, and of the claims only those that the operator lists.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use claimgate_core::token::json::{Json, Number};

/// The JSON Schema (2020-12) of one line.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Line<'_>>().to_value();
    if let Some(members) = schema.as_object_mut() {
        let id = "https://claimgate/decision-log.schema.json";
        members.insert("$id".to_owned(), id.into());
    }
    schema
}

/// One line of the decision log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(title = "claimgate decision log")]
pub enum Line<'a> {
    /// What the following lines mean. It begins every file, and follows every reload.
    Configuration(ConfigurationRecord),
    /// A decision.
    Decision(Box<DecisionRecord<'a>>),
    /// Decisions that were not written, because the file was not writable or the writer could not
    /// keep up.
    Lost(LostRecord),
    /// The instance stopped in order and wrote everything that it had. A file in which another
    /// instance follows without this line lacks the last decisions of the earlier instance.
    Stopped(StoppedRecord),
}

impl Line<'static> {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a line of the log: a crash may have cut it, or a newer version may
    /// have written it.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        // Not derived: a derived implementation buffers the line, and numbers would lose digits.
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Configuration,
            Decision,
            Lost,
            Stopped,
        }
        #[derive(Deserialize)]
        struct Tag {
            kind: Kind,
        }
        let Tag { kind } = serde_json::from_str(text)?;
        Ok(match kind {
            Kind::Configuration => Self::Configuration(serde_json::from_str(text)?),
            Kind::Decision => Self::Decision(serde_json::from_str(text)?),
            Kind::Lost => Self::Lost(serde_json::from_str(text)?),
            Kind::Stopped => Self::Stopped(serde_json::from_str(text)?),
        })
    }
}

/// What the following lines mean.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ConfigurationRecord {
    /// The number of the next decision.
    pub n: u64,
    /// When the line was written (RFC 3339, UTC).
    pub time: String,
    /// Why the line was written.
    pub cause: Cause,
    /// The process that writes: a random id. Its decisions are numbered from 1.
    pub instance: String,
    /// The version of claimgate.
    pub version: String,
    /// The hash of the configuration, as `claimgate_config_info` shows it.
    pub configuration: String,
    /// The claims that are written: paths, as rules name them. A listed claim that a record does
    /// not have was absent from the token.
    pub claims: Vec<String>,
    /// The headers that rules look at, in lower case.
    pub headers: Vec<String>,
    /// Whether a condition looks at headers that it does not name, so that records do not hold
    /// all headers that it may have read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub other_headers: bool,
    /// Which requests that were allowed are written: `all`, `none` or `sampled`.
    pub allow: String,
    /// The share of allowed requests that are written, if `allow` is `sampled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
}

/// Why a configuration line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The instance started. If the file's last line before this one is not `stopped`, an earlier
    /// instance ended without writing its last decisions.
    Started,
    /// The configuration was loaded again.
    Reloaded,
    /// The earlier file reached its maximum size.
    Rotated,
    /// Another program moved or removed the earlier file.
    Reopened,
}

/// Decisions that were not written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct LostRecord {
    /// The number of the first one. The next decision has the number `n + count`.
    pub n: u64,
    /// When the line was written (RFC 3339, UTC).
    pub time: String,
    /// How many decisions are lost.
    pub count: u64,
}

/// The orderly end of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct StoppedRecord {
    /// The number that the next decision would have had: one more than the number of decisions.
    pub n: u64,
    /// When the line was written (RFC 3339, UTC).
    pub time: String,
}

/// A decision about a request.
///
/// Texts are as the client sent them. A part that looks like a token or a secret is left out, and
/// [`withheld`](Self::withheld) names it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with a name of its own"
)]
pub struct DecisionRecord<'a> {
    /// The number of the decision: 1 for the first of an instance, and ascending without gaps. Lost
    /// decisions have numbers too.
    pub n: u64,
    /// When it was made (RFC 3339, UTC, with milliseconds).
    pub time: Cow<'a, str>,
    /// The hash of the configuration that made it.
    pub configuration: Cow<'a, str>,
    /// The request's id: `x-request-id`, else the trace id. A denied request without one has the
    /// id that its caller was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// The trace that the request belongs to (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Cow<'a, str>>,

    /// Whether the request was allowed.
    pub decision: Verdict,
    /// Why it was denied: a reason code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// Why it would have been denied, if the denial was only observed (`enforce: false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_be: Option<Cow<'a, str>>,
    /// The HTTP status that the caller was sent in place of the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The rule that applied, if one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'a, str>>,
    /// The configured provider that the token is from, or claims to be from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Cow<'a, str>>,
    /// What was found out about the token.
    pub token: TokenState,
    /// Where the request carried a valid token, if not in `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<Cow<'a, str>>,
    /// The `sub` of a valid token: hashed, unless `decision_log.subject` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Cow<'a, str>>,
    /// The listed claims of a valid token by path, as JSON with exact numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<Cow<'a, str>, ClaimValue<'a>>,

    /// The method. Empty if the proxy sent none.
    pub method: Cow<'a, str>,
    /// The authority with its port.
    pub host: Cow<'a, str>,
    /// The path without its query. If [`path_cut`](Self::path_cut) is set, parts are replaced by
    /// `\u{2026}`.
    pub path: Cow<'a, str>,
    /// Whether parts of the path were left out: what looks like a token, an encoded query, and what
    /// exceeds the maximum length.
    #[serde(default, skip_serializing_if = "is_false")]
    pub path_cut: bool,
    /// Whether the proxy also sent the path's bytes, as far as that can matter.
    #[serde(default, skip_serializing_if = "PathBytes::is_usual")]
    pub path_bytes: PathBytes,
    /// Whether the path had a query. Queries are never written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub query: bool,
    /// What the check described twice, and differently: `method`, `host`, `path` or `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<Part>,
    /// Whether the client speaks gRPC.
    #[serde(default, skip_serializing_if = "is_false")]
    pub grpc: bool,
    /// Whether it was a CORS preflight.
    #[serde(default, skip_serializing_if = "is_false")]
    pub preflight: bool,
    /// The headers that rules look at, and other spellings of their names (`x_y` for `x-y`): names
    /// in lower case, values in the order in which they were sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<Cow<'a, str>, Vec<HeaderValue<'a>>>,
    /// The context extensions of the proxy's route that rules look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The sender's IP address, as the proxy sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    /// The name in the sender's TLS certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_principal: Option<Cow<'a, str>>,
    /// What rules look at and the record leaves out: the name of a header, `query`, `host`,
    /// `context.NAME`, `source.certificate` and so on. A part that was absent is not named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Cow<'a, str>>,

    /// The time from the arrival of the check to its answer, in microseconds.
    pub took_us: u64,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The request passed.
    Allow,
    /// The request was denied.
    Deny,
    /// claimgate answered it with the metadata of a resource.
    Respond,
}

/// What was found out about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// The request had none.
    Absent,
    /// Nobody looked for one: the rule requires none, or the request was denied before.
    Unread,
    /// It was malformed, or its check failed.
    Rejected,
    /// It could not be checked, because the provider's keys were not available.
    Unverified,
    /// It was valid.
    Valid,
}

/// What the bytes of the path say beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathBytes {
    /// Nothing: the proxy did not send them; or they are the same, and the text alone shows it,
    /// because it has no `!`.
    #[default]
    Usual,
    /// They are the same, so a `!` in the path is one that the client sent.
    Same,
    /// The proxy replaced bytes of the path that are not UTF-8.
    Replaced,
    /// The proxy replaced bytes of the query only.
    QueryReplaced,
}

impl PathBytes {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "`skip_serializing_if` passes a reference"
    )]
    fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}

/// A part of a request that a check describes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path.
    Path,
    /// The query.
    Query,
}

/// The value of one header line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderValue<'a> {
    /// A value that is UTF-8.
    Text(Cow<'a, str>),
    /// A value that is not UTF-8.
    Bytes {
        /// The bytes (RFC 4648 §4, padded).
        base64: Cow<'a, str>,
    },
}

/// A claim's value: any JSON. Numbers are exact.
#[derive(Clone)]
pub enum ClaimValue<'a> {
    /// A value in a token.
    InToken(Json<'a>),
    /// A value that was read from a log.
    Read(Box<RawValue>),
}

impl std::fmt::Debug for ClaimValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for ClaimValue<'_> {
    /// The value as JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InToken(value) => value.fmt(f),
            Self::Read(text) => f.write_str(text.get()),
        }
    }
}

impl Serialize for ClaimValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::InToken(Json::String(text)) => serializer.serialize_str(text),
            Self::InToken(Json::Bool(truth)) => serializer.serialize_bool(*truth),
            Self::InToken(Json::Number(Number::Integer(number))) => {
                serializer.serialize_i64(*number)
            }
            // The text keeps every digit.
            Self::InToken(value) => RawValue::from_string(value.to_string())
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
            Self::Read(text) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClaimValue<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::deserialize(deserializer).map(Self::Read)
    }
}

impl JsonSchema for ClaimValue<'_> {
    fn schema_name() -> Cow<'static, str> {
        "ClaimValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "Any JSON. Numbers are exact."})
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "`skip_serializing_if` passes a reference"
)]
fn is_false(truth: &bool) -> bool {
    !truth
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read and written again is the same text: nothing is lost, digits included.
    #[test]
    fn lines_survive_reading() {
        for line in [
            r#"{"kind":"configuration","n":1,"time":"2026-01-31T10:00:00.000Z","cause":"started","instance":"5f","version":"0.2.0","configuration":"8e0b","claims":["sub"],"headers":["x-env"],"other_headers":true,"allow":"sampled","sample_ratio":0.5}"#,
            r#"{"kind":"decision","n":2,"time":"2026-01-31T10:00:00.123Z","configuration":"8e0b","decision":"allow","token":"unread","method":"GET","host":"a.example","path":"/","took_us":7}"#,
            r#"{"kind":"decision","n":3,"time":"2026-01-31T10:00:00.123Z","configuration":"8e0b","request_id":"1","trace_id":"2","decision":"deny","reason":"expired","would_be":"expired","status":401,"rule":"default","provider":"a","token":"valid","token_from":"cookie `s`","subject":"5f","claims":{"a":{"b":[1e400,12345678901234567890123,0.10]},"c":"\u001b\"\n"},"method":"GET","host":"a.example","path":"/…","path_cut":true,"path_bytes":"replaced","query":true,"conflict":"host","grpc":true,"preflight":true,"headers":{"x-env":["a",{"base64":"/w=="}]},"context":{"claimgate.rule":"a"},"source":"10.0.0.1","source_principal":"spiffe://a/b","withheld":["x-key"],"took_us":7}"#,
            r#"{"kind":"lost","n":4,"time":"2026-01-31T10:00:00.123Z","count":2}"#,
            r#"{"kind":"stopped","n":6,"time":"2026-01-31T10:00:00.123Z"}"#,
        ] {
            let read = Line::read(line).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), line);
        }
    }

    #[test]
    fn what_is_no_line() {
        for text in [
            "",
            "{}",
            r#"{"kind":"decision","n":2,"time":"2026-01-31T10:00"#,
            r#"{"kind":"other","n":4}"#,
        ] {
            assert!(Line::read(text).is_err(), "{text}");
        }
    }
}
