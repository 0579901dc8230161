//! The configurations of routes that this module has read. Envoy also hands out one that another module
//! has read, if a route names that module under this filter's name.

use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::{LazyLock, PoisonError, RwLock};

/// Their addresses. A panic leaves no change half done.
static OURS: LazyLock<RwLock<HashSet<usize>>> = LazyLock::new(RwLock::default);

/// Notes a configuration that Envoy keeps from now on.
pub(super) fn add(route: *const c_void) {
    let mut ours = OURS.write().unwrap_or_else(PoisonError::into_inner);
    ours.insert(route.addr());
}

/// Notes that Envoy keeps a configuration no longer. Whether it was this module's.
pub(super) fn remove(route: *const c_void) -> bool {
    let mut ours = OURS.write().unwrap_or_else(PoisonError::into_inner);
    ours.remove(&route.addr())
}

/// Whether this module has read the configuration, and Envoy keeps it.
pub(super) fn is_ours(route: *const c_void) -> bool {
    let ours = OURS.read().unwrap_or_else(PoisonError::into_inner);
    ours.contains(&route.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours() {
        let [route, other] = [1_u64, 2];
        let [route, other] = [&raw const route, &raw const other].map(<*const u64>::cast);
        add(route);
        assert_eq!([route, other].map(is_ours), [true, false]);
        assert_eq!([route, other].map(remove), [true, false]);
        assert_eq!([route, other].map(is_ours), [false, false]);
    }
}
