//! Checks variables and their members.

use cel::IdedExpr;
use cel::common::ast::{Expr, SelectExpr};

use super::super::{ConditionError, names};
use super::Walk;

impl<'p> Walk<'p> {
    /// Checks a variable, or one field of it. The field has a position of its own.
    pub(super) fn variable(
        &mut self,
        at: &IdedExpr,
        name: &str,
        field: Option<(&IdedExpr, &str)>,
    ) -> Result<(), ConditionError> {
        if name.starts_with('@') || self.scope.contains(&name) {
            return Ok(());
        }
        let fields: &[&str] = match name {
            "claims" => {
                self.found.uses.claims = true;
                return Ok(());
            }
            "context" => {
                self.found.uses.context = true;
                return Ok(());
            }
            "now" => {
                self.found.uses.now = true;
                return Ok(());
            }
            "request" => {
                self.found.uses.request = true;
                let is = |name: &str| field.is_none_or(|(_, field)| field == name);
                self.found.uses.method |= is("method");
                self.found.uses.path |= is("path");
                self.found.uses.query |= is("query");
                self.found.uses.host |= is("host");
                self.header_maps += usize::from(is("headers"));
                &names::REQUEST
            }
            "source" => {
                self.found.uses.source = true;
                &names::SOURCE
            }
            _ if names::TYPES.contains(&name) => return Ok(()),
            _ => {
                let what = names::unknown("variable", name, &names::VARIABLES);
                return Err(self.wrong(at, what));
            }
        };
        match field {
            // The variable as a whole is too large to pass around.
            None => {
                let fields = fields.join("`, `");
                Err(self.wrong(at, format!("name a field of `{name}`: `{fields}`")))
            }
            Some((at, field)) if !fields.contains(&field) => {
                let kind = format!("field of `{name}`");
                Err(self.wrong(at, names::unknown(&kind, field, fields)))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn select(
        &mut self,
        at: &'p IdedExpr,
        select: &'p SelectExpr,
    ) -> Result<(), ConditionError> {
        self.member(at, &select.operand, &select.field)
    }

    /// Checks a member that is named after a dot or in brackets.
    pub(super) fn member(
        &mut self,
        at: &'p IdedExpr,
        of: &'p IdedExpr,
        name: &'p str,
    ) -> Result<(), ConditionError> {
        self.found.members.insert(name.to_owned());
        if is_headers(of) {
            self.header(at, name)?;
        }
        match &of.expr {
            Expr::Ident(variable) => self.variable(of, variable, Some((at, name))),
            _ => self.expression(of),
        }
    }

    /// Checks that a request can have a header with this name.
    pub(super) fn header(&mut self, at: &IdedExpr, name: &str) -> Result<(), ConditionError> {
        let lower = name.to_ascii_lowercase();
        match name {
            name if name.starts_with(':') => {
                let what =
                    format!("`{name}` is not a header: use `request.method`, `path` and `host`");
                Err(self.wrong(at, what))
            }
            name if name != lower => {
                let what = format!("header names are in lower case: write `{lower}`");
                Err(self.wrong(at, what))
            }
            _ => {
                self.found.headers.insert(lower);
                self.header_names += 1;
                Ok(())
            }
        }
    }
}

/// Whether this is `request.headers`.
pub(super) fn is_headers(at: &IdedExpr) -> bool {
    let Expr::Select(select) = &at.expr else {
        return false;
    };
    matches!(&select.operand.expr, Expr::Ident(name) if name == "request")
        && select.field == "headers"
}
