//! How the log and the list of denials name callers.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;

use crate::files::Files;
use claimgate_config::LogSubject;
use claimgate_core::escaped::Escaped;

/// The minimum length of a key in a file, in bytes: as strong as the hashes are long.
const MIN_KEY_BYTES: usize = 16;

/// The maximum length of a key in a file, in bytes.
const MAX_KEY_BYTES: u64 = 4096;

/// The key of this process, which outlives configurations. `None` if the system has no randomness.
static PROCESS_KEY: LazyLock<Option<hmac::Key>> =
    LazyLock::new(|| hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).ok());

/// Turns a subject or client into what is written.
#[derive(Clone, Debug)]
pub(crate) enum Subjects {
    Plain,
    Hash(Box<hmac::Key>),
    Omit,
}

impl Subjects {
    /// Reads the key, if there is one in a file. Without a usable key, nothing is written: a wrong
    /// file must neither reveal who called nor keep the service from deciding.
    pub(crate) async fn load(setting: &LogSubject) -> Self {
        let key = match setting {
            LogSubject::Plain => return Self::Plain,
            LogSubject::Omit => return Self::Omit,
            LogSubject::Hash(None) => PROCESS_KEY
                .clone()
                .ok_or_else(|| io::Error::other("the system has no randomness")),
            LogSubject::Hash(Some(file)) => {
                let file = file.clone();
                Files::default().run(move || read_key(&file)).await
            }
        };
        match key {
            Ok(key) => Self::Hash(Box::new(key)),
            Err(error) => {
                tracing::error!(
                    %error,
                    "no key to hash subjects with (`log.subject_key_file`); the log omits them"
                );
                Self::Omit
            }
        }
    }

    /// Like [`Self::shown`], but a plain text is neither escaped nor cut.
    pub(crate) fn exact<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        match self {
            Self::Plain => Some(Cow::Borrowed(text)),
            Self::Omit | Self::Hash(_) => self.shown(text).map(Cow::Owned),
        }
    }

    /// What is written for this `sub` or client. 128 bits of a hash do not collide by chance.
    pub(crate) fn shown(&self, text: &str) -> Option<String> {
        match self {
            Self::Plain => Some(Escaped::from(text).to_string()),
            Self::Omit => None,
            Self::Hash(key) => {
                let tag = hmac::sign(key, text.as_bytes());
                let (hash, _) = tag.as_ref().split_first_chunk()?;
                Some(format!("{:032x}", u128::from_be_bytes(*hash)))
            }
        }
    }
}

/// Reads the key of `log.subject_key_file`. White space at its end does not count.
///
/// # Errors
///
/// Fails if the file cannot be read, or if the key is too short.
pub fn read_key(file: &Path) -> io::Result<hmac::Key> {
    let named = |why: io::Error| {
        let file = file.display();
        io::Error::new(why.kind(), format!("cannot use `{file}`: {why}"))
    };
    let key = crate::files::read(file, MAX_KEY_BYTES).map_err(named)?;
    let key = key.trim_ascii_end();
    if key.len() < MIN_KEY_BYTES {
        let why = format!("the key has fewer than {MIN_KEY_BYTES} bytes");
        return Err(named(io::Error::other(why)));
    }
    Ok(hmac::Key::new(HMAC_SHA256, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf alice | openssl dgst -sha256 -hmac 0123456789abcdef | cut -c 1-32`
    #[tokio::test]
    async fn a_key_in_a_file_makes_hashes_that_others_can_compute() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let shown = async || {
            let setting = LogSubject::Hash(Some(file.clone()));
            Subjects::load(&setting).await.shown("alice")
        };
        assert_eq!(shown().await, None, "no file");
        std::fs::write(&file, "0123456789abcde\n").unwrap();
        assert_eq!(shown().await, None, "too short");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        assert_eq!(
            shown().await.as_deref(),
            Some("fdbf8b1cacd3d578e062d0e41104357d")
        );
    }

    #[tokio::test]
    async fn without_a_file_hashes_are_of_this_process() {
        let [one, other] = [
            Subjects::load(&LogSubject::Hash(None)).await,
            Subjects::load(&LogSubject::Hash(None)).await,
        ];
        let hash = one.shown("alice").unwrap();
        assert_eq!(
            other.shown("alice"),
            Some(hash.clone()),
            "a reload changes nothing"
        );
        assert_ne!(one.shown("alicf"), Some(hash.clone()));
        assert_eq!(hash.len(), 32);
        assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    }
}
