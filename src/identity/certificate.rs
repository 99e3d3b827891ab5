//! Reads certificates.

use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::provider::sha256;
use crate::model::KeyId;
use crate::model::limits::CERTIFICATE_BYTES_MAX;

/// What a certificate says of its owner. It does not prove that the owner has the key: only the handshake does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The fingerprint of the owner's key.
    pub key: KeyId,
    /// End of the certificate, in seconds since 1970. See "Expired certificates" in [`crate::identity`].
    pub expires: i64,
}

impl PeerCertificate {
    /// Reads a certificate. `None` if it is not a valid one.
    ///
    /// rustls verifies the signature of the handshake with the key that *its* parser finds. If another parser found
    /// another key in the same bytes, the pinned key and the signing key would differ. So both parsers must agree.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return None;
        }
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        let key = parsed.tbs_certificate.subject_pki.raw;
        let key_of_rustls = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
        if !rest.is_empty() || key_of_rustls.as_ref() != key {
            return None;
        }
        Some(Self { key: KeyId(sha256(key)?), expires: parsed.validity().not_after.timestamp() })
    }

    /// The certificate of the other end of an established connection.
    pub fn of_peer(connection: &CommonState) -> Option<Self> {
        Self::read(connection.peer_certificates()?.first()?)
    }
}
