//! Answers as bytes. Most are about a token that was answered about before: what depends on the
//! token alone is encoded once and kept with it, and the answer is put together of that.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use prost_types::Struct;

use super::super::proto::auth::CheckResponse;
use super::super::proto::auth::check_response::HttpResponse;
use super::super::server::PREFIX_BYTES;
use super::{Rendered, allow, metadata, render};
use crate::config::Denials;
use crate::decision::{Decision, Permit};
use crate::identity::Bearer;
use crate::policy::Policy;
use crate::request::Request;
use crate::token::Notes;

/// Fields of `CheckResponse`.
const STATUS: u32 = 1;
const OK_RESPONSE: u32 = 3;
const DYNAMIC_METADATA: u32 = 4;

/// The bytes of an answer, behind the prefix that gRPC wants, and the claim headers that are removed
/// because the claim is too long for one.
pub(in crate::ext_authz) fn encode<'a>(
    decision: &'a Decision,
    policy: &'a Policy,
    denials: &Denials,
    request: &Request<'a>,
) -> (Bytes, Vec<&'a str>) {
    if let Decision::Allow(permit) = decision
        && let Some(message) = from_notes(permit, policy, request)
    {
        return (message, Vec::new());
    }
    let Rendered {
        response,
        oversized,
    } = render(decision, policy, denials, request);
    (message(&response), oversized)
}

/// A message behind its prefix.
pub(in crate::ext_authz) fn message(response: &CheckResponse) -> Bytes {
    let length = response.encoded_len();
    let mut bytes = start(length);
    response.encode_raw(&mut bytes);
    bytes.freeze()
}

fn start(length: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0); // not compressed
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes
}

/// The allow, of what was encoded before; `None` if it depends on more than the token.
fn from_notes(permit: &Permit, policy: &Policy, request: &Request<'_>) -> Option<Bytes> {
    let bearer = permit.bearer.as_ref()?;
    let upstream = policy.upstream();
    let places = policy.token_places();
    if !upstream.depends_on_bearer_alone(bearer, places, &request.headers) {
        return None;
    }
    let notes = match bearer.token.notes().get() {
        Some(notes) => notes,
        None => {
            let made = notes_of(bearer, policy, request)?;
            bearer.token.notes().get_or_init(|| made)
        }
    };
    let rule = metadata::of_rule(permit.rule, policy);
    let metadata_length = match upstream.dynamic_metadata {
        true => notes.metadata.len() + rule.encoded_len(),
        false => 0,
    };
    let field = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    let mut length = field(0) + field(notes.changes.len());
    if upstream.dynamic_metadata {
        length += field(metadata_length);
    }
    let mut bytes = start(length);
    // An empty status: OK.
    begin(&mut bytes, STATUS, 0);
    begin(&mut bytes, OK_RESPONSE, notes.changes.len());
    bytes.put_slice(&notes.changes);
    if upstream.dynamic_metadata {
        begin(&mut bytes, DYNAMIC_METADATA, metadata_length);
        bytes.put_slice(&notes.metadata);
        rule.encode_raw(&mut bytes);
    }
    Some(bytes.freeze())
}

fn begin(bytes: &mut BytesMut, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

/// `None` if a claim is too long for its header, which is to be said each time.
fn notes_of(bearer: &Bearer, policy: &Policy, request: &Request<'_>) -> Option<Notes> {
    let changes = policy
        .upstream()
        .changes(Some(bearer), policy.token_places(), request);
    if !changes.oversized.is_empty() {
        return None;
    }
    let Some(HttpResponse::OkResponse(changes)) = allow(&changes).http_response else {
        return None;
    };
    let metadata: Struct = metadata::of_bearer(bearer, policy);
    Some(Notes {
        changes: changes.encode_to_vec().into(),
        metadata: metadata.encode_to_vec().into(),
    })
}
