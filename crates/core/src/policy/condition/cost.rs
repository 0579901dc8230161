//! Refuses expressions that would cost a request much more than its length. What a macro does for
//! each element of a list may itself take as long as another list or text of the request. What is
//! accepted here is bounded once more when it runs, by [`super::work`].

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue};

/// The longest expression, in bytes.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// How deep an expression may be nested; a chain such as `a.b.c` is nested, too.
pub(super) const MAX_DEPTH: usize = 200;

/// The most elements that a macro goes through.
pub(super) const MAX_ELEMENTS: usize = 500;

/// What holds as much as a request does.
const LARGE: [&str; 4] = ["claims", "context", "request", "source"];

/// Functions that make texts and lists of the length of what they are given.
const MAKERS: [&str; 7] = [
    "_+_",
    "lowerAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "upperAscii",
];

/// So many of them an expression may have.
pub(super) const MAX_MAKERS: usize = 16;

/// Functions that take no longer than what they are given to read it once, and make nothing of it.
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

/// How often, at most, lists that are written out make a part of an expression run.
pub(super) const MAX_REPEATS: usize = 64;

/// What an expression is made of.
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

/// How deep an expression is nested.
pub(super) fn depth(at: &IdedExpr) -> usize {
    1 + parts(at).into_iter().map(depth).max().unwrap_or(0)
}

/// Whether an expression mentions a variable.
fn mentions(at: &IdedExpr, variable: &str) -> bool {
    let is_it = matches!(&at.expr, Expr::Ident(name) if name == variable);
    is_it || parts(at).into_iter().any(|part| mentions(part, variable))
}

/// Whether an expression mentions what a CORS preflight does not have, or has another of than the
/// request that it asks about: claims, method and headers.
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

/// Whether a part of a condition hangs on where a request comes from and on what a preflight has not,
/// both at once: then nobody can tell whether it holds for one.
pub(super) fn is_undecided_for_preflights(at: &IdedExpr) -> bool {
    is_not_for_preflights(at) && mentions(at, "source")
}

/// Those of an expression of which all must hold.
pub(super) fn conjuncts(at: &IdedExpr) -> Vec<&IdedExpr> {
    match &at.expr {
        Expr::Call(call) if call.func_name == "_&&_" => {
            call.args.iter().flat_map(conjuncts).collect()
        }
        _ => vec![at],
    }
}

/// The length of a list that is written in the expression, element by element.
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

/// Whether a call makes a text or a list.
pub(super) fn is_maker(call: &CallExpr) -> bool {
    MAKERS.contains(&call.func_name.as_str())
}

/// What a call would cost inside so many macros that go through lists of a request.
pub(super) fn of_call(call: &CallExpr, scope: &[&str], loops: usize) -> Result<(), String> {
    let CallExpr {
        func_name: name,
        target,
        args,
    } = call;
    of_texts(name, args)?;
    // Operators that look at truth, at numbers, or choose, cost nothing.
    let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_free = is_operator && !is_maker(call) && name != "@in";
    if loops == 0 || is_free || READERS.contains(&name.as_str()) {
        return Ok(());
    }
    let operands: Vec<&IdedExpr> = match name.as_str() {
        "@in" => args.last().into_iter().collect(),
        // What is put together of a few texts is compared with the element.
        "_+_" => return Ok(()),
        _ => target.as_deref().into_iter().chain(args).collect(),
    };
    let shown = match name.as_str() {
        "@in" => "in",
        name => name,
    };
    match operands.into_iter().any(|at| is_large(at, scope)) {
        true => Err(format!(
            "`{shown}` inside a macro may only be given what is written here, or the macro's own \
             element: its work would grow with the square of the request"
        )),
        false => Ok(()),
    }
}

/// Texts that could make the work of a function grow faster than the request.
fn of_texts(name: &str, args: &[IdedExpr]) -> Result<(), String> {
    let text = |at: Option<&IdedExpr>| match at.map(|at| &at.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) => Some(text.inner().len()),
        _ => None,
    };
    match (name, text(args.first()), text(args.get(1))) {
        ("replace", Some(from), Some(to)) if from >= to && from > 0 => Ok(()),
        ("replace", _, _) => Err(
            "`replace` takes two literal texts, of which the second is no longer than the first"
                .to_owned(),
        ),
        ("split", Some(1..), _) | ("indexOf" | "lastIndexOf", Some(_), _) => Ok(()),
        ("split" | "indexOf" | "lastIndexOf", _, _) => {
            Err(format!("`{name}` looks for literal text that is not empty"))
        }
        _ => Ok(()),
    }
}

/// What a macro would keep for each element.
pub(super) fn of_macro(comprehension: &ComprehensionExpr, scope: &[&str]) -> Result<(), String> {
    let makes_a_list = matches!(&comprehension.accu_init.expr, Expr::List(list)
        if list.elements.is_empty());
    if !makes_a_list {
        return Ok(());
    }
    if is_large(&comprehension.loop_step, scope) {
        return Err(
            "`map` and `filter` may only look at their own elements: what they make would \
                    grow with the square of the request"
                .to_owned(),
        );
    }
    // One adds to the list.
    match sums(&comprehension.loop_step) {
        0 | 1 => Ok(()),
        _ => Err(
            "`map` may not add: what several make of each other would grow without end".to_owned(),
        ),
    }
}

fn sums(at: &IdedExpr) -> usize {
    let own = matches!(&at.expr, Expr::Call(call) if call.func_name == "_+_");
    usize::from(own) + parts(at).into_iter().map(sums).sum::<usize>()
}
