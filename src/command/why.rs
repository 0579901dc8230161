//! `claimgate why`: why a request was denied.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::http::exchange;
use super::{Failure, Output, complain, say};
use crate::config::{ListenAddress, values};
use crate::guide;

/// Asks a running instance why it denied a request.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate why 8e0b7c1e-5f4c-9d3a-b2c1-0a9e8d7c6b5a\n  \
    kubectl exec deploy/claimgate -- claimgate why 4bf92f3577b34da6a3ce929d0e0e4736\n\n\
    A denial carries the id in its header `x-request-id` and in its body. Each instance remembers\n\
    its last 1,024 denials, without tokens.\n\n\
    Exit codes: 0 found, 1 not among the last denials, 2 the instance could not be asked")]
pub(super) struct Arguments {
    /// The request id or trace id
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,

    /// The admin address of the instance: `host:port`, or `unix:///path`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9002", value_parser = values::listen_address)]
    admin: ListenAddress,

    /// File with the token, if the instance has `admin.token_file`
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        id,
        admin,
        admin_token_file,
        output,
    } = arguments;
    let wrong = |why: &dyn std::fmt::Display| -> Failure {
        format!("cannot ask `{admin}`: {why}; give the instance's `admin.listen` with --admin")
            .into()
    };
    let id = utf8_percent_encode(&id, NON_ALPHANUMERIC);
    let mut request = Request::get(format!("/denials/{id}"));
    if let Some(file) = &admin_token_file {
        let token = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
    }
    let answered = match &admin {
        ListenAddress::Unix(socket) => match UnixStream::connect(&socket.path).await {
            Ok(stream) => {
                exchange(
                    stream,
                    request.header(HOST, "localhost").body(String::new())?,
                )
                .await
            }
            Err(error) => Err(error.into()),
        },
        ListenAddress::Tcp(_) | ListenAddress::Localhost(_) => {
            let address = admin.to_string();
            match TcpStream::connect(&address).await {
                Ok(stream) => {
                    exchange(stream, request.header(HOST, address).body(String::new())?).await
                }
                Err(error) => Err(error.into()),
            }
        }
    };
    // Whichever comes first: a server of HTTP/2 writes unasked, refuses the request, closes or resets.
    let (status, body) = answered.map_err(|error| match error.is::<hyper::Error>() {
        true => wrong(
            &"it does not speak HTTP/1: this is probably `server.listen`, where Envoy sends its checks",
        ),
        false => wrong(&error),
    })?;
    let record: Value = serde_json::from_slice(&body)
        .map_err(|_| wrong(&format!("it answers {status} without JSON")))?;
    match status {
        StatusCode::OK => {
            say(&match output {
                Output::Text => text(&record),
                Output::Json => format!("{record:#}"),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        StatusCode::NOT_FOUND => {
            complain(
                "not found: the request was not denied, another instance denied it, or it is no longer \
                 among the last 1,024 denials; search the log for the id",
            );
            Ok(ExitCode::FAILURE)
        }
        status => {
            let error = record.get("error").and_then(Value::as_str);
            Err(match error {
                Some(error) => format!("`{admin}` refuses: {error}").into(),
                None => wrong(&format!("it answers {status}")),
            })
        }
    }
}

/// A line for each fact.
fn text(record: &Value) -> String {
    let member = |name: &str| record.get(name).filter(|value| !value.is_null()).map(shown);
    let joined = |names: &[&str], between: &str| {
        let parts: Vec<String> = names.iter().filter_map(|name| member(name)).collect();
        (!parts.is_empty()).then(|| parts.join(between))
    };
    let target = joined(&["host", "path"], "");
    let request: Vec<String> = [member("method"), target].into_iter().flatten().collect();
    let is_observed = record.get("enforced") == Some(&Value::Bool(false));
    let (when, effect) = match is_observed {
        true => (
            "passed at",
            Some("none, because of `enforce: false`".to_owned()),
        ),
        false => ("denied at", None),
    };
    let facts = [
        (when, member("time")),
        ("request id", member("request_id")),
        ("trace id", member("trace_id")),
        (
            "request",
            Some(request.join(" ")).filter(|it| !it.is_empty()),
        ),
        ("source", member("source")),
        ("effect", effect),
        ("reason", member("reason")),
        ("rule", member("rule")),
        ("provider", member("provider")),
        ("subject", member("subject")),
        ("client", member("client")),
        (
            "key age",
            member("keys_age_seconds").map(|age| format!("{age} s")),
        ),
        ("detail", member("detail")),
        ("hint", member("hint")),
        ("see", member("see")),
    ];
    let line = |name: &str, fact: &str| format!("{name:<12}{fact}");
    let lines = facts
        .into_iter()
        .filter_map(|(name, fact)| Some(line(name, &fact?)));
    let points = guide::points(&member("reason").unwrap_or_default());
    let points = points
        .iter()
        .map(|point| line(&point.name.to_lowercase(), &point.text));
    // What is known of this denial, and then what is true of its reason.
    let parts = [lines.collect::<Vec<_>>(), points.collect()];
    let parts = parts.iter().filter(|lines| !lines.is_empty());
    let parts: Vec<_> = parts.map(|lines| lines.join("\n")).collect();
    parts.join("\n\n")
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
