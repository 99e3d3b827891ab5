//! What both ends of a connection share: its byte stream, and why it was refused.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error};

use super::pin::PeerVerifier;
use crate::model::KeyId;

/// Text of [`Refused::Unproven`] if the other side does not answer the protocol that was asked for.
pub(super) const NO_PROTOCOL: &str = "it does not speak this protocol now";

/// A byte stream.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

/// One side refused the connection, or it broke. It is closed, and nothing else happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// This node refused the other side: it showed no permitted certificate, or spoke another protocol. On a listener this
    /// deserves an alert.
    #[error("{0}")]
    Unpermitted(Unpermitted),
    /// The other side refused this node, having proved that it has the permitted key. If this node should be its peer, enrol
    /// it again.
    #[error("the peer refuses this node: {0}")]
    ByPeer(String),
    /// The other side refused this node before it proved that it has the permitted key. Anybody who can answer at the peer's
    /// address can say so: it says nothing about the peer.
    #[error("the connection was refused by somebody who did not prove to be the peer: {0}")]
    Unproven(String),
    /// The connection broke before either side refused the other.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
}

/// Why this node refused the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpermitted {
    /// Why, for people: what was shown.
    pub reason: String,
    /// The key of the certificate that was shown, where it was a node's.
    pub shown: Option<KeyId>,
}

impl<T: Into<String>> From<T> for Unpermitted {
    /// No certificate of a node was shown.
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), shown: None }
    }
}

impl fmt::Display for Unpermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refused {
    /// The failure of a handshake, by who refused whom. `verifier` judged what the other side showed, if it showed anything.
    pub(super) fn of_handshake(error: io::Error, verifier: &PeerVerifier) -> Self {
        let certificate = verifier.seen();
        let refusal = match tls_error(&error) {
            None => return Self::Broken(error),
            Some(Error::AlertReceived(alert)) if verifier.is_proved() => return Self::ByPeer(reason_of(*alert)),
            Some(Error::AlertReceived(alert)) => return Self::Unproven(reason_of(*alert)),
            Some(Error::NoCertificatesPresented) => "no certificate".into(),
            Some(Error::InvalidCertificate(error)) => match certificate {
                Some(shown) if *error == CertificateError::BadSignature => {
                    let reason = format!("the certificate of node {}, without its key", shown.key);
                    Unpermitted { reason, shown: Some(shown.key) }
                }
                Some(shown) => return Self::not_permitted(shown.key),
                None => "a certificate that cannot be read".into(),
            },
            Some(Error::PeerIncompatible(_)) => format!("no TLS that both speak: {error}").into(),
            Some(Error::InvalidMessage(_)) => "something that is not TLS".into(),
            Some(error) => format!("broken TLS: {error}").into(),
        };
        Self::Unpermitted(refusal)
    }

    /// This node refused a node that is not permitted.
    pub(super) fn not_permitted(key: KeyId) -> Self {
        let reason = format!("the certificate of node {key}, which is not permitted");
        Self::Unpermitted(Unpermitted { reason, shown: Some(key) })
    }

    /// TLS failed on this side.
    pub(super) fn broken(error: Error) -> Self {
        Self::Broken(io::Error::other(error))
    }
}

/// Whether a read error on an established link means that the peer refused this node.
pub fn refused_by_peer(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(Error::AlertReceived(alert)) if is_refusal(*alert))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether an alert refuses this node, rather than reports a failure.
fn is_refusal(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateRequired
            | AlertDescription::NoApplicationProtocol
            | AlertDescription::ProtocolVersion
    )
}

fn reason_of(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::AccessDenied => "its certificate is not permitted there".into(),
        AlertDescription::CertificateRequired => "it showed no certificate".into(),
        AlertDescription::NoApplicationProtocol => NO_PROTOCOL.into(),
        other => format!("TLS alert {other:?}"),
    }
}
