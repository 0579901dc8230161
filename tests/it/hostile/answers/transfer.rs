//! Failures in transit, deliberate or not.

use bytes::Bytes;

use super::{Answer, either, keys, set, text};
use crate::hostile::{MAX_BYTES, MEGABYTE};
use crate::support::authority::authority;
use crate::support::issuer::{Part, Reply};

const CHUNKED: &str = "transfer-encoding: chunked\r\n";
const GZIPPED: &str = "content-encoding: gzip\r\n";

/// A correct response up to these header lines and this body.
fn ok(lines: &str, body: impl Into<Bytes>) -> Vec<Part> {
    let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    vec![Part::Bytes(head.into()), Part::Bytes(body.into())]
}

/// The same with one more part.
fn ok_and(lines: &str, body: impl Into<Bytes>, part: Part) -> Reply {
    let mut parts = ok(lines, body);
    parts.push(part);
    Reply::Raw(parts)
}

fn length(bytes: usize) -> String {
    format!("content-length: {bytes}\r\n")
}

fn byte_by_byte(text: &str) -> Part {
    let bytes = Bytes::from(text.to_owned());
    Part::Drip((0..bytes.len()).map(|at| bytes.slice(at..=at)).collect())
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

/// This many megabytes of one byte.
fn flood(byte: u8, megabytes: usize) -> Part {
    Part::Flood(vec![byte; MEGABYTE / 16].into(), megabytes * 16)
}

fn endless(bytes: impl Into<Bytes>) -> Part {
    Part::Flood(bytes.into(), usize::MAX)
}

/// Each would be good if the client waited long enough.
pub fn slow() -> Vec<Answer> {
    let timeout = "timed out";
    vec![
        either("says nothing", timeout, |_, _| Reply::Hang),
        either("a slow head", timeout, |_, _| {
            let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", length(set().len()));
            Reply::Raw(vec![byte_by_byte(&(head + &set()))])
        }),
        either("a slow body", timeout, |_, _| {
            ok_and(&length(set().len()), "", byte_by_byte(&set()))
        }),
        either("a body that does not end", timeout, |_, _| {
            ok_and(CHUNKED, chunk(&set()), Part::Silence)
        }),
        either("hints that never end", timeout, |_, _| {
            let hint = Bytes::from("HTTP/1.1 103 Early Hints\r\n\r\n");
            Reply::Raw(vec![Part::Drip(vec![hint; 1000])])
        }),
    ]
}

pub fn large() -> Vec<Answer> {
    let body = "answers with more than 2097152 bytes";
    let (head, cannot) = ("message head is too large", "cannot fetch");
    vec![
        either("a byte more than allowed", body, |_, _| {
            text(set() + &" ".repeat(MAX_BYTES + 1 - set().len()))
        }),
        either("100 MB, announced", body, |_, _| {
            ok_and(&length(100 * MEGABYTE), "", flood(b' ', 100))
        }),
        either("100 MB in chunks", body, |_, _| {
            let mut parts = ok(CHUNKED, "");
            let chunk = chunk(&" ".repeat(MEGABYTE / 16));
            parts.push(Part::Flood(chunk.into(), 1600));
            parts.push(Part::Bytes("0\r\n\r\n".into()));
            Reply::Raw(parts)
        }),
        either("100 MB and the end", body, |_, _| {
            ok_and("", "", flood(b' ', 100))
        }),
        either("chunks without end", body, |_, _| {
            let chunk = chunk(&" ".repeat(1000));
            ok_and(CHUNKED, "", endless(chunk.repeat(64)))
        }),
        either("a chunk size without end", cannot, |_, _| {
            ok_and(CHUNKED, "1;", endless("x".repeat(MEGABYTE / 16)))
        }),
        either("trailers without end", cannot, |_, _| {
            let body = chunk(&set()) + "0\r\n";
            ok_and(CHUNKED, body, endless("x: x\r\n".repeat(10_000)))
        }),
        either("a head without end", head, |_, _| {
            let start = Part::Bytes("HTTP/1.1 200 OK\r\nx: ".into());
            let more = endless("x".repeat(MEGABYTE / 16));
            Reply::Raw(vec![start, more])
        }),
        either("empty lines without end", head, |_, _| {
            Reply::Raw(vec![endless("\r\n".repeat(MEGABYTE / 32))])
        }),
        either("a header of a megabyte", head, |_, _| {
            let line = format!("x: {}\r\n", "x".repeat(MEGABYTE));
            Reply::Raw(ok(&line, set()))
        }),
        either("a megabyte of headers", head, |_, _| {
            let line = format!("x: {}\r\n", "x".repeat(1019));
            Reply::Raw(ok(&line.repeat(1024), set()))
        }),
        // The client did not ask for compression, so the bytes are taken as they are: not JSON.
        keys("a bomb", "compressed (gzip)", |_, _| {
            Reply::Raw(ok(GZIPPED, bomb()))
        }),
        keys("a compressed set", "compressed (gzip)", |_, _| {
            Reply::Raw(ok(GZIPPED, gzip(set().as_bytes())))
        }),
    ]
}

/// The gzip header (RFC 1952 §2.3), without name and time.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Not 2 MB that turn into 2 GB: a block in which every other bit stands for 258 zeros, and those
/// between for how far back they are copied from (RFC 1951 §3.2.7).
fn bomb() -> Vec<u8> {
    let codes = [
        0xec, 0xc1, 0x01, 0x01, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08, 0x0a,
    ];
    let mut bomb = [&GZIP[..], &codes].concat();
    bomb.resize(MAX_BYTES, 0);
    bomb
}

/// One stored block (RFC 1951 §3.2.4) and its checksum.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let sum = !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 * (sum & 1))
        })
    });
    let mut stored = [&GZIP[..], &[1]].concat();
    stored.extend(length.to_le_bytes());
    stored.extend((!length).to_le_bytes());
    stored.extend(bytes);
    stored.extend(sum.to_le_bytes());
    stored.extend(u32::from(length).to_le_bytes());
    stored
}

/// What arrived may be the whole document, but that is uncertain.
pub fn broken() -> Vec<Answer> {
    let cannot = "cannot fetch";
    vec![
        either("hangs up at once", cannot, |_, _| Reply::Raw(vec![])),
        either("hangs up within the head", cannot, |_, _| {
            let head = "HTTP/1.1 200 OK\r\ncontent-";
            Reply::Raw(vec![Part::Bytes(head.into())])
        }),
        either("hangs up a byte early", cannot, |_, _| {
            Reply::Raw(ok(&length(set().len() + 1), set()))
        }),
        either("hangs up before the last chunk", cannot, |_, _| {
            Reply::Raw(ok(CHUNKED, chunk(&set())))
        }),
        either("announces two lengths", cannot, |_, _| {
            let lengths = length(set().len()) + &length(set().len() + 1);
            Reply::Raw(ok(&lengths, set()))
        }),
        either("announces what cannot be", cannot, |_, _| {
            Reply::Raw(ok(&length(usize::MAX), set()))
        }),
        either("does not speak HTTP", cannot, |_, _| {
            Reply::Raw(vec![Part::Bytes(set().into())])
        }),
    ]
}

/// The keys would be correct if they were the issuer's.
pub fn impostors() -> Vec<Answer> {
    let certificate = "invalid peer certificate";
    vec![
        keys("another authority", certificate, |scene, _| {
            scene.issuer.present(Some(authority("127.0.0.1").1));
            text(set())
        })
        .over_tls(),
        keys("does not speak TLS", "cannot fetch", |scene, _| {
            scene.issuer.present(None);
            text(set())
        })
        .over_tls(),
    ]
}
