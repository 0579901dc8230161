//! A `JwtProvider`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::matcher::StringMatcher;
use crate::import::model::{self, Keys, Kind, Note, Provider, TokenPlace, claim_path};
use crate::import::source::{Node, Reader, Value};
use crate::keyring::KeySet;

/// A provider, and those of its settings that claimgate has elsewhere.
#[derive(Clone, Debug)]
pub(in crate::import) struct EnvoyProvider {
    /// Its name in the source.
    pub(super) key: String,
    pub(in crate::import) model: Provider,
    pub(super) subject: Option<StringMatcher>,
    pub(super) forwards_token: bool,
    pub(super) payload_header: Option<String>,
    /// Headers with their claims.
    pub(super) claim_headers: Vec<(String, String)>,
    pub(super) clears_route_cache: bool,
    /// About its headers.
    pub(super) header_notes: Vec<Note>,
}

impl EnvoyProvider {
    /// Whether its tokens set the header.
    pub(super) fn sets(&self, header: &str) -> bool {
        let by_claim = self.claim_headers.iter().map(|(name, _)| name);
        let mut all = by_claim.chain(&self.payload_header);
        all.any(|name| name.eq_ignore_ascii_case(header))
    }
}

/// The bundles of authorities that claimgate trusts by itself.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

pub(in crate::import) fn read(
    key: &str,
    reader: &Reader<'_>,
    clusters: &BTreeMap<&str, &Node>,
) -> EnvoyProvider {
    let mut notes = Vec::new();
    let name = model::name(key);
    let issuer = reader.text("issuer", &mut notes).unwrap_or_else(|| {
        let text = "without `issuer`, Envoy accepts every `iss`, which claimgate does not; write the \
                    `iss` of these tokens in place of the name that ends in `.invalid`";
        notes.push(reader.note(Kind::LeftOut, text));
        nobody(&name)
    });
    let audiences = audiences(reader, &mut notes);
    let mut model = Provider {
        name,
        issuer,
        audiences,
        place: reader.place(),
        ..Provider::default()
    };
    read_keys(reader, clusters, &mut model, &mut notes);
    model.token_from = token_places(reader, &mut notes);
    model.clock_skew = clock_skew(reader, &mut notes);
    if reader.flag("require_expiration", &mut notes) {
        // claimgate always requires `exp`.
    }
    model.max_lifetime = reader
        .millis("max_lifetime", &mut notes)
        .map(|millis| (millis / 1000).max(1));
    let subject = reader.get("subjects").and_then(|subjects| {
        let matcher = StringMatcher::read(&subjects, &mut notes);
        if matcher.is_none() {
            let text = "no token is accepted, because this matcher of `sub` has no equivalent; write another \
                        `issuer` and `required_claims`";
            notes.push(subjects.note(Kind::LeftOut, text));
            model.issuer = nobody(&model.name);
        }
        matcher
    });
    let mut header_notes = Vec::new();
    let claim_headers = claim_headers(reader, &mut header_notes);
    let payload_header = reader.text("forward_payload_header", &mut header_notes);
    if reader.flag("pad_forward_payload_header", &mut notes) {
        let pad = reader.get("pad_forward_payload_header");
        let text = "claimgate writes the payload without `=` at its end";
        header_notes.extend(pad.map(|pad| pad.note(Kind::Differs, text)));
    }
    note_metadata(reader, &mut notes);
    // claimgate always caches verified tokens, and bounds all of them together.
    reader.ignore(&["jwt_cache_config", "normalize_payload_in_metadata"]);
    let forwards_token = reader.flag("forward", &mut notes);
    let clears_route_cache = reader.flag("clear_route_cache", &mut notes);
    reader.finish(&mut notes);
    let has_matcher = subject.is_some() || reader.get("subjects").is_none();
    if !reader.is_understood() && has_matcher {
        // What is not known may restrict tokens.
        let text = "no token is accepted, because a part is not understood; remove it, or write another `issuer`";
        notes.push(reader.note(Kind::LeftOut, text));
        model.issuer = nobody(&model.name);
    }
    model.notes = notes;
    EnvoyProvider {
        key: key.to_owned(),
        model,
        subject,
        forwards_token,
        payload_header,
        claim_headers,
        clears_route_cache,
        header_notes,
    }
}

/// An issuer of no token (RFC 6761 §6.4).
pub(in crate::import) fn nobody(name: &str) -> String {
    let host = name.chars().map(|c| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    });
    let host: String = host.take(60).collect();
    match host.trim_matches('-') {
        "" => "https://idp.invalid".to_owned(),
        host => format!("https://{host}.invalid"),
    }
}

pub(super) fn audiences(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Vec<String> {
    let mut audiences: Vec<String> = Vec::new();
    for audience in reader.list("audiences") {
        let Some(text) = audience.as_text(notes) else {
            continue;
        };
        let is_url = text.starts_with("https://") || text.starts_with("http://");
        if is_url || text.ends_with('/') {
            let text = format!(
                "Envoy compares `{text}` without `https://` and without `/` at its end, claimgate the \
                 whole text"
            );
            notes.push(audience.note(Kind::Differs, text));
        }
        if !audiences.contains(&text) {
            audiences.push(text);
        }
    }
    audiences
}

fn clock_skew(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Option<u64> {
    // 0 stands for the default, which is 60 s in both.
    let seconds = reader
        .number("clock_skew_seconds", notes)
        .filter(|seconds| *seconds != 0)?;
    if seconds > 300 {
        let text = format!("{seconds} s are more than claimgate allows: 5 minutes");
        let skew = reader.get("clock_skew_seconds");
        notes.extend(skew.map(|skew| skew.note(Kind::LeftOut, text)));
    }
    Some(seconds.min(300))
}

fn note_metadata(reader: &Reader<'_>, notes: &mut Vec<Note>) {
    if let Some(field) = reader.get("payload_in_metadata") {
        let text = format!(
            "what reads this metadata of `{}` finds all claims as `claims` of `envoy.filters.http.ext_authz`",
            super::find::FILTER
        );
        notes.push(field.note(Kind::Differs, text));
    }
    if let Some(field) = reader.get("header_in_metadata") {
        let text = "claimgate does not write the token's header into metadata";
        notes.push(field.note(Kind::LeftOut, text));
    }
    if let Some(field) = reader.get("failed_status_in_metadata") {
        let text = "claimgate writes `reason` into the metadata of `envoy.filters.http.ext_authz`, with \
                    other words than Envoy's status";
        notes.push(field.note(Kind::Differs, text));
    }
}

fn claim_headers(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for entry in reader.list("claim_to_headers") {
        let header = entry.text("header_name", notes);
        let claim = entry.text("claim_name", notes);
        let path: Vec<String> = entry
            .list("claim_path")
            .iter()
            .filter_map(|part| {
                let key = part.text("key", notes);
                part.finish(notes);
                key
            })
            .collect();
        entry.finish(notes);
        let claim = match (claim, path.as_slice()) {
            (Some(claim), []) => claim_path(&claim.split('.').collect::<Vec<_>>()),
            (None, [_, ..]) => claim_path(&path),
            _ => {
                let text = "exactly one of `claim_name` and `claim_path` is needed";
                notes.push(entry.note(Kind::LeftOut, text));
                continue;
            }
        };
        match header.map(|header| header.to_ascii_lowercase()) {
            Some(header) if headers.iter().any(|(other, _)| *other == header) => {
                let text = format!("`{header}` is already set from another claim");
                notes.push(entry.note(Kind::LeftOut, text));
            }
            Some(header) => headers.push((header, claim)),
            None => notes.push(entry.note(Kind::LeftOut, "`header_name` is missing")),
        }
    }
    headers
}

fn token_places(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Vec<TokenPlace> {
    let mut places: Vec<TokenPlace> = Vec::new();
    let mut add = |place: TokenPlace| {
        if !places.contains(&place) {
            places.push(place);
        }
    };
    let (headers, params, cookies) = (
        reader.list("from_headers"),
        reader.texts("from_params", notes),
        reader.texts("from_cookies", notes),
    );
    if headers.is_empty() && params.is_empty() && cookies.is_empty() {
        add(TokenPlace::Header {
            name: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        });
        add(TokenPlace::Query("access_token".to_owned()));
    }
    for header in headers {
        let name = header.text("name", notes).unwrap_or_default();
        let prefix = header.text("value_prefix", notes).unwrap_or_default();
        header.finish(notes);
        let scheme = prefix.trim_end();
        let is_scheme = scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_scheme {
            let text = format!(
                "claimgate takes the whole value of `{name}` as the token, because `{prefix}` is not a \
                 scheme (letters, digits and `-`)"
            );
            notes.push(header.note(Kind::LeftOut, text));
        }
        add(TokenPlace::Header {
            name: name.to_ascii_lowercase(),
            scheme: (is_scheme && !scheme.is_empty()).then(|| scheme.to_owned()),
        });
    }
    params.into_iter().map(TokenPlace::Query).for_each(&mut add);
    cookies
        .into_iter()
        .map(TokenPlace::Cookie)
        .for_each(&mut add);
    places
}

fn read_keys(
    reader: &Reader<'_>,
    clusters: &BTreeMap<&str, &Node>,
    model: &mut Provider,
    notes: &mut Vec<Note>,
) {
    match reader.one_of(&["remote_jwks", "local_jwks"]) {
        Some(("remote_jwks", remote)) => read_remote(&remote, clusters, model, notes),
        Some((_, local)) => model.keys = local_keys(&local, &model.name, notes),
        None => {
            model.keys = Keys::File(format!("{}.jwks.json", model.name));
            let text =
                "neither `remote_jwks` nor `local_jwks`: claimgate expects the keys in a file";
            notes.push(reader.note(Kind::LeftOut, text));
        }
    }
}

fn read_remote(
    remote: &Reader<'_>,
    clusters: &BTreeMap<&str, &Node>,
    model: &mut Provider,
    notes: &mut Vec<Note>,
) {
    model.refresh = remote.millis("cache_duration", notes);
    // claimgate always fetches in the background, and has its own back-off.
    remote.ignore(&["async_fetch", "retry_policy"]);
    let Some(http) = remote.get("http_uri") else {
        notes.push(remote.note(Kind::LeftOut, "`http_uri` is missing"));
        remote.finish(notes);
        return;
    };
    let uri = http.text("uri", notes).unwrap_or_default();
    let cluster = http.text("cluster", notes);
    let timeout = http.millis("timeout", notes);
    model.timeout = timeout.map(|millis| millis.clamp(100, 60_000));
    http.finish(notes);
    remote.finish(notes);
    model.keys = Keys::Uri(uri.clone());
    let cluster = cluster.and_then(|name| Some((clusters.get(name.as_str())?, name)));
    let Some((cluster, name)) = cluster else {
        return;
    };
    let socket = cluster
        .get("transport_socket")
        .and_then(|socket| socket.get("typed_config"));
    // Envoy's cluster decides whether it speaks TLS, whatever the URI says.
    if let (Some(_), Some(rest)) = (socket, uri.strip_prefix("http://")) {
        model.keys = Keys::Uri(format!("https://{rest}"));
    }
    let authorities = socket
        .and_then(|socket| socket.get("common_tls_context"))
        .and_then(|context| context.get("validation_context"))
        .and_then(|validation| validation.get("trusted_ca"));
    match authorities.and_then(|source| source.text_of("filename")) {
        Some(file) if !SYSTEM_BUNDLES.contains(&file) => model.ca_file = Some(file.to_owned()),
        None if authorities.is_some() => {
            let text = format!(
                "write the authorities of the cluster `{name}` into a file, and name it in `fetch.ca_file`"
            );
            notes.push(http.note(Kind::Differs, text));
        }
        Some(_) | None => {}
    }
    let endpoints = endpoints(cluster);
    if !endpoints.is_empty()
        && !endpoints
            .iter()
            .any(|(host, port)| leads_to(&uri, host, *port))
    {
        let all: Vec<String> = endpoints
            .iter()
            .map(|(host, port)| format!("`{host}:{port}`"))
            .collect();
        let text = format!(
            "Envoy fetches the keys from {} (cluster `{name}`), claimgate from the host of `uri`",
            all.join(", ")
        );
        notes.push(http.note(Kind::Differs, text));
    }
}

fn endpoints(cluster: &Node) -> Vec<(String, u64)> {
    let assignment = cluster.get("load_assignment");
    let localities = assignment.and_then(|assignment| assignment.get("endpoints"));
    let localities = localities.map(Node::list).unwrap_or_default();
    let endpoints = localities
        .iter()
        .filter_map(|locality| locality.get("lb_endpoints"))
        .flat_map(Node::list);
    endpoints
        .filter_map(|endpoint| {
            let address = endpoint
                .get("endpoint")?
                .get("address")?
                .get("socket_address")?;
            let port = match &address.get("port_value")?.value {
                Value::Number(port) => port.parse().ok()?,
                _ => return None,
            };
            Some((address.text_of("address")?.to_owned(), port))
        })
        .collect()
}

fn leads_to(uri: &str, host: &str, port: u64) -> bool {
    let Ok(url) = url::Url::parse(uri) else {
        return false;
    };
    let same_host = url
        .host_str()
        .is_some_and(|own| own.trim_matches(['[', ']']).eq_ignore_ascii_case(host));
    same_host && url.port_or_known_default().map(u64::from) == Some(port)
}

fn local_keys(local: &Reader<'_>, name: &str, notes: &mut Vec<Note>) -> Keys {
    // claimgate watches key files by itself.
    local.ignore(&["watched_directory"]);
    let kinds = [
        "filename",
        "inline_string",
        "inline_bytes",
        "environment_variable",
    ];
    let source = local.one_of(&kinds);
    local.finish(notes);
    let file = format!("{name}.jwks.json");
    let Some((kind, value)) = source else {
        notes.push(local.note(
            Kind::LeftOut,
            format!("no source: put the keys into `{file}`"),
        ));
        return Keys::File(file);
    };
    let text = value.as_text(notes).unwrap_or_default();
    let json = match kind {
        "filename" => return Keys::File(text),
        "inline_string" => Ok(text),
        "inline_bytes" => decoded(&text),
        _ => Err(format!(
            "claimgate reads no keys from environment variables; put the value of `{text}` into `{file}`"
        )),
    };
    let keys = json.and_then(|json| match KeySet::from_json(json.as_bytes()) {
        Ok(_) => serde_json::from_str(&json).map_err(|error| error.to_string()),
        Err(error) => Err(format!(
            "claimgate does not accept these keys: {error}; put a JWK Set into `{file}`"
        )),
    });
    match keys {
        Ok(keys) => {
            let keys: serde_json::Value = keys;
            Keys::Inline(keys.to_string())
        }
        Err(why) => {
            notes.push(value.note(Kind::LeftOut, why));
            Keys::File(file)
        }
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = BASE64_STANDARD.decode(text).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| "not base64 of text".to_owned())
}
