//! Conditions in the Common Expression Language (CEL, <https://cel.dev>).
//!
//! An expression is compiled when the configuration is read, and every name in it is looked up
//! then: what cannot be evaluated is a mistake that the operator reads about, not a denial that
//! callers wonder at.

use std::sync::Arc;

use cel::{Context, ExecutionError, IdedExpr, Value};

mod bounds;
mod functions;
mod names;
mod values;
mod walk;

use functions::ENVIRONMENT;
pub use walk::Uses;

use super::Target;
use crate::time::UnixTime;
use crate::token::claims::Claims;

/// A condition over `claims`, `request`, `source`, `context` and `now`.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    expression: Arc<IdedExpr>,
    uses: Uses,
}

/// Why an expression is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at {line}:{column} of the expression)")]
pub struct ConditionError {
    /// What is wrong, and what to do about it.
    pub what: String,
    /// The line of the expression, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// Why a condition has no answer: it failed, or it is not a boolean. Tells no values, which may be
/// the caller's secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConditionFailure(String);

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// When it is not CEL, or names a variable, field or function that there is not.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        let program = ENVIRONMENT
            .compile(text)
            .map_err(|errors| walk::syntax(&errors))?;
        let uses = walk::check(&program, text)?;
        let mut expression = program.expression().clone();
        bounds::bound(&mut expression);
        Ok(Self {
            text: text.to_owned(),
            expression: Arc::new(expression),
            uses,
        })
    }

    /// As the operator wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which variables it looks at.
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// Whether it holds. Without a token, `claims` is empty.
    ///
    /// # Errors
    ///
    /// When it fails, or is neither true nor false.
    pub fn holds(
        &self,
        target: &Target<'_>,
        claims: Option<&Claims>,
        now: UnixTime,
    ) -> Result<bool, ConditionFailure> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        let request = target.request;
        if self.uses.claims {
            context.add_variable_from_value("claims", values::claims(claims));
        }
        if self.uses.request {
            context.add_variable_from_value("request", values::request(target));
        }
        if self.uses.source {
            context.add_variable_from_value("source", values::source(request.source));
        }
        if self.uses.context {
            context.add_variable_from_value("context", values::texts(&request.context));
        }
        if self.uses.now {
            context.add_variable_from_value("now", values::time(now));
        }
        match Value::resolve(&self.expression, &context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ConditionFailure(format!(
                "it is neither true nor false, but of type {}",
                other.type_of()
            ))),
            Err(error) => Err(ConditionFailure(describe(&error))),
        }
    }
}

/// What went wrong, without the values that it went wrong with.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!(
            "there is no `{}`; ask with `has(…)` first",
            crate::shown::Shown::from(name.as_str())
        ),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::FunctionError { function, .. } if function == bounds::BOUNDED => {
            let most = bounds::MOST_ELEMENTS;
            format!("a macro goes through more than {most} elements")
        }
        ExecutionError::FunctionError { function, .. } => format!("`{function}` failed"),
        ExecutionError::IndexOutOfBounds(_) => "a list has no such element".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "a division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        _ => "values of types that do not go together".to_owned(),
    }
}
