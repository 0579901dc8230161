//! A token in a form that recognises it, but that nobody can use as a credential.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{SHA256, digest};

/// The size of a digest, in bytes.
const DIGEST_BYTES: usize = 32;

/// A token whose signature is replaced by its SHA-256 digest. Two are equal only if they are of the same
/// text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedToken<'t> {
    pub(super) signed: &'t str,
    pub(super) signature: SignatureDigest,
}

/// The digest of a signature as it is written in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SignatureDigest([u8; DIGEST_BYTES]);

impl<'t> HashedToken<'t> {
    /// Of any text, whether it is a token or not.
    pub fn of(token: &'t str) -> Self {
        let (signed, signature) = token.rsplit_once('.').unwrap_or(("", token));
        let mut bytes = [0; DIGEST_BYTES];
        let found = digest(&SHA256, signature.as_bytes());
        bytes
            .iter_mut()
            .zip(found.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self {
            signed,
            signature: SignatureDigest(bytes),
        }
    }
}

/// Covers only the signature, because no two verified tokens have the same one.
impl Hash for HashedToken<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_equal() {
        let token = HashedToken::of("aGVhZA.Ym9keQ.c2ln");
        assert_eq!(token, HashedToken::of("aGVhZA.Ym9keQ.c2ln"));
        for other in [
            "aGVhZA.Ym9keQ.c2lo",
            "aGVhZA.Ym9keR.c2ln",
            "aGVhZA.Ym9keQ.",
            "aGVhZA.Ym9keQ",
            "c2ln",
            "",
        ] {
            assert_ne!(token, HashedToken::of(other), "{other}");
        }
    }
}
