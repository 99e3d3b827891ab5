use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::pin::Shown;
use super::tls::default_provider;
use crate::model::NodeId;
use crate::model::limits::CERTIFICATE_LIFE;

/// A clock that shows less was never set: 2026-01-01, seconds since 1970. A certificate made under it is dated as if
/// made then, so that it has not expired once the clock is right.
const CLOCK_FLOOR_S: u64 = 1_767_225_600;

/// A node's key and self-signed certificate: ECDSA on P-256, which every TLS stack, both providers and their certified
/// builds know. Clones share.
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    expires: i64,
    key: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
    pem: Zeroizing<String>,
}

/// Why there is no identity or no TLS with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Key or certificate could not be made. Nothing was stored.
    #[error("could not make key or certificate: {0}")]
    Generate(String),
    /// Key or certificate as stored is damaged, or they do not belong together. Restore the file from a backup; a node
    /// with a new key must be enrolled again.
    #[error("the node's key or certificate is damaged: {0}")]
    Corrupt(String),
    /// The cryptography refused its configuration: it lacks TLS 1.3, or cannot use this key.
    #[error("TLS configuration: {0}")]
    Tls(String),
}

impl Identity {
    /// A new key and certificate, in memory. The certificate ends in [`CERTIFICATE_LIFE`]; what that means is said at
    /// the top of this module.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] where the system has no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let failed = |error: rcgen::Error| IdentityError::Generate(error.to_string());
        let key = Zeroizing::new(KeyPair::generate().map_err(failed)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let certificate = certificate_params(now).self_signed(&*key).map_err(failed)?;
        // Joined in a buffer that is large enough: one that grew would leave the key behind where it was.
        let (key_pem, certificate_pem) = (Zeroizing::new(key.serialize_pem()), certificate.pem());
        let mut pem = Zeroizing::new(String::with_capacity(key_pem.len() + certificate_pem.len()));
        pem.push_str(&key_pem);
        pem.push_str(&certificate_pem);
        let der = Zeroizing::new(key.serialize_der());
        Self::of(der, certificate.der().clone(), pem).map_err(IdentityError::Generate)
    }

    /// Reads what [`Identity::to_pem`] wrote: one key (PKCS #8) and one certificate of it.
    ///
    /// # Errors
    /// [`IdentityError::Corrupt`] where either is missing, doubled or damaged, or they do not belong together.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let corrupt = |reason: &str| IdentityError::Corrupt(reason.into());
        let (mut key, mut certificate) = (None, None);
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
            // What is wrong with the text is not repeated: it may hold the key.
            let (kind, der) = section.map_err(|_| corrupt("the text is not PEM"))?;
            let doubled = match kind {
                SectionKind::PrivateKey => key.replace(Zeroizing::new(der)).is_some(),
                SectionKind::Certificate => certificate.replace(der).is_some(),
                _ => return Err(corrupt("there is something beside key and certificate")),
            };
            if doubled {
                return Err(corrupt("there is more than one key or certificate"));
            }
        }
        let key = key.ok_or_else(|| corrupt("there is no key"))?;
        let certificate = certificate.ok_or_else(|| corrupt("there is no certificate"))?;
        Self::of(key, certificate.into(), Zeroizing::new(pem.into())).map_err(IdentityError::Corrupt)
    }

    /// Key and certificate as text. Secret: belongs into a file of mode 0600.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.shared.pem.clone()
    }

    /// SHA-256 of the public key (SPKI).
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// End of the certificate, seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.shared.expires
    }

    /// Key and certificate as rustls wants them, the key in the hands of this provider.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, IdentityError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.shared.key.to_vec()));
        let certificate = vec![self.shared.certificate.clone()];
        CertifiedKey::from_der(certificate, key, provider).map_err(|error| IdentityError::Tls(error.to_string()))
    }

    /// Checks that the key can be used and that the certificate is of this key.
    fn of(
        key: Zeroizing<Vec<u8>>,
        certificate: CertificateDer<'static>,
        pem: Zeroizing<String>,
    ) -> Result<Self, String> {
        let Shown { node, expires } = Shown::read(&certificate).ok_or("the certificate cannot be read")?;
        let identity = Self { shared: Arc::new(Shared { node, expires, key, certificate, pem }) };
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
    // The beginning lies far back: it protects nothing, and peers' clocks differ.
    let mut params = CertificateParams::default();
    let made = now.max(Duration::from_secs(CLOCK_FLOOR_S));
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + made + CERTIFICATE_LIFE;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "shadowpair node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
