//! Encodes answers. Most are allows for a token that was seen before. The parts of such an answer
//! that do not depend on the rule are encoded once and cached with the token.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::encode_varint;

use super::{Rendered, pass, render};
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
    } = render(answer, None);
    let metadata = metadata.map(|metadata| metadata.encode());
    let metadata = metadata.as_deref().map(|metadata| [metadata, &[]]);
    (
        message(&response.encode_to_vec(), metadata),
        oversized.len(),
    )
}

/// A message after its prefix: the answer and its metadata, which is in two parts.
fn message(response: &[u8], metadata: Option<[&[u8]; 2]>) -> Bytes {
    let of_metadata = metadata.map(|parts| parts.map(<[u8]>::len).iter().sum());
    let field = of_metadata.map_or(0, |length| 1 + prost::length_delimiter_len(length) + length);
    let length = response.len() + field;
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
    bytes.push(0); // not compressed
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(response);
    if let (Some(parts), Some(length)) = (metadata, of_metadata) {
        bytes.push(DYNAMIC_METADATA);
        encode_varint(length as u64, &mut bytes);
        for part in parts {
            bytes.extend_from_slice(part);
        }
    }
    bytes.into()
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
    let rule = metadata.map(|metadata| metadata.only_rule());
    let metadata = rule.as_deref().map(|rule| [&**entries, rule]);
    Some((message(response, metadata), *oversized))
}

fn cached_answer(pass: &Pass<'_>, metadata: Option<Metadata<'_>>) -> CachedAnswer {
    let changes = pass.changes();
    let metadata = metadata.map(|metadata| metadata.without_rule().encode());
    CachedAnswer {
        response: self::pass(pass, &changes).encode_to_vec().into(),
        metadata: metadata.unwrap_or_default().into(),
        oversized: changes.oversized.len(),
    }
}
