//! `jwtRules` of a `RequestAuthentication`, as the provider of Envoy that istiod makes of each.

use std::collections::BTreeMap;

use super::policy::Policy;
use crate::import::envoy::provider::{self, EnvoyProvider, nobody};
use crate::import::model::{Keys, Kind, Note, Place};
use crate::import::source::{Node, Reader};
use crate::import::synthetic::Maker;

/// Adds the policy's providers, and to `words` the claims whose texts are words between spaces.
pub(super) fn read(
    policy: &Policy<'_>,
    providers: &mut Vec<(EnvoyProvider, Place)>,
    words: &mut Vec<String>,
    notes: &mut Vec<Note>,
) {
    for (index, rule) in policy.spec.list("jwtRules").iter().enumerate() {
        let mut own = Vec::new();
        words.extend(rule.texts("spaceDelimitedClaims", &mut own));
        let keys = rule.one_of(&["jwks", "jwksUri"]);
        let (message, keys) = (message(rule, keys.as_ref(), &mut own), keys);
        rule.finish(&mut own);
        let is_known = rule.is_understood();
        let place = rule.place();
        let name = match index {
            0 => policy.name.name.clone(),
            _ => format!("{}-{index}", policy.name.name),
        };
        let reader = Reader::at(&message, &place.file, place.path.clone());
        let mut provider = provider::read(&name, &reader, &BTreeMap::new());
        if keys.is_none() {
            // istiod discovers the keys, and so does claimgate.
            provider.model.keys = Keys::Discovery;
        }
        if !is_known {
            provider.model.issuer = nobody(&name);
            let text = "no token of this issuer is accepted, because something unknown may restrict them; write the \
                        issuer in place of the name that ends in `.invalid`";
            own.push(rule.note(Kind::LeftOut, text));
        }
        provider.model.notes.splice(0..0, own);
        providers.push((provider, place));
    }
    policy.spec.finish(notes);
}

/// The `JwtProvider` that istiod makes of a rule.
fn message(rule: &Reader<'_>, keys: Option<&(&str, Reader<'_>)>, notes: &mut Vec<Note>) -> Node {
    let make = Maker {
        line: rule.node.line,
    };
    let mut entries = Vec::new();
    let issuer = rule.text("issuer", notes);
    entries.extend(issuer.map(|it| ("issuer", make.text(&it))));
    entries.push(("audiences", make.texts(&rule.texts("audiences", notes))));
    let timeout = rule.millis("timeout", notes);
    let remote = |uri: &str| {
        let mut http = vec![("uri", make.text(uri))];
        http.extend(timeout.map(|millis| ("timeout", make.duration(millis))));
        ("remote_jwks", make.map(vec![("http_uri", make.map(http))]))
    };
    entries.push(match keys {
        Some(("jwks", keys)) => {
            let keys = keys.as_text(notes).unwrap_or_default();
            let inline = ("inline_string", make.text(&keys));
            ("local_jwks", make.map(vec![inline]))
        }
        Some((_, at)) => remote(&at.as_text(notes).unwrap_or_default()),
        // In place of what istiod discovers.
        None => remote("https://discovery.invalid"),
    });
    let headers = rule.list("fromHeaders").into_iter().map(|header| {
        let name = header.text("name", notes).unwrap_or_default();
        let prefix = header.text("prefix", notes).unwrap_or_default();
        header.finish(notes);
        make.pair([("name", &name), ("value_prefix", &prefix)])
    });
    entries.push(("from_headers", make.list(headers.collect())));
    entries.push(("from_params", make.texts(&rule.texts("fromParams", notes))));
    let cookies = rule.texts("fromCookies", notes);
    entries.push(("from_cookies", make.texts(&cookies)));
    let forward = rule.flag("forwardOriginalToken", notes);
    entries.push(("forward", make.flag(forward)));
    let payload = rule.text("outputPayloadToHeader", notes);
    entries.extend(payload.map(|it| ("forward_payload_header", make.text(&it))));
    let headers = rule.list("outputClaimToHeaders").into_iter().map(|entry| {
        let header = entry.text("header", notes).unwrap_or_default();
        let claim = entry.text("claim", notes).unwrap_or_default();
        entry.finish(notes);
        make.pair([("header_name", &header), ("claim_name", &claim)])
    });
    entries.push(("claim_to_headers", make.list(headers.collect())));
    make.map(entries)
}
