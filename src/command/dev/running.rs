//! What `claimgate dev` prints once everything is ready.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::token::ISSUER;

/// What is running, and where.
pub(super) struct Running {
    pub(super) check: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) issuer: String,
    pub(super) envoy: Option<SocketAddr>,
    pub(super) token: String,
}

impl Running {
    /// For scripts.
    pub(super) fn json(&self) -> Value {
        json!({
            "check": self.check.to_string(),
            "admin": self.admin.to_string(),
            "issuer": self.issuer,
            "envoy": self.envoy.map(|address| format!("http://{address}")),
            "token": self.token,
        })
    }

    /// For people: the commands can be pasted into any other terminal as they are.
    pub(super) fn text(&self) -> String {
        let Self {
            check,
            admin,
            issuer,
            envoy,
            token,
        } = self;
        let program = program();
        let from = match issuer.as_str() {
            ISSUER => String::new(),
            issuer => format!(" --issuer {issuer}"),
        };
        let (api, commands) = match envoy {
            Some(envoy) => (
                format!("  API           http://{envoy}/  (behind Envoy)\n"),
                format!(
                    "\
A request with a token passes, and the API shows the claim headers that reached it:

  curl -i -H \"Authorization: Bearer $({program} dev token{from})\" http://{envoy}/orders

Without a token, the answer is 401 and says why:

  curl -i http://{envoy}/orders

So it does for a token with other claims, here for another API:

  curl -i -H \"Authorization: Bearer $({program} dev token{from} sub=bob aud=billing)\" http://{envoy}/orders"
                ),
            ),
            None => (
                String::new(),
                format!(
                    "\
A token passes:

  {program} dev token{from} | {program} check --target {check} --token -

A token with other claims, here for another API, is denied:

  {program} dev token{from} sub=bob aud=billing | {program} check --target {check} --token -"
                ),
            ),
        };
        format!(
            "
claimgate is ready

{api}  Check (gRPC)  {check}
  admin         http://{admin}/
  issuer        {issuer}

Leave it running. Paste these commands into another terminal.

{commands}

How to ask for other claims:

  {program} dev token --help

Replace the issuer's signing key; claimgate learns of the new one by itself:

  curl -s -X POST {issuer}/rotate

A token for other tools, valid for an hour:

{token}

Ctrl-C stops it.
"
        )
    }
}

/// How another terminal calls this program: by its name if it was found on `PATH`, else by its path.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = called.to_string_lossy();
    match (called.contains('/'), std::env::current_exe()) {
        (true, Ok(path)) => quoted(&path.to_string_lossy()),
        (true, Err(_)) => quoted(&called),
        (false, _) => "claimgate".to_owned(),
    }
}

/// Quoted if needed, so that a shell reads it as one word.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}
