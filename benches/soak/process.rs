//! The claimgate process: its log, its memory and its metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// The time limit for a start, a reload and a certificate.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `claimgate serve`. It is killed when dropped.
pub struct Claimgate {
    pub check: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    log: Arc<Mutex<Log>>,
    /// Notified of each message that the soak waits for.
    notable: watch::Receiver<Notable>,
}

/// What the log has said so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The number of lines of each level.
    pub levels: BTreeMap<String, u64>,
    /// The messages of warnings and errors, with their number.
    pub complaints: BTreeMap<String, u64>,
}

/// How often the log has had these messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Notable {
    reloads: u64,
    certificates: u64,
}

impl Claimgate {
    pub async fn start(binary: &Path, file: &Path) -> Self {
        let any = "127.0.0.1:0";
        let mut child = Command::new(binary)
            .args(["serve", "--log-format", "json", "--log-level", "info"])
            .args(["--listen", any, "--admin-listen", any, "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `{}`: {error}", binary.display()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < 2 {
            let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
            let line = line.expect("claimgate starts");
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            let address = event["address"].as_str().and_then(|text| text.parse().ok());
            addresses.extend::<Option<SocketAddr>>(address);
        }
        let log = Arc::<Mutex<Log>>::default();
        let (notify, notable) = watch::channel(Notable::default());
        tokio::spawn(follow(lines, Arc::clone(&log), notify));
        Self {
            check: addresses[0],
            admin: addresses[1],
            child,
            log,
            notable,
        }
    }

    pub fn log(&self) -> Log {
        self.log.lock().unwrap().clone()
    }

    /// Resident memory, in MiB. Zero if the process has ended.
    pub fn resident(&self) -> f64 {
        let pid = self.child.id().unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }

    /// Waits until this many configurations have been loaded since the start.
    pub async fn reloaded(&self, count: u64) -> bool {
        self.reaches(|notable| notable.reloads >= count).await
    }

    /// Waits until this many certificates have been loaded since the start.
    pub async fn rotated(&self, count: u64) -> bool {
        self.reaches(|notable| notable.certificates >= count).await
    }

    async fn reaches(&self, is_reached: impl Fn(&Notable) -> bool) -> bool {
        let mut notable = self.notable.clone();
        let reached = timeout(PATIENCE, notable.wait_for(is_reached)).await;
        reached.is_ok_and(|reached| reached.is_ok())
    }

    /// Asks the admin port.
    pub async fn ask(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.admin))
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    }

    /// Waits until all providers have keys.
    pub async fn ready(&self) {
        let ready = timeout(PATIENCE, async {
            while self.ask("/readyz").await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        ready.await.expect("claimgate gets its keys");
    }
}

/// Counts the lines of the log until it ends.
async fn follow(
    mut lines: Lines<BufReader<ChildStderr>>,
    log: Arc<Mutex<Log>>,
    notify: watch::Sender<Notable>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let level = event["level"].as_str().unwrap_or("not JSON").to_lowercase();
        let message = event["message"].as_str().unwrap_or(&line);
        notify.send_if_modified(|notable| {
            match message {
                "configuration reloaded" => notable.reloads += 1,
                "TLS certificate reloaded" => notable.certificates += 1,
                _ => return false,
            }
            true
        });
        let mut log = log.lock().unwrap();
        if level != "info" {
            *log.complaints
                .entry(format!("{level}: {message}"))
                .or_default() += 1;
        }
        *log.levels.entry(level).or_default() += 1;
    }
}
