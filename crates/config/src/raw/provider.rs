//! A provider, as the operator writes it.

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
#[schemars(rename = "Provider", deny_unknown_fields, extend("required" = ["issuer", "audiences"]))]
pub struct RawProvider {
    /// The name in logs, metrics and rules. Default: the issuer's host.
    #[schemars(with = "ProviderName")]
    pub name: Field<String>,
    /// Whether the service is ready only once it has had the provider's keys. Default: `true`.
    pub required: Field<bool>,
    /// The exact `iss` of the provider's tokens; discovery starts here. May contain `{tenantid}`,
    /// or be a SPIFFE trust domain.
    #[schemars(with = "Text")]
    pub issuer: Field<String>,
    /// Further exact `iss` values of the same provider.
    #[schemars(with = "OneOrMany<Text>")]
    pub issuer_aliases: Field<Texts>,
    /// For an issuer that contains `{tenantid}`: the ids of the tenants whose tokens are accepted,
    /// or `any`.
    #[schemars(with = "OneOrMany<Text>")]
    pub tenants: Field<Texts>,
    /// The accepted audiences: `aud` must contain one of these. `any` accepts tokens for any
    /// audience.
    #[schemars(with = "OneOrMany<Text>")]
    pub audiences: Field<Texts>,
    /// The claim that holds the audience. Default: `aud`.
    #[schemars(with = "ClaimPath")]
    pub audience_claim: Field<String>,
    /// The URL of the provider's metadata, if it is not below the issuer.
    #[schemars(with = "KeyUrl")]
    pub discovery_url: Field<String>,
    /// The source of the keys, if discovery is not used.
    pub jwks: Field<Jwks>,
    /// How metadata and keys are fetched.
    pub fetch: Field<Fetch>,
    /// When keys are fetched.
    pub refresh: Field<Refresh>,
    /// The maximum length of a token. Envoy's `max_request_headers_kb` (60 by default) limits it
    /// too. Default: `16KiB`, from `1KiB` to `60KiB`.
    #[schemars(with = "Size")]
    pub max_token_bytes: Field<String>,
    /// Accepted signature algorithms. Default: all that are supported.
    #[schemars(with = "Vec<Algorithm>", length(min = 1))]
    pub algorithms: Field<Vec<Field<String>>>,
    /// Accepted `typ` values, such as `at+jwt`. Default: any that does not name another kind of
    /// token.
    #[schemars(with = "OneOrMany<Text>")]
    pub token_types: Field<Texts>,
    /// Kinds of token accepted besides access tokens.
    #[schemars(with = "OneOrMany<forms::OtherKind>")]
    pub also_accept: Field<Texts>,
    /// How far the provider's clock may differ. Default: `60s`, at most `5m`.
    #[schemars(with = "Duration")]
    pub clock_skew: Field<String>,
    /// The maximum time from `iat` to `exp`. Default: unlimited.
    #[schemars(with = "Duration")]
    pub max_lifetime: Field<String>,
    /// Claims that must have exactly this value, or one of these values.
    #[schemars(extend("minProperties" = 1))]
    pub required_claims: Field<ClaimValues>,
    /// The claims that may hold scopes; the first one present counts. Default: `scope`, `scp`.
    #[schemars(with = "OneOrMany<ClaimPath>")]
    pub scope_claims: Field<Texts>,
    /// The places where requests carry the token. Default: the `Authorization: Bearer` header.
    #[schemars(length(min = 1))]
    pub token_from: Field<Vec<Field<TokenSource>>>,
    /// Whether denials of its tokens take effect. `false` lets requests pass whose token claims to
    /// be from this provider, valid or not, wherever a rule accepts the provider, and reports
    /// denials. Default: `true`.
    pub enforce: Field<bool>,
}

/// A place in a request that may carry a token: exactly one of `header`, `cookie`, `query` and
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
    /// The header with this name.
    #[schemars(with = "HeaderNameAsSent")]
    pub header: Field<String>,
    /// The scheme before the token in the header. Default: none.
    #[schemars(with = "Scheme")]
    pub scheme: Field<String>,
    /// The cookie with this name.
    #[schemars(with = "CookieName")]
    pub cookie: Field<String>,
    /// The query parameter with this name.
    #[schemars(with = "QueryName")]
    pub query: Field<String>,
    /// The subprotocol after this one in the list that a WebSocket client offers, such as `bearer`.
    /// Kubernetes clients offer `base64url.bearer.authorization.k8s.io`.
    #[schemars(with = "CookieName")]
    pub websocket_protocol: Field<String>,
}

/// The source of the keys: exactly one of `uri`, `file` and `inline`.
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
    /// The URL of a JWK Set.
    #[schemars(with = "KeyUrl")]
    pub uri: Field<String>,
    /// A file with a JWK Set, which is watched for changes.
    pub file: Field<String>,
    /// A JWK Set right here, as a mapping or as JSON text.
    pub inline: Field<Inline>,
}

/// How metadata and keys are fetched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Fetch {
    /// The time limit for each document. Default: `5s`, from `100ms` to `1m`.
    #[schemars(with = "Duration")]
    pub timeout: Field<String>,
    /// After this time since the start, the provider no longer keeps the service from being ready if
    /// it never had keys. Its tokens still get 503. Default: `0s`, which means never; at most `24h`.
    #[schemars(with = "Duration")]
    pub startup_grace: Field<String>,
    /// The certificate authorities (PEM) to trust instead of the system's; may include a server's
    /// own certificate.
    pub ca_file: Field<String>,
    /// A file with a bearer token that is sent along, only to the configured origin.
    pub bearer_token_file: Field<String>,
    /// Whether plain HTTP is accepted from other machines. Default: `false`.
    pub allow_http: Field<bool>,
    /// The maximum size of a document. Default: `1MiB`, from `1KiB` to `64MiB`.
    #[schemars(with = "Size")]
    pub max_bytes: Field<String>,
    /// The proxy for https: its URL, or `from_environment` for the one in `HTTPS_PROXY` or
    /// `ALL_PROXY`, except for hosts in `NO_PROXY`. Plain HTTP and everything on this machine
    /// bypass the proxy. Default: none.
    #[schemars(with = "Proxy")]
    pub proxy: Field<String>,
    /// The cluster of Envoy to fetch through. Only the module for Envoy can. Envoy's configuration decides
    /// where the requests go, and which certificate is trusted. Default: none.
    #[schemars(length(min = 1))]
    pub envoy_cluster: Field<String>,
}

/// When keys are fetched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Refresh {
    /// The minimum time between two regular fetches. Default: `30s`.
    #[schemars(with = "Duration")]
    pub min: Field<String>,
    /// The maximum time between two regular fetches. Default: `15m`.
    #[schemars(with = "Duration")]
    pub max: Field<String>,
    /// How long keys stay in use while every fetch fails; at least twice `max`. Default: `24h`.
    #[schemars(with = "Duration")]
    pub max_stale: Field<String>,
    /// The cool-down of fetches that tokens ask for, because their key is unknown or their
    /// signature fails with keys older than this: 3 fetches at once, then one more per cool-down.
    /// Default: `30s`.
    #[schemars(with = "Duration")]
    pub unknown_key_cooldown: Field<String>,
    /// The maximum time that a token waits for such a fetch. Default: `100ms`, at most `10s`.
    #[schemars(with = "Duration")]
    pub unknown_key_wait: Field<String>,
    /// A directory that stores the last good keys, so that a restart works without the provider.
    /// Only claimgate's user may be able to write to it; if it does not exist, it is created like
    /// that.
    pub cache_dir: Field<String>,
}
