//! What the operator wrote, before anyone asks what it means. Field for field the YAML file: the
//! comments on the fields are the descriptions of the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub mod answers;
pub mod forms;
pub mod listen;
pub mod provider;
pub mod rules;
pub mod values;

use super::document::Field;
use answers::{Denials, ProtectedResource, ResponseHeader};
use forms::{ClaimPath, Duration, HeaderName, Size, SocketAddress};
use listen::Listens;
use provider::Provider;
use rules::Rule;

/// Configuration of claimgate, an Envoy external-authorization service that validates OpenID
/// Connect bearer tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(title = "claimgate", deny_unknown_fields, extend("required" = ["providers"]))]
pub struct Root {
    /// Where and how `Check` is served.
    pub server: Field<Server>,
    /// The operator's HTTP listener: health and metrics.
    pub admin: Field<Admin>,
    /// Whose tokens are accepted, and on what terms.
    #[schemars(length(min = 1))]
    pub providers: Field<Vec<Field<Provider>>>,
    /// The memory of verified tokens, whose signatures are not checked again.
    pub token_cache: Field<TokenCache>,
    /// What the upstream sees of a request that was allowed.
    pub upstream: Field<Upstream>,
    /// Headers that are set on the upstream's answer to a request that was allowed.
    pub response_headers: Field<Vec<Field<ResponseHeader>>>,
    /// How paths are compared with rules: `strict` (the default) decodes them, and refuses those
    /// that could be read in two ways; `as_is` compares byte by byte.
    #[schemars(with = "forms::Paths")]
    pub paths: Field<String>,
    /// What is required of which requests. The first rule that is about a request says; if none
    /// is, a valid token is required.
    pub rules: Field<Vec<Field<Rule>>>,
    /// What becomes of CORS preflight requests, which never have a token: `judge` (the default)
    /// leaves it to the rules, `allow` lets them pass. With a body it is none.
    #[schemars(with = "forms::CorsPreflight")]
    pub cors_preflight: Field<String>,
    /// APIs whose metadata (RFC 9728) is served, and named in challenges: what MCP clients need
    /// to find the authorization server.
    pub protected_resources: Field<Vec<Field<ProtectedResource>>>,
    /// What a refused caller reads.
    pub denials: Field<Denials>,
}

/// Where and how `Check` is served.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// One address or several: `host:port`, `unix:///path`, or `{ unix, mode, group }`. Default:
    /// `[::]:9001`, which takes IPv4 too; `0.0.0.0:9001` where the system has no IPv6.
    pub listen: Field<Listens>,
    /// How many connections there may be at once. One more closes the one that has been idle for
    /// longest. Default: 1024, or fewer where the limit of open files asks for it.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: Field<u32>,
    /// How long to keep answering after SIGTERM. Default: `5s`, at most `10m`.
    #[schemars(with = "Duration")]
    pub drain: Field<String>,
}

/// The operator's HTTP listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// `host:port`. Default: `127.0.0.1:9002`.
    #[schemars(with = "SocketAddress")]
    pub listen: Field<String>,
}

/// The memory of verified tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct TokenCache {
    /// How many are kept; none at 0. Default: 10000.
    #[schemars(range(max = 10_000_000))]
    pub max_entries: Field<u32>,
    /// How much memory they may take. Default: `64MiB`.
    #[schemars(with = "Size")]
    pub max_bytes: Field<String>,
}

/// What the upstream sees of a request that was allowed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Upstream {
    /// Headers that carry a claim each. They are set or removed on every allow, so no client can
    /// choose their value.
    pub claim_headers: Field<Vec<Field<ClaimHeader>>>,
    /// The header that carries all scopes, with spaces between them. Default: none.
    #[schemars(with = "HeaderName")]
    pub scope_header: Field<String>,
    /// The header that carries all claims: base64url of JSON. Default: none.
    #[schemars(with = "HeaderName")]
    pub payload_header: Field<String>,
    /// The longest claim that is sent as a header, encoded; for a longer one, the header is
    /// removed. Servers refuse headers over 8 to 64 KiB in all. Default: `4KiB`, from `1KiB` to
    /// `60KiB`.
    #[schemars(with = "Size")]
    pub max_header_bytes: Field<String>,
    /// Whether the upstream gets the token. `false` takes it away from where it was. Default:
    /// `true`.
    pub forward_token: Field<bool>,
    /// Whether Envoy's other filters and its access log get to know the decision, the reason and
    /// the claims, as dynamic metadata. Default: `true`.
    pub dynamic_metadata: Field<bool>,
}

/// A header that carries a claim.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["header", "claim"]))]
pub struct ClaimHeader {
    /// Its name, such as `x-auth-subject`.
    #[schemars(with = "HeaderName")]
    pub header: Field<String>,
    /// The claim: names with dots between them, or a JSON pointer.
    #[schemars(with = "ClaimPath")]
    pub claim: Field<String>,
}

/// Claims by path, each with the values of which it must have one.
pub type ClaimValues = BTreeMap<String, Field<values::Values>>;
