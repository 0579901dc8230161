//! Checks over TLS, with and without client certificates, and with files that change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use claimgate::app;
use claimgate::config::Config;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::keyring::Algorithm::Es256;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::support::call::{Answer, bearer};
use crate::support::command::run;
use crate::support::gate::{Still, provider, token};
use crate::support::issuer::Issuer;
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

const FAILED: &str = "claimgate_bad_connections_total{kind=\"tls_handshake\"}";
const RELOADED: &str = "TLS certificate reloaded";
const REJECTED: &str =
    "the TLS files have changed but cannot be used; the previous ones stay in force";

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these DNS names, addresses and URIs.
    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        let (uris, others): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let others: Vec<_> = others.into_iter().map(ToOwned::to_owned).collect();
        let mut params = CertificateParams::new(others).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts this authority, and presents a certificate if it has one.
    fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        self.client_with(identity, &[&TLS12, &TLS13])
    }

    pub(crate) fn client_with(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder =
            ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// The files of `server.tls`.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put(&authority.identity(&["127.0.0.1"]));
        replace(&files.path("ca.crt"), &authority.0.pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces certificate and key.
    pub(crate) fn put(&self, identity: &Identity) {
        replace(&self.path("tls.crt"), &identity.certificate);
        replace(&self.path("tls.key"), &identity.key);
    }

    /// `server` as YAML, with these further fields of `tls`.
    pub(crate) fn server(&self, more: &str) -> String {
        let (certificate, key) = (self.path("tls.crt"), self.path("tls.key"));
        format!(
            "listen: 127.0.0.1:0, tls: {{ certificate: {}, key: {}, {more} }}",
            certificate.display(),
            key.display()
        )
    }

    pub(crate) fn client_ca(&self) -> String {
        format!("client_ca: {}", self.path("ca.crt").display())
    }
}

/// Replaces a file as editors do: with another one of the same name.
pub(crate) fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// A server that has its keys, and a token that it accepts.
async fn served(server: &str) -> (Server, Issuer, String) {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let server = Server::start_with(server, &provider(&issuer, "acme", "")).await;
    while server.page("/readyz").await.0 != 200 {}
    let good = token(&issuer, &key);
    (server, issuer, good)
}

async fn handshake(
    server: SocketAddr,
    client: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    let name = "127.0.0.1".try_into().unwrap();
    TlsConnector::from(client).connect(name, stream).await
}

async fn channel(
    server: SocketAddr,
    client: Arc<ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let connect = move |_: Uri| {
        let client = Arc::clone(&client);
        async move { handshake(server, client).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://claimgate")
        .connect_with_connector(tower::service_fn(connect))
        .await
}

/// Whether a check on a new connection is allowed. The error says why there is no answer.
async fn asks(server: SocketAddr, client: Arc<ClientConfig>, token: &str) -> Result<bool, String> {
    let channel = channel(server, client).await;
    let channel = channel.map_err(|error| format!("{error:?}"))?;
    checks(&channel, token).await
}

async fn checks(channel: &Channel, token: &str) -> Result<bool, String> {
    let answer = AuthorizationClient::new(channel.clone())
        .check(bearer(token))
        .await
        .map_err(|status| format!("{status:?}"))?;
    Ok(Answer::read(answer.into_inner()).is_allow())
}

/// The certificate that a new connection gets.
async fn presented(server: SocketAddr, client: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = handshake(server, Arc::clone(client)).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone()
}

pub(crate) async fn logged(log: &Log, message: &str) -> String {
    loop {
        if let Some(line) = log.lines(message).first() {
            return line.clone();
        }
        yield_now().await;
    }
}

async fn failed(server: &Server) -> u64 {
    let (_, metrics) = server.page("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(FAILED));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn checks_over_tls() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let (server, _issuer, good) = served(&files.server("")).await;
    for version in [&TLS12, &TLS13] {
        let client = authority.client_with(None, &[version]);
        let mut stream = handshake(server.check, Arc::clone(&client)).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(session.protocol_version(), Some(version.version));
        // The server's preface of HTTP/2 comes first.
        stream.read_u8().await.unwrap();
        assert_eq!(
            asks(server.check, Arc::clone(&client), &good).await,
            Ok(true)
        );
        assert_eq!(asks(server.check, client, "bad").await, Ok(false));
    }
    assert_eq!(failed(&server).await, 0);
    server.stop().await;
}

/// A client in plain text, or one that refuses the server, is counted and explained. One that only
/// probes the port is not.
#[tokio::test]
async fn failed_handshakes_are_explained() {
    let log = Log::start("warn");
    let authority = Authority::new();
    let files = Files::new(&authority);
    let (server, _issuer, good) = served(&files.server("")).await;
    drop(TcpStream::connect(server.check).await.unwrap());
    let plain = Channel::from_shared(format!("http://{}", server.check)).unwrap();
    let refused = match plain.connect().await {
        Ok(channel) => checks(&channel, &good).await,
        Err(error) => Err(error.to_string()),
    };
    assert!(refused.is_err(), "{refused:?}");
    let line = logged(&log, "bad connection").await;
    for part in [
        "the client does not speak TLS",
        "transport_socket",
        "127.0.0.1:",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let before = failed(&server).await;
    assert!(before > 0);

    let stranger = Authority::new().client(None);
    let refused = asks(server.check, stranger, &good).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("InvalidCertificate"), "{refused}");
    while failed(&server).await == before {}
    assert_eq!(log.lines("bad connection").len(), 1, "once a minute");
}

/// `claimgate check --target https://…`.
#[tokio::test]
async fn the_command_asks_over_tls() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let (server, _issuer, good) = served(&files.server(&files.client_ca())).await;
    let client = Files::new(&Authority::new());
    client.put(&authority.identity(&["operator.example"]));
    let stranger = Files::new(&Authority::new());
    let path = |files: &Files, name| files.path(name).display().to_string();
    let (ca, other_ca) = (path(&files, "ca.crt"), path(&stranger, "ca.crt"));
    let (certificate, key) = (path(&client, "tls.crt"), path(&client, "tls.key"));
    let other_key = path(&stranger, "tls.key");

    let https = format!("https://{}", server.check);
    let by_name = format!("https://localhost:{}", server.check.port());
    let plain = server.check.to_string();
    let own = ["--client-cert", &certificate, "--client-key", &key];
    let trusting = ["--ca-file", ca.as_str()];
    for (target, flags, code, said) in [
        (&https, [&trusting[..], &own].concat(), 0, "ALLOW"),
        (
            &https,
            trusting.to_vec(),
            2,
            "give --client-cert and --client-key",
        ),
        (&https, own.to_vec(), 2, "with --ca-file"),
        (
            &https,
            [&["--ca-file", &other_ca], &own[..]].concat(),
            2,
            "with --ca-file",
        ),
        (
            &by_name,
            [&trusting[..], &own].concat(),
            2,
            "by a name that the server's certificate has",
        ),
        (
            &https,
            vec!["--client-cert", &certificate, "--client-key", &other_key],
            2,
            "it is not the key of the first certificate in --client-cert",
        ),
        (
            &https,
            vec!["--ca-file", &key],
            2,
            "it contains no PEM certificate",
        ),
        (
            &https,
            vec!["--client-cert", &certificate],
            2,
            "--client-key",
        ),
        (
            &plain,
            trusting.to_vec(),
            2,
            "--ca-file: the URL is not `https`",
        ),
    ] {
        let arguments = [&["check", "--target", target, "--token", "-"], &flags[..]].concat();
        let outcome = run(&arguments, &good).await;
        let all = format!("{}{}", outcome.out, outcome.err);
        assert!(all.contains(said), "{arguments:?}: {all}");
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {all}");
    }
    server.stop().await;
}

#[tokio::test]
async fn clients_with_certificates() {
    const SPIFFE: &str = "spiffe://example.org/ns/edge/sa/envoy";
    let authority = Authority::new();
    let files = Files::new(&authority);
    let ca = files.client_ca();
    let any = ca.clone();
    let dns = format!("{ca}, allowed_clients: [other.example, envoy.example]");
    let spiffe = format!("{ca}, allowed_clients: ['{SPIFFE}']");

    let (envoy, other) = (
        authority.identity(&["envoy.example"]),
        authority.identity(&["sidecar.example", "spiffe://example.org/ns/edge/sa/envoy2"]),
    );
    let workload = authority.identity(&[SPIFFE]);
    let nameless = authority.identity(&[]);
    let wildcard = authority.identity(&["*.envoy.example"]);
    let forged = Authority::new().identity(&["envoy.example", SPIFFE]);
    for (more, what, identity, cause) in [
        (&any, "any name", Some(&envoy), ""),
        (&any, "no name", Some(&nameless), ""),
        (&any, "no certificate", None, "peer sent no certificates"),
        (
            &any,
            "another authority",
            Some(&forged),
            "invalid peer certificate",
        ),
        (&dns, "listed", Some(&envoy), ""),
        (
            &dns,
            "unlisted",
            Some(&other),
            "is for `spiffe://example.org/ns/edge/sa/envoy2`, `sidecar.example`, which",
        ),
        (
            &dns,
            "a pattern",
            Some(&wildcard),
            "is for `*.envoy.example`",
        ),
        (
            &dns,
            "without names",
            Some(&nameless),
            "no DNS name and no URI",
        ),
        (
            &dns,
            "another authority",
            Some(&forged),
            "invalid peer certificate",
        ),
        (&dns, "no certificate", None, "peer sent no certificates"),
        (&spiffe, "listed", Some(&workload), ""),
        (&spiffe, "unlisted", Some(&other), "is for `spiffe://"),
        (
            &spiffe,
            "only a DNS name",
            Some(&envoy),
            "is for `envoy.example`",
        ),
    ] {
        for version in [&TLS12, &TLS13] {
            let log = Log::start("warn");
            let (server, _issuer, good) = served(&files.server(more)).await;
            let client = authority.client_with(identity, &[version]);
            let asked = asks(server.check, client, &good).await;
            let version = version.version;
            if cause.is_empty() {
                assert_eq!(asked, Ok(true), "{more}: {what}: {version:?}");
                assert_eq!(failed(&server).await, 0);
            } else {
                assert!(asked.is_err(), "{more}: {what}: {version:?}: {asked:?}");
                let line = logged(&log, "bad connection").await;
                assert!(line.contains(cause), "{more}: {what}: {line}");
                assert!(failed(&server).await > 0);
            }
            server.stop().await;
        }
    }
}

/// Checks continue on connections that are open, and on new ones, while the certificate changes.
#[tokio::test]
async fn a_certificate_is_replaced_under_load() {
    let log = Log::start("info");
    let authority = Authority::new();
    let files = Files::new(&authority);
    let (server, _issuer, good) = served(&files.server("")).await;
    let client = authority.client(None);
    let first = presented(server.check, &client).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (old, new) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let load = |answered: &Arc<AtomicU64>, existing: Option<Channel>| {
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(answered));
        let (check, client, good) = (server.check, Arc::clone(&client), good.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let asked = match &existing {
                    Some(channel) => checks(channel, &good).await,
                    None => asks(check, Arc::clone(&client), &good).await,
                };
                assert_eq!(asked, Ok(true));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let existing = channel(server.check, Arc::clone(&client)).await.unwrap();
    let tasks = [
        load(&old, Some(existing)),
        load(&new, None),
        load(&new, None),
    ];

    let next = authority.identity(&["127.0.0.1", "check.example"]);
    files.put(&next);
    let line = logged(&log, RELOADED).await;
    assert!(
        line.contains("\"expires\":\"4096-01-01T00:00:00Z\""),
        "{line}"
    );
    let expected = CertificateDer::from_pem_slice(next.certificate.as_bytes()).unwrap();
    let second = presented(server.check, &client).await;
    assert_ne!(first, second);
    assert_eq!(second, expected);
    for answered in [&old, &new] {
        let before = answered.load(Ordering::Relaxed);
        assert!(before > 0);
        while answered.load(Ordering::Relaxed) < before + 10 {
            yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(failed(&server).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let log = Log::start("info");
    let authority = Authority::new();
    let files = Files::new(&authority);
    let (server, _issuer, good) = served(&files.server(&files.client_ca())).await;
    let envoy = authority.identity(&["envoy.example"]);
    let client = authority.client(Some(&envoy));
    let first = presented(server.check, &client).await;

    replace(&files.path("tls.crt"), "half a certificate");
    let line = logged(&log, REJECTED).await;
    let file = files.path("tls.crt").display().to_string();
    for part in ["ERROR", &file, "no certificate in PEM"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert_eq!(presented(server.check, &client).await, first);

    // The next change is the next attempt: each version is complained about once.
    files.put(&authority.identity(&["127.0.0.1"]));
    logged(&log, RELOADED).await;
    assert_eq!(log.lines(REJECTED).len(), 1);
    assert_ne!(presented(server.check, &client).await, first);

    // Authorities of clients change, too.
    log.take();
    let others = Authority::new();
    replace(&files.path("ca.crt"), &others.0.pem());
    logged(&log, RELOADED).await;
    let refused = asks(server.check, client, &good).await;
    assert!(refused.is_err(), "{refused:?}");
    let known = others.identity(&["envoy.example"]);
    let client = authority.client(Some(&known));
    assert_eq!(asks(server.check, client, &good).await, Ok(true));
    server.stop().await;
}

/// Clients that never finish the handshake delay nobody, and their connections make room.
#[tokio::test]
async fn an_unfinished_handshake_blocks_nobody() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let limited = format!("{}, max_connections: 4", files.server(""));
    let (server, _issuer, good) = served(&limited).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(server.check).await.unwrap());
        let client = authority.client(None);
        assert_eq!(asks(server.check, client, &good).await, Ok(true));
    }
    // The first of them is closed, although its handshake has time left.
    assert_eq!(silent[0].read(&mut [0]).await.unwrap(), 0);
    // Those that are left do not delay the end.
    server.stop().await;
}

/// What breaks a file, the further fields of `tls`, and two parts of the error.
type WrongFile = (
    fn(&Files, &Identity),
    fn(&Files) -> String,
    &'static str,
    &'static str,
);

#[tokio::test]
async fn wrong_files_at_start() {
    let authority = Authority::new();
    let other = authority.identity(&["127.0.0.1"]);
    let ca = |files: &Files| files.client_ca();
    let none = |_: &Files| String::new();
    let cases: [WrongFile; 7] = [
        (
            |files, _| std::fs::remove_file(files.path("tls.crt")).unwrap(),
            none,
            "server.tls.certificate` `DIR/tls.crt`: No such file",
            "relative ones begin at its directory",
        ),
        (
            |files, other| replace(&files.path("tls.crt"), &other.key),
            none,
            "server.tls.certificate` `DIR/tls.crt`: it contains no certificate in PEM",
            "-----BEGIN CERTIFICATE-----",
        ),
        (
            |files, other| replace(&files.path("tls.key"), &other.key),
            none,
            "server.tls.key` `DIR/tls.key`: it is not the key of the first certificate in \
             `DIR/tls.crt`",
            "the server's own certificate comes first",
        ),
        (
            |files, other| replace(&files.path("tls.key"), &other.certificate),
            none,
            "server.tls.key` `DIR/tls.key`: it contains no private key in PEM",
            "openssl pkey",
        ),
        (
            |files, _| replace(&files.path("ca.crt"), ""),
            ca,
            "server.tls.client_ca` `DIR/ca.crt`: it contains no certificate in PEM",
            "",
        ),
        (
            |files, _| {
                let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
                replace(&files.path("tls.crt"), broken);
            },
            none,
            "server.tls.certificate` `DIR/tls.crt`: its first certificate is broken",
            "",
        ),
        (
            |files, _| {
                std::fs::remove_file(files.path("tls.key")).unwrap();
                std::fs::create_dir(files.path("tls.key")).unwrap();
            },
            none,
            "server.tls.key` `DIR/tls.key`: is a directory",
            "Docker creates a directory",
        ),
    ];
    for (change, more, what, advice) in cases {
        let files = Files::new(&authority);
        change(&files, &other);
        let server = files.server(&more(&files));
        let config = format!(
            "server: {{ {server} }}\nproviders: [{{ issuer: 'http://127.0.0.1:1', audiences: a }}]"
        );
        let config = Config::from_yaml(&config).unwrap();
        let error = app::bind(config, Still::default()).await.unwrap_err();
        let error = error.to_string();
        let what = what.replace("DIR", files.0.path().to_str().unwrap());
        assert!(error.contains(&format!("cannot use `{what}")), "{error}");
        assert!(error.contains(advice), "{error}");
    }
}

#[tokio::test]
async fn validate_reads_the_files() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let config = files.path("claimgate.yaml");
    let yaml = format!(
        "server: {{ {} }}\nproviders: [{{ issuer: https://a.example, audiences: a }}]",
        files.server(&files.client_ca())
    );
    std::fs::write(&config, yaml).unwrap();
    let arguments = ["validate", config.to_str().unwrap()];
    let valid = run(&arguments, "").await;
    assert_eq!(valid.code, Some(0), "{}", valid.err);
    let line = "TLS certificate: expires 4096-01-01T00:00:00Z\n";
    assert!(valid.out.contains(line), "{}", valid.out);
    replace(
        &files.path("tls.key"),
        &authority.identity(&["127.0.0.1"]).key,
    );
    let wrong = run(&arguments, "").await;
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.err.contains("it is not the key of the first"),
        "{}",
        wrong.err
    );
}
