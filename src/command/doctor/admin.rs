//! What a running instance knows about the probes.

use std::net::SocketAddr;

use http::header::HOST;
use http::{Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::command::Failure;
use crate::command::http::exchange;

/// A denial in the instance's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub reason: String,
    /// `false` if the denial was only observed (`enforce: false`).
    pub enforced: bool,
    /// Whether claimgate saw the probe's `traceparent`.
    pub has_trace: bool,
}

/// What the instance says after the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// New `claimgate_bad_connections_total{kind="http1"}`.
    pub http1: u64,
    /// `kind="tls"` and `kind="tls_handshake"`.
    pub tls: u64,
    /// `kind="reset"`.
    pub reset: u64,
    /// `kind="admin_port"`.
    pub admin_port: u64,
    /// New `claimgate_checks_total{decision="allow"}`, of every rule and provider.
    pub allowed: u64,
}

/// An instance's admin port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admin(pub SocketAddr);

impl Admin {
    /// The denial with one of these ids, if the instance remembers one.
    ///
    /// # Errors
    ///
    /// Fails if the instance cannot be asked.
    pub(super) async fn record(self, ids: &[&str]) -> Result<Option<Record>, Failure> {
        for id in ids {
            let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
            let (status, body) = self.get(&format!("/denials/{id}")).await?;
            match status {
                StatusCode::OK => return Ok(Some(read(&serde_json::from_str(&body)?))),
                StatusCode::NOT_FOUND => {}
                StatusCode::FORBIDDEN => {
                    return Err("it shows denials only to its own machine or pod: use \
                                `kubectl port-forward`"
                        .into());
                }
                status => return Err(format!("`/denials` answers {status}").into()),
            }
        }
        Ok(None)
    }

    /// # Errors
    ///
    /// Fails if the instance cannot be asked.
    pub(super) async fn counts(self) -> Result<Counts, Failure> {
        let (status, body) = self.get("/metrics").await?;
        match status {
            StatusCode::OK => Ok(Counts::read(&body)),
            status => Err(format!("`/metrics` answers {status}").into()),
        }
    }

    async fn get(self, path: &str) -> Result<(StatusCode, String), Failure> {
        let stream = TcpStream::connect(self.0).await?;
        let request = Request::get(path)
            .header(HOST, self.0.to_string())
            .body(String::new())?;
        let (status, body) = exchange(stream, request).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn read(record: &Value) -> Record {
    let reason = record.get("reason").and_then(Value::as_str);
    Record {
        reason: reason.unwrap_or_default().to_owned(),
        enforced: record.get("enforced") != Some(&Value::Bool(false)),
        has_trace: record.get("trace_id").is_some_and(Value::is_string),
    }
}

impl Counts {
    fn read(metrics: &str) -> Self {
        let kind = |kind: &str| {
            let series = format!("claimgate_bad_connections_total{{kind=\"{kind}\"}} ");
            let mut counts = metrics
                .lines()
                .filter_map(|line| line.strip_prefix(&series));
            counts
                .next()
                .and_then(|count| count.parse().ok())
                .unwrap_or(0)
        };
        Self {
            http1: kind("http1"),
            tls: kind("tls") + kind("tls_handshake"),
            reset: kind("reset"),
            admin_port: kind("admin_port"),
            allowed: metrics
                .lines()
                .filter(|line| line.starts_with("claimgate_checks_total{decision=\"allow\""))
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
                .sum(),
        }
    }

    /// What was counted since then.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            http1: self.http1.saturating_sub(before.http1),
            tls: self.tls.saturating_sub(before.tls),
            reset: self.reset.saturating_sub(before.reset),
            admin_port: self.admin_port.saturating_sub(before.admin_port),
            allowed: self.allowed.saturating_sub(before.allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_read() {
        let metrics = "# TYPE claimgate_bad_connections_total counter\n\
                       claimgate_bad_connections_total{kind=\"http1\"} 3\n\
                       claimgate_bad_connections_total{kind=\"tls\"} 1\n\
                       claimgate_bad_connections_total{kind=\"tls_handshake\"} 2\n\
                       claimgate_bad_connections_total{kind=\"reset\"} 4\n\
                       claimgate_bad_connections_total{kind=\"admin_port\"} 5\n\
                       claimgate_checks_total{decision=\"allow\",rule=\"a\",provider=\"p\"} 6\n\
                       claimgate_checks_total{decision=\"allow\",rule=\"b\",provider=\"none\"} 1\n\
                       claimgate_checks_total{decision=\"deny\",rule=\"a\",provider=\"p\"} 9\n";
        let counts = Counts::read(metrics);
        let expected = Counts {
            http1: 3,
            tls: 3,
            reset: 4,
            admin_port: 5,
            allowed: 7,
        };
        assert_eq!(counts, expected);
        let none = Counts::default();
        assert_eq!(counts.since(counts), none);
        // A restart in between.
        assert_eq!(none.since(counts), none);
    }

    #[test]
    fn records_are_read() {
        for (record, enforced, has_trace) in [
            (
                json!({"reason": "expired", "enforced": true, "trace_id": null}),
                true,
                false,
            ),
            (
                json!({"reason": "expired", "enforced": false, "trace_id": "4b"}),
                false,
                true,
            ),
        ] {
            let expected = Record {
                reason: "expired".to_owned(),
                enforced,
                has_trace,
            };
            assert_eq!(read(&record), expected);
        }
    }
}
