//! Asks a `Check` server as fast as it answers, over connections with many streams each, as Envoy's
//! workers do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, BufMut as _, Bytes};
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

/// Messages as bytes, so that the client does as little as it can.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

/// Writes messages to a file, each behind its length.
pub fn write(file: &Path, messages: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.put_u32(u32::try_from(message.len()).unwrap());
        bytes.put_slice(message);
    }
    std::fs::write(file, bytes).unwrap();
}

fn read(file: &str) -> Vec<Bytes> {
    let mut bytes = Bytes::from(std::fs::read(file).unwrap());
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.get_u32() as usize;
        messages.push(bytes.split_to(length));
    }
    messages
}

async fn ask(client: &mut Grpc<Channel>, message: Bytes) -> Bytes {
    client.ready().await.unwrap();
    let path = "/envoy.service.auth.v3.Authorization/Check"
        .parse()
        .unwrap();
    let answer = client.unary(tonic::Request::new(message), path, Raw).await;
    answer.unwrap().into_inner()
}

/// Whether an answer allows: the first field is a status without a code.
fn allows(answer: &[u8]) -> bool {
    answer.starts_with(&[0x0a, 0])
}

/// Asks `count` times, going round the messages of a file, over so many connections with so many
/// streams each; each answer must allow.
pub async fn run(
    address: SocketAddr,
    file: &str,
    count: usize,
    connections: usize,
    streams: usize,
) {
    let messages: Arc<Vec<Bytes>> = Arc::new(read(file));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        for _ in 0..streams {
            let mut client = Grpc::new(channel.clone());
            let (messages, asked) = (Arc::clone(&messages), Arc::clone(&asked));
            tasks.spawn(async move {
                loop {
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let message = messages[number % messages.len()].clone();
                    assert!(allows(&ask(&mut client, message).await), "not allowed");
                }
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Waits until such a check is allowed.
pub async fn first(address: SocketAddr, message: &[u8]) {
    let message = Bytes::copy_from_slice(message);
    loop {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        if let Ok(channel) = endpoint.connect().await {
            let answer = ask(&mut Grpc::new(channel), message.clone()).await;
            if allows(&answer) {
                return;
            }
        }
        tokio::time::sleep(std::time::Duration::from_micros(500)).await;
    }
}
