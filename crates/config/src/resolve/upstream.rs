//! What the upstream receives.

use std::collections::HashMap;
use std::str::FromStr as _;

use super::{KIB, Resolver};
use crate::document::Location;
use crate::raw;
use claimgate_core::identity::{HeaderName, Spoofed, Upstream};

impl Resolver<'_> {
    pub(super) fn upstream(&mut self, upstream: raw::Upstream) -> Upstream {
        let raw::Upstream {
            claim_headers,
            scope_header,
            payload_header,
            max_header_bytes,
            forward_token,
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
            spoofed: self.choice(
                &spoofed,
                &[("remove", Spoofed::Remove), ("refuse", Spoofed::Refuse)],
            ),
            dynamic_metadata: dynamic_metadata.value().copied().unwrap_or(true),
            response_headers: Vec::new(),
        }
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
