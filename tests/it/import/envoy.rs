//! A row for each field of `JwtAuthentication` and of the messages in it.

use std::collections::BTreeSet;

use super::{Kind, imported, notes};
use crate::support::command::run;

struct Row {
    /// The field, by its name in the proto file.
    field: &'static str,
    /// The message, in which `<acme>` is a provider, `<id>` and `<keys>` are parts of it, and `<rules>` needs it.
    source: &'static str,
    /// Parts of the configuration.
    written: &'static [&'static str],
    left_out: &'static [&'static str],
    differs: &'static [&'static str],
}

const fn row(
    field: &'static str,
    source: &'static str,
    written: &'static [&'static str],
    left_out: &'static [&'static str],
    differs: &'static [&'static str],
) -> Row {
    Row {
        field,
        source,
        written,
        left_out,
        differs,
    }
}

const ROWS: &[Row] = &[
    // JwtAuthentication
    row(
        "providers",
        "providers: { <acme> }\n<rules>",
        &[
            "- name: acme\n    issuer: https://idp.example.com\n    audiences: [orders-api]\n    jwks: { file: keys.json }",
            "forward_token: true",
            "- name: all\n",
        ],
        &[],
        &[],
    ),
    row(
        "rules",
        "providers: { <acme> }\nrules: [{ match: { path: /healthz } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &[
            "- name: healthz\n    match: { path: { exact: [/healthz] } }\n    access: public\n  - name: all\n",
        ],
        &[],
        &[],
    ),
    row(
        "rules",
        "providers: { <acme> }\nrules: [{ match: { path: /orders }, requires: { provider_name: acme } }]",
        &["- name: rest\n    access: public\n"],
        &[],
        &["requires no token of requests that no rule names"],
    ),
    row(
        "rules",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { provider_name: acme } }, { match: { path: /never } }]",
        &["- name: all\n"],
        &[],
        &["the rule `never` is not written, because earlier rules match all of its requests"],
    ),
    row(
        "rules",
        "providers: { <acme> }",
        &["- name: rest\n    access: public\n"],
        &[],
        &["requires no token"],
    ),
    row(
        "filter_state_rules",
        "providers: { <acme> }\nfilter_state_rules: { name: jwt, requires: { a: { provider_name: acme } } }",
        &["- name: rest\n    access: deny\n"],
        &["does not see the filter state"],
        &[],
    ),
    row(
        "bypass_cors_preflight",
        "providers: { <acme> }\nbypass_cors_preflight: true\n<rules>",
        &["cors_preflight: allow\n"],
        &[],
        &[],
    ),
    row(
        "requirement_map",
        "providers: { <acme> }\nrequirement_map: { a: { provider_name: acme } }\nrules: [{ match: { prefix: / }, requirement_name: a }]",
        &["- name: all\n"],
        &[],
        &[],
    ),
    row(
        "requirement_name",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requirement_name: a }]",
        &["access: deny"],
        &[
            "no requirement has this name",
            "its requirement is not understood",
        ],
        &[],
    ),
    row(
        "strip_failure_response",
        "providers: { <acme> }\nstrip_failure_response: true\n<rules>",
        &["denials: { body: none, expose_reason: false }"],
        &[],
        &[],
    ),
    row(
        "stat_prefix",
        "providers: { <acme> }\nstat_prefix: a\n<rules>",
        &[],
        &[],
        &["stat_prefix (envoy.yaml:2): claimgate's metrics have fixed names"],
    ),
    row(
        "unknown",
        "providers: { <acme> }\nnew_field: 1\n<rules>",
        &[],
        &[
            "new_field (envoy.yaml:2): unknown field `new_field`",
            "every request is denied, because a part of the filter is not understood",
        ],
        &[],
    ),
    row(
        "unknown",
        "providers: { acme: { <id>, forward: true, <keys>, required_claims: [a] } }\n<rules>",
        &["issuer: https://acme.invalid"],
        &[
            "unknown field `required_claims`",
            "no token is accepted, because a part is not understood",
        ],
        &[],
    ),
    row(
        "match",
        "providers: { <acme> }\nrules: [{ requires: { provider_name: acme } }]",
        &["- name: all\n    access: deny"],
        &["the rule has no `match`"],
        &[],
    ),
    row(
        "claim_to_headers",
        "providers: { acme: { <id>, forward: true, <keys>, claim_to_headers: [{ header_name: x-a, claim_name: sub }, { header_name: X-A, claim_name: email }] } }\n<rules>",
        &["- { header: x-a, claim: sub }"],
        &["`x-a` is already set from another claim"],
        &[],
    ),
    // JwtProvider
    row(
        "issuer",
        "providers: { acme: { audiences: [a], forward: true, <keys> } }\n<rules>",
        &["issuer: https://acme.invalid"],
        &["without `issuer`, Envoy accepts every `iss`"],
        &[],
    ),
    row(
        "audiences",
        "providers: { acme: { issuer: https://idp.example.com, forward: true, <keys> } }\n<rules>",
        &["audiences: any"],
        &[],
        &[],
    ),
    row(
        "audiences",
        "providers: { acme: { issuer: https://idp.example.com, audiences: [https://api.example.com/, b], forward: true, <keys> } }\n<rules>",
        &["audiences: [\"https://api.example.com/\", b]"],
        &[],
        &["without `https://` and without `/` at its end"],
    ),
    row(
        "forward",
        "providers: { acme: { <id>, <keys> } }\n<rules>",
        &["forward_token: false"],
        &[],
        &[],
    ),
    row(
        "forward",
        "providers: { acme: { <id>, <keys>, from_cookies: [session] } }\n<rules>",
        &["forward_token: false"],
        &[],
        &["Envoy leaves tokens in cookies"],
    ),
    row(
        "forward",
        "providers: { <acme>, other: { issuer: https://other.example.com, <keys> } }\n<rules>",
        &["forward_token: false"],
        &["not all providers have `forward: true`"],
        &[],
    ),
    row(
        "from_headers",
        "providers: { <acme> }\n<rules>",
        &[
            "token_from:\n      - { header: authorization, scheme: Bearer }\n      - { query: access_token }",
        ],
        &[],
        &[],
    ),
    row(
        "from_headers",
        "providers: { acme: { <id>, forward: true, <keys>, from_headers: [{ name: X-Token }, { name: Authorization, value_prefix: 'Bearer ' }, { name: authorization, value_prefix: JWT }] } }\n<rules>",
        &[
            "token_from:\n      - { header: x-token }\n      - { header: authorization, scheme: Bearer }\n      - { header: authorization, scheme: JWT }",
        ],
        &[],
        &[],
    ),
    row(
        "value_prefix",
        "providers: { acme: { <id>, forward: true, <keys>, from_headers: [{ name: X-Token, value_prefix: 'token=' }] } }\n<rules>",
        &["- { header: x-token }"],
        &["takes the whole value of `X-Token` as the token"],
        &[],
    ),
    row(
        "from_headers",
        "providers: { acme: { <id>, forward: true, <keys>, from_headers: [{ name: cookie, value_prefix: 'a=' }, { name: x-token }] } }\n<rules>",
        &["token_from:\n      - { header: x-token }"],
        &[
            "takes the whole value",
            "tokens are not taken from the header `cookie`",
        ],
        &[],
    ),
    row(
        "from_params",
        "providers: { acme: { <id>, forward: true, <keys>, from_params: [token] } }\n<rules>",
        &["token_from:\n      - { query: token }"],
        &[],
        &[],
    ),
    row(
        "from_params",
        "providers: { acme: { <id>, forward: true, <keys>, from_params: ['a b'] } }\n<rules>",
        &["- { header: x-token-of-acme }"],
        &["tokens are not taken from the query parameter `a b`"],
        &[],
    ),
    row(
        "from_cookies",
        "providers: { acme: { <id>, forward: true, <keys>, from_cookies: [session] } }\n<rules>",
        &["token_from:\n      - { cookie: session }"],
        &[],
        &[],
    ),
    row(
        "remote_jwks",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: https://idp.example.com/keys, cluster: idp, timeout: 0.25s } } } }\n<rules>",
        &["jwks: { uri: https://idp.example.com/keys }\n    fetch: { timeout: 250ms }"],
        &[],
        &[],
    ),
    row(
        "http_uri",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: http://idp.example.com/keys, cluster: idp, timeout: { seconds: 120 } } } } }\n<rules>",
        &[
            "jwks: { uri: http://idp.example.com/keys }\n    fetch: { timeout: 1m, allow_http: true }",
        ],
        &[],
        &[],
    ),
    row(
        "cache_duration",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: https://idp.example.com/keys, cluster: idp }, cache_duration: 600s } } }\n<rules>",
        &["refresh: { max: 10m }"],
        &[],
        &[],
    ),
    row(
        "cache_duration",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: https://idp.example.com/keys, cluster: idp }, cache_duration: { seconds: 5 } } } }\n<rules>",
        &["refresh: { min: 5s, max: 5s }"],
        &[],
        &[],
    ),
    row(
        "cache_duration",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: https://idp.example.com/keys, cluster: idp }, cache_duration: soon } } }\n<rules>",
        &["jwks: { uri:"],
        &[
            "remote_jwks.cache_duration (envoy.yaml:1): expected a duration",
            "no token is accepted, because a part is not understood",
        ],
        &[],
    ),
    row(
        "async_fetch",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: https://idp.example.com/keys, cluster: idp }, async_fetch: { fast_listener: true, failed_refetch_duration: 1s } } } }\n<rules>",
        &["jwks: { uri:"],
        &[],
        &[],
    ),
    row(
        "retry_policy",
        "providers: { acme: { <id>, forward: true, remote_jwks: { http_uri: { uri: https://idp.example.com/keys, cluster: idp }, retry_policy: { num_retries: 3 } } } }\n<rules>",
        &["jwks: { uri:"],
        &[],
        &[],
    ),
    row(
        "local_jwks",
        "providers: { acme: { <id>, forward: true, local_jwks: { filename: /etc/keys.json, watched_directory: { path: /etc } } } }\n<rules>",
        &["jwks: { file: /etc/keys.json }"],
        &[],
        &[],
    ),
    row(
        "local_jwks",
        "providers: { acme: { <id>, forward: true, local_jwks: { inline_string: '<jwks>' } } }\n<rules>",
        &["jwks:\n      inline: {\"keys\":[{"],
        &[],
        &[],
    ),
    row(
        "local_jwks",
        "providers: { acme: { <id>, forward: true, local_jwks: { inline_bytes: <jwks64> } } }\n<rules>",
        &["jwks:\n      inline: {\"keys\":[{"],
        &[],
        &[],
    ),
    row(
        "local_jwks",
        "providers: { acme: { <id>, forward: true, local_jwks: { inline_string: '{\"keys\":[]}' } } }\n<rules>",
        &["jwks: { file: acme.jwks.json }"],
        &["does not accept these keys"],
        &[],
    ),
    row(
        "local_jwks",
        "providers: { acme: { <id>, forward: true, local_jwks: { environment_variable: KEYS } } }\n<rules>",
        &["jwks: { file: acme.jwks.json }"],
        &["put the value of `KEYS` into `acme.jwks.json`"],
        &[],
    ),
    row(
        "local_jwks",
        "providers: { acme: { <id>, forward: true } }\n<rules>",
        &["jwks: { file: acme.jwks.json }"],
        &["neither `remote_jwks` nor `local_jwks`"],
        &[],
    ),
    row(
        "forward_payload_header",
        "providers: { acme: { <id>, forward: true, <keys>, forward_payload_header: X-Payload } }\n<rules>",
        &["payload_header: x-payload"],
        &[],
        &[],
    ),
    row(
        "forward_payload_header",
        "providers: { acme: { <id>, forward: true, <keys>, forward_payload_header: x-payload }, other: { issuer: https://other.example.com, forward: true, <keys> } }\n<rules>",
        &["- { header: x-payload, claim: not.imported }"],
        &["the header `x-payload` is only removed"],
        &[],
    ),
    row(
        "forward_payload_header",
        "providers: { acme: { <id>, forward: true, <keys>, forward_payload_header: x_payload } }\n<rules>",
        &["- name: no-x_payload\n    match: { headers: { x_payload: any"],
        &["requests with it are denied"],
        &[],
    ),
    row(
        "pad_forward_payload_header",
        "providers: { acme: { <id>, forward: true, <keys>, forward_payload_header: x-payload, pad_forward_payload_header: true } }\n<rules>",
        &["payload_header: x-payload"],
        &[],
        &["without `=` at its end"],
    ),
    row(
        "payload_in_metadata",
        "providers: { acme: { <id>, forward: true, <keys>, payload_in_metadata: payload } }\n<rules>",
        &[],
        &[],
        &["finds all claims as `claims` of `envoy.filters.http.ext_authz`"],
    ),
    row(
        "header_in_metadata",
        "providers: { acme: { <id>, forward: true, <keys>, header_in_metadata: header } }\n<rules>",
        &[],
        &["does not write the token's header into metadata"],
        &[],
    ),
    row(
        "failed_status_in_metadata",
        "providers: { acme: { <id>, forward: true, <keys>, failed_status_in_metadata: status } }\n<rules>",
        &[],
        &[],
        &["`reason`"],
    ),
    row(
        "normalize_payload_in_metadata",
        "providers: { acme: { <id>, forward: true, <keys>, payload_in_metadata: p, normalize_payload_in_metadata: { space_delimited_claims: [scope] } } }\n<rules>",
        &[],
        &[],
        &["finds all claims"],
    ),
    row(
        "claim_to_headers",
        "providers: { acme: { <id>, forward: true, <keys>, claim_to_headers: [{ header_name: X-User, claim_name: sub }, { header_name: x-roles, claim_name: realm_access.roles }, { header_name: x-url, claim_name: 'https://a/b' }, { header_name: x-path, claim_path: [{ key: a.b }, { key: c/d }] }] } }\n<rules>",
        &[
            "- { header: x-user, claim: sub }",
            "- { header: x-roles, claim: realm_access.roles }",
            "- { header: x-url, claim: \"/https:~1~1a~1b\" }",
            "- { header: x-path, claim: \"/a.b/c~1d\" }",
        ],
        &[],
        &[],
    ),
    row(
        "claim_path",
        "providers: { acme: { <id>, forward: true, <keys>, claim_to_headers: [{ header_name: x-a }] } }\n<rules>",
        &[],
        &["exactly one of `claim_name` and `claim_path`"],
        &[],
    ),
    row(
        "claim_to_headers",
        "providers: { acme: { <id>, forward: true, <keys>, claim_to_headers: [{ header_name: x-forwarded-user, claim_name: sub }] } }\n<rules>",
        &[
            "- name: no-x-forwarded-user\n    match: { headers: { x-forwarded-user: any } }\n    access: deny",
        ],
        &["the header `x-forwarded-user` is not set"],
        &[],
    ),
    row(
        "claim_to_headers",
        "providers: { acme: { <id>, forward: true, <keys>, claim_to_headers: [{ header_name: x-forwarded-for, claim_name: sub }] } }\n<rules>",
        &[],
        &["remove it in Envoy"],
        &[],
    ),
    row(
        "claim_to_headers",
        "providers: { acme: { <id>, forward: true, <keys>, claim_to_headers: [{ header_name: x-user, claim_name: sub }] }, other: { issuer: https://other.example.com, forward: true, <keys>, claim_to_headers: [{ header_name: x-user, claim_name: email }] } }\n<rules>",
        &["- { header: x-user, claim: not.imported }"],
        &["the header `x-user` is only removed"],
        &[],
    ),
    row(
        "clear_route_cache",
        "providers: { acme: { <id>, forward: true, <keys>, clear_route_cache: true } }\n<rules>",
        &[],
        &[],
        &[],
    ),
    row(
        "clock_skew_seconds",
        "providers: { acme: { <id>, forward: true, <keys>, clock_skew_seconds: 10 } }\n<rules>",
        &["clock_skew: 10s"],
        &[],
        &[],
    ),
    row(
        "clock_skew_seconds",
        "providers: { acme: { <id>, forward: true, <keys>, clock_skew_seconds: 3600 } }\n<rules>",
        &["clock_skew: 5m"],
        &["3600 s are more than claimgate allows"],
        &[],
    ),
    row(
        "require_expiration",
        "providers: { acme: { <id>, forward: true, <keys>, require_expiration: true } }\n<rules>",
        &[],
        &[],
        &[],
    ),
    row(
        "max_lifetime",
        "providers: { acme: { <id>, forward: true, <keys>, max_lifetime: 3600s } }\n<rules>",
        &["max_lifetime: 1h"],
        &[],
        &[],
    ),
    row(
        "max_lifetime",
        "providers: { acme: { <id>, forward: true, <keys>, max_lifetime: 99999999s } }\n<rules>",
        &["max_lifetime: 366d"],
        &["claimgate does not accept `max_lifetime`"],
        &[],
    ),
    row(
        "subjects",
        "providers: { acme: { <id>, forward: true, <keys>, subjects: { exact: alice } } }\n<rules>",
        &["required_claims: { sub: [alice] }"],
        &[],
        &[],
    ),
    row(
        "subjects",
        "providers: { acme: { <id>, forward: true, <keys>, subjects: { prefix: 'spiffe://a\"b/' } } }\n<rules>",
        &["condition: 'claims.sub.startsWith(\"spiffe://a\\\"b/\")'"],
        &[],
        &[],
    ),
    row(
        "subjects",
        "providers: { acme: { <id>, forward: true, <keys>, subjects: { suffix: B, ignore_case: true } } }\n<rules>",
        &["condition: 'claims.sub.lowerAscii().endsWith(\"b\")'"],
        &[],
        &[],
    ),
    row(
        "subjects",
        "providers: { acme: { <id>, forward: true, <keys>, subjects: { contains: b } }, other: { issuer: https://other.example.com, forward: true, <keys> } }\nrules: [{ match: { prefix: / }, requires: { requires_any: { requirements: [{ provider_name: acme }, { provider_name: other }] } } }]",
        &["condition: 'claims.iss != \"https://idp.example.com\" || claims.sub.contains(\"b\")'"],
        &[],
        &[],
    ),
    row(
        "subjects",
        "providers: { acme: { <id>, forward: true, <keys>, subjects: { safe_regex: { regex: 'a\\d' } } } }\n<rules>",
        &["claims.sub.matches(\"^(?:a[0-9])$\")"],
        &[],
        &[],
    ),
    row(
        "subjects",
        "providers: { acme: { <id>, forward: true, <keys>, subjects: { custom: {} } } }\n<rules>",
        &["issuer: https://acme.invalid"],
        &["this matcher of `sub` has no equivalent"],
        &[],
    ),
    row(
        "jwt_cache_config",
        "providers: { acme: { <id>, forward: true, <keys>, jwt_cache_config: { jwt_cache_size: 10 } } }\n<rules>",
        &[],
        &[],
        &[],
    ),
    // JwtRequirement
    row(
        "provider_name",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { provider_name: nobody } }]",
        &["access: deny"],
        &["a provider without an equivalent"],
        &[],
    ),
    row(
        "provider_and_audiences",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { provider_and_audiences: { provider_name: acme, audiences: [admin-api] } } }]",
        &[
            "audiences: [orders-api, admin-api]",
            "claims: { aud: [admin-api] }",
        ],
        &[],
        &[],
    ),
    row(
        "provider_and_audiences",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { requires_any: { requirements: [{ provider_and_audiences: { provider_name: acme, audiences: [admin-api] } }, { allow_missing: {} }] } } }]",
        &[
            "access: optional",
            "claims.aud in [\"admin-api\"] || claims.aud.exists(a, a in [\"admin-api\"])",
        ],
        &[],
        &[],
    ),
    row(
        "requires_any",
        "providers: { <acme>, other: { issuer: https://other.example.com, forward: true, <keys> } }\nrules: [{ match: { prefix: / }, requires: { requires_any: { requirements: [{ provider_name: acme }, { provider_name: other }] } } }]",
        &["providers: [acme, other]"],
        &[],
        &[],
    ),
    row(
        "requires_all",
        "providers: { <acme>, other: { issuer: https://other.example.com, forward: true, <keys> } }\nrules: [{ match: { prefix: / }, requires: { requires_all: { requirements: [{ provider_name: acme }, { provider_name: other }] } } }]",
        &["access: deny"],
        &["it needs several tokens"],
        &[],
    ),
    // What Istio makes of several issuers.
    row(
        "requires_all",
        "providers: { <acme>, other: { issuer: https://other.example.com, forward: true, <keys> } }\nrules: [{ match: { prefix: / }, requires: { requires_any: { requirements: [{ provider_name: acme }, { provider_name: other }, { requires_all: { requirements: [{ requires_any: { requirements: [{ provider_name: acme }, { allow_missing: {} }] } }, { requires_any: { requirements: [{ provider_name: other }, { allow_missing: {} }] } }] } }] } } }]",
        &["access: optional\n    providers: [acme, other]"],
        &[],
        &[],
    ),
    row(
        "allow_missing",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { allow_missing: {} } }]",
        &["access: optional"],
        &[],
        &[],
    ),
    row(
        "allow_missing_or_failed",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { allow_missing_or_failed: {} } }]",
        &["access: optional\n    enforce: false"],
        &[],
        &["Envoy passes failed tokens here"],
    ),
    row(
        "extract_only_without_validation",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { extract_only_without_validation: { verification_status_header: x-verified } } }]",
        &["access: optional\n    enforce: false"],
        &["it never forwards the claims of a token that it has not verified"],
        &["Envoy passes failed tokens here"],
    ),
    row(
        "unknown",
        "providers: { <acme> }\nrules: [{ match: { prefix: / }, requires: { requires_luck: {} } }]",
        &["access: deny"],
        &[
            "unknown field `requires_luck`",
            "its requirement is not understood",
        ],
        &[],
    ),
    // RouteMatch
    row(
        "prefix",
        "providers: { <acme> }\nrules: [{ match: { prefix: /api/v1. } }, { match: { prefix: '' }, requires: { provider_name: acme } }]",
        &["path: { regex: ['/api/v1\\..*'] }"],
        &[],
        &[],
    ),
    row(
        "prefix",
        "providers: { <acme> }\nrules: [{ match: { prefix: //x } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["rules:\n  - name: all\n"],
        &[],
        &["claimgate refuses all of them where a rule looks at paths (400 `ambiguous_path`)"],
    ),
    row(
        "path",
        "providers: { <acme> }\nrules: [{ match: { path: '/a%20b/*' } }, { match: { path: /x, case_sensitive: false } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &[
            "path: { exact: [\"/a%20b/%2A\"] }",
            "path: { regex: [\"(?i-u:/x)\"] }",
        ],
        &[],
        &[],
    ),
    row(
        "safe_regex",
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { google_re2: {}, regex: '/a/\\d+' } } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["path: { regex: [\"/a/[0-9]+\"] }"],
        &[],
        &[],
    ),
    row(
        "safe_regex",
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: 'a(' } } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["access: deny"],
        &["no pattern for them is known to mean the same"],
        &["is not written"],
    ),
    row(
        "connect_matcher",
        "providers: { <acme> }\nrules: [{ match: { connect_matcher: {} } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["match: { methods: [CONNECT] }"],
        &[],
        &[],
    ),
    row(
        "path_separated_prefix",
        "providers: { <acme> }\nrules: [{ match: { path_separated_prefix: /api } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["path: { prefix: [/api] }"],
        &[],
        &[],
    ),
    row(
        "path_match_policy",
        "providers: { <acme> }\nrules: [{ match: { path_match_policy: { name: x, typed_config: { '@type': x, path_template: '/u/{id}/**' } } } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["path: { regex: ['/u/[^/*\"<>\\[\\]^`{|}]+/[^*\"<>\\[\\]^`{|}]*'] }"],
        &[],
        &[],
    ),
    row(
        "headers",
        "providers: { <acme> }\nrules: [{ match: { prefix: /a, headers: [{ name: ':method', string_match: { exact: POST } }, { name: ':authority', exact_match: 'api.example.com:443' }, { name: X-Tenant, string_match: { safe_regex: { regex: '^(red|blue)$' } } }, { name: x-any, present_match: true }] } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &[
            "match: { hosts: [api.example.com], methods: [POST], path: { regex: [\"/a.*\"] }, headers: { x-tenant: [red, blue], x-any: any } }",
        ],
        &[],
        &["ignores the port"],
    ),
    row(
        "headers",
        "providers: { <acme> }\nrules: [{ match: { prefix: /a, headers: [{ name: x-tenant, string_match: { prefix: re } }, { name: x-b, invert_match: true, exact_match: a }] } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["match: { path: { regex: [\"/a.*\"] } }\n    access: deny"],
        &[
            "the header `x-tenant` like this, so the rule denies all requests that fit the rest",
            "the header `x-b`",
        ],
        &[],
    ),
    row(
        "query_parameters",
        "providers: { <acme> }\nrules: [{ match: { prefix: /a, query_parameters: [{ name: b, present_match: true }] } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["match: { path: { regex: [\"/a.*\"] } }\n    access: deny"],
        &["rules do not match on parameters of the query"],
        &[],
    ),
    row(
        "unknown",
        "providers: { <acme> }\nrules: [{ match: { prefix: /a, runtime_fraction: {} } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["access: deny"],
        &["unknown field `runtime_fraction`"],
        &[],
    ),
    row(
        "headers",
        "providers: { <acme> }\nrules: [{ match: { prefix: /, headers: [{ name: x-open, exact_match: '1' }] } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &["match: { headers: { x-open: [\"1\"] } }\n    access: deny"],
        &["any client could send this header to pass without a token"],
        &[],
    ),
    // One issuer twice.
    row(
        "issuer",
        "providers: { <acme>, second: { issuer: https://idp.example.com, audiences: [b], forward: true, <keys>, clock_skew_seconds: 5 } }\nrules: [{ match: { prefix: /a }, requires: { provider_name: second } }, { match: { prefix: / }, requires: { provider_name: acme } }]",
        &[
            "audiences: [orders-api, b]",
            "clock_skew: 5s",
            "claims: { aud: [b] }",
            "claims: { aud: [orders-api] }",
        ],
        &[],
        &[],
    ),
    row(
        "issuer",
        "providers: { <acme>, second: { issuer: https://idp.example.com, forward: true, local_jwks: { filename: other.json } } }\nrules: [{ match: { prefix: / }, requires: { provider_name: second } }]",
        &["access: deny"],
        &[
            "has the same issuer as `acme`, but other keys",
            "a provider without an equivalent",
        ],
        &[],
    ),
];

/// Every field of the proto files. (`google_re2` and `watched_directory` change nothing.)
const FIELDS: [&str; 47] = [
    "providers",
    "rules",
    "filter_state_rules",
    "bypass_cors_preflight",
    "requirement_map",
    "strip_failure_response",
    "stat_prefix",
    "issuer",
    "audiences",
    "forward",
    "from_headers",
    "value_prefix",
    "from_params",
    "from_cookies",
    "remote_jwks",
    "http_uri",
    "cache_duration",
    "async_fetch",
    "retry_policy",
    "local_jwks",
    "forward_payload_header",
    "pad_forward_payload_header",
    "payload_in_metadata",
    "header_in_metadata",
    "failed_status_in_metadata",
    "normalize_payload_in_metadata",
    "claim_to_headers",
    "claim_path",
    "clear_route_cache",
    "clock_skew_seconds",
    "require_expiration",
    "max_lifetime",
    "subjects",
    "jwt_cache_config",
    "provider_name",
    "provider_and_audiences",
    "requires_any",
    "requires_all",
    "allow_missing",
    "allow_missing_or_failed",
    "extract_only_without_validation",
    "requirement_name",
    "prefix",
    "path",
    "safe_regex",
    "connect_matcher",
    "path_match_policy",
];

fn source(row: &Row) -> String {
    use base64::Engine as _;
    let key = claimgate::dev::signer::Signer::generate(claimgate::keyring::Algorithm::Es256, "a")
        .unwrap();
    let jwks = serde_json::json!({"keys": [key.jwk()]}).to_string();
    let encoded = base64::prelude::BASE64_STANDARD.encode(&jwks);
    row.source
        .replace("<acme>", "acme: { <id>, forward: true, <keys> }")
        .replace(
            "<id>",
            "issuer: https://idp.example.com, audiences: [orders-api]",
        )
        .replace("<keys>", "local_jwks: { filename: keys.json }")
        .replace(
            "<rules>",
            "rules: [{ match: { prefix: / }, requires: { provider_name: acme } }]",
        )
        .replace("<jwks>", &jwks)
        .replace("<jwks64>", &encoded)
}

#[test]
fn every_field_is_written_or_named() {
    let wrong: Vec<String> = ROWS.iter().flat_map(problems).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let tested: BTreeSet<&str> = ROWS.iter().map(|row| row.field).collect();
    for field in FIELDS {
        assert!(tested.contains(field), "no row for `{field}`");
    }
}

/// What is not as the row says.
fn problems(row: &Row) -> Vec<String> {
    let what = format!("{}: {}", row.field, row.source);
    let found = match imported(&source(row)) {
        Ok(found) => found,
        Err(error) => return vec![format!("{what}: {error}")],
    };
    let text = &found.configuration;
    let mut wrong = Vec::new();
    for part in row.written.iter().filter(|part| !text.contains(*part)) {
        wrong.push(format!("{what}: no `{part}` in\n{text}"));
    }
    for (kind, word, expected) in [
        (Kind::LeftOut, "# LEFT OUT: ", row.left_out),
        (Kind::Differs, "# DIFFERS: ", row.differs),
    ] {
        let notes = notes(&found, kind);
        let mut pairs = notes.iter().zip(expected);
        let is_same =
            notes.len() == expected.len() && pairs.all(|(note, part)| note.contains(part));
        if !is_same || text.matches(word).count() != notes.len() {
            wrong.push(format!("{what}: {word}{notes:#?} instead of {expected:#?}"));
        }
    }
    wrong
}

/// The tests that come with each result pass.
#[tokio::test]
async fn the_derived_tests_pass() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (index, row) in ROWS.iter().enumerate() {
        let found = imported(&source(row)).unwrap();
        let own = directory.path().join(index.to_string());
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("claimgate.yaml"), found.configuration).unwrap();
        let file = own.join("policy.test.yaml");
        std::fs::write(&file, found.tests).unwrap();
        files.push(file.display().to_string());
    }
    let mut arguments = vec!["test"];
    arguments.extend(files.iter().map(String::as_str));
    let outcome = run(&arguments, "").await;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.out, outcome.err);
    let passed = outcome.out.matches("\n  ok    ").count();
    assert!(passed > 2 * ROWS.len(), "only {passed} cases");
}
