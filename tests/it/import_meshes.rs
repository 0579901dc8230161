//! `claimgate import`: what becomes of policies of Istio and Envoy Gateway.

use claimgate::import::model::Kind;
use claimgate::import::source::Source;
use claimgate::import::{Imported, Options, import};
use serde_json::Value;

use crate::support::command::run;
use crate::support::examples::{blocks, file, files};

mod strictness;

fn imported(text: &str, workload: Option<&str>) -> Result<Imported, String> {
    let source = Source {
        name: "policies.yaml".to_owned(),
        text: text.to_owned(),
    };
    let options = Options {
        workload: workload.map(str::to_owned),
        ..Options::default()
    };
    import(&[source], &options).map_err(|error| error.to_string())
}

fn notes(imported: &Imported, kind: Kind) -> Vec<String> {
    let notes = imported.notes.iter().filter(|note| note.kind == kind);
    notes
        .map(|note| format!("{}: {}", note.place.path, note.text))
        .collect()
}

/// The rules of the result.
fn rules(imported: &Imported) -> Vec<Value> {
    let configuration: Value = serde_saphyr::from_str(&imported.configuration).unwrap();
    configuration["rules"].as_array().unwrap().clone()
}

/// Istio's authentication for tokens of `https://idp.example.com`, and this policy.
fn istio(policy: &str) -> String {
    crate::import::shapes::istio("forwardOriginalToken: true", policy)
}

/// Envoy Gateway's policy with these fields in `jwt` and beside it.
fn gateway(provider: &str, beside: &str) -> String {
    format!(
        "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{ name: p, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: Gateway, name: public }}]
  jwt:
    providers: [{{ name: acme, issuer: 'https://idp.example.com', audiences: [a], remoteJWKS: {{ uri: 'https://idp.example.com/jwks' }}, {provider} }}]
  {beside}
"
    )
}

/// What has no equivalent is named, and closes the rule where it stands.
#[test]
fn what_is_left_out_denies() {
    let cases = [
        (
            istio("{ rules: [{ to: [{ operation: { ports: ['80'] } }] }] }"),
            "ports",
            "deny",
        ),
        (
            istio("{ rules: [{ to: [{ operation: { notPorts: ['80'] } }] }] }"),
            "notPorts",
            "deny",
        ),
        (
            istio("{ rules: [{ to: [{ operation: { hosts: ['a.example:81'] } }] }] }"),
            "",
            "deny",
        ),
        (
            istio("{ rules: [{ to: [{ operation: { tomorrow: 1 } }] }] }"),
            "tomorrow",
            "deny",
        ),
        (istio("{ rules: [{ tomorrow: 1 }] }"), "tomorrow", "deny"),
        (
            istio("{ rules: [{ from: [{ source: { remoteIpBlocks: [10.0.0.0/8] } }] }] }"),
            "remoteIpBlocks",
            "deny",
        ),
        (
            istio("{ rules: [{ from: [{ source: { ipBlocks: [10.0.0.0/99] } }] }] }"),
            "ipBlocks[0]",
            "deny",
        ),
        (
            istio("{ rules: [{ from: [{ source: { tomorrow: [x] } }] }] }"),
            "tomorrow",
            "deny",
        ),
        (
            istio("{ rules: [{ when: [{ key: remote.ip, values: [10.0.0.1] }] }] }"),
            "when[0]",
            "deny",
        ),
        (
            istio("{ rules: [{ when: [{ key: destination.port, values: ['80'] }] }] }"),
            "when[0]",
            "deny",
        ),
        (
            istio("{ rules: [{ when: [{ key: 'request.headers[:path]', values: [/a] }] }] }"),
            "values[0]",
            "deny",
        ),
        (
            istio("{ action: DENY, rules: [{ to: [{ operation: { ports: ['80'] } }] }] }"),
            "ports",
            "deny",
        ),
        (
            istio("{ action: DENY, rules: [{ when: [{ key: connection.sni, notValues: [a] }] }] }"),
            "when[0]",
            "deny",
        ),
        (istio("{ action: TOMORROW, rules: [{}] }"), "spec", "deny"),
        (
            gateway(
                "",
                "authorization: { rules: [{ action: Allow, cel: 'true' }] }",
            ),
            "cel",
            "deny",
        ),
        (
            gateway(
                "",
                "authorization: { rules: [{ action: Allow, principal: { clientCIDRs: [10.0.0.0/8] } }] }",
            ),
            "clientCIDRs",
            "deny",
        ),
        (
            gateway(
                "",
                "authorization: { rules: [{ action: Allow, principal: { tomorrow: 1 } }] }",
            ),
            "tomorrow",
            "deny",
        ),
        (
            gateway(
                "",
                "authorization: { defaultAction: Allow, rules: [{ action: Deny, cel: 'true' }] }",
            ),
            "cel",
            "deny",
        ),
        (gateway("", "extAuth: { grpc: {} }"), "extAuth", "deny"),
        (
            gateway("", "mergeType: StrategicMerge"),
            "mergeType",
            "deny",
        ),
        (gateway("", "tomorrow: 1"), "tomorrow", "deny"),
    ];
    for (source, field, access) in cases {
        let imported = imported(&source, None).unwrap_or_else(|error| panic!("{source}: {error}"));
        let rules = rules(&imported);
        assert_eq!(
            rules[0]["access"], access,
            "{source}\n{}",
            imported.configuration
        );
        if !field.is_empty() {
            let left_out = notes(&imported, Kind::LeftOut);
            let is_named = left_out.iter().any(|note| note.contains(field));
            assert!(is_named, "{field}: {left_out:?}");
        }
    }
}

/// A rule that a single policy becomes.
#[test]
fn policies_become_fields_of_rules() {
    let cases = [
        (
            istio("{ rules: [{ to: [{ operation: { paths: [/a*, '*/b', /c] } }] }] }"),
            r#"{"access":"optional","match":{"path":{"exact":["/c"],"regex":["/a.*",".*/b"]}},"name":"p-0"}"#,
        ),
        (
            istio(
                "{ rules: [{ to: [{ operation: { hosts: ['A.example', 'a.example:*', '*.b.example'], methods: [GET] } }], when: [{ key: 'request.auth.claims[a]', values: [x] }] }] }",
            ),
            r#"{"claims":{"a":["x"]},"match":{"hosts":["a.example","*.b.example"],"methods":["GET"]},"name":"p-0"}"#,
        ),
        (
            istio(
                "{ rules: [{ when: [{ key: 'request.auth.claims[a][b.c]', values: [x, z] }] }] }",
            ),
            r#"{"claims":{"/a/b.c":["x","z"]},"name":"p-0"}"#,
        ),
        // Numbers would also equal numbers.
        (
            istio("{ rules: [{ when: [{ key: 'request.auth.claims[a]', values: ['5'] }] }] }"),
            r#"{"condition":"has(claims.a) && (type(claims.a) == string && claims.a == \"5\" || type(claims.a) == list && \"5\" in claims.a)","name":"p-0"}"#,
        ),
        (
            istio(
                "{ rules: [{ when: [{ key: 'request.auth.claims[scope]', values: ['a:b'] }] }] }",
            ),
            r#"{"name":"p-0","scopes":["a:b"]}"#,
        ),
        (
            istio(
                "{ rules: [{ from: [{ source: { requestPrincipals: ['https://idp.example.com/*'] } }] }] }",
            ),
            r#"{"condition":"has(claims.sub) && claims.sub != \"\"","name":"p-0","providers":["idp"]}"#,
        ),
        (
            gateway(
                "",
                "authorization: { rules: [{ action: Allow, principal: { jwt: { provider: acme, scopes: [a] } } }] }",
            ),
            r#"{"name":"shop.p","only_by_name":true,"providers":["acme"],"scopes":["a"]}"#,
        ),
        (
            gateway(
                "",
                "authorization: { rules: [{ action: Allow, operation: { methods: [GET] }, principal: { clientCIDRs: [0.0.0.0/0, '::/0'] } }] }",
            ),
            r#"{"condition":"request.method == \"GET\"","name":"shop.p","only_by_name":true,"providers":["acme"]}"#,
        ),
    ];
    for (source, expected) in cases {
        let imported = imported(&source, None).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(rules(&imported)[0], expected, "{source}");
    }
}

/// claimgate opens no rule by a host, which the client chooses, unless `hosts_are_bound` says otherwise.
#[test]
fn a_host_alone_opens_nothing() {
    let imported = imported(
        &istio("{ rules: [{ to: [{ operation: { hosts: [a.example] } }] }] }"),
        None,
    )
    .unwrap();
    assert_eq!(rules(&imported)[0]["access"], "deny");
    let left_out = notes(&imported, Kind::LeftOut);
    assert!(left_out[0].contains("hosts_are_bound"), "{left_out:?}");
}

/// Without a choice that is clear, nothing is imported.
#[test]
fn a_workload_is_chosen() {
    let of = |namespace: &str, selector: &str| {
        let name = selector.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        format!(
            "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: 'r{name}', namespace: {namespace} }}
spec: {{ {selector} jwtRules: [{{ issuer: 'https://{namespace}.example.com' }}] }}
---"
        )
    };
    let label = |name: &str| format!("selector: {{ matchLabels: {{ app: {name} }} }},");
    let two = of("shop", &label("a")) + &of("shop", &label("b"));
    let error = imported(&two, None).unwrap_err();
    assert!(
        error.contains("--workload") && error.contains("`shop/app=a`, `shop/app=b`"),
        "{error}"
    );
    let error = imported(&two, Some("shop/app=c")).unwrap_err();
    assert!(
        error.contains("no policy is for the workload `shop/app=c`"),
        "{error}"
    );

    let issuers = |text: &str, workload: Option<&str>| {
        let imported = imported(text, workload).unwrap();
        let configuration: Value = serde_saphyr::from_str(&imported.configuration).unwrap();
        let providers = configuration["providers"].as_array().unwrap();
        providers
            .iter()
            .map(|it| it["issuer"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all =
        of("istio-system", "") + &of("shop", "") + &of("other", &label("a")) + &of("third", "");
    let [mesh, shop, other] =
        ["istio-system", "shop", "other"].map(|it| format!("https://{it}.example.com"));
    assert_eq!(issuers(&all, Some("shop")), [mesh.clone(), shop.clone()]);
    assert_eq!(issuers(&all, Some("shop/app=z")), [mesh.clone(), shop]);
    assert_eq!(issuers(&all, Some("other/app=a,tier=b")), [mesh, other]);

    let gateways =
        "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: public }],";
    assert_eq!(issuers(&of("shop", gateways), None).len(), 1);
    assert_eq!(
        issuers(&of("shop", gateways), Some("shop/Gateway/public")).len(),
        1
    );
}

#[test]
fn what_cannot_be_imported_says_why() {
    let policy = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec: {}
";
    let cases = [
        (policy.to_owned(), "no RequestAuthentication applies to shop"),
        (format!("{}---{}", istio("{}"), gateway("", "")), "import each into its own configuration"),
        (
            "{ apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: { name: p }, spec: { cors: {} } }".to_owned(),
            "no SecurityPolicy has `jwt`",
        ),
        (
            "{ apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: { name: p }, spec: {} }".to_owned(),
            "no RequestAuthentication and no AuthorizationPolicy",
        ),
    ];
    for (source, expected) in cases {
        let error = imported(&source, None).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// A provider that cannot be kept apart from another one accepts no tokens.
#[test]
fn issuers_are_merged_or_refused() {
    let policies = [
        gateway("", ""),
        gateway("", "")
            .replace("name: p,", "name: q,")
            .replace("audiences: [a]", "audiences: [b]"),
        gateway("extractFrom: { cookies: [c] }", "").replace("name: p,", "name: r,"),
        gateway("tomorrow: 1", "").replace("name: p,", "name: s,"),
    ];
    let imported = imported(&policies.join("---"), None).unwrap();
    let configuration: Value = serde_saphyr::from_str(&imported.configuration).unwrap();
    let providers = configuration["providers"].as_array().unwrap();
    assert_eq!(providers.len(), 2, "{}", imported.configuration);
    assert_eq!(providers[0]["audiences"], serde_json::json!(["a", "b"]));
    assert_eq!(providers[1]["issuer"], "https://acme.invalid");
    let rules = rules(&imported);
    let of = |index: usize, field: &str| rules[index][field].clone();
    assert_eq!(of(0, "claims")["aud"], serde_json::json!(["a"]));
    assert_eq!(of(1, "claims")["aud"], serde_json::json!(["b"]));
    assert_eq!(of(2, "access"), "deny");
    assert_eq!(
        of(3, "providers"),
        serde_json::json!([providers[1]["name"]])
    );
}

/// The tests that come with the configuration pass, and the command says what was left out.
#[tokio::test]
async fn the_imported_tests_pass() {
    for (format, left_out) in [
        ("istio", vec!["left-out"]),
        ("envoy_gateway", vec!["authorization", "left-out"]),
    ] {
        for source in files(&format!("tests/import/{format}"), ".yaml") {
            let name = source.file_stem().unwrap().to_str().unwrap().to_owned();
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| directory.path().join(name).display().to_string();
            let source = source.display().to_string();
            let arguments = [
                "import",
                &source,
                "-o",
                &at("claimgate.yaml"),
                "--tests",
                &at("t.test.yaml"),
            ];
            let outcome = run(&arguments, "").await;
            let expected = i32::from(left_out.contains(&name.as_str()));
            assert_eq!(outcome.code, Some(expected), "{name}: {}", outcome.err);
            let tested = run(&["test", &at("t.test.yaml")], "").await;
            assert_eq!(tested.code, Some(0), "{name}: {}{}", tested.out, tested.err);
        }
    }
}

/// The guides show exactly what the import of their policies writes.
#[tokio::test]
async fn the_guides_show_what_is_written() {
    for guide in ["migrate-from-istio", "migrate-from-envoy-gateway"] {
        let text = std::fs::read_to_string(file(&format!("docs/guides/{guide}.md"))).unwrap();
        let blocks = blocks(&text);
        let block = |title: &str| {
            let info = format!("yaml title={title}");
            let found = blocks.iter().find(|(found, _)| *found == info);
            found
                .unwrap_or_else(|| panic!("{guide}: no block of `{title}`"))
                .1
                .clone()
        };
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(at("policies.yaml"), block("policies.yaml")).unwrap();
        let [config, tests, changes] =
            ["claimgate.yaml", "claimgate.test.yaml", "changes.yaml"].map(at);
        let source = at("policies.yaml");
        let arguments = [
            "import",
            &source,
            "-o",
            &config,
            "--tests",
            &tests,
            "--changes",
            &changes,
        ];
        let outcome = run(&arguments, "").await;
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        for name in ["claimgate.yaml", "claimgate.test.yaml", "changes.yaml"] {
            let found = std::fs::read_to_string(at(name)).unwrap();
            let found = found.replace(&format!("{}/", directory.path().display()), "");
            assert_eq!(found.trim(), block(name).trim(), "{guide}: {name}");
        }
    }
}

/// Names of a source stay texts in every file that is written.
#[test]
fn hostile_names_stay_texts() {
    let name = "x\"\\n  action: ALLOW\\nrules: [{}]\\n# ";
    let source = format!(
        "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: \"{name}\", namespace: \"{name}\" }}
spec: {{ selector: {{ matchLabels: {{ \"{name}\": \"{name}\" }} }}, jwtRules: [{{ issuer: \"https://{name}\", fromCookies: [\"{name}\"], \"{name}\": 1 }}] }}
"
    )
    .replace("x\"", "x'");
    let Imported {
        configuration,
        changes,
        tests,
        ..
    } = imported(&source, None).unwrap();
    let read = |text: &str| -> Vec<Value> { serde_saphyr::from_multiple(text).unwrap() };
    let changes = read(&changes);
    assert_eq!(changes[0]["spec"]["action"], "CUSTOM");
    assert_eq!(changes[0]["spec"].as_object().unwrap().len(), 4);
    assert!(changes.iter().skip(1).all(Value::is_null), "{changes:?}");
    assert!(read(&configuration)[0].get("action").is_none());
    assert_eq!(read(&tests)[0].as_object().unwrap().len(), 2);
}
