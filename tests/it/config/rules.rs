//! The possible problems of rules, conditions, denials and resources.

use super::problems;

/// A configuration with these sections.
fn with(sections: &str) -> String {
    format!(
        "providers: [{{ name: acme, issuer: https://a.example, audiences: a }}]\n{}",
        sections.trim_start()
    )
}

/// A configuration with one rule `r`, which has these fields besides its name.
fn rule(more: &str) -> String {
    with(&format!("rules: [{{ name: r, {more} }}]"))
}

/// Sections after the providers, and a part of the problem that is reported.
const SECTIONS: &[(&str, &str)] = &[
    (
        "rules: [{ access: public }]",
        "rules[0]: missing field `name`",
    ),
    (
        "rules: [{ name: a b }]",
        "rules[0].name: a name has 1 to 64",
    ),
    (
        "rules: [{ name: default }]",
        "`default` is the rule that matches every request",
    ),
    (
        "rules: [{ name: r }, { name: r }]",
        "rules[1]: rules[0] is also called `r`",
    ),
    (
        "rules: [{ name: a, audit: never }]",
        "rules[0].audit: `never` is not one of `always`",
    ),
    ("rules: [~]", "rules: an entry is empty"),
    (
        "paths: loose",
        "paths: `loose` is not one of `strict`, `as_is`",
    ),
    ("cors_preflight: true", "cors_preflight: expected text"),
    ("rules: [{ name: none }]", "metrics use `none`"),
    (
        "paths: as_is\nrules: [{ name: r, match: { path: { prefix: '/admin/*' } } }]",
        "write a `regex` that escapes it",
    ),
];

/// The fields of a rule besides its name, and a part of the problem that is reported.
const RULES: &[(&str, &str)] = &[
    (
        "access: open",
        "access: `open` is not one of `public`, `optional`, `required`, `deny`",
    ),
    ("acess: public", "unknown field; did you mean `access`?"),
    ("match: {}", "rules[0].match: empty"),
    (
        "claims: {}",
        "rules[0].claims: empty; give at least one claim",
    ),
    (
        "match: { path: { regex: '(admin|root)(/.*)?' } }",
        "paths begin with `/`",
    ),
    (
        "match: { path: { regex: '(?i)internal/.*' } }",
        "paths begin with `/`",
    ),
    ("match: { path: { regex: '/a|b' } }", "paths begin with `/`"),
    (
        "match: { path: { regex: '/export[?&].*' } }",
        "the query is not part of the path",
    ),
    (
        "match: { headers: { x-a: b }, methods: GET }, access: public",
        "any client could send this header",
    ),
    (
        "match:",
        "rules[0].match: has no value; give it one, or remove it",
    ),
    (
        "match: { path: , methods: GET }",
        "rules[0].match.path: has no value",
    ),
    ("scopes:", "rules[0].scopes: has no value"),
    ("condition: ~", "rules[0].condition: has no value"),
    ("match: { headers: { Host: a } }", "match on `hosts`"),
    (
        "match: { headers: { x-a: b }, path: { prefix: / } }, access: public",
        "any client could send this header",
    ),
    (
        "match: { headers: { x-a: b }, path: { regex: '.*' } }, access: public",
        "any client could send this header",
    ),
    (
        "match: { path: { regex: 'admin.*' } }",
        "paths begin with `/`: begin each alternative with it",
    ),
    (
        "match: { path: { regex: '/a%20b/.*' } }",
        "no path can match: the expression contains `/a%20b/`, and paths are decoded before",
    ),
    (
        "match: { path: { regex: '/[a-z]+//b' } }",
        "has an empty segment",
    ),
    (
        "match: { path: { regex: '/a\\?b=1' } }",
        "the query is not part of the path",
    ),
    (
        "match: { path: { regex: '/(a|b;c)' } }",
        "no path can match: the expression contains `b;c`, which has a `;`",
    ),
    ("match: { method: GET }", "did you mean `methods`?"),
    (
        "match: { methods: [get] }",
        "`get` is not a method in upper case",
    ),
    (
        "match: { hosts: [] }",
        "hosts: empty; give at least one host",
    ),
    (
        "match: { hosts: '*' }",
        "`*` is not a host; write `api.example.com`, or `*.example.com`",
    ),
    (
        "match: { hosts: 'a.*.example' }",
        "`a.*.example` is not a host",
    ),
    ("match: { hosts: 'https://a.example' }", "is not a host"),
    (
        "match: { hosts: 'a.example:443' }",
        "ports and trailing dots are ignored; write `a.example`",
    ),
    (
        "match: { path: {} }",
        "give at least one of `exact`, `prefix` and `regex`",
    ),
    (
        "match: { path: /a }",
        "match.path: expected a mapping, found text",
    ),
    (
        "match: { path: { exact: a } }",
        "`a` does not begin with `/`, so no request can match",
    ),
    (
        "match: { path: { prefix: /a/../b } }",
        "has a segment `.` or `..`, so no request can match",
    ),
    (
        "match: { path: { exact: '/a?b=c' } }",
        "the query is not part of the path",
    ),
    ("match: { path: { exact: '/a;b' } }", "has a `;`"),
    (
        "match: { path: { exact: '/a%zz' } }",
        "is not percent-encoded UTF-8",
    ),
    (
        "match: { path: { regex: '/a(' } }",
        "not a regular expression: unclosed group",
    ),
    (
        "match: { path: { regex: '/a)|(/b' } }",
        "not a regular expression: unopened group",
    ),
    (
        "match: { headers: {} }",
        "headers: empty; give at least one header",
    ),
    (
        "match: { headers: { 'x a': b } }",
        "`x a` is not the name of a header",
    ),
    ("match: { headers: { x-a: [any, b] } }", "write `any` alone"),
    (
        "match: { headers: { x-a: } }",
        "`x-a` has no value; write `any` to accept every value",
    ),
    (
        "match: { headers: { x-a: b } }, access: public",
        "any client could send this header to pass without a token",
    ),
    (
        "match: { headers: { x-a: b } }, access: optional",
        "any client could send this header to pass without a token",
    ),
    (
        "match: { hosts: a.example }, access: public",
        "any client could send this host to pass without a token; add a `path` to `match`, or \
             `hosts_are_bound: true`",
    ),
    (
        "match: { hosts: '*.a.example', methods: GET }, access: optional",
        "any client could send this host",
    ),
    (
        "match: { hosts: a.example, path: { prefix: / } }, access: public",
        "any client could send this host",
    ),
    (
        "match: { hosts: a.example, path: { regex: '/[a-z]+' } }, access: public",
        "any client could send this host",
    ),
    (
        "match: { hosts: a.example, headers: { x-a: b } }, access: public",
        "any client could send this header",
    ),
    ("match: { hosts_are_bound: true }", "rules[0].match: empty"),
    (
        "match: { hosts_are_bound: true, methods: GET }",
        "rules[0].match.hosts_are_bound: there are no `hosts` to bind",
    ),
    (
        "match: { path: { prefix: '/admin/*' } }",
        "rules[0].match.path.prefix: `*` is not a placeholder here and stands for itself; \
             use `prefix` for all paths below, or `regex` for an expression; percent-encode it",
    ),
    (
        "match: { path: { exact: '/orders/:id' } }",
        "`:id` is not a placeholder",
    ),
    (
        "match: { path: { exact: '/x/{id}' } }",
        "`{` is not a placeholder",
    ),
    (
        "match: { path: { exact: '/x/<id>' } }",
        "`<` is not a placeholder",
    ),
    (
        "match: { path: { prefix: '/orders/[0-9]+' } }",
        "`[` is not a placeholder",
    ),
    (
        "match: { path: { prefix: '/orders$' } }",
        "`$` is not a placeholder",
    ),
    (
        "match: { headers: { x-a: b, X-A: c } }",
        "repeats the header `x-a`, because case is ignored; list its values",
    ),
    (
        "match: { path: { regex: '/a$b' } }",
        "no path can match `/a$b`",
    ),
    ("match: { path: { regex: '/a(^b)c' } }", "no path can match"),
    (
        "match: { path: { regex: '/[a&&b]' } }",
        "no path can match `/[a&&b]`",
    ),
    (
        "match: { hosts: '*.[::1]' }",
        "no host can be below the address `[::1]`",
    ),
    (
        "match: { hosts: '*.10.0.0.1' }",
        "no host can be below the address `10.0.0.1`",
    ),
    (
        "match: { methods: GET }, only_by_name: true",
        "`match` and `only_by_name` exclude each other",
    ),
    (
        "providers: [acne]",
        "no provider is called `acne`; configured: `acme`",
    ),
    ("scopes: a b", "`a b` is not a scope"),
    ("scopes: []", "scopes: empty; give at least one scope"),
    ("any_scope: ['a\"b']", "is not a scope"),
    ("claims: { a..b: c }", "`a..b` has an empty name"),
    ("acr: a b", "is not an `acr` without spaces"),
    ("max_age: soon", "`soon` is not a duration"),
    (
        "access: public, scopes: a",
        "`access: public` looks at no token, so `scopes` protects nothing",
    ),
    (
        "access: public, providers: acme",
        "so `providers` protects nothing",
    ),
    (
        "access: deny, claims: { a: b }",
        "so `claims` protects nothing",
    ),
    (
        "access: optional, max_age: 1h",
        "a client could pass by omitting the token, so `max_age` protects nothing",
    ),
    (
        "access: deny, condition: 'true'",
        "refuses every request, whatever a condition says",
    ),
    (
        "access: public, condition: 'claims.a == 1'",
        "so there are no `claims`",
    ),
];

#[test]
fn rules_one_by_one() {
    let sections = SECTIONS
        .iter()
        .map(|(text, expected)| (with(text), expected));
    let rules = RULES.iter().map(|(text, expected)| (rule(text), expected));
    for (yaml, expected) in sections.chain(rules) {
        let found = problems(&yaml).join("\n");
        assert!(found.contains(expected), "{yaml}\n{found}");
    }
}

/// A condition, and a part of the problem that is reported.
const CONDITIONS: &[(&str, &str)] = &[
    ("claims.sub ==", "not a CEL expression"),
    (
        "",
        "not a CEL expression: mismatched input '<EOF>' (at 1:1 of the expression)",
    ),
    (
        "claim.sub == 'a'",
        "`claim` is not a variable; did you mean `claims`? (at 1:1 of the expression)",
    ),
    (
        "true && user == 'a'",
        "`user` is not a variable; there are `claims`, `context`, `now`, `request`, `source` (at 1:9",
    ),
    (
        "true &&\n  requst.path == '/'",
        "did you mean `request`? (at 2:3",
    ),
    ("request.url == '/'", "`url` is not a field of `request`"),
    ("request.paths == '/'", "did you mean `path`?"),
    ("request['url'] == '/'", "`url` is not a field of `request`"),
    ("has(source.adress)", "did you mean `address`?"),
    (
        "claims.all(claim, clam.a)",
        "`clam` is not a variable; did you mean",
    ),
    (
        "claims.sub.startWith('a')",
        "`startWith` is not a function of a value; did you mean `startsWith`?",
    ),
    (
        "claims.sub.startsWith('a', 'b')",
        "`startsWith` does not take 2 arguments",
    ),
    (
        "startsWith(claims.sub, 'a')",
        "`startsWith` is a function of a value: write `x.startsWith(…)`",
    ),
    ("len(claims.sub) > 1", "`len` is not a function; there are"),
    ("size(claims.a, claims.b) > 1", "`size` takes one argument"),
    ("has(claims)", "not a CEL expression"),
    (
        "claims.sub.matches(claims.pattern)",
        "the pattern of `matches` must be a literal text",
    ),
    (
        "claims.sub.matches('(')",
        "not a regular expression: unclosed group",
    ),
    (
        "cidr('10.0.0.0/33').containsIP(source.address)",
        "`cidr` always fails",
    ),
    ("now > timestamp('yesterday')", "`timestamp` always fails"),
    ("'a'", "a constant is neither true nor false"),
    ("[claims.a]", "a list is neither true nor false"),
    (
        "Config{a: 1} == claims.a",
        "is not a type that can be created here",
    ),
    (
        "request == claims.a",
        "name a field of `request`: `headers`, `host`",
    ),
    ("'pth' in request", "name a field of `request`"),
    ("!has(dyn(request).pth)", "name a field of `request`"),
    (
        "[request].exists(r, !has(r.pth))",
        "name a field of `request`",
    ),
    ("request[claims.a] == '/'", "name a field of `request`"),
    (
        "!('X-Debug' in request.headers)",
        "header names are in lower case: write `x-debug`",
    ),
    (
        "!has(request.headers.Authorization)",
        "write `authorization`",
    ),
    (
        "request.headers[':path'] == '/'",
        "is not a header: use `request.method`",
    ),
    (
        "claims.a.all(request, request.path == '/')",
        "`request` already has a meaning; choose another name",
    ),
    (
        "claims.l.exists(g, g in request.headers['x-groups'].split(','))",
        "`split` inside a macro may only be given literals",
    ),
    (
        "request.path.split('/').exists(s, s in claims.l)",
        "`in` inside a macro may only be given literals",
    ),
    (
        "claims.l.map(x, claims.l).size() > 0",
        "`map` and `filter` may only use their own elements",
    ),
    (
        "claims.l.filter(x, x == claims.a).size() > 0",
        "`map` and `filter` may only use their own elements",
    ),
    (
        "request.query.replace('a', request.query).size() > 0",
        "`replace` takes two literal texts",
    ),
    (
        "claims.l.exists(p, request.path.indexOf(p) >= 0)",
        "`indexOf` needs a literal text",
    ),
    (
        "request.path.indexOf(request.query) < 0",
        "`indexOf` needs a literal text",
    ),
    (
        "claims.l.exists(p, request.path.substring(1) == p)",
        "`substring` inside a macro may only be given",
    ),
    (
        "claims.l.exists(p, request.path.matches('a*b'))",
        "`matches` inside a macro may only be given",
    ),
    (
        "request.path.split('').size() > 1",
        "`split` needs a literal text that is not empty",
    ),
    (
        "request.path.replace('a', 'aa') == 'b'",
        "the second must not be longer than the first",
    ),
    (
        "[1, 2, 3].map(i, request.path).size() > 0",
        "`map` and `filter` may only use their own elements",
    ),
    ("['a'].map(p, p + p).size() > 0", "`map` may not use `+`"),
    (
        "claims.a.format(['b']) == 'a'",
        "`format` is not a function of a value",
    ),
    (
        "claims.a.all(x, claims.b.all(y, x != y))",
        "a macro inside another one may only go through a literal list",
    ),
    ("claims.?a == 1", "not a CEL expression"),
];

#[test]
fn conditions_one_by_one() {
    for (condition, expected) in CONDITIONS {
        let yaml = with(&format!(
            "rules: [{{ name: r, condition: {} }}]",
            serde_json::Value::from(*condition)
        ));
        let found = problems(&yaml).join("\n");
        assert!(found.contains(expected), "{condition}\n{found}");
        assert!(found.contains("rules[0].condition"), "{condition}\n{found}");
    }
    for (long, expected) in [
        ("a".repeat(9_000), "longer than 8192 bytes"),
        (
            format!("claims{} == 1", "[0]".repeat(300)),
            "nested deeper than 200",
        ),
        (
            format!("claims{} == 1", ".a".repeat(4_000)),
            "nested deeper than 200",
        ),
        (
            format!("1{} == 1", " + 1".repeat(2_000)),
            "nested deeper than 200",
        ),
        (
            format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000)),
            "not a CEL expression",
        ),
    ] {
        let found = problems(&rule(&format!(
            "condition: {}",
            serde_json::Value::from(long.as_str())
        )));
        assert!(
            found.join("").contains(expected),
            "{}: {found:?}",
            &long[..40]
        );
    }
    for condition in [
        "true",
        "claims.tenants.exists(t, request.path.startsWith('/t/' + t + '/'))",
        "claims.groups.exists(g, g.split('/')[1] == 'eu' && g != request.headers['x-not'])",
        "request.headers['x-g'].split(',').filter(g, g != '').all(g, g == claims.group)",
        "claims.a.replace('-', '') == 'a' && 'x-a' in request.headers",
        "claims.a.all(x, ['b', 'c'].exists(y, x.endsWith(y)))",
        "claims.a.filter(x, x > 1).map(x, x * 2).exists(x, x == 4)",
        "type(claims.sub) == string && size(claims.sub) > 1",
        "request['path'].startsWith('/a') && request.headers['x-a'] == 'b'",
        "claims[\"https://example.com/roles\"].exists(role, role == 'a')",
        "'a' in claims.groups && !('b' in claims.groups)",
        "claims.email.split('@')[1].lowerAscii() == 'example.com'",
        "now.getHours('Europe/Berlin') < 18 && now.getDayOfWeek() != 0",
        "claims.exp - claims.iat < 3600 ? true : int(claims.level) > 2",
        "context.team == 'a' || source.principal.endsWith('/a')",
    ] {
        let yaml = with(&format!(
            "rules: [{{ name: r, condition: {} }}]",
            serde_json::Value::from(condition)
        ));
        assert_eq!(problems(&yaml), [""; 0], "{condition}");
    }
}

#[test]
fn answers_one_by_one() {
    for (yaml, expected) in [
        (
            "denials: { body: html }",
            "denials.body: `html` is not one of `json`, `problem`, `text`, `none`",
        ),
        ("denials: { body: {} }", "denials.body: empty"),
        (
            "denials: { body: { 404: json } }",
            "denials.body: `404` is not a status of a denial",
        ),
        (
            "denials: { body: { 401: html } }",
            "denials.body.401: `html` is not one of",
        ),
        (
            "denials: { body: { 401: { template: a } } }",
            "missing field `content_type`",
        ),
        (
            "denials: { body: { 401: { content_type: text/html, templat: a } } }",
            "unknown field `templat`",
        ),
        (
            "denials: { body: { 401: { content_type: \"a\\nb\", template: a } } }",
            "content_type: a header value is visible ASCII",
        ),
        (
            "denials: { body: { 401: { content_type: text/html, template: '{{sub}}' } } }",
            "`{{sub}}` is unknown; use `{{status}}`, `{{error}}`, `{{reason}}` or `{{request_id}}`",
        ),
        (
            "denials: { body: { 401: { content_type: text/html, template: '{{error' } } }",
            "`{{` is not followed by `}}`",
        ),
        (
            "denials: { expose_reason: false, body: { 401: { content_type: text/html, template: '{{reason}}' } } }",
            "reveals what `expose_reason: false` hides",
        ),
        (
            "denials: { body: [json] }",
            "denials.body: invalid type: sequence, expected `json`",
        ),
        (
            "denials: { headers: [{ header: x-a }] }",
            "denials.headers[0]: missing field `value`",
        ),
        (
            "denials: { headers: [{ header: WWW-Authenticate, value: a }] }",
            "`WWW-Authenticate` is set by claimgate itself",
        ),
        (
            "denials: { headers: [{ header: Vary, value: a }] }",
            "`Vary` is set by claimgate itself",
        ),
        (
            "denials: { headers: [{ header: Access-Control-Allow-Origin, value: '*' }] }",
            "`Access-Control-Allow-Origin` is set by `denials.cors`",
        ),
        (
            "denials: { headers: [{ header: content-type, value: a/b }] }",
            "already has a meaning",
        ),
        (
            "denials: { headers: [{ header: grpc-status, value: '0' }] }",
            "already has a meaning",
        ),
        (
            "denials: { headers: [{ header: x-a, value: a }, { header: X-A, value: b }] }",
            "is already set by denials.headers[0].header",
        ),
        (
            "denials: { headers: [{ header: x-a, value: \"a\\r\\nb\" }] }",
            "a header value is visible ASCII",
        ),
        (
            "denials: { cors: {} }",
            "denials.cors: missing field `origins`",
        ),
        (
            "denials: { cors: { origins: [] } }",
            "give at least one origin, or `any` alone",
        ),
        (
            "denials: { cors: { origins: shop.example.com } }",
            "`shop.example.com` is not an origin",
        ),
        (
            "denials: { cors: { origins: ['null'] } }",
            "`null` is not an origin",
        ),
        (
            "denials: { cors: { origins: ['*'] } }",
            "`*` is not an origin",
        ),
        (
            "denials: { cors: { origins: [any] } }",
            "`any` is not an origin",
        ),
        (
            "denials: { cors: { origins: ['https://Shop.example.com:443/'] } }",
            "is sent by browsers as `https://shop.example.com`",
        ),
        (
            "denials: { cors: { origins: any, credentials: true } }",
            "denials.cors.credentials: with cookies, browsers accept only origins given by name",
        ),
        (
            "denials: { resource_metadata: metadata }",
            "`metadata` is not a URL",
        ),
        (
            "denials: { resource_metadata: 'https://a.example/\"' }",
            "has characters that must be encoded",
        ),
        (
            "response_headers: [{ header: x-a }]",
            "give exactly one of `value` and `claim`",
        ),
        (
            "response_headers: [{ header: x-a, value: a, claim: b }]",
            "give exactly one of `value` and `claim`",
        ),
        (
            "response_headers: [{ value: a }]",
            "response_headers[0]: missing field `header`",
        ),
        (
            "response_headers: [{ header: content-length, value: '1' }]",
            "already has a meaning",
        ),
        (
            "response_headers: [{ header: x-a, value: \"a\\r\\nb\" }]",
            "a header value is visible ASCII",
        ),
        (
            "response_headers: [{ header: x-a, value: a }, { header: X-A, value: b }]",
            "is already set by response_headers[0].header",
        ),
        (
            "upstream: { dynamic_metadata: all }",
            "expected true or false",
        ),
        ("protected_resources: [{}]", "missing field `resource`"),
        (
            "protected_resources: [{ resource: api.example.com }]",
            "not a URL",
        ),
        (
            "protected_resources: [{ resource: 'http://api.example.com' }]",
            "a resource is named by an https URL",
        ),
        (
            "protected_resources: [{ resource: 'https://api.example.com/?a' }]",
            "must not have a query, fragment or user name",
        ),
        (
            "protected_resources: [{ resource: 'https://API.example.com/a' }]",
            "write it in the form that clients use: `https://api.example.com/a`",
        ),
        (
            "protected_resources: [{ resource: 'https://a.example', providers: acne }]",
            "no provider is called `acne`",
        ),
        (
            "protected_resources: [{ resource: 'https://a.example', authorization_servers: x }]",
            "`x` is not a URL",
        ),
        (
            "protected_resources: [{ resource: 'https://a.example', resource_tos_uri: x }]",
            "`x` is not a URL",
        ),
        (
            "protected_resources: [{ resource: 'https://a.example' }, { resource: 'https://a.example' }]",
            "another resource has the same metadata URL",
        ),
    ] {
        let found = problems(&with(yaml)).join("\n");
        assert!(found.contains(expected), "{yaml}\n{found}");
    }
    for origin in [
        "https://a.example:8443",
        "capacitor://localhost",
        "http://[::1]:3000",
    ] {
        let yaml = with(&format!("denials: {{ cors: {{ origins: '{origin}' }} }}"));
        assert_eq!(problems(&yaml), [""; 0], "{origin}");
    }
    let spiffe = "providers: [{ issuer: spiffe://a.example, audiences: a, jwks: { file: k } }]\n\
                  protected_resources: [{ resource: https://a.example }]";
    let found = problems(spiffe).join("\n");
    assert!(
        found.contains("clients cannot find `spiffe://a.example`; give `authorization_servers`"),
        "{found}"
    );
}

/// If earlier rules match all requests of a rule, the error names them.
#[test]
fn hidden_rules() {
    let prefix = |prefix: &str| format!("{{ path: {{ prefix: {prefix} }} }}");
    let exact = |exact: &str| format!("{{ path: {{ exact: {exact} }} }}");
    let regex = |regex: &str| format!("{{ path: {{ regex: '{regex}' }} }}");
    let text = str::to_owned;
    for (earlier, later, is_hidden) in [
        (prefix("/orders"), prefix("/orders/admin"), true),
        (prefix("/orders"), prefix("/orders"), true),
        (prefix("/orders/"), prefix("/orders"), true),
        (prefix("/orders"), exact("/orders/admin"), true),
        (prefix("/orders"), exact("/orders/"), true),
        (prefix("/@orders"), exact("/%40orders/a"), true),
        (prefix("/orders"), prefix("/orders-admin"), false),
        (prefix("/orders/admin"), prefix("/orders"), false),
        (exact("/orders"), exact("/orders"), true),
        (exact("/orders"), prefix("/orders"), false),
        (exact("/orders"), exact("/orders/"), false),
        (prefix("/"), prefix("/orders"), true),
        (prefix("/"), text("{ methods: [GET] }"), true),
        (prefix("/orders"), regex("/orders/[0-9]+"), true),
        (prefix("/orders"), regex("/orders/(a|b)"), true),
        (prefix("/orders"), regex("/orders(/.*)?"), true),
        (prefix("/orders"), regex("/orders.*"), false),
        (prefix("/orders"), regex("(?i)/orders/x"), false),
        (prefix("/"), regex(r".*\.css"), true),
        (regex("/orders/.*"), prefix("/orders/admin"), true),
        (regex("/orders/.*"), prefix("/orders"), false),
        (regex("/orders(/.*)?"), prefix("/orders"), true),
        (regex("^/orders(?:/.*)?$"), prefix("/orders"), true),
        (regex("/o.*"), prefix("/orders"), true),
        (regex(".*"), prefix("/orders"), true),
        (regex("/.*"), prefix("/"), true),
        (regex("/orders/[0-9]+"), exact("/orders/7"), true),
        (regex("/orders/[0-9]+"), exact("/orders/x"), false),
        (regex("/orders/[0-9]+"), regex("/orders/[0-9]+"), true),
        (
            text("{ hosts: a.example }"),
            text("{ hosts: a.example, methods: GET }"),
            true,
        ),
        (
            text("{ hosts: A.example }"),
            text("{ hosts: a.example }"),
            true,
        ),
        (
            text("{ hosts: '*.example' }"),
            text("{ hosts: [a.example, '*.b.example'] }"),
            true,
        ),
        (
            text("{ hosts: '*.a.example' }"),
            text("{ hosts: a.example }"),
            false,
        ),
        (
            text("{ hosts: a.example }"),
            text("{ hosts: [a.example, b.example] }"),
            false,
        ),
        (text("{ hosts: a.example }"), prefix("/orders"), false),
        (
            text("{ methods: [GET, PUT] }"),
            text("{ methods: [PUT] }"),
            true,
        ),
        (
            text("{ methods: [GET] }"),
            text("{ methods: [GET, PUT] }"),
            false,
        ),
        (text("{ methods: [GET] }"), prefix("/"), false),
        (
            text("{ headers: { x-a: any } }"),
            text("{ headers: { X-A: b, x-c: d } }"),
            true,
        ),
        (
            text("{ headers: { x-a: [b, c] } }"),
            text("{ headers: { x-a: c } }"),
            true,
        ),
        (
            text("{ headers: { x-a: c } }"),
            text("{ headers: { x-a: [b, c] } }"),
            false,
        ),
        (
            text("{ headers: { x-a: c } }"),
            text("{ headers: { x-a: any } }"),
            false,
        ),
        (
            text("{ headers: { x-a: c, x-b: d } }"),
            text("{ headers: { x-a: c } }"),
            false,
        ),
        (
            text("{ path: { exact: [/a, /b], prefix: /c } }"),
            text("{ path: { exact: [/b, /c/d] }, methods: GET }"),
            true,
        ),
    ] {
        let rules = format!(
            "rules: [{{ name: first, match: {earlier}, scopes: a }}, \
             {{ name: second, match: {later}, scopes: b }}]"
        );
        let found = problems(&with(&rules));
        let hidden = found.iter().any(|line| {
            line.contains("rules[1]: never reached: `first` before it decides all of its requests")
        });
        assert_eq!(hidden, is_hidden, "{rules}\n{found:?}");
        assert_eq!(found.len(), usize::from(is_hidden), "{rules}\n{found:?}");
    }
    for (rules, by) in [
        (
            "{ name: all }, { name: r, match: { path: { prefix: /a } } }",
            Some("`all`"),
        ),
        ("{ name: all }, { name: r }", Some("`all`")),
        (
            "{ name: a, match: { methods: GET } }, { name: b, match: { methods: PUT } }, \
             { name: r, match: { methods: [PUT, GET] } }",
            Some("`a`, `b`"),
        ),
        (
            "{ name: a, match: { methods: GET } }, { name: b, match: { path: { prefix: /b } } }, \
             { name: r, match: { methods: [PUT, GET], path: { prefix: [/b, /c] } } }",
            None,
        ),
        ("{ name: all, only_by_name: true }, { name: r }", None),
        ("{ name: all }, { name: r, only_by_name: true }", None),
    ] {
        let found = problems(&with(&format!("rules: [{rules}]"))).join("\n");
        match by {
            Some(by) => assert!(
                found.contains(&format!("never reached: {by} before")),
                "{found}"
            ),
            None => assert_eq!(found, "", "{rules}"),
        }
    }
    // The path `*` does not begin with a slash.
    let as_is = "paths: as_is\nrules: [{ name: a, match: { path: { prefix: / } } }, { name: b }]";
    assert_eq!(problems(&with(as_is)), [""; 0]);
}

/// Characters that look like placeholders, but are not.
#[test]
fn paths_that_are_meant() {
    for path in [
        "/v1/orders/7:cancel",
        "/odata/$metadata",
        "/Orders(7)",
        "/%2A",
        "/x/%7Bid%7D",
        "/a+b",
        "/:",
        "/$",
    ] {
        assert_eq!(
            problems(&rule(&format!("match: {{ path: {{ exact: '{path}' }} }}"))),
            [""; 0],
            "{path}"
        );
    }
    for more in [
        "match: { hosts: a.example, hosts_are_bound: true }, access: public",
        "match: { hosts: a.example, hosts_are_bound: true, headers: { x-a: b } }, access: public",
        "match: { hosts: a.example, path: { regex: '/(a|b)/.*' } }, access: public",
        "match: { hosts: a.example, path: { exact: /a } }, access: public",
    ] {
        assert_eq!(problems(&rule(more)), [""; 0], "{more}");
    }
}
