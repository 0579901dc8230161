//! One HTTP request to a server of claimgate.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::Failure;

/// The time limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The status and the body of the answer.
///
/// # Errors
///
/// A [`hyper::Error`] if no head of an answer of HTTP/1 came.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<String>,
) -> Result<(StatusCode, Bytes), Failure> {
    let answered = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = match sender.send_request(request).await {
            Ok(answer) => answer,
            // The connection had ended before, and knows why. One that has not ended may never do so.
            Err(error) if error.is_canceled() && connection.is_finished() => match connection.await
            {
                Ok(Err(why)) => return Err(why.into()),
                Ok(Ok(())) | Err(_) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| format!("the answer ended early: {error}"))?;
        Ok((status, body.to_bytes()))
    };
    timeout(TIMEOUT, answered)
        .await
        .unwrap_or_else(|_| Err("no answer".into()))
}
