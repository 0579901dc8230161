//! claimgate beside Envoy in a pod, with the files of `deploy/kubernetes/overlays/sidecar`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use claimgate::dev::envoy::{Address, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::change;
use crate::setup::{Answer, bearer, envoy_binary, eventually, http};

const CLAIMGATE: &str = include_str!("../../deploy/kubernetes/overlays/sidecar/claimgate.yaml");
const DEPLOYMENT: &str = include_str!("../../deploy/kubernetes/overlays/sidecar/deployment.yaml");
const ENVOY: &str = include_str!("../../deploy/kubernetes/overlays/sidecar/envoy.yaml");

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn envoy_asks_over_the_socket() {
    Pod::start(None).await.fails_closed().await;
}

/// Each container runs as the manifest says. The volumes have the owner and the mode that the kubelet gives them.
#[tokio::test]
#[ignore = "needs Envoy, and root or a user namespace: run `make e2e`"]
async fn only_envoy_connects_to_the_socket() {
    let users = Users::of_the_manifest();
    if !nix::unistd::geteuid().is_root() {
        return again_as_root("sidecar::only_envoy_connects_to_the_socket", users).await;
    }
    let pod = Pod::start(Some(users)).await;
    pod.runs_as(users);
    let other_group = User {
        group: users.envoy.id,
        ..users.envoy
    };
    let denied = "Permission denied";
    for (what, user, expected) in [
        ("Envoy's container", users.envoy, "ALLOW"),
        ("the API's container, with the volume", users.api, denied),
        ("Envoy's user in its image's own group", other_group, denied),
    ] {
        let said = pod.asked_by(user).await;
        assert!(said.contains(expected), "{what}: {said}");
    }
    pod.fails_closed().await;
}

/// The user and the group of a container.
#[derive(Clone, Copy, Debug)]
struct User {
    id: u32,
    group: u32,
}

impl User {
    /// Runs a program as this user, who gets no further rights (`allowPrivilegeEscalation: false`).
    fn runs(self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(self.options()).arg(program);
        command
    }

    fn options(self) -> [String; 4] {
        [
            format!("--reuid={}", self.id),
            format!("--regid={}", self.group),
            "--clear-groups".to_owned(),
            "--no-new-privs".to_owned(),
        ]
    }
}

#[derive(Clone, Copy, Debug)]
struct Users {
    claimgate: User,
    envoy: User,
    api: User,
}

impl Users {
    fn of_the_manifest() -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(DEPLOYMENT).unwrap();
        let mut deployments = documents.iter().filter(|it| it["kind"] == "Deployment");
        let pod = &deployments.next().unwrap()["spec"]["template"]["spec"];
        let of = |containers: &str, name: &str| {
            let mut containers = pod[containers].as_array().unwrap().iter();
            let container = containers.find(|it| it["name"] == name).unwrap();
            let id = |field: &str| {
                let id = container["securityContext"][field].as_u64().unwrap();
                u32::try_from(id).unwrap()
            };
            User {
                id: id("runAsUser"),
                group: id("runAsGroup"),
            }
        };
        Self {
            claimgate: of("initContainers", "claimgate"),
            envoy: of("initContainers", "envoy"),
            api: of("containers", "api"),
        }
    }
}

/// Runs a test again as root of a user namespace that has these users. Where there can be none, it names what
/// is left out.
async fn again_as_root(test: &str, users: Users) {
    let in_a_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--map-auto"]);
        command.stdin(Stdio::null());
        command
    };
    let mut tried = in_a_namespace();
    tried
        .arg("setpriv")
        .args(users.claimgate.options())
        .arg("true");
    let why = match tried.output().await {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    let status = match why {
        None => {
            in_a_namespace()
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "--nocapture", test])
                .status()
                .await
        }
        Some(why) => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let what = format!(
                "the users of overlays/sidecar, without root: {}",
                why.trim()
            );
            Command::new(root.join(".ci/not-checked"))
                .env("MAY_SKIP", "1")
                .arg(what)
                .status()
                .await
        }
    };
    assert!(status.unwrap().success(), "as root of a user namespace");
}

/// What runs in the pod, each as its own user or all as the user of the tests.
struct Pod {
    volumes: Volumes,
    program: PathBuf,
    issuer: Issuer,
    claimgate: Child,
    envoy: Envoy,
    _upstream: Upstream,
}

impl Pod {
    async fn start(users: Option<Users>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let issuer = Issuer::start(any, "orders-api").await.unwrap();
        let volumes = Volumes::create(&issuer);
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_claimgate"));
        let mut envoy = envoy_binary();
        let mut command = Command::new(&program);
        if let Some(users) = users {
            [program, envoy] = volumes.programs(&program, &envoy, users.envoy).await;
            command = users.claimgate.runs(&program);
        }
        let claimgate = command
            .args(["serve", "--config"])
            .arg(volumes.at("claimgate.yaml"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let upstream = Upstream::start().await.unwrap();
        let wiring = Wiring {
            listen: any,
            claimgate: Address::Unix(volumes.socket()),
            upstream: upstream.address(),
        };
        // The tests ask Envoy's admin listener whether it has started.
        let configuration = format!("admin: {{ address: {{}} }}\n{ENVOY}");
        let envoy = Envoy::start(&envoy, &configuration, &wiring).await;
        let pod = Self {
            volumes,
            program,
            issuer,
            claimgate,
            envoy: envoy.unwrap(),
            _upstream: upstream,
        };
        eventually("claimgate answers", async || {
            pod.ask("GET /orders", &[pod.token()]).await.status == 200
        })
        .await;
        pod
    }

    fn token(&self) -> String {
        let claims = json!({"sub": "alice"});
        bearer(&self.issuer.mint(claims.as_object().unwrap()).unwrap())
    }

    async fn ask(&self, request: &str, lines: &[String]) -> Answer {
        http(self.envoy.address(), request, lines).await
    }

    /// Both programs run as these users, and so the socket and the stored keys are claimgate's.
    fn runs_as(&self, users: Users) {
        let claimgate = self.claimgate.id().unwrap();
        for (process, user) in [
            (claimgate.to_string(), users.claimgate),
            (self.volumes.envoys_process(), users.envoy),
        ] {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            for (field, id) in [("Uid", user.id), ("Gid", user.group)] {
                let line = format!("\n{field}:\t{id}\t{id}\t{id}\t{id}\n");
                assert!(status.contains(&line), "{user:?}: {status}");
            }
            assert!(status.contains("\nGroups:\t \n"), "{user:?}: {status}");
        }
        for path in [self.volumes.socket(), self.volumes.at("cache/keys")] {
            let found = fs::metadata(&path).unwrap();
            let expected = (users.claimgate.id, users.claimgate.group);
            assert_eq!((found.uid(), found.gid()), expected, "{}", path.display());
        }
    }

    /// What `claimgate check` says to this user about a public path.
    async fn asked_by(&self, user: User) -> String {
        let target = format!("unix://{}", self.volumes.socket().display());
        let asked = user
            .runs(&self.program)
            .args(["check", "--path", "/healthz", "--target", &target])
            .output()
            .await
            .unwrap();
        String::from_utf8([asked.stdout, asked.stderr].concat()).unwrap()
    }

    /// Envoy asks about every request, and lets none pass without claimgate.
    async fn fails_closed(mut self) {
        let configured: Value = serde_saphyr::from_str(CLAIMGATE).unwrap();
        let mode = configured["server"]["listen"]["mode"].as_str().unwrap();
        let found = fs::metadata(self.volumes.socket()).unwrap().mode();
        assert_eq!(format!("{:04o}", found & 0o777), mode);
        let token = self.token();
        let spoofed = "x-auth-subject: root".to_owned();
        for (request, lines, status, subject) in [
            ("GET /orders", vec![], 401, Value::Null),
            (
                "GET /orders",
                vec![token.clone(), spoofed.clone()],
                200,
                "alice".into(),
            ),
            ("GET /healthz", vec![spoofed.clone()], 200, Value::Null),
            ("POST /healthz", vec![spoofed], 401, Value::Null),
        ] {
            let answer = self.ask(request, &lines).await;
            assert_eq!(answer.status, status, "{request}: {answer:?}");
            let seen: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(seen["headers"]["x-auth-subject"], subject, "{request}");
        }

        self.claimgate.kill().await.unwrap();
        for request in ["GET /orders", "GET /healthz"] {
            let answer = self.ask(request, std::slice::from_ref(&token)).await;
            assert_eq!(answer.status, 503, "{request}: {answer:?}");
        }
    }
}

/// The pod's volumes, and its programs.
struct Volumes(TempDir);

impl Volumes {
    /// The kubelet makes an `emptyDir` writable to everybody, and a `ConfigMap` readable to everybody.
    fn create(issuer: &Issuer) -> Self {
        let volumes = Self(tempfile::tempdir().unwrap());
        let mode = |path: &Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(volumes.0.path(), 0o755);
        for empty in ["run", "cache"] {
            fs::create_dir(volumes.at(empty)).unwrap();
            mode(&volumes.at(empty), 0o777);
        }
        let (socket, keys) = (volumes.socket(), volumes.at("cache/keys"));
        let mut configured = CLAIMGATE.to_owned();
        for (from, to) in [
            ("/run/claimgate/check.sock", socket.to_str().unwrap()),
            ("'[::]:9002'", "127.0.0.1:0"),
            ("https://idp.example.com/realms/acme", issuer.url()),
            ("/var/cache/claimgate/keys", keys.to_str().unwrap()),
        ] {
            configured = change(&configured, from, to);
        }
        fs::write(volumes.at("claimgate.yaml"), configured).unwrap();
        mode(&volumes.at("claimgate.yaml"), 0o644);
        volumes
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.at("run/check.sock")
    }

    fn envoys_process(&self) -> String {
        fs::read_to_string(self.at("envoy.pid")).unwrap()
    }

    /// Both programs where every user can run them: a repository may be in root's own directory. Envoy is a
    /// script that becomes `user`, and lets that user write beside Envoy's configuration, where its last argument
    /// is.
    async fn programs(&self, claimgate: &Path, envoy: &Path, user: User) -> [PathBuf; 2] {
        let programs = [self.at("claimgate"), self.at("envoy.sh")];
        let script = format!(
            "#!/bin/sh\n\
             for last; do :; done\n\
             chown -R {id} \"${{last%/*}}\"\n\
             printf %s $$ > {process}\n\
             exec setpriv {options} {envoy} \"$@\"\n",
            id = user.id,
            process = self.at("envoy.pid").display(),
            options = user.options().join(" "),
            envoy = self.at("envoy").display(),
        );
        // Another process writes them: a program that is open for writing, here or in a process that another
        // test just starts, cannot be run.
        let mut writer = Command::new("sh")
            .arg("-ec")
            .arg("cp \"$0\" claimgate; cp \"$1\" envoy; cat > envoy.sh; chmod 755 claimgate envoy envoy.sh")
            .args([claimgate, envoy])
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).await.unwrap();
        drop(stdin);
        assert!(writer.wait().await.unwrap().success());
        programs
    }
}
