//! `claimgate import`: writes the configuration that replaces another token check.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Failure, complain, say};
use crate::import::model::{Kind, Note};
use crate::import::source::{MAX_BYTES, Source};
use crate::import::{Imported, Options, import, write};

/// Turns the token check of Envoy, Istio or Envoy Gateway into a configuration of claimgate.
///
/// Reads Envoy's `jwt_authn` filter in a static configuration or a `config_dump`, Istio's `RequestAuthentication`
/// and `AuthorizationPolicy`, or Envoy Gateway's `SecurityPolicy`, in YAML or JSON. The kind of the files is found from their content. Whatever has no equivalent is left out so that fewer requests pass,
/// never more. A comment in the configuration and a line on standard error name it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate import envoy.yaml -o claimgate.yaml --tests policy.test.yaml --changes changes.yaml\n  \
    curl -s localhost:9901/config_dump | claimgate import -\n  \
    kubectl get requestauthentications,authorizationpolicies -A -o yaml | claimgate import - --workload shop/app=orders\n  \
    claimgate test policy.test.yaml\n\n\
    Exit codes: 0 everything was imported, 1 something was left out (0 with --partial), 2 nothing was imported")]
pub(super) struct Arguments {
    /// The files; `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Write the configuration to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write tests for `claimgate test` to this file
    #[arg(long, value_name = "FILE")]
    tests: Option<PathBuf>,

    /// Write to this file what changes in the files that were read
    #[arg(long, value_name = "FILE")]
    changes: Option<PathBuf>,

    /// Import the filter of this listener, if the listeners of Envoy differ
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,

    /// Import Istio's policies for this workload, if they are for several
    #[arg(long, value_name = "NAMESPACE/LABEL=VALUE,…")]
    workload: Option<String>,

    /// The namespace of objects that do not say theirs, as for kubectl
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// Istio's root namespace, whose policies are for the whole mesh [default: istio-system]
    #[arg(long, value_name = "NAME")]
    root_namespace: Option<String>,

    /// The trust domain of Istio's mesh, and its aliases
    #[arg(long = "trust-domain", value_name = "NAME,…", value_delimiter = ',')]
    trust_domains: Vec<String>,

    /// Exit with 0 although something was left out
    #[arg(long)]
    partial: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        files,
        output,
        tests,
        changes,
        listener,
        workload,
        namespace,
        root_namespace,
        trust_domains,
        partial,
    } = arguments;
    let sources: Vec<Source> = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<_, _>>()?;
    let options = Options {
        config: config_for(tests.as_deref(), output.as_deref()),
        listener,
        workload,
        namespace,
        root_namespace,
        trust_domains,
    };
    let outputs = [
        ("-o", output.as_deref()),
        ("--tests", tests.as_deref()),
        ("--changes", changes.as_deref()),
    ];
    check_outputs(&files, &outputs)?;
    let imported = import(&sources, &options)?;
    let Imported {
        configuration,
        tests: cases,
        changes: changed,
        notes,
    } = &imported;
    let texts = [configuration, cases, changed];
    let all = outputs.iter().zip(texts);
    let all = all.filter_map(|((_, file), text)| Some(((*file)?, text.as_str())));
    save(&all.collect::<Vec<_>>())?;
    if output.is_none() {
        say(configuration.trim_end())?;
    }
    for note in notes {
        complain(&described(note));
    }
    let all: Vec<&Note> = notes.iter().collect();
    complain(&write::summary(&all));
    if changes.is_none() {
        complain("`--changes FILE` writes what changes in the files that were read.");
    }
    let is_whole = notes.iter().all(|note| note.kind != Kind::LeftOut);
    Ok(ExitCode::from(u8::from(!is_whole && !partial)))
}

fn described(note: &Note) -> String {
    let what = match note.kind {
        Kind::LeftOut => "left out",
        Kind::Differs => "differs",
    };
    format!("{what}: {}", write::printable(&note.line()))
}

/// Reads a file, or standard input, of bounded size.
fn read(file: &Path) -> Result<Source, Failure> {
    let is_input = file == Path::new("-");
    let name = match is_input {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let cannot = |error: std::io::Error| format!("cannot read `{name}`: {error}");
    let mut text = String::new();
    // One byte more than allowed, so that a larger file is noticed.
    let max = u64::try_from(MAX_BYTES)?.saturating_add(1);
    match is_input {
        true => std::io::stdin().take(max).read_to_string(&mut text),
        false => {
            std::fs::File::open(file).and_then(|file| file.take(max).read_to_string(&mut text))
        }
    }
    .map_err(cannot)?;
    Ok(Source { name, text })
}

/// Refuses to write two texts into one file, or into one that was read.
fn check_outputs(files: &[PathBuf], outputs: &[(&str, Option<&Path>)]) -> Result<(), Failure> {
    let sources = files.iter().filter(|file| *file != Path::new("-"));
    let mut known: Vec<(String, PathBuf)> = sources
        .filter_map(|file| Some(("a file to import".to_owned(), identity(file)?)))
        .collect();
    for (option, file) in outputs {
        let Some(file) = file.and_then(identity) else {
            continue;
        };
        if let Some((other, _)) = known.iter().find(|(_, other)| *other == file) {
            let text = format!("`{option}` and {other} are one file: {}", file.display());
            return Err(text.into());
        }
        known.push((format!("`{option}`"), file));
    }
    Ok(())
}

/// One name for each file, whatever leads to it. `None` for what is no file, such as `/dev/null`.
fn identity(file: &Path) -> Option<PathBuf> {
    if let Ok(found) = file.canonicalize() {
        return found.is_file().then_some(found);
    }
    let absolute = std::path::absolute(file).ok()?;
    let folder = absolute.parent()?.canonicalize().ok()?;
    Some(folder.join(absolute.file_name()?))
}

/// Writes all of the files, or none of them if one cannot be written.
fn save(outputs: &[(&Path, &str)]) -> Result<(), Failure> {
    let mut beside: Vec<(PathBuf, PathBuf)> = Vec::new();
    let outcome = outputs
        .iter()
        .try_for_each(|(file, text)| {
            let place = match identity(file) {
                Some(target) => {
                    let new = new_beside(&target);
                    beside.push((new.clone(), target));
                    new
                }
                // A device, or a folder that does not exist.
                None => file.to_path_buf(),
            };
            std::fs::write(place, text).map_err(|error| cannot_write(file, &error))
        })
        .and_then(|()| {
            beside.iter().try_for_each(|(new, target)| {
                std::fs::rename(new, target).map_err(|error| cannot_write(target, &error))
            })
        });
    if outcome.is_err() {
        for (new, _) in &beside {
            // What was renamed or never written is not there.
            let _ = std::fs::remove_file(new);
        }
    }
    outcome.map_err(Into::into)
}

fn new_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

fn cannot_write(file: &Path, error: &std::io::Error) -> String {
    format!("cannot write `{}`: {error}", file.display())
}

/// The name of the configuration for the tests, relative to their file.
fn config_for(tests: Option<&Path>, output: Option<&Path>) -> String {
    let Some(output) = output else {
        return "claimgate.yaml".to_owned();
    };
    let folder = |file: &Path| file.parent().map(Path::to_owned).unwrap_or_default();
    let is_beside = tests.is_some_and(|tests| folder(tests) == folder(output));
    match (is_beside, output.file_name()) {
        (true, Some(name)) => name.to_string_lossy().into_owned(),
        _ => std::path::absolute(output)
            .unwrap_or_else(|_| output.to_owned())
            .display()
            .to_string(),
    }
}
