//! `/diff`: how the configuration file on disk differs from the configuration in force, as
//! `claimgate diff` says it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

use super::Admin;
use crate::config::Config;
use crate::diff::{self, Differences, Limits, Side};
use crate::gate::Generation;
use crate::time::UnixTime;

/// Lets one comparison run at a time: it takes up to a second of one core.
static RUNNING: Semaphore = Semaphore::const_new(1);

/// Less work than for the command, because the service also decides requests.
const LIMITS: Limits = Limits {
    shapes: 20_000,
    trials: 40_000,
    tokens: 2_000,
};

/// What there is to say about the file.
enum Compared {
    /// It is valid.
    Differences(Box<Differences>),
    /// It has problems, so it cannot be put in force.
    Rejected(String),
}

pub(super) async fn diff(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let Some(load) = admin.file.load.clone() else {
        let why = "there is no configuration file: flags or variables configure the service";
        return refuse(StatusCode::NOT_FOUND, why);
    };
    let generation = admin.gate.generation();
    let now = admin.gate.now();
    let compared = alone(&RUNNING, move || match load.read() {
        Ok(config) => compare(&generation, &config, now)
            .map(Box::new)
            .map(Compared::Differences),
        Err(error) => Ok(Compared::Rejected(error.to_string())),
    });
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    match compared.await {
        Some(Ok(Ok(compared))) => compared.respond(is_browser, admin.file.restart_needed()),
        Some(Ok(Err(error))) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        // The process is ending, or the comparison has a bug.
        Some(Err(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the comparison failed"),
        None => refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "another comparison is running: try again in a second",
        ),
    }
}

/// Does the work on a thread that may block. `None` if other work runs, even if the client that asked
/// for it has gone.
async fn alone<T: Send + 'static>(
    running: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<Result<T, JoinError>> {
    let permit = running.try_acquire().ok()?;
    let work = spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    Some(work.await)
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, axum::Json(json!({ "error": why }))).into_response()
}

fn compare(
    generation: &Arc<Generation>,
    file: &Config,
    now: UnixTime,
) -> Result<Differences, diff::Error> {
    let comparable = generation.comparable.as_ref();
    let comparable = comparable.unwrap_or(&generation.effective);
    let settings: Value = serde_json::from_str(comparable).unwrap_or_default();
    let in_force = Side::old(&generation.policy, &generation.denials, settings);
    let on_disk = Side::new(&file.policy, &file.denials, file.comparable());
    diff::compare(&in_force, &on_disk, now, LIMITS)
}

impl Compared {
    fn respond(&self, is_browser: bool, restart_needed: Option<String>) -> Response {
        match is_browser {
            true => {
                let text = match self {
                    Self::Differences(differences) => format!(
                        "The file on disk (after) beside the configuration in force (before):\n\n{}",
                        differences.text()
                    ),
                    Self::Rejected(why) => format!("The file has problems:\n\n{why}"),
                };
                let restart = restart_needed.map(|words| format!("\n\n{words}"));
                let text = format!("{text}{}\n", restart.unwrap_or_default());
                ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
            }
            false => {
                let mut report = match self {
                    Self::Differences(differences) => differences.json(),
                    Self::Rejected(why) => json!({"file_rejected": why}),
                };
                if let Some(members) = report.as_object_mut() {
                    members.insert("restart_needed".to_owned(), restart_needed.into());
                }
                let text = format!("{report:#}\n");
                ([(CONTENT_TYPE, "application/json")], text).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::time::{Duration, timeout};

    use super::*;

    /// A client that goes away does not let the next one start a second comparison.
    #[tokio::test]
    async fn one_at_a_time() {
        static RUNNING: Semaphore = Semaphore::const_new(1);
        let (end, ended) = channel::<()>();
        let first = alone(&RUNNING, move || ended.recv());
        assert!(timeout(Duration::ZERO, first).await.is_err());
        assert!(alone(&RUNNING, || ()).await.is_none());
        end.send(()).unwrap();
        while alone(&RUNNING, || ()).await.is_none() {
            tokio::task::yield_now().await;
        }
    }
}
