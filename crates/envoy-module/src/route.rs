//! What a route says about its requests.

use std::sync::Arc;

use serde_json::Value;

use crate::filter::Context;
use claimgate_core::policy::rules::RULE_EXTENSION;

/// Why the configuration of a route cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// It is empty.
    Empty,
    /// A value is not a text.
    NoText,
}

impl std::fmt::Display for RouteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => {
                "the `filter_config` of a route is empty: it names a rule, as a \
                 `google.protobuf.StringValue`"
            }
            Self::NoText => {
                "the `filter_config` of a route is a `google.protobuf.Struct` whose values are not \
                 all texts"
            }
        })
    }
}

impl std::error::Error for RouteError {}

/// Reads the configuration of a route: the name of a rule, or an object with what `ext_authz` calls
/// `context_extensions`.
///
/// # Errors
///
/// Fails if it is neither.
pub fn read(text: &str) -> Result<Context, RouteError> {
    let text = text.trim();
    let context = match serde_json::from_str(text) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name, text)),
                _ => Err(RouteError::NoText),
            })
            .collect::<Result<Vec<_>, _>>()?,
        Ok(Value::String(rule)) => vec![(RULE_EXTENSION.to_owned(), rule)],
        _ => vec![(RULE_EXTENSION.to_owned(), text.to_owned())],
    };
    let is_empty = |(name, value): &(String, String)| name.is_empty() || value.is_empty();
    match context.is_empty() || context.iter().any(is_empty) {
        true => Err(RouteError::Empty),
        false => Ok(Arc::from(context)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_routes_say() {
        let rule = |name: &str| vec![(RULE_EXTENSION.to_owned(), name.to_owned())];
        for (text, expected) in [
            ("health", Ok(rule("health"))),
            (" health\n", Ok(rule("health"))),
            ("\"health\"", Ok(rule("health"))),
            ("7", Ok(rule("7"))),
            (r#"{"claimgate.rule": "health"}"#, Ok(rule("health"))),
            (
                r#"{"tenant": "a", "zone": "b"}"#,
                Ok(vec![
                    ("tenant".to_owned(), "a".to_owned()),
                    ("zone".to_owned(), "b".to_owned()),
                ]),
            ),
            ("", Err(RouteError::Empty)),
            ("\"\"", Err(RouteError::Empty)),
            ("{}", Err(RouteError::Empty)),
            (r#"{"claimgate.rule": ""}"#, Err(RouteError::Empty)),
            (r#"{"claimgate.rule": 1}"#, Err(RouteError::NoText)),
        ] {
            let read = read(text).map(|context| context.to_vec());
            assert_eq!(read, expected, "{text}");
        }
    }
}
