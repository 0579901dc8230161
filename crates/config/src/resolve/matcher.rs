//! Which requests a rule matches.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw::ClaimValues;
use crate::raw::rules::{Match, McpMatch, PathMatch};
use crate::raw::values::{Texts, Values};
use claimgate_core::escaped::listed;
use claimgate_core::policy::matcher::{
    HeaderPattern, HostPattern, Matcher, McpPattern, NAMED_METHODS, PathPattern, PathRegex,
};
use claimgate_core::policy::rule::PathMode;
use claimgate_core::request::path::Ambiguity;
use claimgate_core::request::{host, method, path};

/// The ASCII characters that are encoded. Everything outside ASCII is encoded too.
const SPACES: &AsciiSet = &CONTROLS.add(b' ');

impl Resolver<'_> {
    pub(super) fn matcher(
        &mut self,
        location: &Location,
        matches: Match,
        paths: PathMode,
    ) -> Matcher {
        let Match {
            hosts,
            hosts_are_bound: _,
            methods,
            path,
            headers,
            mcp,
        } = matches;
        let is_empty = [&hosts, &methods]
            .iter()
            .all(|field| matches!(field, Field::Absent))
            && matches!(path, Field::Absent)
            && matches!(headers, Field::Absent)
            && matches!(mcp, Field::Absent);
        if is_empty {
            self.report(
                location,
                "empty; remove `match` for a rule that matches every request",
            );
        }
        Matcher {
            hosts: self.hosts(hosts),
            methods: self.methods(methods),
            paths: self.path_patterns(path, paths),
            headers: self.header_patterns(headers),
            mcp: self.mcp_pattern(mcp),
        }
    }

    fn mcp_pattern(&mut self, field: Field<McpMatch>) -> Option<McpPattern> {
        let Field::Given(location, McpMatch { methods, names }) = field else {
            return None;
        };
        if matches!((&methods, &names), (Field::Absent, Field::Absent)) {
            self.report(&location, "give at least one of `methods` and `names`");
        }
        let mut texts = |field, what: &str| -> Vec<String> {
            let texts = self.texts(field, &format!("at least one {what}"));
            for (location, text) in &texts {
                if text.is_empty() || text.trim() != text {
                    self.report(location, format!("`{text}` is not a {what}"));
                }
            }
            texts.into_iter().map(|(_, text)| text).collect()
        };
        let (methods, names) = (texts(methods, "method"), texts(names, "name"));
        let has_name = |method: &String| NAMED_METHODS.contains(&method.as_str());
        if !names.is_empty() && !methods.is_empty() && !methods.iter().any(has_name) {
            let named = listed(&NAMED_METHODS, ", ");
            let why = format!("no call of these `methods` has a name; only {named} have one");
            self.report(&location, why);
        }
        Some(McpPattern { methods, names })
    }

    fn hosts(&mut self, field: Field<Texts>) -> Vec<HostPattern> {
        let mut hosts = Vec::new();
        for (location, text) in self.texts(field, "at least one host") {
            let (domain, pattern): (_, fn(String) -> HostPattern) = match text.strip_prefix("*.") {
                Some(domain) => (domain, HostPattern::Below),
                None => (text.as_str(), HostPattern::Exact),
            };
            match host::canonical(domain) {
                Some(canonical) if text.starts_with("*.") && is_address(&canonical) => {
                    let why = format!("no host can be below the address `{domain}`");
                    self.report(&location, why);
                }
                Some(canonical) => {
                    let has_port = !domain.ends_with(']') && domain.contains(':');
                    if has_port || domain.ends_with('.') {
                        let why =
                            format!("ports and trailing dots are ignored; write `{canonical}`");
                        self.report(&location, why);
                    }
                    hosts.push(pattern(canonical.into_owned()));
                }
                None => {
                    let why = format!(
                        "`{text}` is not a host; write `api.example.com`, or `*.example.com` for \
                         all hosts below it"
                    );
                    self.report(&location, why);
                }
            }
        }
        hosts
    }

    fn methods(&mut self, field: Field<Texts>) -> Vec<String> {
        let mut methods = Vec::new();
        for (location, method) in self.texts(field, "at least one method") {
            if !method::is_canonical(&method) {
                self.report(
                    &location,
                    format!("`{method}` is not a method in upper case"),
                );
            }
            methods.push(method);
        }
        methods
    }

    fn path_patterns(&mut self, field: Field<PathMatch>, paths: PathMode) -> Vec<PathPattern> {
        let Field::Given(location, path) = field else {
            return Vec::new();
        };
        let PathMatch {
            exact,
            prefix,
            regex,
        } = path;
        if [&exact, &prefix, &regex]
            .iter()
            .all(|field| matches!(field, Field::Absent))
        {
            self.report(
                &location,
                "give at least one of `exact`, `prefix` and `regex`",
            );
        }
        let mut patterns = Vec::new();
        for (location, text) in self.texts(exact, "at least one path") {
            let path = self.path(&location, &text, paths);
            patterns.extend(path.map(PathPattern::Exact));
        }
        for (location, text) in self.texts(prefix, "at least one path") {
            let path = self.path(&location, &text, paths);
            let path = path.map(|path| path.strip_suffix('/').map(str::to_owned).unwrap_or(path));
            patterns.extend(path.map(PathPattern::Prefix));
        }
        for (location, text) in self.texts(regex, "at least one expression") {
            let regex = self.path_regex(&location, &text, paths);
            patterns.extend(regex.map(PathPattern::Regex));
        }
        patterns
    }

    fn path_regex(
        &mut self,
        location: &Location,
        text: &str,
        paths: PathMode,
    ) -> Option<PathRegex> {
        if self.has_too_many_automata() {
            return None;
        }
        let regex = self.parsed(location, PathRegex::compile(text))?;
        self.automata_bytes += regex.memory();
        if !regex.is_about_paths() {
            self.report(
                location,
                "paths begin with `/`: begin each alternative with it, or with `.*`",
            );
        }
        if regex.is_impossible() {
            let why = format!(
                "no path can match `{text}`: it has an empty class, or something before `^` or after `$`"
            );
            self.report(location, why);
        }
        if paths == PathMode::Strict {
            for why in regex.written().iter().filter_map(|text| in_no_path(text)) {
                let why = format!("no path can match: {why}");
                self.report(location, why);
            }
        }
        Some(regex)
    }

    /// The path in the form that rules compare.
    fn path(&mut self, location: &Location, text: &str, paths: PathMode) -> Option<String> {
        if text.contains('?') {
            self.report(
                location,
                "the query is not part of the path; match on `request.query` in a `condition`",
            );
            return None;
        }
        if let Some(sign) = sign_of_pattern(text) {
            let why = format!(
                "`{sign}` is not a placeholder here and stands for itself; use `prefix` for all \
                 paths below, or `regex` for an expression; {}",
                match paths {
                    PathMode::Strict => "percent-encode it if it is meant literally",
                    PathMode::AsIs => "if it is meant literally, write a `regex` that escapes it",
                }
            );
            self.report(location, why);
            return None;
        }
        // Operators need not encode paths as clients must, so encode them here.
        let encoded = utf8_percent_encode(text, SPACES).to_string();
        let path = match paths {
            PathMode::Strict => path::canonical(&encoded)
                .map(Into::into)
                .map_err(|why| format!("`{text}` {why}, so no request can match")),
            PathMode::AsIs if text.starts_with('/') => Ok(text.to_owned()),
            PathMode::AsIs => Err(format!("`{text}` does not begin with `/`")),
        };
        self.parsed(location, path)
    }

    fn header_patterns(&mut self, field: Field<ClaimValues>) -> Vec<HeaderPattern> {
        let Field::Given(location, headers) = field else {
            return Vec::new();
        };
        if headers.is_empty() {
            self.report(&location, "empty; give at least one header");
        }
        let mut patterns: Vec<HeaderPattern> = Vec::new();
        for (name, field) in headers {
            if let Some(same) = patterns
                .iter()
                .find(|other| other.name().eq_ignore_ascii_case(&name))
            {
                let why = format!(
                    "`{name}` repeats the header `{}`, because case is ignored; list its values once",
                    same.name()
                );
                self.report(&location, why);
            }
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || !name.chars().all(fits) {
                self.report(&location, format!("`{name}` is not the name of a header"));
            }
            if name.eq_ignore_ascii_case("host") {
                self.report(&location, "Envoy sends no `host`; match on `hosts`");
            }
            let (location, values) = match field {
                Field::Given(location, Values(values)) => (location, values),
                Field::Absent => {
                    self.report(
                        &location,
                        format!("`{name}` has no value; write `any` to accept every value"),
                    );
                    continue;
                }
                Field::Invalid => continue,
            };
            let values = match values.as_slice() {
                [any] if any == "any" => Vec::new(),
                list if list.iter().any(|value| value == "any") => {
                    let why = "`any` in a list would be a value with that name; write `any` alone";
                    self.report(&location, why);
                    continue;
                }
                _ => values,
            };
            patterns.push(HeaderPattern::new(&name, &values));
        }
        patterns
    }
}

/// The part of a literal path that looks like a pattern: `*`, `:id`, `{id}`.
fn sign_of_pattern(text: &str) -> Option<&str> {
    let signs = ['*', '{', '}', '<', '>', '[', ']', '^', '|'];
    if let Some(at) = text.find(signs) {
        return text.get(at..=at);
    }
    if text.len() > 1 && text.ends_with('$') && !text.ends_with("/$") {
        return Some("$");
    }
    let is_parameter = |segment: &&str| {
        let name = segment.strip_prefix(':');
        name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
    };
    text.split('/').find(is_parameter)
}

/// Whether a host is an IP address.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Why no decoded path can contain this text. `None` if one can.
fn in_no_path(literal: &str) -> Option<String> {
    if literal.contains('?') {
        return Some(format!(
            "the expression contains `{literal}`, and the query is not part of the path"
        ));
    }
    // Surrounds the text, so that its position at an end of a segment is not the problem.
    let encoded = utf8_percent_encode(literal, SPACES).to_string();
    match path::canonical(&format!("/x{encoded}x")) {
        Ok(decoded) if decoded == format!("/x{literal}x") => None,
        Ok(_) => Some(format!(
            "the expression contains `{literal}`, and paths are decoded before"
        )),
        // The text contains a `%`, which a request encodes as `%25`.
        Err(Ambiguity::Encoding) => None,
        Err(why) => Some(format!("the expression contains `{literal}`, which {why}")),
    }
}
