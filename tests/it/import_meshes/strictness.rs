//! Requests that the source refuses are refused by the result, too, where the source is unusual.

use std::fmt::Write as _;

use claimgate::import::model::Kind;
use claimgate::import::source::Source;
use claimgate::import::{Imported, Options, import};

use crate::support::command::run;

mod gateway;
mod istio;

/// A source, and requests with the decision of the source or a stricter one. Each is a decision, a request and
/// a token.
struct Row {
    name: &'static str,
    source: String,
    options: Options,
    /// A part of a note `LEFT OUT`; empty if nothing is left out.
    left_out: &'static str,
    cases: Vec<[&'static str; 3]>,
}

impl Row {
    fn new(name: &'static str, source: String) -> Self {
        Self {
            name,
            source,
            options: Options::default(),
            left_out: "",
            cases: Vec::new(),
        }
    }

    fn workload(mut self, workload: &str) -> Self {
        self.options.workload = Some(workload.to_owned());
        self
    }

    fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    fn left_out(mut self, text: &'static str) -> Self {
        self.left_out = text;
        self
    }

    fn allows(mut self, request: &'static str, token: &'static str) -> Self {
        self.cases.push(["allow", request, token]);
        self
    }

    fn denies(mut self, request: &'static str, token: &'static str) -> Self {
        self.cases.push(["deny", request, token]);
        self
    }

    fn imported(&self) -> Result<Imported, String> {
        let source = Source {
            name: "policies.yaml".to_owned(),
            text: self.source.clone(),
        };
        import(&[source], &self.options).map_err(|error| error.to_string())
    }

    async fn check(&self) {
        let Self { name, left_out, .. } = self;
        let imported = self
            .imported()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let notes: Vec<String> = imported
            .notes
            .iter()
            .filter(|note| note.kind == Kind::LeftOut)
            .map(|note| format!("{}: {}", note.place.path, note.text))
            .collect();
        match left_out.is_empty() {
            true => assert!(notes.is_empty(), "{name}: {notes:?}"),
            false => assert!(
                notes.iter().any(|note| note.contains(left_out)),
                "{name}: {notes:?}"
            ),
        }
        let mut tests = "config: claimgate.yaml\ncases:\n".to_owned();
        for (index, [decision, request, token]) in self.cases.iter().enumerate() {
            let _ = writeln!(
                tests,
                "  - name: '{index}'\n    request: {{ {request} }}\n    expect: {{ decision: {decision} }}"
            );
            if !token.is_empty() {
                let _ = writeln!(tests, "    token: {{ {token} }}");
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("claimgate.yaml"), &imported.configuration).unwrap();
        std::fs::write(at("t.test.yaml"), tests).unwrap();
        let outcome = run(&["test", &at("t.test.yaml").display().to_string()], "").await;
        assert_eq!(
            outcome.code,
            Some(0),
            "{name}: {}{}\n{}",
            outcome.out,
            outcome.err,
            imported.configuration
        );
    }
}

async fn check(rows: Vec<Row>) {
    for row in rows {
        row.check().await;
    }
}
