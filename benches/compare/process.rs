//! Processes on separate cores, and what they cost.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::{self, Load, Outcome, Pace, Protocol, Refused};

/// The core of the servers, and the core of the clients.
pub const SERVER: &str = "0";
pub const CLIENT: &str = "1";
pub const BOTH: &str = "0,1";

/// A server process. It is killed when dropped.
pub struct Server {
    child: Child,
    pub server: load::Server,
}

/// What the reference does for each check besides answering it.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    Nothing,
    Verification,
    /// Answers with the `CheckResponse` in this file.
    Answer(&'a Path),
}

impl Server {
    /// The reference, run from this program.
    pub fn constant(cores: &str, work: Work<'_>) -> Self {
        let address = free_address();
        let own = std::env::current_exe().unwrap();
        let mut command = pinned(cores, &own);
        let listen = address.to_string();
        match work {
            Work::Nothing => command.args(["constant", &listen]),
            Work::Verification => command.args(["verifying", &listen]),
            Work::Answer(file) => command.args(["answering", &listen]).arg(file),
        };
        Self::start(command, load::Server::Tcp(address))
    }

    /// The release build of claimgate with this configuration.
    pub fn claimgate(cores: &str, config: &Path) -> Self {
        let address = free_address();
        let listen = address.to_string();
        Self::claimgate_on(cores, config, load::Server::Tcp(address), &listen)
    }

    /// The same on a Unix socket at this path.
    pub fn claimgate_on_unix(cores: &str, config: &Path, socket: PathBuf) -> Self {
        let listen = format!("unix://{}", socket.display());
        Self::claimgate_on(cores, config, load::Server::Unix(socket), &listen)
    }

    /// The same, with the address of its admin listener.
    pub fn claimgate_with_admin(cores: &str, config: &Path) -> (Self, SocketAddr) {
        let (check, admin) = (free_address(), free_address());
        let mut command = serve(cores, config);
        command.args(["--admin-listen", &admin.to_string()]);
        command.args(["--listen", &check.to_string()]);
        (Self::start(command, load::Server::Tcp(check)), admin)
    }

    fn claimgate_on(cores: &str, config: &Path, server: load::Server, listen: &str) -> Self {
        let mut command = serve(cores, config);
        command.args(["--admin-listen", "127.0.0.1:0", "--listen", listen]);
        Self::start(command, server)
    }

    /// Starts `command`, which must serve on the address in `server`.
    pub fn start(mut command: Command, server: load::Server) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self { child, server }
    }

    /// Waits until the server allows this message.
    pub fn wait(self, protocol: Protocol, message: &[u8]) -> Self {
        block_on(async {
            let first = self.server.first(protocol, message);
            let waited = tokio::time::timeout(Duration::from_secs(20), first).await;
            waited.expect("the server does not allow what it should");
        });
        self
    }

    /// The CPU time of all its threads so far.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanoseconds = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanoseconds)
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }

    /// A load of `count` checks as fast as they are answered, over two connections with 32 streams
    /// each.
    pub fn checks(&self, file: &Path, count: usize) -> Load {
        Load {
            server: self.server.clone(),
            protocol: Protocol::Check,
            file: file.to_owned(),
            pace: Pace::Closed { count },
            connections: 2,
            streams: 32,
            refused: Refused::None,
        }
    }

    /// Microseconds of CPU time per request of a load.
    pub fn cost(&self, cores: &str, load: &Load) -> f64 {
        let before = self.cpu();
        let outcome = ask(cores, load);
        (self.cpu() - before).as_secs_f64() * 1e6 / outcome.count as f64
    }
}

/// The command `claimgate serve` with this configuration.
fn serve(cores: &str, config: &Path) -> Command {
    let mut command = pinned(cores, Path::new(env!("CARGO_BIN_EXE_claimgate")));
    command.arg("serve").arg("--config").arg(config);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a future to completion.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// How often a load is tried. If the machine does something else for a moment, Envoy's time-out ends checks,
/// and the load fails.
const ATTEMPTS: usize = 3;

/// Runs a load in a separate process.
pub fn ask(cores: &str, load: &Load) -> Outcome {
    let outcome = (1..=ATTEMPTS).find_map(|attempt| {
        let outcome = attempted(cores, load);
        if outcome.is_none() {
            eprintln!("A load has failed (attempt {attempt} of {ATTEMPTS}): is the machine busy?");
        }
        outcome
    });
    outcome.expect("the load failed")
}

/// The outcome of a load. `None` if it failed, and then standard error says why.
fn attempted(cores: &str, load: &Load) -> Option<Outcome> {
    let own = std::env::current_exe().unwrap();
    let mut command = pinned(cores, &own);
    command.arg("load").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let load = serde_json::to_vec(load).unwrap();
    child.stdin.take().unwrap().write_all(&load).unwrap();
    let done = child.wait_with_output().unwrap();
    let succeeded = done.status.success();
    succeeded.then(|| serde_json::from_slice(&done.stdout).unwrap())
}

pub fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program);
    command
}

pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The Envoy that `make` installs.
pub fn envoy() -> PathBuf {
    match std::env::var_os("ENVOY_BIN") {
        Some(path) => path.into(),
        None => panic!("ENVOY_BIN is not set: run `make bench`"),
    }
}
