//! Why exports cannot begin.

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{name}`: {why}")]
pub struct SettingsError {
    /// The variable or the field.
    name: String,
    why: String,
}

impl SettingsError {
    pub(super) fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            why: why.into(),
        }
    }
}
