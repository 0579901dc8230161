//! The binary.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// The binary, with an empty environment.
pub fn claimgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimgate"));
    for variable in [
        "OIDC_ISSUER",
        "OIDC_AUDIENCE",
        "OIDC_ANY_AUDIENCE",
        "OIDC_JWKS_URL",
        "CLAIMGATE_LOG",
        "NOTIFY_SOCKET",
        "RUST_LOG",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ] {
        command.env_remove(variable);
    }
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(variable);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The result of a command.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs the command to its end.
pub async fn run(arguments: &[&str], input: &str) -> Outcome {
    let mut child = claimgate(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input has closed it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// How long a process may log nothing, on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Reads log lines (JSON) until one has this message.
pub async fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, text: &str) -> Value {
    let [line] = lines_with(lines, [text]).await;
    line
}

/// Reads log lines (JSON) until each of these messages came, in any order.
pub async fn lines_with<const COUNT: usize>(
    lines: &mut Lines<BufReader<ChildStderr>>,
    texts: [&str; COUNT],
) -> [Value; COUNT] {
    let mut found = [const { None }; COUNT];
    while found.iter().any(Option::is_none) {
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("the log stands still without one of {texts:?}"));
        let Some(line) = line.unwrap() else {
            panic!("the log ended without one of {texts:?}");
        };
        let event: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        let wanted = texts.iter().zip(&mut found);
        for (_, found) in
            wanted.filter(|(text, found)| found.is_none() && event["message"] == **text)
        {
            *found = Some(event.clone());
        }
    }
    found.map(Option::unwrap)
}

/// Sends SIGTERM, and waits for the exit code.
pub async fn terminate(mut child: Child) -> Option<i32> {
    signal(&child, "TERM").await;
    child.wait().await.unwrap().code()
}

/// Sends a signal.
pub async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status()
        .await;
    assert!(sent.unwrap().success());
}
