//! The command: its output and its exit codes.

use std::path::Path;

use serde_json::Value;

use super::with_rules;
use crate::support::command::run;

fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_command() {
    let directory = tempfile::tempdir().unwrap();
    let closed = "  - { name: a, match: { path: { prefix: /a } }, access: deny }";
    let open = closed.replace("deny", "public");
    let closed = write(directory.path(), "closed.yaml", &with_rules(closed));
    let open = write(directory.path(), "open.yaml", &with_rules(&open));
    let certificate = |of: &str| {
        let rule = format!(
            "  - {{ name: a, match: {{ path: {{ prefix: /a }} }}, condition: 'source.certificate == \"{of}\"' }}"
        );
        write(directory.path(), &format!("{of}.yaml"), &with_rules(&rule))
    };
    let (one, other) = (certificate("one"), certificate("other"));
    let wrong = write(directory.path(), "wrong.yaml", "providers: []\nrulez: []\n");
    for (arguments, code, expected) in [
        (&[&*closed, &*open][..], 0, "widened: 1 rule"),
        (&[&closed, &open, "--fail-on", "widened"], 1, "widened"),
        (&[&closed, &open, "--fail-on", "narrowed"], 0, "widened"),
        (&[&open, &closed, "--fail-on", "narrowed"], 1, "narrowed"),
        (&[&open, &closed, "--fail-on", "any"], 1, "narrowed"),
        (&[&open, &open, "--fail-on", "any"], 0, "no difference"),
        (&[&one, &other], 0, "unproven: 1 rule"),
        (&[&one, &other, "--fail-on", "widened"], 1, "unproven"),
        (&[&one, &other, "--fail-on", "narrowed"], 1, "unproven"),
        (
            &[&one, &other, "--fail-on", "widened", "--accept-unproven"],
            0,
            "unproven",
        ),
        (
            &[&closed, &open, "--fail-on", "widened", "--accept-unproven"],
            1,
            "widened",
        ),
        (&[&open, &wrong], 2, "rulez"),
        (
            &[&wrong, "/nonexistent.yaml"],
            2,
            "cannot read `/nonexistent.yaml`",
        ),
    ] {
        let arguments: Vec<&str> = ["diff"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let outcome = run(&arguments, "").await;
        let all = format!("{}{}", outcome.out, outcome.err);
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {all}");
        assert!(all.contains(expected), "{arguments:?}: {all}");
    }
    let outcome = run(&["diff", &closed, &open, "--output", "json"], "").await;
    let json: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(json["widened"], true);
    assert_eq!(json["differences"][0]["name"], "a");
    assert_eq!(json["differences"][0]["effects"][0], "widened");
    assert_eq!(
        json["differences"][0]["examples"][0]["before"]["reason"],
        "access_denied"
    );
}
