//! Conditions in the Common Expression Language (CEL, <https://cel.dev>).
//!
//! An expression is compiled when the configuration is read, and every name in it is looked up
//! then. So an expression that can never be evaluated is a configuration error, and not a denial
//! that puzzles callers.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::{Context, ExecutionError, IdedExpr, Value};

pub mod facts;

mod cost;
mod functions;
mod names;
mod values;
mod walk;
mod work;

use functions::ENVIRONMENT;
use walk::Found;
pub use walk::Uses;
use work::Patterns;

use super::Target;
use super::matcher::{McpCall, Observed};
use super::pattern::Pattern;
use crate::escaped::Escaped;
use crate::request::{Peer, Request};
use crate::time::UnixTime;
use crate::token::claims::Claims;

/// A condition over `claims`, `request`, `source`, `context` and `now`.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    expression: Arc<IdedExpr>,
    /// The operands of the outermost `&&` that do not use claims, method or headers.
    for_preflights: Arc<[IdedExpr]>,
    /// Whether none of the other operands depends on where a request comes from.
    is_decided_for_preflights: bool,
    /// Every member that the expression names.
    members: Arc<BTreeSet<String>>,
    headers: Arc<BTreeSet<String>>,
    other_headers: bool,
    patterns: Arc<Patterns>,
    uses: Uses,
}

/// Why a text cannot be used as a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at {line}:{column} of the expression)")]
pub struct ConditionError {
    /// What is wrong and what to do about it.
    pub what: String,
    /// The line in the expression, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// Why a condition has no answer: it failed, or its result is not a boolean. The message contains
/// no values, because they may be the caller's secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConditionFailure(String);

/// The stack in bytes of the thread that compiles expressions. The parser recurses once per level
/// of nesting.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Sample requests with nothing in common: they differ in method, host, path, sender's address and
/// time (in seconds).
const STRANGERS: [(&str, &str, &str, &str, u64); 5] = [
    ("GET", "a.example", "/", "192.0.2.1", 0),
    ("POST", "b.test", "/orders/7", "10.0.0.1", 1_000_000_000),
    ("DELETE", "localhost", "/q", "127.0.0.1", 2_000_000_000),
    (
        "PUT",
        "192.0.2.9",
        "/v1/z/Z.json",
        "2001:db8::1",
        3_000_000_000,
    ),
    ("PROPFIND", "x", "/~u/-_.", "", 4_000_000_000),
];

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// Fails if the text is not CEL, uses an unknown variable, field or function, or could do work
    /// that grows faster than the request.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        let failed = |what: String| ConditionError {
            what,
            line: 1,
            column: 1,
        };
        if text.len() > cost::MAX_BYTES {
            return Err(failed(format!("longer than {} bytes", cost::MAX_BYTES)));
        }
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || Self::compile_here(text))
                .map_err(|error| failed(format!("cannot be compiled: {error}")))?
                .join()
                .unwrap_or_else(|_| Err(failed("the CEL compiler crashed on it".to_owned())))
        })
    }

    fn compile_here(text: &str) -> Result<Self, ConditionError> {
        let program = ENVIRONMENT
            .compile(text)
            .map_err(|errors| walk::syntax(&errors))?;
        let Found {
            uses,
            members,
            headers,
            other_headers,
            patterns,
        } = walk::check(&program, text)?;
        let mut expression = program.expression().clone();
        work::charge_calls(&mut expression);
        let parts = cost::conjuncts(&expression);
        let is_decided = !parts
            .iter()
            .any(|part| cost::is_undecided_for_preflights(part));
        let for_preflights = parts
            .into_iter()
            .filter(|part| !cost::is_not_for_preflights(part))
            .cloned()
            .collect();
        Ok(Self {
            text: text.to_owned(),
            is_decided_for_preflights: is_decided,
            for_preflights,
            expression: Arc::new(expression),
            members: Arc::new(members),
            headers: Arc::new(headers),
            other_headers,
            patterns: Arc::new(patterns),
            uses,
        })
    }

    /// The expression as the operator wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The memory of its patterns' automata, in bytes.
    pub fn memory(&self) -> usize {
        self.patterns.values().map(Pattern::memory).sum()
    }

    /// The variables that the condition uses.
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// Whether the condition names this request header; `name` is in lower case.
    pub fn looks_at_header(&self, name: &str) -> bool {
        self.headers.contains(name)
    }

    /// The request headers that the condition names, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(String::as_str)
    }

    /// Whether the condition looks at headers that it does not name:
    /// `request.headers.exists(name, …)`.
    pub fn looks_at_other_headers(&self) -> bool {
        self.other_headers
    }

    /// What the condition compares. Each fact that it reads is in at least one comparison.
    pub fn comparisons(&self) -> Vec<facts::Comparison> {
        facts::comparisons(&self.expression)
    }

    /// Whether the condition holds for every request: `true`, `1 < 2`.
    pub fn always_holds(&self) -> bool {
        let nothing = Context::with_env(Arc::clone(&ENVIRONMENT));
        self.is_true(&self.expression, &nothing) == Ok(true)
    }

    /// Whether the condition keeps hardly anyone out: it holds for each of the `STRANGERS`, as
    /// `request.path.startsWith("/")` and `!("x-internal" in request.headers)` do.
    pub fn holds_for_strangers(&self) -> bool {
        STRANGERS.iter().all(|stranger| {
            let (method, host, path, address, now) = *stranger;
            let request = Request {
                method,
                host,
                path,
                source: Peer {
                    address,
                    ..Peer::default()
                },
                ..Request::default()
            };
            let target = Target {
                host: host.into(),
                path: path.into(),
                request: &request,
                headers: Observed::default(),
                mcp: McpCall::default(),
            };
            self.holds(&target, None, UnixTime::from_secs(now)) == Ok(true)
        })
    }

    /// Whether the condition holds. Without a token, `claims` is empty.
    ///
    /// # Errors
    ///
    /// Fails if the evaluation fails, or if its result is not a boolean.
    pub fn holds(
        &self,
        target: &Target<'_>,
        claims: Option<&Claims>,
        now: UnixTime,
    ) -> Result<bool, ConditionFailure> {
        let context = self.context(target, claims, now);
        self.is_true(&self.expression, &context)
    }

    /// Whether the condition holds for a CORS preflight. A preflight has no token, and neither the
    /// method nor the headers of the request that it announces. So only those operands of the
    /// outermost `&&` count that use none of these: in `claims.staff && source.address ==
    /// "10.0.0.1"`, the second one. False if one of the other operands uses `source`.
    ///
    /// # Errors
    ///
    /// Fails if evaluating one of these operands fails, or if its result is not a boolean.
    pub fn holds_for_preflight(
        &self,
        target: &Target<'_>,
        now: UnixTime,
    ) -> Result<bool, ConditionFailure> {
        if !self.is_decided_for_preflights {
            return Ok(false);
        }
        let context = self.context(target, None, now);
        for part in self.for_preflights.iter() {
            if !self.is_true(part, &context)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn context(
        &self,
        target: &Target<'_>,
        claims: Option<&Claims>,
        now: UnixTime,
    ) -> Context<'static, 'static> {
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
            context
                .add_variable_from_value("context", values::texts(request.context.iter().copied()));
        }
        if self.uses.now {
            context.add_variable_from_value("now", values::time(now));
        }
        context
    }

    fn is_true(
        &self,
        expression: &IdedExpr,
        context: &Context<'_, '_>,
    ) -> Result<bool, ConditionFailure> {
        match work::evaluate(&self.patterns, || Value::resolve(expression, context)) {
            Ok(Value::Bool(truth)) => Ok(truth),
            Ok(other) => Err(ConditionFailure(format!(
                "it is neither true nor false, but of type {}",
                other.type_of()
            ))),
            Err(error) => Err(ConditionFailure(describe(&error, &self.members))),
        }
    }
}

/// The error's message, without the values that caused it.
fn describe(error: &ExecutionError, members: &BTreeSet<String>) -> String {
    match error {
        // A name that the expression does not contain is a value from the request.
        ExecutionError::NoSuchKey(name) if members.contains(name.as_str()) => {
            let name = Escaped::from(name.as_str());
            format!("`{name}` is missing; test for it with `has(…)` first")
        }
        ExecutionError::NoSuchKey(_) => "a map has no such member".to_owned(),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::FunctionError { function, message }
            if function == work::BOUNDED || function == work::CHARGED =>
        {
            message.clone()
        }
        ExecutionError::FunctionError { function, .. } => format!("`{function}` failed"),
        ExecutionError::IndexOutOfBounds(_) => "a list has no such element".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "a division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        _ => "the types of the values do not fit together".to_owned(),
    }
}
