use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig,
    SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{StartHandshake, TlsConnector, client, server};

use super::enrol::{self, EnrolError, EnrolRequest, Enrolling, Enrolment};
use super::key::{Identity, IdentityError};
use super::pin::{PeerVerifier, Permitted, Pins, Shown};
use super::token::JoinToken;
use super::{ALPN_ENROL, ALPN_LINK};
use crate::model::NodeId;
use crate::model::limits::{CLIENT_HELLO_BYTES_MAX, KIB};

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as built_in;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
use rustls::crypto::ring as built_in;
#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("shadowpair needs one of the features `aws-lc-rs` and `ring`");

/// What the accepting side says first, inside TLS, once it has accepted the peer's certificate. In TLS 1.3 a client's
/// handshake is over before the server has looked at its certificate; this byte tells it that it is welcome, so that
/// [`Tls::connect`] can tell a refusal from a broken connection.
const WELCOME: u8 = 1;

/// A fatal alert `no_application_protocol`, as TLS sends it before there are keys.
const ALERT_NO_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// A byte stream.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

/// TLS for one node: TLS 1.3 only, no resumption, the peer pinned inside the handshake. Clones share.
///
/// Nothing here is bounded in time, and dropping a future closes its connection: the caller does the one by the other.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<CryptoProvider>,
    pins: Pins,
    own: ArcSwap<Own>,
}

/// What this node shows.
#[derive(Debug)]
struct Own {
    node: NodeId,
    certified: Arc<CertifiedKey>,
}

/// Who was accepted.
pub enum Accepted<S> {
    /// The pinned peer.
    Link(server::TlsStream<S>),
    /// Somebody who wants to enrol.
    Enrol(Enrolment<S>),
}

/// A connection was refused, by us or by the peer. It is closed, and nothing else happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The other side shows no certificate or one that is not permitted, or speaks something else. Worth an alert on a
    /// listener: the text says what was shown.
    #[error("{0}")]
    Unpermitted(String),
    /// The other side turned us away. Enrol again if this node should be its peer.
    #[error("the peer refuses this node: {0}")]
    ByPeer(String),
    /// The connection broke before anybody was refused.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
}

/// The default provider of this build (aws-lc-rs where it is built in, else ring).
pub fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(built_in::default_provider())
}

/// Whether a read error on an established link means that the peer's TLS turned us away.
pub fn refused_by_peer(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(Error::AlertReceived(alert)) if turns_away(*alert))
}

/// Whose certificate the other end of an established connection has shown:
/// `shown_by(stream.get_ref().1)`.
pub fn shown_by(connection: &CommonState) -> Option<Shown> {
    Shown::read(connection.peer_certificates()?.first()?)
}

/// SHA-256, of the provider that is built in, which has it: `None` never happens.
pub(super) fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
    let suite = built_in::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
    suite.common.hash_provider.hash(bytes).as_ref().try_into().ok()
}

impl Tls {
    /// For this identity and these pins.
    ///
    /// # Errors
    /// [`IdentityError::Tls`] where the provider has no TLS 1.3 or cannot use the key.
    pub fn new(identity: &Identity, pins: Pins, provider: Arc<CryptoProvider>) -> Result<Self, IdentityError> {
        let own = ArcSwap::from_pointee(Own::of(identity, &provider)?);
        let tls = Self { shared: Arc::new(Shared { provider, pins, own }) };
        // Configurations are made per connection; that they can be made is found out here.
        let verifier = PeerVerifier::new(Permitted::Pinned(tls.shared.pins.clone()), &tls.shared.provider);
        let failed = |error: Error| IdentityError::Tls(error.to_string());
        tls.server_config(&verifier, ALPN_LINK).map_err(failed)?;
        tls.client_config(&verifier, ALPN_LINK).map_err(failed)?;
        Ok(tls)
    }

    #[cfg(test)]
    /// Shows this identity from the next handshake on.
    ///
    /// # Errors
    /// [`IdentityError::Tls`] where the provider cannot use the key; the identity before stays.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.shared.own.store(Arc::new(Own::of(identity, &self.shared.provider)?));
        Ok(())
    }

    /// Accepts a connection. `enrol_open`: whether the enrolment protocol is answered now. Not bounded in time: the
    /// caller does that.
    ///
    /// # Errors
    /// [`Refused::Unpermitted`] says what the other side showed, for an alert; [`Refused::ByPeer`] that it does not
    /// permit this node; [`Refused::Broken`] is nobody's fault.
    pub async fn accept<S: Stream>(&self, mut stream: S, enrol_open: bool) -> Result<Accepted<S>, Refused> {
        let hello = read_client_hello(&mut stream).await?;
        let (alpn, permitted) = match wanted(&hello.client_hello(), enrol_open) {
            Ok(ALPN_LINK) => (ALPN_LINK, Permitted::Pinned(self.shared.pins.clone())),
            Ok(other) => (other, Permitted::Anyone),
            Err(reason) => {
                say(&mut stream, &ALERT_NO_PROTOCOL).await;
                return Err(Refused::Unpermitted(reason.into()));
            }
        };
        let verifier = PeerVerifier::new(permitted, &self.shared.provider);
        let config = self.server_config(&verifier, alpn).map_err(broken)?;
        let handshake = StartHandshake::from_parts(hello, stream).into_stream(Arc::new(config));
        let mut stream = handshake.await.map_err(|error| refusal(error, verifier.seen()))?;
        let peer = confirm(stream.get_ref().1, stream.get_ref().1.handshake_kind(), alpn, &verifier)?;
        stream.write_all(&[WELCOME]).await.map_err(|error| refusal(error, verifier.seen()))?;
        stream.flush().await.map_err(|error| refusal(error, verifier.seen()))?;
        if alpn == ALPN_LINK {
            return Ok(Accepted::Link(stream));
        }
        let binding = enrol::binding(stream.get_ref().1).map_err(broken)?;
        let own = self.shared.own.load().node;
        Ok(Accepted::Enrol(Enrolment::new(stream, binding, peer.node, own)))
    }

    /// Dials the pinned peer; when it returns, both sides have accepted each other.
    ///
    /// # Errors
    /// [`Refused::Unpermitted`] where the other side shows a key that is not pinned or is no node at all,
    /// [`Refused::ByPeer`] where it turned this node away, [`Refused::Broken`] where the connection broke. A pin that
    /// the peer takes away later shows on the link, see [`refused_by_peer`].
    pub async fn connect<S: Stream>(&self, stream: S) -> Result<client::TlsStream<S>, Refused> {
        if self.shared.pins.get().is_none() {
            return Err(Refused::Unpermitted("no peer is permitted".into()));
        }
        let verifier = PeerVerifier::new(Permitted::Pinned(self.shared.pins.clone()), &self.shared.provider);
        self.dial(stream, ALPN_LINK, &verifier).await
    }

    /// Asks the master whose key the token names to enrol this node. Once it returns, the caller makes the pairing
    /// durable and then calls [`Enrolling::confirm`].
    ///
    /// # Errors
    /// [`EnrolError`]; nothing is stored here, and there at the most that this node asked.
    pub async fn enrol<S: Stream>(
        &self,
        stream: S,
        token: &JoinToken,
        request: &EnrolRequest,
    ) -> Result<Enrolling<S>, EnrolError> {
        let verifier = PeerVerifier::new(Permitted::Exactly(token.master()), &self.shared.provider);
        let stream = self.dial(stream, ALPN_ENROL, &verifier).await.map_err(|refused| match verifier.seen() {
            Some(shown) if shown.node != token.master() => EnrolError::WrongMaster,
            _ => EnrolError::of_connection(refused),
        })?;
        let binding = enrol::binding(stream.get_ref().1).map_err(|error| EnrolError::Protocol(error.to_string()))?;
        let own = self.shared.own.load().node;
        Enrolling::ask(stream, binding, own, token, request).await
    }

    async fn dial<S: Stream>(
        &self,
        stream: S,
        alpn: &[u8],
        verifier: &Arc<PeerVerifier>,
    ) -> Result<client::TlsStream<S>, Refused> {
        let config = self.client_config(verifier, alpn).map_err(broken)?;
        // An address is not sent as a server name; whom we reach is decided by the key alone.
        let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let mut stream = handshake.await.map_err(|error| refusal(error, verifier.seen()))?;
        confirm(stream.get_ref().1, stream.get_ref().1.handshake_kind(), alpn, verifier)?;
        match stream.read_u8().await {
            Ok(WELCOME) => Ok(stream),
            Ok(_) => Err(Refused::Unpermitted("the other side is no node of ours".into())),
            Err(error) => Err(refusal(error, verifier.seen())),
        }
    }

    fn server_config(&self, verifier: &Arc<PeerVerifier>, alpn: &[u8]) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(self.shared.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(self.shared.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }

    fn client_config(&self, verifier: &Arc<PeerVerifier>, alpn: &[u8]) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(self.shared.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(self.shared.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.enable_early_data = false;
        Ok(config)
    }
}

/// Reads until the TLS hello is whole, and no more than it may have.
async fn read_client_hello<S: Stream>(stream: &mut S) -> Result<rustls::server::Accepted, Refused> {
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; KIB];
    let mut first = None;
    let mut total = 0;
    let endless = || Refused::Unpermitted("a TLS hello that does not end".into());
    loop {
        let read = stream.read(&mut buffer).await.map_err(Refused::Broken)?;
        let mut bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Err(Refused::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let opening = *first.get_or_insert_with(|| opening(bytes));
        total += read;
        while !bytes.is_empty() {
            match acceptor.read_tls(&mut bytes) {
                Ok(taken) if taken > 0 => {}
                _ => return Err(endless()),
            }
        }
        match acceptor.accept() {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) if total <= CLIENT_HELLO_BYTES_MAX => {}
            Ok(None) => return Err(endless()),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                if alert.write_all(&mut bytes).is_ok() {
                    say(stream, &bytes).await;
                }
                return Err(Refused::Unpermitted(match opening {
                    Opening::Tls => format!("broken TLS: {error}"),
                    Opening::Http => "an HTTP request".into(),
                    Opening::Other => "something that is not TLS".into(),
                }));
            }
        }
    }
}

/// What the first bytes look like.
#[derive(Clone, Copy)]
enum Opening {
    Tls,
    Http,
    Other,
}

fn opening(bytes: &[u8]) -> Opening {
    const METHODS: [&[u8]; 8] = [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"CONN", b"PRI "];
    match bytes {
        [22, 3, ..] | [22] => Opening::Tls,
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => Opening::Http,
        _ => Opening::Other,
    }
}

/// Which of our protocols a client asks for, or why it gets none.
fn wanted(hello: &ClientHello<'_>, enrol_open: bool) -> Result<&'static [u8], &'static str> {
    let offers = |alpn: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == alpn));
    match (offers(ALPN_LINK), offers(ALPN_ENROL)) {
        (true, _) => Ok(ALPN_LINK),
        (false, true) if enrol_open => Ok(ALPN_ENROL),
        (false, true) => Err("a request to enrol, while no join token lives"),
        (false, false) => Err("a TLS client of another protocol"),
    }
}

/// Says a last word before the connection is closed. Whether it arrives makes no difference here.
async fn say<S: Stream>(stream: &mut S, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// Looks at a finished handshake again, from outside: everything here is also enforced inside.
fn confirm(
    connection: &CommonState,
    kind: Option<HandshakeKind>,
    alpn: &[u8],
    verifier: &PeerVerifier,
) -> Result<Shown, Refused> {
    let refused = |reason: &str| Err(Refused::Unpermitted(reason.into()));
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return refused("a TLS version below 1.3");
    }
    if !matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)) {
        return refused("a resumed TLS session");
    }
    if connection.alpn_protocol() != Some(alpn) {
        return refused("a TLS peer of another protocol");
    }
    match shown_by(connection) {
        Some(shown) if verifier.confirms(Some(shown)) => Ok(shown),
        Some(shown) => Err(Refused::Unpermitted(unpermitted(shown.node))),
        None => refused("no certificate"),
    }
}

/// Sorts the error of a handshake by who refused whom.
fn refusal(error: io::Error, seen: Option<Shown>) -> Refused {
    let reason = match tls_error(&error) {
        None => return Refused::Broken(error),
        Some(Error::AlertReceived(alert)) => return Refused::ByPeer(word_of(*alert)),
        Some(Error::NoCertificatesPresented) => "no certificate".into(),
        Some(Error::InvalidCertificate(error)) => match seen {
            Some(shown) if *error == CertificateError::BadSignature => {
                format!("the certificate of node {}, without its key", shown.node)
            }
            Some(shown) => unpermitted(shown.node),
            None => "a certificate that cannot be read".into(),
        },
        Some(Error::PeerIncompatible(_)) => format!("no TLS that both speak: {error}"),
        Some(Error::InvalidMessage(_)) => "something that is not TLS".into(),
        Some(error) => format!("broken TLS: {error}"),
    };
    Refused::Unpermitted(reason)
}

fn unpermitted(node: NodeId) -> String {
    format!("the certificate of node {node}, which is not permitted")
}

fn broken(error: Error) -> Refused {
    Refused::Broken(io::Error::other(error))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether this alert says "not you", rather than that something broke.
fn turns_away(alert: AlertDescription) -> bool {
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

fn word_of(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::AccessDenied => "its certificate is not permitted there".into(),
        AlertDescription::CertificateRequired => "it showed no certificate".into(),
        AlertDescription::NoApplicationProtocol => NO_PROTOCOL.into(),
        other => format!("TLS alert {other:?}"),
    }
}

/// How [`Refused::ByPeer`] words a protocol that is not spoken there (now).
pub(super) const NO_PROTOCOL: &str = "it does not speak this protocol now";

impl Own {
    fn of(identity: &Identity, provider: &CryptoProvider) -> Result<Self, IdentityError> {
        Ok(Self { node: identity.node(), certified: Arc::new(identity.certified(provider)?) })
    }
}

impl ResolvesServerCert for Shared {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.own.load().certified.clone())
    }
}

impl ResolvesClientCert for Shared {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.own.load().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("node", &self.own.load().node).field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.shared, f)
    }
}
