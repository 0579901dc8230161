//! Recognises frames in the bytes of a connection by their heads (RFC 9113 §4.1).

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

    /// Processes the next bytes, and calls `seen` with each frame of interest.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        let is_equal = |(expected, byte): &(&u8, &u8)| expected == byte;
        let equal = self.preface.iter().zip(bytes).take_while(is_equal).count();
        self.preface = self.preface.get(equal..).unwrap_or_default();
        if !self.has_begun() {
            return;
        }
        bytes = bytes.get(equal..).unwrap_or_default();
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
    fn what_is_not_http2_has_no_frames() {
        let mut frames = Frames::received();
        let request = b"GET /livez HTTP/1.1\r\nhost: claimgate\r\n\r\n";
        frames.pass(request, |frame| panic!("{frame:?}"));
        assert!(!frames.has_begun());
    }
}
