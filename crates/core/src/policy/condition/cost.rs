//! Refuses expressions whose work could grow faster than the request. The danger is a macro
//! whose work for each element of a list is itself as long as another list or text of the request.
//! [`super::work`] bounds accepted expressions once more while they run.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue};

/// The maximum length of an expression in bytes.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// The maximum nesting depth of an expression. A chain such as `a.b.c` counts as nested too.
pub(super) const MAX_DEPTH: usize = 200;

/// The maximum number of elements that a macro goes through.
pub(super) const MAX_ELEMENTS: usize = 500;

/// The variables that can be as large as the request.
const LARGE: [&str; 4] = ["claims", "context", "request", "source"];

/// Functions that create a text or a list as long as their arguments.
const MAKERS: [&str; 7] = [
    "_+_",
    "lowerAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "upperAscii",
];

/// The maximum number of calls of these functions in one expression.
pub(super) const MAX_MAKERS: usize = 16;

/// Functions that read their arguments once and create nothing.
const READERS: [&str; 8] = [
    "_==_",
    "_!=_",
    "_[_]",
    "contains",
    "containsIP",
    "endsWith",
    "size",
    "startsWith",
];

/// The maximum number of times that literal lists make a part of an expression run.
pub(super) const MAX_REPEATS: usize = 64;

/// The direct parts of an expression.
pub(super) fn parts(at: &IdedExpr) -> Vec<&IdedExpr> {
    match &at.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry).collect(),
        Expr::Struct(object) => object.entries.iter().flat_map(entry).collect(),
        Expr::Comprehension(comprehension) => {
            let ComprehensionExpr {
                iter_range,
                accu_init,
                loop_cond,
                loop_step,
                result,
                ..
            } = &**comprehension;
            vec![iter_range, accu_init, loop_cond, loop_step, result]
        }
    }
}

fn entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The nesting depth of an expression.
pub(super) fn depth(at: &IdedExpr) -> usize {
    1 + parts(at).into_iter().map(depth).max().unwrap_or(0)
}

/// Whether the expression mentions the variable.
fn mentions(at: &IdedExpr, variable: &str) -> bool {
    let is_it = matches!(&at.expr, Expr::Ident(name) if name == variable);
    is_it || parts(at).into_iter().any(|part| mentions(part, variable))
}

/// Whether the expression mentions claims, method or headers. A CORS preflight has no claims, and
/// its method and headers differ from those of the request that it announces.
pub(super) fn is_not_for_preflights(at: &IdedExpr) -> bool {
    let is_request = |at: &IdedExpr| matches!(&at.expr, Expr::Ident(name) if name == "request");
    let is_it = match &at.expr {
        Expr::Ident(name) => name == "claims",
        Expr::Select(select) => {
            is_request(&select.operand) && matches!(select.field.as_str(), "headers" | "method")
        }
        Expr::Call(call) => match call.args.as_slice() {
            [operand, index] if call.func_name == "_[_]" && is_request(operand) => {
                matches!(&index.expr, Expr::Literal(LiteralValue::String(name))
                    if matches!(name.inner(), "headers" | "method"))
            }
            _ => false,
        },
        _ => false,
    };
    is_it || parts(at).into_iter().any(is_not_for_preflights)
}

/// Whether a part of a condition depends both on where a request comes from and on something that a
/// preflight lacks. Then it cannot be decided for a preflight.
pub(super) fn is_undecided_for_preflights(at: &IdedExpr) -> bool {
    is_not_for_preflights(at) && mentions(at, "source")
}

/// The operands of the outermost `&&`, all of which must hold.
pub(super) fn conjuncts(at: &IdedExpr) -> Vec<&IdedExpr> {
    match &at.expr {
        Expr::Call(call) if call.func_name == "_&&_" => {
            call.args.iter().flat_map(conjuncts).collect()
        }
        _ => vec![at],
    }
}

/// The length of a list whose elements are all literals.
pub(super) fn written_length(range: &IdedExpr) -> Option<usize> {
    match &range.expr {
        Expr::List(list) => {
            let is_literal = |element: &IdedExpr| matches!(element.expr, Expr::Literal(_));
            let all = list.elements.iter().all(is_literal);
            all.then_some(list.elements.len())
        }
        _ => None,
    }
}

fn is_large(at: &IdedExpr, scope: &[&str]) -> bool {
    let mut large = LARGE.iter().filter(|name| !scope.contains(name));
    large.any(|name| mentions(at, name))
}

/// Whether the call creates a text or a list.
pub(super) fn is_maker(call: &CallExpr) -> bool {
    MAKERS.contains(&call.func_name.as_str())
}

/// Refuses a call that would cost too much inside `loops` macros that go through lists of the
/// request.
pub(super) fn of_call(call: &CallExpr, scope: &[&str], loops: usize) -> Result<(), String> {
    let CallExpr {
        func_name: name,
        target,
        args,
    } = call;
    of_texts(name, args)?;
    // Logical, arithmetic and comparison operators take constant time.
    let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_free = is_operator && !is_maker(call) && name != "@in";
    if loops == 0 || is_free || READERS.contains(&name.as_str()) {
        return Ok(());
    }
    let operands: Vec<&IdedExpr> = match name.as_str() {
        "@in" => args.last().into_iter().collect(),
        // A text joined from a few parts is compared with the element.
        "_+_" => return Ok(()),
        _ => target.as_deref().into_iter().chain(args).collect(),
    };
    let shown = match name.as_str() {
        "@in" => "in",
        name => name,
    };
    match operands.into_iter().any(|at| is_large(at, scope)) {
        true => Err(format!(
            "`{shown}` inside a macro may only be given literals or the macro's own \
             element: otherwise its work would grow with the square of the request"
        )),
        false => Ok(()),
    }
}

/// Refuses arguments that could make the work of a text function grow faster than the request.
fn of_texts(name: &str, args: &[IdedExpr]) -> Result<(), String> {
    let text = |at: Option<&IdedExpr>| match at.map(|at| &at.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) => Some(text.inner().len()),
        _ => None,
    };
    match (name, text(args.first()), text(args.get(1))) {
        ("replace", Some(from), Some(to)) if from >= to && from > 0 => Ok(()),
        ("replace", _, _) => Err(
            "`replace` takes two literal texts, and the second must not be longer than the first"
                .to_owned(),
        ),
        ("split", Some(1..), _) | ("indexOf" | "lastIndexOf", Some(_), _) => Ok(()),
        ("split" | "indexOf" | "lastIndexOf", _, _) => {
            Err(format!("`{name}` needs a literal text that is not empty"))
        }
        _ => Ok(()),
    }
}

/// Refuses a macro that would create too much for each element.
pub(super) fn of_macro(comprehension: &ComprehensionExpr, scope: &[&str]) -> Result<(), String> {
    let makes_a_list = matches!(&comprehension.accu_init.expr, Expr::List(list)
        if list.elements.is_empty());
    if !makes_a_list {
        return Ok(());
    }
    if is_large(&comprehension.loop_step, scope) {
        return Err(
            "`map` and `filter` may only use their own elements: otherwise their result would \
                    grow with the square of the request"
                .to_owned(),
        );
    }
    // The macro itself uses one `+` to add an element to its result.
    match sums(&comprehension.loop_step) {
        0 | 1 => Ok(()),
        _ => Err(
            "`map` may not use `+`: if several build on each other, the result has no bound"
                .to_owned(),
        ),
    }
}

fn sums(at: &IdedExpr) -> usize {
    let own = matches!(&at.expr, Expr::Call(call) if call.func_name == "_+_");
    usize::from(own) + parts(at).into_iter().map(sums).sum::<usize>()
}
