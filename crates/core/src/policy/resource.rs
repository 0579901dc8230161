//! Protected resources (RFC 9728). Their metadata tells a client that was refused where to get a
//! token, which MCP clients need.

use serde_json::{Map, Value};
use url::Url;

use crate::request::host;

/// The path of a resource's metadata on its host; the resource's own path follows it (RFC 9728
/// §3.1).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// An API with metadata.
#[derive(Clone, Debug)]
pub struct Resource {
    /// In the form that rules compare.
    host: String,
    /// Empty for the root, otherwise the URL's path, such as `/mcp`.
    path: String,
    metadata_url: String,
    document: String,
}

/// Why a text is not the identifier of a resource (RFC 9728 §1.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The text is not a URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// The URL is neither https nor on this machine.
    #[error("a resource is named by an https URL (RFC 9728 §1.2)")]
    Scheme,
    /// The URL has a query, a fragment or user information.
    #[error("a resource's URL must not have a query, fragment or user name here")]
    Parts,
    /// The URL is not normalised. Clients compare identifiers as text.
    #[error("write it in the form that clients use: `{0}`")]
    Form(String),
}

impl Resource {
    /// The resource with this identifier. `members` are the members of its metadata besides
    /// `resource` (RFC 9728 §2).
    ///
    /// # Errors
    ///
    /// Fails if the identifier is not valid.
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
        // Without a path, both spellings are accepted: with and without the slash.
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

    /// The URL of the metadata, for challenges (RFC 9728 §5.1).
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// The metadata as JSON.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The host of the URL, in the form that rules compare.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the path, without its query, is that of the metadata.
    pub(super) fn is_at(&self, path: &str) -> bool {
        path.strip_prefix(WELL_KNOWN) == Some(&self.path)
    }

    /// The length of the resource's path, if `path` lies within it.
    pub(super) fn covers(&self, path: &str) -> Option<usize> {
        let rest = path.strip_prefix(self.path.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.path.len())
    }
}
