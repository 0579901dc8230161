//! Tells one configuration from another.

use std::fmt::{self, Write as _};

use aws_lc_rs::digest::{SHA256, digest};

/// The number of hex digits shown: enough to tell the versions of one file apart.
const DIGITS: usize = 16;

/// The start of the SHA-256 of a configuration's text, in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigHash(String);

impl ConfigHash {
    pub(super) fn of(text: &str) -> Self {
        let mut hex = String::new();
        for byte in digest(&SHA256, text.as_bytes()).as_ref() {
            // Writing to a `String` cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex.truncate(DIGITS);
        Self(hex)
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
