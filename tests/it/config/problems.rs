//! What may be wrong with a configuration, one thing at a time.

use super::problems;

#[test]
fn problems_one_by_one() {
    for (yaml, expected) in [
        ("", "providers: missing"),
        (
            "providers: []",
            "providers: at least one provider is needed",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: [any] }]",
            "write `audiences: any` to accept tokens meant for anyone",
        ),
        (
            "providers: []\n---\nproviders: []",
            "holds several documents",
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
            "give `jwks.uri`",
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
            "providers[0] is called `a.example` too; give each a `name` of its own",
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
            "`tenants` is for an issuer with `{tenantid}` in it",
        ),
        (
            "providers: [{ issuer: spiffe://example.org/workload, audiences: a }]",
            "without a path",
        ),
        (
            "providers: [{ issuer: spiffe://example.org, audiences: a }]",
            "scheme `spiffe`, expected https; give `jwks.uri`",
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
            "a scheme goes with a `header`",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: a, token_from: [{}] }]",
            "give exactly one of `header`, `cookie` and `query`",
        ),
        (
            "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: x, cookie: c }] }]",
            "give exactly one of `header`, `cookie` and `query`",
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
            "the query parameter `a` is listed already",
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
            "the `x-a: Bearer` header is listed already",
        ),
        (
            "providers: [{ issuer: http://a.example, audiences: a, fetch: { allow_http: true, bearer_token_file: token } }]",
            "would be sent in the clear to `http://a.example/",
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
    ] {
        let found = problems(yaml);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{yaml}: {found:#?}"
        );
    }
}
