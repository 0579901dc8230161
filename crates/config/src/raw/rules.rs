//! A rule, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ClaimValues;
use super::forms::{
    self, Access, Acr, Duration, HostPattern, Method, OneOrMany, Path, RuleName, Scope, Text,
};
use super::values::Texts;
use crate::document::Field;

/// What is required of some requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["name"]))]
pub struct Rule {
    /// What logs, metrics and Envoy's routes call it.
    #[schemars(with = "RuleName")]
    pub name: Field<String>,
    /// Which requests it is about: those that meet all of this. Default: all requests.
    #[serde(rename = "match")]
    pub matches: Field<Match>,
    /// The rule is about no request but those whose route in Envoy names it
    /// (`context_extensions: {claimgate.rule: NAME}`). Default: `false`.
    pub only_by_name: Field<bool>,
    /// Who may pass: `public` anybody, `optional` those without a token too, `required` (the
    /// default) those with a valid token, `deny` nobody.
    #[schemars(with = "Access")]
    pub access: Field<String>,
    /// The names of the providers whose tokens are accepted. Default: all.
    #[schemars(with = "OneOrMany<Text>")]
    pub providers: Field<Texts>,
    /// Scopes that the token must have, all of them.
    #[schemars(with = "OneOrMany<Scope>")]
    pub scopes: Field<Texts>,
    /// Scopes of which the token must have one.
    #[schemars(with = "OneOrMany<Scope>")]
    pub any_scope: Field<Texts>,
    /// Claims, each of which must have one of its values, or be an array with one of them.
    #[schemars(extend("minProperties" = 1))]
    pub claims: Field<ClaimValues>,
    /// Accepted values of the token's `acr`; others are asked to log in again (RFC 9470).
    #[schemars(with = "OneOrMany<Acr>")]
    pub acr: Field<Texts>,
    /// How long ago the bearer may have logged in, by the token's `auth_time`; others are asked to
    /// log in again (RFC 9470).
    #[schemars(with = "Duration")]
    pub max_age: Field<String>,
    /// What must hold besides: a CEL expression over `claims`, `request` (`method`, `host`, `path`,
    /// `query`, `headers`), `source` (`address`, `principal`, `certificate`), `context` and `now`.
    #[schemars(with = "Text")]
    pub condition: Field<String>,
}

/// Which requests a rule is about: those that meet all of this.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Match {
    /// Hosts, any of them: `api.example.com`, or `*.example.com` for all below it. Ports do not
    /// count.
    #[schemars(with = "OneOrMany<HostPattern>")]
    pub hosts: Field<Texts>,
    /// Envoy's `domains` let no request with another host reach what is behind these: only then may
    /// `hosts` alone open a rule to requests without a token. Default: `false`.
    pub hosts_are_bound: Field<bool>,
    /// Methods in upper case, any of them. Requests with a method in lower case are refused.
    #[schemars(with = "OneOrMany<Method>")]
    pub methods: Field<Texts>,
    /// Paths, without the query.
    pub path: Field<PathMatch>,
    /// Headers, all of them: by name, the value or the values of which it has one; `any` for
    /// whatever value.
    #[schemars(extend("minProperties" = 1))]
    pub headers: Field<ClaimValues>,
    /// Calls of the Model Context Protocol (revision 2026-07-28), by their headers.
    pub mcp: Field<McpMatch>,
}

/// MCP calls. The server must refuse requests whose headers and body differ, as the revision says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend("anyOf" = [{"required": ["methods"]}, {"required": ["names"]}])
)]
pub struct McpMatch {
    /// JSON-RPC methods, any of them: `tools/call`.
    #[schemars(with = "OneOrMany<forms::Text>")]
    pub methods: Field<Texts>,
    /// Names of tools and prompts, URIs of resources, ids of tasks, any of them.
    #[schemars(with = "OneOrMany<forms::Text>")]
    pub names: Field<Texts>,
}

/// Paths, any of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend("anyOf" = [
        {"required": ["exact"]},
        {"required": ["prefix"]},
        {"required": ["regex"]},
    ])
)]
pub struct PathMatch {
    /// This path.
    #[schemars(with = "OneOrMany<Path>")]
    pub exact: Field<Texts>,
    /// This path and every one below it, by whole segments.
    #[schemars(with = "OneOrMany<Path>")]
    pub prefix: Field<Texts>,
    /// Paths that are this regular expression from beginning to end.
    #[schemars(with = "OneOrMany<forms::Text>")]
    pub regex: Field<Texts>,
}
