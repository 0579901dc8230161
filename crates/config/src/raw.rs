//! What the operator wrote, before its meaning is known. It mirrors the YAML file field by field,
//! and the comments on the fields are the descriptions in the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub mod answers;
pub mod decision_log;
pub mod forms;
pub mod listen;
pub mod provider;
pub mod rules;
pub mod telemetry;
pub mod values;

use super::document::Field;
use answers::{Denials, ProtectedResource, ResponseHeader};
use decision_log::DecisionLog;
use forms::{ClaimPath, Duration, HeaderName, HostName, OneOrMany, Size, Text};
use listen::{AdminListen, Listen, Listens, Tls};
use provider::RawProvider;
use rules::Rule;
use telemetry::Telemetry;
use values::Texts;

/// Configuration of claimgate, an Envoy external-authorization service that validates OpenID
/// Connect bearer tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(title = "claimgate", deny_unknown_fields, extend("required" = ["providers"]))]
pub struct Root {
    /// The gRPC server for `Check`.
    pub server: Field<Server>,
    /// The operator's HTTP listener, for a page, health and metrics.
    pub admin: Field<Admin>,
    /// What is logged. A reload changes it.
    pub log: Field<Log>,
    /// The decision log: one line of JSON for each decision. A reload changes it. Default: none.
    pub decision_log: Field<DecisionLog>,
    /// Where spans and metrics are sent.
    pub telemetry: Field<Telemetry>,
    /// The providers whose tokens are accepted, and on what terms.
    #[schemars(length(min = 1))]
    pub providers: Field<Vec<Field<RawProvider>>>,
    /// The cache of verified tokens, whose signatures are not checked again.
    pub token_cache: Field<TokenCache>,
    /// What the upstream receives with an allowed request.
    pub upstream: Field<Upstream>,
    /// Headers to set on the upstream's response to an allowed request.
    pub response_headers: Field<Vec<Field<ResponseHeader>>>,
    /// How paths are compared with rules. `strict` (the default) decodes them and refuses paths
    /// that could be read in two ways; `as_is` compares byte by byte.
    #[schemars(with = "forms::Paths")]
    pub paths: Field<String>,
    /// What each request requires. The first rule that matches a request decides; if none matches,
    /// a valid token is required.
    pub rules: Field<Vec<Field<Rule>>>,
    /// How CORS preflight requests are treated, which never carry a token: `judge` (the default)
    /// applies the rules, `allow` lets them pass. A request with a body is never a preflight.
    #[schemars(with = "forms::CorsPreflight")]
    pub cors_preflight: Field<String>,
    /// APIs whose metadata (RFC 9728) is served and named in challenges. MCP clients need it to
    /// find the authorization server.
    pub protected_resources: Field<Vec<Field<ProtectedResource>>>,
    /// What a refused caller receives.
    pub denials: Field<Denials>,
    /// Whether denials take effect. `false` lets requests pass that would be denied, and reports
    /// them: in the log, in `claimgate_would_deny_total` and in the dynamic metadata. Claim headers
    /// are set or removed as for any request. Default: `true`.
    pub enforce: Field<bool>,
}

/// The gRPC server for `Check`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// One address or several: `host:port`, `unix:///path`, or `{ unix, mode, group }`. Default:
    /// `[::]:9001`, which also accepts IPv4; `0.0.0.0:9001` if the system has no IPv6.
    pub listen: Field<Listens>,
    /// TLS for checks over TCP. Default: plain text. Unix domain sockets are always plain text.
    pub tls: Field<Tls>,
    /// The maximum number of connections at once. A further connection closes the one that has been
    /// idle longest. Default: 1024, or fewer if the limit of open files requires it.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: Field<u32>,
    /// The age at which a connection is closed, plus or minus up to 10 %, so that clients connect to
    /// new instances. Requests under way are answered. From `1s` to `24h`. Default: no limit.
    #[schemars(with = "Duration")]
    pub max_connection_age: Field<String>,
    /// How long the service keeps answering after SIGTERM, unless no client is connected. Default: `5s`,
    /// at most `10m`.
    #[schemars(with = "Duration")]
    pub drain: Field<String>,
}

/// The operator's HTTP listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// `host:port`, `unix:///path`, `{ unix, mode, group }`, or `off`. Default: `127.0.0.1:9002`.
    #[schemars(with = "AdminListen")]
    pub listen: Field<Listen>,
    /// TLS over TCP. Default: plain text. Unix domain sockets are always plain text.
    pub tls: Field<Tls>,
    /// A file with a token of at least 32 characters. With it, everything except `/livez` and
    /// `/readyz` requires `Authorization: Bearer TOKEN`. The file is read again when it changes.
    /// Default: no token.
    #[schemars(with = "Text")]
    pub token_file: Field<String>,
    /// The names under which clients may address the listener, without a port. IP addresses and
    /// `localhost` are always accepted, and over a Unix domain socket every name is. `/livez`,
    /// `/readyz` and `/metrics` accept every name. Default: none.
    #[schemars(with = "OneOrMany<HostName>")]
    pub allowed_hosts: Field<Texts>,
    /// Whether callers on other machines may have a token explained (`/explain`). Default: `false`,
    /// which allows only those on the same machine or in the same pod.
    pub explain: Field<bool>,
}

/// What is logged.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend(
        "if" = {"required": ["subject_key_file"]},
        "then" = {"properties": {"subject": {"const": "hash"}}, "required": ["subject"]},
    )
)]
pub struct Log {
    /// The least important lines that are written. `--log-level`, `CLAIMGATE_LOG` and `RUST_LOG` take
    /// precedence. Default: `info`.
    #[schemars(with = "forms::LogLevel")]
    pub level: Field<String>,
    /// How log lines and the list of denials name the subject and the client of a token: `plain` (the
    /// default) as they are, `hash` by a keyed hash, `omit` not at all.
    #[schemars(with = "forms::LogSubject")]
    pub subject: Field<String>,
    /// The file with the key of `subject: hash`, of at least 16 bytes. Instances with the same key write
    /// the same hashes. Default: a random key for each process.
    pub subject_key_file: Field<String>,
}

/// The cache of verified tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct TokenCache {
    /// The maximum number of tokens; 0 disables the cache. Default: 10000.
    #[schemars(range(max = 10_000_000))]
    pub max_entries: Field<u32>,
    /// The maximum memory. Default: `64MiB`.
    #[schemars(with = "Size")]
    pub max_bytes: Field<String>,
}

/// What the upstream receives with an allowed request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Upstream {
    /// Headers that each carry a claim. They are set or removed on every allow, so no client can
    /// choose their value.
    pub claim_headers: Field<Vec<Field<ClaimHeader>>>,
    /// The header that carries all scopes, separated by spaces. Default: none.
    #[schemars(with = "HeaderName")]
    pub scope_header: Field<String>,
    /// The header that carries all claims, as base64url of JSON. Default: none.
    #[schemars(with = "HeaderName")]
    pub payload_header: Field<String>,
    /// The maximum length of a claim sent as a header, after encoding. If a claim is longer, its
    /// header is removed. Servers refuse headers over 8 to 64 KiB in total. Default: `4KiB`, from
    /// `1KiB` to `60KiB`.
    #[schemars(with = "Size")]
    pub max_header_bytes: Field<String>,
    /// Whether the upstream receives the token. `false` removes it from its place. Default: `true`.
    pub forward_token: Field<bool>,
    /// Cookies that the upstream does not receive, such as those of a login in front: names, or
    /// prefixes followed by `*`. The other cookies stay as they are. Default: none.
    #[schemars(with = "Vec<forms::CookiePattern>")]
    pub remove_cookies: Field<Vec<Field<String>>>,
    /// What happens to a request with a header that must not reach the upstream, such as a claim header.
    /// `refuse` answers 400 and is for callers of `Check` that do not remove headers. Default:
    /// `remove`.
    #[schemars(with = "forms::Spoofed")]
    pub spoofed: Field<String>,
    /// Whether Envoy's other filters and its access log receive the decision, the reason and the
    /// claims as dynamic metadata. Default: `true`.
    pub dynamic_metadata: Field<bool>,
}

/// A header that carries a claim.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["header", "claim"]))]
pub struct ClaimHeader {
    /// The header's name, such as `x-auth-subject`.
    #[schemars(with = "HeaderName")]
    pub header: Field<String>,
    /// The claim: names separated by dots, or a JSON pointer.
    #[schemars(with = "ClaimPath")]
    pub claim: Field<String>,
}

/// Claims by path, each with its accepted values.
pub type ClaimValues = BTreeMap<String, Field<values::Values>>;
