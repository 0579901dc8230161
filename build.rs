//! Compiles `proto/` into `OUT_DIR`, in pure Rust: no protoc, git or network at build time. Passes on
//! the target and the compiler, which `claimgate --version --verbose` prints.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let variable = |name: &str| env::var(name).map_err(|_| format!("cargo sets {name}"));
    let compiler = Command::new(variable("RUSTC")?).arg("--version").output()?;
    let compiler = String::from_utf8(compiler.stdout)?;
    println!("cargo:rustc-env=CLAIMGATE_COMPILER={}", compiler.trim());
    println!("cargo:rustc-env=CLAIMGATE_TARGET={}", variable("TARGET")?);

    let descriptors = protox::compile(["envoy/service/auth/v3/external_auth.proto"], ["proto"])?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    // Served by gRPC reflection.
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure().compile_fds(descriptors)?;

    let services = ["trace/v1/trace_service", "metrics/v1/metrics_service"];
    let files = services.map(|file| format!("opentelemetry/proto/collector/{file}.proto"));
    tonic_prost_build::configure().compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
