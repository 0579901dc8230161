//! Recognises frames in the bytes of a connection by their heads (RFC 9113 §4.1).

use crate::telemetry::metrics::BadConnection;

/// The first bytes that a client sends (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// The flag of the last frame of a header block.
const END_HEADERS: u8 = 4;

/// A frame of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Part of a header block. No other frame may come before its last part.
    HeaderBlock { is_last: bool },
    /// A request ends with this error code (RFC 9113 §7).
    Reset(u32),
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The rest of the preface, which precedes all frames.
    preface: &'static [u8],
    /// What the client speaks instead of HTTP/2, until it is taken.
    other_protocol: Option<BadConnection>,
    /// The number of bytes before the next head.
    skip: usize,
    /// A frame's head, and the error code of a `RST_STREAM`.
    head: [u8; 13],
    filled: usize,
}

impl Frames {
    /// The bytes from the client.
    pub(super) fn received() -> Self {
        Self {
            preface: PREFACE,
            ..Self::default()
        }
    }

    /// The bytes from the server.
    pub(super) fn sent() -> Self {
        Self::default()
    }

    /// Whether the preface is complete.
    pub(super) fn has_begun(&self) -> bool {
        self.preface.is_empty()
    }

    /// What the client speaks, if it is not HTTP/2. Returns it once.
    pub(super) fn take_other_protocol(&mut self) -> Option<BadConnection> {
        self.other_protocol.take()
    }

    /// Processes the next bytes, and calls `seen` with each frame of interest.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        let is_equal = |(expected, byte): &(&u8, &u8)| expected == byte;
        let equal = self.preface.iter().zip(bytes).take_while(is_equal).count();
        self.preface = self.preface.get(equal..).unwrap_or_default();
        bytes = bytes.get(equal..).unwrap_or_default();
        if !self.has_begun() {
            if !bytes.is_empty() {
                let (equal, _) = PREFACE.split_at(PREFACE.len() - self.preface.len());
                self.other_protocol = Some(other_protocol(&[equal, bytes].concat()));
            }
            return;
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            let [high, middle, low, kind, flags, _, _, _, _, code @ ..] = self.head;
            let length = u32::from_be_bytes([0, high, middle, low]);
            match self.filled {
                9 if (kind, length) == (RST_STREAM, 4) => {}
                9 => {
                    self.filled = 0;
                    self.skip = usize::try_from(length).unwrap_or(usize::MAX);
                    if kind == HEADERS || kind == CONTINUATION {
                        let is_last = flags & END_HEADERS != 0;
                        seen(Frame::HeaderBlock { is_last });
                    }
                }
                13.. => {
                    self.filled = 0;
                    seen(Frame::Reset(u32::from_be_bytes(code)));
                }
                _ => {}
            }
        }
    }
}

/// The protocol of a connection that begins with these bytes. They may be cut anywhere.
fn other_protocol(opening: &[u8]) -> BadConnection {
    const METHODS: [&[u8]; 9] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"CONNECT ",
        b"OPTIONS ",
        b"TRACE ",
        b"PATCH ",
    ];
    let is_request = |method: &&[u8]| opening.starts_with(method) || method.starts_with(opening);
    match opening {
        // A record of a TLS handshake (RFC 8446 §5.1).
        [0x16] | [0x16, 3, ..] => BadConnection::Tls,
        _ if METHODS.iter().any(is_request) => BadConnection::Http1,
        _ => BadConnection::NotHttp2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_seen_however_they_are_cut() {
        let bytes = [
            frame(0, 1, &[HEADERS; 40]),
            frame(HEADERS, 0, b"abc"),
            frame(CONTINUATION, 0, b""),
            frame(CONTINUATION, END_HEADERS, b"d"),
            frame(RST_STREAM, 0, &[0, 0, 0, 7]),
            frame(RST_STREAM, 0, &[9; 5]),
            frame(HEADERS, END_HEADERS | 1, b""),
        ]
        .concat();
        let expected = [
            Frame::HeaderBlock { is_last: false },
            Frame::HeaderBlock { is_last: false },
            Frame::HeaderBlock { is_last: true },
            Frame::Reset(7),
            Frame::HeaderBlock { is_last: true },
        ];
        for size in 1..=bytes.len() {
            let (mut frames, mut seen) = (Frames::sent(), Vec::new());
            for part in bytes.chunks(size) {
                frames.pass(part, |frame| seen.push(frame));
            }
            assert_eq!(seen, expected, "in parts of {size}");
        }
    }

    #[test]
    fn a_client_begins_with_its_preface() {
        let bytes = [PREFACE, &frame(HEADERS, 0, b"")].concat();
        for size in 1..=bytes.len() {
            let (mut frames, mut seen) = (Frames::received(), Vec::new());
            for part in bytes.chunks(size) {
                frames.pass(part, |frame| seen.push(frame));
            }
            assert!(frames.has_begun());
            let expected = [Frame::HeaderBlock { is_last: false }];
            assert_eq!(seen, expected, "in parts of {size}");
        }
    }

    #[test]
    fn other_protocols_have_no_frames() {
        use BadConnection::{Http1, NotHttp2, Tls};
        let cases: [(&[&[u8]], _); 13] = [
            (
                &[b"GET /livez HTTP/1.1\r\nhost: claimgate\r\n\r\n"],
                Some(Http1),
            ),
            (&[b"OPTIONS * HTTP/1.1\r\n\r\n"], Some(Http1)),
            (&[b"P", b"OST / HTTP/1.1\r\n"], Some(Http1)),
            (&[b"DEL"], Some(Http1)),
            (&[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]], Some(Tls)),
            (&[&[0x16]], Some(Tls)),
            (&[&[0x16, 4]], Some(NotHttp2)),
            (&[b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"], Some(NotHttp2)),
            (&[b"PRI * HTTP/1.1\r\n"], Some(NotHttp2)),
            (&[b"GETTING"], Some(NotHttp2)),
            (&[&[0]], Some(NotHttp2)),
            (&[b"PRI * HT"], None),
            (&[b""], None),
        ];
        for (parts, expected) in cases {
            let mut frames = Frames::received();
            for part in parts {
                frames.pass(part, |frame| panic!("{frame:?}"));
            }
            assert!(!frames.has_begun());
            assert_eq!(frames.take_other_protocol(), expected, "{parts:?}");
            assert_eq!(frames.take_other_protocol(), None, "once");
        }
    }
}
