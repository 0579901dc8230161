//! Which requests a rule matches.

use std::borrow::Cow;
use std::fmt;

pub mod cover;
mod header;
mod mcp;
mod path_regex;

pub use header::{HeaderPattern, Observed, SeenHeaders};
pub(super) use mcp::HEADERS as MCP_HEADERS;
pub use mcp::{McpCall, McpPattern, NAMED_METHODS, Unclear};
pub use path_regex::PathRegex;

use crate::escaped::listed;
use crate::request::Request;

/// A request with its host and path in the form that rules compare.
#[derive(Clone, Debug)]
pub struct Target<'r> {
    /// The request itself.
    pub request: &'r Request<'r>,
    /// In lower case, without port. Empty if it is not a valid host.
    pub host: Cow<'r, str>,
    /// Without query. Decoded, unless `paths: as_is` is set.
    pub path: Cow<'r, str>,
    /// The headers that rules match on.
    pub headers: Observed<'r>,
    /// The MCP call, if a rule matches on calls.
    pub mcp: McpCall<'r>,
}

/// Which requests a rule matches. Every field must match; an empty field matches any request.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// The request's host is one of these.
    pub hosts: Vec<HostPattern>,
    /// The request's method is one of these; case matters.
    pub methods: Vec<String>,
    /// The request's path matches one of these.
    pub paths: Vec<PathPattern>,
    /// The request has all of these headers.
    pub headers: Vec<HeaderPattern>,
    /// The request is one of these MCP calls.
    pub mcp: Option<McpPattern>,
}

/// One host, or all hosts below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host only.
    Exact(String),
    /// Every host below this domain, at any depth, but not the domain itself: `*.example.org`.
    Below(String),
}

/// One path, or many.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path only.
    Exact(String),
    /// This path and every path below it, by whole segments. Stored without a slash at its end, so
    /// `/` is stored as the empty string.
    Prefix(String),
    /// Every path that the expression matches from beginning to end.
    Regex(PathRegex),
}

/// Why a rule does not match a request: the first field that does not match.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Mismatch<'m> {
    /// The host differs.
    #[error("its hosts are {}", listed(.0, " or "))]
    Host(&'m [HostPattern]),
    /// The method differs.
    #[error("its methods are {}", listed(.0, " or "))]
    Method(&'m [String]),
    /// The path differs.
    #[error("its path is {}", listed(.0, " or "))]
    Path(&'m [PathPattern]),
    /// A header is missing or has another value.
    #[error("it requires {0}")]
    Header(&'m HeaderPattern),
    /// It is not such an MCP call.
    #[error("it requires {0}")]
    Mcp(&'m McpPattern),
    /// The rule has no `match`.
    #[error("only an Envoy route can select it, by name")]
    OnlyByName,
}

impl Matcher {
    /// Whether the rule matches this request.
    ///
    /// # Errors
    ///
    /// Says which field does not match.
    pub fn check(&self, target: &Target<'_>) -> Result<(), Mismatch<'_>> {
        let Self {
            hosts,
            methods,
            paths,
            headers,
            mcp,
        } = self;
        let request = target.request;
        if !hosts.is_empty() && !hosts.iter().any(|host| host.is_of(&target.host)) {
            return Err(Mismatch::Host(hosts));
        }
        if !methods.is_empty() && !methods.iter().any(|method| method == request.method) {
            return Err(Mismatch::Method(methods));
        }
        if !paths.is_empty() && !paths.iter().any(|path| path.is_of(&target.path)) {
            return Err(Mismatch::Path(paths));
        }
        if let Some(header) = headers.iter().find(|header| !header.is_of(&target.headers)) {
            return Err(Mismatch::Header(header));
        }
        match mcp {
            Some(calls) if !calls.is_of(&target.mcp) => Err(Mismatch::Mcp(calls)),
            _ => Ok(()),
        }
    }

    /// The regular expressions among its paths.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &PathRegex> {
        self.paths.iter().filter_map(|path| match path {
            PathPattern::Regex(regex) => Some(regex),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        })
    }
}

impl HostPattern {
    fn is_of(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => own == host,
            Self::Below(domain) => host
                .strip_suffix(domain.as_str())
                .and_then(|below| below.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl PathPattern {
    fn is_of(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Prefix(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.starts_with('/') || (rest.is_empty() && !prefix.is_empty())
            }),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}/…"),
            Self::Regex(regex) => f.write_str(regex.text()),
        }
    }
}
