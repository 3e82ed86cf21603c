//! Checks the identity of the server of an encrypted connection by its certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The certificates that are trusted.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Any certificate: the connection is encrypted, and the server's identity is unknown.
    Anybody,
    /// Certificates that these roots have signed, or the roots themselves.
    Roots(Roots, NameCheck),
}

/// Whether a trusted certificate must also be issued for the host that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameCheck {
    Ignored,
    Demanded,
}

/// Certificates that sign others.
#[derive(Debug)]
pub(crate) struct Roots {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Takes the readable certificates, and returns how many were taken.
    pub(crate) fn new(certificates: Vec<CertificateDer<'static>>) -> (Self, usize) {
        let mut store = RootCertStore::empty();
        let (count, _) = store.add_parsable_certificates(certificates.iter().cloned());
        let roots = Self {
            store,
            certificates,
        };
        (roots, count)
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.store,
            intermediates,
            now,
            algorithms.all,
        );
        match checked {
            // A self-signed certificate is often marked as one that can sign others, and given as
            // its own root. Its validity period was checked before this error occurs.
            Err(error) if signs_others(&error) && self.has(certificate) => Ok(()),
            other => other,
        }
    }

    fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|root| root == certificate)
    }
}

fn signs_others(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let found = other.0.downcast_ref::<webpki::Error>();
    found == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Checks certificates of servers.
#[derive(Debug)]
pub(crate) struct ServerCheck {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCheck {
    pub(crate) fn new(trust: Trust, algorithms: WebPkiSupportedAlgorithms) -> Arc<Self> {
        Arc::new(Self { trust, algorithms })
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Trust::Roots(roots, names) = &self.trust {
            roots.check(certificate, intermediates, now, &self.algorithms)?;
            if *names == NameCheck::Demanded {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, server)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
