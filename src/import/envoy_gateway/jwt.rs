//! `jwt` of a policy, as the providers of Envoy that Envoy Gateway makes of it.

use std::collections::BTreeMap;

use crate::import::envoy::provider::{self, EnvoyProvider, nobody};
use crate::import::model::{Access, Keys, Kind, Note, Place};
use crate::import::source::{Node, Reader};
use crate::import::synthetic::Maker;

/// The data of each `ConfigMap`, by namespace and name.
pub(super) type ConfigMaps<'n> = BTreeMap<(String, String), &'n Node>;

/// What `jwt` says besides its providers.
pub(super) struct Jwt {
    is_optional: bool,
    is_clear: bool,
    recomputes_route: bool,
}

impl Jwt {
    pub(super) fn apply(
        self,
        access: &mut Access,
        is_clear: &mut bool,
        recomputes_route: &mut bool,
    ) {
        if self.is_optional {
            *access = Access::Optional;
        }
        *is_clear &= self.is_clear;
        *recomputes_route |= self.recomputes_route;
    }
}

/// Adds the policy's providers to all, and their names and positions to its own.
pub(super) fn read(
    jwt: &Reader<'_>,
    namespace: &str,
    config_maps: &ConfigMaps<'_>,
    all: &mut Vec<(EnvoyProvider, Place)>,
    own: &mut Vec<(String, usize)>,
    notes: &mut Vec<Note>,
) -> Jwt {
    let mut is_optional = jwt.flag("optional", notes);
    if jwt.flag("failOpen", notes) {
        is_optional = true;
        let field = jwt.get("failOpen");
        let text = "claimgate refuses a bad token; a request without one passes";
        notes.extend(field.map(|field| field.note(Kind::LeftOut, text)));
    }
    let mut recomputes_route = false;
    for reader in jwt.list("providers") {
        let mut about = Vec::new();
        let name = reader.text("name", &mut about).unwrap_or_default();
        recomputes_route |= reader.flag("recomputeRoute", &mut about);
        let (message, keys) = message(&reader, namespace, config_maps, &mut about);
        reader.finish(&mut about);
        let is_known = reader.is_understood();
        let place = reader.place();
        let synthetic = Reader::at(&message, &place.file, place.path.clone());
        let mut provider = provider::read(&name, &synthetic, &BTreeMap::new());
        if let Some(keys) = keys {
            provider.model.keys = keys;
        }
        if !is_known {
            provider.model.issuer = nobody(&name);
            let text = "no token of this issuer is accepted, because an unknown field may restrict them; write the \
                        issuer in place of the name that ends in `.invalid`";
            about.push(reader.note(Kind::LeftOut, text));
        }
        provider.model.notes.splice(0..0, about);
        own.push((name, all.len()));
        all.push((provider, place));
    }
    Jwt {
        is_optional,
        is_clear: jwt.finish(notes),
        recomputes_route,
    }
}

/// The `JwtProvider` that Envoy Gateway makes, and the keys if they are not among its fields.
fn message(
    reader: &Reader<'_>,
    namespace: &str,
    config_maps: &ConfigMaps<'_>,
    notes: &mut Vec<Note>,
) -> (Node, Option<Keys>) {
    let make = Maker {
        line: reader.node.line,
    };
    let mut entries = Vec::new();
    let issuer = reader.text("issuer", notes);
    entries.extend(issuer.map(|it| ("issuer", make.text(&it))));
    entries.push(("audiences", make.texts(&reader.texts("audiences", notes))));
    entries.push(("forward", make.flag(true)));
    let mut keys = None;
    if let Some(remote) = reader.get("remoteJWKS") {
        entries.push(("remote_jwks", remote_keys(&remote, make, notes)));
    } else if let Some(local) = reader.get("localJWKS") {
        let inline = match local.get("valueRef") {
            None => local.text("inline", notes),
            Some(reference) => value_of(&reference, namespace, config_maps, &mut keys, notes),
        };
        local.ignore(&["type"]);
        local.finish(notes);
        let source = match inline {
            Some(inline) => ("inline_string", make.text(&inline)),
            // The keys are known to be elsewhere.
            None => ("filename", make.text("elsewhere")),
        };
        entries.push(("local_jwks", make.map(vec![source])));
    }
    let headers = reader.list("claimToHeaders").into_iter().map(|entry| {
        let header = entry.text("header", notes).unwrap_or_default();
        let claim = entry.text("claim", notes).unwrap_or_default();
        entry.finish(notes);
        make.pair([("header_name", &header), ("claim_name", &claim)])
    });
    entries.push(("claim_to_headers", make.list(headers.collect())));
    if let Some(from) = reader.get("extractFrom") {
        let headers = from.list("headers").into_iter().map(|header| {
            let name = header.text("name", notes).unwrap_or_default();
            let prefix = header.text("valuePrefix", notes).unwrap_or_default();
            header.finish(notes);
            make.pair([("name", &name), ("value_prefix", &prefix)])
        });
        entries.push(("from_headers", make.list(headers.collect())));
        entries.push(("from_params", make.texts(&from.texts("params", notes))));
        entries.push(("from_cookies", make.texts(&from.texts("cookies", notes))));
        from.finish(notes);
    }
    (make.map(entries), keys)
}

fn remote_keys(remote: &Reader<'_>, make: Maker, notes: &mut Vec<Note>) -> Node {
    let uri = remote.text("uri", notes).unwrap_or_default();
    for name in ["backendRefs", "backendRef"] {
        if let Some(backend) = remote.get(name) {
            let text = "claimgate fetches the keys from `uri` itself";
            notes.push(backend.note(Kind::Differs, text));
        }
    }
    // claimgate has its own time limits and back-off.
    remote.ignore(&["backendSettings", "failedRefetchDuration"]);
    let mut fields = vec![("http_uri", make.map(vec![("uri", make.text(&uri))]))];
    if let Some(text) = remote.text("cacheDuration", notes) {
        match millis(&text) {
            Some(millis) => fields.push(("cache_duration", make.duration(millis))),
            None => {
                let field = remote.get("cacheDuration");
                let text = "not a duration of the Gateway API";
                notes.extend(field.map(|it| it.note(Kind::LeftOut, text)));
            }
        }
    }
    remote.finish(notes);
    make.map(fields)
}

/// The keys in a `ConfigMap`. If that is not in the files, `keys` names a file for them.
fn value_of(
    reference: &Reader<'_>,
    namespace: &str,
    config_maps: &ConfigMaps<'_>,
    keys: &mut Option<Keys>,
    notes: &mut Vec<Note>,
) -> Option<String> {
    reference.ignore(&["group", "kind"]);
    let name = reference.text("name", notes).unwrap_or_default();
    reference.finish(notes);
    let data = config_maps.get(&(namespace.to_owned(), name.clone()));
    // The key `jwks`, or the first one.
    let found = data.and_then(|data| {
        let first = data.map().first().and_then(|(_, node)| node.text());
        data.text_of("jwks").or(first)
    });
    if found.is_none() {
        let file = format!("{name}.jwks.json");
        let text = format!(
            "put the keys of the ConfigMap `{name}` into the file `{file}`, or import the ConfigMap, too"
        );
        notes.push(reference.note(Kind::LeftOut, text));
        *keys = Some(Keys::File(file));
    }
    found.map(str::to_owned)
}

/// A duration of the Gateway API (GEP-2257), such as `1h30m` or `300s`.
fn millis(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let (unit, left) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find_map(|(name, unit)| Some((unit, after.strip_prefix(name)?)))?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = left;
    }
    (!text.is_empty()).then_some(total)
}
