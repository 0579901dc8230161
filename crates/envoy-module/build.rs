//! Keeps the module in memory. Envoy unloads a module when the last configuration that uses it is gone,
//! but the threads that fetch keys still run its code.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}
