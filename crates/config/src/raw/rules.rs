//! A rule, as the operator writes it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ClaimValues;
use super::forms::{
    self, Access, Acr, Duration, HostPattern, Method, OneOrMany, Path, RuleName, Scope, Text,
};
use super::values::Texts;
use crate::document::Field;

/// What is required of the requests that it matches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["name"]))]
pub struct Rule {
    /// The name in logs, metrics and Envoy's routes.
    #[schemars(with = "RuleName")]
    pub name: Field<String>,
    /// The requests that the rule matches; every field must match. Default: all requests.
    #[serde(rename = "match")]
    pub matches: Field<Match>,
    /// Whether only an Envoy route can select the rule, by name (`context_extensions:
    /// {claimgate.rule: NAME}`). Default: `false`.
    pub only_by_name: Field<bool>,
    /// Which requests may pass: `public` all, `optional` those with a valid token or none,
    /// `required` (the default) those with a valid token, `deny` none.
    #[schemars(with = "Access")]
    pub access: Field<String>,
    /// The names of the providers whose tokens are accepted. Default: all.
    #[schemars(with = "OneOrMany<Text>")]
    pub providers: Field<Texts>,
    /// Scopes that the token must have, all of them.
    #[schemars(with = "OneOrMany<Scope>")]
    pub scopes: Field<Texts>,
    /// Scopes of which the token must have at least one.
    #[schemars(with = "OneOrMany<Scope>")]
    pub any_scope: Field<Texts>,
    /// Claims that must each have one of their values, or be an array that contains one.
    #[schemars(extend("minProperties" = 1))]
    pub claims: Field<ClaimValues>,
    /// Accepted values of the token's `acr`; other users must log in again (RFC 9470).
    #[schemars(with = "OneOrMany<Acr>")]
    pub acr: Field<Texts>,
    /// The maximum time since the user logged in, by the token's `auth_time`; after that, the user
    /// must log in again (RFC 9470).
    #[schemars(with = "Duration")]
    pub max_age: Field<String>,
    /// A CEL expression that must hold as well, over `claims`, `request` (`method`, `host`, `path`,
    /// `query`, `headers`), `source` (`address`, `principal`, `certificate`), `context` and `now`.
    #[schemars(with = "Text")]
    pub condition: Field<String>,
    /// Whether the rule's denials take effect. `false` lets requests pass that would be denied, and
    /// reports them. Later rules are not applied to them. Default: `true`.
    pub enforce: Field<bool>,
    /// `always` writes every decision by the rule to the decision log, whatever `decision_log.allow`
    /// says. Default: as it says.
    #[schemars(with = "forms::Audit")]
    pub audit: Field<String>,
}

/// Which requests a rule matches. Every field must match.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Match {
    /// Hosts, any of which may match: `api.example.com`, or `*.example.com` for all hosts below it.
    /// Ports are ignored.
    #[schemars(with = "OneOrMany<HostPattern>")]
    pub hosts: Field<Texts>,
    /// Whether Envoy's `domains` let no request with another host reach these routes. Only then may
    /// `hosts` alone open a rule to requests without a token. Default: `false`.
    pub hosts_are_bound: Field<bool>,
    /// Methods in upper case, any of which may match. A request with a method in lower case is
    /// refused.
    #[schemars(with = "OneOrMany<Method>")]
    pub methods: Field<Texts>,
    /// Paths, without the query.
    pub path: Field<PathMatch>,
    /// Headers, all of which must match: by name, with one value or a list of accepted values;
    /// `any` accepts every value.
    #[schemars(extend("minProperties" = 1))]
    pub headers: Field<ClaimValues>,
    /// Calls of the Model Context Protocol (revision 2026-07-28), identified by their headers.
    pub mcp: Field<McpMatch>,
}

/// MCP calls. The server must refuse requests whose headers and body differ, as this revision
/// requires.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend("anyOf" = [{"required": ["methods"]}, {"required": ["names"]}])
)]
pub struct McpMatch {
    /// JSON-RPC methods, any of which may match: `tools/call`.
    #[schemars(with = "OneOrMany<forms::Text>")]
    pub methods: Field<Texts>,
    /// Names of tools and prompts, URIs of resources and ids of tasks, any of which may match.
    #[schemars(with = "OneOrMany<forms::Text>")]
    pub names: Field<Texts>,
}

/// Paths, any of which may match.
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
    /// This path only.
    #[schemars(with = "OneOrMany<Path>")]
    pub exact: Field<Texts>,
    /// This path and every path below it, by whole segments.
    #[schemars(with = "OneOrMany<Path>")]
    pub prefix: Field<Texts>,
    /// Paths that the regular expression matches from beginning to end.
    #[schemars(with = "OneOrMany<forms::Text>")]
    pub regex: Field<Texts>,
}
