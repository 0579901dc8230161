//! Each guide has a configuration with tests, and the tests pass. Commands print what the guide
//! shows.

use crate::support::command::run;
use crate::support::examples::{blocks, files, prints};

#[tokio::test]
async fn the_configurations_of_the_guides_do_what_they_say() {
    let guides = files("docs/guides", ".md");
    assert!(guides.len() >= 5, "the guides were not found");
    for path in guides {
        let name = path.display();
        let blocks = blocks(&std::fs::read_to_string(&path).unwrap());
        let directory = tempfile::tempdir().unwrap();
        for title in ["claimgate.yaml", "claimgate.test.yaml"] {
            let info = format!("yaml title={title}");
            let found: Vec<_> = blocks.iter().filter(|(found, _)| *found == info).collect();
            let [(_, text)] = found.as_slice() else {
                panic!("{name}: not one block of `{title}`")
            };
            std::fs::write(directory.path().join(title), text).unwrap();
        }
        let config = directory.path().join("claimgate.yaml");
        let valid = run(&["validate", config.to_str().unwrap()], "").await;
        assert_eq!(valid.code, Some(0), "{name}: {}{}", valid.out, valid.err);
        let tests = directory.path().join("claimgate.test.yaml");
        let tested = run(&["test", tests.to_str().unwrap()], "").await;
        assert_eq!(tested.code, Some(0), "{name}: {}{}", tested.out, tested.err);
        let suite = std::fs::read_to_string(&tests).unwrap();
        let copy = suite.replace(
            "expect: { reason: access_denied, rule: change, status: 403 }",
            "expect: { decision: allow }",
        );
        std::fs::write(directory.path().join("copy.test.yaml"), copy).unwrap();
        for (info, text) in &blocks {
            if let ("console", Some((command, shown))) = (info.as_str(), text.split_once('\n')) {
                prints(command, shown, directory.path()).await;
            }
        }
    }
}
