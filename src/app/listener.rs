//! Addresses, bound.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Duration, sleep};

use super::StartError;
use crate::config::ListenAddress;

/// A bound address.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// Somebody who called.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How long nobody is let in when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

impl Listener {
    /// The next connection.
    pub(super) async fn accept(&self) -> Connection {
        loop {
            let accepted = match self {
                Self::Tcp(listener, _) => listener.accept().await.map(|(stream, _)| {
                    // Answers are small, and awaited.
                    let _ = stream.set_nodelay(true);
                    Connection::Tcp(stream)
                }),
                Self::Unix(listener, _) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| Connection::Unix(stream))
                }
            };
            match accepted {
                Ok(connection) => return connection,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(NO_ROOM).await;
                }
            }
        }
    }
}

/// Whether one connection failed before it was accepted, and the next may not.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Nothing depends on it: the next run replaces it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// # Errors
///
/// When the address cannot be had.
pub(super) async fn listen(address: ListenAddress) -> Result<Listener, StartError> {
    let listener = match &address {
        ListenAddress::Tcp(tcp) => listen_tcp(*tcp)
            .await
            .map(|(listener, bound)| Listener::Tcp(listener, bound)),
        ListenAddress::Unix(path) => listen_unix(path)
            .await
            .map(|listener| Listener::Unix(listener, path.clone())),
    };
    listener.map_err(|error| StartError::Bind { address, error })
}

/// The listener, and its address with the real port.
pub(super) async fn listen_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// A socket that a former run left behind is replaced; one that somebody serves is not, and
/// neither is a file that is no socket.
async fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        // Any other error may be that of somebody who is busy.
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let dead =
            there.file_type().is_socket() && UnixStream::connect(path).await.is_err_and(refused);
        if dead {
            std::fs::remove_file(path)?;
        }
    }
    UnixListener::bind(path)
}
