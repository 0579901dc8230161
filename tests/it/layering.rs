//! Who may import whom. The layers are those of `docs/ARCHITECTURE.md`.

use std::path::{Path, PathBuf};

/// The modules of the crate, each of which may import those of earlier rows and of its own.
const LAYERS: [&[&str]; 5] = [
    &["lifecycle", "request", "escaped", "time"],
    &[
        "keyring", "trace", "token", "identity", "policy", "decision", "answer", "advice",
    ],
    &["http2", "config", "ext_authz", "telemetry"],
    &["gate", "jwks", "token_cache", "listener", "admin"],
    &["app", "dev", "command", "main", "lib"],
];

/// Files of an I/O kind in a folder of another.
const EXCEPTIONS: [(&str, usize); 2] = [("ext_authz/service.rs", 3), ("ext_authz.rs", 3)];

/// A word that only some files may use, and why.
struct Reserved {
    word: &'static str,
    files: &'static [&'static str],
    why: &'static str,
}

const RESERVED: [Reserved; 5] = [
    Reserved {
        word: "ParsedPublicKey",
        files: &["keyring/"],
        why: "signatures are verified in one place",
    },
    Reserved {
        word: "jsonwebtoken::",
        files: &["dev/signer.rs"],
        why: "what signs tokens shares nothing with what verifies them",
    },
    Reserved {
        word: "reqwest::",
        files: &["jwks/fetch.rs", "jwks/fetch/"],
        why: "nothing but keys and metadata is fetched",
    },
    Reserved {
        word: "proto::",
        files: &[
            "ext_authz.rs",
            "ext_authz/",
            "app.rs",
            "command/check.rs",
            "command/explain/",
        ],
        why: "generated types stop in ext_authz",
    },
    Reserved {
        word: "SystemTime::now",
        files: &["time.rs"],
        why: "the time is an argument",
    },
];

/// What the core is made without.
const NOT_IN_THE_CORE: [&str; 10] = [
    "tokio", "tonic", "prost", "reqwest", "axum", "tracing", "clap", "async ", ".await", "std::fs",
];

#[test]
fn imports_point_one_way() {
    let breaches: Vec<String> = sources().iter().flat_map(|file| breaches(file)).collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// The rules themselves must be able to fail.
#[test]
fn breaches_are_found() {
    for (name, code, expected) in [
        (
            "token/jws.rs",
            "use crate::config::Config;",
            Some("token may not import config"),
        ),
        ("token/jws.rs", "use tokio::time;", Some("tokio")),
        ("decision.rs", "pub async fn decide() {}", Some("async")),
        (
            "config.rs",
            "use crate::jwks::Jwks;",
            Some("config may not import jwks"),
        ),
        (
            "jwks.rs",
            "use crate::app::App;",
            Some("jwks may not import app"),
        ),
        ("config.rs", "use reqwest::Client;", Some("reqwest::")),
        (
            "policy.rs",
            "let t = jsonwebtoken::decode();",
            Some("jsonwebtoken::"),
        ),
        (
            "ext_authz/response.rs",
            "use crate::jwks::Jwks;",
            Some("ext_authz may not import jwks"),
        ),
        ("ext_authz/service.rs", "use crate::jwks::Jwks;", None),
        (
            "decision.rs",
            "use crate::token::{Escaped, TokenError};",
            None,
        ),
        ("decision.rs", "//! Never `async`, never tokio.", None),
        ("jwks/fetch.rs", "use reqwest::Client;", None),
    ] {
        let found = breaches_in(name, code).join("\n");
        match expected {
            Some(text) => assert!(found.contains(text), "{name}: {code}: {found:?}"),
            None => assert_eq!(found, "", "{name}: {code}"),
        }
    }
}

/// A new module must be given its layer.
#[test]
fn every_module_has_a_layer() {
    for (name, _) in sources().iter().map(|file| relative(file)) {
        assert!(layer(&name).is_some(), "src/{name} is in no layer");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<PathBuf> {
    let mut directories = vec![root()];
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

/// The path below `src`, and the module of the crate that it belongs to.
fn relative(file: &Path) -> (String, String) {
    let name = file
        .strip_prefix(root())
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let module = module(&name);
    (name, module)
}

fn module(name: &str) -> String {
    name.split(['/', '.']).next().unwrap().to_owned()
}

fn layer(name: &str) -> Option<usize> {
    let exception = EXCEPTIONS.iter().find(|(file, _)| *file == name);
    exception
        .map(|(_, layer)| *layer)
        .or_else(|| layer_of(&module(name)))
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn breaches(file: &Path) -> Vec<String> {
    let (name, _) = relative(file);
    breaches_in(&name, &std::fs::read_to_string(file).unwrap())
}

fn breaches_in(name: &str, code: &str) -> Vec<String> {
    let own = layer(name).unwrap_or(0);
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let code = line.split("//").next().unwrap();
        let mut breach = |why: String| {
            found.push(format!("src/{name}:{}: {why}: {}", number + 1, line.trim()));
        };
        for imported in code.split("crate::").skip(1).map(module_name) {
            if layer_of(imported).is_some_and(|layer| layer > own) {
                breach(format!("{} may not import {imported}", module(name)));
            }
        }
        for Reserved { word, files, why } in &RESERVED {
            let allowed = files
                .iter()
                .any(|file| name == *file || (file.ends_with('/') && name.starts_with(file)));
            if code.contains(word) && !allowed {
                breach(format!("{word} is not for this file: {why}"));
            }
        }
        let core = own <= 1 && layer(name).is_some();
        for word in NOT_IN_THE_CORE
            .iter()
            .filter(|word| core && code.contains(**word))
        {
            breach(format!("the core is made without {}", word.trim()));
        }
    }
    found
}

fn module_name(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap()
}
