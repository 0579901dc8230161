//! Serves `Check` over HTTP/2: the bytes of one message in, the bytes of one out.
//!
//! INVARIANT: every failure is answered by a denial with RPC status OK. Envoy would treat a gRPC
//! error as an outage, which `failure_mode_allow` turns into an allow.

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

/// The path of the `Check` call.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The maximum size of a check, in bytes. Of the fields that claimgate reads, only headers are
/// long, and Envoy accepts 60 KiB of them by default.
const MAX_CHECK_BYTES: usize = 256 * 1024;

/// The time limit for a check to arrive.
const MAX_READING: Duration = Duration::from_secs(10);

/// The time limit for a client to read the answer.
const MAX_SENDING: Duration = Duration::from_secs(10);

/// Answers a check.
///
/// # Errors
///
/// Fails if the client cancels the request.
pub async fn answer(
    request: Request<Incoming>,
    service: &Service,
    budget: &Budget,
) -> HandlerResult {
    let _in_flight = service.gate.metrics.in_flight();
    let time_left = request::timeout(request.headers()).unwrap_or(Duration::MAX);
    let encoding = Encoding::of(request.headers());
    let caller = service.caller(request.headers());
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
    let answer = pin!(service.answer_to(caller, check.as_deref(), left));
    let answer = match share.wait(bytes, answer).await {
        Ok(answer) => answer,
        Err(Evicted) => {
            let overloaded = Err(&Fault::Overloaded);
            service.answer_to(caller, overloaded, left).await
        }
    };
    let mut response = Response::new(Body::message(answer, MAX_SENDING));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    Ok(response)
}

/// Why no message was read.
enum Unread {
    /// The client cancelled the request or disconnected. Nothing is judged or counted.
    Cancelled,
    Fault(Fault),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Reads the message of a request, decompressed.
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

/// Reads all bytes of a request.
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
            // Trailers are ignored.
            continue;
        };
        length += data.len();
        if is_too_long(length) {
            // Reads to the end, because a reset before it would count as misuse.
            message = BytesMut::new();
            continue;
        }
        // Most checks arrive in one piece, which is used without copying. Otherwise pieces are
        // copied, because each may be a small part of a large buffer.
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

/// The compression of messages that are flagged as compressed (gRPC over HTTP/2,
/// `Message-Encoding`).
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

    /// Decompresses a message, up to the size limit of every check.
    fn decompress(self, compressed: &[u8]) -> Result<Bytes, Fault> {
        match self {
            Self::Gzip => inflate(MultiGzDecoder::new(compressed)),
            // In gRPC, as in HTTP, `deflate` means the zlib format.
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
