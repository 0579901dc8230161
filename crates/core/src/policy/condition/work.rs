//! Bounds the work that one condition may do for one request.
//!
//! Every call whose time depends on the length of its operands pays for it before it runs. A
//! condition that runs out of work fails, which denies. [`charge_calls`] inserts the charges when
//! the expression is compiled, because the evaluator has no such limit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue};
use cel::common::types::{CelBytes, CelInt, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{ExecutionError, IdedExpr};

use super::cost::{MAX_ELEMENTS, is_maker, parts};
use crate::policy::pattern::Pattern;

/// The work of one evaluation, in units of about one nanosecond: about 2 ms.
const BUDGET: usize = 2_000_000;

/// The cost of each element that a macro goes through, besides the work of the macro itself.
const PER_ELEMENT: i64 = 128;

/// The cost of each evaluation of a node of the expression.
const PER_NODE: i64 = 50;

/// The cost per byte of a key that is hashed.
const PER_BYTE_HASHED: i64 = 2;

/// The cost per byte that an expression reads: one look into its table.
const PER_BYTE_MATCHED: i64 = 2;

/// The cost per byte that a function turns into a new text or list.
const PER_BYTE_MADE: i64 = 16;

/// The cost per byte that `+` copies.
const PER_BYTE_JOINED: i64 = 4;

/// The function that charges for the elements of a macro. The `@` keeps it out of reach of
/// expressions.
pub(super) const BOUNDED: &str = "@bounded";

/// The function that charges for the operand of a call. The `@` keeps it out of reach of
/// expressions.
pub(super) const CHARGED: &str = "@charged";

/// The compiled patterns of a condition, keyed by their text.
pub(super) type Patterns = HashMap<String, Pattern>;

/// What one evaluation may use.
struct Evaluation {
    patterns: Arc<Patterns>,
    left: usize,
}

thread_local! {
    /// The evaluation that runs on this thread. A thread-local, because CEL functions receive only
    /// their arguments.
    static CURRENT: RefCell<Option<Evaluation>> = const { RefCell::new(None) };
}

/// Ends the evaluation when dropped, even if it panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Runs one evaluation with these patterns and a full budget.
pub(super) fn evaluate<T>(patterns: &Arc<Patterns>, evaluation: impl FnOnce() -> T) -> T {
    CURRENT.set(Some(Evaluation {
        patterns: Arc::clone(patterns),
        left: BUDGET,
    }));
    let _end = End;
    evaluation()
}

/// Whether the pattern with this text matches a part of `text`. `None` if the condition has no such
/// pattern.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    CURRENT.with_borrow(|current| {
        let pattern = current.as_ref()?.patterns.get(pattern)?;
        Some(pattern.is_match(text))
    })
}

/// Takes `units` from the budget. Free outside an evaluation, where the compiler checks constants.
fn charge(function: &str, units: usize) -> Result<(), ExecutionError> {
    CURRENT.with_borrow_mut(|current| {
        let Some(evaluation) = current else {
            return Ok(());
        };
        match evaluation.left.checked_sub(units) {
            Some(left) => {
                evaluation.left = left;
                Ok(())
            }
            None => Err(ExecutionError::function_error(
                function,
                "it takes too long for a request as large as this",
            )),
        }
    })
}

/// Returns the first argument and charges for each of its elements; the second argument is the cost
/// per element. Fails if there are more than [`MAX_ELEMENTS`].
pub(super) fn bounded<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (list, weight) = weighed(arguments)?;
    let size = list.as_sizer().map(|list| *list.size().inner());
    match size.map(usize::try_from) {
        Some(Ok(size)) if size <= MAX_ELEMENTS => {
            charge(BOUNDED, size.saturating_mul(weight))?;
            Ok(list)
        }
        _ => {
            let why = format!("a macro goes through more than {MAX_ELEMENTS} elements");
            Err(ExecutionError::function_error(BOUNDED, why))
        }
    }
}

/// Returns the first argument and charges its size times the second argument.
pub(super) fn charged<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, weight) = weighed(arguments)?;
    charge(CHARGED, size(&*value, BUDGET).saturating_mul(weight))?;
    Ok(value)
}

/// The value and its weight, from the arguments.
fn weighed<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<(CowVal<'b, 'v>, usize), ExecutionError> {
    let mut arguments = arguments.into_iter();
    let (Some(value), Some(weight)) = (arguments.next(), arguments.next()) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let weight = weight
        .downcast_ref::<CelInt>()
        .map_or(1, |weight| *weight.inner());
    Ok((value, usize::try_from(weight).unwrap_or(usize::MAX)))
}

/// The size of a value in bytes. Stops counting soon after `most`.
fn size(value: &dyn Val, max: usize) -> usize {
    const PER_VALUE: usize = 8;
    let mut total = PER_VALUE;
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return total + text.inner().len();
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        return total + bytes.inner().len();
    }
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for element in list.inner() {
            if total > max {
                break;
            }
            total += size(&**element, max);
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        for (key, element) in map.inner() {
            if total > max {
                break;
            }
            total += size(key.inner(), max) + size(&**element, max);
        }
    }
    total
}

/// Inserts a charge before each call whose time depends on the length of its operands, and before
/// every list that a macro goes through.
pub(super) fn charge_calls(at: &mut IdedExpr) {
    match &mut at.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Select(select) => charge_calls(&mut select.operand),
        Expr::Call(call) => {
            let target = call.target.as_deref_mut().into_iter();
            target.chain(&mut call.args).for_each(charge_calls);
            charge_operands(call);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(charge_calls),
        Expr::Map(map) => map.entries.iter_mut().for_each(charge_entry),
        Expr::Struct(object) => object.entries.iter_mut().for_each(charge_entry),
        Expr::Comprehension(comprehension) => {
            let ComprehensionExpr {
                iter_range,
                accu_init,
                loop_cond,
                loop_step,
                result,
                ..
            } = &mut **comprehension;
            let body = nodes(loop_cond).saturating_add(nodes(loop_step));
            let each = body.saturating_mul(PER_NODE).saturating_add(PER_ELEMENT);
            wrap(iter_range, BOUNDED, each);
            let parts = [iter_range, accu_init, loop_cond, loop_step, result];
            parts.into_iter().for_each(charge_calls);
        }
    }
}

/// The number of nodes evaluated for each element of a macro. An inner macro charges for its own
/// elements.
fn nodes(at: &IdedExpr) -> i64 {
    let inner = match &at.expr {
        Expr::Comprehension(comprehension) => nodes(&comprehension.iter_range),
        _ => parts(at).into_iter().map(nodes).sum(),
    };
    inner.saturating_add(1)
}

fn charge_entry(entry: &mut IdedEntryExpr) {
    match &mut entry.expr {
        EntryExpr::StructField(field) => charge_calls(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            charge_calls(&mut entry.key);
            charge_calls(&mut entry.value);
            charge_unless_literal(&mut entry.key, PER_BYTE_HASHED);
        }
    }
}

/// Charges for the operands whose length determines how long the call takes.
fn charge_operands(call: &mut CallExpr) {
    let weight = match call.func_name.as_str() {
        BOUNDED | CHARGED => return,
        // The needle is compared at every position of the searched text.
        "indexOf" | "lastIndexOf" => call.args.first().map_or(1, literal_length),
        "_+_" => PER_BYTE_JOINED,
        "matches" => PER_BYTE_MATCHED,
        _ if is_maker(call) => PER_BYTE_MADE,
        _ => 1,
    };
    match (call.func_name.as_str(), call.args.as_mut_slice()) {
        // `map` and `filter` add elements to their own list, which the evaluator does in place.
        ("_+_", [one, _]) if is_accumulator(one) => {}
        ("_+_", args) => {
            let charge = |operand| charge_unless_literal(operand, weight);
            args.iter_mut().for_each(charge);
        }
        // A map looks up the hash of the key, while a list is searched element by element.
        ("@in", [element, list]) => {
            charge_unless_literal(element, PER_BYTE_HASHED);
            wrap(list, CHARGED, weight);
        }
        ("_[_]", [_, index]) => charge_unless_literal(index, PER_BYTE_HASHED),
        // A comparison with a literal stops at the literal's end, so it is not charged.
        ("_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_", [one, other])
            if !is_literal(one) && !is_literal(other) =>
        {
            wrap(one, CHARGED, weight);
        }
        (name, args) if name.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            let target = call.target.as_deref_mut().into_iter();
            let charge = |operand| charge_unless_literal(operand, weight);
            target.chain(args).for_each(charge);
        }
        _ => {}
    }
}

/// Whether the expression is the list that a macro collects into. No expression can name it.
fn is_accumulator(at: &IdedExpr) -> bool {
    matches!(&at.expr, Expr::Ident(name) if name.starts_with('@'))
}

fn literal_length(at: &IdedExpr) -> i64 {
    match &at.expr {
        Expr::Literal(LiteralValue::String(text)) => {
            i64::try_from(text.inner().len()).unwrap_or(i64::MAX)
        }
        _ => i64::MAX,
    }
}

fn is_literal(at: &IdedExpr) -> bool {
    matches!(at.expr, Expr::Literal(_))
}

/// Charges for an operand unless it is a literal, whose length the operator chose.
fn charge_unless_literal(at: &mut IdedExpr, weight: i64) {
    if !is_literal(at) {
        wrap(at, CHARGED, weight);
    }
}

/// Replaces `x` with the call `function(x, weight)`.
fn wrap(at: &mut IdedExpr, function: &str, weight: i64) {
    let inner = std::mem::take(at);
    let id = inner.id;
    let weight = IdedExpr {
        id,
        expr: Expr::Literal(LiteralValue::Int(weight.into())),
    };
    *at = IdedExpr {
        id,
        expr: Expr::Call(CallExpr {
            func_name: function.to_owned(),
            target: None,
            args: vec![inner, weight],
        }),
    };
}
