//! Binds the addresses of the configuration.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::sleep;

pub(crate) mod tls;

use crate::config::{ListenAddress, UnixSocket};
use crate::telemetry::every_minute::EveryMinute;

/// The maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long accepting pauses if the system cannot open another connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The default mode of a socket that belongs to a group.
const GROUP_MODE: u32 = 0o660;

/// A bound address.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Bound,
    log: EveryMinute,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, UnixSocket),
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Binds an address. Port 0 picks any free port.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be bound.
    pub(crate) fn tcp(address: SocketAddr) -> io::Result<Self> {
        let listener = of_either_family(address, bind)?;
        let bound = listener.local_addr()?;
        Ok(Bound::Tcp(listener, bound).into())
    }

    /// The bound address, with the real port.
    pub(crate) fn address(&self) -> ListenAddress {
        match &self.socket {
            Bound::Tcp(_, address) => ListenAddress::Tcp(*address),
            Bound::Unix(_, socket) => ListenAddress::Unix(socket.clone()),
        }
    }

    /// The bound address with the real port. `None` for a Unix domain socket.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Bound::Tcp(_, address) => Some(*address),
            Bound::Unix(..) => None,
        }
    }

    /// Waits for the next connection.
    pub(crate) async fn accept(&self) -> Connection {
        loop {
            let accepted = match &self.socket {
                Bound::Tcp(listener, _) => listener.accept().await.map(|(stream, _)| {
                    // Answers are small and a client waits for each, so they must not be delayed.
                    let _ = stream.set_nodelay(true);
                    Connection::Tcp(stream)
                }),
                Bound::Unix(listener, _) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| Connection::Unix(stream))
                }
            };
            match accepted {
                Ok(connection) => return connection,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    if let Some(times) = self.log.due() {
                        tracing::warn!(%error, times, "cannot accept connections");
                    }
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

impl Connection {
    /// The address of the other end. `None` for a Unix domain socket.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl From<Bound> for Listener {
    fn from(socket: Bound) -> Self {
        Self {
            socket,
            log: EveryMinute::default(),
        }
    }
}

/// Whether only this connection failed, so that the next one may succeed.
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
        if let Bound::Unix(_, socket) = &self.socket {
            // Errors are ignored, because the next run replaces the socket anyway.
            let _ = std::fs::remove_file(&socket.path);
        }
    }
}

/// Binds an address of the configuration. `localhost` has two, if the system supports both
/// families.
///
/// # Errors
///
/// Fails if an address cannot be bound.
pub(crate) async fn listen(address: &ListenAddress) -> io::Result<Vec<Listener>> {
    match address {
        ListenAddress::Tcp(address) => Ok(vec![Listener::tcp(*address)?]),
        ListenAddress::Localhost(port) => {
            let first = Listener::tcp((Ipv4Addr::LOCALHOST, *port).into())?;
            let port = first.tcp_address().map_or(*port, |address| address.port());
            match Listener::tcp((Ipv6Addr::LOCALHOST, port).into()) {
                Ok(second) => Ok(vec![first, second]),
                Err(error) if is_without_ipv6(&error) => Ok(vec![first]),
                Err(error) => Err(error),
            }
        }
        ListenAddress::Unix(socket) => {
            let listener = listen_unix(socket).await?;
            Ok(vec![Bound::Unix(listener, socket.clone()).into()])
        }
    }
}

/// Binds an address. If the system has no IPv6, `0.0.0.0` replaces `[::]`.
fn of_either_family<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            tracing::info!(
                port = address.port(),
                "the system has no IPv6; serving IPv4 only"
            );
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    [Some(libc::EAFNOSUPPORT), Some(libc::EADDRNOTAVAIL)].contains(&error.raw_os_error())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Accepts IPv4 too, whatever the system's default (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds a Unix domain socket. Replaces a socket that an earlier run left behind, but neither a
/// socket that is in use nor any other file.
async fn listen_unix(unix: &UnixSocket) -> io::Result<UnixListener> {
    let UnixSocket { path, mode, group } = unix;
    let group = group.as_deref().map(group_id).transpose()?;
    if let Ok(there) = std::fs::symlink_metadata(path) {
        // Any other error may mean that a busy process serves the socket.
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let dead =
            there.file_type().is_socket() && UnixStream::connect(path).await.is_err_and(refused);
        if dead {
            std::fs::remove_file(path)?;
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let listening = permit(path, *mode, group).and_then(|()| {
        // Until this call no client can connect, so the permissions apply to all connections.
        socket.listen(BACKLOG)?;
        UnixListener::from_std(socket.into())
    });
    if listening.is_err() {
        let _ = std::fs::remove_file(path);
    }
    listening
}

/// Sets the permissions that decide who may connect.
fn permit(path: &Path, mode: Option<u32>, group: Option<u32>) -> io::Result<()> {
    if let Some(group) = group {
        chown(path, None, Some(group))
            .map_err(|error| io::Error::new(error.kind(), format!("its group: {error}")))?;
    }
    match mode.or(group.map(|_| GROUP_MODE)) {
        Some(mode) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        None => Ok(()),
    }
}

/// The id of a group, which is given by name or number.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let found = nix::unistd::Group::from_name(group)?;
    found
        .map(|found| found.gid.as_raw())
        .ok_or_else(|| io::Error::other(format!("there is no group `{group}` on this system")))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn where_there_is_no_ipv6_ipv4_is_served() {
        for (address, errno, expected) in [
            ("[::]:1", libc::EAFNOSUPPORT, &["[::]:1", "0.0.0.0:1"][..]),
            ("[::]:1", libc::EADDRNOTAVAIL, &["[::]:1", "0.0.0.0:1"]),
            ("[::]:1", libc::EADDRINUSE, &["[::]:1"]),
            ("[::1]:1", libc::EADDRNOTAVAIL, &["[::1]:1"]),
            ("0.0.0.0:1", libc::EADDRNOTAVAIL, &["0.0.0.0:1"]),
        ] {
            let tried = RefCell::new(Vec::new());
            let result: io::Result<()> = of_either_family(address.parse().unwrap(), |address| {
                tried.borrow_mut().push(address.to_string());
                Err(io::Error::from_raw_os_error(errno))
            });
            assert!(result.is_err());
            assert_eq!(tried.into_inner(), expected, "{address} {errno}");
        }
    }
}
