//! Other names that servers read as that of a cookie or a query parameter.
//!
//! PHP reads `access.token` and `access[token` as `access_token`, Rack and `qs` `[access_token]` and
//! `access_token[]`, ASP.NET `Access_Token`; some drop white space around a name, or what follows a
//! NUL. A request could carry a good token under the name itself, which claimgate verifies, and
//! another token under such a name, which the upstream reads.

use percent_encoding::percent_decode;

/// Whether some server reads the name that was sent as `name`, which it may equal.
pub(super) fn is_read_as(sent: &[u8], name: &str) -> bool {
    beginnings(sent).any(|mut sent| {
        name.bytes()
            .all(|own| sent.next().map(folded) == Some(folded(own)))
            && sent.next().is_none_or(ends_name)
    })
}

/// The names that some server reads when another is sent.
pub(super) struct Readings {
    /// The length of a name that is looked for, in bytes: longer ones are left out.
    longest: usize,
    reading: Vec<u8>,
}

impl Readings {
    pub(super) fn new(longest: usize) -> Self {
        Self {
            longest,
            reading: Vec::with_capacity(longest),
        }
    }

    /// Calls `found` with each of the names for `sent`, as [`key`] writes it.
    pub(super) fn each(&mut self, sent: &[u8], mut found: impl FnMut(&[u8])) {
        for mut sent in beginnings(sent) {
            self.reading.clear();
            loop {
                let next = sent.next();
                if next.is_none_or(ends_name) {
                    found(&self.reading);
                }
                match next {
                    Some(byte) if self.reading.len() < self.longest => {
                        self.reading.push(folded(byte));
                    }
                    Some(_) | None => break,
                }
            }
        }
    }
}

/// What all names have in common that some server does not tell apart.
pub(super) fn key(name: &str) -> Vec<u8> {
    name.bytes().map(folded).collect()
}

/// The name without its escapes, from where it may begin: after white space, and after brackets.
fn beginnings(sent: &[u8]) -> impl Iterator<Item = impl Iterator<Item = u8>> {
    let skipped: [fn(u8) -> bool; 2] = [is_space, ends_name];
    let begins = skipped.map(|skipped| percent_decode(sent).skip_while(move |byte| skipped(*byte)));
    let same = !percent_decode(sent)
        .find(|byte| !is_space(*byte))
        .is_some_and(ends_name);
    begins.into_iter().take(if same { 1 } else { 2 })
}

/// White space, a `+` for it, or a control character.
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
                let mut readings = Readings::new(longest);
                readings.each(sent.as_bytes(), |reading| found |= reading == own);
                assert_eq!(found, is_read, "{sent}, up to {longest} bytes");
            }
        }
        assert!(is_read_as(b"[token", "_token"));
        assert!(is_read_as(b"..Host-t", "__Host-t"));
    }
}
