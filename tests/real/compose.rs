//! deploy/compose without containers: the same programs with the same settings. Only addresses differ,
//! because containers have names and this machine has ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use claimgate::dev::envoy::{Envoy, Wiring};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::command::run;
use crate::examples::blocks;
use crate::keycloak::server::Keycloak;
use crate::process::{Process, free_port, server, servers};
use crate::setup::{Claimgate, envoy_binary, eventually, http};

const DIRECTORY: &str = "deploy/compose";

/// A service of compose.yaml, as Compose's own parser understands it.
struct Service(Value);

impl Service {
    fn strings(&self, pointer: &str) -> Vec<&str> {
        let items = self.0.pointer(pointer).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .map(|item| item.as_str().unwrap())
            .collect()
    }

    fn environment(&self) -> BTreeMap<&str, &str> {
        let variables = self.0["environment"].as_object().into_iter().flatten();
        variables
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect()
    }

    /// The file of this machine at a path of the container.
    fn mounted(&self, target: &str) -> PathBuf {
        let mounts = self.0["volumes"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["target"] == target);
        let mount = mount.unwrap_or_else(|| panic!("nothing is mounted at {target}"));
        assert_eq!(mount["read_only"], true, "{target}");
        let source = PathBuf::from(mount["source"].as_str().unwrap());
        assert!(source.is_file(), "{}", source.display());
        source
    }

    fn image(&self) -> &str {
        self.0["image"].as_str().unwrap()
    }
}

async fn services() -> BTreeMap<String, Service> {
    let parsed = server("compose-spec")
        .args(["-format", "json", "compose.yaml"])
        .current_dir(crate::file(DIRECTORY))
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&parsed.stderr);
    assert!(parsed.status.success(), "{errors}");
    let mut model: Value = serde_json::from_slice(&parsed.stdout).unwrap();
    let services = model["services"].as_object_mut().unwrap();
    std::mem::take(services)
        .into_iter()
        .map(|(name, service)| (name, Service(service)))
        .collect()
}

#[tokio::test]
#[ignore = "needs Keycloak and Compose's parser: run `make test-real`"]
async fn the_commands_of_the_compose_directory_print_what_it_shows() {
    let services = services().await;
    let directory = tempfile::tempdir().unwrap();

    // Keycloak, with its realm from the file.
    let service = &services["keycloak"];
    let realm = service.mounted("/opt/keycloak/data/import/realm.json");
    let environment: Vec<_> = service
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.replace(":8080", ":{port}")))
        .collect();
    let mut keycloak =
        Keycloak::start(&service.strings("/command"), &environment, Some(&realm)).await;
    let port = format!(":{}", keycloak.port());
    let image = service.image();
    assert_eq!(
        image,
        format!("quay.io/keycloak/keycloak:{}", keycloak_version())
    );
    let health: Vec<_> = service.strings("/healthcheck/test");
    let health: Vec<_> = health
        .iter()
        .map(|text| text.replace("/8080", &port.replace(':', "/")))
        .collect();
    assert!(is_healthy(&health).await, "Keycloak is healthy");
    names_keys_where_it_was_asked(&keycloak).await;

    // claimgate reads keys every second, so that the test sees that Keycloak is gone.
    let file = services["claimgate"].mounted("/etc/claimgate/claimgate.yaml");
    let valid = run(&["validate", "--strict", file.to_str().unwrap()], "").await;
    assert_eq!(valid.code, Some(0), "{}{}", valid.out, valid.err);
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("localhost:8080", &format!("localhost{port}"));
    let text = text.replace("keycloak:8080", &format!("127.0.0.1{port}"));
    let mut configuration = crate::documents(&text).remove(0);
    configuration["providers"][0]["refresh"] = json!({ "min": "1s" });
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, configuration.to_string()).unwrap();
    let claimgate = Claimgate::start(&file).await;
    claimgate.is_ready().await;

    // The API.
    let upstream = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = server("go-httpbin");
    command
        .env("HOST", "127.0.0.1")
        .env("PORT", upstream.port().to_string());
    let mut api = Process::start(&mut command, directory.path().join("api.log"));
    api.becomes("the API answers", async || {
        tokio::net::TcpStream::connect(upstream).await.is_ok()
    })
    .await;

    // Envoy.
    let service = &services["envoy"];
    let config = service.strings("/command");
    let [_, config] = config.as_slice() else {
        panic!("{config:?}")
    };
    let config = std::fs::read_to_string(service.mounted(config)).unwrap();
    let wiring = Wiring {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        claimgate: claimgate.check.into(),
        upstream,
    };
    let envoy = Envoy::start(&envoy_binary(), &config, &wiring)
        .await
        .unwrap();

    let mut shell = Shell {
        replaced: [
            ("localhost:8080".to_owned(), format!("localhost{port}")),
            ("localhost:8000".to_owned(), envoy.address().to_string()),
        ],
        token: String::new(),
        last: String::new(),
    };
    let text = std::fs::read_to_string(crate::file(DIRECTORY).join("README.md")).unwrap();
    let mut followed = 0;
    for (info, block) in blocks(&text) {
        assert_eq!(info, "console");
        for (command, shown) in commands(&block) {
            match command.as_str() {
                "docker compose up --build --wait" => {}
                "docker compose exec claimgate claimgate why REQUEST_ID" => {
                    let admin = claimgate.admin.to_string();
                    let asked = run(&["why", &shell.last_id(), "--admin", &admin], "").await;
                    assert_eq!(asked.code, Some(0), "{}{}", asked.out, asked.err);
                    assert!(asked.out.contains("orders-admin"), "{}", asked.out);
                }
                "docker compose stop keycloak" => {
                    keycloak.kill().await;
                    eventually("claimgate misses Keycloak", async || {
                        let metrics = http(claimgate.admin, "GET /metrics", &[]).await.body;
                        metrics.contains("claimgate_jwks_stale{provider=\"keycloak\"} 1")
                    })
                    .await;
                    assert!(!is_healthy(&health).await, "Keycloak is not healthy");
                }
                _ => shell.prints(&command, &shown).await,
            }
            followed += 1;
        }
    }
    assert_eq!(followed, 13, "commands of the README");
}

/// The commands of a block, each with the lines below it.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut continues = false;
    for line in block.lines() {
        let starts = line.strip_prefix("$ ");
        match (starts, commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if continues => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, shown))) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, None) => panic!("no command before {line}"),
        }
        let is_command = starts.is_some() || continues;
        continues = is_command && (line.ends_with('\\') || line.ends_with('|'));
    }
    commands
}

/// What a reader types the commands into.
struct Shell {
    replaced: [(String, String); 2],
    token: String,
    last: String,
}

impl Shell {
    /// Runs a command, and compares its output. A line `…`, or `…` at the end of a line, stands for
    /// anything.
    async fn prints(&mut self, command: &str, shown: &str) {
        let mut script = command.to_owned();
        for (from, to) in &self.replaced {
            script = script.replace(from, to);
        }
        let is_assignment = script.starts_with("TOKEN=");
        if is_assignment {
            script.push_str("\nprintf %s \"$TOKEN\"");
        }
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("TOKEN", &self.token)
            .env("no_proxy", "*")
            .output()
            .await
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap().replace('\r', "");
        if is_assignment {
            assert_eq!(printed.matches('.').count(), 2, "{script} prints {printed}");
            self.token = printed;
            return;
        }
        let mut rest = printed.as_str();
        for piece in shown.split('…').map(|piece| piece.trim_matches('\n')) {
            let Some(found) = rest.find(piece) else {
                panic!("{command} does not print\n{piece}\nbut\n{printed}")
            };
            rest = &rest[found + piece.len()..];
        }
        self.last = printed;
    }

    /// The request id in the last answer.
    fn last_id(&self) -> String {
        let last = self.last.trim_end();
        let (_, body) = last.rsplit_once('\n').unwrap_or(("", last));
        let body: Value = serde_json::from_str(body.trim()).unwrap();
        body["request_id"].as_str().unwrap().to_owned()
    }
}

/// Keycloak is asked by another name than the one in `iss`. A container reaches it only by that name, so
/// the metadata must name the keys by it too.
async fn names_keys_where_it_was_asked(keycloak: &Keycloak) {
    let asked = keycloak.issuer("demo");
    let metadata = reqwest::get(format!("{asked}/.well-known/openid-configuration")).await;
    let metadata = metadata.unwrap().text().await.unwrap();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let named = metadata["issuer"].as_str().unwrap();
    assert_ne!(named, asked);
    let keys = metadata["jwks_uri"].as_str().unwrap();
    assert!(keys.starts_with(&asked), "{keys}");
}

/// The health check of a container, run here.
async fn is_healthy(test: &[String]) -> bool {
    let [kind, program, arguments @ ..] = test else {
        panic!("{test:?}")
    };
    assert_eq!(kind, "CMD");
    let status = Command::new(program).args(arguments).output().await;
    status.unwrap().status.success()
}

/// The version of Keycloak that runs here.
fn keycloak_version() -> String {
    let distribution = std::fs::canonicalize(servers().join("bin/keycloak")).unwrap();
    let name = distribution.file_name().and_then(|name| name.to_str());
    name.unwrap().trim_start_matches("keycloak-").to_owned()
}
