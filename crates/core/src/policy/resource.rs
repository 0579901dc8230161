//! Protected resources (RFC 9728): what tells a client that was refused where to get a token, as
//! an MCP client needs to know.

use serde_json::{Map, Value};
use url::Url;

use crate::request::host;

/// Where the metadata of a resource is, below its host (RFC 9728 §3.1).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// An API that has metadata.
#[derive(Clone, Debug)]
pub struct Resource {
    /// As rules compare it.
    host: String,
    /// Empty, or `/mcp`: without a slash at the end, if it is nothing but that.
    path: String,
    metadata_url: String,
    document: String,
}

/// Why a text is no identifier of a resource (RFC 9728 §1.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// No URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// Neither https nor on this very machine.
    #[error("a resource is named by an https URL (RFC 9728 §1.2)")]
    Scheme,
    /// A query, a fragment or user information.
    #[error("a resource's URL has no query, fragment or user name here")]
    Parts,
    /// Another text for the same URL: clients compare the texts.
    #[error("write it as clients will: `{0}`")]
    Form(String),
}

impl Resource {
    /// The resource of this identifier. `members` are those of its metadata besides `resource`
    /// (RFC 9728 §2).
    ///
    /// # Errors
    ///
    /// When the identifier is none.
    pub fn new(identifier: &str, members: Map<String, Value>) -> Result<Self, ResourceError> {
        let url = Url::parse(identifier)?;
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            return Err(ResourceError::Scheme);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if url.query().is_some() || url.fragment().is_some() || has_user {
            return Err(ResourceError::Parts);
        }
        // Without a path, the URL is written with or without the slash.
        if url.as_str() != identifier && url.as_str() != format!("{identifier}/") {
            return Err(ResourceError::Form(url.into()));
        }
        let path = match url.path() {
            "/" => "",
            path => path,
        };
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let host = host::canonical(authority).ok_or(ResourceError::Parts)?;
        let mut document = Map::new();
        document.insert("resource".to_owned(), identifier.into());
        document.extend(members);
        Ok(Self {
            host: host.into_owned(),
            path: path.to_owned(),
            metadata_url: format!("{}{WELL_KNOWN}{path}", url.origin().ascii_serialization()),
            document: Value::Object(document).to_string(),
        })
    }

    /// Where its metadata is: what goes into challenges (RFC 9728 §5.1).
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// Its metadata, as JSON.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The host of its URL, as rules compare it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether a path, without its query, is that of its metadata.
    pub(super) fn is_at(&self, path: &str) -> bool {
        path.strip_prefix(WELL_KNOWN) == Some(&self.path)
    }

    /// How much of a path is its own, if it is of this resource.
    pub(super) fn covers(&self, path: &str) -> Option<usize> {
        let rest = path.strip_prefix(self.path.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.path.len())
    }
}
