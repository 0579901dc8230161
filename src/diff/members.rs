//! Claims at a path inside the claims of a token.

use serde_json::{Map, Value};

/// Puts a value at the path. False if something other than an object is in the way.
pub(super) fn insert(claims: &mut Map<String, Value>, path: &[String], value: Value) -> bool {
    let Some((last, outer)) = path.split_last() else {
        return false;
    };
    let mut members = claims;
    for name in outer {
        let inner = members
            .entry(name.as_str())
            .or_insert_with(|| Map::new().into());
        match inner.as_object_mut() {
            Some(inner) => members = inner,
            None => return false,
        }
    }
    members.insert(last.clone(), value);
    true
}

/// Removes the value at the path, if there is one.
pub(super) fn remove(claims: &mut Map<String, Value>, path: &[String]) {
    let Some((last, outer)) = path.split_last() else {
        return;
    };
    let mut members = claims;
    for name in outer {
        match members.get_mut(name).and_then(Value::as_object_mut) {
            Some(inner) => members = inner,
            None => return,
        }
    }
    members.remove(last);
}
