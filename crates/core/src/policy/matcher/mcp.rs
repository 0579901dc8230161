//! Tells calls of the Model Context Protocol (MCP), revision 2026-07-28, apart by their headers.
//!
//! `Mcp-Method` repeats the JSON-RPC method of the body. `Mcp-Name` repeats the tool, prompt or
//! resource that it is about. A server of that revision refuses a request whose headers and body
//! differ. A server of an earlier revision does not compare them, so a client could announce one
//! call and make another. Therefore only requests that claim this revision are told apart; every
//! other request is refused if a rule would depend on the call.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::escaped::listed;
use crate::request::{Request, is_alias};

/// The calls that a rule matches. Both fields must match; an empty field matches any call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpPattern {
    /// The accepted JSON-RPC methods, such as `tools/call`.
    pub methods: Vec<String>,
    /// The accepted names of tools, prompts, resources or tasks.
    pub names: Vec<String>,
}

/// The methods that are about something with a name, and therefore require `Mcp-Name`.
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

/// The headers that tell calls apart.
pub(in crate::policy) const HEADERS: [&str; 3] = [METHOD, NAME, VERSION];

/// What the headers of a request say about an MCP call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum McpCall<'r> {
    /// Not a `POST` and therefore not a call, or no rule matches on calls.
    #[default]
    None,
    /// A call.
    Call {
        /// The JSON-RPC method.
        method: &'r str,
        /// The tool, prompt, resource or task, decoded.
        name: Option<Cow<'r, str>>,
    },
    /// A `POST` that could be any call.
    Unclear(Unclear),
}

/// Why the headers do not say which call a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// `MCP-Protocol-Version` is missing, or names an earlier revision.
    #[error(
        "its `mcp-protocol-version` is absent or before {FIRST_REVISION}; such servers do not \
         compare `mcp-method` and `mcp-name` with the body"
    )]
    OldRevision,
    /// `Mcp-Method` is missing.
    #[error("it has no `mcp-method`")]
    NoMethod,
    /// `Mcp-Name` is missing, but the method requires it.
    #[error("it has no `mcp-name`, which its `mcp-method` requires")]
    NoName,
    /// A header is repeated, or its name is spelled differently.
    #[error("its `{0}` is repeated, has a comma, or has another spelling of the name")]
    Repeated(&'static str),
    /// A header is neither plain text nor valid Base64 of UTF-8.
    #[error("its `{0}` is neither plain ASCII nor `=?base64?…?=` of UTF-8")]
    Encoding(&'static str),
}

impl McpPattern {
    /// Whether the rule matches this call. It also matches an unclear call: otherwise a client
    /// could omit headers to fall through to a rule that lets it pass.
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
    /// Reads the call from the headers of a request.
    pub fn of(request: &Request<'r>) -> Self {
        // Streamable HTTP sends all calls, notifications and responses as `POST`.
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

/// Whether the version has the form of a date. Dates name the revisions of MCP.
fn is_date(version: &str) -> bool {
    let mut bytes = version.bytes().zip(FIRST_REVISION.bytes());
    version.len() == FIRST_REVISION.len()
        && bytes.all(|(byte, of_first)| match of_first {
            b'-' => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// The value of a header that may occur only once. A comma counts as a repetition, because a proxy
/// may have joined two lines.
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

/// Decodes a name: text that is not plain is sent as Base64.
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
