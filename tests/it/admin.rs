//! The admin listener: its addresses, TLS, the token, and who may read what.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use claimgate::app;
use claimgate::config::{Config, ListenAddress};
use claimgate::keyring::Algorithm::Es256;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::call::check;
use crate::support::command::run;
use crate::support::gate::Still;
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;
use crate::tls_server::{Authority, Files, logged, replace};

/// Its keys are not needed.
const PROVIDERS: &str = "providers: [{ name: acme, issuer: https://idp.example.com, \
                         audiences: [api], jwks: { uri: 'http://127.0.0.1:1/jwks' } }]";

const TOKEN: &str = "6b1f0a9c4d7e2358b0c1d2e3f4a59687";

/// Status, head and body of the answer to one request.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    lines: &str,
) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Some peers close a TLS connection without notice.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

async fn get(server: &Server, path: &str, lines: &str) -> (u16, String, String) {
    let stream = TcpStream::connect(server.admin).await.unwrap();
    exchange(stream, path, lines).await
}

#[tokio::test]
async fn over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listen = format!("listen: {{ unix: {}, mode: '0600' }}", path.display());
    let server = Server::start_admin(&listen, PROVIDERS).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (path_of_url, lines, expected) in [
        ("/livez", "", 200),
        ("/denials", "", 200),
        ("/denials", "host: anything\r\n", 200),
        ("/denials", "sec-fetch-site: cross-site\r\n", 403),
    ] {
        let stream = UnixStream::connect(&path).await.unwrap();
        let (status, ..) = exchange(stream, path_of_url, lines).await;
        assert_eq!(status, expected, "{path_of_url} {lines}");
    }
    server.check(check(&[("x-request-id", "one")])).await;
    let address = format!("unix://{}", path.display());
    let told = run(&["why", "one", "--admin", &address], "").await;
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(told.out.contains("missing_token"), "{}", told.out);
    server.stop().await;
    assert!(!path.exists());
}

/// `why` with the address of the checks, where HTTP/1 is not spoken.
#[tokio::test]
async fn why_at_the_wrong_port() {
    let server = Server::start_admin("listen: 127.0.0.1:0", PROVIDERS).await;
    let check = server.check.to_string();
    let told = run(&["why", "one", "--admin", &check], "").await;
    assert_eq!(told.code, Some(2));
    for says in ["this is probably `server.listen`", "with --admin"] {
        assert!(told.err.contains(says), "{}", told.err);
    }
    server.stop().await;
}

/// Whatever a server of another protocol does first, the advice is the same.
#[tokio::test]
async fn why_where_nothing_speaks_http_1() {
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    for (first, reads, resets) in [
        (settings, true, false),
        (settings, false, false),
        (settings, true, true),
        (b"", true, false),
        (b"", false, false),
        (b"", true, true),
        (b"SSH-2.0-server\r\n", true, false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(first).await.unwrap();
            if reads {
                // The command may close first.
                stream.read_u8().await.ok();
            }
            if resets {
                stream.set_zero_linger().unwrap();
            }
        });
        let told = run(&["why", "one", "--admin", &address], "").await;
        let case = format!("{:?}, {reads}, {resets}", first.escape_ascii().to_string());
        assert_eq!(told.code, Some(2), "{case}");
        let says = "this is probably `server.listen`";
        assert!(told.err.contains(says), "{case}: {}", told.err);
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn localhost_and_off() {
    for (listen, expected) in [("localhost:0", 1..=2), ("off", 0..=0)] {
        let yaml = format!(
            "server: {{ listen: '127.0.0.1:0' }}\nadmin: {{ listen: '{listen}' }}\n{PROVIDERS}"
        );
        let config = Config::from_yaml(&yaml).unwrap();
        let app = app::bind(config, Still::default()).await.unwrap();
        let addresses = app.admin_addresses();
        assert!(expected.contains(&addresses.len()), "{addresses:?}");
        assert_eq!(app.admin_address().is_some(), !addresses.is_empty());
        for address in addresses {
            let ListenAddress::Tcp(address) = address else {
                panic!("{address:?}")
            };
            assert!(address.ip().is_loopback());
        }
    }
}

/// A request that reaches a route, or not, because of its peer, host or page. The table of all
/// combinations is beside the guard.
#[tokio::test]
async fn guarded_over_tcp() {
    let admin = "listen: 127.0.0.1:0, allowed_hosts: claimgate.internal";
    let server = Server::start_admin(admin, PROVIDERS).await;
    for (path, lines, expected, says) in [
        ("/denials", "host: localhost\r\n", 200, "denials"),
        (
            "/denials",
            "host: claimgate.internal:9002\r\n",
            200,
            "denials",
        ),
        (
            "/denials",
            "host: evil.example\r\n",
            403,
            "admin.allowed_hosts",
        ),
        (
            "/unknown",
            "host: evil.example\r\n",
            403,
            "admin.allowed_hosts",
        ),
        ("/unknown", "host: localhost\r\n", 404, ""),
        ("/metrics", "host: evil.example\r\n", 200, "claimgate_"),
        ("/livez", "host: evil.example\r\n", 200, "alive"),
        (
            "/denials",
            "host: localhost\r\norigin: https://evil.example\r\n",
            403,
            "type the address",
        ),
        (
            "/denials",
            "host: localhost\r\nx-forwarded-for: 10.0.0.7\r\n",
            403,
            "it has the header `x-forwarded-for`",
        ),
    ] {
        let (status, head, body) = get(&server, path, lines).await;
        assert_eq!(status, expected, "{path} {lines}");
        assert!(body.contains(says), "{path} {lines}: {body}");
        for header in [
            "content-security-policy: default-src 'none'; ",
            "frame-ancestors 'none'",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "no {header} in {head}");
        }
    }
    server.stop().await;
}

struct TokenFile(TempDir);

impl TokenFile {
    fn new(token: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.put(token);
        file
    }

    fn put(&self, token: &str) {
        replace(&self.0.path().join("token"), token);
    }

    fn path(&self) -> String {
        self.0.path().join("token").display().to_string()
    }
}

#[tokio::test]
async fn a_token_that_changes() {
    let log = Log::start("info");
    let file = TokenFile::new(&format!("{TOKEN}\n"));
    let admin = format!("listen: 127.0.0.1:0, token_file: {}", file.path());
    let server = Server::start_admin(&admin, PROVIDERS).await;
    let with = async |token: &str, path: &str| {
        let lines = format!("host: localhost\r\nauthorization: Bearer {token}\r\n");
        get(&server, path, &lines).await.0
    };
    for (path, without, wrong) in [
        ("/livez", 200, 200),
        ("/readyz", 503, 503),
        ("/readyz?verbose", 401, 401),
        ("/metrics", 401, 401),
        ("/denials", 401, 401),
        ("/unknown", 401, 401),
    ] {
        let (status, head, _) = get(&server, path, "host: localhost\r\n").await;
        assert_eq!(status, without, "{path}");
        assert_eq!(head.contains("www-authenticate: Bearer"), status == 401);
        assert_eq!(with("wrong", path).await, wrong, "{path}");
        assert_ne!(with(TOKEN, path).await, 401, "{path}");
    }

    let other = TOKEN.replace('6', "7");
    file.put("too short");
    logged(
        &log,
        "the admin token has changed but cannot be used; the previous one stays in force",
    )
    .await;
    assert_eq!(with(TOKEN, "/metrics").await, 200);
    file.put(&other);
    logged(&log, "admin token reloaded").await;
    assert_eq!(with(TOKEN, "/metrics").await, 401);
    assert_eq!(with(&other, "/metrics").await, 200);
    assert!(!log.text().contains(TOKEN) && !log.text().contains(&other));

    server.check(check(&[("x-request-id", "one")])).await;
    let address = server.admin.to_string();
    let told = run(&["why", "one", "--admin", &address], "").await;
    assert_eq!(told.code, Some(2), "{}", told.err);
    assert!(told.err.contains("admin.token_file"), "{}", told.err);
    let token_file = file.path();
    let told = [
        "why",
        "one",
        "--admin",
        &address,
        "--admin-token-file",
        &token_file,
    ];
    let told = run(&told, "").await;
    assert_eq!(told.code, Some(0), "{}", told.err);
    server.stop().await;
}

#[tokio::test]
async fn unusable_files_prevent_the_start() {
    let file = TokenFile::new("short");
    for (admin, expected) in [
        (format!("token_file: {}", file.path()), "`admin.token_file`"),
        (
            "token_file: /nonexistent".to_owned(),
            "`admin.token_file` `/nonexistent`",
        ),
        (
            "tls: { certificate: /nonexistent, key: /nonexistent }".to_owned(),
            "`admin.tls.certificate` `/nonexistent`",
        ),
    ] {
        let yaml = format!(
            "server: {{ listen: '127.0.0.1:0' }}\nadmin: {{ listen: '127.0.0.1:0', {admin} }}\n{PROVIDERS}"
        );
        let config = Config::from_yaml(&yaml).unwrap();
        let error = app::bind(config, Still::default()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");

        let config = file.0.path().join("claimgate.yaml");
        std::fs::write(&config, yaml).unwrap();
        let told = run(&["validate", config.to_str().unwrap()], "").await;
        assert_eq!(told.code, Some(1), "{}", told.err);
        assert!(told.err.contains(expected), "{}", told.err);
    }
}

/// Status and answer of a page over TLS. `None` if the server closes the connection instead.
async fn over_tls(server: &Server, client: ClientConfig, path: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect(server.admin).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect(name, stream).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

#[tokio::test]
async fn over_tls_with_client_certificates() {
    let log = Log::start("info");
    let authority = Authority::new();
    let files = Files::new(&authority);
    let limits = format!("{}, allowed_clients: operator.example", files.client_ca());
    let server = Server::start_admin(&files.server(&limits), PROVIDERS).await;
    let client = |names: &[&str]| {
        let identity = authority.identity(names);
        let mut client =
            ClientConfig::clone(&authority.client_with(Some(&identity), &[&TLS12, &TLS13]));
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        client
    };
    for path in ["/livez", "/metrics", "/denials"] {
        let (status, _) = over_tls(&server, client(&["operator.example"]), path)
            .await
            .unwrap();
        assert_eq!(status, 200, "{path}");
        let refused = over_tls(&server, client(&["other.example"]), path).await;
        assert_eq!(refused, None, "{path}");
    }
    let line = logged(&log, "admin TLS handshake failed").await;
    assert!(line.contains("`admin.tls.allowed_clients`"), "{line}");
    for path in ["/", "/readyz?verbose"] {
        let (_, shown) = over_tls(&server, client(&["operator.example"]), path)
            .await
            .unwrap();
        assert!(shown.contains("admin_tls_handshake"), "{shown}");
    }

    files.put(&authority.identity(&["127.0.0.1"]));
    logged(&log, "TLS certificate reloaded").await;
    let (status, _) = over_tls(&server, client(&["operator.example"]), "/livez")
        .await
        .unwrap();
    assert_eq!(status, 200);
    server.stop().await;
}

async fn json(server: &Server, path: &str) -> Value {
    let (status, _, body) = get(server, path, "host: localhost\r\n").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_configuration_without_secrets() {
    let token = TokenFile::new("q8Wsecret-in-a-file");
    let sections = format!(
        "providers:
  - issuer: https://idp.example.com
    audiences: [api]
    discovery_url: https://idp.example.com/meta?code=q8Wquery
    fetch: {{ proxy: 'http:user:q8Wproxy@127.0.0.1:1', bearer_token_file: {}, timeout: 1s }}
  - issuer: https://two.example.com
    audiences: any
    jwks: {{ file: /nonexistent }}
rules: [{{ name: r, match: {{ path: {{ prefix: /orders }} }} }}]",
        token.path()
    );
    let server = Server::start_admin("listen: 127.0.0.1:0", &sections).await;
    let page = json(&server, "/config").await;
    assert!(!page.to_string().contains("q8W"), "{page}");
    let config = &page["configuration"];
    let first = &config["providers"][0];
    for (value, expected) in [
        (&page["version"], env!("CARGO_PKG_VERSION").into()),
        (&page["file_rejected"], Value::Null),
        (&config["server"]["drain"], "0s".into()),
        (&config["server"]["max_connections"], 1024.into()),
        (&config["admin"]["explain"], false.into()),
        (&config["token_cache"]["max_bytes"], "64MiB".into()),
        (
            &config["rules"][0]["match"]["path"]["prefix"],
            "/orders".into(),
        ),
        (&first["name"], "idp.example.com".into()),
        (&first["fetch"]["timeout"], "1s".into()),
        (&first["fetch"]["max_bytes"], "1MiB".into()),
        (&first["fetch"]["proxy"], "http://127.0.0.1:1".into()),
        (&first["fetch"]["bearer_token_file"], token.path().into()),
        (&config["providers"][1]["refresh"]["max"], "15m".into()),
    ] {
        assert_eq!(*value, expected, "{page:#}");
    }
    assert_eq!(page["hash"].as_str().unwrap().len(), 16);
    server.stop().await;
}

#[tokio::test]
async fn the_state_of_each_provider() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&*key]).await;
    let url = issuer.url();
    let sections = format!(
        "providers:
  - {{ name: good, issuer: '{url}', audiences: [api] }}
  - {{ name: gone, issuer: https://gone.example.com, audiences: [api], jwks: {{ uri: 'http://127.0.0.1:1/jwks' }} }}
  - {{ name: local, issuer: https://local.example.com, audiences: [api], jwks: {{ inline: {} }} }}",
        serde_json::json!({"keys": [key.jwk()]})
    );
    let server = Server::start_admin("listen: 127.0.0.1:0", &sections).await;
    let providers = loop {
        let page = json(&server, "/providers").await;
        let providers = page["providers"].as_array().unwrap().clone();
        if providers[0]["state"] == "current" && !providers[1]["last_error"].is_null() {
            break providers;
        }
    };
    let (good, gone, local) = (&providers[0], &providers[1], &providers[2]);
    assert_eq!(good["issuer"], url);
    assert_eq!(good["last_error"], Value::Null);
    assert!(
        good["next_refresh_seconds"].as_u64().unwrap() <= 900,
        "{good}"
    );
    assert!(
        good["fetched_at"].as_str().unwrap().ends_with('Z'),
        "{good}"
    );
    let published = &good["keys"][0];
    assert_eq!(
        (
            &published["kid"],
            &published["use"],
            &published["algorithms"]
        ),
        (&"real".into(), &"sig".into(), &"ES256".into())
    );
    assert_eq!(published["thumbprint"].as_str().unwrap().len(), 43);
    assert_eq!(published["seen_seconds"], 0);
    assert_eq!(published["last_used_seconds"], Value::Null);
    assert_eq!(gone["state"], "no_keys");
    assert!(
        gone["last_error"].as_str().unwrap().contains("127.0.0.1:1"),
        "{gone}"
    );
    assert_eq!(gone["keys"], serde_json::json!([]));
    assert_eq!(local["state"], "current");
    assert_eq!(local["next_refresh_seconds"], Value::Null);
    assert_eq!(local["keys"][0]["thumbprint"], published["thumbprint"]);
    server.stop().await;
}
