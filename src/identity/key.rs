//! A node's key and certificate.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificate::PeerCertificate;
use super::provider::default_provider;
use crate::model::limits::CERTIFICATE_LIFE;
use crate::model::{KeyId, NodeId};

/// 2026-01-01, in seconds since 1970. A clock that shows an earlier time was never set. A certificate that is made under
/// such a clock is dated from here, so that it has not expired once the clock is right.
const CLOCK_FLOOR_S: u64 = 1_767_225_600;

/// Begins the line of an identity's text that names the node. It is there only where the key is not the node's first one.
const NODE_LINE: &str = "shadowpair node: ";

/// A node's key and self-signed certificate. The key is an ECDSA key on P-256, which every TLS stack, both providers and
/// their certified builds support. Clones share.
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    key_id: KeyId,
    expires: i64,
    key: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
    pem: Zeroizing<String>,
}

/// The node's identity could not be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The key or the certificate could not be made. Nothing was stored.
    #[error("the node's key or certificate could not be made: {0}")]
    Generate(String),
    /// The stored key or certificate is damaged, or they do not belong together. Nothing was changed. Restore the file from a
    /// backup. A node with a new key must be enrolled again.
    #[error("the node's key or certificate is damaged: {0}")]
    Corrupt(String),
    /// The cryptography provider lacks TLS 1.3 or cannot use the key. Nothing was changed. Choose another provider.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
}

impl Identity {
    /// Makes a new key and certificate, in memory. The certificate ends after [`CERTIFICATE_LIFE`]; see "Expired
    /// certificates" in [`crate::identity`].
    ///
    /// # Errors
    /// [`IdentityError::Generate`] if the system has no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        Self::make(None)
    }

    /// Makes the next key and certificate of the same node, in memory.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] if the system has no randomness.
    pub fn renew(&self) -> Result<Self, IdentityError> {
        Self::make(Some(self.node()))
    }

    fn make(node: Option<NodeId>) -> Result<Self, IdentityError> {
        let failed = |error: rcgen::Error| IdentityError::Generate(error.to_string());
        let key = Zeroizing::new(KeyPair::generate().map_err(failed)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let certificate = certificate_params(now).self_signed(&*key).map_err(failed)?;
        // The buffer is large enough from the start: a buffer that grows leaves a copy of the key in freed memory.
        let (key_pem, certificate_pem) = (Zeroizing::new(key.serialize_pem()), certificate.pem());
        let node_line = node.map(|node| format!("{NODE_LINE}{node}\n")).unwrap_or_default();
        let mut pem = Zeroizing::new(String::with_capacity(node_line.len() + key_pem.len() + certificate_pem.len()));
        pem.push_str(&node_line);
        pem.push_str(&key_pem);
        pem.push_str(&certificate_pem);
        let der = Zeroizing::new(key.serialize_der());
        Self::new(node, der, certificate.der().clone(), pem).map_err(IdentityError::Generate)
    }

    /// Reads what [`Identity::to_pem`] wrote: one key (PKCS #8) and its certificate, after a line that names the node where the key is
    /// not its first one.
    ///
    /// # Errors
    /// [`IdentityError::Corrupt`] if either is missing, doubled or damaged, or if they do not belong together.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let corrupt = |reason: &str| IdentityError::Corrupt(reason.into());
        let node = match pem.lines().next().and_then(|line| line.strip_prefix(NODE_LINE)) {
            Some(hex) => Some(NodeId::parse(hex.trim()).ok_or_else(|| corrupt("the node's id is damaged"))?),
            None => None,
        };
        let (mut key, mut certificate) = (None, None);
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
            // The error must not quote the text, which may contain the key.
            let (kind, der) = section.map_err(|_| corrupt("the text is not PEM"))?;
            let doubled = match kind {
                SectionKind::PrivateKey => key.replace(Zeroizing::new(der)).is_some(),
                SectionKind::Certificate => certificate.replace(der).is_some(),
                _ => return Err(corrupt("there is something beside the key and the certificate")),
            };
            if doubled {
                return Err(corrupt("there is more than one key or certificate"));
            }
        }
        let key = key.ok_or_else(|| corrupt("there is no key"))?;
        let certificate = certificate.ok_or_else(|| corrupt("there is no certificate"))?;
        Self::new(node, key, certificate.into(), Zeroizing::new(pem.into())).map_err(IdentityError::Corrupt)
    }

    /// The key and the certificate as text. It is secret: store it in a file of mode 0600.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.shared.pem.clone()
    }

    /// The node: the SHA-256 of its first public key (SPKI).
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// The fingerprint of the key: the SHA-256 of the public key (SPKI).
    pub fn key_id(&self) -> KeyId {
        self.shared.key_id
    }

    /// End of the certificate, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.shared.expires
    }

    /// The key and the certificate in the form of rustls, with the key loaded by this provider.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, IdentityError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.shared.key.to_vec()));
        let certificate = vec![self.shared.certificate.clone()];
        CertifiedKey::from_der(certificate, key, provider).map_err(|error| IdentityError::Tls(error.to_string()))
    }

    /// Checks that the key can be used and that the certificate belongs to it. Without a node it is the node's first key.
    fn new(
        node: Option<NodeId>,
        key: Zeroizing<Vec<u8>>,
        certificate: CertificateDer<'static>,
        pem: Zeroizing<String>,
    ) -> Result<Self, String> {
        let PeerCertificate { key: key_id, expires } =
            PeerCertificate::read(&certificate).ok_or("the certificate cannot be read")?;
        let node = node.unwrap_or_else(|| key_id.first_of());
        let identity = Self { shared: Arc::new(Shared { node, key_id, expires, key, certificate, pem }) };
        identity.certified(&default_provider()).map_err(|error| error.to_string())?;
        Ok(identity)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.shared.node)
    }
}

fn certificate_params(now: Duration) -> CertificateParams {
    // The default beginning is far in the past. A later one would protect nothing, and the clocks of peers differ.
    let mut params = CertificateParams::default();
    let made = now.max(Duration::from_secs(CLOCK_FLOOR_S));
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + made + CERTIFICATE_LIFE;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "shadowpair node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
