//! The possible problems of a configuration, one at a time.

use super::problems;

/// A configuration, and a part of the problem that is reported.
const PROBLEMS: &[(&str, &str)] = &[
    (
        "log: { level: verbose }",
        "1:15: log.level: `verbose` is not one of `off`, `error`, `warn`, `info`, `debug`, `trace`",
    ),
    (
        "log: { subject: hidden }",
        "1:17: log.subject: `hidden` is not one of `plain`, `hash`, `omit`",
    ),
    (
        "log: { subject: omit, subject_key_file: a }",
        "1:41: log.subject_key_file: `subject_key_file` requires `subject: hash`",
    ),
    (
        "decision_log: {}",
        "1:15: decision_log: say where it is written: `path: FILE` or `stdout: true`",
    ),
    (
        "decision_log: { stdout: false }",
        "decision_log: say where it is written: `path: FILE` or `stdout: true`",
    ),
    (
        "decision_log: { path: a, stdout: true }",
        "1:34: decision_log.stdout: `path` and `stdout` exclude each other",
    ),
    (
        "decision_log: { path: .. }",
        "1:23: decision_log.path: it names no file",
    ),
    (
        "decision_log: { path: '' }",
        "decision_log.path: empty text",
    ),
    (
        "decision_log: { stdout: true, max_bytes: 1MiB }",
        "1:42: decision_log.max_bytes: `max_bytes` requires `path`",
    ),
    (
        "decision_log: { stdout: true, rotate: 1 }",
        "1:39: decision_log.rotate: `rotate` requires `path`",
    ),
    (
        "decision_log: { path: a, max_bytes: 512KiB }",
        "decision_log.max_bytes: `512KiB` is out of range: from 1MiB to 65536MiB",
    ),
    (
        "decision_log: { path: a, rotate: 1001 }",
        "decision_log.rotate: at most 1000 files are kept",
    ),
    (
        "decision_log: { path: a, rotate: 0, max_bytes: 1MiB }",
        "decision_log.max_bytes: with `rotate: 0`, the file is never renamed, so its size has no limit",
    ),
    (
        "decision_log: { path: a, allow: some }",
        "decision_log.allow: `some` is not one of `all`, `none`, `sampled`",
    ),
    (
        "decision_log: { path: a, allow: sampled }",
        "decision_log: `allow: sampled` requires `sample_ratio`",
    ),
    (
        "decision_log: { path: a, sample_ratio: 0.5 }",
        "decision_log.sample_ratio: `sample_ratio` requires `allow: sampled`",
    ),
    (
        "decision_log: { path: a, allow: sampled, sample_ratio: 2 }",
        "decision_log.sample_ratio: `2` is out of range: from 0 to 1",
    ),
    (
        "decision_log: { path: a, claims: [a..b] }",
        "decision_log.claims[0]: `a..b` has an empty name",
    ),
    (
        "decision_log: { path: a, claims: [] }",
        "decision_log.claims: empty; give at least one claim, or remove it for none",
    ),
    (
        "decision_log: { path: a, subject: hidden }",
        "decision_log.subject: `hidden` is not one of `hash`, `plain`, `omit`",
    ),
    (
        "decision_log: { path: a, subject: plain, subject_key_file: a }",
        "decision_log.subject_key_file: `subject_key_file` requires `subject: hash`",
    ),
    (
        "telemetry: { otlp: { endpoint: 'localhost:4317' } }",
        "1:32: telemetry.otlp.endpoint: `localhost:4317` has no scheme; write for example `http://localhost:4317`",
    ),
    (
        "telemetry: { otlp: { endpoint: 'unix:///run/otel.sock' } }",
        "has the scheme `unix`; write for example",
    ),
    (
        "telemetry: { otlp: { endpoint: 'https://me:secret@otel.example' } }",
        "1:32: telemetry.otlp.endpoint: an endpoint has no user name, query or fragment; write for example `http://localhost:4317`, and put keys into headers",
    ),
    (
        "telemetry: { otlp: { protocol: http/json } }",
        "1:32: telemetry.otlp.protocol: `http/json` is not one of `grpc`, `http/protobuf`",
    ),
    (
        "telemetry: { otlp: { headers_file: '' } }",
        "telemetry.otlp.headers_file: empty text",
    ),
    (
        "telemetry: { otlp: { ca_file: '' } }",
        "telemetry.otlp.ca_file: empty text",
    ),
    (
        "telemetry: { otlp: { sample_ratio: 1.5 } }",
        "1:36: telemetry.otlp.sample_ratio: `1.5` is out of range: from 0 to 1",
    ),
    (
        "telemetry: { otlp: { sample_ratio: half } }",
        "telemetry.otlp.sample_ratio: expected a number, found text",
    ),
    (
        "telemetry: { otlp: { sample_ratio: -1 } }",
        "telemetry.otlp.sample_ratio: `-1` is out of range: from 0 to 1",
    ),
    (
        "telemetry: { otlp: { metrics_interval: 10ms } }",
        "telemetry.otlp.metrics_interval: `10ms` is out of range: from 1s to 1h",
    ),
    ("", "providers: missing"),
    (
        "providers: []",
        "providers: at least one provider is needed",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: [any] }]",
        "write `audiences: any` to accept tokens for any audience",
    ),
    (
        "providers: []\n---\nproviders: []",
        "contains several documents",
    ),
    ("providers: [~]", "providers: an entry is empty"),
    (
        "providers: [{ issuer: https://a.example, audiences: a, algorithms: [~] }]",
        "providers[0].algorithms: an entry is empty",
    ),
    (
        "upstream: { claim_headers: [~] }",
        "upstream.claim_headers: an entry is empty",
    ),
    (
        "providers: {}",
        "providers: expected a list, found a mapping",
    ),
    ("- a", "expected a mapping, found a list"),
    ("providers: [", "not valid YAML"),
    ("providers: []\nproviders: []", "not valid YAML"),
    (
        "providers: [{ issuer: https://a.example }]",
        "missing field `audiences`",
    ),
    (
        "providers: [{ issuer: https://a.example?x=1, audiences: a }]",
        "has a query or a fragment",
    ),
    (
        "providers: [{ issuer: 'https://user:secret@a.example', audiences: a }]",
        "user name or password",
    ),
    (
        "providers: [{ issuer: accounts.google.com, audiences: a }]",
        "set `jwks.uri`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, jwks: { inline: { keys: [] } } }]",
        "no usable key in the set (it is empty)",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, jwks: { inline: '{' } }]",
        "not JSON",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, jwks: { inline: { keys: [{ kty: oct, kid: x }] } } }]",
        "key `x`: it is symmetric",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, jwks: { uri: https://a.example }, discovery_url: https://a.example }]",
        "exclude each other",
    ),
    (
        "providers: [{ issuer: https://a.example/1, audiences: a }, { issuer: https://a.example/2, audiences: a }]",
        "providers[0] is also called `a.example`; give each a different `name`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a }, { name: b, issuer: https://a.example, audiences: b }]",
        "providers[0] has the same `issuer`; merge the two",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, required_claims: { a: {} } }]",
        "providers[0].required_claims.a: expected a value, or a list of values",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, required_claims: { a: ~ } }]",
        "providers[0].required_claims: `a` has no value",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a }, { name: b, issuer: https://b.example, issuer_aliases: [https://a.example], audiences: b }]",
        "providers[0] has the same `issuer`; merge the two",
    ),
    (
        "providers: [{ issuer: 'https://a.example/{tenantid}/', audiences: a }]",
        "`{tenantid}` needs `tenants`",
    ),
    (
        "providers: [{ issuer: 'https://a.example/{tenantid}/', audiences: a, tenants: any }]",
        "`{tenantid}` needs `discovery_url`",
    ),
    (
        "providers: [{ issuer: 'https://a.example/x{tenantid}/', audiences: a }]",
        "must be one whole segment",
    ),
    (
        "providers: [{ issuer: 'https://{tenantid}.a.example/{tenantid}/', audiences: a }]",
        "must be one whole segment",
    ),
    (
        "providers: [{ issuer: 'https://a.example/{tenantid}/', issuer_aliases: [https://b.example], audiences: a, tenants: any }]",
        "providers[0].issuer_aliases[0]: has no `{tenantid}`",
    ),
    (
        "providers: [{ issuer: 'https://a.example/{tenantid}/', audiences: a, tenants: [contoso.com] }]",
        "`contoso.com` is not a tenant's id",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, tenants: any }]",
        "`tenants` requires an issuer that contains `{tenantid}`",
    ),
    (
        "providers: [{ issuer: spiffe://example.org/workload, audiences: a }]",
        "without a path",
    ),
    (
        "providers: [{ issuer: spiffe://example.org, audiences: a }]",
        "scheme `spiffe`, expected https; set `jwks.uri`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, also_accept: [logout_token] }]",
        "`logout_token` is not a kind that can be accepted",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, scope_claims: [] }]",
        "give at least one claim",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [] }]",
        "give at least one place",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ scheme: Bearer }] }]",
        "`scheme` requires `header`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{}] }]",
        "give exactly one of `header`, `cookie`, `query` and `websocket_protocol`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x, cookie: c }] }]",
        "give exactly one of `header`, `cookie`, `query` and `websocket_protocol`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ cookie: 'a=b' }] }]",
        "`a=b` is not a cookie name",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ query: 'a b' }] }]",
        "`a b` is not a query parameter",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ query: a }, { query: a }] }]",
        "the query parameter `a` is already listed",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x_token }] }]",
        "`x_token` is not a header name",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x-a, scheme: 'a b' }] }]",
        "`a b` is not a scheme",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x-a }, { header: X-A, scheme: Bearer }] }]",
        "tokens are taken from the `x-a` header, so the `x-a: Bearer` header cannot carry one",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x-a }] }, { issuer: https://b.example, audiences: a, token_from: [{ header: x-a, scheme: Bearer }] }]",
        "tokens are taken from the `x-a` header, so the `x-a: Bearer` header cannot carry one",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ query: a_b }, { query: A.B }] }]",
        "tokens are taken from the query parameter `a_b`, so the query parameter `A.B` cannot carry one",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ cookie: t }] }, { issuer: https://b.example, audiences: a, token_from: [{ cookie: T }] }]",
        "tokens are taken from the cookie `t`, so the cookie `T` cannot carry one",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x-a, scheme: Bearer }, { header: X-A, scheme: BEARER }] }]",
        "the `x-a: BEARER` header is already listed",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: Sec-WebSocket-Protocol }] }]",
        "write `websocket_protocol: bearer`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ websocket_protocol: 'a, b' }] }]",
        "`a, b` is not a subprotocol",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_types: [at+jwt, RT] }]",
        "providers[0].token_types[1]: `RT` is the type of a refresh token, which is refused",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, max_token_bytes: 61KiB }]",
        "`61KiB` is out of range: from 1KiB to 60KiB",
    ),
    (
        "upstream: { remove_cookies: ['a b'] }",
        "upstream.remove_cookies[0]: `a b` is neither a cookie name nor a prefix followed by `*`",
    ),
    (
        "upstream: { remove_cookies: ['a%41'] }",
        "upstream.remove_cookies[0]: `a%41` is neither a cookie name nor a prefix followed by `*`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ cookie: 't%41' }] }]",
        "`t%41` is not a cookie name",
    ),
    (
        "upstream: { remove_cookies: [session, 's*n'] }",
        "upstream.remove_cookies[1]: `s*n` is neither a cookie name nor a prefix followed by `*`",
    ),
    (
        "upstream: { max_header_bytes: 64KiB }",
        "`64KiB` is out of range: from 1KiB to 60KiB",
    ),
    (
        "providers: [{ issuer: http://a.example, audiences: a, fetch: { allow_http: true, bearer_token_file: token } }]",
        "would be sent unencrypted to `http://a.example/",
    ),
    (
        "providers: [{ issuer: http://a.example, audiences: a, fetch: { allow_http: true, proxy: 'http://proxy.example:3128' } }]",
        "`http://a.example/.well-known/openid-configuration` is not https, so `fetch.proxy` could read",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { envoy_cluster: '' } }]",
        "providers[0].fetch.envoy_cluster: empty; give the name of a cluster, or leave the field out",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { envoy_cluster: idp, ca_file: ca.pem } }]",
        "providers[0].fetch.ca_file: `ca_file` has no effect with `envoy_cluster`: configure it in Envoy's cluster",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { envoy_cluster: idp, proxy: from_environment } }]",
        "providers[0].fetch.proxy: `proxy` has no effect with `envoy_cluster`: configure it in Envoy's cluster",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { proxy: 'socks5://proxy.example:3128' } }]",
        "providers[0].fetch.proxy: a proxy with the scheme `socks5` is not supported",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { proxy: 'proxy.example:3128' } }]",
        "write for example `http://proxy.example.com:3128`",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { proxy: environment } }]",
        "not a URL",
    ),
    (
        "providers: [{ issuer: https://a.example, audiences: a, fetch: { proxy: 'http://proxy.example:3128/x' } }]",
        "ends with its port",
    ),
    (
        "token_cache: { max_entries: -1 }",
        "token_cache.max_entries: ",
    ),
    (
        "token_cache: { max_entries: 10000001 }",
        "at most 10000000 tokens are kept",
    ),
    (
        "token_cache: { max_bytes: 1KiB }",
        "`1KiB` is out of range: from 64KiB to 4096MiB",
    ),
    (
        "server: { listen: unix://relative }",
        "has no absolute path",
    ),
    ("server: { listen: [] }", "empty; give at least one address"),
];

#[test]
fn problems_one_by_one() {
    for (yaml, expected) in PROBLEMS {
        let found = problems(yaml);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{yaml}: {found:#?}"
        );
    }
}

/// White space at the ends of a text is part of it, and almost certainly a mistake.
#[test]
fn invisible_characters_are_a_problem() {
    let provider = |more: &str| {
        format!("providers: [{{ issuer: https://a.example, audiences: a, {more} }}]\n")
    };
    for (yaml, place) in [
        (
            "providers: [{ issuer: 'https://a.example ', audiences: a }]".to_owned(),
            "providers[0].issuer: `https://a.example `",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: [a, \"b\\t\"] }]".to_owned(),
            "providers[0].audiences[1]: `b\\t`",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: \"\\u00a0a\" }]".to_owned(),
            "providers[0].audiences: ",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: \"a\\ufeff\" }]".to_owned(),
            "providers[0].audiences: ",
        ),
        (
            provider("issuer_aliases: [' https://b.example']"),
            "providers[0].issuer_aliases[0]: ` https://b.example`",
        ),
        (
            provider("audience_claim: 'client_id '"),
            "providers[0].audience_claim: ",
        ),
        (
            provider("token_types: 'at+jwt '"),
            "providers[0].token_types: ",
        ),
        (
            provider("scope_claims: ['scp ']"),
            "providers[0].scope_claims[0]: ",
        ),
        (
            provider("required_claims: { 'a ': b }"),
            "providers[0].required_claims",
        ),
        (
            provider("discovery_url: 'https://b.example '"),
            "providers[0].discovery_url: ",
        ),
        (
            provider("jwks: { uri: 'https://b.example ' }"),
            "providers[0].jwks.uri: ",
        ),
        (
            provider("jwks: { file: 'keys.json ' }"),
            "providers[0].jwks.file: ",
        ),
        (
            provider("fetch: { ca_file: ' ca.pem' }"),
            "providers[0].fetch.ca_file: ",
        ),
        (
            provider("") + "upstream: { claim_headers: [{ header: x-a, claim: ' sub' }] }",
            "upstream.claim_headers[0].claim: ` sub`",
        ),
        (
            provider("") + "rules: [{ name: r, scopes: ['a '] }]",
            "rules[0].scopes[0]: `a `",
        ),
    ] {
        let found = problems(&yaml).join("\n");
        let line = found
            .lines()
            .find(|line| line.contains(place))
            .unwrap_or_else(|| panic!("{yaml}\n{found}"));
        assert!(
            line.ends_with("has white space at its beginning or end"),
            "{yaml}\n{found}"
        );
    }
}

/// If a claim's name contains dots, the error shows its JSON pointer, wherever claims are named.
#[test]
fn the_dots_of_a_url_are_not_a_path() {
    let provider = "providers: [{ issuer: https://a.example, audiences: a, ";
    let name = "https://acme.example.com/roles";
    for yaml in [
        format!("{provider} audience_claim: {name} }}]"),
        format!("{provider} scope_claims: [{name}] }}]"),
        format!("{provider} required_claims: {{ {name}: a }} }}]"),
        format!("{provider} }}]\nrules: [{{ name: r, claims: {{ {name}: a }} }}]"),
        format!("{provider} }}]\nresponse_headers: [{{ header: x-a, claim: {name} }}]"),
        format!(
            "{provider} }}]\nupstream: {{ claim_headers: [{{ header: x-a, claim: {name} }}] }}"
        ),
    ] {
        let found = problems(&yaml).join("\n");
        let expected = format!(
            "the dots split `{name}` into several names; for the claim with that name write \
             `/https:~1~1acme.example.com~1roles`"
        );
        assert!(found.contains(&expected), "{yaml}\n{found}");
    }
    for (claim, pointer) in [
        ("acme.example.com/roles", "/acme.example.com~1roles"),
        ("urn:oid:2.5.4.3", "/urn:oid:2.5.4.3"),
    ] {
        let yaml = format!(
            "{provider} }}]\nupstream: {{ claim_headers: [{{ header: x-a, claim: '{claim}' }}] }}"
        );
        let found = problems(&yaml).join("\n");
        assert!(found.contains(&format!("write `{pointer}`")), "{found}");
    }
    for claim in [
        "/https:~1~1acme.example.com~1roles",
        "realm_access.roles",
        "cognito:groups",
        "urn:zitadel:iam:org:project:roles",
        "https://acme/roles",
    ] {
        let yaml = format!(
            "{provider} }}]\nupstream: {{ claim_headers: [{{ header: x-a, claim: '{claim}' }}] }}"
        );
        assert_eq!(problems(&yaml), [""; 0], "{claim}");
    }
}

/// For common mistakes, the error says what to write instead.
#[test]
fn what_to_write_instead() {
    let provider = |more: &str| {
        format!("providers: [{{ issuer: https://a.example, audiences: a, {more} }}]\n")
    };
    let rule = |more: &str| provider("") + &format!("rules: [{{ name: r, {more} }}]");
    for (yaml, expected) in [
        (
            provider("clock_skew: 60"),
            "providers[0].clock_skew: expected text, found a number; write `60s`, with its unit",
        ),
        (
            provider("refresh: { max: 900 }"),
            "refresh.max: expected text, found a number; write `900s`",
        ),
        (
            rule("max_age: 60"),
            "max_age: expected text, found a number; write `60s`",
        ),
        (
            provider("fetch: { max_bytes: 65536 }"),
            "write `\"65536\"`, or with a unit `512KiB`",
        ),
        (
            rule("match: { path: /healthz }"),
            "rules[0].match.path: expected a mapping, found text; write `{ exact: /healthz }`, or \
             `{ prefix: /healthz }` for all below it",
        ),
        (
            rule("path: /healthz"),
            "rules[0].path: unknown field; write it inside `match`",
        ),
        (
            rule("roles: [admin]"),
            "rules[0].roles: unknown field; name the claim that contains them: `claims: { roles: [admin] }`",
        ),
        (
            provider("jwks_uri: https://a.example/jwks"),
            "providers[0].jwks_uri: unknown field; write `jwks: { uri: https://… }`",
        ),
        (
            provider("jwks: https://a.example/jwks"),
            "write `{ uri: https://a.example/jwks }`",
        ),
        (provider("tls: {}"), "write `fetch: { ca_file: ca.pem }`"),
        (
            provider("") + "tls: {}",
            "tls: unknown field; for `Check`, write `server: { tls: { certificate: tls.crt, key: tls.key } }`",
        ),
        (
            provider("") + "admin: { tls: {} }",
            "admin.tls: missing field `certificate`",
        ),
        (
            provider("") + "admin: { token: abc }",
            "admin.token: unknown field; write `token_file: admin.token`",
        ),
        (
            provider("") + "admin: { token_file: '' }",
            "admin.token_file: empty text",
        ),
        (
            provider("") + "admin: { allowed_hosts: ['*.example.com'] }",
            "admin.allowed_hosts[0]: `*.example.com` is a pattern, but names are compared exactly",
        ),
        (
            provider("") + "admin: { allowed_hosts: ['claimgate:9002'] }",
            "`claimgate:9002` is not a DNS name; write it without scheme and port",
        ),
        (
            provider("") + "admin: { allowed_hosts: [] }",
            "admin.allowed_hosts: empty; give at least one name",
        ),
        (
            provider("") + "admin: { listen: 'on' }",
            "admin.listen: `on` is not an IP address and port",
        ),
        (
            provider("") + "server: { tls: { cert_file: tls.crt, key: tls.key } }",
            "server.tls.cert_file: unknown field; write `tls: { certificate: tls.crt, key: tls.key }`",
        ),
        (
            provider("") + "cors: {}",
            "cors: unknown field; write `cors_preflight: allow` for preflights",
        ),
        (
            provider("") + "admin: { listen: 80 }",
            "admin.listen: expected text or a mapping, found a number; write `127.0.0.1:80`",
        ),
        (
            provider("") + "admin: '127.0.0.1:80'",
            "write `{ listen: 127.0.0.1:80 }`",
        ),
        (
            provider("") + "server: { listen: 9001 }",
            "server.listen: expected text or a mapping, found a number; write `'[::]:9001'`",
        ),
        (
            provider("") + "server: { listen: [9001] }",
            "server.listen[0]: expected text or a mapping, found a number; write `'[::]:9001'`",
        ),
        (
            "issuer: https://a.example".to_owned(),
            "issuer: unknown field; write it below `providers`",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: 7 }]".to_owned(),
            "found a number; write `\"7\"`",
        ),
    ] {
        let found = problems(&yaml).join("\n");
        assert!(found.contains(expected), "{yaml}\n{found}");
    }
}
