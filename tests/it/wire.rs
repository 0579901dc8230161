//! Checks are read where they stand, to the same request as the generated types would be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use claimgate::ext_authz::proto::auth::attribute_context::{self, HttpRequest, Peer};
use claimgate::ext_authz::proto::auth::{AttributeContext, CheckRequest};
use claimgate::ext_authz::proto::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, SocketAddress,
};
use claimgate::ext_authz::request::describe;
use claimgate::ext_authz::wire::read;
use claimgate::request::Request;
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

fn peer() -> impl Strategy<Value = Peer> {
    (option::of(option::of(".{0,8}")), ".{0,8}", ".{0,8}").prop_map(
        |(address, principal, certificate)| Peer {
            address: address.map(|socket| Address {
                socket_address: socket.map(|address| SocketAddress { address }),
            }),
            principal,
            certificate,
        },
    )
}

fn header() -> impl Strategy<Value = HeaderValue> {
    (".{0,6}", ".{0,6}", vec(any::<u8>(), 0..6)).prop_map(|(key, value, raw_value)| HeaderValue {
        key,
        value,
        raw_value,
    })
}

fn http() -> impl Strategy<Value = HttpRequest> {
    let texts = || (".{0,8}", ".{0,8}", ".{0,200}");
    let headers = hash_map(".{0,6}", ".{0,200}", 0..6);
    (texts(), headers, option::of(vec(header(), 0..6))).prop_map(
        |((method, host, path), headers, raw)| HttpRequest {
            method,
            headers,
            path,
            host,
            header_map: raw.map(|headers| HeaderMap { headers }),
        },
    )
}

fn check() -> impl Strategy<Value = CheckRequest> {
    let context: BoxedStrategy<HashMap<String, String>> =
        hash_map(".{0,6}", ".{0,6}", 0..4).boxed();
    let request = option::of(http()).prop_map(|http| attribute_context::Request { http });
    let attributes = (option::of(peer()), option::of(request), context).prop_map(
        |(source, request, context_extensions)| AttributeContext {
            source,
            request,
            context_extensions,
        },
    );
    option::of(attributes).prop_map(|attributes| CheckRequest { attributes })
}

/// A request in a form in which two can be compared: maps have no order.
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
        ..
    } = request;
    let rest = format!("{method:?} {host:?} {path:?} {path_bytes:?} {source:?}");
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
        let request = read(&bytes).unwrap();
        prop_assert_eq!(shown(&request), shown(&describe(&check)));
    }

    /// What is damaged is refused, or is read by both, and alike.
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
        if let Ok(request) = read(&bytes) {
            let generated = CheckRequest::decode(bytes.as_slice());
            prop_assert!(generated.is_ok(), "{:?}", generated);
            // Of two headers of one name, the generated map keeps one; here both are seen.
            if !has_repeated_headers(&request) {
                prop_assert_eq!(shown(&request), shown(&describe(&generated.unwrap())));
            }
        }
    }
}
