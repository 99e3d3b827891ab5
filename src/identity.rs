//! Keys, certificates, pins, enrolment and the rustls verifiers.

use std::sync::Arc;

use crate::model::{NodeId, PairId};

/// ALPN name of the link between two enrolled nodes.
pub const ALPN_LINK: &[u8] = b"shadowpair/1";
/// ALPN name of the enrolment protocol.
pub const ALPN_ENROL: &[u8] = b"shadowpair-enrol/1";

/// A node's key and self-signed certificate.
#[derive(Clone)]
pub struct Identity {}

/// The one permitted peer, changeable while connections come and go.
#[derive(Clone)]
pub struct Pins {}

/// What a shadow needs to enrol, once: the master's key fingerprint and 128 secret bits. `Display` and `FromStr` are its text form
/// (`sp1-` and letters); `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {}

/// Why there is no identity or no secure connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Key or certificate could not be made.
    #[error("could not make key or certificate: {0}")]
    Generate(String),
    /// Key or certificate as stored is damaged.
    #[error("the node's key or certificate is damaged: {0}")]
    Corrupt(String),
    /// The cryptography refused its configuration.
    #[error("TLS configuration: {0}")]
    Tls(String),
}

impl Identity {
    /// A new key and certificate, in memory.
    pub fn generate() -> Result<Self, IdentityError> {
        todo!()
    }

    /// Reads what [`Identity::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let _ = pem;
        todo!()
    }

    /// Key and certificate as text. Secret: belongs into a file of mode 0600.
    pub fn to_pem(&self) -> zeroize::Zeroizing<String> {
        todo!()
    }

    /// SHA-256 of the public key.
    pub fn node(&self) -> NodeId {
        todo!()
    }

    /// End of the certificate, seconds since 1970.
    pub fn expires(&self) -> i64 {
        todo!()
    }
}

impl Pins {
    /// Permits this node, or nobody.
    pub fn new(permitted: Option<NodeId>) -> Self {
        let _ = permitted;
        todo!()
    }

    /// Permits another node from now on, or nobody.
    pub fn set(&self, permitted: Option<NodeId>) {
        let _ = permitted;
        todo!()
    }

    /// Who is permitted.
    pub fn get(&self) -> Option<NodeId> {
        todo!()
    }
}

/// TLS for one node: TLS 1.3 only, no resumption, the peer pinned inside the handshake.
#[derive(Clone)]
pub struct Tls {}

/// The default provider of this build (aws-lc-rs where it is built in, else ring).
pub fn default_provider() -> Arc<rustls::crypto::CryptoProvider> {
    todo!()
}

impl Tls {
    /// For this identity and these pins.
    pub fn new(
        identity: &Identity,
        pins: Pins,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let _ = (identity, pins, provider);
        todo!()
    }

    /// Accepts a connection. `enrol_open`: whether the enrolment protocol is answered now. Not bounded in time: the caller does that.
    pub async fn accept<S: Stream>(&self, stream: S, enrol_open: bool) -> Result<Accepted<S>, Refused> {
        let _ = (stream, enrol_open);
        todo!()
    }

    /// Dials the pinned peer. A server that refuses our certificate is found out here too where it says so at once; else by
    /// [`refused_by_peer`] on the first read error.
    pub async fn connect<S: Stream>(&self, stream: S) -> Result<tokio_rustls::client::TlsStream<S>, Refused> {
        let _ = stream;
        todo!()
    }

    /// Asks the master whose key the token names to enrol this node. Once it returns, the caller makes the pairing durable and then
    /// calls [`Enrolling::confirm`].
    pub async fn enrol<S: Stream>(
        &self,
        stream: S,
        token: &JoinToken,
        request: &EnrolRequest,
    ) -> Result<Enrolling<S>, EnrolError> {
        let _ = (stream, token, request);
        todo!()
    }
}

/// An enrolment that the master has accepted and nobody has stored yet.
pub struct Enrolling<S> {
    #[allow(dead_code)]
    stream: S,
}

impl<S: Stream> Enrolling<S> {
    /// What the master says.
    pub fn enrolled(&self) -> &Enrolled {
        todo!()
    }

    /// Says that it is stored here, and returns when it is stored there. An enrolment with the same token and key is answered alike when
    /// the answer was lost, so the caller may try again.
    pub async fn confirm(self) -> Result<(), EnrolError> {
        todo!()
    }
}

/// A byte stream.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

/// Who was accepted.
pub enum Accepted<S> {
    /// The pinned peer.
    Link(tokio_rustls::server::TlsStream<S>),
    /// Somebody who wants to enrol.
    Enrol(Enrolment<S>),
}

/// A connection was refused, by us or by the peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The other side shows no certificate or one that is not permitted, or speaks something else. Worth an alert on a listener.
    #[error("{0}")]
    Unpermitted(String),
    /// The other side turned us away.
    #[error("the peer refuses this node: {0}")]
    ByPeer(String),
    /// The connection broke before anybody was refused.
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
}

/// Whether a read error on an established link means that the peer's TLS turned us away.
pub fn refused_by_peer(error: &std::io::Error) -> bool {
    let _ = error;
    todo!()
}

/// The enrolee's first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolRequest {
    /// Its name.
    pub name: String,
    /// Where it can be dialled.
    pub address: String,
    /// Its takeover delay, milliseconds.
    pub takeover_delay_ms: u64,
}

/// What the enrolee learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The pair.
    pub pair: PairId,
    /// The master.
    pub master: NodeId,
    /// Its name.
    pub name: String,
    /// Where it can be dialled.
    pub address: String,
}

/// Why an enrolment failed. Nothing is stored unless it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The master's key is not the one that the token names.
    #[error(
        "the master's key is not the one that the token names: somebody stands between, or the token is another master's"
    )]
    WrongMaster,
    /// The master refused, with its word for it.
    #[error("the master refused the enrolment: {0}")]
    Refused(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
    /// The other side breaks the protocol.
    #[error("the other side breaks the enrolment protocol: {0}")]
    Protocol(String),
}

/// A node that wants to enrol, TLS done, not yet asked.
pub struct Enrolment<S> {
    #[allow(dead_code)]
    stream: S,
}

impl<S: Stream> Enrolment<S> {
    /// Reads the request and finds which of these secrets it proves, in constant time.
    pub async fn request(&mut self, secrets: &[[u8; 16]]) -> Result<(NodeId, EnrolRequest, Option<usize>), EnrolError> {
        let _ = secrets;
        todo!()
    }

    /// Accepts; returns when the enrolee has stored what it needs.
    pub async fn accept(&mut self, pair: PairId, name: &str, address: &str) -> Result<(), EnrolError> {
        let _ = (pair, name, address);
        todo!()
    }

    /// Says that the enrolment is stored here too, and closes.
    pub async fn stored(self) -> Result<(), EnrolError> {
        todo!()
    }

    /// Refuses, and closes.
    pub async fn refuse(self, kind: &str) {
        let _ = kind;
        todo!()
    }
}

impl JoinToken {
    /// A token for this master with these secret bits.
    pub fn new(master: NodeId, secret: [u8; 16]) -> Self {
        let _ = (master, secret);
        todo!()
    }

    /// The master whose key it names.
    pub fn master(&self) -> NodeId {
        todo!()
    }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinToken(..)")
    }
}
