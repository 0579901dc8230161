//! Requests that keep coming while something else happens.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use crate::setup::{eventually, http};

/// Clients that send one request after another until they are stopped.
pub struct Load {
    state: Arc<State>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    sent: AtomicUsize,
    /// The answers with another status than 200.
    refused: Mutex<Vec<String>>,
    done: AtomicBool,
}

impl Load {
    /// Several clients with this header line.
    pub fn start(address: SocketAddr, line: &str) -> Self {
        let state = Arc::<State>::default();
        let client = || {
            let (state, lines) = (Arc::clone(&state), [line.to_owned()]);
            tokio::spawn(async move {
                while !state.done.load(Ordering::Relaxed) {
                    let answer = http(address, "GET /orders", &lines).await;
                    state.sent.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        state.refused.lock().unwrap().push(format!("{answer:?}"));
                    }
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self { state, clients }
    }

    fn sent(&self) -> usize {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Waits for further answers.
    pub async fn goes_on(&self) {
        let before = self.sent();
        eventually("requests flow", async || self.sent() > before + 100).await;
    }

    /// Ends the load. No request was refused.
    pub async fn refused_nothing(self) {
        self.state.done.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let sent = self.state.sent.load(Ordering::Relaxed);
        let refused = self.state.refused.lock().unwrap();
        assert_eq!(*refused, [""; 0], "of {sent} requests");
    }
}
