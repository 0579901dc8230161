//! The token that callers of the admin listener present, from a file that may change while the
//! service runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::task::spawn_blocking;

use crate::config::files::unreadable;
use crate::gate::file_watch::{Changes, looks};
use crate::gate::files::{self, Files, Stamp};

/// The minimum length in characters. 32 hex digits have 128 bits.
const MIN_LENGTH: usize = 32;

/// The maximum size of the file in bytes.
const MAX_BYTES: u64 = 4096;

/// The token in force, and the file that it comes from.
pub(crate) struct AccessToken {
    file: PathBuf,
    /// The version of the file that was read at start.
    started_with: Option<Stamp>,
    current: ArcSwap<String>,
    files: Files,
}

/// Why the file of `admin.token_file` cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `admin.token_file` `{}`: {why}", file.display())]
pub struct TokenError {
    file: PathBuf,
    why: String,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl AccessToken {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or holds no usable token.
    pub(super) async fn load(file: &Path) -> Result<Self, TokenError> {
        let files = Files::default();
        Ok(Self {
            file: file.to_owned(),
            started_with: files.stamp(file).await,
            current: ArcSwap::from_pointee(read(file)?),
            files,
        })
    }

    /// Whether the file can be used.
    ///
    /// # Errors
    ///
    /// Says why not.
    pub(crate) fn check(file: &Path) -> Result<(), TokenError> {
        read(file).map(drop)
    }

    /// Whether a request presents the token: as `Bearer` (RFC 6750 §2.1), or as the password of
    /// `Basic` (RFC 7617), which browsers ask for.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return false;
        };
        let presented = line.to_str().ok().and_then(presented);
        presented.is_some_and(|presented| {
            let current = self.current.load();
            verify_slices_are_equal(presented.as_bytes(), current.as_bytes()).is_ok()
        })
    }

    /// Reads the file whenever it has changed. A file that cannot be used changes nothing. Runs
    /// until the future is dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut changes = Changes::since(self.started_with);
        let mut looks = looks();
        loop {
            looks.tick().await;
            if !changes.settled(self.files.stamp(&self.file).await) {
                continue;
            }
            // Taken before the file is read: a change after that is seen at the next look.
            changes = Changes::since(self.files.stamp(&self.file).await);
            let file = self.file.clone();
            match spawn_blocking(move || read(&file)).await {
                Ok(Ok(token)) => {
                    self.current.store(Arc::new(token));
                    tracing::info!(file = %self.file.display(), "admin token reloaded");
                }
                Ok(Err(error)) => tracing::error!(
                    %error,
                    "the admin token has changed but cannot be used; the previous one stays in force"
                ),
                // The process is ending.
                Err(_) => {}
            }
        }
    }
}

fn read(file: &Path) -> Result<String, TokenError> {
    let why = |why: String| TokenError {
        file: file.to_owned(),
        why,
    };
    let bytes = files::read(file, MAX_BYTES).map_err(|error| why(unreadable(&error)))?;
    token(&bytes).map_err(|problem| why(problem.to_owned()))
}

/// The token in a file, without white space around it.
fn token(bytes: &[u8]) -> Result<String, &'static str> {
    let token = bytes.trim_ascii();
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("a token is visible ASCII without spaces");
    }
    if token.len() < MIN_LENGTH {
        return Err(
            "the token has fewer than 32 characters; create one with `openssl rand -hex 32`",
        );
    }
    Ok(String::from_utf8_lossy(token).into_owned())
}

/// The token in the value of `Authorization`.
fn presented(line: &str) -> Option<String> {
    let (scheme, credentials) = line.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_a_file_may_hold() {
        for (bytes, expected) in [
            (format!("{TOKEN}\n"), Ok(TOKEN)),
            (format!(" {TOKEN}\r\n\n"), Ok(TOKEN)),
            (TOKEN[1..].to_owned(), Err("fewer than 32")),
            (String::new(), Err("fewer than 32")),
            (format!("{TOKEN}\n{TOKEN}"), Err("without spaces")),
            (format!("{TOKEN}ä"), Err("without spaces")),
        ] {
            match (token(bytes.as_bytes()), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{bytes:?}: {why}"),
                (result, _) => panic!("{bytes:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn where_a_token_is_found() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (line, expected) in [
            (format!("Bearer {TOKEN}"), Some(TOKEN)),
            (format!("bearer  {TOKEN} "), Some(TOKEN)),
            (basic(&format!("any:{TOKEN}")), Some(TOKEN)),
            (basic(&format!(":{TOKEN}")), Some(TOKEN)),
            (basic(TOKEN), None),
            ("Basic ???".to_owned(), None),
            (format!("Digest {TOKEN}"), None),
            (TOKEN.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(presented(&line).as_deref(), expected, "{line:?}");
        }
    }
}
