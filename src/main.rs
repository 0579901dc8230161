//! The `claimgate` command: arguments in, exit code out.

use std::process::ExitCode;

use claimgate::command::Arguments;
use clap::Parser as _;
use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Overwrites memory that is freed, so that no token stays in it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("claimgate: cannot start the runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let code = runtime.block_on(claimgate::command::run(arguments));
    // Does not wait for background work, such as a fetch.
    runtime.shutdown_background();
    code
}
