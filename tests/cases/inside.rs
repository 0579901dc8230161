//! Runs a case through the module for Envoy, in a host that keeps a record.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::request::describe;
use claimgate::ext_authz::service::Service;
use claimgate::request::without_parameters;
use claimgate_envoy::filter::{Context, Filter, Judge, Next};
use claimgate_envoy::stream::{Line, Response, Source, Stream, Wake};
use prost::Message as _;
use prost_types::Struct;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::expect::Answered;
use super::file::Expect;
use crate::support::call::Answer;

/// A status, headers and a body.
type Denied = (u16, Vec<(String, String)>, String);

/// What the filter of one stream has done.
#[derive(Default)]
struct Record {
    set: Vec<(String, String)>,
    remove: Vec<String>,
    response: Vec<(String, String)>,
    metadata: Option<Vec<u8>>,
    denied: Option<Denied>,
    resumed: usize,
}

/// A stream of the host, during one call of the filter.
struct Host<'c> {
    lines: &'c [(String, Vec<u8>)],
    source: Source<'c>,
    record: Rc<RefCell<Record>>,
    woken: Arc<Notify>,
}

struct Waker(Arc<Notify>);

impl Wake for Waker {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Stream for Host<'_> {
    type Waker = Waker;

    fn request_headers(&self) -> Vec<Line<'_>> {
        let lines = self.lines.iter();
        lines
            .map(|(name, value)| (name.as_bytes(), value.as_slice()))
            .collect()
    }

    fn source(&self) -> Source<'_> {
        self.source
    }

    fn waker(&mut self) -> Waker {
        Waker(Arc::clone(&self.woken))
    }

    fn set_request_header(&mut self, name: &str, value: &[u8]) {
        self.record.borrow_mut().set.push(pair(name, value));
    }

    fn remove_request_header(&mut self, name: &str) {
        self.record.borrow_mut().remove.push(name.to_owned());
    }

    fn set_response_header(&mut self, name: &str, value: &[u8]) {
        self.record.borrow_mut().response.push(pair(name, value));
    }

    fn set_metadata(&mut self, metadata: &[u8]) {
        let before = self.record.borrow_mut().metadata.replace(metadata.to_vec());
        assert_eq!(before, None, "metadata is set once");
    }

    fn respond(self, response: Response<'_>) {
        let Response {
            status,
            headers,
            body,
            details,
        } = response;
        assert_eq!(details, "claimgate_denied");
        let headers = headers
            .iter()
            .map(|(name, value)| pair(name, value.as_bytes()));
        let denied = (status, headers.collect(), body.to_owned());
        let before = self.record.borrow_mut().denied.replace(denied);
        assert_eq!(before, None, "a stream is answered once");
    }

    fn resume(self) {
        self.record.borrow_mut().resumed += 1;
    }
}

fn pair(name: &str, value: &[u8]) -> (String, String) {
    (name.to_owned(), String::from_utf8(value.to_vec()).unwrap())
}

/// Asks the module about the request that a check describes with raw headers.
pub async fn module(
    service: &Service,
    check: &CheckRequest,
    expect: &Expect,
) -> Result<Answered, String> {
    let mut joined = String::new();
    let request = describe(check, &mut joined);
    let lines = request.headers.lines();
    let lines: Vec<_> = lines
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect();
    let context = request.context.iter();
    let context: Context = context
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let record = Rc::<RefCell<Record>>::default();
    let woken = Arc::<Notify>::default();
    let host = || Host {
        lines: &lines,
        source: Source {
            address: request.source.address,
            principal: request.source.principal,
        },
        record: Rc::clone(&record),
        woken: Arc::clone(&woken),
    };
    let judge = Judge {
        gate: service.gate.clone(),
        runtime: Handle::current(),
    };
    let filter = Filter::new(Some(Arc::new(judge)));
    let next = filter.on_request_headers(host(), &context);
    if next == Next::Wait {
        woken.notified().await;
        filter.on_woken(host());
    }
    let is_denied = record.borrow().denied.is_some();
    let resumed = usize::from(next == Next::Wait && !is_denied);
    assert_eq!(record.borrow().resumed, resumed);
    assert_eq!(next == Next::Answered, is_denied && next != Next::Wait);
    filter.on_response_headers(host());
    let path = request.path_bytes.unwrap_or_default();
    Ok(answered(record.take(), path, expect))
}

/// In the form of the service's answers. A host is not told a gRPC code, so that is as expected.
fn answered(record: Record, path: &[u8], expect: &Expect) -> Answered {
    let Record {
        mut set,
        remove,
        response,
        metadata,
        denied,
        resumed: _,
    } = record;
    let metadata = metadata.map(|bytes| Struct::decode(bytes.as_slice()).unwrap());
    let answer = match denied {
        Some((status, headers, body)) => {
            assert_eq!((set.len(), remove.len(), response.len()), (0, 0, 0));
            Answer::Deny {
                status: status.into(),
                code: expect.code.unwrap_or(7),
                headers,
                body,
            }
        }
        None => {
            let changed = set.iter().position(|(name, _)| name == ":path");
            let changed = changed.map(|index| set.remove(index).1);
            let expected: Vec<&str> = expect.remove_query.iter().map(String::as_str).collect();
            let expected = without_parameters(path, &expected);
            let remove_query = match changed {
                Some(changed) if changed.as_bytes() == expected => expect.remove_query.clone(),
                Some(changed) => vec![format!("the path is {changed}")],
                None => Vec::new(),
            };
            Answer::Allow {
                set,
                remove,
                remove_query,
                response,
            }
        }
    };
    Answered { answer, metadata }
}
