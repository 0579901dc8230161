//! Configurations of Envoy to import, and the requests that matter to them.

use serde_json::{Value, json};

/// A source, and what its requests are made of.
pub struct Source {
    pub name: &'static str,
    /// Issuers with their keys, which the source names `PROVIDER.keys`.
    pub issuers: &'static [&'static str],
    pub audiences: &'static [&'static str],
    pub subjects: &'static [&'static str],
    pub paths: &'static [&'static str],
    pub headers: &'static [&'static str],
    pub cookies: &'static [&'static str],
    pub parameters: &'static [&'static str],
    /// Whether each place is read for one provider only.
    pub has_separate_places: bool,
    /// The filter's message, given the key set of each issuer.
    pub filter: fn(&[String]) -> Value,
    /// The routes of its virtual host.
    pub routes: fn() -> Value,
}

pub const SOURCES: [Source; 6] = [ONE, SEVERAL, MERGED, LENIENT, ODD, AMBIGUOUS];

/// Most knobs of one provider, and rules of every kind.
const ONE: Source = Source {
    name: "one provider",
    issuers: &["https://idp.example.com/realms/acme"],
    audiences: &[
        "orders-api",
        "https://api.example.com/",
        "admin-api",
        "other",
    ],
    subjects: &["alice"],
    paths: &[
        "/healthz",
        "/public",
        "/publicity",
        "/admin",
        "/administer",
        "/seg",
        "/seg/a",
        "/segment",
        "/files/12",
        "/files/12.json",
        "/files/x",
        "/api",
        "/api/",
        "/api/v1/x",
        "/CASE/x",
        "/case",
        "/exact",
        "/Exact",
        "/exact/",
        "/t/7/x",
        "/t/7/y",
        "/t/7",
        "/a%20b",
        "/a%2Fb",
        "/nowhere",
        "/api/%C3%A4",
        "/api/%c3%a4",
        "/hosted/x",
        "/hosted/public",
        "/",
    ],
    headers: &["authorization"],
    cookies: &[],
    parameters: &["access_token"],
    has_separate_places: false,
    filter: |keys| {
        let users = json!({"provider_name": "users"});
        let any = |list: Value| json!({"requires_any": {"requirements": list}});
        json!({
            "providers": {"users": {
                "issuer": "https://idp.example.com/realms/acme",
                "audiences": ["orders-api", "https://api.example.com/"],
                "local_jwks": {"inline_string": keys[0]},
                "forward_payload_header": "x-payload",
                "clock_skew_seconds": 30,
                "claim_to_headers": [
                    {"header_name": "x-user", "claim_name": "sub"},
                    {"header_name": "x-roles", "claim_name": "realm_access.roles"},
                    {"header_name": "x-score", "claim_name": "score"},
                    {"header_name": "x-admin", "claim_name": "admin"},
                    {"header_name": "x-url", "claim_path": [{"key": "https://example.com/name"}]},
                ],
            }},
            "bypass_cors_preflight": true,
            "requirement_map": {"optional": any(json!([users, {"allow_missing": {}}]))},
            "rules": [
                {"match": {"path": "/healthz"}},
                {"match": {"prefix": "/public"}, "requirement_name": "optional"},
                {"match": {"prefix": "/admin", "headers": [
                    {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT"}}},
                ]}, "requires": {"provider_and_audiences": {
                    "provider_name": "users", "audiences": ["admin-api"],
                }}},
                {"match": {"prefix": "/admin", "headers": [
                    {"name": "x-tenant", "string_match": {"exact": "blue"}},
                ]}, "requires": users},
                {"match": {"prefix": "/admin"}, "requires": any(json!([
                    {"provider_and_audiences": {"provider_name": "users", "audiences": ["admin-api"]}},
                    {"allow_missing": {}},
                ]))},
                {"match": {"path_separated_prefix": "/seg"}, "requires": users},
                {"match": {"safe_regex": {"regex": "/files/\\d+(\\.json)?"}}, "requires": users},
                {"match": {"prefix": "/case", "case_sensitive": false}, "requires": users},
                {"match": {"path": "/exact", "case_sensitive": false}, "requires": users},
                {"match": {"path": "/a%20b"}, "requires": users},
                {"match": {"path_match_policy": {
                    "name": "envoy.path.match.uri_template.uri_template_matcher",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                        "path_template": "/t/{id}/x",
                    },
                }}, "requires": users},
                {"match": {"path": "/api/%C3%A4"}},
                {"match": {"prefix": "/api/"}, "requires": users},
                {"match": {"prefix": "/hosted/public", "headers": [
                    {"name": ":authority", "string_match": {"exact": "api.example.com"}},
                ]}},
                {"match": {"prefix": "/hosted"}, "requires": users},
            ],
        })
    },
    routes: || json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]),
};

/// Two issuers with other places, requirements of both, and routes with their own.
const SEVERAL: Source = Source {
    name: "several providers and routes",
    issuers: &[
        "https://idp.example.com/realms/acme",
        "https://machines.example.com",
    ],
    audiences: &["orders-api", "machine-api"],
    subjects: &["alice", "svc-batch", "svc-"],
    paths: &[
        "/status", "/ops", "/ops/x", "/wrong", "/either", "/both", "/maybe", "/machine", "/users",
        "/", "/x",
    ],
    headers: &["authorization", "x-machine-token"],
    cookies: &["session"],
    parameters: &["token", "access_token"],
    has_separate_places: true,
    filter: |keys| {
        let (users, machines) = (
            json!({"provider_name": "users"}),
            json!({"provider_name": "machines"}),
        );
        let list = |kind: &str, list: Value| json!({kind: {"requirements": list}});
        json!({
            "providers": {
                "users": {
                    "issuer": "https://idp.example.com/realms/acme",
                    "local_jwks": {"inline_string": keys[0]},
                    "audiences": ["orders-api"],
                    "forward": true,
                    "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
                    "from_cookies": ["session"],
                    "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
                },
                "machines": {
                    "issuer": "https://machines.example.com",
                    "local_jwks": {"inline_string": keys[1]},
                    "forward": true,
                    "max_lifetime": "3600s",
                    "require_expiration": true,
                    "subjects": {"prefix": "svc-"},
                    "from_headers": [{"name": "x-machine-token"}, {"name": "authorization", "value_prefix": "Machine "}],
                    "from_params": ["token"],
                    "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
                },
            },
            "requirement_map": {"machines": machines, "either": list("requires_any", json!([users, machines]))},
            "strip_failure_response": false,
            "rules": [
                {"match": {"prefix": "/both"}, "requires": list("requires_all", json!([users, machines]))},
                {"match": {"prefix": "/maybe"}, "requires": list("requires_any", json!([users, {"allow_missing": {}}]))},
                {"match": {"prefix": "/machine"}, "requires": machines},
                {"match": {"prefix": "/users"}, "requires": {"allow_missing": {}}},
                {"match": {"prefix": "/"}, "requirement_name": "either"},
            ],
        })
    },
    routes: || {
        let typed = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
        let route = |prefix: &str, settings: Value| {
            let mut settings = settings;
            settings["@type"] = typed.into();
            json!({
                "name": prefix, "match": {"prefix": prefix}, "route": {"cluster": "upstream"},
                "typed_per_filter_config": {"envoy.filters.http.jwt_authn": settings},
            })
        };
        json!([
            route("/status", json!({"disabled": true})),
            route("/ops", json!({"requirement_name": "machines"})),
            route("/wrong", json!({"requirement_name": "no such name"})),
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
        ])
    },
};

/// Two providers with one issuer, and a third one; audiences decide.
const MERGED: Source = Source {
    name: "one issuer twice",
    issuers: &["https://idp.example.com", "https://other.example.com"],
    audiences: &["web", "mobile", "shared"],
    subjects: &["alice"],
    paths: &["/web", "/mobile", "/any", "/each", "/x"],
    headers: &["authorization"],
    cookies: &[],
    parameters: &["access_token"],
    has_separate_places: false,
    filter: |keys| {
        let provider = |issuer: &str, keys: &str, audience: &str| {
            json!({
                "issuer": issuer, "local_jwks": {"inline_string": keys}, "audiences": [audience, "shared"],
                "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
            })
        };
        let name = |name: &str| json!({"provider_name": name});
        let with = |name: &str, audience: &str| json!({"provider_and_audiences": {"provider_name": name, "audiences": [audience]}});
        let any = |list: Value| json!({"requires_any": {"requirements": list}});
        json!({
            "providers": {
                "web": provider("https://idp.example.com", &keys[0], "web"),
                "mobile": provider("https://idp.example.com", &keys[0], "mobile"),
                "other": provider("https://other.example.com", &keys[1], "web"),
            },
            "rules": [
                {"match": {"prefix": "/web"}, "requires": name("web")},
                {"match": {"prefix": "/mobile"}, "requires": any(json!([name("mobile"), {"allow_missing": {}}]))},
                {"match": {"prefix": "/any"}, "requires": any(json!([with("web", "web"), with("other", "shared")]))},
                {"match": {"prefix": "/each"}, "requires": any(json!([name("web"), name("mobile"), name("other")]))},
            ],
        })
    },
    routes: || json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]),
};

/// A provider whose failed tokens pass on some paths, with another clock skew.
const LENIENT: Source = Source {
    name: "failed tokens",
    issuers: &["https://idp.example.com"],
    audiences: &["web", "other"],
    subjects: &["alice", "bob"],
    paths: &["/lenient", "/lenient/x", "/all", "/x"],
    headers: &["authorization"],
    cookies: &[],
    parameters: &["access_token"],
    has_separate_places: false,
    filter: |keys| {
        let failed = json!({"allow_missing_or_failed": {}});
        json!({
            "providers": {"web": {
                "issuer": "https://idp.example.com",
                "local_jwks": {"inline_string": keys[0]},
                "audiences": ["web"],
                "subjects": {"exact": "alice"},
                "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
            }},
            "rules": [
                {"match": {"prefix": "/lenient"}, "requires": {"requires_any": {"requirements": [
                    {"provider_name": "web"}, failed,
                ]}}},
                {"match": {"prefix": "/all"}, "requires": failed},
                {"match": {"prefix": "/"}, "requires": {"provider_name": "web"}},
            ],
        })
    },
    routes: || json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]),
};

/// Paths, expressions and shapes that are easily read in another way. Everything else is public, so that a rule
/// which is lost shows.
const ODD: Source = Source {
    name: "odd paths",
    issuers: &["https://idp.example.com"],
    audiences: &["web", "other"],
    subjects: &["alice"],
    paths: &[
        "/abc/admin",
        "/1/admin",
        "/]/admin",
        "/,",
        "/+-",
        "/.",
        "/b%20c",
        "/b%20cd",
        "/caf%C3%A9",
        "/cafe",
        "/caf",
        "/adm%20in",
        "/admin",
        "/adm",
        "/t/%C3%A4",
        "/t/abcdef",
        "/number/%20",
        "/number/abc",
        "/favicon.ico",
        "/favicon:ico",
        "/favicon%20ico",
        "/case/X",
        "/CASE/x",
        "/p;q",
        "/pub/KIOSK/x",
        "/pub/kiosk",
        "/pub/%E2%84%AAiosk",
        "/pub/tiny/x|y",
        "/pub/tiny/x\"y",
        "/pub/tiny/x{y",
        "/pub/tiny/x:y",
        "/pub/tiny/%20y",
        "/pub/tiny/x",
        "/pub/tiny/x/y",
        "/pub/word",
        "/pub/w%C3%B6rd",
        "/pub/%25ab",
        "/pub/a@b",
        "/pub/a:b",
        "/pub/item/x:cancel",
        "/pub/item/x",
        "/nowhere",
        "/",
    ],
    headers: &["authorization"],
    cookies: &[],
    parameters: &["access_token"],
    has_separate_places: false,
    filter: |keys| {
        let users = json!({"provider_name": "users"});
        let regex = |regex: &str| json!({"safe_regex": {"regex": regex}});
        json!({
            "providers": {"users": {
                "issuer": "https://idp.example.com",
                "audiences": "web",
                "local_jwks": {"inline_string": keys[0]},
                "claim_to_headers": {"header_name": "x-user", "claim_name": "sub"},
            }},
            "rules": [
                {"match": regex("/[[:alpha:]]+/admin"), "requires": users},
                {"match": regex("/[+--]+"), "requires": users},
                {"match": regex("/b%20c.*"), "requires": users},
                {"match": {"prefix": "/caf%C3"}, "requires": users},
                {"match": regex("/adm[a-z0-9%]+"), "requires": users},
                {"match": regex("/t/[A-Za-z0-9%]{6}"), "requires": users},
                {"match": regex("/number/.{3}"), "requires": users},
                {"match": regex("/favicon.ico"), "requires": users},
                {"match": {"prefix": "/case", "case_sensitive": "false"}, "requires": users},
                {"match": {"prefix": "/p;q"}, "requires": users},
                {"match": regex("(?i)/pub/kiosk.*")},
                {"match": {"path_match_policy": {
                    "name": "envoy.path.match.uri_template.uri_template_matcher",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                        "path_template": "/pub/tiny/{x}",
                    },
                }}},
                {"match": regex("/pub/\\w+")},
                {"match": regex("/pub/item/[^/:]+")},
                {"match": {"prefix": "/pub", "headers": {"name": ":method", "string_match": {"exact": "PUT"}}}},
                {"match": {"prefix": "/pub"}, "requires": users},
            ],
        })
    },
    routes: || json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]),
};

/// The only rule is for paths that claimgate refuses where a rule looks at paths.
const AMBIGUOUS: Source = Source {
    name: "ambiguous paths only",
    issuers: &["https://idp.example.com"],
    audiences: &["web"],
    subjects: &["alice"],
    paths: &["/p;q", "/p;q/x", "/p", "/x"],
    headers: &["authorization"],
    cookies: &[],
    parameters: &["access_token"],
    has_separate_places: false,
    filter: |keys| {
        json!({
            "providers": {"users": {
                "issuer": "https://idp.example.com",
                "audiences": ["web"],
                "local_jwks": {"inline_string": keys[0]},
            }},
            "rules": {"match": {"prefix": "/p;q"}, "requires": {"provider_name": "users"}},
        })
    },
    routes: || json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]),
};
