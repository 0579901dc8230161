//! `claimgate completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Failure, say};

/// Prints the script that lets a shell complete commands and flags.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    source <(claimgate completions bash)\n  \
    claimgate completions zsh > /usr/share/zsh/site-functions/_claimgate\n  \
    claimgate completions fish > ~/.config/fish/completions/claimgate.fish")]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "claimgate", &mut script);
    say(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
