//! Runs a case through the module for Envoy.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::request::describe;
use claimgate::ext_authz::service::Service;
use claimgate::request::without_parameters;
use claimgate_envoy::filter::{Context, Filter, Judge, Next};
use claimgate_envoy::stream::Source;
use prost::Message as _;
use prost_types::Struct;
use tokio::runtime::Handle;

use super::expect::Answered;
use super::file::Expect;
use crate::support::call::Answer;
use crate::support::host::{Host, Record, Wakers, borrowed};

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
    // As Envoy shows it.
    let address = match request.source.address.parse() {
        Ok(ip) => SocketAddr::new(ip, 49_152).to_string(),
        Err(_) => request.source.address.to_owned(),
    };
    let record = Rc::<RefCell<Record>>::default();
    let wakers = Arc::<Wakers>::default();
    let host = || Host {
        lines: borrowed(&lines),
        source: Source {
            address: &address,
            principal: request.source.principal.into(),
        },
        record: Rc::clone(&record),
        wakers: Arc::clone(&wakers),
        refused: "",
        fuse: Arc::default(),
    };
    let judge = Judge {
        gate: service.gate.clone(),
        runtime: Handle::current(),
    };
    let filter = Filter::new(Some(Arc::new(judge)));
    let next = filter.on_request_headers(host(), &context);
    if next == Next::Wait {
        wakers.woken.notified().await;
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
