//! Keeps the module in memory. Envoy unloads a module when the last configuration that uses it is gone,
//! but the threads that fetch keys still run its code. `tests/boundary` is a host, whose functions the module
//! finds by name.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
    println!("cargo::rustc-link-arg-tests=-rdynamic");
}
