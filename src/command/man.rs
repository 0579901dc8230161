//! `claimgate man`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{Failure, say};

/// Prints the manual page of a command (roff, section 1), or writes the pages of all commands.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate man | man -l -\n  \
    claimgate man dev token\n  \
    claimgate man --dir /usr/share/man/man1     # claimgate.1, claimgate-serve.1, …")]
pub(super) struct Arguments {
    /// The command; without it, claimgate itself
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write one page per command to this directory, and create the directory if needed
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut root = super::Arguments::command().disable_help_subcommand(true);
    root.build();
    match &arguments.dir {
        Some(dir) => {
            let cannot_write = |error| format!("cannot write to `{}`: {error}", dir.display());
            std::fs::create_dir_all(dir).map_err(cannot_write)?;
            for command in with_subcommands(&root) {
                let file = dir.join(Man::new(command.clone()).get_filename());
                std::fs::write(file, page(command)?).map_err(cannot_write)?;
            }
        }
        None => {
            let text = page(find(&root, &arguments.command)?)?;
            say(String::from_utf8(text)?.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command and all commands below it.
fn with_subcommands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(with_subcommands);
    std::iter::once(command).chain(below).collect()
}

fn find<'c>(root: &'c Command, path: &[String]) -> Result<&'c Command, Failure> {
    let mut found = root;
    for name in path {
        found = found.find_subcommand(name).ok_or_else(|| {
            let parent = found.get_bin_name().unwrap_or(found.get_name());
            let known: Vec<_> = found.get_subcommands().map(Command::get_name).collect();
            match known.as_slice() {
                [] => format!("`{parent}` has no subcommands"),
                known => format!("`{parent}` has no `{name}`, only {}", known.join(", ")),
            }
        })?;
    }
    Ok(found)
}

/// A page: the usual sections, then the notes of `--help`, with their examples unchanged.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone())
        .source(concat!("claimgate ", env!("CARGO_PKG_VERSION")))
        .manual("claimgate");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        notes(&text.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

/// A title such as `Examples:` begins a section; an indented paragraph keeps its lines.
fn notes(text: &str) -> Roff {
    let mut roff = Roff::default();
    for paragraph in text.split("\n\n") {
        let (title, rest) = match paragraph.split_once([':', '\n']) {
            Some(("Exit codes", codes)) => ("EXIT STATUS".to_owned(), codes.trim_start()),
            Some((title, rest)) if is_title(title, paragraph) => (title.to_uppercase(), rest),
            _ => (String::new(), paragraph),
        };
        match title.as_str() {
            "" => roff.control("PP", []),
            title => roff.control("SH", [title]),
        };
        let rest = rest.trim_start_matches('\n');
        let keeps_lines = rest.starts_with(' ');
        if keeps_lines {
            roff.control("nf", []);
        }
        for line in rest.lines() {
            roff.text([roman(line)]);
        }
        if keeps_lines {
            roff.control("fi", []);
        }
    }
    roff
}

/// Up to three words with a colon, alone on the first line.
fn is_title(title: &str, paragraph: &str) -> bool {
    paragraph
        .lines()
        .next()
        .and_then(|line| line.strip_suffix(':'))
        == Some(title)
        && title.split(' ').count() <= 3
}
