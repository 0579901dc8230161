//! Works on files that may hang: a disk may not respond, and a file may be a pipe.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The maximum time that a caller waits for a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum size in bytes of a file with a token or certificates.
pub(super) const MAX_SMALL_BYTES: u64 = 1024 * 1024;

/// Runs work on files. A caller waits at most [`FILE_TIMEOUT`], and at most one thread hangs.
#[derive(Clone, Debug)]
pub(super) struct Files(Arc<Semaphore>);

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Files {
    /// The result of `work`, if it is finished in time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let one = Arc::clone(&self.0);
        let done = async move {
            let permit = one.acquire_owned().await.map_err(io::Error::other)?;
            let working = spawn_blocking(move || {
                let done = work();
                drop(permit);
                done
            });
            working.await.map_err(io::Error::other)?
        };
        timeout(FILE_TIMEOUT, done).await.unwrap_or_else(|_| {
            let why = "the disk does not respond";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }

    /// The contents of a regular file of at most `max_bytes`.
    pub(super) async fn read(&self, file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let file = file.to_owned();
        self.run(move || read(&file, max_bytes)).await
    }
}

fn read(file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Opening or reading a pipe would wait for a writer.
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut json = Vec::new();
    opened.take(max_bytes + 1).read_to_end(&mut json)?;
    match json.len() as u64 > max_bytes {
        true => Err(io::Error::other(format!(
            "it has more than {max_bytes} bytes"
        ))),
        false => Ok(json),
    }
}
