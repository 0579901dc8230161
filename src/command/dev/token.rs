//! `claimgate dev token`.

use std::collections::HashSet;
use std::io;
use std::process::ExitCode;

use clap::Args;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use serde_json::{Map, Number, Value};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::super::http::exchange;
use super::super::{Failure, say};

/// Where `claimgate dev` runs its issuer, unless that port is taken.
pub(super) const ISSUER: &str = "http://127.0.0.1:9003";

/// Prints a new token of the issuer of a running `claimgate dev`, and nothing else.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    curl -i -H \"Authorization: Bearer $(claimgate dev token sub=bob)\" http://127.0.0.1:8000/orders\n  \
    claimgate dev token scope='orders:read orders:write' email_verified=true\n  \
    claimgate dev token realm_access='{\"roles\": [\"admin\"]}' aud='[\"orders-api\", \"billing\"]'\n  \
    claimgate dev token --expires-in -300       # expired five minutes ago\n  \
    claimgate dev token client_id=null          # without this claim\n\n\
    A value that is JSON is taken as JSON: a number, `true`, `false`, an array, an object, or text in\n\
    double quotes. Any other value is text, and so are integers beyond 64 bits. For text that looks\n\
    like JSON, add the quotes: sub='\"42\"'. `null` removes a claim.\n\n\
    Claims unless given: iss, sub (alice), aud (orders-api), client_id (dev-client), scope\n\
    (orders:read), iat, exp (in an hour) and jti.")]
pub(in crate::command) struct Arguments {
    /// A claim and its value
    #[arg(value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,

    /// Seconds from now until the token expires; negative for an expired token
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        default_value_t = 3600
    )]
    expires_in: i64,

    /// The issuer, as `claimgate dev` prints it
    #[arg(long, value_name = "URL", default_value = ISSUER, value_parser = loopback)]
    issuer: Url,
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = match text.split_once('=') {
        Some(("", _)) | None => return Err("expected `NAME=VALUE`, such as `sub=bob`".to_owned()),
        Some(claim) => claim,
    };
    let value = match serde_json::from_str(value) {
        // As a number it would lose digits. Long ids therefore become text.
        Ok(Value::Number(number)) if is_rounded(&number, value) => Value::from(value),
        Ok(json) => json,
        Err(_) => Value::from(value),
    };
    Ok((name.to_owned(), value))
}

fn is_rounded(number: &Number, text: &str) -> bool {
    number.is_f64() && !text.contains(['.', 'e', 'E'])
}

/// Only URLs of this machine: the claims may be confidential, and must not leave it.
fn loopback(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() == "http" && is_loopback {
        true => Ok(url),
        false => Err(
            "the issuer of `claimgate dev` has an `http` URL with a loopback address".to_owned(),
        ),
    }
}

pub(in crate::command) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        claims,
        expires_in,
        issuer,
    } = arguments;
    let mut names = HashSet::new();
    if let Some((name, _)) = claims.iter().find(|(name, _)| !names.insert(name.clone())) {
        return Err(format!("the claim `{name}` is given twice").into());
    }
    let claims: Map<_, _> = claims.into_iter().collect();
    // The issuer uses the last value: an `exp` among the claims overrides `expires_in`.
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("expires_in", &expires_in.to_string())
        .append_pair("claims", &Value::from(claims).to_string())
        .finish();
    let (status, answer) = ask(&issuer, form).await?;
    let member = |name: &str| answer.get(name).and_then(Value::as_str);
    match (member("access_token"), member("error_description")) {
        (Some(token), _) => say(token)?,
        (None, Some(why)) => return Err(format!("the issuer refuses: {why}").into()),
        (None, None) => {
            let why = format!("status {status}, no token");
            return Err(not_the_issuer(&issuer, &why));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The issuer's answer to this form: its status, and `null` in place of what is not JSON.
async fn ask(issuer: &Url, form: String) -> Result<(StatusCode, Value), Failure> {
    let host = issuer.host_str().unwrap_or_default();
    let port = issuer.port_or_known_default().unwrap_or_default();
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    let stream = stream.map_err(|error| {
        let origin = origin(issuer);
        match error.kind() {
            io::ErrorKind::ConnectionRefused => format!(
                "nothing listens at `{origin}`: start `claimgate dev` first, in another terminal; if it \
                 runs, give the address of its issuer, which it prints: `--issuer URL`"
            ),
            _ => format!("cannot connect to `{origin}`: {error}"),
        }
    })?;
    let request = Request::post("/token")
        .header(HOST, format!("{host}:{port}"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form)?;
    match exchange(stream, request).await {
        Ok((status, body)) => Ok((status, serde_json::from_slice(&body).unwrap_or_default())),
        Err(error) => Err(not_the_issuer(issuer, &error.to_string())),
    }
}

fn not_the_issuer(issuer: &Url, why: &str) -> Failure {
    let origin = origin(issuer);
    format!(
        "`{origin}` is not the issuer of a `claimgate dev`, which prints the issuer's address ({why})"
    )
    .into()
}

fn origin(issuer: &Url) -> String {
    issuer.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_json_or_text() {
        for (text, expected) in [
            ("sub=bob", json!("bob")),
            ("sub=a=b", json!("a=b")),
            ("sub=", json!("")),
            ("level=2", json!(2)),
            ("level=-1.5", json!(-1.5)),
            ("level=007", json!("007")),
            ("level=1e400", json!("1e400")),
            (
                "id=18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("id=104567890123456789012", json!("104567890123456789012")),
            ("email_verified=true", json!(true)),
            ("email_verified=True", json!("True")),
            ("nickname=null", Value::Null),
            ("sub=\"42\"", json!("42")),
            ("roles=[\"a\", 1]", json!(["a", 1])),
            ("roles=[a]", json!("[a]")),
            ("address={\"country\": \"SE\"}", json!({"country": "SE"})),
        ] {
            assert_eq!(claim(text).unwrap().1, expected, "{text}");
        }
        for text in ["sub", "=bob", ""] {
            assert!(claim(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_is_asked() {
        for (url, expected) in [
            ("http://127.0.0.1:9003", true),
            ("http://127.8.0.1:1/", true),
            ("http://localhost:9003", true),
            ("http://[::1]:9003", true),
            ("https://127.0.0.1:9003", false),
            ("http://10.0.0.1:9003", false),
            ("http://localhost.example:9003", false),
            ("http://[2001:db8::1]", false),
            ("http://127.0.0.1@evil.example", false),
            ("127.0.0.1:9003", false),
        ] {
            assert_eq!(loopback(url).is_ok(), expected, "{url}");
        }
    }
}
