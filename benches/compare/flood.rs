//! A flood of tokens with unknown key ids while the provider does not respond: how it affects valid
//! checks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use claimgate::keyring::Algorithm;
use serde_json::json;

use crate::load::{self, Load, Pace, Protocol, Refused};
use crate::process::{CLIENT, SERVER, Server, ask};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;
use crate::tokens::{Provider, with_claims};

/// Valid checks per second. The flood adds as many with an unknown key.
const RATE: f64 = 4_000.0;
const SECONDS: f64 = 1.5;

pub fn row(scene: &Scene) -> Row {
    let provider = Provider::new(100, Algorithm::Rs256);
    let valid: Vec<Vec<u8>> = (0..100)
        .map(|number| Provider::check(&provider.token(number)))
        .collect();
    let both: Vec<Vec<u8>> = valid
        .iter()
        .enumerate()
        .flat_map(|(number, check)| {
            let unknown = provider.token_of_unknown_key(number);
            [check.clone(), Provider::check(&unknown)]
        })
        .collect();
    let files = [scene.directory.join("valid"), scene.directory.join("both")];
    load::write(&files[0], &valid);
    load::write(&files[1], &both);
    Row {
        what: "Half of all checks with unknown keys, key endpoint hanging: 99th percentile of \
               valid tokens against no flood"
            .to_owned(),
        sample: Sample::of(|| {
            let keys = KeyEndpoint::start(&provider);
            let jwks = json!({"uri": format!("http://{}/keys", keys.address())});
            let mut configured = provider.configured(&jwks);
            // Longer than the measurement, so a fetch is under way all the time.
            configured["fetch"] = json!({"timeout": "1m"});
            let config = with_claims(&scene.directory, "flood", &[configured]);
            let server = Server::claimgate(SERVER, &config).wait(Protocol::Check, &valid[0]);
            keys.hang();
            let p99 = |file: &std::path::Path, rate, refused| {
                let load = Load {
                    pace: Pace::Open {
                        rate,
                        seconds: SECONDS,
                    },
                    refused,
                    ..server.checks(file, 0)
                };
                ask(CLIENT, &load).p99
            };
            let valid = || p99(&files[0], RATE, Refused::None);
            valid();
            Sample::of_least(|| [p99(&files[1], 2.0 * RATE, Refused::OneOf(2)), valid()])
        }),
        unit: "×",
        bar: Some(Bar::AtMost(1.5)),
    }
}

/// Publishes keys until it is told to hang.
struct KeyEndpoint {
    address: std::net::SocketAddr,
    hangs: Arc<AtomicBool>,
}

impl KeyEndpoint {
    fn start(provider: &Provider) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let hangs = Arc::new(AtomicBool::new(false));
        let keys = provider.key_set().to_string();
        let is_hanging = Arc::clone(&hangs);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                match is_hanging.load(Ordering::Relaxed) {
                    true => held.push(connection),
                    false => answer(&connection, &keys),
                }
            }
        });
        Self { address, hangs }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }
}

fn answer(mut connection: &TcpStream, keys: &str) {
    let mut lines = BufReader::new(connection).lines();
    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let length = keys.len();
    write!(
        connection,
        "{head}\r\ncontent-length: {length}\r\n\r\n{keys}"
    )
    .unwrap();
}
