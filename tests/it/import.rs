//! `claimgate import`: what becomes of each setting of Envoy's `jwt_authn` filter.

use std::path::Path;

use claimgate::config::Config;
use claimgate::import::model::{Kind, Note};
use claimgate::import::source::Source;
use claimgate::import::{Imported, Options, import};

use crate::support::command::run;
use crate::support::examples::{blocks, file};

mod decisions;
mod envoy;
pub mod shapes;

/// Imports one file.
fn imported(text: &str) -> Result<Imported, String> {
    let source = Source {
        name: "envoy.yaml".to_owned(),
        text: text.to_owned(),
    };
    let options = Options {
        config: "claimgate.yaml".to_owned(),
        ..Options::default()
    };
    import(&[source], &options).map_err(|error| error.to_string())
}

/// The texts of all notes of a kind.
fn notes(imported: &Imported, kind: Kind) -> Vec<String> {
    let notes = imported.notes.iter().filter(|note| note.kind == kind);
    notes.map(Note::line).collect()
}

/// Each of `expected` is part of another text, and there are no more texts.
fn assert_texts(what: &str, found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{what}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.contains(expected),
            "{what}: no `{expected}` in `{found}`"
        );
    }
}

/// A whole Envoy with these HTTP filters and routes.
fn envoy_with(filters: &str, routes: &str) -> String {
    format!(
        r#"
static_resources:
  listeners:
    - name: ingress
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                route_config: {{ virtual_hosts: [{{ name: api, domains: ["*"], routes: {routes} }}] }}
                http_filters: {filters}
"#
    )
}

const MESSAGE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// A filter with one provider and one rule.
fn filter(more: &str) -> String {
    format!(
        r#"{{ name: envoy.filters.http.jwt_authn, typed_config: {{ "@type": {MESSAGE}, providers: {{ acme: {{
            issuer: https://idp.example.com, audiences: [orders-api], forward: true,
            local_jwks: {{ filename: keys.json }} }} }},
            rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: acme }} }}]{more} }} }}"#
    )
}

#[test]
fn the_filter_is_found_wherever_it_is() {
    let whole = envoy_with(&format!("[{}]", filter("")), "[]");
    let json: serde_json::Value = serde_saphyr::from_str(&whole).unwrap();
    let dump = serde_json::json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": json},
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
            {"name": "a", "active_state": {"listener": json["static_resources"]["listeners"][0]}},
            {"name": "b", "active_state": {"listener": json["static_resources"]["listeners"][0]}},
        ]},
    ]});
    let alone = &json["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    let alone = &alone["typed_config"]["http_filters"][0];
    let typed_struct = serde_json::json!({"typed_config": {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": MESSAGE,
        "value": {
            "providers": {"acme": {
                "issuer": "https://idp.example.com", "audiences": ["orders-api"], "forward": true,
                "localJwks": {"filename": "keys.json"},
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"providerName": "acme"}}],
        },
    }});
    let message = "providers: { acme: { issuer: https://idp.example.com, audiences: [orders-api], \
                   forward: true, local_jwks: { filename: keys.json } } }\n\
                   rules: [{ match: { prefix: / }, requires: { provider_name: acme } }]";
    let expected = imported(message).unwrap();
    assert_texts("message", &notes(&expected, Kind::LeftOut), &[]);
    for (what, text) in [
        ("whole", whole.clone()),
        ("two documents", format!("a: 1\n---\n{whole}")),
        ("JSON", json.to_string()),
        ("dump", format!("{dump:#}")),
        ("filter", alone.to_string()),
        ("typed struct in camel case", typed_struct.to_string()),
    ] {
        let found = imported(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found.configuration, expected.configuration, "{what}");
        assert_eq!(found.tests, expected.tests, "{what}");
    }
}

#[test]
fn what_cannot_be_imported_says_why() {
    let nested = "[".repeat(200) + &"]".repeat(200);
    let bomb: String = (0..8)
        .map(|level| match level {
            0 => "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
            level => {
                let alias = format!("*a{}", level - 1);
                format!(
                    "a{level}: &a{level} [{}]\n",
                    [alias.as_str(); 10].join(", ")
                )
            }
        })
        .collect();
    let other = filter(", stat_prefix: x");
    let two = envoy_with(&format!("[{}, {other}]", filter("")), "[]");
    let elsewhere = envoy_with(
        "[{ name: envoy.filters.http.jwt_authn, config_discovery: { type_urls: [x] } }]",
        "[]",
    );
    for (text, expected) in [
        ("a: [", "envoy.yaml:1: not valid YAML or JSON"),
        (
            nested.as_str(),
            "envoy.yaml:1: not valid YAML or JSON: values are nested more than 64 deep",
        ),
        (
            bomb.as_str(),
            "not valid YAML or JSON: too many aliases, or too much that they repeat",
        ),
        ("", "found no `jwt_authn` filter"),
        ("a: 1", "found no `jwt_authn` filter"),
        (
            two.as_str(),
            "several `jwt_authn` filters differ: envoy.yaml:11 (listener `ingress`), envoy.yaml:14",
        ),
        (
            elsewhere.as_str(),
            "the configuration of this filter is not in the file (`config_discovery`)",
        ),
        ("providers: { acme: {} }\nproviders: {}", "duplicate"),
    ] {
        let error = imported(text).expect_err(text);
        assert!(error.contains(expected), "no `{expected}` in `{error}`");
    }
}

/// Text of the source cannot leave its place in the result.
#[test]
fn hostile_texts_stay_texts() {
    let hostile =
        "a\\\"}\\n- name: evil\\n  access: public # \\u2028\\u0085\\u001b[2J ' { [ & * ! %";
    for field in [
        format!("issuer: \"{hostile}\""),
        format!("audiences: [\"{hostile}\"]"),
        format!("from_cookies: [\"{hostile}\"]"),
        format!("forward_payload_header: \"{hostile}\""),
        format!("claim_to_headers: [{{ header_name: x-a, claim_name: \"{hostile}\" }}]"),
        format!("subjects: {{ exact: \"{hostile}\" }}"),
        format!("subjects: {{ prefix: \"{hostile}\" }}"),
        format!("\"{hostile}\": 1"),
    ] {
        let id = match field.starts_with("issuer") {
            true => "",
            false => "issuer: https://idp.example.com, ",
        };
        let text = format!(
            "providers: {{ \"{hostile}\": {{ {id}{field}, local_jwks: {{ filename: keys.json }} }} }}\n\
             rules: [{{ match: {{ path: \"/{hostile}\" }} }}, {{ match: {{ prefix: / }}, requires: {{ provider_name: \"{hostile}\" }} }}]"
        );
        let Ok(imported) = imported(&text) else {
            continue;
        };
        let config = Config::from_yaml(&imported.configuration).unwrap();
        let names: Vec<&str> = config.policy.rules().names().collect();
        assert!(
            !names.contains(&"evil"),
            "{field}: {}",
            imported.configuration
        );
        for output in [&imported.configuration, &imported.tests, &imported.changes] {
            let is_odd = |c: char| (c.is_control() && c != '\n') || c == '\u{2028}';
            assert!(!output.contains(is_odd), "{field}: {output:?}");
        }
    }
}

#[tokio::test]
async fn exit_codes_tell_what_was_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let whole = envoy_with(&format!("[{}]", filter("")), "[]");
    let partial = envoy_with(&format!("[{}]", filter(", new_field: 1")), "[]");
    std::fs::write(file("whole.yaml"), &whole).unwrap();
    std::fs::write(file("partial.yaml"), &partial).unwrap();
    std::fs::write(file("none.yaml"), "a: 1").unwrap();
    let (out, tests, changes) = (
        file("claimgate.yaml"),
        file("policy.test.yaml"),
        file("changes.yaml"),
    );
    for (input, arguments, code) in [
        ("whole.yaml", &[][..], 0),
        ("partial.yaml", &[], 1),
        ("partial.yaml", &["--partial"], 0),
        ("whole.yaml", &["--listener", "ingress"], 0),
        ("whole.yaml", &["--listener", "other"], 2),
        ("none.yaml", &[], 2),
        ("missing.yaml", &[], 2),
    ] {
        let (input, what) = (file(input), format!("{input} {arguments:?}"));
        let files = ["-o", &out, "--tests", &tests, "--changes", &changes];
        let all = [&["import", &input][..], &files, arguments].concat();
        let outcome = run(&all, "").await;
        assert_eq!(outcome.code, Some(code), "{what}: {}", outcome.err);
        let written = [&out, &tests, &changes].map(|file| Path::new(file).exists());
        assert_eq!(written, [code != 2; 3], "{what}");
        assert_eq!(outcome.out, "", "{what}");
        if code != 2 {
            let tested = run(&["test", &tests], "").await;
            assert_eq!(tested.code, Some(0), "{what}: {}", tested.out);
            assert!(outcome.err.contains("left out"), "{what}: {}", outcome.err);
            for file in [&out, &tests, &changes] {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
    let outcome = run(&["import", "-"], &whole).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    Config::from_yaml(&outcome.out).unwrap();
    assert!(
        outcome.err.contains("Nothing was left out."),
        "{}",
        outcome.err
    );
}

/// An output never replaces a source or another output, and a failure leaves no file behind.
#[tokio::test]
async fn outputs_are_written_together() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let whole = envoy_with(&format!("[{}]", filter("")), "[]");
    let names = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    std::fs::write(file("envoy.yaml"), &whole).unwrap();
    std::os::unix::fs::symlink(file("envoy.yaml"), file("link.yaml")).unwrap();
    let before = names();
    let (same, link, out) = (file("envoy.yaml"), file("link.yaml"), file("out.yaml"));
    let (dotted, lost) = (file("./out.yaml"), file("no/t.yaml"));
    for (arguments, expected) in [
        (
            ["-o", &same, "--tests", &out],
            "`-o` and a file to import are one file",
        ),
        (
            ["-o", &link, "--tests", &out],
            "`-o` and a file to import are one file",
        ),
        (
            ["--changes", &same, "--tests", &out],
            "`--changes` and a file to import are one file",
        ),
        (
            ["-o", &out, "--tests", &dotted],
            "`--tests` and `-o` are one file",
        ),
        (
            ["--tests", &out, "--changes", &out],
            "`--changes` and `--tests` are one file",
        ),
        (["-o", &out, "--tests", &lost], "cannot write"),
        (["--tests", &lost, "-o", &out], "cannot write"),
    ] {
        let outcome = run(&[&["import", &same][..], &arguments].concat(), "").await;
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.err);
        assert!(
            outcome.err.contains(expected),
            "{arguments:?}: {}",
            outcome.err
        );
        assert_eq!(outcome.out, "", "{arguments:?}");
        assert_eq!(names(), before, "{arguments:?}");
        assert_eq!(std::fs::read_to_string(&same).unwrap(), whole);
    }
    let devices = ["-o", "/dev/null", "--tests", "/dev/null", "--changes", &out];
    let outcome = run(&[&["import", &same][..], &devices].concat(), "").await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(Path::new(&out).exists());
}

/// The guide shows exactly what the import of its Envoy writes.
#[tokio::test]
async fn the_guide_shows_what_is_written() {
    let guide = file("docs/guides/migrate-from-envoy-jwt-authn.md");
    let blocks = blocks(&std::fs::read_to_string(guide).unwrap());
    let block = |title: &str| {
        let info = format!("yaml title={title}");
        let found = blocks.iter().find(|(found, _)| *found == info);
        found
            .unwrap_or_else(|| panic!("no block of `{title}`"))
            .1
            .clone()
    };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("envoy.yaml"), block("envoy.yaml")).unwrap();
    let (config, tests) = (path("claimgate.yaml"), path("claimgate.test.yaml"));
    let written = ["-o", &config, "--tests", &tests];
    let outcome = run(
        &[&["import", &path("envoy.yaml")][..], &written].concat(),
        "",
    )
    .await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    for name in ["claimgate.yaml", "claimgate.test.yaml"] {
        let found = std::fs::read_to_string(path(name)).unwrap();
        // The directory of this run is part of each place.
        let found = found.replace(&format!("{}/", directory.path().display()), "");
        assert_eq!(found.trim(), block(name).trim(), "{name}");
    }
}

/// Routes name the rules that replace their own settings, and other filters that read the old metadata are
/// named.
#[test]
fn routes_and_mentions_are_changes() {
    let per_route = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
    let wrapper = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let routes = format!(
        r#"[
            {{ name: status, match: {{ prefix: /status }}, typed_per_filter_config: {{
                envoy.filters.http.jwt_authn: {{ "@type": {per_route}, disabled: true }} }} }},
            {{ match: {{ prefix: /ops }}, typed_per_filter_config: {{
                envoy.filters.http.jwt_authn: {{ "@type": {wrapper}, config: {{ "@type": {per_route}, requirement_name: ops }} }} }} }},
            {{ match: {{ prefix: /off }}, typed_per_filter_config: {{
                envoy.filters.http.jwt_authn: {{ "@type": {wrapper}, disabled: true }} }} }},
            {{ match: {{ prefix: /wrong }}, typed_per_filter_config: {{
                envoy.filters.http.jwt_authn: {{ "@type": {per_route}, requirement_name: nobody }} }} }},
        ]"#
    );
    let rbac = r"{ name: envoy.filters.http.rbac, typed_config: { rules: { action: DENY, policies: { p: {
        principals: [{ metadata: { filter: envoy.filters.http.jwt_authn, path: [{ key: payload }] } }] } } } } }";
    let filters = format!(
        "[{}, {rbac}]",
        filter(", requirement_map: { ops: { provider_name: acme } }")
    );
    let found = imported(&envoy_with(&filters, &routes)).unwrap();
    let left_out = notes(&found, Kind::LeftOut);
    assert_texts(
        "left out",
        &left_out,
        &[
            "policies.p.principals[0].metadata.filter (envoy.yaml:",
            "no requirement has this name",
            "the rule denies, because its requirement is not understood",
        ],
    );
    let changes: serde_json::Value = serde_saphyr::from_str(&found.changes).unwrap();
    let rules: Vec<&str> = changes["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| {
            let own = &route["typed_per_filter_config"]["envoy.filters.http.ext_authz"];
            own["check_settings"]["context_extensions"]["claimgate.rule"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(rules, ["no-token", "ops", "no-token", "nobody"]);
    assert_eq!(
        changes["routes"][1]["at"],
        "virtual_hosts[0].routes[1].typed_per_filter_config.envoy.filters.http.jwt_authn"
    );
    assert!(
        found.changes.contains("#   (envoy.yaml:24)"),
        "{}",
        found.changes
    );
    let config = Config::from_yaml(&found.configuration).unwrap();
    let names: Vec<&str> = config.policy.rules().names().collect();
    assert_eq!(names, ["all", "no-token", "ops", "nobody", "default"]);
}

/// Settings of a route count whatever the filter is called. What is not understood in them denies the route.
#[test]
fn routes_find_their_filter_by_its_name() {
    let per_route = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
    let wrapper = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let typed_struct = "type.googleapis.com/xds.type.v3.TypedStruct";
    let own = filter(", requirement_map: { ops: { provider_name: acme } }").replacen(
        "name: envoy.filters.http.jwt_authn",
        "name: jwt",
        1,
    );
    for (settings, rule) in [
        (format!("{{ '@type': {wrapper}, config: {{}} }}"), None),
        (
            format!("{{ '@type': {wrapper}, disabled: true }}"),
            Some("no-token"),
        ),
        (
            format!(
                "{{ '@type': {wrapper}, config: {{ '@type': {per_route}, requirement_name: ops }} }}"
            ),
            Some("ops"),
        ),
        (
            format!(
                "{{ '@type': {typed_struct}, type_url: {per_route}, value: {{ requirement_name: ops }} }}"
            ),
            Some("ops"),
        ),
        (
            format!("{{ '@type': {per_route}, requirement: ops, bogus: 1 }}"),
            Some("not-understood"),
        ),
        (
            format!("{{ '@type': {per_route}, requirement_name: ops, bogus: 1 }}"),
            Some("not-understood"),
        ),
        (
            format!("{{ '@type': {per_route}, requirement_name: ops, disabled: true }}"),
            Some("not-understood"),
        ),
        (
            format!("{{ '@type': {per_route}, disabled: maybe }}"),
            Some("not-understood"),
        ),
        (
            format!("{{ '@type': {wrapper}, config: {{ requirement_name: ops }} }}"),
            Some("not-understood"),
        ),
        (
            format!("{{ '@type': {wrapper}, later: 1 }}"),
            Some("not-understood"),
        ),
        (
            format!("{{ '@type': {typed_struct}, type_url: other, value: {{}} }}"),
            Some("not-understood"),
        ),
        ("{ '@type': other }".to_owned(), Some("not-understood")),
    ] {
        let routes = format!(
            "[{{ match: {{ prefix: / }}, typed_per_filter_config: {{ jwt: {settings} }} }}]"
        );
        let found = imported(&envoy_with(&format!("[{own}]"), &routes)).unwrap();
        let changes: serde_json::Value = serde_saphyr::from_str(&found.changes).unwrap();
        let new = &changes["routes"][0]["typed_per_filter_config"]["envoy.filters.http.ext_authz"];
        let named = new["check_settings"]["context_extensions"]["claimgate.rule"].as_str();
        assert_eq!(named, rule, "{settings}\n{}", found.changes);
        assert!(!new["@type"].is_null(), "{settings}");
        let is_denied = found
            .configuration
            .contains("only_by_name: true\n    access: deny");
        assert_eq!(
            is_denied,
            rule == Some("not-understood"),
            "{settings}\n{}",
            found.configuration
        );
        let left_out = notes(&found, Kind::LeftOut);
        assert_eq!(left_out.is_empty(), !is_denied, "{settings}: {left_out:?}");
    }
}

/// One call imports one kind, and options for another kind are mistakes.
#[test]
fn kinds_are_not_mixed() {
    let envoy = envoy_with(&format!("[{}]", filter("")), "[]");
    let istio = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: r, namespace: shop }\n\
                 spec: { jwtRules: [{ issuer: 'https://idp.example.com' }] }\n";
    let gateway = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: { name: p, namespace: shop }\n\
                   spec: { jwt: { providers: [{ name: a, issuer: 'https://idp.example.com', remoteJWKS: { uri: 'https://a.example.com' } }] } }\n";
    let with = |text: &str, listener: Option<&str>, workload: Option<&str>| {
        let source = Source {
            name: "all.yaml".to_owned(),
            text: text.to_owned(),
        };
        let options = Options {
            config: "claimgate.yaml".to_owned(),
            listener: listener.map(str::to_owned),
            workload: workload.map(str::to_owned),
            ..Options::default()
        };
        import(&[source], &options)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for (text, listener, workload, expected) in [
        (
            format!("{envoy}---\n{istio}"),
            None,
            None,
            "Envoy's `jwt_authn` filter, and policies of Istio: import each",
        ),
        (
            format!("{envoy}---\n{gateway}"),
            None,
            None,
            "and policies of Envoy Gateway: import each",
        ),
        (
            format!("{istio}---\n{gateway}"),
            None,
            None,
            "policies of Istio, and policies of Envoy Gateway",
        ),
        (
            istio.to_owned(),
            Some("ingress"),
            None,
            "`--listener ingress` chooses nothing: the files hold policies of Istio",
        ),
        (
            gateway.to_owned(),
            None,
            Some("shop"),
            "`--workload shop` chooses nothing",
        ),
        (
            envoy.clone(),
            None,
            Some("shop"),
            "`--workload shop` chooses nothing: the files hold Envoy's",
        ),
    ] {
        let error = with(&text, listener, workload).expect_err(expected);
        assert!(error.contains(expected), "no `{expected}` in `{error}`");
    }
    assert_eq!(with(&envoy, Some("ingress"), None), Ok(()));
    assert_eq!(with(istio, None, Some("shop")), Ok(()));
}

/// In a `config_dump`, only what is in force counts.
#[test]
fn rejected_and_old_listeners_do_not_count() {
    let whole = envoy_with(&format!("[{}]", filter("")), "[]");
    let other = envoy_with(&format!("[{}]", filter(", stat_prefix: x")), "[]");
    let listener = |text: &str| {
        let json: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        serde_json::json!({"listener": json["static_resources"]["listeners"][0]})
    };
    let (active, old) = (listener(&whole), listener(&other));
    let failed = serde_json::json!({"failed_configuration": old["listener"], "details": "bad"});
    let dump = |states: serde_json::Value| {
        let mut entry = states;
        entry["name"] = "a".into();
        serde_json::json!({"configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamic_listeners": [entry],
        }]})
        .to_string()
    };
    let expected = imported(&whole).unwrap().configuration;
    for states in [
        serde_json::json!({"active_state": active, "warming_state": old}),
        serde_json::json!({"active_state": active, "draining_state": old}),
        serde_json::json!({"active_state": active, "error_state": failed}),
        serde_json::json!({"warming_state": active, "error_state": failed}),
    ] {
        let found = imported(&dump(states.clone()));
        let found = found.unwrap_or_else(|error| panic!("{states}: {error}"));
        assert_eq!(found.configuration, expected, "{states}");
    }
    for states in [
        serde_json::json!({"error_state": failed}),
        serde_json::json!({"draining_state": old}),
    ] {
        let error = imported(&dump(states)).unwrap_err();
        assert!(error.contains("found no `jwt_authn` filter"), "{error}");
    }
}

/// A filter that is off by default stays so, and what switches it on says so in the new filter's words.
#[test]
fn the_new_filter_is_switched_as_the_old_one() {
    let wrapper = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let routes = format!(
        r#"[{{ match: {{ prefix: / }}, route: {{ weighted_clusters: {{ clusters: [{{ name: a, weight: 1,
            typed_per_filter_config: {{ envoy.filters.http.jwt_authn: {{ "@type": {wrapper}, config: {{}} }} }} }}] }} }} }}]"#
    );
    let filter = filter(", stat_prefix: x")
        .replacen("{ name:", "{ disabled: true, name:", 1)
        .replacen("forward: true", "forward: true, clear_route_cache: true", 1);
    for (filter, is_disabled, clears) in [
        (filter.as_str(), true, true),
        (&self::filter(""), false, false),
    ] {
        let found = imported(&envoy_with(&format!("[{filter}]"), &routes)).unwrap();
        let changes: serde_json::Value = serde_saphyr::from_str(&found.changes).unwrap();
        let new = &changes["http_filter"];
        assert_eq!(new["disabled"].as_bool().unwrap_or(false), is_disabled);
        assert_eq!(new["typed_config"]["clear_route_cache"], clears);
        let route =
            &changes["routes"][0]["typed_per_filter_config"]["envoy.filters.http.ext_authz"];
        assert_eq!(route["@type"], wrapper);
        assert!(
            found
                .changes
                .contains("# The weighted cluster `a`, envoy.yaml:"),
            "{}",
            found.changes
        );
    }
    // One of two equal filters is on.
    let off = self::filter("").replacen("{ name:", "{ disabled: true, name:", 1);
    for filters in [
        [off.clone(), self::filter("")],
        [self::filter(""), off.clone()],
    ] {
        let found = imported(&envoy_with(&format!("[{}]", filters.join(", ")), "[]")).unwrap();
        let changes: serde_json::Value = serde_saphyr::from_str(&found.changes).unwrap();
        assert!(
            changes["http_filter"]["disabled"].is_null(),
            "{}",
            found.changes
        );
    }
}

/// Envoy fetches keys through a cluster, which may lead elsewhere, and decides about TLS.
#[test]
fn clusters_decide_how_keys_are_fetched() {
    let tls = "transport_socket: { typed_config: { common_tls_context: { validation_context: { trusted_ca: { CA } } } } }";
    let own = tls.replace("CA", "filename: /etc/idp.pem");
    let system = tls.replace("CA", "filename: /etc/ssl/certs/ca-certificates.crt");
    let inline = tls.replace("CA", "inline_string: PEM");
    let ip = "load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { \
              address: 10.0.0.1, port_value: 443 } } } }] }] }";
    let same = ip.replace("10.0.0.1", "idp.example.com");
    for (uri, cluster, written, differs) in [
        (
            "https://idp.example.com/k",
            same.as_str(),
            "uri: https://idp.example.com/k }\n    fetch: { timeout: 1s }",
            &[][..],
        ),
        (
            "https://idp.example.com/k",
            ip,
            "uri: https://idp.example.com/k }",
            &["Envoy fetches the keys from `10.0.0.1:443` (cluster `idp`)"],
        ),
        (
            "http://idp.example.com/k",
            &own,
            "uri: https://idp.example.com/k }\n    fetch: { timeout: 1s, ca_file: /etc/idp.pem }",
            &[],
        ),
        (
            "https://idp.example.com/k",
            &system,
            "fetch: { timeout: 1s }",
            &[],
        ),
        (
            "https://idp.example.com/k",
            &inline,
            "fetch: { timeout: 1s }",
            &["write the authorities of the cluster `idp` into a file"],
        ),
        (
            "http://idp.example.com/k",
            "type: STATIC",
            "fetch: { timeout: 1s, allow_http: true }",
            &[],
        ),
    ] {
        let remote =
            format!("remote_jwks: {{ http_uri: {{ uri: '{uri}', cluster: idp, timeout: 1s }} }}");
        let filter = filter("").replacen("local_jwks: { filename: keys.json }", &remote, 1);
        let text = envoy_with(&format!("[{filter}]"), "[]")
            + &format!("  clusters: [{{ name: idp, {cluster} }}]\n");
        let found = imported(&text).unwrap();
        let config = &found.configuration;
        assert!(
            config.contains(written),
            "{uri} {cluster}: no `{written}` in\n{config}"
        );
        assert_texts(cluster, &notes(&found, Kind::Differs), differs);
        assert_texts(cluster, &notes(&found, Kind::LeftOut), &[]);
    }
}
