//! The documents: links lead somewhere, and every reason and metric is described.

use std::collections::BTreeSet;
use std::path::Path;

use claimgate::advice::section;
use claimgate::decision::Reason;

use crate::support::examples::{blocks, documents, file, prints};
use crate::support::server::Server;

/// Its keys are not needed, because metrics exist without them.
pub const PROVIDERS: &str = "providers: [{ name: acme, issuer: https://idp.example.com, \
                         audiences: [api], jwks: { uri: 'http://127.0.0.1:1/jwks' } }]";

#[test]
fn links_lead_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    let mut count = 0;
    for path in documents() {
        for link in links(&prose(&read(&path))) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match target {
                "" => path.clone(),
                target => path.parent().unwrap().join(target),
            };
            let is_found =
                target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !is_found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(count > 50, "the links were not found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn anchors_are_those_of_github() {
    let markdown =
        "# What `x_y` is, 1.0\n## Twice\n```sh\n# no heading\n```\n## Twice\n## [A](b.md) – b\n";
    let expected = ["what-x_y-is-10", "twice", "twice-1", "a--b"];
    assert_eq!(anchors(markdown), expected.map(str::to_owned).into());
}

/// The log and `claimgate check` name these sections.
#[test]
fn every_reason_has_a_section() {
    for reason in Reason::ALL {
        let section = section(reason);
        let (document, anchor) = section.split_once('#').unwrap();
        let anchors = anchors(&read(&file(document)));
        assert!(anchors.contains(anchor), "no {section}");
    }
}

/// The tests that the security model names are there.
#[test]
fn every_threat_has_a_test() {
    let text = read(&file("docs/security.md"));
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        match cells[..] {
            [threat, _, tests] if tests.contains("::") || tests.contains(".yaml") => {
                Some((threat, tests))
            }
            _ => None,
        }
    });
    let mut count = 0;
    for (threat, tests) in rows {
        let named = tests.split('`').skip(1).step_by(2);
        let missing: Vec<_> = named.filter(|name| !is_test(name)).collect();
        assert!(missing.is_empty(), "{threat}: {missing:?}");
        count += 1;
    }
    assert!(count > 20, "the rows were not found");
}

/// Whether a test with this name, such as `module::name`, exists.
fn is_test(name: &str) -> bool {
    let (module, name) = name.rsplit_once("::").unwrap_or(("main", name));
    let module = module.replace("::", "/");
    ["tests/it", "tests/e2e"].iter().any(|suite| {
        let source = std::fs::read_to_string(file(&format!("{suite}/{module}.rs")));
        source.is_ok_and(|source| source.contains(&format!("fn {name}(")))
    })
}

#[tokio::test]
async fn every_metric_is_described() {
    let server = Server::start(PROVIDERS).await;
    let (_, metrics) = server.page("/metrics").await;
    let text = read(&file("docs/metrics.md"));
    let names: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(names.len() > 15, "the metrics were not found: {names:?}");
    for name in names {
        assert!(text.contains(&format!("| `{name}` |")), "no {name}");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read(&file("README.md")).lines().count();
    assert!(lines < 150, "{lines} lines");
}

/// Runs only commands whose files the document shows (`yaml title=FILE`).
#[tokio::test]
async fn commands_print_what_documents_show() {
    let mut ran = 0;
    for path in documents() {
        let blocks = blocks(&read(&path));
        let directory = tempfile::tempdir().unwrap();
        let mut shown = BTreeSet::new();
        for (info, text) in &blocks {
            if let Some(name) = info.strip_prefix("yaml title=") {
                std::fs::write(directory.path().join(name), text).unwrap();
                shown.insert(name.to_owned());
            }
        }
        for (info, text) in &blocks {
            let Some((command, output)) = text.split_once('\n') else {
                continue;
            };
            let mut files = command.split(' ').filter(|word| word.contains('.'));
            let has_files = files.clone().count() > 0 && files.all(|name| shown.contains(name));
            if info == "console" && command.starts_with("$ claimgate ") && has_files {
                prints(command, output, directory.path()).await;
                ran += 1;
            }
        }
    }
    assert!(ran > 0, "no command was found");
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A document without its fenced blocks.
fn prose(markdown: &str) -> String {
    let mut is_fenced = false;
    let lines = markdown.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The targets of a text's inline links. Code spans contain no links.
fn links(prose: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in prose.split("](").skip(1) {
        if let Some((link, _)) = piece.split_once(')') {
            found.push(link.to_owned());
        }
    }
    found
}

/// The anchors of a document's headings, as GitHub makes them.
pub fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(markdown).lines() {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let base = slug(title.trim());
        let again = (1..).map(|number| format!("{base}-{number}"));
        let mut candidates = std::iter::once(base.clone()).chain(again);
        let anchor = candidates.find(|anchor| !anchors.contains(anchor)).unwrap();
        anchors.insert(anchor);
    }
    anchors
}

fn slug(title: &str) -> String {
    let mut text = title.to_owned();
    // Of a link in a heading, only the text counts.
    while let (Some(from), Some(to)) = (text.find("]("), text.find(')')) {
        text.replace_range(from..=to, "");
    }
    text.to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        })
        .collect()
}
