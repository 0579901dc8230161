//! Peers of the Check and admin ports that send half of a message and then hold the connection: how
//! long other checks wait, and how much memory this takes.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::load::{self, Load, Pace, Refused};
use crate::process::{CLIENT, SERVER, Server, ask};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;

/// Valid checks per second.
const RATE: f64 = 1_000.0;
const SECONDS: f64 = 1.5;

/// What the hostile peers send.
#[derive(Clone, Copy)]
enum Hold {
    /// Calls of the health service that announce 4 MiB.
    Announced,
    /// Checks of which 200 KiB arrive, without an end.
    Unfinished,
    /// Requests to the admin port without their last line.
    HalfHeads,
}

pub fn rows(scene: &Scene) -> Vec<Row> {
    [
        (
            "1,000 calls of the health service that announce 4 MiB",
            Hold::Announced,
        ),
        ("400 checks of which half came", Hold::Unfinished),
        ("500 half requests to the admin port", Hold::HalfHeads),
    ]
    .into_iter()
    .flat_map(|(what, hold)| {
        [
            Row {
                what: format!("{what}: 99th percentile of the checks of others"),
                sample: Sample::of(|| under(scene, hold).0),
                unit: "ms",
                bar: Some(Bar::AtMost(50.0)),
            },
            Row {
                what: format!("{what}: memory"),
                sample: Sample::of(|| under(scene, hold).1),
                unit: "MiB",
                bar: Some(Bar::AtMost(64.0)),
            },
        ]
    })
    .collect()
}

/// The 99th percentile of valid checks in ms, and the growth of resident memory in MiB.
fn under(scene: &Scene, hold: Hold) -> (f64, f64) {
    let (server, admin) = Server::claimgate_with_admin(SERVER, &scene.config);
    let server = server.wait(load::Protocol::Check, &scene.first);
    let load = |file: &Path| Load {
        pace: Pace::Open {
            rate: RATE,
            seconds: SECONDS,
        },
        refused: Refused::None,
        ..server.checks(file, 0)
    };
    ask(CLIENT, &load(&scene.one));
    let before = server.resident();
    let load::Server::Tcp(check) = server.server else {
        panic!("the server listens on TCP")
    };
    let held = Held::start(check, admin, hold);
    let p99 = ask(CLIENT, &load(&scene.one)).p99;
    let growth = server.resident() - before;
    drop(held);
    (p99, growth)
}

/// Peers on a separate thread, until dropped.
struct Held {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Held {
    /// Returns once all peers hold their connections.
    fn start(check: SocketAddr, admin: SocketAddr, hold: Hold) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, all) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            crate::process::block_on(async move {
                let held = match hold {
                    Hold::Announced => {
                        calls(
                            check,
                            100,
                            "/grpc.health.v1.Health/Check",
                            &[0, 0, 64, 0, 0],
                        )
                        .await
                    }
                    Hold::Unfinished => {
                        let half = [vec![0, 0, 6, 0, 0], vec![0; 200 * 1024]].concat();
                        calls(
                            check,
                            40,
                            "/envoy.service.auth.v3.Authorization/Check",
                            &half,
                        )
                        .await
                    }
                    Hold::HalfHeads => Vec::new(),
                };
                let heads: Vec<TcpStream> = match hold {
                    Hold::HalfHeads => half_heads(admin),
                    Hold::Announced | Hold::Unfinished => Vec::new(),
                };
                ready.send(()).unwrap();
                let _ = stopped.await;
                drop((held, heads));
            });
        });
        all.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

type Call = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

/// Ten calls on each of `connections` connections, each with these bytes and no end. It does not
/// matter what the server refuses.
async fn calls(address: SocketAddr, connections: usize, path: &str, bytes: &[u8]) -> Vec<Call> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut held = Vec::new();
    for _ in 0..connections {
        let Ok(client) = load::Server::Tcp(address).connect().await else {
            continue;
        };
        for _ in 0..10 {
            let request = http::Request::post(format!("http://claimgate{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .unwrap();
            let Ok(mut client) = client.clone().ready().await else {
                break;
            };
            let Ok((response, mut stream)) = client.send_request(request, false) else {
                break;
            };
            let _ = stream.send_data(bytes.clone(), false);
            held.push((response, stream));
        }
    }
    // Lets the queued frames be sent.
    tokio::time::sleep(Duration::from_millis(200)).await;
    held
}

fn half_heads(address: SocketAddr) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n")
            .ok()?;
        Some(stream)
    };
    (0..500).filter_map(connect).collect()
}
