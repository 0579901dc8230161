//! What a packager installs beside the binary: completions and manual pages.

use claimgate::command::Arguments;
use clap::CommandFactory as _;
use tokio::process::Command;

use crate::support::command::run;

/// Every command, by the words that call it: `["dev", "token"]`.
fn commands() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        for command in command.get_subcommands() {
            let path = [path, &[command.get_name().to_owned()]].concat();
            below(command, &path, found);
            found.push(path);
        }
    }
    let mut found = Vec::new();
    below(&Arguments::command(), &[], &mut found);
    assert!(found.len() > 8, "{found:?}");
    found
}

#[tokio::test]
async fn completions_have_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell], "").await;
        assert_eq!(script.code, Some(0), "{}", script.err);
        for path in commands() {
            let name = path.last().unwrap();
            assert!(script.out.contains(name), "{shell} does not know {path:?}");
        }
    }
    let unknown = run(&["completions", "tcsh"], "").await;
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.err.contains("bash, elvish, fish"),
        "{}",
        unknown.err
    );
}

#[tokio::test]
async fn bash_completes() {
    let script = run(&["completions", "bash"], "").await.out;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate");
    std::fs::write(&file, script).unwrap();
    let parsed = Command::new("bash").arg("-n").arg(&file).status().await;
    assert!(parsed.unwrap().success());
    for (words, expected) in [
        ("val", "validate"),
        ("dev to", "token"),
        ("completions z", "zsh"),
        ("serve --adm", "--admin-listen"),
    ] {
        let words = format!("claimgate {words}");
        let (before, last) = words.rsplit_once(' ').unwrap();
        let previous = before.rsplit(' ').next().unwrap();
        let ask = format!(
            "source \"$1\"; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _claimgate claimgate {last} {previous}; echo \"${{COMPREPLY[*]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &ask, "bash"]).arg(&file);
        let output = bash.output().await.unwrap();
        let reply = String::from_utf8(output.stdout).unwrap();
        assert_eq!(reply.trim(), expected, "{words}");
    }
}

#[tokio::test]
async fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("share/man/man1");
    let written = run(&["man", "--dir", pages.to_str().unwrap()], "").await;
    assert_eq!(written.code, Some(0), "{}", written.err);
    let mut found: Vec<_> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = vec!["claimgate.1".to_owned()];
    for path in commands() {
        let file = format!("claimgate-{}.1", path.join("-"));
        let page = std::fs::read_to_string(pages.join(&file)).unwrap();
        let mut arguments = vec!["man"];
        arguments.extend(path.iter().map(String::as_str));
        let printed = run(&arguments, "").await;
        assert_eq!(printed.out.trim(), page.trim(), "{file}");
        let name = path.join("\\-");
        assert!(
            page.contains(&format!("\nclaimgate\\-{name} \\- ")),
            "{page}"
        );
        expected.push(file);
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);

    let page = std::fs::read_to_string(pages.join("claimgate-check.1")).unwrap();
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS"] {
        let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
        assert!(
            heading.iter().any(|heading| page.contains(heading)),
            "no {section}:\n{page}"
        );
    }

    for (arguments, expected) in [
        (
            &["man", "nonsense"][..],
            "`claimgate` has no `nonsense`, only serve, dev, ",
        ),
        (
            &["man", "check", "x"],
            "`claimgate check` has no subcommands",
        ),
        (
            &["man", "--dir", "/dev/null/x"],
            "cannot write to `/dev/null/x`: ",
        ),
    ] {
        let outcome = run(arguments, "").await;
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.err);
        assert!(
            outcome.err.contains(expected),
            "{arguments:?}: {}",
            outcome.err
        );
    }
}
