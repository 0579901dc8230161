//! Work on files, any of which may be on a disk that does not answer, or be a pipe.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long anyone waits for a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of a file that holds a token or certificates.
pub(super) const MAX_SMALL_BYTES: u64 = 1024 * 1024;

/// Work on files that may hang: nobody waits long, and one thread at most is lost to it.
#[derive(Clone, Debug)]
pub(super) struct Files(Arc<Semaphore>);

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Files {
    /// What `work` comes to, if it does in time.
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
            let why = "the disk does not answer";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }

    /// All of a regular file, if it has no more than `max_bytes`.
    pub(super) async fn read(&self, file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let file = file.to_owned();
        self.run(move || read(&file, max_bytes)).await
    }
}

fn read(file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // To open a pipe, or to read it, is to wait for whoever writes to it.
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
