//! Finds names that some server reads as the name of a cookie or a query parameter.
//!
//! PHP reads `access.token` and `access[token` as `access_token`. Rack and `qs` read
//! `[access_token]` and `access_token[]` like that, and ASP.NET `Access_Token`. Some servers drop
//! white space around a name, or the part after a NUL. Without this check, a request could carry a
//! good token under the real name, which claimgate verifies, and another token under such a name,
//! which the upstream reads.

use percent_encoding::percent_decode;

/// Whether some server reads `sent` as `name`. True if they are equal.
pub(super) fn is_read_as(sent: &[u8], name: &str) -> bool {
    // What is read is never longer than what was sent.
    let fits = sent.len() >= name.len();
    fits && beginnings(sent).any(|mut sent| {
        name.bytes()
            .all(|own| sent.next().map(folded) == Some(folded(own)))
            && sent.next().is_none_or(ends_name)
    })
}

/// The lengths of some names, in bytes. Separators are cheap to send, so parts that are too short to
/// be one of the names are skipped without a closer look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    shortest: usize,
    longest: usize,
}

impl Default for Lengths {
    /// The lengths of no names: nothing is long enough.
    fn default() -> Self {
        Self {
            shortest: usize::MAX,
            longest: 0,
        }
    }
}

impl Lengths {
    pub(super) fn add(&mut self, name: &str) {
        self.shortest = self.shortest.min(name.len());
        self.longest = self.longest.max(name.len());
    }

    pub(super) fn shortest(self) -> usize {
        self.shortest
    }

    pub(super) fn longest(self) -> usize {
        self.longest
    }
}

impl<'n> FromIterator<&'n str> for Lengths {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        let mut lengths = Self::default();
        names.into_iter().for_each(|name| lengths.add(name));
        lengths
    }
}

/// Computes the names that some server may read for a name that was sent.
pub(super) struct Readings {
    lengths: Lengths,
    reading: Vec<u8>,
}

impl Readings {
    /// For names of these lengths; other readings are skipped.
    pub(super) fn new(lengths: Lengths) -> Self {
        Self {
            lengths,
            reading: Vec::with_capacity(lengths.longest),
        }
    }

    /// Calls `found` with each reading of `sent`, in the form of [`key`].
    pub(super) fn each(&mut self, sent: &[u8], mut found: impl FnMut(&[u8])) {
        if sent.len() < self.lengths.shortest {
            return;
        }
        for mut sent in beginnings(sent) {
            self.reading.clear();
            loop {
                let next = sent.next();
                if next.is_none_or(ends_name) {
                    found(&self.reading);
                }
                match next {
                    Some(byte) if self.reading.len() < self.lengths.longest => {
                        self.reading.push(folded(byte));
                    }
                    Some(_) | None => break,
                }
            }
        }
    }
}

impl Readings {
    /// Calls `found` with the beginning of each reading of `sent`, in the form of [`key`]: as long as the
    /// longest name, or shorter if the reading ends before.
    pub(super) fn each_beginning(&mut self, sent: &[u8], mut found: impl FnMut(&[u8])) {
        if sent.len() < self.lengths.shortest {
            return;
        }
        for sent in beginnings(sent) {
            self.reading.clear();
            self.reading
                .extend(sent.take(self.lengths.longest).map(folded));
            found(&self.reading);
        }
    }
}

/// The form that is equal for all names that some server does not tell apart.
pub(super) fn key(name: &str) -> Vec<u8> {
    name.bytes().map(folded).collect()
}

/// The decoded name, from each position where a server may start reading: after white space, and
/// after brackets.
fn beginnings(sent: &[u8]) -> impl Iterator<Item = impl Iterator<Item = u8>> {
    let skipped: [fn(u8) -> bool; 2] = [is_space, ends_name];
    let begins = skipped.map(|skipped| percent_decode(sent).skip_while(move |byte| skipped(*byte)));
    let same = !percent_decode(sent)
        .find(|byte| !is_space(*byte))
        .is_some_and(ends_name);
    begins.into_iter().take(if same { 1 } else { 2 })
}

/// Whether the byte is white space, a `+` in its place, or a control character.
fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == b'+' || byte == 0x7f
}

fn ends_name(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'[' | b']')
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'.' | b'[' | b']' => b'_',
        byte if is_space(byte) => b'_',
        byte => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings() {
        for (sent, is_read) in [
            ("access_token", true),
            ("Access_TOKEN", true),
            ("access.token", true),
            ("access[token", true),
            ("access token", true),
            ("access+token", true),
            ("access%5Ftoken", true),
            ("%61ccess%2etoken", true),
            ("[access_token]", true),
            ("[[access_token", true),
            ("access_token[]", true),
            ("access_token[0]", true),
            ("access_token%5B0%5D", true),
            ("access_token[a][b]", true),
            (" access_token", true),
            ("+access_token+", true),
            ("%20access_token", true),
            ("+[access_token", true),
            ("access_token%00x", true),
            ("access_token ", true),
            ("", false),
            ("[", false),
            ("access", false),
            ("access_token.sig", false),
            ("access_token_2", false),
            ("access_tokens", false),
            ("my_access_token", false),
            ("access-token", false),
            ("accesstoken", false),
            ("a[access_token]", false),
            ("access%255Ftoken", false),
        ] {
            let name = "access_token";
            assert_eq!(is_read_as(sent.as_bytes(), name), is_read, "{sent}");
            for longest in [name.len(), name.len() + 1, 100] {
                let mut found = false;
                let own = key(name);
                let lengths = Lengths {
                    shortest: name.len(),
                    longest,
                };
                let mut readings = Readings::new(lengths);
                readings.each(sent.as_bytes(), |reading| found |= reading == own);
                assert_eq!(found, is_read, "{sent}, up to {longest} bytes");
            }
        }
        assert!(is_read_as(b"[token", "_token"));
        assert!(is_read_as(b"..Host-t", "__Host-t"));
    }
}
