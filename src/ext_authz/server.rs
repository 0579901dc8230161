//! `Check` over HTTP/2: the bytes of one message in, the bytes of one out.
//!
//! INVARIANT: whatever goes wrong, the answer is a denial with RPC status OK. A gRPC error would be
//! an error to Envoy, which `failure_mode_allow` turns into an allow.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::time::{Instant, timeout_at};

use super::request;
use super::response::encoded::PREFIX_BYTES;
use super::service::Service;
use crate::http2::{Exchange, MOST_COPIED_BYTES};

/// The path of the call.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest check that is read, in bytes: headers, and nothing that claimgate has a use for.
const MOST_CHECK_BYTES: usize = 256 * 1024;

/// How long the bytes of a check may take to arrive.
const MOST_READING: Duration = Duration::from_secs(10);

/// Answers a check.
pub async fn answer((request, mut respond): Exchange, service: &Service) {
    let patience = request::timeout(request.headers()).unwrap_or(Duration::MAX);
    let arrived = Instant::now();
    let answering = async {
        let until = arrived + MOST_READING.min(patience / 2);
        let message = timeout_at(until, read(request.into_body())).await;
        let left = patience.saturating_sub(arrived.elapsed());
        service
            .answer(message.unwrap_or_default().as_deref(), left)
            .await
    };
    let answer = tokio::select! {
        biased;
        // The client does not wait any more.
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
        answer = answering => answer,
    };
    // An error means that the client has gone, or does not want the answer any more.
    let _ = send(answer, respond);
}

/// The one message of a request; `None` if it is not whole, compressed, too long or not alone.
async fn read(mut body: RecvStream) -> Option<Bytes> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        length += data.len();
        if length > PREFIX_BYTES + MOST_CHECK_BYTES {
            // The end is waited for: resets while there is more would count as misuse.
            (first, rest) = (None, BytesMut::new());
            continue;
        }
        match &first {
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
    }
    let first = first?;
    // Most come in one piece, which is used as it is.
    let mut message = match rest.is_empty() {
        true => first,
        false => [&first, &rest[..]].concat().into(),
    };
    if message.len() < PREFIX_BYTES {
        return None;
    }
    let prefix = message.split_to(PREFIX_BYTES);
    let (compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*compressed == 0 && u32::try_from(message.len()) == Ok(length)).then_some(message)
}

/// A gRPC answer of one message, its prefix included, and status OK.
fn send(mut message: Bytes, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut stream = respond.send_response(response, false)?;
    while !message.is_empty() {
        let part = message.split_to(message.len().min(MOST_COPIED_BYTES));
        stream.send_data(part, false)?;
    }
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
