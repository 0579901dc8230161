//! Keeps a request from costing more than its length: what a macro does for each element of a list
//! may itself take as long as another list or text of the request.

use cel::ExecutionError;
use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr};
use cel::common::value::CowVal;

/// Through so many elements a macro goes, and no further.
pub(super) const MOST_ELEMENTS: i64 = 500;

/// The function that looks at what a macro goes through. No expression can name it.
pub(super) const BOUNDED: &str = "@bounded";

/// Its argument, unless that has too many elements.
pub(super) fn bounded<'b, 'v>(
    mut arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = arguments
        .pop()
        .ok_or_else(ExecutionError::missing_argument_or_target)?;
    let size = list.as_sizer().map(|list| *list.size().inner());
    match size {
        Some(size) if size <= MOST_ELEMENTS => Ok(list),
        _ => Err(ExecutionError::function_error(BOUNDED, "too many elements")),
    }
}

/// Puts that function before whatever a macro goes through.
pub(super) fn bound(at: &mut IdedExpr) {
    let all = |expressions: &mut Vec<IdedExpr>| expressions.iter_mut().for_each(bound);
    match &mut at.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Select(select) => bound(&mut select.operand),
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| bound(target));
            all(&mut call.args);
        }
        Expr::List(list) => all(&mut list.elements),
        Expr::Map(map) => map
            .entries
            .iter_mut()
            .for_each(|entry| entries(&mut entry.expr)),
        Expr::Struct(object) => {
            let fields = object.entries.iter_mut();
            fields.for_each(|entry| entries(&mut entry.expr));
        }
        Expr::Comprehension(comprehension) => {
            bound(&mut comprehension.iter_range);
            bound(&mut comprehension.accu_init);
            bound(&mut comprehension.loop_cond);
            bound(&mut comprehension.loop_step);
            bound(&mut comprehension.result);
            let range = std::mem::take(&mut comprehension.iter_range);
            comprehension.iter_range = IdedExpr {
                id: range.id,
                expr: Expr::Call(CallExpr {
                    func_name: BOUNDED.to_owned(),
                    target: None,
                    args: vec![range],
                }),
            };
        }
    }
}

fn entries(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::StructField(field) => bound(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            bound(&mut entry.key);
            bound(&mut entry.value);
        }
    }
}
