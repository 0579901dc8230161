//! What a decision does to a stream: the changes of an allow, or the response of a denial.
//!
//! INVARIANT: only [`Reply::of`] makes a [`Reply::Pass`], and only from a [`Pass`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::request::Description;
use crate::stream::{Response, Source, Stream};
use claimgate_core::answer::{Answer, DirectResponse, Metadata, Pass};
use claimgate_core::identity::{CachedAnswer, Changes, KnownToken};
use claimgate_core::request::{Request, without_parameters};
use claimgate_gate::{Gate, Judged};

/// The word in the host's access log for a response of this module.
const DENIED: &str = "claimgate_denied";

/// What happens to a stream.
#[derive(Debug)]
pub enum Reply {
    /// The request passes, with changes.
    Pass(PassReply),
    /// The stream ends with this response.
    Direct(DirectReply),
}

/// A request that passes.
#[derive(Debug)]
pub struct PassReply {
    changes: Encoded,
    /// The path without the query parameters that the upstream must not see.
    path: Option<Vec<u8>>,
    /// The rule, as metadata. `None` if nothing is published.
    rule: Option<Vec<u8>>,
}

/// The changes of an allow, and its metadata without the rule.
#[derive(Debug)]
enum Encoded {
    /// Cached with the token.
    Cached(Arc<KnownToken>),
    Own(CachedAnswer),
}

/// A response in place of the upstream's.
#[derive(Debug)]
pub struct DirectReply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    metadata: Option<Vec<u8>>,
    /// Whether it is still to be said in gRPC's terms if the client speaks gRPC.
    is_failure: bool,
}

impl Reply {
    /// What follows from a decision. Counts headers that are not set because their claim is too long.
    pub fn of(gate: &Gate, judged: &Judged, request: &Request<'_>) -> Self {
        let metadata = judged.metadata();
        match judged.answer(request) {
            Answer::Pass(pass) => Self::Pass(PassReply::of(gate, &pass, metadata, request)),
            Answer::Direct(direct) => Self::Direct(DirectReply::of(direct, metadata)),
        }
    }
}

impl PassReply {
    fn of(
        gate: &Gate,
        pass: &Pass<'_>,
        metadata: Option<Metadata<'_>>,
        request: &Request<'_>,
    ) -> Self {
        let rule = metadata.map(|metadata| metadata.only_rule());
        if let Some(known) = cached(pass, metadata) {
            let oversized = known.answer.get().map_or(0, |answer| answer.oversized);
            gate.note_oversized(oversized, || names(&pass.changes()));
            return Self {
                changes: Encoded::Cached(known),
                path: None,
                rule,
            };
        }
        let changes = pass.changes();
        gate.note_oversized(changes.oversized.len(), || names(&changes));
        let path = (!changes.remove_query.is_empty()).then(|| {
            let sent = request.path_bytes.unwrap_or(request.path.as_bytes());
            without_parameters(sent, &changes.remove_query)
        });
        Self {
            changes: Encoded::Own(encode(&changes, metadata)),
            path,
            rule,
        }
    }

    /// Changes the request. Returns what must be changed in the response. `None` if the changes cannot
    /// be read or made, which never happens: then the request must not pass.
    #[must_use]
    pub fn apply(&self, stream: &mut impl Stream) -> Option<ResponseChanges> {
        let answer = match &self.changes {
            Encoded::Cached(known) => known.answer.get()?,
            Encoded::Own(answer) => answer,
        };
        if let Some(rule) = &self.rule {
            stream.set_metadata(&[&*answer.metadata, rule].concat());
        }
        let mut in_response = Vec::new();
        let mut changes = Decoder(&answer.response);
        while !changes.0.is_empty() {
            match changes.next()? {
                Change::Set(name, value) => stream.set_request_header(name, value).then_some(())?,
                Change::Remove(name) => stream.remove_request_header(name).then_some(())?,
                Change::SetInResponse(name, value) => {
                    in_response.push((name.to_owned(), value.to_vec()));
                }
            }
        }
        if let Some(path) = &self.path {
            stream.set_request_header(":path", path).then_some(())?;
        }
        Some(ResponseChanges(in_response))
    }
}

/// Headers to set on the response of the upstream.
#[derive(Debug, Default)]
pub struct ResponseChanges(Vec<(String, Vec<u8>)>);

impl ResponseChanges {
    /// Changes the response.
    pub fn apply(&self, stream: &mut impl Stream) {
        for (name, value) in &self.0 {
            stream.set_response_header(name, value);
        }
    }
}

impl DirectReply {
    fn of(direct: DirectResponse<'_>, metadata: Option<Metadata<'_>>) -> Self {
        let DirectResponse {
            code: _,
            message: _,
            status,
            headers,
            body,
        } = direct;
        Self {
            status,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect(),
            body: body.into_owned(),
            metadata: metadata.map(|metadata| metadata.encode()),
            is_failure: false,
        }
    }

    /// The response to a request that nothing can judge. It says no more than the status does.
    pub fn failed() -> Self {
        Self {
            status: 500,
            headers: Vec::new(),
            body: String::new(),
            metadata: None,
            is_failure: true,
        }
    }

    /// Ends the stream.
    pub fn send(&self, mut stream: impl Stream) {
        if let Some(metadata) = &self.metadata {
            stream.set_metadata(metadata);
        }
        let mut headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // Without it, Envoy tells a gRPC client that all is well.
        if self.is_failure && is_grpc(&stream) {
            headers.push(("grpc-status", INTERNAL));
        }
        stream.respond(Response {
            status: self.status,
            headers: &headers,
            body: &self.body,
            details: DENIED,
        });
    }
}

/// gRPC's status for a fault of the server.
const INTERNAL: &str = "13";

/// Whether the client speaks gRPC. After a failure, reading the headers may fail, too.
fn is_grpc(stream: &impl Stream) -> bool {
    let is_grpc = catch_unwind(AssertUnwindSafe(|| {
        let lines = stream.request_headers().unwrap_or_default();
        let described = Description::read(&lines, &Source::default());
        described.is_ok_and(|described| described.request(&[]).is_grpc())
    }));
    is_grpc.unwrap_or(false)
}

/// The token, if the answer depends on nothing else but the rule and is cached with it.
fn cached(pass: &Pass<'_>, metadata: Option<Metadata<'_>>) -> Option<Arc<KnownToken>> {
    if !pass.depends_on_bearer_alone() {
        return None;
    }
    let known = &pass.permit().bearer()?.known;
    if known.answer.get().is_none() {
        let changes = pass.changes();
        let answer = encode(&changes, metadata);
        if !changes.remove_query.is_empty() || answer.bytes() > known.room_for_answer() {
            return None;
        }
        known.answer.get_or_init(|| answer);
    }
    Some(Arc::clone(known))
}

fn names(changes: &Changes<'_>) -> Vec<String> {
    changes.oversized.iter().map(ToString::to_string).collect()
}

/// A change, in the encoding of this transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change<'a> {
    Set(&'a str, &'a [u8]),
    Remove(&'a str),
    SetInResponse(&'a str, &'a [u8]),
}

/// The first byte of each kind of change.
const SET: u8 = 0;
const REMOVE: u8 = 1;
const SET_IN_RESPONSE: u8 = 2;

/// Encodes changes other than those of the query, in the order in which Envoy makes them: each is its
/// kind, and then name and value, with the length of each before it.
fn encode(changes: &Changes<'_>, metadata: Option<Metadata<'_>>) -> CachedAnswer {
    let Changes {
        set,
        remove,
        remove_query: _,
        response,
        oversized,
    } = changes;
    let mut bytes = Vec::new();
    let mut put = |kind, name: &str, value: &str| {
        bytes.push(kind);
        for part in [name, value] {
            bytes.extend(part.len().to_le_bytes());
            bytes.extend(part.bytes());
        }
    };
    for (name, value) in set {
        put(SET, name, value);
    }
    for name in remove {
        put(REMOVE, name, "");
    }
    for (name, value) in response {
        put(SET_IN_RESPONSE, name, value);
    }
    let metadata = metadata.map(|metadata| metadata.without_rule().encode());
    CachedAnswer {
        response: bytes.into(),
        metadata: metadata.unwrap_or_default().into(),
        oversized: oversized.len(),
    }
}

/// Reads what [`encode`] wrote.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// The next change. `None` if it cannot be read.
    fn next(&mut self) -> Option<Change<'a>> {
        let (kind, rest) = self.0.split_first()?;
        self.0 = rest;
        let name = str::from_utf8(self.part()?).ok()?;
        let value = self.part()?;
        match *kind {
            SET => Some(Change::Set(name, value)),
            REMOVE => Some(Change::Remove(name)),
            SET_IN_RESPONSE => Some(Change::SetInResponse(name, value)),
            _ => None,
        }
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::from_le_bytes(*length))?;
        self.0 = rest;
        Some(part)
    }
}
