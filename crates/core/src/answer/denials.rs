//! What a refused caller reads.

use std::collections::BTreeMap;

use crate::identity::HeaderName;

/// What a refused caller reads.
#[derive(Clone, Debug)]
pub struct Denials {
    /// Headers that every denial carries besides its own.
    pub headers: Vec<(HeaderName, String)>,
    /// Which pages' scripts may read denials; those of the API's own origin alone if there is none.
    pub cors: Option<Cors>,
    /// The body.
    pub body: Bodies,
    /// The `realm` of challenges; the request's host if there is none.
    pub realm: Option<String>,
    /// Where the metadata of resources is that are not configured here (RFC 9728 §5.1).
    pub resource_metadata: Option<String>,
    /// Whether the reason code is in the body and in `error_description`.
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
    /// Where the pages are from.
    pub origins: Origins,
    /// Whether they may read answers to requests with cookies.
    pub credentials: bool,
}

/// Origins, as browsers send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// These.
    AnyOf(Vec<String>),
}

/// A body for each status.
#[derive(Clone, Debug, Default)]
pub struct Bodies {
    /// For those that have none of their own.
    pub default: Body,
    /// By HTTP status.
    pub by_status: BTreeMap<u16, Body>,
}

impl Bodies {
    /// That of an HTTP status.
    pub fn of(&self, status: u16) -> &Body {
        self.by_status.get(&status).unwrap_or(&self.default)
    }
}

/// The form of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// `{"error": …, "reason": …}`
    #[default]
    Json,
    /// RFC 9457.
    Problem,
    /// One line.
    Text,
    /// None at all.
    None,
    /// What the operator wrote.
    Template(Template),
}

/// A text with places for what is known of a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its media type.
    pub content_type: String,
    /// What it is made of.
    pub parts: Vec<Part>,
}

/// A part of a template. None of them is the caller's choice, so that nothing needs escaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// `{{status}}`: the HTTP status.
    Status,
    /// `{{error}}`: what is wrong, in a sentence.
    Error,
    /// `{{reason}}`: the code of it.
    Reason,
}

impl Part {
    /// Reads the text of a template.
    ///
    /// # Errors
    ///
    /// When it has a place for something that there is not, or one that does not end.
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
                other => {
                    return Err(format!(
                        "`{{{{{other}}}}}` is not known; there are `{{{{status}}}}`, \
                         `{{{{error}}}}` and `{{{{reason}}}}`"
                    ));
                }
            });
            parts.push(Self::Text(after.to_owned()));
        }
        parts.retain(|part| *part != Self::Text(String::new()));
        Ok(parts)
    }
}
