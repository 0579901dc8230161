//! Works on files that may hang: a disk may not respond, and a file may be a pipe.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The maximum time that a caller waits for a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum size in bytes of a file with a token or certificates.
pub(crate) const MAX_SMALL_BYTES: u64 = 1024 * 1024;

/// Runs work on files. A caller waits at most [`FILE_TIMEOUT`], and at most one thread hangs.
#[derive(Clone, Debug)]
pub struct Files(Arc<Semaphore>);

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Files {
    /// The result of `work`, if it is finished in time.
    ///
    /// # Errors
    ///
    /// Fails as `work` does, or if it takes too long.
    pub async fn run<T: Send + 'static>(
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
    pub(crate) async fn read(&self, file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let file = file.to_owned();
        self.run(move || read(&file, max_bytes)).await
    }

    /// The state of a file. `None` if it cannot be found. A link counts as its target.
    pub async fn stamp(&self, file: &Path) -> Option<Stamp> {
        let file = file.to_owned();
        let stamp = self.run(move || Ok(Stamp::of(&file))).await;
        stamp.ok().flatten()
    }
}

/// The time between checks for a changed file, short enough for a person who waits for it. Unlike
/// notifications, polling works with the symbolic links that Kubernetes swaps, and over network
/// file systems.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Identifies the state of a file: differs if the file was replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    /// The state of a file. Waits for the disk; [`Files::stamp`] does not.
    pub fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads a regular file of at most `max_bytes`. Waits for the disk, but not for the writer of a pipe.
///
/// # Errors
///
/// Fails if the file cannot be read, is not a regular file, or is larger.
pub fn read(file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Opening or reading a pipe would wait for a writer.
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(file)?;
    let metadata = opened.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
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
