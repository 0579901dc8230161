//! A host of the module for Envoy that keeps a record.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use claimgate_envoy::stream::{Line, Response, Source, Stream, Wake};
use tokio::sync::Notify;

/// A status, headers and a body.
type Denied = (u16, Vec<(String, String)>, String);

/// What the filter of one stream has done.
#[derive(Debug, Default)]
pub struct Record {
    pub set: Vec<(String, String)>,
    pub remove: Vec<String>,
    pub response: Vec<(String, String)>,
    pub metadata: Option<Vec<u8>>,
    pub denied: Option<Denied>,
    pub resumed: usize,
}

/// A stream of the host, during one call of the filter.
pub struct Host<'c> {
    pub lines: Vec<Line<'c>>,
    pub source: Source<'c>,
    pub record: Rc<RefCell<Record>>,
    pub wakers: Arc<Wakers>,
    /// What it does not do: `request_headers`, `set NAME` or `remove NAME`.
    pub refused: &'static str,
    pub fuse: Arc<Fuse>,
}

/// Makes one call panic. It works once.
#[derive(Debug, Default)]
pub struct Fuse {
    /// The number of calls up to that one. 0: none panics.
    pub left: AtomicUsize,
    /// The number of calls so far.
    pub calls: AtomicUsize,
}

impl Fuse {
    /// Counts a call.
    pub fn burn(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let left = self.left.load(Ordering::SeqCst);
        self.left.store(left.saturating_sub(1), Ordering::SeqCst);
        assert_ne!(left, 1, "the fuse burns");
    }
}

/// What happens to the wakers of a stream.
#[derive(Debug, Default)]
pub struct Wakers {
    pub woken: Notify,
    /// How many there are.
    pub there: AtomicUsize,
}

pub struct Waker {
    wakers: Arc<Wakers>,
    fuse: Arc<Fuse>,
}

impl Wake for Waker {
    fn wake(&self) {
        self.fuse.burn();
        self.wakers.woken.notify_one();
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.wakers.there.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stream for Host<'_> {
    type Waker = Waker;

    fn request_headers(&self) -> Option<Vec<Line<'_>>> {
        self.fuse.burn();
        (self.refused != "request_headers").then(|| self.lines.clone())
    }

    fn source(&self) -> Source<'_> {
        self.fuse.burn();
        self.source.clone()
    }

    fn waker(&mut self) -> Waker {
        self.fuse.burn();
        self.wakers.there.fetch_add(1, Ordering::SeqCst);
        Waker {
            wakers: Arc::clone(&self.wakers),
            fuse: Arc::clone(&self.fuse),
        }
    }

    fn set_request_header(&mut self, name: &str, value: &[u8]) -> bool {
        self.fuse.burn();
        self.record.borrow_mut().set.push(pair(name, value));
        self.refused != format!("set {name}")
    }

    fn remove_request_header(&mut self, name: &str) -> bool {
        self.fuse.burn();
        self.record.borrow_mut().remove.push(name.to_owned());
        self.refused != format!("remove {name}")
    }

    fn set_response_header(&mut self, name: &str, value: &[u8]) {
        self.fuse.burn();
        self.record.borrow_mut().response.push(pair(name, value));
    }

    fn set_metadata(&mut self, metadata: &[u8]) {
        self.fuse.burn();
        let before = self.record.borrow_mut().metadata.replace(metadata.to_vec());
        assert_eq!(before, None, "metadata is set once");
    }

    fn respond(self, response: Response<'_>) {
        self.fuse.burn();
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
        self.fuse.burn();
        self.record.borrow_mut().resumed += 1;
    }
}

fn pair(name: &str, value: &[u8]) -> (String, String) {
    (name.to_owned(), String::from_utf8(value.to_vec()).unwrap())
}

/// Header lines as a host shows them.
pub fn borrowed(lines: &[(String, Vec<u8>)]) -> Vec<Line<'_>> {
    let lines = lines.iter();
    lines
        .map(|(name, value)| (name.as_bytes(), value.as_slice()))
        .collect()
}
