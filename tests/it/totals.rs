//! The last line of `make test`.

use tokio::process::Command;

use crate::support::examples::file;

/// Three suites, of which the second runs what the first leaves out, and the third is of pytest. The exit
/// status is the argument.
const SUITES: &str = "\
echo 'test a::b ... ok'
echo 'test through_envoy ... ignored, needs Envoy'
echo 'test nowhere ... ignored'
echo 'test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.10s'
echo 'some output' >&2
echo 'test c with spaces ... FAILED'
echo 'test through_envoy ... ok'
echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s'
echo '2 failed, 30 passed, 1 error in 12.30s'
exit $1";

#[tokio::test]
async fn totals_are_of_all_suites_and_keep_the_status() {
    for (status, verdict) in [(0, "all tests"), (101, "FAILED")] {
        let mut totals = Command::new(file(".ci/totals"));
        totals.args(["sh", "-c", SUITES, "sh", &status.to_string()]);
        let output = totals.output().await.unwrap();
        assert_eq!(output.status.code(), Some(status));
        let out = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(
            lines.len(),
            9,
            "the output of the suites passes through\n{out}"
        );
        let expected = format!("{verdict}: 32 passed, 4 failed, 1 ignored in 3 suites, ");
        assert!(lines[8].starts_with(&expected), "{out}");
        assert!(lines[8].ends_with(" s"), "{out}");
        assert_eq!(output.stderr, b"some output\n");
    }
}
