//! Which requests a rule is about.

use std::borrow::Cow;
use std::fmt;

pub mod cover;
mod header;
mod mcp;
mod path_regex;

pub use header::{HeaderPattern, Observed, SeenHeaders};
pub use mcp::{McpCall, McpPattern, NAMED_METHODS, Unclear};
pub use path_regex::PathRegex;

use crate::escaped::listed;
use crate::request::Request;

/// A request with its host and path in the form that rules are compared with.
#[derive(Clone, Debug)]
pub struct Target<'r> {
    /// The request itself.
    pub request: &'r Request<'r>,
    /// In lower case, without the port; empty when there is none that could be told from another.
    pub host: Cow<'r, str>,
    /// Without the query; decoded, unless paths are taken as they are.
    pub path: Cow<'r, str>,
    /// The headers that rules match on.
    pub headers: Observed<'r>,
    /// The MCP call, if rules match on calls.
    pub mcp: McpCall<'r>,
}

/// What a request must be for a rule to be about it: all of this. What is empty matches any.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// The request's host is one of these.
    pub hosts: Vec<HostPattern>,
    /// The request's method is one of these, case included.
    pub methods: Vec<String>,
    /// The request's path is one of these.
    pub paths: Vec<PathPattern>,
    /// The request has each of these headers.
    pub headers: Vec<HeaderPattern>,
    /// The request is one of these MCP calls.
    pub mcp: Option<McpPattern>,
}

/// A host, or the hosts below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Every host below this domain, at any depth, but not the domain itself: `*.example.org`.
    Below(String),
}

/// A path, or many.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path.
    Exact(String),
    /// This path and every one below it, by whole segments. Without a slash at its end, so that
    /// of `/` nothing is left.
    Prefix(String),
    /// Every path that is this expression from its beginning to its end.
    Regex(PathRegex),
}

/// Why a rule is not about a request: the first of its demands that is not met.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Mismatch<'m> {
    /// Another host.
    #[error("its hosts are {}", listed(.0, " or "))]
    Host(&'m [HostPattern]),
    /// Another method.
    #[error("its methods are {}", listed(.0, " or "))]
    Method(&'m [String]),
    /// Another path.
    #[error("its path is {}", listed(.0, " or "))]
    Path(&'m [PathPattern]),
    /// Not the header.
    #[error("it asks for {0}")]
    Header(&'m HeaderPattern),
    /// Another MCP call, or none.
    #[error("it is about {0}")]
    Mcp(&'m McpPattern),
    /// It is for Envoy's routes to name.
    #[error("only a route of Envoy can name it")]
    OnlyByName,
}

impl Matcher {
    /// Whether the rule is about this request.
    ///
    /// # Errors
    ///
    /// When it is not, with why.
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
