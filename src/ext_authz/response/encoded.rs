//! Answers as bytes. Most are about a token that was answered about before: the headers that it
//! makes are encoded once and kept with it, and the answer is put together of those.

use bytes::Bytes;
use prost::Message as _;

use super::super::proto::auth::CheckResponse;
use super::structs::{begin, field, key};
use super::{Rendered, metadata, ok_response, rendered};
use crate::answer::denials::Denials;
use crate::answer::{Answer, Metadata, Pass};
use crate::decision::Decision;
use crate::policy::Policy;
use crate::request::Request;
use crate::token::{Notes, VerifiedToken};

/// What stands before each message (gRPC over HTTP/2, `Length-Prefixed-Message`): whether it is
/// compressed, and its length.
pub(in crate::ext_authz) const PREFIX_BYTES: usize = 5;

/// Fields of `CheckResponse`.
const STATUS: u8 = key(1);
const OK_RESPONSE: u8 = key(3);
const DYNAMIC_METADATA: u8 = key(4);

/// The bytes of an answer, behind the prefix that gRPC wants, and how many headers are not set because
/// the claim is too long for one.
pub(in crate::ext_authz) fn encode(
    decision: &Decision,
    policy: &Policy,
    denials: &Denials,
    request: &Request<'_>,
) -> (Bytes, usize) {
    let answer = Answer::to(decision, policy, denials, request);
    if let Answer::Pass(pass) = &answer
        && let Some(answer) = from_notes(pass, decision)
    {
        return answer;
    }
    let Rendered {
        response,
        oversized,
    } = rendered(answer, decision, policy);
    (message(&response), oversized.len())
}

/// A message behind its prefix.
pub(in crate::ext_authz) fn message(response: &CheckResponse) -> Bytes {
    let length = response.encoded_len();
    let mut bytes = start(length);
    response.encode_raw(&mut bytes);
    bytes.into()
}

fn start(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
    bytes.push(0); // not compressed
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes
}

/// The allow, of what was encoded before; `None` if it depends on more than the token.
fn from_notes(pass: &Pass<'_>, decision: &Decision) -> Option<(Bytes, usize)> {
    if !pass.depends_on_bearer_alone() {
        return None;
    }
    let policy = pass.policy();
    let metadata = Metadata::of(decision, policy);
    let metadata = policy.upstream().dynamic_metadata.then_some(metadata);
    let token = &pass.permit().bearer()?.token;
    let notes = match token.notes().get() {
        Some(notes) => notes,
        None => {
            let made = notes_of(pass, token, metadata.as_ref())?;
            token.notes().get_or_init(|| made)
        }
    };
    let metadata = metadata.map(|metadata| (metadata, metadata::len(&metadata, &notes.lengths)));
    let mut length = field(0) + field(notes.changes.len());
    length += metadata.map_or(0, |(_, length)| field(length));
    let mut bytes = start(length);
    // An empty status: OK.
    begin(STATUS, 0, &mut bytes);
    begin(OK_RESPONSE, notes.changes.len(), &mut bytes);
    bytes.extend_from_slice(&notes.changes);
    if let Some((metadata, length)) = metadata {
        begin(DYNAMIC_METADATA, length, &mut bytes);
        metadata::put_all(&metadata, &notes.lengths, &mut bytes);
    }
    Some((bytes.into(), notes.oversized))
}

/// `None` if the notes are longer than what the token's memory was counted with.
fn notes_of(
    pass: &Pass<'_>,
    token: &VerifiedToken,
    metadata: Option<&Metadata<'_>>,
) -> Option<Notes> {
    let changes = pass.changes();
    let notes = Notes {
        changes: ok_response(&changes).encode_to_vec().into(),
        oversized: changes.oversized.len(),
        lengths: metadata.map(metadata::measure_claims).unwrap_or_default(),
    };
    (notes.bytes() <= token.room_for_notes()).then_some(notes)
}
