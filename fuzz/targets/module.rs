//! Bytes as the request of one stream, and as what happens to it in the module for Envoy. Nothing panics, the answer is
//! that of the service, and a request that passes carries no claim header and no token of the client.
//!
//! The first byte chooses a token, the second what happens. The rest is an `Input`.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use claimgate::config::Config;
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::auth::{CheckRequest, CheckResponse};
use claimgate::ext_authz::proto::envoy::config::core::v3::{
    HeaderMap, HeaderValue, HeaderValueOption,
};
use claimgate::ext_authz::request::compose;
use claimgate::ext_authz::service::Service;
use claimgate::gate::Gate;
use claimgate::request::Request;
use claimgate::time::{Clock, UnixTime};
use claimgate_envoy::filter::{Context, Filter, Judge, Next};
use claimgate_envoy::request::Description;
use claimgate_envoy::stream::Line;
use claimgate_fuzz::host::{Fuse, Host, Record, Waker, Wakers};
use claimgate_fuzz::input::Input;
use claimgate_fuzz::{GATE, NOW};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost_types::Struct;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

thread_local! {
    static INSIDE: Inside = Inside::start();
}

fuzz_target!(|data: &[u8]| {
    let [token, events, text @ ..] = data else {
        return;
    };
    let input = Input::read(&GATE.good, *token, text);
    INSIDE.with(|inside| inside.check(&input, *events));
});

/// The module and the service, each with its own gate: a gate caches answers in the form of one of them.
struct Inside {
    runtime: Runtime,
    judge: Arc<Judge>,
    service: Service,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(NOW)
    }
}

impl Inside {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let gate = || {
            let config = Config::from_yaml(&GATE.config).unwrap();
            runtime.block_on(Gate::start(config, Arc::new(Still)))
        };
        let judge = Judge {
            gate: gate(),
            runtime: runtime.handle().clone(),
        };
        Self {
            judge: Arc::new(judge),
            service: Service { gate: gate() },
            runtime,
        }
    }

    fn check(&self, input: &Input, events: u8) {
        let exchange = Exchange::new(input, Some(Arc::clone(&self.judge)));
        let Some(record) = self.runtime.block_on(exchange.run(events)) else {
            return;
        };
        let lines = input.lines();
        let Ok(described) = Description::read(&lines, &input.source()) else {
            let (status, ..) = record.denied.unwrap();
            assert!(matches!(status, 400 | 413), "{status}");
            return;
        };
        if record.denied.is_none() {
            is_clean_after(input, &record);
        }
        let check = check_of(&described.request(&input.context), &lines);
        let bytes = check.encode_to_vec();
        let answering = self.service.answer(Ok(&bytes), Duration::MAX);
        let answer = self.runtime.block_on(answering);
        is_same(
            record,
            CheckResponse::decode(&answer[PREFIX_BYTES..]).unwrap(),
        );
    }
}

/// What gRPC puts before a message.
const PREFIX_BYTES: usize = 5;

/// The check that Envoy's `ext_authz` would send.
fn check_of(request: &Request<'_>, lines: &[Line<'_>]) -> CheckRequest {
    let mut check = compose(request);
    let headers = lines.iter().map(|(name, value)| HeaderValue {
        key: str::from_utf8(name).unwrap().to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    });
    let attributes = check.attributes.as_mut().unwrap();
    let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
    http.header_map = Some(HeaderMap {
        headers: headers.collect(),
    });
    check
}

/// The module did to the stream what the service tells Envoy to do.
fn is_same(record: Record, answer: CheckResponse) {
    let metadata = record.metadata.as_deref().map(Struct::decode);
    assert_eq!(metadata.map(Result::unwrap), answer.dynamic_metadata);
    match answer.http_response.unwrap() {
        HttpResponse::OkResponse(ok) => {
            assert_eq!(record.denied, None);
            assert_eq!(record.set, pairs(ok.headers));
            assert_eq!(record.remove, ok.headers_to_remove);
            assert_eq!(record.response, pairs(ok.response_headers_to_add));
            assert_eq!(ok.query_parameters_to_remove, [""; 0]);
        }
        HttpResponse::DeniedResponse(denied) => {
            let status = denied.status.unwrap().code.try_into().unwrap();
            let expected = (status, pairs(denied.headers), denied.body);
            assert_eq!(record.denied.map(without_id), Some(without_id(expected)));
        }
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    }
}

/// A status, headers and a body.
type Denied = (u16, Vec<(String, String)>, String);

/// Of a request that has no usable id, the id is random.
fn without_id((status, mut headers, mut body): Denied) -> Denied {
    if let Some((_, id)) = headers.iter_mut().find(|(name, _)| name == "x-request-id") {
        body = body.replace(id.as_str(), "");
        id.clear();
    }
    (status, headers, body)
}

fn pairs(options: Vec<HeaderValueOption>) -> Vec<(String, String)> {
    options
        .into_iter()
        .map(|option| option.header.unwrap())
        .map(|header| (header.key, header.value))
        .collect()
}

/// The request that passes has only claim headers of claimgate, and no token.
fn is_clean_after(input: &Input, record: &Record) {
    let is_changed = |name: &str| {
        record.remove.iter().any(|removed| removed == name)
            || record.set.iter().any(|(set, _)| set == name)
    };
    for (name, value) in &input.lines {
        if is_changed(name) {
            continue;
        }
        let spelled = name.to_lowercase().replace('_', "-");
        assert!(!CLAIM_HEADERS.contains(&spelled.as_str()), "{name} passes");
        let is_token = |good: &String| {
            let mut windows = value.windows(good.len());
            windows.any(|window| window == good.as_bytes())
        };
        let has_token = name == "authorization" && GATE.good.iter().any(is_token);
        assert!(!has_token, "a token passes");
    }
}

/// What the configuration sets from claims.
const CLAIM_HEADERS: [&str; 4] = [
    "x-auth-subject",
    "x-auth-roles",
    "x-auth-scope",
    "x-auth-claims",
];

/// A stream of the request.
struct Exchange<'i> {
    input: &'i Input,
    lines: Vec<Line<'i>>,
    filter: Filter<Waker>,
    record: Rc<RefCell<Record>>,
    wakers: Arc<Wakers>,
}

impl<'i> Exchange<'i> {
    fn new(input: &'i Input, judge: Option<Arc<Judge>>) -> Self {
        Self {
            input,
            lines: input.lines(),
            filter: Filter::new(judge),
            record: Rc::default(),
            wakers: Arc::default(),
        }
    }

    fn host(&self) -> Host<'_> {
        Host {
            lines: self.lines.clone(),
            source: self.input.source(),
            record: Rc::clone(&self.record),
            wakers: Arc::clone(&self.wakers),
            refused: "",
            fuse: Arc::<Fuse>::default(),
        }
    }

    /// What becomes of the stream. `None` if it ended before an answer.
    async fn run(self, events: u8) -> Option<Record> {
        let happens = |bit: u8| events & (1 << bit) != 0;
        if happens(0) {
            self.filter.on_woken(self.host());
            self.filter.on_response_headers(self.host());
            assert!(self.is_untouched());
        }
        let context = Context::from(self.input.context.as_slice());
        let next = self.filter.on_request_headers(self.host(), &context);
        if next == Next::Wait {
            assert!(self.is_untouched());
            if happens(1) {
                self.filter.on_woken(self.host());
                assert!(self.is_untouched(), "an early wake");
            }
            if happens(2) {
                return self.ends_early().await;
            }
            self.wakers.woken.notified().await;
            if happens(3) {
                return self.ends_early().await;
            }
            self.filter.on_woken(self.host());
        }
        let is_denied = self.record.borrow().denied.is_some();
        assert_eq!(is_denied && next != Next::Wait, next == Next::Answered);
        // Later events change nothing.
        if happens(4) {
            self.filter.on_woken(self.host());
        }
        self.filter.on_response_headers(self.host());
        if happens(5) {
            self.filter.on_response_headers(self.host());
            self.filter.on_woken(self.host());
        }
        let resumed = usize::from(next == Next::Wait && !is_denied);
        assert_eq!(self.record.borrow().resumed, resumed);
        drop(self.filter);
        assert_eq!(self.wakers.there.load(Ordering::SeqCst), 0);
        Some(self.record.take())
    }

    /// The client resets the stream: nothing wakes it any more.
    async fn ends_early(self) -> Option<Record> {
        drop(self.filter);
        assert_eq!(self.wakers.there.load(Ordering::SeqCst), 0);
        for _ in 0..4 {
            yield_now().await;
        }
        let record = self.record.borrow();
        assert!(record.denied.is_none() && record.resumed == 0);
        None
    }

    fn is_untouched(&self) -> bool {
        let Record {
            set,
            remove,
            response,
            metadata,
            denied,
            resumed,
        } = &*self.record.borrow();
        let is_changed = !(set.is_empty() && remove.is_empty() && response.is_empty());
        !is_changed && metadata.is_none() && denied.is_none() && *resumed == 0
    }
}
