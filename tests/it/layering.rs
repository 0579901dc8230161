//! Which crates may use which. The compiler enforces the walls between crates. These tests check that
//! the crates are those in `docs/ARCHITECTURE.md`.

use std::path::{Path, PathBuf};

/// A crate of the workspace.
struct Crate {
    /// The crate's folder.
    folder: &'static str,
    /// The workspace crates that it may depend on.
    knows: &'static [&'static str],
    /// What it must not use: crates, and words of the language.
    without: &'static [&'static str],
}

const CRATES: [Crate; 6] = [
    Crate {
        folder: "crates/core",
        knows: &[],
        without: &[
            "tokio",
            "tonic",
            "prost",
            "reqwest",
            "hyper",
            "axum",
            "tracing",
            "clap",
            "rustls",
            "async ",
            ".await",
            "std::fs",
            "std::net::Tcp",
            "std::env",
        ],
    },
    Crate {
        folder: "crates/config",
        knows: &["core"],
        without: &[
            "tokio", "tonic", "prost", "reqwest", "hyper", "axum", "tracing", "clap", "rustls",
            "async ", ".await",
        ],
    },
    Crate {
        folder: "crates/gate",
        knows: &["core", "config"],
        without: &["tonic", "prost", "axum", "clap"],
    },
    Crate {
        folder: "crates/dev",
        knows: &["core", "config", "gate"],
        without: &["tonic", "prost", "reqwest", "clap"],
    },
    Crate {
        folder: "crates/envoy-module",
        knows: &["core", "config", "gate"],
        without: &["tonic", "prost", "reqwest", "hyper", "axum", "clap"],
    },
    Crate {
        folder: ".",
        knows: &["core", "config", "gate", "dev"],
        without: &["reqwest"],
    },
];

/// A word that only certain files may use, with the reason.
struct Reserved {
    word: &'static str,
    files: &'static [&'static str],
    why: &'static str,
}

const RESERVED: [Reserved; 8] = [
    Reserved {
        word: "ParsedPublicKey",
        files: &["crates/core/src/keyring/"],
        why: "signatures are verified in one place",
    },
    Reserved {
        word: "jsonwebtoken::",
        files: &["crates/dev/src/signer.rs"],
        why: "what signs tokens shares nothing with what verifies them",
    },
    Reserved {
        word: "reqwest::",
        files: &[
            "crates/gate/src/jwks/fetch.rs",
            "crates/gate/src/jwks/fetch/",
        ],
        why: "nothing but keys and metadata is fetched",
    },
    Reserved {
        word: "rustls::",
        files: &[
            "crates/gate/src/jwks/fetch/",
            "src/listener/tls.rs",
            "src/listener/tls/",
            "src/command/tls.rs",
            "src/otlp/client.rs",
            "src/otlp/trust.rs",
        ],
        why: "TLS ends in the listener, in the fetcher, in the exporter and in the clients among the commands",
    },
    Reserved {
        word: "proto::",
        files: &[
            "src/ext_authz.rs",
            "src/ext_authz/",
            "src/app.rs",
            "src/command/check.rs",
            "src/explain/",
            "src/otlp.rs",
            "src/otlp/",
        ],
        why: "generated types stop in ext_authz and otlp",
    },
    Reserved {
        word: "claimgate_gate::",
        files: &["src/lib.rs", "crates/dev/", "crates/envoy-module/"],
        why: "the program names its crates in one place",
    },
    Reserved {
        word: "unsafe ",
        files: &[
            "crates/envoy-module/src/abi.rs",
            "crates/envoy-module/src/envoy.rs",
            "crates/envoy-module/src/envoy/",
        ],
        why: "Envoy's C interface is the only unsafe code",
    },
    Reserved {
        word: "SystemTime::now",
        files: &["crates/core/src/time.rs"],
        why: "the time is an argument",
    },
];

#[test]
fn crates_know_only_those_below() {
    for Crate {
        folder,
        knows,
        without,
    } in CRATES
    {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let found = unwanted(&manifest, knows, without);
        assert!(found.is_empty(), "{folder}/Cargo.toml: {found:?}");
    }
}

/// The dependencies in a manifest that the crate must not have.
fn unwanted(manifest: &str, knows: &[&str], without: &[&str]) -> Vec<String> {
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let names = dependencies
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty());
    let unwanted = names.filter(|name| match name.strip_prefix("claimgate-") {
        Some(own) => !knows.contains(&own),
        None => without.iter().any(|word| name.starts_with(word)),
    });
    unwanted.map(ToOwned::to_owned).collect()
}

#[test]
fn every_crate_is_listed() {
    let folders = std::fs::read_dir(root().join("crates")).unwrap();
    for folder in folders {
        let folder = folder.unwrap();
        // The Python package is no crate.
        if !folder.path().join("Cargo.toml").exists() {
            continue;
        }
        let name = folder.file_name().into_string().unwrap();
        let listed = |wall: &Crate| wall.folder == format!("crates/{name}");
        assert!(CRATES.iter().any(listed), "crates/{name} is not listed");
    }
}

#[test]
fn words_stay_in_their_rooms() {
    let mut found = Vec::new();
    for file in sources() {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap();
        found.extend(breaches(name, &std::fs::read_to_string(&file).unwrap()));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The rules must be able to fail.
#[test]
fn violations_are_found() {
    for (name, code, expected) in [
        ("crates/core/src/token/jws.rs", "use tokio::time;", "tokio"),
        (
            "crates/core/src/decision.rs",
            "pub async fn decide() {}",
            "async",
        ),
        (
            "crates/core/src/decision.rs",
            "//! Never `async`, never tokio.",
            "",
        ),
        (
            "crates/config/src/lib.rs",
            "use reqwest::Client;",
            "reqwest::",
        ),
        (
            "crates/core/src/policy.rs",
            "jsonwebtoken::decode();",
            "jsonwebtoken::",
        ),
        ("src/http2.rs", "use tokio_rustls::TlsAcceptor;", "rustls::"),
        ("crates/gate/src/lib.rs", "use prost::Message;", "prost"),
        ("crates/gate/src/jwks/fetch.rs", "use reqwest::Client;", ""),
        ("src/admin.rs", "use claimgate_gate::Gate;", "one place"),
        (
            "crates/envoy-module/src/filter.rs",
            "unsafe { run() }",
            "C interface",
        ),
        (
            "src/http2.rs",
            "use crate::ext_authz::proto::auth;",
            "proto::",
        ),
    ] {
        let found = breaches(name, code).join("\n");
        match expected {
            "" => assert_eq!(found, "", "{name}: {code}"),
            text => assert!(found.contains(text), "{name}: {code}: {found:?}"),
        }
    }
    let manifest =
        "[package]\n[dependencies]\nclaimgate-gate.workspace = true\ntokio = \"1\"\n\n[lints]\n";
    assert_eq!(
        unwanted(manifest, &["core"], &["tokio"]),
        ["claimgate-gate", "tokio"]
    );
    assert_eq!(unwanted(manifest, &["gate"], &["tonic"]), [""; 0]);
}

/// The limits on conditions (`crates/core/src/policy/condition`) rewrite `cel`'s syntax tree, and
/// rely on what each of its functions costs and on how it evaluates macros.
#[test]
fn the_limits_on_conditions_are_for_this_version_of_cel() {
    let lock = include_str!("../../Cargo.lock");
    let versions: Vec<&str> = lock
        .split("[[package]]")
        .filter_map(|package| package.strip_prefix("\nname = \"cel\"\nversion = \""))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        versions,
        ["0.15.0"],
        "`cel` moved. Before changing this version: read its new functions (`cost.rs` lists makers \
         and readers), the kinds of `Expr` (`walk.rs`) and how comprehensions run (`work.rs`); then \
         run `make bench` for the dearest requests and `make fuzz`"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources() -> Vec<PathBuf> {
    let mut directories: Vec<_> = CRATES
        .iter()
        .map(|wall| root().join(wall.folder).join("src"))
        .collect();
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// What is wrong with a file, by its path below the root.
fn breaches(name: &str, code: &str) -> Vec<String> {
    let wall = CRATES
        .iter()
        .find(|wall| name.starts_with(&format!("{}/", wall.folder)));
    let without = wall.map_or(&[][..], |wall| wall.without);
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let code = line.split("//").next().unwrap();
        let mut breach = |why: String| {
            found.push(format!("{name}:{}: {why}: {}", number + 1, line.trim()));
        };
        for Reserved { word, files, why } in &RESERVED {
            let allowed = files
                .iter()
                .any(|file| name == *file || (file.ends_with('/') && name.starts_with(file)));
            if code.contains(word) && !allowed {
                breach(format!("{word} is not for this file: {why}"));
            }
        }
        for word in without.iter().filter(|word| code.contains(**word)) {
            breach(format!("this crate is made without {}", word.trim()));
        }
    }
    found
}
