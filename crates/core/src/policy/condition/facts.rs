//! What an expression reads of a request, and what it compares that with.
//!
//! Tools use this to find requests that a condition judges differently, and to tell whether a record
//! of a request holds everything that the condition asks for. It decides nothing.

use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue};
use chrono::DateTime;
use serde_json::Value;

use super::cost::parts;
use super::work::{BOUNDED, CHARGED};

/// A fact about a request that an expression reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A claim. Without steps: all claims.
    Claim(Vec<Step>),
    /// A request header, in lower case.
    Header(String),
    /// All request headers.
    AllHeaders,
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path without its query.
    Path,
    /// The query.
    Query,
    /// The sender's IP address.
    Address,
    /// The name in the sender's certificate.
    Principal,
    /// The sender's certificate.
    Certificate,
    /// A context extension of the Envoy route.
    Context(String),
    /// All context extensions.
    AllContext,
    /// The time.
    Now,
}

/// A step on the way to a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The member with this name.
    Member(String),
    /// Any element of the list, or any key of the map.
    Element,
}

/// What a fact is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// This value: a text, number, boolean or null. A time is in seconds since 1970.
    Value(Value),
    /// A list that contains this value, or a text that contains it.
    Containing(Value),
    /// A text that begins like this.
    Beginning(String),
    /// A text that ends like this.
    Ending(String),
    /// A text in which this regular expression matches.
    Matching(String),
    /// An address in this block: `10.0.0.0/8`.
    Within(String),
    /// A text or a list of this length.
    Length(u64),
    /// Only whether it is there, or whether it is true.
    Presence,
}

/// One comparison in an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What is compared.
    pub fact: Fact,
    /// What it is compared with.
    pub probe: Probe,
}

/// The value that stands for a fact where an expression compares two facts with each other.
pub const SAME: &str = "same";

/// Every comparison in an expression. Each fact that the expression reads is in at least one of them.
pub(super) fn comparisons(expression: &IdedExpr) -> Vec<Comparison> {
    let mut walk = Walk::default();
    walk.expression(expression);
    let mut found = walk.found;
    let mut kept: Vec<Comparison> = Vec::new();
    for comparison in found.drain(..) {
        if !kept.contains(&comparison) {
            kept.push(comparison);
        }
    }
    kept
}

#[derive(Default)]
struct Walk<'e> {
    found: Vec<Comparison>,
    /// What the variables of the enclosing macros stand for. `None` for what is no part of a fact.
    scope: BTreeMap<&'e str, Option<Fact>>,
}

impl<'e> Walk<'e> {
    fn add(&mut self, fact: &Fact, probe: Probe) {
        let fact = fact.clone();
        self.found.push(Comparison { fact, probe });
    }

    fn expression(&mut self, at: &'e IdedExpr) {
        if let Some(fact) = self.fact(at) {
            return self.add(&fact, Probe::Presence);
        }
        match &at.expr {
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            _ => parts(at).into_iter().for_each(|part| self.expression(part)),
        }
    }

    fn call(&mut self, call: &'e CallExpr) {
        let target = call.target.as_deref();
        let operands: Vec<&IdedExpr> = target.into_iter().chain(&call.args).collect();
        if let [left, right] = operands.as_slice()
            && (self.compare(&call.func_name, left, right)
                || (is_symmetric(&call.func_name) && self.compare(&call.func_name, right, left)))
        {
            return;
        }
        for operand in operands {
            self.expression(operand);
        }
    }

    /// Notes a comparison of `left` with `right`. False if it is none of a fact with something known.
    fn compare(&mut self, function: &str, left: &'e IdedExpr, right: &'e IdedExpr) -> bool {
        if function == "containsIP" {
            let block = cidr(left);
            let (Some(block), Some(fact)) = (block, self.fact(right)) else {
                return false;
            };
            self.add(&fact, Probe::Within(block));
            return true;
        }
        if function == "@in" {
            return self.compare_in(left, right);
        }
        if let (Some(fact), Some(Value::Number(length))) = (self.sized(left), literal(right)) {
            self.add(&fact, Probe::Length(length.as_u64().unwrap_or(0)));
            return true;
        }
        let Some(fact) = self.fact(left) else {
            return false;
        };
        let Some(value) = self.known(right) else {
            return false;
        };
        let text = || match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let probe = match function {
            "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => Probe::Value(value),
            "startsWith" => Probe::Beginning(text()),
            "endsWith" => Probe::Ending(text()),
            "contains" | "indexOf" | "lastIndexOf" => Probe::Containing(value),
            "matches" => Probe::Matching(text()),
            _ => return false,
        };
        self.add(&fact, probe);
        true
    }

    fn compare_in(&mut self, element: &'e IdedExpr, list: &'e IdedExpr) -> bool {
        if let Some(fact) = self.fact(list) {
            // Of a map, `in` tests for a key.
            match (&fact, literal(element)) {
                (Fact::AllHeaders, Some(Value::String(name))) => {
                    self.add(&Fact::Header(name), Probe::Presence);
                }
                (Fact::AllContext, Some(Value::String(name))) => {
                    self.add(&Fact::Context(name), Probe::Presence);
                }
                (Fact::Claim(steps), Some(Value::String(name))) if steps.is_empty() => {
                    self.add(&Fact::Claim(vec![Step::Member(name)]), Probe::Presence);
                }
                (_, Some(value)) => {
                    self.add(&fact, Probe::Containing(value));
                }
                (_, None) => match self.known(element) {
                    Some(value) => self.add(&fact, Probe::Containing(value)),
                    None => return false,
                },
            }
            return true;
        }
        let (Some(fact), Expr::List(list)) = (self.fact(element), &uncharged(list).expr) else {
            return false;
        };
        self.add(&fact, Probe::Presence);
        for element in &list.elements {
            match self.known(element) {
                Some(value) => self.add(&fact, Probe::Value(value)),
                None => self.expression(element),
            }
        }
        true
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr) {
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
        let range = self.fact(iter_range);
        match &range {
            Some(fact) => self.add(fact, Probe::Presence),
            None => self.expression(iter_range),
        }
        self.expression(accu_init);
        let element = range.map(|fact| match fact {
            Fact::Claim(mut steps) => {
                steps.push(Step::Element);
                Fact::Claim(steps)
            }
            other => other,
        });
        let before = self.scope.clone();
        self.scope.insert(iter_var, element.clone());
        if let Some(second) = iter_var2 {
            self.scope.insert(second, element);
        }
        self.scope.insert(accu_var, None);
        for part in [loop_cond, loop_step, result] {
            self.expression(part);
        }
        self.scope = before;
    }

    /// The value of a text or number that is known before any request, with [`SAME`] in place of each
    /// fact in it.
    fn known(&mut self, at: &'e IdedExpr) -> Option<Value> {
        if let Some(value) = literal(at) {
            return Some(value);
        }
        if let Some(fact) = self.fact(at) {
            self.add(&fact, Probe::Value(SAME.into()));
            return Some(SAME.into());
        }
        let Expr::Call(call) = &at.expr else {
            return None;
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            ("_+_", [left, right]) => {
                let (left, right) = (self.known(left)?, self.known(right)?);
                Some(format!("{}{}", left.as_str()?, right.as_str()?).into())
            }
            (BOUNDED | CHARGED, [inner, _]) => self.known(inner),
            _ => None,
        }
    }

    /// The fact whose length the expression is.
    fn sized(&self, at: &'e IdedExpr) -> Option<Fact> {
        let Expr::Call(call) = &at.expr else {
            return None;
        };
        let operand = call.target.as_deref().or(call.args.first())?;
        match call.func_name.as_str() {
            "size" => self.fact(operand),
            BOUNDED | CHARGED => self.sized(operand),
            _ => None,
        }
    }

    /// The fact that the expression is, perhaps in another spelling or type.
    fn fact(&self, at: &'e IdedExpr) -> Option<Fact> {
        match &at.expr {
            Expr::Ident(name) => match (self.scope.get(name.as_str()), name.as_str()) {
                (Some(fact), _) => fact.clone(),
                (None, "claims") => Some(Fact::Claim(Vec::new())),
                (None, "context") => Some(Fact::AllContext),
                (None, "now") => Some(Fact::Now),
                (None, _) => None,
            },
            Expr::Select(select) => self.member(&select.operand, &select.field),
            Expr::Call(call) => {
                let target = call.target.as_deref().or(call.args.first())?;
                match (call.func_name.as_str(), call.args.as_slice()) {
                    ("_[_]", [operand, index]) => match literal(index)? {
                        Value::String(name) => self.member(operand, &name),
                        Value::Number(_) => match self.fact(operand)? {
                            Fact::Claim(mut steps) => {
                                steps.push(Step::Element);
                                Some(Fact::Claim(steps))
                            }
                            other => Some(other),
                        },
                        _ => None,
                    },
                    (
                        BOUNDED | CHARGED | "string" | "int" | "uint" | "double" | "bool" | "dyn"
                        | "bytes" | "timestamp" | "duration" | "lowerAscii" | "upperAscii" | "trim"
                        | "charAt" | "substring" | "replace" | "split",
                        _,
                    ) => self.fact(target),
                    (name, _) if name.starts_with("get") => self.fact(target),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn member(&self, of: &'e IdedExpr, name: &str) -> Option<Fact> {
        if let Expr::Ident(variable) = &of.expr
            && !self.scope.contains_key(variable.as_str())
        {
            return match (variable.as_str(), name) {
                ("request", "headers") => Some(Fact::AllHeaders),
                ("request", "method") => Some(Fact::Method),
                ("request", "host") => Some(Fact::Host),
                ("request", "path") => Some(Fact::Path),
                ("request", "query") => Some(Fact::Query),
                ("source", "address") => Some(Fact::Address),
                ("source", "principal") => Some(Fact::Principal),
                ("source", "certificate") => Some(Fact::Certificate),
                ("context", name) => Some(Fact::Context(name.to_owned())),
                ("claims", name) => Some(Fact::Claim(vec![Step::Member(name.to_owned())])),
                _ => None,
            };
        }
        match self.fact(of)? {
            Fact::AllHeaders => Some(Fact::Header(name.to_owned())),
            Fact::AllContext => Some(Fact::Context(name.to_owned())),
            Fact::Claim(mut steps) => {
                steps.push(Step::Member(name.to_owned()));
                Some(Fact::Claim(steps))
            }
            other => Some(other),
        }
    }
}

fn is_symmetric(function: &str) -> bool {
    matches!(function, "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_")
}

/// The block of a `cidr("…")`.
fn cidr(at: &IdedExpr) -> Option<String> {
    let Expr::Call(call) = &at.expr else {
        return None;
    };
    match (call.func_name.as_str(), call.args.first()) {
        ("cidr", Some(text)) => literal(text)?.as_str().map(str::to_owned),
        (BOUNDED | CHARGED, Some(inner)) => cidr(inner),
        _ => None,
    }
}

/// The expression without the calls that charge for it.
fn uncharged(at: &IdedExpr) -> &IdedExpr {
    match &at.expr {
        Expr::Call(call) if matches!(call.func_name.as_str(), BOUNDED | CHARGED) => {
            call.args.first().map_or(at, uncharged)
        }
        _ => at,
    }
}

/// A constant. A time is in seconds since 1970.
fn literal(at: &IdedExpr) -> Option<Value> {
    match &at.expr {
        Expr::Literal(literal) => Some(match literal {
            LiteralValue::Boolean(truth) => Value::from(*truth.inner()),
            LiteralValue::Double(double) => Value::from(*double.inner()),
            LiteralValue::Int(int) => Value::from(*int.inner()),
            LiteralValue::UInt(uint) => Value::from(*uint.inner()),
            LiteralValue::String(text) => Value::from(text.inner()),
            LiteralValue::Null => Value::Null,
            LiteralValue::Bytes(_) => return None,
        }),
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            ("timestamp", [text]) => match literal(text)? {
                Value::String(text) => {
                    let time = DateTime::parse_from_rfc3339(&text).ok()?;
                    Some(time.timestamp().into())
                }
                other => Some(other),
            },
            ("-_", [number]) => Some(match literal(number)? {
                Value::Number(number) => match number.as_i64() {
                    Some(whole) => Value::from(whole.checked_neg()?),
                    None => Value::from(-number.as_f64()?),
                },
                _ => return None,
            }),
            (BOUNDED | CHARGED | "string" | "int" | "double", [inner, ..]) => literal(inner),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Condition;
    use super::{Comparison, Fact, Probe, SAME, Step};

    fn claim(path: &str) -> Fact {
        let step = |name: &str| match name {
            "*" => Step::Element,
            name => Step::Member(name.to_owned()),
        };
        Fact::Claim(path.split('.').map(step).collect())
    }

    #[test]
    fn what_expressions_compare() {
        let header = |name: &str| Fact::Header(name.to_owned());
        let text = |text: &str| Probe::Value(json!(text));
        for (expression, expected) in [
            ("claims.a == 'x'", vec![(claim("a"), text("x"))]),
            ("'x' != claims['a'].b", vec![(claim("a.b"), text("x"))]),
            (
                "int(claims.level) >= 3",
                vec![(claim("level"), Probe::Value(json!(3)))],
            ),
            ("claims.staff", vec![(claim("staff"), Probe::Presence)]),
            ("has(claims.a)", vec![(claim("a"), Probe::Presence)]),
            (
                "'admin' in claims.groups",
                vec![(claim("groups"), Probe::Containing(json!("admin")))],
            ),
            (
                "claims.orgs.exists(o, o.id == 7)",
                vec![
                    (claim("orgs"), Probe::Presence),
                    (claim("orgs.*.id"), Probe::Value(json!(7))),
                ],
            ),
            (
                "request.method in ['GET', 'PUT']",
                vec![
                    (Fact::Method, Probe::Presence),
                    (Fact::Method, text("GET")),
                    (Fact::Method, text("PUT")),
                ],
            ),
            (
                "'x-a' in request.headers && request.headers['x-a'].lowerAscii().contains('b')",
                vec![
                    (header("x-a"), Probe::Presence),
                    (header("x-a"), Probe::Containing(json!("b"))),
                ],
            ),
            (
                "request.path.startsWith('/users/' + claims.sub)",
                vec![
                    (claim("sub"), text(SAME)),
                    (Fact::Path, Probe::Beginning(format!("/users/{SAME}"))),
                ],
            ),
            (
                "claims.sub == context.owner",
                vec![
                    (Fact::Context("owner".to_owned()), text(SAME)),
                    (claim("sub"), text(SAME)),
                ],
            ),
            (
                "cidr('10.0.0.0/8').containsIP(source.address)",
                vec![(Fact::Address, Probe::Within("10.0.0.0/8".to_owned()))],
            ),
            (
                "now < timestamp('1970-01-01T00:01:00Z') && now.getHours() > 8",
                vec![
                    (Fact::Now, Probe::Value(json!(60))),
                    (Fact::Now, Probe::Value(json!(8))),
                ],
            ),
            (
                "request.query.matches('^a=')",
                vec![(Fact::Query, Probe::Matching("^a=".to_owned()))],
            ),
            (
                "size(claims.roles) > 2",
                vec![(claim("roles"), Probe::Length(2))],
            ),
            (
                "size(claims) > 2",
                vec![(Fact::Claim(vec![]), Probe::Length(2))],
            ),
        ] {
            let condition = Condition::compile(expression).unwrap();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(fact, probe)| Comparison { fact, probe })
                .collect();
            assert_eq!(condition.comparisons(), expected, "{expression}");
        }
    }
}
