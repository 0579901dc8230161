//! Writes a [`Model`] as a configuration, with its notes as comments.

use super::model::{
    Access, ClaimHeader, Keys, Kind, Match, Model, Note, PathPattern, Provider, Rule, TokenPlace,
    Upstream,
};

/// The width of comments.
const WIDTH: usize = 100;

/// The configuration in YAML.
pub fn configuration(model: &Model) -> String {
    let Model {
        origin,
        providers,
        upstream,
        rules,
        free_preflight,
        silent_denials,
        notes,
    } = model;
    let mut out = Lines::default();
    out.comment(0, &format!("`claimgate import` made this from {origin}."));
    out.comment(0, &summary(&model.all_notes()));
    out.notes(0, notes);
    out.line(0, "providers:");
    for provider in providers {
        write_provider(&mut out, provider);
    }
    write_upstream(&mut out, upstream);
    if !rules.is_empty() {
        out.line(0, "rules:");
    }
    for rule in rules {
        write_rule(&mut out, rule);
    }
    if *free_preflight {
        out.line(0, "cors_preflight: allow");
    }
    if *silent_denials {
        out.line(0, "denials: { body: none, expose_reason: false }");
    }
    out.text
}

/// What was left out and what differs, in one sentence.
pub fn summary(notes: &[&Note]) -> String {
    let count = |kind: Kind| notes.iter().filter(|note| note.kind == kind).count();
    match (count(Kind::LeftOut), count(Kind::Differs)) {
        (0, 0) => "Nothing was left out.".to_owned(),
        (0, differs) => format!("Nothing was left out. Lines with `DIFFERS`: {differs}."),
        (left_out, 0) => format!("Lines with `LEFT OUT`: {left_out}."),
        (left_out, differs) => {
            format!("Lines with `LEFT OUT`: {left_out}, with `DIFFERS`: {differs}.")
        }
    }
}

fn write_provider(out: &mut Lines, provider: &Provider) {
    let Provider {
        name,
        issuer,
        audiences,
        keys,
        timeout,
        ca_file,
        refresh,
        clock_skew,
        max_lifetime,
        required_claims,
        scope_claims,
        token_from,
        place: _,
        notes,
    } = provider;
    out.notes(1, notes);
    out.line(1, &format!("- name: {}", scalar(name)));
    out.line(2, &format!("issuer: {}", scalar(issuer)));
    match audiences.is_empty() {
        true => out.line(2, "audiences: any"),
        false => out.line(2, &format!("audiences: {}", list(audiences))),
    }
    match keys {
        Keys::Discovery => {}
        Keys::Uri(uri) => out.line(2, &format!("jwks: {{ uri: {} }}", scalar(uri))),
        Keys::File(file) => out.line(2, &format!("jwks: {{ file: {} }}", scalar(file))),
        Keys::Inline(json) => {
            out.line(2, "jwks:");
            out.line(3, &format!("inline: {json}"));
        }
    }
    let mut fetch = Vec::new();
    fetch.extend(timeout.map(|timeout| format!("timeout: {}", duration(timeout))));
    fetch.extend(
        ca_file
            .iter()
            .map(|file| format!("ca_file: {}", scalar(file))),
    );
    if is_plain_http(keys) {
        fetch.push("allow_http: true".to_owned());
    }
    if !fetch.is_empty() {
        out.line(2, &format!("fetch: {{ {} }}", fetch.join(", ")));
    }
    if let Some(refresh) = refresh {
        out.line(2, &format!("refresh: {}", refresh_of(*refresh)));
    }
    if let Some(seconds) = clock_skew {
        out.line(2, &format!("clock_skew: {}", duration(seconds * 1000)));
    }
    if let Some(seconds) = max_lifetime {
        out.line(2, &format!("max_lifetime: {}", duration(seconds * 1000)));
    }
    if !required_claims.is_empty() {
        out.line(2, &format!("required_claims: {}", values(required_claims)));
    }
    if !scope_claims.is_empty() {
        out.line(2, &format!("scope_claims: {}", list(scope_claims)));
    }
    if !token_from.is_empty() {
        out.line(2, "token_from:");
    }
    for place in token_from {
        let place = match place {
            TokenPlace::Header {
                name,
                scheme: Some(scheme),
            } => format!("header: {}, scheme: {}", scalar(name), scalar(scheme)),
            TokenPlace::Header { name, scheme: None } => format!("header: {}", scalar(name)),
            TokenPlace::Cookie(name) => format!("cookie: {}", scalar(name)),
            TokenPlace::Query(name) => format!("query: {}", scalar(name)),
        };
        out.line(3, &format!("- {{ {place} }}"));
    }
}

/// Whether keys come in plain text from another machine, which claimgate must be told to allow.
fn is_plain_http(keys: &Keys) -> bool {
    match keys {
        Keys::Uri(uri) => uri.starts_with("http://"),
        Keys::Discovery | Keys::File(_) | Keys::Inline(_) => false,
    }
}

/// The default minimum between fetches is 30 s, and the maximum may not be below it.
fn refresh_of(max: u64) -> String {
    let max = max.max(1000);
    match max < 30_000 {
        true => format!("{{ min: {0}, max: {0} }}", duration(max)),
        false => format!("{{ max: {} }}", duration(max)),
    }
}

fn write_upstream(out: &mut Lines, upstream: &Upstream) {
    let Upstream {
        claim_headers,
        payload_header,
        forward_token,
        notes,
    } = upstream;
    out.line(0, "upstream:");
    out.notes(1, notes);
    if !claim_headers.is_empty() {
        out.line(1, "claim_headers:");
    }
    for ClaimHeader {
        header,
        claim,
        place: _,
        notes,
    } in claim_headers
    {
        out.notes(2, notes);
        let entry = format!("header: {}, claim: {}", scalar(header), scalar(claim));
        out.line(2, &format!("- {{ {entry} }}"));
    }
    if let Some(header) = payload_header {
        out.line(1, &format!("payload_header: {}", scalar(header)));
    }
    out.line(1, &format!("forward_token: {forward_token}"));
}

fn write_rule(out: &mut Lines, rule: &Rule) {
    let Rule {
        name,
        only_by_name,
        matches,
        access,
        providers,
        scopes,
        claims,
        condition,
        is_observed,
        meaning: _,
        example: _,
        place: _,
        notes,
    } = rule;
    out.notes(1, notes);
    out.line(1, &format!("- name: {}", scalar(name)));
    match only_by_name {
        true => out.line(2, "only_by_name: true"),
        false => write_match(out, matches),
    }
    match access {
        Access::Public => out.line(2, "access: public"),
        Access::Optional => out.line(2, "access: optional"),
        Access::Deny => out.line(2, "access: deny"),
        Access::Required => {}
    }
    // A rule that looks at no token must not say what the token has to be.
    if matches!(access, Access::Optional | Access::Required) {
        if !providers.is_empty() {
            out.line(2, &format!("providers: {}", list(providers)));
        }
        if !scopes.is_empty() {
            out.line(2, &format!("scopes: {}", list(scopes)));
        }
        if !claims.is_empty() {
            out.line(2, &format!("claims: {}", values(claims)));
        }
    }
    if let Some(condition) = condition.as_ref().filter(|_| *access != Access::Deny) {
        out.line(2, &format!("condition: {}", quoted(condition)));
    }
    if *is_observed {
        out.line(2, "enforce: false");
    }
}

fn write_match(out: &mut Lines, matches: &Match) {
    let Match {
        hosts,
        hosts_are_bound,
        methods,
        paths,
        headers,
    } = matches;
    let mut fields = Vec::new();
    if !hosts.is_empty() {
        fields.push(format!("hosts: {}", list(hosts)));
    }
    if *hosts_are_bound {
        fields.push("hosts_are_bound: true".to_owned());
    }
    if !methods.is_empty() {
        fields.push(format!("methods: {}", list(methods)));
    }
    if !paths.is_empty() {
        fields.push(format!("path: {{ {} }}", paths_of(paths)));
    }
    if !headers.is_empty() {
        let any = ["any".to_owned()];
        let entries = headers
            .iter()
            .map(|(name, values)| match values.is_empty() {
                true => entry(name, &scalar(&any[0])),
                false => entry(name, &list(values)),
            });
        let entries: Vec<String> = entries.collect();
        fields.push(format!("headers: {{ {} }}", entries.join(", ")));
    }
    if !fields.is_empty() {
        out.line(2, &format!("match: {{ {} }}", fields.join(", ")));
    }
}

fn paths_of(paths: &[PathPattern]) -> String {
    let (mut exact, mut prefix, mut regex) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        match path {
            PathPattern::Exact(path) => exact.push(path.clone()),
            PathPattern::Prefix(path) => prefix.push(path.clone()),
            PathPattern::Regex(regular, _) => regex.push(regular.clone()),
        }
    }
    let kinds = [("exact", exact), ("prefix", prefix), ("regex", regex)];
    let kinds = kinds.into_iter().filter(|(_, texts)| !texts.is_empty());
    let kinds: Vec<String> = kinds
        .map(|(kind, texts)| format!("{kind}: {}", list(&texts)))
        .collect();
    kinds.join(", ")
}

fn values(claims: &[(String, Vec<String>)]) -> String {
    let entries = claims
        .iter()
        .map(|(claim, values)| entry(claim, &list(values)));
    let entries: Vec<String> = entries.collect();
    format!("{{ {} }}", entries.join(", "))
}

/// The maximum length of a key that YAML recognizes without a sign (YAML 1.2.2 §7.4.2).
const MAX_KEY: usize = 1024;

/// A member of a flow mapping.
pub(super) fn entry(name: &str, value: &str) -> String {
    let key = scalar(name);
    match key.chars().count() > MAX_KEY {
        true => format!("? {key} : {value}"),
        false => format!("{key}: {value}"),
    }
}

/// A flow list of texts.
pub(super) fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| scalar(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// The text as a YAML scalar, which is always read back as this text.
pub(super) fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan",
    ];
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let url = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let begins_plainly = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_plain = begins_plainly
        && url.unwrap_or(text).chars().all(is_word)
        && !text.ends_with('/')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    match is_plain || text == "/" {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// The text in quotes. Every text in JSON's quotes is YAML, once the characters that YAML does not print
/// are escaped.
fn quoted(text: &str) -> String {
    let has_escapes = |text: &str| text.contains(['\'', '\n', '\r', '\t']) || !text.is_ascii();
    if text.contains(['"', '\\']) && !has_escapes(text) && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let json = serde_json::Value::from(text).to_string();
    json.chars().fold(String::new(), |quoted, c| match c {
        // C1 controls, line separators, the byte order mark, and what is no character.
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
            quoted + &format!("\\u{:04x}", u32::from(c))
        }
        c => {
            let mut quoted = quoted;
            quoted.push(c);
            quoted
        }
    })
}

/// Milliseconds in the largest whole unit.
pub(super) fn duration(millis: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| millis != 0 && millis.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Lines of YAML.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
}

impl Lines {
    pub(super) fn line(&mut self, depth: usize, text: &str) {
        self.text.push_str(&"  ".repeat(depth));
        self.text.push_str(text);
        self.text.push('\n');
    }

    pub(super) fn notes(&mut self, depth: usize, notes: &[Note]) {
        for note in notes {
            let word = match note.kind {
                Kind::LeftOut => "LEFT OUT",
                Kind::Differs => "DIFFERS",
            };
            self.comment(depth, &format!("{word}: {}", note.line()));
        }
    }

    /// A comment, broken into lines.
    pub(super) fn comment(&mut self, depth: usize, text: &str) {
        let mut line = String::new();
        for word in printable(text).split(' ') {
            if !line.is_empty() && line.len() + word.len() + 2 * depth > WIDTH {
                self.line(depth, &format!("#{line}"));
                line.clear();
                line.push_str("  ");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(depth, &format!("#{line}"));
    }
}

/// The text without characters that could end a comment or move a cursor.
pub fn printable(text: &str) -> String {
    let is_safe = |c: char| {
        let is_odd = matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        );
        !c.is_control() && !is_odd
    };
    text.chars()
        .map(|c| if is_safe(c) { c } else { ' ' })
        .collect()
}

impl Note {
    /// `providers.acme.issuer (envoy.yaml:12): …`.
    pub fn line(&self) -> String {
        let Self {
            kind: _,
            place,
            text,
        } = self;
        let super::model::Place { file, line, path } = place;
        let at = match (file.as_str(), line) {
            ("", _) => String::new(),
            (file, 0) => format!(" ({file})"),
            (file, line) => format!(" ({file}:{line})"),
        };
        match path.as_str() {
            "" if at.is_empty() => text.clone(),
            "" => format!("{text}{at}"),
            path => format!("{path}{at}: {text}"),
        }
    }
}
