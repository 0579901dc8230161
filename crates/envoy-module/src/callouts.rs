//! Requests of the module's threads through the host's clusters, which only the host's main thread can
//! send.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, Response, header};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::guard::locked;
use claimgate_gate::clusters::{Clusters, Sending};

/// What the main thread of the host can do.
pub trait CalloutHost {
    /// Sends a request without a body. Returns its number, under which [`Callouts::done`] is called, but not
    /// before this returns.
    ///
    /// # Errors
    ///
    /// Says why it cannot be sent.
    fn call_out(
        &mut self,
        cluster: &str,
        headers: &[(&str, &[u8])],
        max_wait: Duration,
    ) -> Result<u64, &'static str>;
}

/// Requests that are to be sent, and those that are under way.
#[derive(Default)]
pub struct Callouts(Mutex<State>);

#[derive(Default)]
struct State {
    /// Makes the host call [`Callouts::send_queued`] on its main thread. `None` before the host is ready, and
    /// after its end.
    wake: Option<Wake>,
    queued: Vec<Queued>,
    sent: HashMap<u64, Answer>,
}

type Wake = Box<dyn Fn() + Send>;

type Answer = oneshot::Sender<Result<Response<Vec<u8>>, String>>;

struct Queued {
    cluster: String,
    request: Request<()>,
    max_wait: Duration,
    answer: Answer,
}

impl fmt::Debug for Callouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callouts")
    }
}

impl Clusters for Callouts {
    fn send(&self, cluster: &str, request: Request<()>, max_wait: Duration) -> Sending {
        let (answer, answered) = oneshot::channel();
        let mut state = locked(&self.0);
        state.queued.push(Queued {
            cluster: cluster.to_owned(),
            request,
            max_wait,
            answer,
        });
        if let Some(wake) = &state.wake {
            wake();
        }
        Box::pin(async move {
            match timeout(max_wait, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err("Envoy ends".to_owned()),
                Err(_) => Err("no response in time (`fetch.timeout`)".to_owned()),
            }
        })
    }
}

impl Callouts {
    /// From now on, the host sends requests after each call of `wake`, and those that wait already.
    pub fn begin(&self, wake: impl Fn() + Send + 'static) {
        let mut state = locked(&self.0);
        wake();
        state.wake = Some(Box::new(wake));
    }

    /// Sends what waits, unless the host has ended since it was woken.
    pub fn send_queued(&self, host: &mut impl CalloutHost) {
        let queued = {
            let mut state = locked(&self.0);
            match state.wake {
                Some(_) => mem::take(&mut state.queued),
                None => return,
            }
        };
        for queued in queued {
            let Queued {
                cluster,
                request,
                max_wait,
                answer,
            } = queued;
            // A caller that is gone needs no answer.
            if answer.is_closed() {
                continue;
            }
            match host.call_out(&cluster, &headers(&request), max_wait) {
                Ok(number) => {
                    locked(&self.0).sent.insert(number, answer);
                }
                Err(why) => drop(answer.send(Err(why.to_owned()))),
            }
        }
    }

    /// The host has an answer.
    pub fn done(&self, number: u64, answer: Result<Response<Vec<u8>>, String>) {
        let sent = locked(&self.0).sent.remove(&number);
        if let Some(sent) = sent {
            let _ = sent.send(answer);
        }
    }

    /// The host may not be called any more. Nothing is answered any more.
    pub fn end(&self) {
        *locked(&self.0) = State::default();
    }
}

/// The headers in the form of HTTP/2, which the host translates.
fn headers(request: &Request<()>) -> Vec<(&str, &[u8])> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = request.headers().get(header::HOST);
    let pseudo = [
        (":method", request.method().as_str().as_bytes()),
        (":scheme", uri.scheme_str().unwrap_or("https").as_bytes()),
        (":authority", host.map_or(&b""[..], |host| host.as_bytes())),
        (":path", path.as_bytes()),
    ];
    let others = request.headers().iter();
    let others = others
        .filter(|(name, _)| *name != header::HOST)
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    pseudo.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    #[derive(Default)]
    struct Host(Vec<String>);

    impl CalloutHost for Host {
        fn call_out(
            &mut self,
            cluster: &str,
            headers: &[(&str, &[u8])],
            _: Duration,
        ) -> Result<u64, &'static str> {
            if cluster == "unknown" {
                return Err("no such cluster");
            }
            let headers = headers
                .iter()
                .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
            self.0.push(headers.collect::<Vec<_>>().join(" "));
            Ok(self.0.len() as u64)
        }
    }

    fn request() -> Request<()> {
        let request = Request::get("https://idp.example.com/keys?a=b");
        let request = request.header("host", "idp.example.com");
        request
            .header("accept", "application/json")
            .body(())
            .unwrap()
    }

    fn response(body: &str) -> Response<Vec<u8>> {
        Response::new(body.as_bytes().to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_the_host() {
        let (callouts, woken) = (Callouts::default(), Arc::<AtomicUsize>::default());
        let mut host = Host::default();
        let [first, second, third, unknown] =
            ["idp", "idp", "idp", "unknown"].map(|cluster| callouts.send(cluster, request(), WAIT));
        // One that nobody waits for is not sent.
        drop(third);
        let counted = Arc::clone(&woken);
        callouts.begin(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        callouts.send_queued(&mut host);
        let sent = ":method=GET :scheme=https :authority=idp.example.com :path=/keys?a=b \
                    accept=application/json";
        assert_eq!(host.0, [sent, sent]);
        callouts.done(2, Ok(response("second")));
        callouts.done(1, Err("reset".to_owned()));
        callouts.done(7, Ok(response("nobody's")));
        assert_eq!(second.await.unwrap().into_body(), b"second");
        assert_eq!(first.await.unwrap_err(), "reset");
        assert_eq!(unknown.await.unwrap_err(), "no such cluster");

        let late = callouts.send("idp", request(), WAIT);
        assert_eq!(woken.load(Ordering::SeqCst), 2);
        assert_eq!(
            late.await.unwrap_err(),
            "no response in time (`fetch.timeout`)"
        );
        let last = callouts.send("idp", request(), WAIT);
        callouts.end();
        assert_eq!(last.await.unwrap_err(), "Envoy ends");
        // The host was woken before, and must not be called any more.
        let _after = callouts.send("idp", request(), WAIT);
        callouts.send_queued(&mut host);
        assert_eq!(host.0.len(), 2);
    }
}
