//! Fetching keys through a proxy: what goes through it, and what it never sees.

use claimgate::config::Config;
use claimgate::keyring::Algorithm::Es256;
use serde_json::json;
use tempfile::TempDir;

use crate::support::authority::authority_of;
use crate::support::command::{claimgate, run};
use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::proxy::{Answer, Proxy};

/// A name that no DNS server knows (RFC 6761 §6.4), so only the proxy can resolve it.
const NAME: &str = "idp.invalid";
const URL: &str = "https://idp.invalid";

/// An issuer whose name only the proxy can resolve.
struct Scene {
    issuer: Issuer,
    server: rustls::ServerConfig,
    directory: TempDir,
}

impl Scene {
    async fn set() -> Self {
        let (pem, server) = authority_of(&[NAME, "127.0.0.1"]);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
        std::fs::write(directory.path().join("token"), "b34r3r").unwrap();
        let key = signer(Es256, "real");
        let issuer = Issuer::start_tls(&[&key], server.clone()).await;
        let metadata = json!({"issuer": URL, "jwks_uri": format!("{URL}{JWKS}")});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        Self {
            issuer,
            server,
            directory,
        }
    }

    fn tunnel(&self) -> Answer {
        Answer::Tunnel(self.issuer.address())
    }

    fn yaml(&self, proxy: &str) -> String {
        let directory = self.directory.path().display();
        format!(
            "providers: [{{ name: acme, issuer: '{URL}', audiences: [orders-api], fetch: {{ \
             ca_file: {directory}/ca.pem, bearer_token_file: {directory}/token{proxy} }} }}]"
        )
    }

    fn write(&self, proxy: &str) -> String {
        let file = self.directory.path().join("claimgate.yaml");
        std::fs::write(&file, self.yaml(proxy)).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

fn good_token() -> String {
    let claims = json!({"iss": URL, "aud": "orders-api", "sub": "alice", "exp": NOW + 60});
    signer(Es256, "real").token(&claims).unwrap()
}

#[tokio::test]
async fn keys_come_through_it() {
    for (over_tls, credentials, header) in [
        (false, "", None),
        (false, "us%40er:p%3Ass@", Some("Basic dXNAZXI6cDpzcw==")),
        (true, "", None),
        (true, "us%40er:p%3Ass@", Some("Basic dXNAZXI6cDpzcw==")),
        (false, "user@", Some("Basic dXNlcjo=")),
    ] {
        let scene = Scene::set().await;
        let (scheme, proxy) = match over_tls {
            false => ("http", Proxy::start(scene.tunnel()).await),
            true => {
                let tls = scene.server.clone();
                ("https", Proxy::start_tls(scene.tunnel(), tls).await)
            }
        };
        let log = Log::start("info");
        let url = format!("{scheme}://{credentials}{}", proxy.address());
        let gate = Gate::start(&scene.yaml(&format!(", proxy: '{url}'"))).await;
        gate.service.gate.generation().jwks.all_known().await;
        assert!(gate.check(&good_token()).await.is_allow(), "{url}");

        let heads = proxy.heads();
        assert!(!heads.is_empty());
        for head in heads {
            assert!(head.starts_with("CONNECT idp.invalid:443 "), "{head}");
            let sent = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("proxy-authorization")
                    .then_some(value)
            });
            assert_eq!(sent, header, "{head}");
            // Requests to the provider travel only inside the tunnel.
            assert!(!head.contains("b34r3r"), "{head}");
        }
        for path in [DISCOVERY, JWKS] {
            let head = scene.issuer.head(path).to_ascii_lowercase();
            assert!(head.contains("authorization: bearer b34r3r"), "{head}");
            assert!(!head.contains("proxy-authorization"), "{head}");
        }
        let log = log.text();
        assert!(!log.contains("p%3Ass") && !log.contains("user@"), "{log}");
    }
}

/// A proxy could read and change plain HTTP, and its `localhost` is another machine.
#[tokio::test]
async fn plain_text_and_this_machine_bypass_the_proxy() {
    let key = signer(Es256, "real");
    let proxy = Proxy::start(Answer::Head("HTTP/1.1 200 OK\r\n\r\n")).await;
    let through = format!("fetch: {{ proxy: 'http://{}' }}", proxy.address());
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, &through).await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
    assert_eq!(proxy.heads(), [""; 0]);

    // Not even with TLS: here `127.0.0.1` is the issuer itself.
    let scene = Scene::set().await;
    let url = scene.issuer.url();
    let metadata = json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")});
    scene.issuer.reply(DISCOVERY, Reply::json(&metadata));
    let ca_file = scene.directory.path().join("ca.pem");
    let more = format!(
        "fetch: {{ ca_file: {}, proxy: 'http://{}' }}",
        ca_file.display(),
        proxy.address()
    );
    let gate = Gate::trusting(&scene.issuer, &more).await;
    assert!(gate.check(&token(&scene.issuer, &key)).await.is_allow());
    assert_eq!(proxy.heads(), [""; 0]);

    // Metadata from elsewhere must not direct requests to this machine, with or without a proxy.
    let scene = Scene::set().await;
    let proxy = Proxy::start(scene.tunnel()).await;
    let metadata = json!({"issuer": URL, "jwks_uri": "https://localhost/jwks"});
    scene.issuer.reply(DISCOVERY, Reply::json(&metadata));
    let gate = Gate::start(&scene.yaml(&format!(", proxy: 'http://{}'", proxy.address()))).await;
    let error = error(&gate).await;
    assert!(error.contains("is on this machine"), "{error}");
}

async fn error(gate: &Gate) -> String {
    loop {
        match gate.error() {
            Some(error) => return error,
            None => tokio::task::yield_now().await,
        }
    }
}

/// Without its proxy, nothing is fetched: neither directly nor in plain text.
#[tokio::test]
async fn a_proxy_that_refuses() {
    for (head, expected) in [
        ("HTTP/1.1 407 X\r\n\r\n", "proxy authorization required"),
        ("HTTP/1.1 403 X\r\n\r\n", "unsuccessful"),
        (
            "HTTP/1.1 302 X\r\nlocation: http://x/\r\n\r\n",
            "unsuccessful",
        ),
        ("<html>\r\n\r\n", "unsuccessful"),
        ("", "unexpected end of file"),
        // The proxy answers itself, with a certificate that is not the provider's.
        ("HTTP/1.1 200 OK\r\n\r\n{\"keys\": []}", "cannot fetch"),
    ] {
        let scene = Scene::set().await;
        let proxy = Proxy::start(Answer::Head(head)).await;
        let log = Log::start("info");
        let address = proxy.address();
        let setting = format!(", proxy: 'http://user:s3cr3t@{address}'");
        let gate = Gate::start(&scene.yaml(&setting)).await;
        let error = error(&gate).await;
        assert!(error.contains(expected), "{head}: {error}");
        let through = format!("through the proxy `http://{address}`");
        assert!(error.contains(&through), "{head}: {error}");
        assert_eq!(gate.check(&good_token()).await.status(), 503, "{head}");
        assert_eq!(scene.issuer.connections(), 0, "{head}");
        assert!(!log.text().contains("s3cr3t"), "{head}: {}", log.text());
        assert!(!error.contains("s3cr3t"), "{head}: {error}");
    }
}

/// The environment's proxy is used only if the operator asks for it.
#[tokio::test]
async fn the_environment_counts_only_if_the_operator_says_so() {
    let scene = Scene::set().await;
    let proxy = Proxy::start(scene.tunnel()).await;
    let url = format!("http://user:s3cr3t@{}", proxy.address());
    let asked = ", proxy: from_environment";
    for (field, variables, used) in [
        (asked, vec![("HTTPS_PROXY", url.as_str())], true),
        (asked, vec![("https_proxy", &url)], true),
        (asked, vec![("ALL_PROXY", &url)], true),
        (
            asked,
            vec![("HTTPS_PROXY", &url), ("NO_PROXY", "other.invalid")],
            true,
        ),
        (
            asked,
            vec![("HTTPS_PROXY", &url), ("NO_PROXY", NAME)],
            false,
        ),
        (
            asked,
            vec![("HTTPS_PROXY", &url), ("no_proxy", ".invalid")],
            false,
        ),
        (
            asked,
            vec![("HTTP_PROXY", &url), ("http_proxy", &url)],
            false,
        ),
        (asked, vec![], false),
        ("", vec![("HTTPS_PROXY", &url), ("ALL_PROXY", &url)], false),
    ] {
        let file = scene.write(field);
        let before = proxy.heads().len();
        let mut command = claimgate(&["validate", &file, "--online"]);
        command.envs(variables.iter().copied());
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let what = format!("{field} {variables:?}: {said}");
        assert_eq!(output.status.code(), Some(i32::from(!used)), "{what}");
        assert_eq!(proxy.heads().len() > before, used, "{what}");
        assert!(!said.contains("s3cr3t"), "{what}");
    }
    // A variable with an invalid proxy is an error, and nothing is fetched another way.
    let file = scene.write(asked);
    let mut command = claimgate(&["validate", &file, "--online"]);
    command.env("HTTPS_PROXY", "socks5://user:s3cr3t@127.0.0.1:1");
    let output = command.output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot use the proxy of `HTTPS_PROXY`"),
        "{said}"
    );
    assert!(
        said.contains("the scheme `socks5` is not supported"),
        "{said}"
    );
    assert!(!said.contains("s3cr3t"), "{said}");
}

/// The password of a proxy appears in no error and no debug output.
#[tokio::test]
async fn its_credentials_appear_nowhere() {
    let at = |more: &str| {
        format!("providers: [{{ issuer: 'https://a.example', audiences: a, fetch: {{ {more} }} }}]")
    };
    let config = Config::from_yaml(&at("proxy: 'http://user:s3cr3t@proxy.example:3128'")).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("http://proxy.example:3128"), "{shown}");
    assert!(
        !shown.contains("s3cr3t") && !shown.contains("user:"),
        "{shown}"
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    for wrong in [
        "proxy: 'ftp://user:s3cr3t@proxy.example'",
        "proxy: 'http://user:s3cr3t@proxy.example:port'",
        "proxy: 'http://user:s3cr3t@proxy.example/path'",
        "proxy: 'http://user:s3cr3t@'",
        "proxy: 'user:s3cr3t@proxy.example'",
        "proxy: ['http://user:s3cr3t@proxy.example']",
        "proxy: { url: 'http://user:s3cr3t@proxy.example' }",
        "proxies: 'http://user:s3cr3t@proxy.example'",
        "proxy: \"http://user:s3cr3t@proxy.example",
        "proxy: http://user:s3cr3t@proxy.example: 1",
        "proxy: 'http://user:s3cr3t@a', proxy: 'http://user:s3cr3t@a'",
    ] {
        std::fs::write(&file, at(wrong)).unwrap();
        let found = run(&["validate", file.to_str().unwrap()], "").await;
        assert_eq!(found.code, Some(1), "{wrong}: {}", found.out);
        assert!(!found.err.contains("s3cr3t"), "{wrong}: {}", found.err);
    }
    // Not even if the error is in another field.
    let plain = provider(
        &Issuer::start(&[]).await,
        "acme",
        "fetch: { proxy: 'http://user:s3cr3t@proxy.example' }",
    );
    let plain = plain.replace("127.0.0.1", "idp.example.com");
    let error = Config::from_yaml(&plain).unwrap_err().to_string();
    assert!(error.contains("is not https"), "{error}");
    assert!(!error.contains("s3cr3t"), "{error}");
}
