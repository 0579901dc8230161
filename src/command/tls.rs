//! TLS to a server. Its certificate is always verified.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use crate::gate::causes;
use crate::jwks;
use crate::listener::tls::identity::{self, IdentityError};

/// The protocol inside TLS (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Whom to trust, and who asks.
#[derive(Args, Debug)]
pub(super) struct TlsArguments {
    /// Trust only the certificates in this file (PEM), instead of those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// The certificate to present to the server (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// The key of the certificate in --client-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl TlsArguments {
    /// A flag that is of no use without TLS.
    fn first_flag(&self) -> Option<&'static str> {
        let Self {
            ca_file,
            client_cert,
            client_key,
        } = self;
        let flags = [
            ("--ca-file", ca_file),
            ("--client-cert", client_cert),
            ("--client-key", client_key),
        ];
        let mut given = flags.iter().filter(|(_, file)| file.is_some());
        given.next().map(|(flag, _)| *flag)
    }

    /// TLS, if the server's URL is `https`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be used, or is given without need.
    pub(super) fn load(&self, is_https: bool) -> Result<Option<Tls>, Failure> {
        match (is_https, self.first_flag()) {
            (false, Some(flag)) => Err(format!("{flag}: the URL is not `https`").into()),
            (false, None) => Ok(None),
            (true, _) => Tls::new(self).map(Some),
        }
    }
}

pub(super) struct Tls(ClientConfig);

impl Tls {
    fn new(arguments: &TlsArguments) -> Result<Self, Failure> {
        let TlsArguments {
            ca_file,
            client_cert,
            client_key,
        } = arguments;
        let mut config = match ca_file {
            None => jwks::trust::system()?,
            Some(file) => jwks::trust::only(&contents("--ca-file", file)?)
                .map_err(|why| unusable("--ca-file", file, &why))?,
        };
        if let (Some(certificate), Some(key)) = (client_cert, client_key) {
            let own = identity::from_pem(
                &contents("--client-cert", certificate)?,
                &contents("--client-key", key)?,
                &aws_lc_rs::default_provider(),
            );
            let own = own.map_err(|error| match error {
                IdentityError::Certificate(why) => unusable("--client-cert", certificate, &why),
                IdentityError::Key(why) => unusable("--client-key", key, &why),
                IdentityError::OtherKey => {
                    let why = "it is not the key of the first certificate in --client-cert";
                    unusable("--client-key", key, why)
                }
            })?;
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(own));
        }
        Ok(Self(config))
    }

    /// `None` if the server does not offer HTTP/2 and the request needs it.
    ///
    /// # Errors
    ///
    /// Fails if the handshake does.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
        protocol: Protocol,
    ) -> std::io::Result<Option<TlsStream<TcpStream>>> {
        let mut config = self.0.clone();
        let wanted: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        config.alpn_protocols = vec![wanted.to_vec()];
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = match connector.connect(name, stream).await {
            Err(error) if protocol == Protocol::Http2 && refuses_alpn(&error) => return Ok(None),
            connected => connected?,
        };
        let (_, session) = stream.get_ref();
        let is_agreed = session.alpn_protocol() == Some(wanted);
        Ok((protocol == Protocol::Http1 || is_agreed).then_some(stream))
    }
}

/// What to do about a failed handshake, if anything is known.
pub(super) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    match causes::find(error)? {
        // An authority of the same name with another key makes the signature a wrong one.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some("give the authority of the server's certificate with --ca-file"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("ask by a name that the server's certificate has"),
        rustls::Error::InvalidMessage(_) => Some("the server does not speak TLS: ask `http://`"),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Some("the server wants a client certificate: give --client-cert and --client-key")
        }
        rustls::Error::AlertReceived(_) => Some("the server refuses this client; its log says why"),
        _ => None,
    }
}

/// Whether the server refused the connection because it knows none of the offered protocols
/// (RFC 7301 §3.2).
fn refuses_alpn(error: &(dyn Error + 'static)) -> bool {
    let refusal = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    causes::find(error) == Some(&refusal)
}

fn contents(flag: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    let read = std::fs::read(file);
    read.map_err(|error| format!("{flag}: cannot read `{}`: {error}", file.display()).into())
}

fn unusable(flag: &str, file: &Path, why: &str) -> Failure {
    format!("{flag}: cannot use `{}`: {why}", file.display()).into()
}
