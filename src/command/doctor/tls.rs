//! TLS to the gateway. Certificates are always verified.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::probe::Protocol;
use crate::command::Failure;
use crate::jwks;

/// Whom to trust.
pub(super) struct Tls(ClientConfig);

impl Tls {
    /// Trusts the certificates in this file, or else those of the system.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be used.
    pub(super) fn trusting(ca_file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = ca_file else {
            return Ok(Self(jwks::trust::system()?));
        };
        let shown = file.display();
        let bundle = std::fs::read(file)
            .map_err(|error| format!("--ca-file: cannot read `{shown}`: {error}"))?;
        let config = jwks::trust::only(&bundle)
            .map_err(|error| format!("--ca-file: cannot use `{shown}`: {error}"))?;
        Ok(Self(config))
    }

    /// `None` if the gateway does not offer HTTP/2 and the request needs it.
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

/// Whether the server refused the connection because it knows none of the offered protocols
/// (RFC 7301 §3.2).
fn refuses_alpn(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(
            rustls::AlertDescription::NoApplicationProtocol
        ))
    )
}
