//! How denials look to the caller.

use std::collections::BTreeMap;

use crate::identity::HeaderName;

/// How denials look to the caller.
#[derive(Clone, Debug)]
pub struct Denials {
    /// Additional headers of every denial.
    pub headers: Vec<(HeaderName, String)>,
    /// The pages whose scripts may read denials. `None`: only those of the API's own origin.
    pub cors: Option<Cors>,
    /// The body.
    pub body: Bodies,
    /// The `realm` of challenges. `None`: the request's host.
    pub realm: Option<String>,
    /// The URL of the metadata of resources that are not configured here (RFC 9728 §5.1).
    pub resource_metadata: Option<String>,
    /// Whether the reason code appears in the body and in `error_description`.
    pub expose_reason: bool,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            cors: None,
            body: Bodies::default(),
            realm: None,
            resource_metadata: None,
            expose_reason: true,
        }
    }
}

/// Pages whose scripts may read denials (Fetch §3.3.3).
#[derive(Clone, Debug)]
pub struct Cors {
    /// The origins of the pages.
    pub origins: Origins,
    /// Whether they may read responses to requests with cookies.
    pub credentials: bool,
}

/// Origins, as browsers send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All origins.
    Any,
    /// These origins.
    AnyOf(Vec<String>),
}

/// A body for each status.
#[derive(Clone, Debug, Default)]
pub struct Bodies {
    /// For statuses without a body of their own.
    pub default: Body,
    /// By HTTP status.
    pub by_status: BTreeMap<u16, Body>,
}

impl Bodies {
    /// The body for an HTTP status.
    pub fn of(&self, status: u16) -> &Body {
        self.by_status.get(&status).unwrap_or(&self.default)
    }
}

/// The form of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// `{"error": …, "reason": …, "request_id": …}`
    #[default]
    Json,
    /// Problem details (RFC 9457).
    Problem,
    /// One line.
    Text,
    /// No body.
    None,
    /// The text of the operator.
    Template(Template),
}

/// A text with placeholders for facts about a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The media type.
    pub content_type: String,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// A part of a template. Nothing needs escaping in HTML or JSON: the caller may choose only the id,
/// whose characters are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Literal text.
    Text(String),
    /// `{{status}}`: the HTTP status.
    Status,
    /// `{{error}}`: one sentence about what is wrong.
    Error,
    /// `{{reason}}`: the reason code.
    Reason,
    /// `{{request_id}}`: the id of the request. It has only letters, digits and `-_.:=+/@~`.
    RequestId,
}

impl Part {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// Fails if a placeholder is unknown or not closed.
    pub fn read(text: &str) -> Result<Vec<Self>, String> {
        let mut pieces = text.split("{{");
        let before = pieces.next().unwrap_or_default();
        let mut parts = vec![Self::Text(before.to_owned())];
        for piece in pieces {
            let (name, after) = piece
                .split_once("}}")
                .ok_or("`{{` is not followed by `}}`")?;
            parts.push(match name.trim() {
                "status" => Self::Status,
                "error" => Self::Error,
                "reason" => Self::Reason,
                "request_id" => Self::RequestId,
                other => {
                    return Err(format!(
                        "`{{{{{other}}}}}` is unknown; use `{{{{status}}}}`, `{{{{error}}}}`, \
                         `{{{{reason}}}}` or `{{{{request_id}}}}`"
                    ));
                }
            });
            parts.push(Self::Text(after.to_owned()));
        }
        parts.retain(|part| *part != Self::Text(String::new()));
        Ok(parts)
    }
}
