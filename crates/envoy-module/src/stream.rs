//! What the filter needs from its host. Envoy implements it, and so do the tests.

use std::borrow::Cow;

/// The request and the response of one HTTP stream.
pub trait Stream {
    /// What resumes the stream from another thread.
    type Waker: Wake;

    /// Every line of the request's headers, pseudo-headers included, in order. `None` if the host does
    /// not tell.
    fn request_headers(&self) -> Option<Vec<Line<'_>>>;

    /// The sender of the request.
    fn source(&self) -> Source<'_>;

    /// What resumes this stream: after [`Wake::wake`], the host calls the filter again.
    fn waker(&mut self) -> Self::Waker;

    /// Replaces every value that the request has under the name. Whether the host has done it.
    #[must_use]
    fn set_request_header(&mut self, name: &str, value: &[u8]) -> bool;

    /// Removes every value that the request has under the name. Whether the host has done it.
    #[must_use]
    fn remove_request_header(&mut self, name: &str) -> bool;

    /// Replaces every value that the response has under the name.
    fn set_response_header(&mut self, name: &str, value: &[u8]);

    /// Publishes metadata for the host's other filters, as the bytes of a `google.protobuf.Struct`. No
    /// host tells whether that worked.
    fn set_metadata(&mut self, metadata: &[u8]);

    /// Answers in place of the upstream. The stream may be gone when this returns.
    fn respond(self, response: Response<'_>);

    /// Lets a request pass that was stopped. The stream may be gone when this returns.
    fn resume(self);
}

/// Resumes a stream from another thread. Does nothing if the stream is gone.
pub trait Wake: Send + 'static {
    /// Makes the host call the filter again, on the thread of the stream.
    fn wake(&self);
}

/// A header line: its name and its value.
pub type Line<'a> = (&'a [u8], &'a [u8]);

/// The other end of the connection. What the host does not know is empty.
#[derive(Clone, Debug, Default)]
pub struct Source<'a> {
    /// The IP address and the port. The port is 0 if the address is not that of the connection, but
    /// what a header claims.
    pub address: &'a str,
    /// The name in its TLS certificate: the first URI SAN, else the first DNS SAN, else the subject.
    pub principal: Cow<'a, str>,
}

/// A response in place of the upstream's.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The headers. A name may occur more than once.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a str,
    /// Why it is sent, for the host's access log: one word.
    pub details: &'a str,
}
