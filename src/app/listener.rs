//! Addresses, bound.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::StartError;
use crate::config::ListenAddress;

/// A bound address.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
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
        let dead = there.file_type().is_socket() && UnixStream::connect(path).await.is_err();
        if dead {
            std::fs::remove_file(path)?;
        }
    }
    UnixListener::bind(path)
}
