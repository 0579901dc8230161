//! Checks are parsed in place, into the same request as with the generated types. Unused fields are
//! not parsed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use claimgate::ext_authz::proto::auth::attribute_context::{self, HttpRequest, Peer};
use claimgate::ext_authz::proto::auth::{AttributeContext, CheckRequest};
use claimgate::ext_authz::proto::envoy::config::core::v3::{
    Address, EnvoyInternalAddress, HeaderMap, HeaderValue, Pipe, SocketAddress, address,
};
use claimgate::ext_authz::request::describe;
use claimgate::ext_authz::wire::read;
use claimgate::request::pseudo::Conflict;
use claimgate::request::{self, Headers, Request};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

/// A `CheckRequest` as seen by a reader that knows only the used fields.
mod seen {
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CheckRequest {
        #[prost(message, optional, tag = "1")]
        pub attributes: Option<Attributes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Attributes {
        #[prost(message, optional, tag = "1")]
        pub source: Option<Peer>,
        #[prost(message, optional, tag = "4")]
        pub request: Option<Inner>,
        #[prost(map = "string, string", tag = "10")]
        pub context: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Peer {
        #[prost(message, optional, tag = "1")]
        pub address: Option<Address>,
        #[prost(string, tag = "4")]
        pub principal: String,
        #[prost(string, tag = "5")]
        pub certificate: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Address {
        #[prost(oneof = "Kind", tags = "1, 2, 3")]
        pub kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Socket(Socket),
        #[prost(bytes, tag = "2")]
        Pipe(Vec<u8>),
        #[prost(bytes, tag = "3")]
        Internal(Vec<u8>),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Socket {
        #[prost(string, tag = "2")]
        pub address: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Inner {
        #[prost(message, optional, tag = "2")]
        pub http: Option<Http>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Http {
        #[prost(string, tag = "2")]
        pub method: String,
        #[prost(map = "string, string", tag = "3")]
        pub headers: HashMap<String, String>,
        #[prost(string, tag = "4")]
        pub path: String,
        #[prost(string, tag = "5")]
        pub host: String,
        #[prost(string, tag = "7")]
        pub query: String,
        #[prost(message, optional, tag = "13")]
        pub header_map: Option<HeaderMap>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct HeaderMap {
        #[prost(message, repeated, tag = "1")]
        pub headers: Vec<Header>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Header {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(string, tag = "2")]
        pub value: String,
        #[prost(bytes = "vec", tag = "3")]
        pub raw_value: Vec<u8>,
    }
}

/// The request that such a reader makes of it.
fn described<'a>(check: &'a seen::CheckRequest, joined: &'a mut String) -> Request<'a> {
    let Some(attributes) = &check.attributes else {
        return Request::default();
    };
    let Some(http) = attributes
        .request
        .as_ref()
        .and_then(|inner| inner.http.as_ref())
    else {
        return Request::default();
    };
    let raw = http.header_map.as_ref().map_or(&[][..], |map| &map.headers);
    let raw_lines: Vec<(&str, &[u8])> = raw
        .iter()
        .map(|header| match header.raw_value.is_empty() {
            true => (header.key.as_str(), header.value.as_bytes()),
            false => (header.key.as_str(), header.raw_value.as_slice()),
        })
        .collect();
    let map = http.headers.iter();
    let joined_lines: Vec<_> = map
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let is_apart = !http.path.is_empty() && !http.path.contains('?') && !http.query.is_empty();
    let path: &str = match is_apart {
        true => {
            *joined = format!("{}?{}", http.path, http.query);
            joined
        }
        false => &http.path,
    };
    let conflict = conflict(http, path, [&raw_lines, &joined_lines]);
    let lines = if raw.is_empty() {
        joined_lines
    } else {
        raw_lines
    };
    let headers = Headers::from(lines);
    let source = attributes.source.as_ref().map(|peer| {
        let kind = peer
            .address
            .as_ref()
            .and_then(|address| address.kind.as_ref());
        request::Peer {
            address: match kind {
                Some(seen::Kind::Socket(socket)) => &socket.address,
                _ => "",
            },
            principal: &peer.principal,
            certificate: &peer.certificate,
        }
    });
    let path_line = raw
        .iter()
        .find(|header| header.key.eq_ignore_ascii_case(":path"));
    Request {
        method: &http.method,
        host: &http.host,
        path,
        path_bytes: path_line.map(|path| match path.raw_value.is_empty() {
            true => path.value.as_bytes(),
            false => path.raw_value.as_slice(),
        }),
        headers,
        source: source.unwrap_or_default(),
        context: attributes
            .context
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        conflict,
    }
}

/// What the fields and the pseudo-headers say differently.
fn conflict(http: &seen::Http, path: &str, lists: [&[(&str, &[u8])]; 2]) -> Option<Conflict> {
    if let Some((_, query)) = path.split_once('?')
        && !http.query.is_empty()
        && query != http.query
    {
        return Some(Conflict::Query);
    }
    let shown = |bytes: &[u8]| -> String {
        let chunks = bytes.utf8_chunks();
        let shown =
            chunks.map(|chunk| chunk.valid().to_owned() + &"!".repeat(chunk.invalid().len()));
        shown.collect()
    };
    for lines in lists {
        for (name, field, conflict) in [
            (":method", http.method.as_str(), Conflict::Method),
            (":authority", &http.host, Conflict::Host),
            (":path", path, Conflict::Path),
        ] {
            let names = [name, if name == ":authority" { "host" } else { name }];
            let values: BTreeSet<_> = lines
                .iter()
                .filter(|(found, _)| names.contains(&found.to_ascii_lowercase().as_str()))
                .map(|(_, value)| *value)
                .collect();
            let is_different = values.len() > 1 || values.iter().any(|value| shown(value) != field);
            if is_different && !field.is_empty() {
                return Some(conflict);
            }
        }
    }
    None
}

fn address() -> impl Strategy<Value = Address> {
    let kind = prop_oneof![
        (".{0,8}", any::<bool>()).prop_map(|(address, ipv4_compat)| {
            address::Address::SocketAddress(SocketAddress {
                address,
                ipv4_compat,
                ..SocketAddress::default()
            })
        }),
        (".{0,8}", any::<u32>())
            .prop_map(|(path, mode)| address::Address::Pipe(Pipe { path, mode })),
        ".{0,8}".prop_map(|endpoint_id| {
            address::Address::EnvoyInternalAddress(EnvoyInternalAddress {
                endpoint_id,
                ..EnvoyInternalAddress::default()
            })
        }),
    ];
    option::of(kind).prop_map(|address| Address { address })
}

fn peer() -> impl Strategy<Value = Peer> {
    (option::of(address()), ".{0,8}", ".{0,8}", ".{0,8}").prop_map(
        |(address, principal, certificate, service)| Peer {
            address,
            principal,
            certificate,
            service,
            ..Peer::default()
        },
    )
}

/// Any text, or one of those that repeat a field.
fn text(usual: &'static [&'static str], other: &'static str) -> impl Strategy<Value = String> {
    let usual = prop::sample::select(usual).prop_map(ToOwned::to_owned);
    prop_oneof![usual, other]
}

fn name() -> impl Strategy<Value = String> {
    text(
        &[":method", ":authority", "host", ":path", ":Path", "a"],
        ".{0,6}",
    )
}

fn value() -> impl Strategy<Value = String> {
    text(&["G", "/a", "/a?b", "/a!", ""], ".{0,6}")
}

fn header() -> impl Strategy<Value = HeaderValue> {
    let raw = prop_oneof![
        prop::sample::select(vec![&b"G"[..], b"/a", b"/a?b", b"/a\xe9", b""])
            .prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..6),
    ];
    (name(), value(), raw).prop_map(|(key, value, raw_value)| HeaderValue {
        key,
        value,
        raw_value,
    })
}

fn http() -> impl Strategy<Value = HttpRequest> {
    let texts = || {
        let path = prop_oneof![value(), ".{0,200}"];
        let query = text(&["", "", "b", "c"], ".{0,6}");
        (value(), value(), path, query)
    };
    let headers = hash_map(name(), prop_oneof![value(), ".{0,200}"], 0..6);
    let unused = (".{0,8}", any::<i64>(), vec(any::<u8>(), 0..8));
    (texts(), headers, option::of(vec(header(), 0..6)), unused).prop_map(
        |((method, host, path, query), headers, raw, (id, size, raw_body))| HttpRequest {
            method,
            headers,
            path,
            query,
            host,
            header_map: raw.map(|headers| HeaderMap { headers }),
            id,
            size,
            raw_body,
            ..HttpRequest::default()
        },
    )
}

fn check() -> impl Strategy<Value = CheckRequest> {
    let context: BoxedStrategy<HashMap<String, String>> =
        hash_map(".{0,6}", ".{0,6}", 0..4).boxed();
    let request = option::of(http()).prop_map(|http| attribute_context::Request {
        http,
        ..attribute_context::Request::default()
    });
    let peers = (option::of(peer()), option::of(peer()));
    let attributes = (peers, option::of(request), context).prop_map(
        |((source, destination), request, context_extensions)| AttributeContext {
            source,
            destination,
            request,
            context_extensions,
            ..AttributeContext::default()
        },
    );
    option::of(attributes).prop_map(|attributes| CheckRequest { attributes })
}

/// A request in a form that can be compared, because maps have no order.
fn shown(request: &Request<'_>) -> (String, Vec<String>, BTreeMap<String, String>) {
    let mut lines: Vec<_> = request
        .headers
        .lines()
        .map(|line| format!("{line:?}"))
        .collect();
    lines.sort();
    let context = request.context.iter();
    let context = context.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let Request {
        method,
        host,
        path,
        path_bytes,
        source,
        conflict,
        ..
    } = request;
    let rest = format!("{method:?} {host:?} {path:?} {path_bytes:?} {source:?} {conflict:?}");
    (rest, lines, context.collect())
}

fn has_repeated_headers(request: &Request<'_>) -> bool {
    let mut seen = BTreeSet::new();
    !request.headers.names().all(|name| seen.insert(name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_readers_agree(check in check()) {
        let bytes = check.encode_to_vec();
        let mut joined = [String::new(), String::new()];
        let [one, other] = &mut joined;
        let request = read(&bytes, one).unwrap();
        prop_assert_eq!(shown(&request), shown(&describe(&check, other)));
    }

    /// A damaged message is refused, or both readers read it alike.
    #[test]
    fn both_readers_agree_on_damage(
        check in check(),
        places in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = check.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        let mut joined = [String::new(), String::new()];
        let [own, others] = &mut joined;
        if let Ok(request) = read(&bytes, own) {
            let other = seen::CheckRequest::decode(bytes.as_slice());
            prop_assert!(other.is_ok(), "{:?}", other);
            // Of two headers with one name, the map keeps one; here both are visible.
            if !has_repeated_headers(&request) {
                prop_assert_eq!(shown(&request), shown(&described(&other.unwrap(), others)));
            }
        }
    }
}
