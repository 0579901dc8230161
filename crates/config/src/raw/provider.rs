//! A provider, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ClaimValues;
use super::forms::{
    self, Algorithm, ClaimPath, CookieName, Duration, HeaderNameAsSent, KeyUrl, OneOrMany,
    ProviderName, Proxy, QueryName, Scheme, Size, Text,
};
use super::values::{Inline, Texts};
use crate::document::Field;

/// An OpenID provider whose tokens are accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["issuer", "audiences"]))]
pub struct Provider {
    /// What logs, metrics and rules call it. Default: the issuer's host.
    #[schemars(with = "ProviderName")]
    pub name: Field<String>,
    /// The exact `iss` of its tokens; discovery starts here. May hold `{tenantid}`, or be a SPIFFE
    /// trust domain.
    #[schemars(with = "Text")]
    pub issuer: Field<String>,
    /// Other exact `iss` values of the same provider.
    #[schemars(with = "OneOrMany<Text>")]
    pub issuer_aliases: Field<Texts>,
    /// For an issuer with `{tenantid}` in it: the ids of the tenants whose tokens are accepted, or
    /// `any`.
    #[schemars(with = "OneOrMany<Text>")]
    pub tenants: Field<Texts>,
    /// The `aud` of accepted tokens: any of these; `any` accepts tokens meant for anyone.
    #[schemars(with = "OneOrMany<Text>")]
    pub audiences: Field<Texts>,
    /// The claim that says whom the token is meant for. Default: `aud`.
    #[schemars(with = "ClaimPath")]
    pub audience_claim: Field<String>,
    /// Where the provider's metadata is, if not below the issuer.
    #[schemars(with = "KeyUrl")]
    pub discovery_url: Field<String>,
    /// Where the keys are, if discovery is not to tell.
    pub jwks: Field<Jwks>,
    /// How metadata and keys are fetched.
    pub fetch: Field<Fetch>,
    /// When keys are fetched.
    pub refresh: Field<Refresh>,
    /// The longest token that is accepted; Envoy's `max_request_headers_kb`, by default 60, limits
    /// it too. Default: `16KiB`, from `1KiB` to `60KiB`.
    #[schemars(with = "Size")]
    pub max_token_bytes: Field<String>,
    /// Accepted signature algorithms. Default: all that are supported.
    #[schemars(with = "Vec<Algorithm>", length(min = 1))]
    pub algorithms: Field<Vec<Field<String>>>,
    /// Accepted `typ` values, such as `at+jwt`. Default: any that is not of another kind of token.
    #[schemars(with = "OneOrMany<Text>")]
    pub token_types: Field<Texts>,
    /// Kinds of token that are accepted besides access tokens.
    #[schemars(with = "OneOrMany<forms::OtherKind>")]
    pub also_accept: Field<Texts>,
    /// How far the provider's clock may be off. Default: `60s`, at most `5m`.
    #[schemars(with = "Duration")]
    pub clock_skew: Field<String>,
    /// The longest time from `iat` to `exp`. Default: any.
    #[schemars(with = "Duration")]
    pub max_lifetime: Field<String>,
    /// Claims that must have exactly this value, or one of these.
    #[schemars(extend("minProperties" = 1))]
    pub required_claims: Field<ClaimValues>,
    /// Where scopes are: the first of these claims that is there. Default: `scope`, `scp`.
    #[schemars(with = "OneOrMany<ClaimPath>")]
    pub scope_claims: Field<Texts>,
    /// Where requests carry the token. Default: the `Authorization: Bearer` header.
    #[schemars(length(min = 1))]
    pub token_from: Field<Vec<Field<TokenSource>>>,
}

/// A place in a request where a token may be: exactly one of `header`, `cookie`, `query` and
/// `websocket_protocol`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend(
        "oneOf" = [
            {"required": ["header"]},
            {"required": ["cookie"]},
            {"required": ["query"]},
            {"required": ["websocket_protocol"]},
        ],
        "dependentRequired" = {"scheme": ["header"]},
    )
)]
pub struct TokenSource {
    /// A header of this name.
    #[schemars(with = "HeaderNameAsSent")]
    pub header: Field<String>,
    /// What is in front of the token in the header. Default: nothing.
    #[schemars(with = "Scheme")]
    pub scheme: Field<String>,
    /// A cookie of this name.
    #[schemars(with = "CookieName")]
    pub cookie: Field<String>,
    /// A query parameter of this name.
    #[schemars(with = "QueryName")]
    pub query: Field<String>,
    /// The subprotocol behind the one of this name among those that a WebSocket client offers, such
    /// as `bearer`; `base64url.bearer.authorization.k8s.io` is what clients of Kubernetes offer.
    #[schemars(with = "CookieName")]
    pub websocket_protocol: Field<String>,
}

/// Where the keys are: exactly one of `uri`, `file` and `inline`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [
        {"required": ["uri"]},
        {"required": ["file"]},
        {"required": ["inline"]},
    ])
)]
pub struct Jwks {
    /// At this address.
    #[schemars(with = "KeyUrl")]
    pub uri: Field<String>,
    /// In this file, which is watched.
    pub file: Field<String>,
    /// Here: a JWK Set, as a mapping or as JSON text.
    pub inline: Field<Inline>,
}

/// How metadata and keys are fetched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Fetch {
    /// For each document. Default: `5s`, from `100ms` to `1m`.
    #[schemars(with = "Duration")]
    pub timeout: Field<String>,
    /// Trust these certificate authorities (PEM) instead of the system's; a server's own certificate
    /// may be among them.
    pub ca_file: Field<String>,
    /// A file with a bearer token that is sent along, to the configured origin only.
    pub bearer_token_file: Field<String>,
    /// Whether plain HTTP is accepted from hosts other than this one. Default: `false`.
    pub allow_http: Field<bool>,
    /// The largest document that is read. Default: `1MiB`, from `1KiB` to `64MiB`.
    #[schemars(with = "Size")]
    pub max_bytes: Field<String>,
    /// The proxy that https goes through: its URL, or `from_environment` for the one in
    /// `HTTPS_PROXY` or `ALL_PROXY`, less the hosts in `NO_PROXY`. Plain HTTP, and whatever is on
    /// this machine, is fetched without it. Default: none.
    #[schemars(with = "Proxy")]
    pub proxy: Field<String>,
}

/// When keys are fetched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Refresh {
    /// The shortest time between two regular fetches. Default: `30s`.
    #[schemars(with = "Duration")]
    pub min: Field<String>,
    /// The longest time between two regular fetches. Default: `15m`.
    #[schemars(with = "Duration")]
    pub max: Field<String>,
    /// How long keys are used while none can be fetched; at least twice `max`. Default: `24h`.
    #[schemars(with = "Duration")]
    pub max_stale: Field<String>,
    /// Tokens of unknown keys, and bad signatures by keys older than this, may ask for 3 fetches
    /// at once, and for one more in each of these. Default: `30s`.
    #[schemars(with = "Duration")]
    pub unknown_key_cooldown: Field<String>,
    /// How long a token waits for such a fetch. Default: `100ms`, at most `10s`.
    #[schemars(with = "Duration")]
    pub unknown_key_wait: Field<String>,
    /// A directory that keeps the last good keys, so that a restart can do without the provider. It
    /// must be writable by claimgate's user alone; if it does not exist, it is created so.
    pub cache_dir: Field<String>,
}
