//! Calls of the Model Context Protocol (MCP), revision 2026-07-28, told apart by their headers.
//!
//! `Mcp-Method` repeats the JSON-RPC method of the body, and `Mcp-Name` what it is about: the tool, the
//! prompt or the resource. A server of that revision refuses a request whose headers and body differ.
//! A server of an earlier one does not compare them, so that a client could say one thing and do
//! another: only requests that claim the revision are told apart, and all others are refused where a
//! rule would have to.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::escaped::listed;
use crate::request::{Request, is_alias};

/// The calls that a rule is about: those that meet both. What is empty matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpPattern {
    /// The JSON-RPC method is one of these: `tools/call`.
    pub methods: Vec<String>,
    /// The tool, prompt, resource or task is one of these.
    pub names: Vec<String>,
}

/// The methods whose calls name something, and so carry `Mcp-Name`.
pub const NAMED_METHODS: [&str; 6] = [
    "prompts/get",
    "resources/read",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    "tools/call",
];

/// The first revision whose servers compare headers and body.
const FIRST_REVISION: &str = "2026-07-28";

const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const VERSION: &str = "mcp-protocol-version";

/// What the headers of a request say about an MCP call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum McpCall<'r> {
    /// Not a `POST`, so not a call; or no rule asks.
    #[default]
    None,
    /// A call.
    Call {
        /// The JSON-RPC method.
        method: &'r str,
        /// What it is about, decoded.
        name: Option<Cow<'r, str>>,
    },
    /// A `POST` that could be any call.
    Unclear(Unclear),
}

/// Why headers do not tell which call a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// No `MCP-Protocol-Version`, or an earlier one.
    #[error(
        "its `mcp-protocol-version` is absent or before {FIRST_REVISION}, so that its server does \
         not compare `mcp-method` and `mcp-name` with the body"
    )]
    OldRevision,
    /// No `Mcp-Method`.
    #[error("it has no `mcp-method`")]
    NoMethod,
    /// No `Mcp-Name` although the method names something.
    #[error("it has no `mcp-name`, which its `mcp-method` requires")]
    NoName,
    /// A header is repeated, or comes under another spelling of its name.
    #[error("its `{0}` is repeated, has a comma, or comes under another spelling of the name")]
    Repeated(&'static str),
    /// Not plain text, and not the Base64 form of it.
    #[error("its `{0}` is neither plain ASCII nor `=?base64?…?=` of UTF-8")]
    Encoding(&'static str),
}

impl McpPattern {
    /// Whether the rule is about this call. It is about an unclear one, too: whoever would be let
    /// through by another rule must not be by leaving headers out.
    pub(super) fn is_of(&self, call: &McpCall<'_>) -> bool {
        let Self { methods, names } = self;
        match call {
            McpCall::None => false,
            McpCall::Unclear(_) => true,
            McpCall::Call { method, name } => {
                let is_named = |own: &String| name.as_deref() == Some(own.as_str());
                (methods.is_empty() || methods.iter().any(|own| own == method))
                    && (names.is_empty() || names.iter().any(is_named))
            }
        }
    }
}

impl fmt::Display for McpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { methods, names } = self;
        let of = |what: &str, list: &[String]| format!("{what} {}", listed(list, " or "));
        let parts = [("method", methods), ("name", names)];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(what, list)| of(what, list))
            .collect();
        write!(f, "an MCP call with {}", parts.join(" and "))
    }
}

impl<'r> McpCall<'r> {
    /// What the headers of a request say.
    pub fn of(request: &Request<'r>) -> Self {
        // All calls, notifications and responses are posted (Streamable HTTP).
        match request.method {
            "POST" => Self::posted(request).unwrap_or_else(Self::Unclear),
            _ => Self::None,
        }
    }

    fn posted(request: &Request<'r>) -> Result<Self, Unclear> {
        let version = single(request, VERSION)?.ok_or(Unclear::OldRevision)?;
        if !is_date(version) || version < FIRST_REVISION {
            return Err(Unclear::OldRevision);
        }
        let method = single(request, METHOD)?.ok_or(Unclear::NoMethod)?;
        let name = single(request, NAME)?;
        if name.is_none() && NAMED_METHODS.contains(&method) {
            return Err(Unclear::NoName);
        }
        Ok(Self::Call {
            method,
            name: name.map(decoded).transpose()?,
        })
    }
}

/// Revisions are named by their dates.
fn is_date(version: &str) -> bool {
    let mut bytes = version.bytes().zip(FIRST_REVISION.bytes());
    version.len() == FIRST_REVISION.len()
        && bytes.all(|(byte, of_first)| match of_first {
            b'-' => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// The value of a header that comes once. A proxy may have joined two lines with a comma.
fn single<'r>(request: &Request<'r>, name: &'static str) -> Result<Option<&'r str>, Unclear> {
    let repeated = Unclear::Repeated(name);
    if request.headers.names().any(|sent| is_alias(name, sent)) {
        return Err(repeated);
    }
    let mut values = request.headers.all(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || value.contains(&b',') {
        return Err(repeated);
    }
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let value = str::from_utf8(value).ok().filter(|_| is_plain);
    value
        .map(|value| Some(value.trim_matches(' ')))
        .ok_or(Unclear::Encoding(name))
}

/// A name without the Base64 that stands for what is not plain.
fn decoded(value: &str) -> Result<Cow<'_, str>, Unclear> {
    const PREFIX: &str = "=?base64?";
    let is_marked = value
        .get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    if !is_marked {
        return Ok(Cow::Borrowed(value));
    }
    value
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix("?="))
        .and_then(|base64| BASE64_STANDARD.decode(base64).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Cow::Owned)
        .ok_or(Unclear::Encoding(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    const REVISION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const TOOL: (&str, &str) = ("mcp-method", "tools/call");

    fn read<'r>(method: &'r str, lines: Lines<'r>) -> McpCall<'r> {
        let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
        McpCall::of(&Request {
            method,
            headers: lines.collect(),
            ..Request::default()
        })
    }

    #[test]
    fn clear_calls() {
        for (lines, method, name) in [
            (
                &[REVISION, TOOL, ("Mcp-Name", "a")][..],
                "tools/call",
                Some("a"),
            ),
            (
                &[REVISION, ("mcp-method", "tools/list")],
                "tools/list",
                None,
            ),
            (
                &[REVISION, TOOL, ("mcp-name", "=?base64?bMO2?=")],
                "tools/call",
                Some("lö"),
            ),
            (
                &[REVISION, TOOL, ("mcp-name", "=?base64?YQ==?=")],
                "tools/call",
                Some("a"),
            ),
            (
                &[
                    ("mcp-protocol-version", "2027-01-01"),
                    TOOL,
                    ("mcp-name", "a"),
                ],
                "tools/call",
                Some("a"),
            ),
        ] {
            let name = name.map(|name| Cow::Owned(name.to_owned()));
            assert_eq!(
                read("POST", lines),
                McpCall::Call { method, name },
                "{lines:?}"
            );
        }
        assert_eq!(read("GET", &[REVISION, TOOL]), McpCall::None);
    }

    #[test]
    fn unclear_calls() {
        use Unclear::{Encoding, NoMethod, NoName, OldRevision, Repeated};
        let named = |name| [REVISION, TOOL, ("mcp-name", name)];
        for (lines, why) in [
            (&[][..], OldRevision),
            (&[TOOL, ("mcp-name", "a")], OldRevision),
            (
                &[
                    ("mcp-protocol-version", "2025-11-25"),
                    TOOL,
                    ("mcp-name", "a"),
                ],
                OldRevision,
            ),
            (
                &[("mcp-protocol-version", "9"), TOOL, ("mcp-name", "a")],
                OldRevision,
            ),
            (&[REVISION, ("mcp-name", "a")], NoMethod),
            (&[REVISION, TOOL], NoName),
            (
                &[REVISION, TOOL, ("mcp-name", "a"), ("mcp-name", "b")],
                Repeated(NAME),
            ),
            (
                &[REVISION, TOOL, ("mcp-name", "a"), ("mcp_name", "b")],
                Repeated(NAME),
            ),
            (
                &[REVISION, ("mcp-method", "tools/list,tools/call")],
                Repeated(METHOD),
            ),
            (
                &[REVISION, REVISION, TOOL, ("mcp-name", "a")],
                Repeated(VERSION),
            ),
            (&named("a,b"), Repeated(NAME)),
            (&named("lö"), Encoding(NAME)),
            (&named("=?base64?YQ?="), Encoding(NAME)),
            (&named("=?BASE64?YQ==?="), Encoding(NAME)),
            (&named("=?base64?/w==?="), Encoding(NAME)),
        ] {
            assert_eq!(read("POST", lines), McpCall::Unclear(why), "{lines:?}");
        }
    }
}
