//! Istio.

use claimgate::import::Options;

use super::{Row, check};

/// An object of Istio in the namespace `shop`.
fn object(kind: &str, name: &str, spec: &str) -> String {
    in_namespace("shop", kind, name, spec)
}

fn in_namespace(namespace: &str, kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {spec}\n"
    )
}

/// Authentication for a target, which is empty or ends in a comma.
fn authentication(target: &str) -> String {
    let spec = format!("{{ {target} jwtRules: [{{ issuer: 'https://idp.example.com' }}] }}");
    object("RequestAuthentication", "idp", &spec)
}

fn authorization(name: &str, spec: &str) -> String {
    object("AuthorizationPolicy", name, spec)
}

/// Istio's policies for all of `shop`.
fn istio(spec: &str) -> String {
    authentication("") + &authorization("p", spec)
}

/// A Gateway of a class.
fn gateway_object(class: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: public, namespace: shop }}\nspec: {{ gatewayClassName: {class} }}\n"
    )
}

/// A text with spaces is a list of words, of which none has a space.
#[tokio::test]
async fn words_have_no_spaces() {
    let scope = |values: &str| {
        istio(&format!(
            "{{ rules: [{{ when: [{{ key: 'request.auth.claims[scope]', values: [{values}] }}] }}] }}"
        ))
    };
    check(vec![
        Row::new("a value", scope("'read write'"))
            .denies("path: /", "claims: { scope: x read write y }")
            .denies("path: /", "claims: { scope: read write }")
            .allows("path: /", "claims: { scope: [read write] }"),
        Row::new("one of two", scope("'read write', admin"))
            .denies("path: /", "claims: { scope: x read write y }")
            .allows("path: /", "claims: { scope: read admin }"),
        Row::new("a prefix", scope("'read w*'"))
            .denies("path: /", "claims: { scope: x read write }"),
        Row::new("a suffix", scope("'*d write'"))
            .denies("path: /", "claims: { scope: x read write }"),
        Row::new("nothing", scope("''"))
            .denies("path: /", "claims: { scope: 'a ' }")
            .denies("path: /", "claims: { scope: '' }"),
    ])
    .await;
}

/// A policy that may be for the workload counts as far as it denies.
#[tokio::test]
async fn policies_attach_as_in_istio() {
    let deny = "action: DENY, rules: [{ to: [{ operation: { paths: [/admin] } }] }]";
    let allow = "rules: [{ to: [{ operation: { paths: [/public] } }] }]";
    let service = "targetRefs: [{ group: '', kind: Service, name: orders }],";
    let public = "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: public }],";
    let class = "targetRefs: [{ group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint }],";
    let label = "selector: { matchLabels: { gateway.networking.k8s.io/gateway-name: public } },";
    let app = "selector: { matchLabels: { app: x } },";
    let policy = |name: &str, target: &str, rest: &str| {
        authorization(name, &format!("{{ {target} {rest} }}"))
    };
    let in_root = |target: &str, rest: &str| {
        let spec = format!("{{ {target} {rest} }}");
        in_namespace("istio-system", "AuthorizationPolicy", "root", &spec)
    };
    let unclear = |target: &str| authentication("") + &policy("d", target, deny);
    check(vec![
        Row::new(
            "all waypoints",
            authentication(service) + &in_root(class, deny),
        )
        .workload("shop/Service/orders")
        .denies("path: /admin", "")
        .allows("path: /", ""),
        Row::new(
            "all waypoints, from another namespace",
            authentication(service) + &policy("d", class, deny),
        )
        .workload("shop/Service/orders")
        .allows("path: /admin", ""),
        Row::new(
            "waypoints know no policies for a namespace",
            authentication(service)
                + &policy("wide", "", allow)
                + &policy(
                    "own",
                    service,
                    "rules: [{ to: [{ operation: { paths: [/orders] } }] }]",
                ),
        )
        .workload("shop/Service/orders")
        .denies("path: /public", "")
        .allows("path: /orders", ""),
        Row::new(
            "a Gateway that may be the waypoint",
            authentication(service) + &policy("d", public, deny),
        )
        .workload("shop/Service/orders")
        .left_out("AuthorizationPolicy shop/d")
        .denies("path: /admin", ""),
        Row::new(
            "a Gateway that is no waypoint",
            authentication(service) + &policy("d", public, deny) + &gateway_object("istio"),
        )
        .workload("shop/Service/orders")
        .allows("path: /admin", ""),
        Row::new(
            "a label of a Gateway",
            authentication(public) + &policy("d", label, deny),
        )
        .workload("shop/Gateway/public")
        .left_out("AuthorizationPolicy shop/d")
        .denies("path: /admin", ""),
        Row::new(
            "a label of a Gateway that is known",
            authentication(public) + &policy("d", label, deny) + &gateway_object("istio"),
        )
        .workload("shop/Gateway/public")
        .denies("path: /admin", "")
        .allows("path: /", ""),
        Row::new(
            "a label of a waypoint",
            authentication(public) + &policy("d", label, deny) + &gateway_object("istio-waypoint"),
        )
        .workload("shop/Gateway/public")
        .allows("path: /admin", ""),
        Row::new(
            "another label of a Gateway",
            authentication(public) + &policy("d", app, deny) + &gateway_object("istio"),
        )
        .workload("shop/Gateway/public")
        .left_out("AuthorizationPolicy shop/d")
        .denies("path: /admin", ""),
        Row::new(
            "all labels of a Gateway",
            authentication(public) + &policy("d", app, deny) + &gateway_object("istio"),
        )
        .workload("shop/gateway.networking.k8s.io/gateway-name=public,app=y")
        .allows("path: /admin", ""),
        Row::new(
            "what may be for a Gateway allows nothing",
            authentication(public) + &policy("a", "", allow),
        )
        .workload("shop/Gateway/public")
        .left_out("AuthorizationPolicy shop/a")
        .denies("path: /public", "")
        .denies("path: /", ""),
        Row::new(
            "authentication that may be for a Gateway",
            authentication(public)
                + &object(
                    "RequestAuthentication",
                    "all",
                    "{ jwtRules: [{ issuer: 'https://partner.example' }] }",
                ),
        )
        .workload("shop/Gateway/public")
        .left_out("RequestAuthentication shop/all")
        .allows("path: /", "claims: { iss: 'https://idp.example.com' }")
        .denies("path: /", "claims: { iss: 'https://partner.example' }"),
        Row::new(
            "a target of another group",
            unclear("targetRefs: [{ kind: Gateway, name: x }],"),
        )
        .left_out("no meaning")
        .denies("path: /admin", ""),
        Row::new(
            "a target that is no list",
            unclear("targetRefs: { kind: Service, name: x },"),
        )
        .left_out("no meaning")
        .denies("path: /admin", ""),
        Row::new(
            "a selector of tomorrow",
            unclear("selector: { matchExpressions: [] },"),
        )
        .left_out("no meaning")
        .denies("path: /admin", ""),
        Row::new(
            "a selector that is no mapping",
            unclear("selector: { matchLabels: [app] },"),
        )
        .left_out("no meaning")
        .denies("path: /admin", ""),
        Row::new(
            "a selector and a target",
            unclear(
                "selector: { matchLabels: { app: x } }, targetRef: { kind: Service, name: x },",
            ),
        )
        .left_out("no meaning")
        .denies("path: /admin", ""),
        Row::new(
            "another root namespace",
            authentication("")
                + &in_namespace("mesh", "AuthorizationPolicy", "d", &format!("{{ {deny} }}")),
        )
        .options(|it| it.root_namespace = Some("mesh".to_owned()))
        .workload("shop")
        .denies("path: /admin", "")
        .allows("path: /", ""),
        Row::new(
            "a namespace of the options",
            authentication("") + &policy("d", "", deny).replace(", namespace: shop", ""),
        )
        .options(|it| it.namespace = Some("shop".to_owned()))
        .denies("path: /admin", "")
        .allows("path: /", ""),
    ])
    .await;
}

/// A trust domain stands for its aliases, and `cluster.local` for that of the mesh.
#[tokio::test]
async fn trust_domains_have_aliases() {
    let row = |name: &'static str, spec: &str| Row::new(name, istio(spec));
    let deny = "{ action: DENY, rules: [{ from: [{ source: { principals: [cluster.local/ns/evil/sa/x] } }] }] }";
    let deny_old = "{ action: DENY, rules: [{ from: [{ source: { principals: [old.example/ns/evil/sa/x] } }] }] }";
    let allow = "{ rules: [{ from: [{ source: { principals: [cluster.local/ns/web/sa/x] } }] }] }";
    let not =
        "{ rules: [{ from: [{ source: { notPrincipals: [cluster.local/ns/evil/sa/x] } }] }] }";
    let domain =
        "{ action: DENY, rules: [{ when: [{ key: source.trustDomain, values: [old.example] }] }] }";
    let several = "{ action: DENY, rules: [{ from: [{ source: { principals: ['cluster.local/ns/evil/sa/*'] } }] }] }";
    let domains = |it: &mut Options| {
        it.trust_domains = ["prod.example", "old.example"].map(str::to_owned).to_vec();
    };
    check(vec![
        row("unknown, denied", deny)
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
                "",
            )
            .denies(
                "path: /, source: { principal: 'spiffe://cluster.local/ns/evil/sa/x' }",
                "",
            )
            .allows(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/y' }",
                "",
            ),
        row("unknown, several denied", several)
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
                "",
            )
            .allows(
                "path: /, source: { principal: 'spiffe://prod.example/ns/other/sa/x' }",
                "",
            ),
        row("unknown, allowed", allow)
            .allows(
                "path: /, source: { principal: 'spiffe://cluster.local/ns/web/sa/x' }",
                "",
            )
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/web/sa/x' }",
                "",
            ),
        row("unknown, not allowed", not)
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
                "",
            )
            .allows(
                "path: /, source: { principal: 'spiffe://prod.example/ns/web/sa/x' }",
                "",
            ),
        row("known, denied", deny)
            .options(domains)
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
                "",
            )
            .denies(
                "path: /, source: { principal: 'spiffe://old.example/ns/evil/sa/x' }",
                "",
            )
            .allows(
                "path: /, source: { principal: 'spiffe://other.example/ns/evil/sa/x' }",
                "",
            ),
        row("known, an alias denied", deny_old)
            .options(domains)
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
                "",
            )
            .allows(
                "path: /, source: { principal: 'spiffe://other.example/ns/evil/sa/x' }",
                "",
            ),
        row("known, allowed", allow)
            .options(domains)
            .allows(
                "path: /, source: { principal: 'spiffe://prod.example/ns/web/sa/x' }",
                "",
            )
            .denies(
                "path: /, source: { principal: 'spiffe://cluster.local/ns/web/sa/x' }",
                "",
            ),
        row("a domain, unknown", domain).denies(
            "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
            "",
        ),
        row("a domain, known", domain)
            .options(domains)
            .denies(
                "path: /, source: { principal: 'spiffe://prod.example/ns/evil/sa/x' }",
                "",
            )
            .allows(
                "path: /, source: { principal: 'spiffe://other.example/ns/evil/sa/x' }",
                "",
            ),
    ])
    .await;
}

/// claimgate is not told ports, so a host with one is no other than that without.
#[tokio::test]
async fn ports_of_hosts_are_not_told_apart() {
    let row = |name: &'static str, spec: &str| Row::new(name, istio(spec)).left_out("osts[");
    check(vec![
        row(
            "every host but those of a port",
            "{ rules: [{ to: [{ operation: { hosts: ['*'], notHosts: ['*:8080'], paths: [/a] } }] }] }",
        )
        .denies("path: /a, host: x.example", ""),
        row(
            "one port denied, the name itself not",
            "{ action: DENY, rules: [{ to: [{ operation: { hosts: ['A.example:*', 'b.example:8080'], notHosts: [b.example], paths: [/a] } }] }] }",
        )
        .denies("path: /a, host: b.example", "")
        .denies("path: /a, host: a.example", "")
        .allows("path: /a, host: c.example", ""),
        row(
            "a name without one of its ports",
            "{ rules: [{ to: [{ operation: { hosts: [b.example], notHosts: ['b.example:8080'], paths: [/a] } }] }] }",
        )
        .denies("path: /a, host: b.example", ""),
        row(
            "a port alone",
            "{ rules: [{ to: [{ operation: { hosts: ['b.example:8080'], paths: [/a] } }] }] }",
        )
        .denies("path: /a, host: b.example", ""),
    ])
    .await;
    check(vec![
        Row::new(
            "a port beside its name",
            istio("{ action: DENY, rules: [{ to: [{ operation: { hosts: [B.example, 'b.example:*'], notHosts: [c.example] } }] }] }"),
        )
        .denies("path: /a, host: b.example", "")
        .allows("path: /a, host: c.example", ""),
    ])
    .await;
}

/// A value of another type than Istio expects allows nothing.
#[tokio::test]
async fn other_types_allow_nothing() {
    let row = |name: &'static str, spec: &str| Row::new(name, istio(spec));
    check(vec![
        row("a list as action", "{ action: [DENY], rules: [{}] }")
            .left_out("action")
            .denies("path: /", ""),
        row("an empty action", "{ action: '', rules: [{}] }")
            .left_out("action")
            .denies("path: /", ""),
        row("a rule that is nothing", "{ rules: [~] }")
            .left_out("rules[0]")
            .denies("path: /", ""),
        row("an operation that is nothing", "{ rules: [{ to: [~] }] }")
            .left_out("to[0]")
            .denies("path: /", ""),
        row(
            "a rule that is nothing, and denies",
            "{ action: DENY, rules: [~] }",
        )
        .left_out("rules[0]")
        .denies("path: /", ""),
        row(
            "rules that are no list",
            "{ action: DENY, rules: { to: [] } }",
        )
        .left_out("rules")
        .denies("path: /", ""),
        row(
            "a header of two names",
            "{ rules: [{ when: [{ key: 'request.headers[a][b]', values: [x] }] }] }",
        )
        .left_out("when[0]")
        .denies("path: /, headers: { a: x }", ""),
        Row::new(
            "audiences of Istio",
            authentication("").replace("}]", ", audiences: [true] }]")
                + &authorization(
                    "p",
                    "{ rules: [{ from: [{ source: { requestPrincipals: ['*'] } }] }] }",
                ),
        )
        .left_out("audiences[0]")
        .denies(
            "path: /",
            "claims: { iss: 'https://idp.example.com', sub: x }",
        ),
    ])
    .await;
}

/// Objects that are not known for certain may restrict the others.
#[test]
fn unknown_objects_are_errors() {
    let policy = authorization("p", "{ action: DENY, rules: [{}] }");
    let with = |policy: String| authentication("") + &policy;
    let cases = [
        (
            with(policy.replace("kind: Authorization", "kind: Authorisation")),
            "policies.yaml:7: `AuthorisationPolicy` is not a kind of `security.istio.io`",
        ),
        (
            with(policy.replace("security.istio.io", "securityistio.io")),
            "`securityistio.io/v1` is not the `apiVersion` of a AuthorizationPolicy",
        ),
        (
            with(policy.replace("istio.io/v1", "istio.io/v7")),
            "`security.istio.io/v7` is an unknown version",
        ),
        (
            with(policy.replace(", namespace: shop", "")),
            "`p` has no namespace; `--namespace` names the one",
        ),
        (
            with(policy.replace("namespace: shop", "namespace: [shop]")),
            "`p` has no namespace",
        ),
        (
            with(policy.clone() + &policy),
            "the AuthorizationPolicy `shop/p` is also at policies.yaml:7",
        ),
    ];
    for (source, expected) in cases {
        let error = Row::new("", source.clone()).imported().unwrap_err();
        assert!(error.contains(expected), "{source}{error}");
    }
}

/// Conditions stay short, and the time for them grows with their length.
#[tokio::test]
async fn many_rules_take_no_time() {
    let paths: Vec<String> = (0..300)
        .map(|index| {
            format!(
                "{{ to: [{{ operation: {{ paths: ['/a*', '/b{index}/*'] }} }}], when: [{{ key: 'request.auth.claims[c]', values: [v{index}] }}] }}"
            )
        })
        .collect();
    check(vec![
        Row::new(
            "overlapping paths",
            istio(&format!("{{ rules: [{}] }}", paths.join(", "))),
        )
        .left_out("bytes")
        .denies("path: /a", "claims: { c: other }")
        .allows("path: /b299/x", "claims: { c: v299 }"),
    ])
    .await;
}
