//! Processes on a core of their own, and what they cost.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load;

/// The core of the servers, and that of whoever asks them.
const SERVER: &str = "0";
const CLIENT: &str = "1";

/// Clock ticks of `/proc/PID/stat` (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A server; it is killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// The reference, from this very program.
    pub fn constant() -> Self {
        let address = free_address();
        let own = std::env::current_exe().unwrap();
        let mut command = pinned(SERVER, &own);
        command.args(["constant", &address.to_string()]);
        Self::start(command, address)
    }

    /// claimgate with this configuration, the release build.
    pub fn claimgate(config: &Path) -> Self {
        let address = free_address();
        let mut command = pinned(SERVER, Path::new(env!("CARGO_BIN_EXE_claimgate")));
        command
            .args([
                "serve",
                "--log-level",
                "warn",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .arg("--config")
            .arg(config)
            .args(["--listen", &address.to_string()]);
        Self::start(command, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        Self { child, address }
    }

    /// Waits until it allows this.
    pub fn wait(&self, message: &[u8]) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(load::first(self.address, message));
    }

    /// CPU time so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which may have spaces in it: the 14th and 15th of all fields.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().unwrap())
            .sum();
        Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
    }

    /// Resident memory, in MiB.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }

    /// Has the messages of a file asked `count` times, from another core.
    pub fn ask(&self, messages: &Path, count: usize) {
        let own = std::env::current_exe().unwrap();
        let asked = pinned(CLIENT, &own)
            .args(["load", &self.address.to_string()])
            .arg(messages)
            .args([&count.to_string(), "2", "32"])
            .status();
        assert!(asked.unwrap().success());
    }

    /// Microseconds of CPU time for each of so many checks.
    pub fn cost(&self, messages: &Path, count: usize) -> f64 {
        let before = self.cpu();
        self.ask(messages, count);
        (self.cpu() - before).as_secs_f64() * 1e6 / count as f64
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What has ended already is no matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}
