//! The life of the process: signals, and what systemd is told.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::path::Path;
use std::time::Duration;

use claimgate::keyring::Algorithm::Es256;
use nix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Command;
use tokio::task::spawn_blocking;

use crate::support::command::{claimgate, line_with, signal, terminate};
use crate::support::gate::provider;
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;

const ANY: &str = "127.0.0.1:0";
const SERVING: &str = "serving /livez, /readyz and /metrics";

/// `claimgate serve` with this file and free ports.
fn serve(file: &Path) -> Command {
    let file = file.to_str().unwrap();
    let mut command = claimgate(&["serve", "--config", file, "--log-format", "json"]);
    command.args(["--listen", ANY, "--admin-listen", ANY]);
    command
}

/// A file with this text.
fn config(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, text).unwrap();
    (directory, file)
}

/// Reading the configuration hangs, as on a dead file system. As PID 1, the process would not even
/// die by a signal that it does not handle.
#[tokio::test]
async fn a_start_that_hangs_can_be_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let made = Command::new("mkfifo").arg(&file).status().await.unwrap();
    assert!(made.success());
    for name in ["TERM", "INT"] {
        let mut child = serve(&file).spawn().unwrap();
        let pipe = file.clone();
        // Opens as soon as the child begins to read.
        let opened = spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
        let _writer = opened.await.unwrap().unwrap();
        signal(&child, name).await;
        assert_eq!(child.wait().await.unwrap().code(), Some(0), "{name}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let text = format!(
        "server: {{ drain: 10m }}\n{}",
        provider(&issuer, "acme", "")
    );
    let (_directory, file) = config(&text);
    for (first, second, code) in [
        ("TERM", "TERM", 143),
        ("INT", "INT", 130),
        ("INT", "TERM", 143),
    ] {
        let mut child = serve(&file).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let check = line_with(&mut lines, "serving Check").await["address"].clone();
        // Without it, the drain period would end early.
        let _client = TcpStream::connect(check.as_str().unwrap()).await.unwrap();
        line_with(&mut lines, SERVING).await;
        signal(&child, first).await;
        line_with(&mut lines, "draining").await;
        signal(&child, second).await;
        assert_eq!(
            child.wait().await.unwrap().code(),
            Some(code),
            "{first}, {second}"
        );
    }
}

#[tokio::test]
async fn the_drain_period_ends_when_nobody_is_connected() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let text = format!(
        "server: {{ drain: 10m }}\n{}",
        provider(&issuer, "acme", "")
    );
    let (_directory, file) = config(&text);
    let mut child = serve(&file).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let check = line_with(&mut lines, "serving Check").await["address"].clone();
    line_with(&mut lines, SERVING).await;
    let client = TcpStream::connect(check.as_str().unwrap()).await.unwrap();
    signal(&child, "TERM").await;
    line_with(&mut lines, "draining").await;
    drop(client);
    line_with(&mut lines, "no client is connected any more").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// The next message for systemd that is not a sign of life.
async fn told(socket: &UnixDatagram) -> String {
    loop {
        let message = any_told(socket).await;
        if message != "WATCHDOG=1" {
            return message;
        }
    }
}

async fn any_told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).await.unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

fn monotonic() -> u128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_micros()
}

/// READY=1 does not wait for keys. Everything that follows is told in order, with a path and with an
/// abstract name.
#[tokio::test]
async fn systemd_is_told_each_phase() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    issuer.reply(JWKS, Reply::Hang);
    let (directory, file) = config(&provider(&issuer, "acme", "refresh: { min: 1s }"));
    let path = directory.path().join("notify");
    let name = format!("claimgate-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let sockets = [
        (
            path.to_str().unwrap().to_owned(),
            SocketAddr::from_pathname(&path).unwrap(),
        ),
        (format!("@{name}"), abstract_name),
    ];
    for (variable, address) in sockets {
        let socket = StdDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::from_std(socket).unwrap();
        let child = serve(&file)
            .env("NOTIFY_SOCKET", &variable)
            .env("WATCHDOG_USEC", "20000")
            .spawn()
            .unwrap();
        let mut first = [told(&socket).await, told(&socket).await];
        first.sort();
        assert_eq!(first, ["READY=1", "STATUS=not ready: no keys of acme"]);
        while any_told(&socket).await != "WATCHDOG=1" {}

        let begin = monotonic();
        signal(&child, "HUP").await;
        let reloading = told(&socket).await;
        let time = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        let time: u128 = time.parse().unwrap();
        assert!((begin..=monotonic()).contains(&time), "{time}");
        assert_eq!(told(&socket).await, "READY=1");

        signal(&child, "TERM").await;
        let mut last = [told(&socket).await, told(&socket).await];
        last.sort();
        assert_eq!(last, ["STATUS=shutting down", "STOPPING=1"]);
        drop(child);
    }
}

/// Without a file there is nothing to reload, but `systemctl reload` must not wait forever. A manager
/// that cannot be reached holds up nothing.
#[tokio::test]
async fn systemd_may_ask_in_vain_or_be_gone() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let start = |variable: &str| {
        claimgate(&[
            "serve",
            "--log-format",
            "json",
            "--listen",
            ANY,
            "--admin-listen",
            ANY,
        ])
        .env("OIDC_ISSUER", issuer.url())
        .env("OIDC_AUDIENCE", "orders-api")
        .env("NOTIFY_SOCKET", variable)
        .spawn()
        .unwrap()
    };
    let socket = UnixDatagram::bind(&path).unwrap();
    let child = start(path.to_str().unwrap());
    let mut messages = Vec::new();
    while !(messages.contains(&"STATUS=ready".to_owned())
        && messages.contains(&"READY=1".to_owned()))
    {
        messages.push(any_told(&socket).await);
    }
    signal(&child, "HUP").await;
    assert!(told(&socket).await.starts_with("RELOADING=1\n"));
    assert_eq!(told(&socket).await, "READY=1");
    assert_eq!(terminate(child).await, Some(0));

    for variable in ["/nonexistent/notify", "vsock:2:1234"] {
        let mut child = start(variable);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let warning = "cannot reach the service manager (`NOTIFY_SOCKET`)";
        assert_eq!(line_with(&mut lines, warning).await["address"], variable);
        line_with(&mut lines, SERVING).await;
        assert_eq!(terminate(child).await, Some(0));
    }
}
