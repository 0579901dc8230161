//! Certificates for mutual TLS between Envoy and claimgate, as docs/operations.md shows it. The soak uses
//! them too.

use std::fs;
use std::path::{Path, PathBuf};

use claimgate::dev::envoy::EXAMPLE;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use tempfile::TempDir;

/// The name in Envoy's certificate.
const ENVOY: &str = "spiffe://example.org/ns/edge/sa/envoy";

/// An authority, and the files of both sides.
pub struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Certificates {
    pub fn create() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificates = Self {
            authority,
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(certificates.at("ca.crt"), certificates.authority.pem()).unwrap();
        certificates.rotate();
        let name = SanType::URI(ENVOY.try_into().unwrap());
        certificates.write(name, ["tls.crt", "tls.key"]);
        certificates
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Replaces the server's certificate and its key.
    pub fn rotate(&self) {
        let name = SanType::DnsName("claimgate".try_into().unwrap());
        self.write(name, ["server.crt", "server.key"]);
    }

    fn write(&self, name: SanType, [certificate, key]: [&str; 2]) {
        let own = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = vec![name];
        // A certificate with the authority's name would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "server");
        let signed = params.signed_by(&own, &self.authority).unwrap();
        fs::write(self.at(key), own.serialize_pem()).unwrap();
        fs::write(self.at(certificate), signed.pem()).unwrap();
    }

    /// The section `server` of claimgate's configuration, with further settings in it.
    pub fn server(&self, more: &str) -> String {
        let here = self.directory().display();
        format!(
            "server:\n  drain: 0s\n  {more}\n  tls:\n    certificate: {here}/server.crt\n    \
             key: {here}/server.key\n    client_ca: {here}/ca.crt\n    allowed_clients: [\"{ENVOY}\"]\n"
        )
    }

    /// The example configuration of Envoy, with the `transport_socket` of docs/operations.md.
    pub fn envoy(&self) -> String {
        let place = "      # If claimgate has `server.tls`, put the `transport_socket` of docs/operations.md#tls here.\n";
        assert_eq!(EXAMPLE.matches(place).count(), 1);
        EXAMPLE.replace(place, &transport_socket(self.directory()))
    }
}

/// The `transport_socket` of docs/operations.md, with Envoy's files in `directory`.
fn transport_socket(directory: &Path) -> String {
    let document = include_str!("../../docs/operations.md");
    let (_, after) = document
        .split_once("Envoy's cluster then needs a `transport_socket`:\n\n```yaml\n")
        .unwrap();
    let (block, _) = after.split_once("```").unwrap();
    let block = block.replace("/etc/envoy", &directory.display().to_string());
    let lines = block.lines().map(|line| format!("      {line}\n"));
    lines.collect()
}
