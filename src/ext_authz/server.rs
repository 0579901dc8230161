//! `Check` over HTTP/2: the bytes of one message in, the bytes of one out.
//!
//! INVARIANT: whatever goes wrong, the answer is a denial with RPC status OK. A gRPC error would be
//! an error to Envoy, which `failure_mode_allow` turns into an allow.

use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::request;
use super::response::encoded::PREFIX_BYTES;
use super::service::Service;
use crate::decision::{Fault, Unreadable};
use crate::http2::HandlerResult;
use crate::http2::body::Body;
use crate::http2::budget::{Budget, Evicted, Share};

/// The path of the call.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest check that is read, in bytes: headers, and nothing that claimgate has a use for.
const MAX_CHECK_BYTES: usize = 256 * 1024;

/// How long the bytes of a check may take to arrive.
const MAX_READING: Duration = Duration::from_secs(10);

/// How long a client may take to read the answer.
const MAX_SENDING: Duration = Duration::from_secs(10);

/// Answers a check.
///
/// # Errors
///
/// When the client does not want the answer any more.
pub async fn answer(
    request: Request<Incoming>,
    service: &Service,
    budget: &Budget,
) -> HandlerResult {
    let time_left = request::timeout(request.headers()).unwrap_or(Duration::MAX);
    let encoding = Encoding::of(request.headers());
    let arrived = Instant::now();
    let mut share = budget.share();
    let until = arrived + MAX_READING.min(time_left / 2);
    let reading = read(request.into_body(), encoding, &mut share);
    let check = match timeout_at(until, reading).await {
        Ok(Err(Unread::Cancelled)) => return Err(Reason::CANCEL.into()),
        Ok(Err(Unread::Fault(fault))) => Err(fault),
        Ok(Ok(check)) => Ok(check),
        Err(_) => Err(Fault::CheckUnreadable(Unreadable::Late)),
    };
    let left = time_left.saturating_sub(arrived.elapsed());
    let bytes = check.as_ref().map_or(0, Bytes::len);
    let answer = pin!(service.answer(check.as_deref(), left));
    let answer = match share.wait(bytes, answer).await {
        Ok(answer) => answer,
        Err(Evicted) => service.answer(Err(&Fault::Overloaded), left).await,
    };
    let mut response = Response::new(Body::message(answer, MAX_SENDING));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    Ok(response)
}

/// Why there is no message.
enum Unread {
    /// The client took its request back, or has gone: nothing is judged or counted.
    Cancelled,
    Fault(Fault),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The message of a request, decompressed.
async fn read(body: Incoming, encoding: Encoding, share: &mut Share<'_>) -> Result<Bytes, Unread> {
    let mut message = receive(body, share).await?;
    if message.len() < PREFIX_BYTES {
        return Err(Fault::CheckUnreadable(Unreadable::NotOneMessage).into());
    }
    let prefix = message.split_to(PREFIX_BYTES);
    let is_whole = |length: &[u8]| {
        let length = length.try_into().map(u32::from_be_bytes);
        length.ok() == u32::try_from(message.len()).ok()
    };
    match prefix.split_first() {
        Some((0, length)) if is_whole(length) => Ok(message),
        Some((1, length)) if is_whole(length) => Ok(encoding.decompress(&message)?),
        _ => Err(Fault::CheckUnreadable(Unreadable::NotOneMessage).into()),
    }
}

/// All bytes of a request.
async fn receive(mut body: Incoming, share: &mut Share<'_>) -> Result<Bytes, Unread> {
    let mut message = BytesMut::new();
    let mut length = 0;
    let is_too_long = |length| length > PREFIX_BYTES + MAX_CHECK_BYTES;
    loop {
        let frame = share.wait(message.len(), pin!(body.frame())).await;
        let Some(frame) = frame.map_err(|Evicted| Fault::Overloaded)? else {
            break;
        };
        let Ok(data) = frame.map_err(|_| Unread::Cancelled)?.into_data() else {
            // Trailers mean nothing.
            continue;
        };
        length += data.len();
        if is_too_long(length) {
            // The end is waited for: resets while there is more would count as misuse.
            message = BytesMut::new();
            continue;
        }
        // Most come in one piece, which is used as it is. Of others no piece is kept: it may be a
        // small part of a large buffer.
        if message.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        message.extend_from_slice(&data);
    }
    match is_too_long(length) {
        true => Err(Fault::CheckTooLarge(MAX_CHECK_BYTES).into()),
        false => Ok(message.freeze()),
    }
}

/// How messages are compressed that say that they are (gRPC over HTTP/2, `Message-Encoding`).
#[derive(Clone, Copy)]
enum Encoding {
    Gzip,
    Deflate,
    Unknown,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            Some(b"gzip") => Self::Gzip,
            Some(b"deflate") => Self::Deflate,
            _ => Self::Unknown,
        }
    }

    /// The message, which is no longer than any other may be.
    fn decompress(self, compressed: &[u8]) -> Result<Bytes, Fault> {
        match self {
            Self::Gzip => inflate(MultiGzDecoder::new(compressed)),
            // To gRPC, as to HTTP, that is the format of zlib.
            Self::Deflate => inflate(ZlibDecoder::new(compressed)),
            Self::Unknown => Err(Fault::CheckUnreadable(Unreadable::Encoding)),
        }
    }
}

fn inflate(decoder: impl Read) -> Result<Bytes, Fault> {
    let mut message = Vec::new();
    decoder
        .take(MAX_CHECK_BYTES as u64 + 1)
        .read_to_end(&mut message)
        .map_err(|_| Fault::CheckUnreadable(Unreadable::Compressed))?;
    match message.len() > MAX_CHECK_BYTES {
        true => Err(Fault::CheckTooLarge(MAX_CHECK_BYTES)),
        false => Ok(message.into()),
    }
}
