//! The configuration in force, for an operator who reads it: as written, with defaults, and without
//! secrets.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use url::Url;

use claimgate_core::keyring::Algorithm;
use claimgate_core::secrets::names_secret;

use super::values::{in_units, in_words};
use super::{
    Admin, AdminListen, Config, DecisionFile, DecisionLog, DecisionTarget, Fetch, KeySettings,
    ListenAddress, LogSubject, Proxy, Refresh, Server, TokenCache, UnixSocket,
};

/// A configuration as written. It may contain secrets, so only [`Config::effective`] and [`Config::comparable`]
/// read it.
#[derive(Clone, Default)]
pub struct Written(Arc<str>);

impl Written {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The configuration as JSON, with its secrets.
    pub(super) fn parse(&self) -> Value {
        serde_saphyr::from_str(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

/// What replaces a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The same words for every secret.
    Same,
    /// Words that differ if the secrets differ. They are keyed for this process, so that nobody finds the
    /// secret by trying.
    Digest,
}

impl Mark {
    fn of(self, secret: &str) -> String {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        match self {
            Self::Same => "(redacted)".to_owned(),
            Self::Digest => format!("(redacted:{:016x})", KEY.hash_one(secret)),
        }
    }
}

/// The members of a JWK that are secret (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What the file says, with the defaults of server, admin, token cache, providers' names, fetching
/// and algorithms. Files that it names are not read, and secrets are left out. `all` is the file as
/// [`Written::parse`] gives it.
pub(super) fn view(config: &Config, mut all: Value, mark: Mark) -> Value {
    let Config {
        server,
        admin,
        log,
        decision_log,
        telemetry: _,
        policy,
        keys,
        token_cache,
        denials: _,
        warnings: _,
        hash: _,
        written: _,
    } = config;
    redact(&mut all, mark);
    // Flags may have replaced the addresses in the file.
    for section in ["server", "admin"] {
        if let Some(section) = all.get_mut(section).and_then(Value::as_object_mut) {
            section.remove("listen");
        }
    }
    let TokenCache {
        max_entries,
        max_bytes,
    } = token_cache;
    let cache = json!({"max_entries": max_entries, "max_bytes": in_units(*max_bytes)});
    let defaults = json!({
        "server": server_defaults(server),
        "admin": admin_defaults(admin),
        "token_cache": cache,
        "log": {"level": log.level.name()},
        "enforce": policy.is_enforced(),
    });
    fill(&mut all, defaults);
    if let Some(log) = decision_log {
        fill(
            &mut all,
            json!({"decision_log": decision_log_defaults(log)}),
        );
    }
    let providers = all.get_mut("providers").and_then(Value::as_array_mut);
    for (provider, settings) in providers.into_iter().flatten().zip(keys) {
        // The forms of a URL are many, so a proxy is never shown as written.
        let fetch = provider.get_mut("fetch").and_then(Value::as_object_mut);
        let proxy = fetch.and_then(|fetch| fetch.remove("proxy"));
        fill(provider, provider_defaults(settings));
        if let (Mark::Digest, Some(proxy)) = (mark, proxy)
            && let Some(Value::String(shown)) = provider.pointer_mut("/fetch/proxy")
        {
            shown.push_str(&mark.of(&proxy.to_string()));
        }
    }
    all
}

fn server_defaults(server: &Server) -> Value {
    let Server {
        listen,
        tls: _,
        max_connections,
        max_connection_age: _,
        drain,
    } = server;
    let listen: Vec<Value> = listen.iter().map(address).collect();
    json!({"listen": listen, "max_connections": max_connections, "drain": in_words(*drain)})
}

fn decision_log_defaults(log: &DecisionLog) -> Value {
    let DecisionLog {
        target,
        allow,
        claims: _,
        subject,
    } = log;
    let subject = match subject {
        LogSubject::Plain => "plain",
        LogSubject::Hash(_) => "hash",
        LogSubject::Omit => "omit",
    };
    let mut defaults = json!({"allow": allow.name(), "subject": subject});
    match target {
        DecisionTarget::File(DecisionFile { keep: 0, .. }) | DecisionTarget::Stdout => {}
        DecisionTarget::File(DecisionFile {
            path: _,
            max_bytes,
            keep,
        }) => fill(
            &mut defaults,
            json!({"max_bytes": in_units(*max_bytes), "rotate": keep}),
        ),
    }
    defaults
}

fn admin_defaults(admin: &Admin) -> Value {
    let Admin {
        listen,
        tls: _,
        token_file: _,
        allowed_hosts,
        explain,
    } = admin;
    let listen = match listen {
        AdminListen::Off => Value::from("off"),
        AdminListen::At(at) => address(at),
    };
    json!({"listen": listen, "allowed_hosts": allowed_hosts, "explain": explain})
}

fn provider_defaults(settings: &KeySettings) -> Value {
    let KeySettings {
        name,
        source: _,
        fetch,
        refresh,
        algorithms,
        required,
    } = settings;
    let Fetch {
        timeout,
        startup_grace: _,
        ca_file: _,
        bearer_token_file: _,
        allow_http,
        max_bytes,
        proxy,
        envoy_cluster,
    } = fetch;
    let proxy = proxy.as_ref().map(|proxy| match proxy {
        Proxy::Url(url) => url.to_string(),
        Proxy::FromEnvironment => "from_environment".to_owned(),
    });
    let Refresh {
        min,
        max,
        max_stale,
        unknown_key_cooldown,
        unknown_key_wait,
        cache_dir: _,
    } = refresh;
    let algorithms: Vec<&str> = algorithms.iter().map(Algorithm::name).collect();
    json!({
        "name": name,
        "required": required,
        "algorithms": algorithms,
        "fetch": {
            "timeout": in_words(*timeout),
            "allow_http": allow_http,
            "max_bytes": in_units(*max_bytes),
            "proxy": proxy,
            "envoy_cluster": envoy_cluster,
        },
        "refresh": {
            "min": in_words(*min),
            "max": in_words(*max),
            "max_stale": in_words(*max_stale),
            "unknown_key_cooldown": in_words(*unknown_key_cooldown),
            "unknown_key_wait": in_words(*unknown_key_wait),
        },
    })
}

fn address(address: &ListenAddress) -> Value {
    match address {
        ListenAddress::Unix(UnixSocket { path, mode, group })
            if mode.is_some() || group.is_some() =>
        {
            let mode = mode.map(|mode| format!("{mode:04o}"));
            json!({"unix": Path::display(path).to_string(), "mode": mode, "group": group})
        }
        other => Value::from(other.to_string()),
    }
}

/// Adds the members that `written` does not have.
fn fill(written: &mut Value, defaults: Value) {
    match (written, defaults) {
        (written @ Value::Null, defaults) => *written = defaults,
        (Value::Object(written), Value::Object(defaults)) => {
            for (name, default) in defaults {
                fill(written.entry(name).or_insert(Value::Null), default);
            }
        }
        _ => {}
    }
}

/// Removes user names, passwords and the values of queries from URLs, and private members from
/// keys.
fn redact(value: &mut Value, mark: Mark) {
    match value {
        Value::String(text) => {
            if let Some(shown) = redacted_url(text, mark) {
                *text = shown;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|member| redact(member, mark)),
        Value::Object(members) => {
            let is_key = members.contains_key("kty");
            let header = members.get("header").and_then(Value::as_str);
            let is_secret_header = header.is_some_and(names_secret);
            for (name, member) in members {
                let is_secret = is_key && PRIVATE_MEMBERS.contains(&name.as_str())
                    || is_secret_header && name == "value";
                match member {
                    _ if is_secret => *member = Value::from(mark.of(&member.to_string())),
                    // Of the `match` of a rule.
                    Value::Object(headers) if name == "headers" => {
                        redact_headers(headers, mark);
                    }
                    _ => redact(member, mark),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Removes the values of headers whose names say that they are secret. A list of values stays a list.
fn redact_headers(headers: &mut Map<String, Value>, mark: Mark) {
    for (name, value) in headers {
        let values = match value {
            Value::Array(values) => values.iter_mut().collect(),
            value => vec![value],
        };
        for value in values {
            match value {
                Value::String(text) if names_secret(name) && text != "any" => *text = mark.of(text),
                value => redact(value, mark),
            }
        }
    }
}

/// A URL without its secrets. `None` if the text is no URL, or has none.
fn redacted_url(text: &str, mark: Mark) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    let user = format!("{}:{}", url.username(), url.password().unwrap_or_default());
    let has_user = user.len() > 1;
    if !has_user && url.query().is_none() && url.fragment().is_none() {
        return None;
    }
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Some(mark.of(text));
    }
    if let Some(query) = url.query() {
        let shown = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, value)) => format!("{name}={}", mark.of(value)),
                None => mark.of(parameter),
            });
        let shown = shown.collect::<Vec<_>>().join("&");
        url.set_query(Some(&shown));
    }
    if let Some(fragment) = url.fragment() {
        let shown = mark.of(fragment);
        url.set_fragment(Some(&shown));
    }
    let user = match has_user {
        true => mark.of(&user) + "@",
        false => String::new(),
    };
    let shown = url.to_string();
    Some(match shown.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{user}{rest}"),
        None => mark.of(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_secrets() {
        for (text, expected) in [
            ("https://idp.example.com/realms/acme", None),
            ("acme", None),
            ("*.example.com", None),
            (
                "https://user:secret@idp.example.com/x",
                Some("https://(redacted)@idp.example.com/x"),
            ),
            (
                "https://user@idp.example.com",
                Some("https://(redacted)@idp.example.com/"),
            ),
            (
                "http:user:secret@proxy.example.com",
                Some("http://(redacted)@proxy.example.com/"),
            ),
            (
                "https://idp.example.com/keys?p=policy&code=secret&secret",
                Some("https://idp.example.com/keys?p=(redacted)&code=(redacted)&(redacted)"),
            ),
            (
                "https://idp.example.com/keys#secret",
                Some("https://idp.example.com/keys#(redacted)"),
            ),
        ] {
            assert_eq!(
                redacted_url(text, Mark::Same).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn headers_without_secrets() {
        let mut value = json!({
            "rules": [{"match": {"headers": {
                "x-api-key": ["secret-1", "secret-2"], "x-session": "secret-3", "x-token": "any",
                "x-env": ["prod"],
            }}}],
            "denials": {"headers": [
                {"header": "x-api-key", "value": "secret-4"}, {"header": "x-robots-tag", "value": "noindex"},
            ]},
            "response_headers": [{"header": "set-cookie", "value": "secret-5"}],
        });
        redact(&mut value, Mark::Same);
        let mark = "(redacted)";
        let expected = json!({
            "rules": [{"match": {"headers": {
                "x-api-key": [mark, mark], "x-session": mark, "x-token": "any", "x-env": ["prod"],
            }}}],
            "denials": {"headers": [
                {"header": "x-api-key", "value": mark}, {"header": "x-robots-tag", "value": "noindex"},
            ]},
            "response_headers": [{"header": "set-cookie", "value": mark}],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn keys_without_secrets() {
        let mut value = json!({"inline": {"keys": [
            {"kty": "RSA", "kid": "a", "n": "1", "d": "secret", "oth": [{"r": "secret"}]},
            {"kty": "oct", "k": "secret"},
        ]}, "match": {"p": "stays"}});
        redact(&mut value, Mark::Same);
        let shown = value.to_string();
        assert!(
            !shown.contains("secret") && shown.contains("stays"),
            "{shown}"
        );
        assert_eq!(value["inline"]["keys"][0]["n"], "1");
    }
}
