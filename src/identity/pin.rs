use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use subtle::ConstantTimeEq;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tls::sha256;
use crate::model::NodeId;
use crate::model::limits::CERTIFICATE_BYTES_MAX;

/// The one permitted peer, changeable while connections come and go. Clones share.
///
/// A change holds for every handshake that ends after it. Connections that are up already stay up: whoever takes a pin
/// away closes them.
#[derive(Clone, Debug)]
pub struct Pins {
    permitted: Arc<ArcSwapOption<NodeId>>,
}

impl Pins {
    /// Permits this node, or nobody.
    pub fn new(permitted: Option<NodeId>) -> Self {
        Self { permitted: Arc::new(ArcSwapOption::from_pointee(permitted)) }
    }

    /// Permits another node from now on, or nobody.
    pub fn set(&self, permitted: Option<NodeId>) {
        self.permitted.store(permitted.map(Arc::new));
    }

    /// Who is permitted.
    pub fn get(&self) -> Option<NodeId> {
        self.permitted.load().as_deref().copied()
    }
}

/// What a certificate shows of its owner. That the owner has the key is another matter: the handshake proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whose key it is.
    pub node: NodeId,
    /// Its end, seconds since 1970. Worth an alert when it comes near; see the top of this module.
    pub expires: i64,
}

impl Shown {
    /// Reads a certificate; `None` where it is none.
    ///
    /// rustls verifies the handshake's signature with the key that *its* parser finds. Were ours to find another one in
    /// the same bytes, the key that is pinned and the key that signed would differ; so both must agree.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return None;
        }
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        let key = parsed.tbs_certificate.subject_pki.raw;
        let theirs = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
        if !rest.is_empty() || theirs.as_ref() != key {
            return None;
        }
        Some(Self { node: NodeId(sha256(key)?), expires: parsed.validity().not_after.timestamp() })
    }
}

/// Whom one handshake permits.
#[derive(Clone, Debug)]
pub enum Permitted {
    /// The pinned peer, whoever that is when the certificate is shown.
    Pinned(Pins),
    /// This node and nobody else.
    Exactly(NodeId),
    /// Whoever proves to have the key they show. For enrolment, which then asks for more.
    Anyone,
}

impl Permitted {
    /// Whether it permits this node.
    pub fn permits(&self, node: &NodeId) -> bool {
        match self {
            Self::Pinned(pins) => pins.get().is_some_and(|pinned| same(&pinned, node)),
            Self::Exactly(expected) => same(expected, node),
            Self::Anyone => true,
        }
    }
}

fn same(one: &NodeId, other: &NodeId) -> bool {
    one.0.ct_eq(&other.0).into()
}

/// Judges the peer of one handshake, on either side, and remembers whom it saw.
#[derive(Debug)]
pub struct PeerVerifier {
    permitted: Permitted,
    algorithms: WebPkiSupportedAlgorithms,
    seen: OnceLock<Shown>,
}

impl PeerVerifier {
    /// For one handshake.
    pub fn new(permitted: Permitted, provider: &CryptoProvider) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { permitted, algorithms, seen: OnceLock::new() })
    }

    /// Whose certificate was shown, where one was.
    pub fn seen(&self) -> Option<Shown> {
        self.seen.get().copied()
    }

    /// Whether what the finished connection holds is what is permitted now.
    pub fn confirms(&self, shown: Option<Shown>) -> bool {
        shown.is_some_and(|shown| self.seen() == Some(shown) && self.permitted.permits(&shown.node))
    }

    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let shown = Shown::read(certificate).ok_or(CertificateError::BadEncoding)?;
        let seen = self.seen.get_or_init(|| shown);
        match *seen == shown && self.permitted.permits(&shown.node) {
            true => Ok(()),
            // The one error that rustls tells the peer as `access_denied`.
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

/// How either side verifies the handshake's signature: rustls asks the same in two traits.
macro_rules! verifies_signatures {
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
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
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
        self.judge(end_entity).map(|()| ServerCertVerified::assertion())
    }

    verifies_signatures!();
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
        self.judge(end_entity).map(|()| ClientCertVerified::assertion())
    }

    verifies_signatures!();
}
