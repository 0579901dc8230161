//! Encodes answers. Most are allows for a token that was seen before. The parts of such an answer
//! that do not depend on the rule are encoded once and cached with the token.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Struct;

use super::super::proto::auth::CheckResponse;
use super::{Rendered, metadata, pass, render};
use crate::answer::{Answer, Metadata, Pass};
use crate::identity::CachedAnswer;

/// The size in bytes of the prefix of each message (gRPC over HTTP/2, `Length-Prefixed-Message`):
/// the compression flag and the length.
pub(in crate::ext_authz) const PREFIX_BYTES: usize = 5;

/// The key of `CheckResponse.dynamic_metadata`: field 4, followed by its length.
const DYNAMIC_METADATA: u8 = 4 << 3 | 2;

/// The bytes of an answer after gRPC's prefix, and the number of headers that are not set because
/// their claim is too long.
pub(in crate::ext_authz) fn encode(
    answer: Answer<'_>,
    metadata: Option<Metadata<'_>>,
) -> (Bytes, usize) {
    if let Answer::Pass(pass) = &answer
        && let Some(answer) = cached(pass, metadata)
    {
        return answer;
    }
    let Rendered {
        response,
        oversized,
    } = render(answer, metadata);
    (message(&response), oversized.len())
}

/// A message after its prefix.
fn message(response: &CheckResponse) -> Bytes {
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

/// The allow, from its cached parts. `None` if it depends on more than the token and the rule, or
/// is too large to cache.
fn cached(pass: &Pass<'_>, metadata: Option<Metadata<'_>>) -> Option<(Bytes, usize)> {
    if !pass.depends_on_bearer_alone() {
        return None;
    }
    let known = &pass.permit().bearer()?.known;
    let answer = match known.answer.get() {
        Some(answer) => answer,
        None => {
            let answer = cached_answer(pass, metadata);
            if answer.bytes() > known.room_for_answer() {
                return None;
            }
            known.answer.get_or_init(|| answer)
        }
    };
    let CachedAnswer {
        response,
        metadata: entries,
        oversized,
    } = answer;
    let Some(metadata) = metadata else {
        let mut bytes = start(response.len());
        bytes.extend_from_slice(response);
        return Some((bytes.into(), *oversized));
    };
    let rule = metadata.rule().map(|rule| metadata::one("rule", rule));
    let rule = rule.unwrap_or_default();
    let length = entries.len() + rule.encoded_len();
    let mut bytes = start(response.len() + 1 + prost::length_delimiter_len(length) + length);
    bytes.extend_from_slice(response);
    bytes.push(DYNAMIC_METADATA);
    // The buffer is large enough for everything.
    prost::encode_length_delimiter(length, &mut bytes).ok()?;
    bytes.extend_from_slice(entries);
    rule.encode_raw(&mut bytes);
    Some((bytes.into(), *oversized))
}

fn cached_answer(pass: &Pass<'_>, metadata: Option<Metadata<'_>>) -> CachedAnswer {
    let changes = pass.changes();
    let metadata = metadata.map(|metadata| metadata::to_struct(&metadata.without_rule()));
    CachedAnswer {
        response: self::pass(pass, &changes).encode_to_vec().into(),
        metadata: metadata
            .as_ref()
            .map(Struct::encode_to_vec)
            .unwrap_or_default()
            .into(),
        oversized: changes.oversized.len(),
    }
}
