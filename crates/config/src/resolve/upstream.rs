//! What the upstream receives.

use std::collections::HashMap;
use std::str::FromStr as _;

use super::providers::COOKIE_MARKS;
use super::{KIB, Resolver};
use crate::document::{Field, Location};
use crate::raw;
use claimgate_core::identity::{HeaderName, Spoofed, Upstream};
use claimgate_core::token::source::cookie::CookiePatterns;

impl Resolver<'_> {
    pub(super) fn upstream(&mut self, upstream: raw::Upstream) -> Upstream {
        let raw::Upstream {
            claim_headers,
            scope_header,
            payload_header,
            max_header_bytes,
            forward_token,
            remove_cookies,
            spoofed,
            dynamic_metadata,
        } = upstream;
        let mut taken = HashMap::new();
        let mut headers = Vec::new();
        for (location, raw::ClaimHeader { header, claim }) in self.entries(claim_headers) {
            let name = self
                .required(&location, "header", &header)
                .and_then(|header| self.header_name(header, &mut taken));
            let path = self
                .required(&location, "claim", &claim)
                .and_then(|(location, claim)| self.claim_path(location, claim));
            headers.extend(name.zip(path));
        }
        let scope_header = scope_header
            .given()
            .and_then(|header| self.header_name(header, &mut taken));
        let payload_header = payload_header
            .given()
            .and_then(|header| self.header_name(header, &mut taken));
        Upstream {
            claim_headers: headers,
            scope_header,
            payload_header,
            max_header_bytes: self.bytes(&max_header_bytes, 4 * KIB, KIB, 60 * KIB),
            forward_token: forward_token.value().copied().unwrap_or(true),
            remove_cookies: self.cookie_patterns(remove_cookies),
            spoofed: self.choice(
                &spoofed,
                &[("remove", Spoofed::Remove), ("refuse", Spoofed::Refuse)],
            ),
            dynamic_metadata: dynamic_metadata.value().copied().unwrap_or(true),
            response_headers: Vec::new(),
        }
    }

    fn cookie_patterns(&mut self, field: Field<Vec<Field<String>>>) -> CookiePatterns {
        let (mut names, mut prefixes) = (Vec::new(), Vec::new());
        for (location, text) in self.entries(field) {
            let (list, name) = match text.strip_suffix('*') {
                Some(prefix) => (&mut prefixes, prefix),
                None => (&mut names, text.as_str()),
            };
            let fits =
                |c: char| c != '*' && (c.is_ascii_alphanumeric() || COOKIE_MARKS.contains(c));
            match !text.is_empty() && name.chars().all(fits) {
                true => list.push(name.to_owned()),
                false => {
                    let why =
                        format!("`{text}` is neither a cookie name nor a prefix followed by `*`");
                    self.report(&location, why);
                }
            }
        }
        let names = names.iter().map(String::as_str);
        CookiePatterns::new(names, prefixes.iter().map(String::as_str))
    }

    pub(super) fn header_name(
        &mut self,
        (location, text): (&Location, &String),
        taken: &mut HashMap<String, String>,
    ) -> Option<HeaderName> {
        let parsed = HeaderName::from_str(text).map_err(|error| error.to_string());
        let name = self.parsed(location, parsed)?;
        if let Some(other) = taken.insert(name.as_str().to_owned(), location.path.clone()) {
            self.report(location, format!("`{text}` is already set by {other}"));
        }
        Some(name)
    }
}
