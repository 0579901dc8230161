//! Tells systemd about the service's state, as `sd_notify(3)` describes: one datagram per message.

use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{MissedTickBehavior, interval};

use crate::telemetry::every_minute::EveryMinute;

/// The connection to systemd. Without one, messages go nowhere.
#[derive(Clone, Debug, Default)]
pub struct Systemd {
    socket: Option<Arc<Connected>>,
    /// The time between two signs of life.
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Connected {
    socket: Socket,
    log: EveryMinute,
}

impl Systemd {
    /// Connects to the service manager that `NOTIFY_SOCKET` names, if any. A manager that cannot be
    /// reached is logged: the service works without it.
    pub fn from_environment() -> Self {
        let Some(address) = variable("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = match connect(&address) {
            Ok(socket) => socket,
            Err(error) => {
                let address = address.display();
                tracing::warn!(%error, %address, "cannot reach the service manager (`NOTIFY_SOCKET`)");
                return Self::default();
            }
        };
        let [time, process] = ["WATCHDOG_USEC", "WATCHDOG_PID"].map(variable);
        Self {
            socket: Some(Arc::new(Connected {
                socket,
                log: EveryMinute::default(),
            })),
            watchdog: watchdog(time.as_deref(), process.as_deref(), std::process::id()),
        }
    }

    /// The service accepts connections. Whether it has keys is not systemd's concern, but that of
    /// `/readyz`: while a provider is down, a start that waits for keys would time out, be repeated
    /// in vain, and hold up the units that come after it, such as Envoy.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// A reload begins. It ends with [`Systemd::ready`].
    pub(crate) fn reloading(&self) {
        // Only Linux has systemd, and there this clock always works.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let now = now.unwrap_or_default().as_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// The service ends.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// What `systemctl status` shows.
    pub(crate) fn status(&self, text: &str) {
        // A new line would begin another message.
        let text = text.replace(char::is_control, " ");
        self.send(&format!("STATUS={text}"));
    }

    /// Gives signs of life, if systemd wants them. As a task of the runtime that serves checks, it
    /// falls silent if that is stuck. Runs until the future is dropped.
    pub(crate) async fn watchdog(self) {
        let Some(time) = self.watchdog else {
            return pending().await;
        };
        let mut ticks = interval(time);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        let Some(Connected { socket, log }) = self.socket.as_deref() else {
            return;
        };
        if let Err(error) = socket.send(message.as_bytes())
            && let Some(times) = log.due()
        {
            tracing::warn!(%error, times, "cannot notify the service manager");
        }
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Connects to a path, or to an abstract name, which begins with `@`.
fn connect(address: &OsStr) -> io::Result<Socket> {
    let path = match address.as_bytes() {
        [b'@', name @ ..] => OsString::from_vec([b"\0", name].concat()),
        [b'/', ..] => address.to_owned(),
        _ => {
            return Err(io::Error::other(
                "it is neither a path nor an abstract name",
            ));
        }
    };
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    // A manager that does not read must not hold up the service.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// Half of the time after which systemd takes the service for dead. `None` if the watchdog is off,
/// or meant for another process.
fn watchdog(time: Option<&OsStr>, process: Option<&OsStr>, own: u32) -> Option<Duration> {
    if process.is_some_and(|process| process != own.to_string().as_str()) {
        return None;
    }
    let micros: u64 = time?.to_str()?.parse().ok()?;
    (micros >= 2).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_needed() {
        let half = Some(Duration::from_secs(15));
        for (time, process, expected) in [
            (Some("30000000"), None, half),
            (Some("30000000"), Some("7"), half),
            (Some("30000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            let found = watchdog(time.map(OsStr::new), process.map(OsStr::new), 7);
            assert_eq!(found, expected, "{time:?} {process:?}");
        }
    }
}
