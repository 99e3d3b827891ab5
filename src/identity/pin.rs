//! Which peer a handshake permits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use subtle::ConstantTimeEq;

use super::certificate::PeerCertificate;
use crate::model::{KeyId, PinnedKeys};

/// The one permitted peer, by its keys. Clones share.
///
/// A change applies to every handshake that ends after it. Established connections stay open; whoever removes a pin must
/// close them.
#[derive(Clone, Debug)]
pub struct Pins {
    permitted: Arc<ArcSwapOption<PinnedKeys>>,
}

impl Pins {
    /// Permits the node with these keys, or no node.
    pub fn new(permitted: Option<PinnedKeys>) -> Self {
        Self { permitted: Arc::new(ArcSwapOption::from_pointee(permitted)) }
    }

    /// From now on permits the node with these keys, or no node.
    pub fn set(&self, permitted: Option<PinnedKeys>) {
        self.permitted.store(permitted.map(Arc::new));
    }

    /// The permitted keys.
    pub fn get(&self) -> Option<PinnedKeys> {
        self.permitted.load().as_deref().copied()
    }

    /// Whether a node with this key is permitted now.
    pub fn permit(&self, key: &KeyId) -> bool {
        self.get().is_some_and(|pinned| is_one_of(&pinned, key))
    }
}

/// Which nodes a handshake permits.
#[derive(Clone, Debug)]
pub enum Permitted {
    /// The node that is pinned at the moment it shows its certificate.
    Pinned(Pins),
    /// Only a node with this key.
    Exactly(KeyId),
    /// Every node that proves to have the key it shows. Enrolment permits it, and asks for a secret afterwards.
    Anyone,
}

impl Permitted {
    /// Whether a node with this key is permitted.
    pub fn permits(&self, key: &KeyId) -> bool {
        match self {
            Self::Pinned(pins) => pins.permit(key),
            Self::Exactly(expected) => same(expected, key),
            Self::Anyone => true,
        }
    }
}

/// Both comparisons are made, whatever the first one says.
fn is_one_of(pinned: &PinnedKeys, key: &KeyId) -> bool {
    let next = pinned.next.is_some_and(|next| same(&next, key));
    same(&pinned.current, key) | next
}

fn same(one: &KeyId, other: &KeyId) -> bool {
    one.0.ct_eq(&other.0).into()
}

/// Verifies the peer of one handshake, on either side, and remembers the certificate that it saw.
#[derive(Debug)]
pub struct PeerVerifier {
    permitted: Permitted,
    algorithms: WebPkiSupportedAlgorithms,
    seen: OnceLock<PeerCertificate>,
    proved: AtomicBool,
}

impl PeerVerifier {
    /// A verifier for one handshake.
    pub fn new(permitted: Permitted, provider: &CryptoProvider) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { permitted, algorithms, seen: OnceLock::new(), proved: AtomicBool::new(false) })
    }

    /// The certificate that the peer showed, if it showed one.
    pub fn seen(&self) -> Option<PeerCertificate> {
        self.seen.get().copied()
    }

    /// Whether the peer has signed this handshake with the key of the permitted certificate that it showed. Until then it may
    /// be anybody: a certificate is no secret.
    pub fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// Whether the certificate of the finished connection is the verified one, and its key is still permitted.
    pub fn confirms(&self, shown: PeerCertificate) -> bool {
        self.seen() == Some(shown) && self.permitted.permits(&shown.key)
    }

    fn verify(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let shown = PeerCertificate::read(certificate).ok_or(CertificateError::BadEncoding)?;
        let seen = self.seen.get_or_init(|| shown);
        match *seen == shown && self.permitted.permits(&shown.key) {
            true => Ok(()),
            // rustls reports this error, and no other, to the peer as `access_denied`.
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

/// The signature checks of a verifier. rustls asks for the same methods in two traits, one per side. This is their one
/// implementation.
macro_rules! signature_checks {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let verified = verify_tls13_signature(message, certificate, signature, &self.algorithms)?;
            self.proved.store(true, Ordering::Relaxed);
            Ok(verified)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity).map(|()| ServerCertVerified::assertion())
    }

    signature_checks!();
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity).map(|()| ClientCertVerified::assertion())
    }

    signature_checks!();
}
