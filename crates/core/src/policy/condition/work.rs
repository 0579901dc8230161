//! The work that one condition may do for one request.
//!
//! Every call whose time depends on the length of what it is given is charged for it before it
//! runs; a condition that runs out of work fails, which denies. The charge is put into the
//! expression when it is compiled ([`charge_calls`]): the evaluator knows no such bound.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue};
use cel::common::types::{CelBytes, CelInt, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{ExecutionError, IdedExpr};

use super::cost::{MAX_ELEMENTS, is_maker, parts};
use crate::policy::pattern::Pattern;

/// The work of one evaluation, in units of about a nanosecond.
const BUDGET: usize = 2_000_000;

/// What an element costs that a macro goes through, besides what the macro does with it.
const PER_ELEMENT: i64 = 128;

/// What a node of an expression costs each time that it is evaluated.
const PER_NODE: i64 = 50;

/// What a byte costs of a key that is hashed.
const PER_BYTE_HASHED: i64 = 2;

/// What a byte costs of which a function makes a new text or list.
const PER_BYTE_MADE: i64 = 16;

/// What a byte costs that `+` copies.
const PER_BYTE_JOINED: i64 = 4;

/// The function that charges for what a macro goes through. No expression can name it.
pub(super) const BOUNDED: &str = "@bounded";

/// The function that charges for what a call reads. No expression can name it.
pub(super) const CHARGED: &str = "@charged";

/// The patterns of a condition, by the text of each.
pub(super) type Patterns = HashMap<String, Pattern>;

/// What one evaluation has and uses up.
struct Evaluation {
    patterns: Arc<Patterns>,
    left: usize,
}

thread_local! {
    /// The evaluation that runs on this thread. CEL functions get their arguments and nothing else.
    static CURRENT: RefCell<Option<Evaluation>> = const { RefCell::new(None) };
}

/// Ends the evaluation, also if it panics.
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

/// Whether the pattern of this text matches a part of `text`; `None` if the condition has no such
/// pattern.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    CURRENT.with_borrow(|current| {
        let pattern = current.as_ref()?.patterns.get(pattern)?;
        Some(pattern.is_match(text))
    })
}

/// Outside of an evaluation (a constant that is checked when it is compiled) nothing is charged.
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

/// The first argument, unless it has too many elements for a macro to go through; the second is
/// what each of them costs.
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

/// The first argument, once its size times the second is charged.
pub(super) fn charged<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, weight) = weighed(arguments)?;
    charge(CHARGED, size(&*value, BUDGET).saturating_mul(weight))?;
    Ok(value)
}

/// A value and its weight.
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

/// The bytes of a value, or somewhat more than `most` if it has more.
fn size(value: &dyn Val, most: usize) -> usize {
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
            if total > most {
                break;
            }
            total += size(&**element, most);
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        for (key, element) in map.inner() {
            if total > most {
                break;
            }
            total += size(key.inner(), most) + size(&**element, most);
        }
    }
    total
}

/// Puts a charge before each call whose time depends on the length of what it is given, and before
/// whatever a macro goes through.
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

/// How many nodes are evaluated for each element of a macro. What an inner macro does for each of
/// its own elements is charged there.
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

/// Charges for those operands of a call whose length decides how long it takes.
fn charge_operands(call: &mut CallExpr) {
    let weight = match call.func_name.as_str() {
        BOUNDED | CHARGED => return,
        // The searched text is compared with the needle at each of its places.
        "indexOf" | "lastIndexOf" => call.args.first().map_or(1, literal_length),
        "_+_" => PER_BYTE_JOINED,
        _ if is_maker(call) => PER_BYTE_MADE,
        _ => 1,
    };
    match (call.func_name.as_str(), call.args.as_mut_slice()) {
        // What `map` and `filter` add an element to is theirs: the evaluator adds in place.
        ("_+_", [one, _]) if is_accumulator(one) => {}
        ("_+_", args) => {
            let charge = |operand| charge_unless_literal(operand, weight);
            args.iter_mut().for_each(charge);
        }
        // A map is asked by the hash of the key, a list element by element.
        ("@in", [element, list]) => {
            charge_unless_literal(element, PER_BYTE_HASHED);
            wrap(list, CHARGED, weight);
        }
        ("_[_]", [_, index]) => charge_unless_literal(index, PER_BYTE_HASHED),
        // With a literal they are compared no further than its end.
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

/// Macros name what they collect in so that no expression can name it.
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

/// A literal is as long as it is written.
fn charge_unless_literal(at: &mut IdedExpr, weight: i64) {
    if !is_literal(at) {
        wrap(at, CHARGED, weight);
    }
}

/// Makes of `x` the call `function(x, weight)`.
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
