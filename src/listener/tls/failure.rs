//! Explains failed handshakes: the cause, and what to change in Envoy or in claimgate.

use std::io;

use rustls::{CertificateError, Error};

use super::Protects;
use super::clients::Unlisted;
use crate::http2::handshake::HandshakeError;

/// The cause of a failed handshake.
pub(super) fn explain(error: &io::Error, protects: Protects) -> HandshakeError {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => HandshakeError::Refused {
            cause: cause(error),
            advice: match protects {
                Protects::Check => advice(error),
                Protects::Admin => admin_advice(error),
            },
        },
        // The client has disconnected, for example after a probe of the port.
        None => HandshakeError::Left,
    }
}

fn cause(error: &Error) -> String {
    match unlisted(error) {
        Some(unlisted) => unlisted.to_string(),
        None => error.to_string(),
    }
}

fn unlisted(error: &Error) -> Option<&Unlisted> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

fn advice(error: &Error) -> &'static str {
    use CertificateError as Certificate;
    match error {
        Error::InvalidMessage(_) => {
            "the client does not speak TLS: in Envoy, set `transport_socket` with an \
             `UpstreamTlsContext` in the cluster"
        }
        Error::NoCertificatesPresented => {
            "`server.tls.client_ca` requires a client certificate: in Envoy, set \
             `tls_certificates` in the cluster's `common_tls_context`"
        }
        // A bad signature means that another authority has the same name but a different key.
        Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "no authority in `server.tls.client_ca` has signed the client's certificate, or Envoy \
             omits an intermediate certificate"
        }
        Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => "renew the client's certificate, or correct this machine's clock",
        Error::InvalidCertificate(
            Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. },
        ) => "the client's certificate must be for client authentication (`clientAuth`)",
        Error::InvalidCertificate(Certificate::Other(_)) if unlisted(error).is_some() => {
            "add one of its names to `server.tls.allowed_clients`, or give Envoy another \
             certificate"
        }
        Error::AlertReceived(_) => {
            "the client refuses the server: in Envoy's `validation_context`, `trusted_ca` must \
             contain the authority that signed `server.tls.certificate`, and \
             `match_typed_subject_alt_names` must name a name in it"
        }
        Error::NoApplicationProtocol => {
            "the client must offer HTTP/2: in Envoy, set `http2_protocol_options`"
        }
        Error::PeerIncompatible(_) => "the client must support TLS 1.2 or 1.3",
        _ => "see docs/operations.md#tls",
    }
}

fn admin_advice(error: &Error) -> &'static str {
    use CertificateError as Certificate;
    match error {
        Error::InvalidMessage(_) => "the client does not speak TLS: use `https://`",
        Error::NoCertificatesPresented => {
            "`admin.tls.client_ca` requires a client certificate, of probes and of Prometheus too"
        }
        Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "no authority in `admin.tls.client_ca` has signed the client's certificate"
        }
        Error::InvalidCertificate(Certificate::Other(_)) if unlisted(error).is_some() => {
            "add one of its names to `admin.tls.allowed_clients`"
        }
        Error::AlertReceived(_) => {
            "the client refuses the server: it must trust the authority that signed \
             `admin.tls.certificate`, and use a name in it"
        }
        _ => "see docs/operations.md#admin",
    }
}
