//! Which frames pass on a connection (RFC 9113 §4.1): their heads, as bytes go by.

/// What a client says first (RFC 9113 §3.4), in bytes.
const PREFACE_BYTES: usize = 24;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// The flag of a frame that ends a header block.
const END_HEADERS: u8 = 4;

/// A frame that this module knows something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Part of a header block. The connection carries nothing else before its last part.
    HeaderBlock { is_last: bool },
    /// The end of a request by an error code (RFC 9113 §7).
    Reset(u32),
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes that belong to no head.
    skip: usize,
    /// A head, and the error code if it is of a `RST_STREAM`.
    head: [u8; 13],
    filled: usize,
}

impl Frames {
    /// The direction from the client.
    pub(super) fn received() -> Self {
        Self {
            skip: PREFACE_BYTES,
            ..Self::default()
        }
    }

    /// The direction from the server.
    pub(super) fn sent() -> Self {
        Self::default()
    }

    /// These bytes go by.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
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
        let mut seen = Vec::new();
        let bytes = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(HEADERS, 0, b""),
        ]
        .concat();
        Frames::received().pass(&bytes, |frame| seen.push(frame));
        assert_eq!(seen, [Frame::HeaderBlock { is_last: false }]);
    }
}
