//! Corrections for the most common mistakes.

use crate::schema;

/// For each section: fields that are often put there by mistake, and what to write. Sections are
/// named without list positions; the top level has the empty name.
const MISNAMED: [(&str, &[&str], &str); 13] = [
    (
        "",
        &["issuer", "audience", "audiences", "jwks", "jwks_uri"],
        "write it below `providers`: `providers: [{ issuer: https://…, audiences: [api] }]`",
    ),
    (
        "",
        &["listen", "port"],
        "write `server: { listen: '[::]:9001' }`",
    ),
    (
        "",
        &["cors"],
        "write `cors_preflight: allow` for preflights, and `denials: { cors: { origins: [https://…] } }` for denials",
    ),
    (
        "",
        &[
            "claim_headers",
            "scope_header",
            "payload_header",
            "forward_token",
            "spoofed",
        ],
        "write it below `upstream`",
    ),
    (
        "",
        &["log", "logging", "log_level", "log_format"],
        "it is a flag: `serve --log-level info --log-format json`",
    ),
    (
        "",
        &["tls"],
        "for `Check`, write `server: { tls: { certificate: tls.crt, key: tls.key } }`; for a \
         provider's certificate, set `fetch.ca_file`",
    ),
    (
        "server.tls",
        &[
            "cert",
            "cert_file",
            "certificate_file",
            "crt",
            "key_file",
            "private_key",
            "ca",
            "ca_file",
            "trusted_ca",
        ],
        "write `tls: { certificate: tls.crt, key: tls.key }`, and `client_ca: ca.crt` to require \
         certificates of clients",
    ),
    (
        "admin",
        &["token", "bearer_token", "bearer_token_file", "password"],
        "write `token_file: admin.token`, a file with the token",
    ),
    (
        "providers",
        &["jwks_uri", "jwks_url", "keys_url"],
        "write `jwks: { uri: https://… }`",
    ),
    ("providers", &["jwks_file"], "write `jwks: { file: … }`"),
    (
        "providers",
        &["tls", "ca", "ca_file"],
        "write `fetch: { ca_file: ca.pem }` if a private authority signed the provider's certificate",
    ),
    (
        "rules",
        &["roles", "role", "groups", "permissions"],
        "name the claim that contains them: `claims: { roles: [admin] }`; for Keycloak `claims: { realm_access.roles: [admin] }`",
    ),
    (
        "rules",
        &[
            "path", "paths", "hosts", "host", "methods", "method", "headers",
        ],
        "write it inside `match`: `match: { path: { prefix: /orders } }`",
    ),
];

/// What to write instead of an unknown field in the section at `path`.
pub(super) fn misnamed(path: &str, name: &str, known: &[&str]) -> Option<&'static str> {
    let section = without_positions(path);
    // Top-level hints apply only to a whole configuration file, which knows `providers`.
    let is_whole_file = known.contains(&"providers");
    let found = MISNAMED.iter().find(|(outer, names, _)| {
        *outer == section && names.contains(&name) && (is_whole_file || !outer.is_empty())
    });
    found.map(|(_, _, hint)| *hint)
}

/// What to write instead of a number where text is expected.
pub(super) fn instead_of_number(path: &str, number: &str) -> String {
    match schema::form(&without_positions(path)).as_deref() {
        Some("Duration") => format!("write `{number}s`, with its unit"),
        Some("Size") => format!("write `\"{number}\"`, or with a unit `512KiB`"),
        Some("AdminListen") => format!("write `127.0.0.1:{number}`"),
        Some("Listens") => format!("write `'[::]:{number}'`"),
        _ => format!("write `\"{number}\"`"),
    }
}

/// What to write instead of text where a mapping is expected.
pub(super) fn instead_of_text(path: &str, text: &str) -> Option<String> {
    let path = without_positions(path);
    let name = path.rsplit('.').next().unwrap_or_default();
    match name {
        "path" => Some(format!(
            "write `{{ exact: {text} }}`, or `{{ prefix: {text} }}` for all below it"
        )),
        "jwks" => Some(format!("write `{{ uri: {text} }}` or `{{ file: {text} }}`")),
        "server" | "admin" => Some(format!("write `{{ listen: {text} }}`")),
        _ => None,
    }
}

/// The path without list positions: `rules.match` for `rules[0].match`.
fn without_positions(path: &str) -> String {
    let mut pieces = path.split('[');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        text + piece.split_once(']').map_or("", |(_, after)| after)
    })
}
