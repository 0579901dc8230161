//! Configurations and their problems: all are reported at once, each with its location.

mod problems;
mod rules;
mod warnings;

use std::time::Duration;

use claimgate::config::{
    Admin, AdminListen, ClientName, Clients, Config, ConfigError, KeySource, ListenAddress,
    ProviderFlags, Severity, Tls, UnixSocket,
};
use claimgate::token::Audiences;

/// The errors of an unusable configuration, one per line.
fn problems(yaml: &str) -> Vec<String> {
    match Config::from_yaml(yaml) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Wrong { problems, .. }) => problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(ToString::to_string)
            .collect(),
        Err(error) => panic!("{error}"),
    }
}

/// The warnings of a usable configuration, one per line.
fn warnings(yaml: &str) -> Vec<String> {
    let config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    config.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = Config::from_yaml(
        "providers:\n  - issuer: https://idp.example.com/realms/acme\n    audiences: [orders-api]\n",
    )
    .unwrap();
    assert_eq!(
        config.server.listen,
        [ListenAddress::Tcp("[::]:9001".parse().unwrap())]
    );
    let listen = ListenAddress::Tcp("127.0.0.1:9002".parse().unwrap());
    assert_eq!(
        config.admin,
        Admin {
            listen: AdminListen::At(listen),
            tls: None,
            token_file: None,
            allowed_hosts: Vec::new(),
            explain: false,
        }
    );
    let (_, provider) = config.policy.providers().next().unwrap();
    assert_eq!(provider.name, "idp.example.com");
    assert_eq!(
        provider.terms.audiences,
        Audiences::AnyOf(vec!["orders-api".to_owned()])
    );
    assert_eq!(provider.terms.clock_skew.as_secs(), 60);
    assert_eq!(provider.terms.algorithms.iter().count(), 11);
    let keys = &config.keys[0];
    assert_eq!(keys.refresh.min.as_secs(), 30);
    assert_eq!(keys.refresh.max.as_secs(), 900);
    assert_eq!(keys.refresh.max_stale.as_secs(), 86_400);
    assert_eq!(keys.refresh.unknown_key_cooldown.as_secs(), 30);
    assert_eq!(keys.refresh.unknown_key_wait.as_millis(), 100);
    assert_eq!(keys.fetch.timeout.as_secs(), 5);
    assert_eq!(keys.fetch.max_bytes, 1024 * 1024);
    assert_eq!((keys.required, keys.fetch.startup_grace), (true, None));
    let KeySource::Discovery { metadata, .. } = &keys.source else {
        panic!("{:?}", keys.source)
    };
    let places: Vec<_> = metadata.iter().map(url::Url::as_str).collect();
    assert_eq!(
        places,
        [
            "https://idp.example.com/realms/acme/.well-known/openid-configuration",
            "https://idp.example.com/.well-known/oauth-authorization-server/realms/acme",
            "https://idp.example.com/.well-known/openid-configuration/realms/acme",
        ]
    );
}

#[test]
fn every_problem_is_found_at_once() {
    let yaml = r#"
server:
  listn: 0.0.0.0:9001
  drain: soon
admin: { listen: everywhere }
providers:
  - isuer: https://idp.example.com
    audiences: []
    clock_skew: 10m
    algorithms: [RS256, HS256, none]
  - issuer: https://two.example.com
    audiences: any
    jwks: { uri: http://two.example.com/jwks, file: keys.json }
    fetch: { allow_http: "yes", max_bytes: 1 }
    refresh: { min: 10m, max: 5m }
  - issuer: http://three.example.com
    audiences: three
  - issuer: https://two.example.com
    audiences: [a, 7]
upstream:
  claim_headers:
    - { header: host, claim: sub }
    - { header: x-a, claim: a..b }
    - { header: X-A, claim: sub }
    - { claim: sub }
  payload_header: "x a"
denials: { realm: 'a"b', expose_reason: maybe }
extra: 1
"#;
    assert_eq!(
        problems(yaml),
        [
            "3:3: server.listn: unknown field; did you mean `listen`?",
            "4:10: server.drain: `soon` is not a duration; write for example `30s`, `100ms` or `24h`",
            "5:18: admin.listen: `everywhere` is not an IP address and port; write for example `0.0.0.0:9001`",
            "7:5: providers[0].isuer: unknown field; did you mean `issuer`?",
            "7:5: providers[0]: missing field `issuer`",
            "8:16: providers[0].audiences: empty; give at least one audience, or `any` alone",
            "9:17: providers[0].clock_skew: `10m` is out of range: from 0ms to 5m",
            "10:25: providers[0].algorithms[1]: `HS256` is not supported; supported: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519",
            "10:32: providers[0].algorithms[2]: `none` is not supported; supported: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519",
            "13:11: providers[1].jwks: give exactly one of `uri`, `file` and `inline`",
            "14:26: providers[1].fetch.allow_http: expected true or false, found text",
            "14:44: providers[1].fetch.max_bytes: expected text, found a number; write `\"1\"`, or with a unit `512KiB`",
            "15:31: providers[1].refresh.max: `5m` is out of range: from 10m to 30d",
            "16:13: providers[2].issuer: `http://three.example.com` is not https, so anyone on the network path could replace the keys; set `fetch.allow_http: true` to accept that; set `jwks.uri` if it has no discovery",
            "19:20: providers[3].audiences[1]: expected text, found a number; write `\"7\"`",
            "22:17: upstream.claim_headers[0].header: `host` already has a meaning on the way to the upstream; choose another name, such as `x-auth-subject`",
            "23:29: upstream.claim_headers[1].claim: `a..b` has an empty name",
            "24:17: upstream.claim_headers[2].header: `X-A` is already set by upstream.claim_headers[1].header",
            "25:7: upstream.claim_headers[3]: missing field `header`",
            "26:19: upstream.payload_header: `x a` is not a header name made of letters, digits and hyphens",
            "27:19: denials.realm: a realm is printable ASCII without `\"` and `\\`",
            "27:41: denials.expose_reason: expected true or false, found text",
            "28:1: extra: unknown field; known here: server, admin, log, decision_log, telemetry, providers, token_cache, upstream, response_headers, paths, rules, cors_preflight, protected_resources, denials, enforce",
        ]
    );
}

#[test]
fn unusual_but_valid() {
    for yaml in [
        "providers: [{ issuer: accounts.google.com, audiences: any, jwks: { uri: https://www.googleapis.com/oauth2/v3/certs } }]",
        "providers: [{ issuer: http://127.0.0.1:8080, audiences: a }]",
        "providers: [{ issuer: http://keycloak:8080/realms/a, audiences: a, fetch: { allow_http: true } }]",
        "providers: [{ issuer: https://public.example/realms/a, audiences: a, discovery_url: http://localhost/realms/a/.well-known/openid-configuration }]",
        "server: { listen: ['[::]:9001', 'unix:///run/claimgate/check.sock'] }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "server: { listen: [{ unix: check.sock, mode: '0660', group: envoy }, 'unix:/run/b.sock', 'unix:c.sock', 'localhost:9001'], max_connections: 1 }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "server: { listen: { unix: 'unix:///run/a.sock' } }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "providers: [{ issuer: https://a.example, audiences: a, refresh: { max: 1h } }]\nupstream: {}\n",
        "providers: [{ issuer: spiffe://example.org, audiences: a, jwks: { uri: https://spire.example.org/bundle } }]",
        "providers: [{ issuer: 'https://a.example/{tenantid}/', audiences: a, tenants: any, discovery_url: https://a.example/common }]",
        "providers: [{ issuer: https://a.example, audiences: a, token_from: [{ header: X-Assertion }, { header: Authorization, scheme: Bearer }] }]",
        "providers: [{ issuer: https://a.example, audiences: a, required: true, fetch: { startup_grace: 24h } }]",
        "telemetry: { otlp: {} }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "telemetry: { otlp: { endpoint: 'https://otel.example/base', protocol: http/protobuf, headers_file: a, ca_file: b, traces: false, sample_ratio: 0.25, metrics: true, metrics_interval: 15s } }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "log: { level: warn, subject: hash, subject_key_file: subject.key }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "decision_log: { path: a.jsonl }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "decision_log: { stdout: true, allow: none, subject: omit }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "decision_log: { path: /a/b, allow: sampled, sample_ratio: 0.5, claims: [sub, a.b, /https:~1~1a.example~1roles, token_use], subject: hash, subject_key_file: key, max_bytes: 1MiB, rotate: 1000 }\nproviders: [{ issuer: https://a.example, audiences: a }]",
        "decision_log: { path: a, rotate: 0, claims: sub }\nproviders: [{ issuer: https://a.example, audiences: a }]\nrules: [{ name: a, audit: always }]",
        "token_cache: { max_entries: 0 }\nproviders: [{ issuer: https://a.example, audiences: a, refresh: { cache_dir: keys } }]",
    ] {
        assert_eq!(problems(yaml), [""; 0], "{yaml}");
    }
}

#[test]
fn listen_addresses() {
    let unix = |path: &str, mode, group: Option<&str>| {
        ListenAddress::Unix(UnixSocket {
            path: path.into(),
            mode,
            group: group.map(ToOwned::to_owned),
        })
    };
    let provider = "providers: [{ issuer: https://a.example, audiences: a }]";
    for (listen, expected) in [
        (
            "'unix:///run/a.sock'",
            vec![unix("/run/a.sock", None, None)],
        ),
        ("'unix:/run/a.sock'", vec![unix("/run/a.sock", None, None)]),
        ("'unix:a.sock'", vec![unix("a.sock", None, None)]),
        (
            "{ unix: /run/a.sock, mode: '0660', group: envoy }",
            vec![unix("/run/a.sock", Some(0o660), Some("envoy"))],
        ),
        (
            "[{ unix: 'unix:/run/a.sock', mode: '600' }, 'localhost:7']",
            vec![
                unix("/run/a.sock", Some(0o600), None),
                ListenAddress::Localhost(7),
            ],
        ),
    ] {
        let config = Config::from_yaml(&format!("server: {{ listen: {listen} }}\n{provider}"));
        assert_eq!(config.unwrap().server.listen, expected, "{listen}");
    }
    for (server, expected) in [
        (
            "listen: 'unix://run/a.sock'",
            "1:19: server.listen: `unix://run/a.sock` has no absolute path; write `unix:///run/check.sock`",
        ),
        (
            "listen: { mode: '0660' }",
            "1:19: server.listen: missing field `unix`",
        ),
        (
            "listen: { unix: /a, mode: '0999' }",
            "1:37: server.listen.mode: `0999` is not the mode of a file; write for example `'0660'`",
        ),
        (
            "listen: { unix: /a, mode: '4755' }",
            "1:37: server.listen.mode: `4755` is not the mode of a file; write for example `'0660'`",
        ),
        (
            "listen: []",
            "1:19: server.listen: empty; give at least one address",
        ),
        (
            "max_connections: 0",
            "1:28: server.max_connections: `0` is out of range: from 1 to 100000",
        ),
        (
            "max_connection_age: 999ms",
            "1:31: server.max_connection_age: `999ms` is out of range: from 1s to 1d",
        ),
    ] {
        assert_eq!(
            problems(&format!("server: {{ {server} }}\n{provider}")),
            [expected]
        );
    }
}

#[test]
fn tls() {
    let provider = "providers: [{ issuer: https://a.example, audiences: a }]";
    let tls = |clients| Tls {
        certificate: "/etc/claimgate/tls.crt".into(),
        key: "/run/tls.key".into(),
        clients,
    };
    let clients = |allowed| {
        Some(Clients {
            authorities: "/etc/claimgate/ca.crt".into(),
            allowed,
        })
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let load = |server: &str| {
        std::fs::write(&file, format!("server: {{ {server} }}\n{provider}")).unwrap();
        Config::load(&file).unwrap().server.tls
    };
    assert_eq!(load("drain: 1s"), None);
    let relative = load("tls: { certificate: tls.crt, key: /run/tls.key }").unwrap();
    assert_eq!(relative.certificate, directory.path().join("tls.crt"));
    assert_eq!(relative.key.to_str(), Some("/run/tls.key"));
    assert_eq!(relative.clients, None);

    let files = "certificate: /etc/claimgate/tls.crt, key: /run/tls.key";
    for (more, expected) in [
        ("", None),
        (", client_ca: /etc/claimgate/ca.crt", clients(None)),
        (
            ", client_ca: /etc/claimgate/ca.crt, allowed_clients: [envoy.example.com, 'spiffe://example.org/ns/a/sa/envoy']",
            clients(Some(vec![
                ClientName::Dns("envoy.example.com".to_owned()),
                ClientName::Uri("spiffe://example.org/ns/a/sa/envoy".to_owned()),
            ])),
        ),
    ] {
        let given = load(&format!("tls: {{ {files}{more} }}"));
        assert_eq!(given, Some(tls(expected)), "{more}");
    }

    for (tls, expected) in [
        (
            "{}",
            &[
                "1:16: server.tls: missing field `certificate`",
                "1:16: server.tls: missing field `key`",
            ][..],
        ),
        (
            "{ certificate: '', key: ' a' }",
            &[
                "1:31: server.tls.certificate: empty text",
                "1:40: server.tls.key: ` a` has white space at its beginning or end",
            ],
        ),
        (
            "{ certificate: a, key: b, allowed_clients: envoy }",
            &[
                "1:59: server.tls.allowed_clients: requires `client_ca`, the authority that signs the clients' certificates",
            ],
        ),
        (
            "{ certificate: a, key: b, client_ca: c, allowed_clients: [] }",
            &[
                "1:73: server.tls.allowed_clients: empty; give at least one name, or remove it to let every client of `client_ca` connect",
            ],
        ),
        (
            "{ certificate: a, key: b, client_ca: c, allowed_clients: ['*.a.example', 'a..b', '://x', 'spiffe://a b'] }",
            &[
                "1:74: server.tls.allowed_clients[0]: `*.a.example` is a pattern, but names are compared exactly; list each name",
                "1:89: server.tls.allowed_clients[1]: `a..b` is neither a DNS name nor a URI; write for example `envoy.example.com` or `spiffe://example.org/envoy`",
                "1:97: server.tls.allowed_clients[2]: `://x` is not a URI",
                "1:105: server.tls.allowed_clients[3]: `spiffe://a b` is not a URI",
            ],
        ),
        (
            "~",
            &["1:16: server.tls: has no value; give it one, or remove it"],
        ),
        (
            "tls.crt",
            &["1:16: server.tls: expected a mapping, found text"],
        ),
    ] {
        let found = problems(&format!("server: {{ tls: {tls} }}\n{provider}"));
        assert_eq!(found, expected, "{tls}");
    }
    for (listen, warns) in [
        ("unix:/run/a.sock", true),
        ("localhost:9001", false),
        ("[localhost:9001, unix:/run/a.sock]", false),
    ] {
        let found = warnings(&format!(
            "server: {{ listen: {listen}, tls: {{ {files} }} }}\n{provider}"
        ));
        let expected = "warning: has no effect: `listen` names Unix domain sockets only";
        assert_eq!(
            found.join("\n").contains(expected),
            warns,
            "{listen}: {found:?}"
        );
    }
}

#[test]
fn connections_may_have_an_age() {
    let provider = "providers: [{ issuer: https://a.example, audiences: a }]";
    for (server, expected) in [
        ("{}", None),
        ("{ max_connection_age: 1s }", Some(Duration::from_secs(1))),
        (
            "{ max_connection_age: 24h }",
            Some(Duration::from_hours(24)),
        ),
    ] {
        let config = Config::from_yaml(&format!("server: {server}\n{provider}"));
        let age = config.unwrap().server.max_connection_age;
        assert_eq!(age, expected, "{server}");
    }
}

#[test]
fn flags_make_a_provider() {
    let flags = |issuer: Option<&str>, audiences: &[&str], jwks_uri: Option<&str>| ProviderFlags {
        issuer: issuer.map(ToOwned::to_owned),
        audiences: audiences
            .iter()
            .map(|audience| (*audience).to_owned())
            .collect(),
        any_audience: false,
        jwks_uri: jwks_uri.map(ToOwned::to_owned),
    };
    let issuer = "https://idp.example.com";
    let config = Config::from_flags(&flags(Some(issuer), &["a", "b"], None)).unwrap();
    assert!(matches!(config.keys[0].source, KeySource::Discovery { .. }));
    let config =
        Config::from_flags(&flags(Some(issuer), &["a"], Some("https://k.example/jwks"))).unwrap();
    assert!(
        matches!(&config.keys[0].source, KeySource::Uri(url) if url.as_str() == "https://k.example/jwks")
    );

    let any = |audiences| ProviderFlags {
        any_audience: true,
        ..flags(Some(issuer), audiences, None)
    };
    let config = Config::from_flags(&any(&[])).unwrap();
    let (_, provider) = config.policy.providers().next().unwrap();
    assert_eq!(provider.terms.audiences, Audiences::Any);
    assert_eq!(config.warnings.len(), 1);

    for (flags, expected) in [
        (
            flags(None, &["a"], None),
            "--issuer: missing field `issuer`",
        ),
        (flags(Some(issuer), &[], None), "--audience: empty"),
        (
            flags(Some(issuer), &["any"], None),
            "--audience: `any` would be an audience with that name; to accept tokens for any \
             audience, use the flag `--any-audience`",
        ),
        (
            flags(Some(issuer), &["a", "any"], None),
            "use the flag `--any-audience`",
        ),
        (
            any(&["a"]),
            "--any-audience: accepts every audience, so it excludes `--audience`",
        ),
        (
            flags(Some("https://idp.example.com "), &["a"], None),
            "--issuer: `https://idp.example.com ` has white space",
        ),
        (
            flags(Some(issuer), &["a\n"], None),
            "--audience: `a\\n` has white space",
        ),
        (
            flags(Some(issuer), &["a"], Some(" https://k.example/jwks")),
            "--jwks-uri: ` https://k.example/jwks` has white space",
        ),
        (
            flags(Some("http://idp.example.com"), &["a"], None),
            "--issuer: `http://idp.example.com` is not https",
        ),
        (
            flags(Some(issuer), &["a"], Some("k")),
            "--jwks-uri: `k` is not a URL",
        ),
    ] {
        let error = Config::from_flags(&flags).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
