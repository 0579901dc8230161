//! Every configuration that a user may start from.

use std::path::{Path, PathBuf};

use super::command::claimgate;

/// A file of the repository.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files in a directory with this ending, in order.
pub fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(file(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// The README, that of deploy/compose, and the documents under `docs/`.
pub fn documents() -> Vec<PathBuf> {
    let mut documents = vec![file("README.md"), file("deploy/compose/README.md")];
    documents.extend(files("docs", ".md"));
    documents.extend(files("docs/guides", ".md"));
    documents
}

/// Each fenced block of a document: its info string, and its text without the indentation of the
/// fence.
pub fn blocks(markdown: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let Some(info) = text.strip_prefix("```") else {
            continue;
        };
        let indent = line.len() - text.len();
        let body: Vec<_> = lines
            .by_ref()
            .take_while(|line| line.trim() != "```")
            .map(|line| line.get(indent..).unwrap_or_default())
            .collect();
        blocks.push((info.to_owned(), format!("{}\n", body.join("\n"))));
    }
    blocks
}

/// The complete configurations under `deploy/`, in the README and under `docs/`, each with its
/// location.
pub fn configurations() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut own = files("deploy/providers", ".yaml");
    own.push(file("deploy/compose/claimgate.yaml"));
    own.push(file("deploy/kubernetes/base/claimgate.yaml"));
    own.push(file("deploy/kubernetes/overlays/sidecar/claimgate.yaml"));
    own.push(file(
        "deploy/kubernetes/overlays/envoy-gateway-login/claimgate.yaml",
    ));
    for path in own {
        let yaml = std::fs::read_to_string(&path).unwrap();
        found.push((path.display().to_string(), yaml));
    }
    for path in documents() {
        let markdown = std::fs::read_to_string(&path).unwrap();
        for (info, yaml) in blocks(&markdown) {
            let is_whole = yaml.lines().any(|line| line.starts_with("providers:"));
            if info.starts_with("yaml") && is_whole {
                found.push((path.display().to_string(), yaml));
            }
        }
    }
    found
}

/// Runs a command from a document and compares its output. A line `…` stands for any lines.
pub async fn prints(command: &str, shown: &str, directory: &Path) {
    let Some(arguments) = command.strip_prefix("$ claimgate ") else {
        return;
    };
    if shown.starts_with('$') {
        return;
    }
    let arguments: Vec<_> = arguments.split(' ').collect();
    let mut asked = claimgate(&arguments);
    let printed = asked.current_dir(directory).output().await.unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let mut rest = printed.as_str();
    let lines: Vec<_> = shown.lines().collect();
    for piece in lines.split(|line| line.trim() == "…") {
        let piece = piece.join("\n");
        let Some(found) = rest.find(&piece) else {
            panic!("{command} does not print\n{piece}\nbut\n{printed}")
        };
        rest = &rest[found + piece.len()..];
    }
}
