//! Walks through an expression to find what is wrong with it before any request does.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};
use cel::{Context, IdedExpr, ParseErrors, Program, Value};

mod members;

use members::is_headers;

use super::functions::ENVIRONMENT;
use super::work::Patterns;
use super::{ConditionError, cost, names};
use crate::policy::pattern::{Pattern, Scope};

/// 2^53: below it, every integer has its own double.
const MAX_EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// The variables that a condition uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, whose members have names of their own"
)]
pub struct Uses {
    /// The token's claims.
    pub claims: bool,
    /// The request.
    pub request: bool,
    /// The request's method.
    pub method: bool,
    /// The request's path.
    pub path: bool,
    /// The request's query.
    pub query: bool,
    /// The request's host.
    pub host: bool,
    /// The sender of the request.
    pub source: bool,
    /// What the Envoy route says about the request.
    pub context: bool,
    /// The time.
    pub now: bool,
}

impl Uses {
    /// The union of both sets.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            claims: self.claims || other.claims,
            request: self.request || other.request,
            method: self.method || other.method,
            path: self.path || other.path,
            query: self.query || other.query,
            host: self.host || other.host,
            source: self.source || other.source,
            context: self.context || other.context,
            now: self.now || other.now,
        }
    }
}

/// The error for an expression with wrong syntax.
pub(super) fn syntax(errors: &ParseErrors) -> ConditionError {
    let first = errors.errors.first();
    let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let (line, column) = first.map_or((1, 1), |error| (place(error.pos.0), place(error.pos.1)));
    let what = first.map_or("", |error| error.msg.lines().next().unwrap_or_default());
    let what = what.trim_start_matches("Syntax error: ");
    // The parser appends a long list of tokens that it would have accepted.
    let what = what.split(" expecting {").next().unwrap_or_default();
    let hint = match what.starts_with("invalid int") || what.starts_with("invalid uint") {
        true => {
            "; an `int` ends at 2^63 - 1, a `uint` such as `5u` at 2^64 - 1; compare larger numbers \
             as text: `string(claims.id) == \"…\"`"
        }
        false => "",
    };
    ConditionError {
        what: format!("not a CEL expression: {what}{hint}"),
        line,
        column,
    }
}

/// What the walk found in the expression.
pub(super) struct Found {
    pub(super) uses: Uses,
    /// Every member that the expression names. Only these names may appear in error messages.
    pub(super) members: BTreeSet<String>,
    /// The request headers that the expression names.
    pub(super) headers: BTreeSet<String>,
    /// Whether the expression uses `request.headers` other than by literal names.
    pub(super) other_headers: bool,
    /// The patterns that the expression matches texts with.
    pub(super) patterns: Patterns,
}

/// Looks up every name, and evaluates every constant part.
///
/// # Errors
///
/// Returns the first mistake.
pub(super) fn check(program: &Program, text: &str) -> Result<Found, ConditionError> {
    let mut walk = Walk {
        program,
        text,
        found: Found {
            uses: Uses::default(),
            members: BTreeSet::new(),
            headers: BTreeSet::new(),
            other_headers: false,
            patterns: Patterns::new(),
        },
        scope: Vec::new(),
        header_maps: 0,
        header_names: 0,
        loops: 0,
        repeats: 1,
        makers: 0,
    };
    let root = program.expression();
    if cost::depth(root) > cost::MAX_DEPTH {
        let what = format!("nested deeper than {}", cost::MAX_DEPTH);
        return Err(walk.wrong(root, what));
    }
    walk.expression(root)?;
    let other = match &root.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(_) => Some("a constant"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("a map"),
        _ => None,
    };
    match other {
        Some(other) => Err(walk.wrong(root, format!("{other} is neither true nor false"))),
        None => {
            // Each literal name stands beside one `request.headers`.
            walk.found.other_headers = walk.header_maps > walk.header_names;
            Ok(walk.found)
        }
    }
}

struct Walk<'p> {
    program: &'p Program,
    text: &'p str,
    found: Found,
    /// The variables of the enclosing macros.
    scope: Vec<&'p str>,
    /// How often `request.headers` stands in the expression.
    header_maps: usize,
    /// How often a header is named.
    header_names: usize,
    /// The number of enclosing macros that go through something as large as the request.
    loops: usize,
    /// How often literal lists make this part run.
    repeats: usize,
    /// The number of calls so far that create a text or a list.
    makers: usize,
}

impl<'p> Walk<'p> {
    fn wrong(&self, at: &IdedExpr, what: String) -> ConditionError {
        let offset = self.program.source_info().offset_for(at.id);
        let before: String = self
            .text
            .chars()
            .take(offset.map_or(0, |(start, _)| start as usize))
            .collect();
        let line = before.rsplit('\n').next().unwrap_or_default();
        ConditionError {
            what,
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }

    fn expressions(
        &mut self,
        expressions: impl IntoIterator<Item = &'p IdedExpr>,
    ) -> Result<(), ConditionError> {
        expressions
            .into_iter()
            .try_for_each(|expression| self.expression(expression))
    }

    fn expression(&mut self, at: &'p IdedExpr) -> Result<(), ConditionError> {
        match &at.expr {
            Expr::Literal(LiteralValue::Double(double)) => self.double(at, *double.inner()),
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(at, name, None),
            Expr::Select(select) => self.select(at, select),
            Expr::Call(call) => self.call(at, call),
            Expr::Comprehension(comprehension) => self.comprehension(at, comprehension),
            Expr::List(list) => self.expressions(&list.elements),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.expressions([&entry.key, &entry.value])?;
                        }
                        EntryExpr::StructField(field) => self.expression(&field.value)?,
                    }
                }
                Ok(())
            }
            Expr::Struct(object) => {
                let name = &object.type_name;
                Err(self.wrong(
                    at,
                    format!("`{name}` is not a type that can be created here"),
                ))
            }
        }
    }

    /// Refuses a large double. CEL compares an integer with a double as doubles, so several
    /// integers would equal it.
    fn double(&self, at: &IdedExpr, double: f64) -> Result<(), ConditionError> {
        if double.abs() < MAX_EXACT_DOUBLE {
            return Ok(());
        }
        let what = "a double of 2^53 or more equals several integers: write an integer";
        Err(self.wrong(at, what.to_owned()))
    }

    fn call(&mut self, at: &'p IdedExpr, call: &'p CallExpr) -> Result<(), ConditionError> {
        let CallExpr {
            func_name: name,
            target,
            args,
        } = call;
        match (name.as_str(), args.as_slice()) {
            ("_[_]", [operand, index]) => {
                if let Expr::Literal(LiteralValue::String(member)) = &index.expr {
                    return self.member(index, operand, member.inner());
                }
            }
            ("@in", [element, list]) if is_headers(list) => {
                if let Expr::Literal(LiteralValue::String(name)) = &element.expr {
                    self.header(element, name.inner())?;
                }
            }
            _ => {}
        }
        match target {
            Some(target) => {
                self.method(at, name, args.len())?;
                self.expression(target)?;
            }
            None if !name.starts_with(|first: char| first.is_ascii_alphabetic()) => {}
            None => self.function(at, name, args.len())?,
        }
        self.expressions(args)?;
        if name == "matches" {
            self.pattern(at, args.last())?;
        }
        cost::of_call(call, &self.scope, self.loops).map_err(|what| self.wrong(at, what))?;
        self.makers += usize::from(cost::is_maker(call));
        if self.makers > cost::MAX_MAKERS {
            let what = format!("creates more than {} texts and lists", cost::MAX_MAKERS);
            return Err(self.wrong(at, what));
        }
        self.constant(at, call)
    }

    fn method(&self, at: &IdedExpr, name: &str, count: usize) -> Result<(), ConditionError> {
        names::method(name, count).map_err(|what| self.wrong(at, what))
    }

    fn function(&self, at: &IdedExpr, name: &str, count: usize) -> Result<(), ConditionError> {
        names::function(name, count).map_err(|what| self.wrong(at, what))
    }

    /// Requires a literal pattern. Compiling one per request costs too much, and a caller could
    /// choose it.
    fn pattern(&mut self, at: &IdedExpr, pattern: Option<&IdedExpr>) -> Result<(), ConditionError> {
        let Some(Expr::Literal(LiteralValue::String(pattern))) = pattern.map(|at| &at.expr) else {
            return Err(self.wrong(
                at,
                "the pattern of `matches` must be a literal text".to_owned(),
            ));
        };
        let pattern = pattern.inner();
        let compiled = Pattern::compile(pattern, Scope::Part).map_err(|why| self.wrong(at, why))?;
        self.found.patterns.insert(pattern.to_owned(), compiled);
        Ok(())
    }

    /// Evaluates a call whose operands are all literals: it fails either for every request or for
    /// none.
    fn constant(&self, at: &IdedExpr, call: &CallExpr) -> Result<(), ConditionError> {
        let mut operands = call.target.as_deref().into_iter().chain(&call.args);
        if operands.any(|operand| !matches!(operand.expr, Expr::Literal(_))) {
            return Ok(());
        }
        let context = Context::with_env(Arc::clone(&ENVIRONMENT));
        Value::resolve(at, &context).map(drop).map_err(|error| {
            let what = format!(
                "`{}` always fails: {}",
                call.func_name,
                super::describe(&error, &self.found.members)
            );
            self.wrong(at, what)
        })
    }

    fn comprehension(
        &mut self,
        at: &'p IdedExpr,
        comprehension: &'p ComprehensionExpr,
    ) -> Result<(), ConditionError> {
        let ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2,
            accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
        } = comprehension;
        self.expressions([iter_range, accu_init])?;
        for variable in [Some(iter_var), iter_var2.as_ref()].into_iter().flatten() {
            if names::VARIABLES.contains(&variable.as_str()) {
                let what = format!("`{variable}` already has a meaning; choose another name");
                return Err(self.wrong(at, what));
            }
        }
        let written = cost::written_length(iter_range);
        let (outer_loops, outer_repeats) = (self.loops, self.repeats);
        self.repeats *= written.unwrap_or(1).max(1);
        if self.repeats > cost::MAX_REPEATS {
            let what = format!(
                "literal lists make this run over {} times",
                cost::MAX_REPEATS
            );
            return Err(self.wrong(at, what));
        }
        if written.is_none() && self.loops > 0 {
            let what = "a macro inside another one may only go through a literal list: otherwise its \
                        work would grow with the square of the token";
            return Err(self.wrong(at, what.to_owned()));
        }
        let outside = self.scope.len();
        self.loops += usize::from(written.is_none());
        self.scope.extend([iter_var.as_str(), accu_var.as_str()]);
        self.scope.extend(iter_var2.as_deref());
        let inside = self
            .expressions([loop_cond, loop_step, result])
            .and_then(|()| {
                let cost = cost::of_macro(comprehension, &self.scope);
                cost.map_err(|what| self.wrong(at, what))
            });
        self.scope.truncate(outside);
        (self.loops, self.repeats) = (outer_loops, outer_repeats);
        inside
    }
}
