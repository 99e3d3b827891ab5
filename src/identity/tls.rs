//! TLS for one node: accepts and dials connections.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{StartHandshake, TlsConnector, client, server};

use super::certificate::PeerCertificate;
use super::client_hello::{OpenEnrolments, Protocol, choose_protocol, read_client_hello};
use super::connection::{Refused, Stream};
use super::enrol::{self, Credentials, EnrolError, EnrolRequest, Enrolling, Enrolment};
use super::key::{Identity, IdentityError};
use super::key_exchange::{KeyExchange, KeyExchanges, group_name};
use super::pin::{PeerVerifier, Permitted, Pins};
use crate::model::{KeyId, NodeId};

/// The first byte that the accepting side sends inside TLS, once it has accepted the peer's certificate. In TLS 1.3 the
/// handshake of a client is over before the server has checked the client's certificate. By this byte [`Tls::connect`]
/// tells a refusal from a broken connection.
const WELCOME: u8 = 1;

/// TLS for one node: TLS 1.3 only, without resumption, with the peer pinned inside the handshake. Clones share.
///
/// Nothing here limits time. The caller does, by dropping the future, which closes the connection.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    exchanges: KeyExchanges,
    pins: Pins,
    own: ArcSwap<OwnCertificate>,
}

/// What this node shows to its peer.
#[derive(Debug)]
struct OwnCertificate {
    node: NodeId,
    key: KeyId,
    expires: i64,
    certified: Arc<CertifiedKey>,
}

/// A connection that was accepted.
pub enum Accepted<S> {
    /// A link with the pinned peer.
    Link(Box<server::TlsStream<S>>),
    /// A node that wants to enrol.
    Enrolment(Box<Enrolment<S>>),
}

impl Tls {
    /// TLS with this identity and these pins.
    ///
    /// # Errors
    /// [`IdentityError::Tls`] if the provider has no TLS 1.3 or no such key exchange, or cannot use the key.
    pub fn new(
        identity: &Identity,
        pins: Pins,
        provider: Arc<CryptoProvider>,
        wanted: KeyExchange,
    ) -> Result<Self, IdentityError> {
        let own = ArcSwap::from_pointee(OwnCertificate::new(identity, &provider)?);
        let exchanges = KeyExchanges::new(provider, wanted)?;
        let tls = Self { shared: Arc::new(Shared { exchanges, pins, own }) };
        // Every connection makes a configuration of its own. Whether one can be made is found out here.
        let verifier = PeerVerifier::new(Permitted::Pinned(tls.shared.pins.clone()), tls.shared.provider());
        let failed = |error: Error| IdentityError::Tls(error.to_string());
        tls.server_config(&verifier, Protocol::Link).map_err(failed)?;
        tls.client_config(&verifier, Protocol::Link, tls.shared.provider()).map_err(failed)?;
        Ok(tls)
    }

    /// Shows this identity from the next handshake on.
    ///
    /// # Errors
    /// [`IdentityError::Tls`] if the provider cannot use the key. The identity before stays in use.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.shared.own.store(Arc::new(OwnCertificate::new(identity, self.shared.provider())?));
        Ok(())
    }

    /// The fingerprint of the key that this node shows.
    pub fn key(&self) -> KeyId {
        self.shared.own.load().key
    }

    /// End of the certificate that this node shows, in seconds since 1970.
    pub fn certificate_ends(&self) -> i64 {
        self.shared.own.load().expires
    }

    /// Accepts a connection. The enrolment protocols are answered only where they are `open`.
    ///
    /// # Errors
    /// [`Refused::Unpermitted`] if this node refuses the other side, [`Refused::ByPeer`] or
    /// [`Refused::Unproven`] if the other side refuses this node, [`Refused::Broken`] if neither did.
    pub async fn accept<S: Stream>(&self, mut stream: S, open: OpenEnrolments) -> Result<Accepted<S>, Refused> {
        // Before the handshake: what is renewed meanwhile was perhaps not shown.
        let own = self.shared.own.load_full();
        let hello = read_client_hello(&mut stream).await?;
        let protocol = choose_protocol(&hello, open, &mut stream).await?;
        let permitted = match protocol {
            Protocol::Link => Permitted::Pinned(self.shared.pins.clone()),
            Protocol::Enrolment | Protocol::UserEnrolment => Permitted::Anyone,
        };
        let verifier = PeerVerifier::new(permitted, self.shared.provider());
        let config = self.server_config(&verifier, protocol).map_err(Refused::broken)?;
        let handshake = StartHandshake::from_parts(hello, stream).into_stream(Arc::new(config));
        let mut stream = handshake.await.map_err(|error| Refused::of_handshake(error, &verifier))?;
        let peer = confirm(stream.get_ref().1, stream.get_ref().1.handshake_kind(), protocol, &verifier)?;
        stream.write_all(&[WELCOME]).await.map_err(|error| Refused::of_handshake(error, &verifier))?;
        stream.flush().await.map_err(|error| Refused::of_handshake(error, &verifier))?;
        match protocol {
            Protocol::Link => Ok(Accepted::Link(Box::new(stream))),
            Protocol::Enrolment | Protocol::UserEnrolment => {
                let binding = enrol::binding(stream.get_ref().1).map_err(Refused::broken)?;
                let enrolment = Enrolment::new(stream, binding, (protocol, peer.key), (own.node, own.key));
                Ok(Accepted::Enrolment(Box::new(enrolment)))
            }
        }
    }

    /// Dials the pinned peer. When this returns, both sides have accepted each other.
    ///
    /// # Errors
    /// [`Refused::Unpermitted`] if the other side shows a key that is not pinned or is not a node, [`Refused::ByPeer`] if
    /// it refuses this node, [`Refused::Unproven`] if somebody refuses this node who may be anybody, [`Refused::Broken`] if the
    /// connection broke. If the peer withdraws its permission later, a
    /// read on the link fails: see [`refused_by_peer`](super::connection::refused_by_peer).
    pub async fn connect<S: Stream>(&self, stream: S) -> Result<client::TlsStream<S>, Refused> {
        if self.shared.pins.get().is_none() {
            return Err(Refused::Unpermitted("no peer is permitted".into()));
        }
        let verifier = PeerVerifier::new(Permitted::Pinned(self.shared.pins.clone()), self.shared.provider());
        self.dial(stream, Protocol::Link, &verifier).await
    }

    /// Asks the master whose key the credentials name to enrol this node. When this returns, the caller makes the enrolment
    /// durable and then calls [`Enrolling::confirm`].
    ///
    /// # Errors
    /// [`EnrolError`]. Nothing is stored here. The master has stored at most that this node asked.
    pub async fn enrol<S: Stream>(
        &self,
        stream: S,
        credentials: &Credentials,
        request: &EnrolRequest,
    ) -> Result<Enrolling<S>, EnrolError> {
        let verifier = PeerVerifier::new(Permitted::Exactly(credentials.master()), self.shared.provider());
        let stream =
            self.dial(stream, credentials.protocol(), &verifier).await.map_err(|refused| match verifier.seen() {
                Some(shown) if shown.key != credentials.master() => EnrolError::WrongMaster,
                _ => EnrolError::refused(refused),
            })?;
        let binding = enrol::binding(stream.get_ref().1).map_err(|error| EnrolError::Protocol(error.to_string()))?;
        let own = self.key();
        Enrolling::request(stream, binding, own, credentials, request).await
    }

    /// A dial begins: what an earlier one met is no news of this one.
    pub fn forget_silence(&self) {
        self.shared.exchanges.forget_silence();
    }

    /// What may be wrong with a dial that was not answered within its time.
    pub fn silence(&self) -> Option<&'static str> {
        self.shared.exchanges.silence()
    }

    /// Whether a link with this key exchange is protected less than the options wish.
    pub fn is_fallback(&self, key_exchange: &str) -> bool {
        self.shared.exchanges.is_fallback(key_exchange)
    }

    /// Whether the next dial offers a large hello, and the one after a silence would offer a small one.
    pub fn may_shrink(&self) -> bool {
        self.shared.exchanges.may_shrink()
    }

    async fn dial<S: Stream>(
        &self,
        stream: S,
        protocol: Protocol,
        verifier: &Arc<PeerVerifier>,
    ) -> Result<client::TlsStream<S>, Refused> {
        let hello = self.shared.exchanges.hello();
        let config = self.client_config(verifier, protocol, &hello.provider).map_err(Refused::broken)?;
        // TLS sends no address as a server name. The key alone decides whether the right node answered.
        let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let mut stream = match handshake.await {
            Ok(stream) => {
                hello.answered();
                stream
            }
            Err(error) => {
                let refused = Refused::of_handshake(error, verifier);
                // A connection that only breaks may have been broken by what stands on the way.
                match refused {
                    Refused::Broken(_) => hello.broken(),
                    _ => hello.answered(),
                }
                return Err(refused);
            }
        };
        confirm(stream.get_ref().1, stream.get_ref().1.handshake_kind(), protocol, verifier)?;
        match stream.read_u8().await {
            Ok(WELCOME) => Ok(stream),
            Ok(_) => Err(Refused::Unpermitted("a TLS server that is not a node of a pair".into())),
            Err(error) => Err(Refused::of_handshake(error, verifier)),
        }
    }

    fn server_config(&self, verifier: &Arc<PeerVerifier>, protocol: Protocol) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(self.shared.provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(self.shared.clone());
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }

    fn client_config(
        &self,
        verifier: &Arc<PeerVerifier>,
        protocol: Protocol,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(self.shared.clone());
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.enable_early_data = false;
        Ok(config)
    }
}

/// Checks a finished handshake from outside. The handshake itself has enforced all of this already.
fn confirm(
    connection: &CommonState,
    kind: Option<HandshakeKind>,
    protocol: Protocol,
    verifier: &PeerVerifier,
) -> Result<PeerCertificate, Refused> {
    let refused = |reason: &str| Err(Refused::Unpermitted(reason.into()));
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return refused("a TLS version below 1.3");
    }
    if !matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)) {
        return refused("a resumed TLS session");
    }
    if connection.alpn_protocol() != Some(protocol.alpn()) {
        return refused("a TLS peer of another protocol");
    }
    match PeerCertificate::of_peer(connection) {
        Some(shown) if verifier.confirms(shown) => Ok(shown),
        Some(shown) => Err(Refused::not_permitted(shown.key)),
        None => refused("no certificate"),
    }
}

impl Shared {
    fn provider(&self) -> &Arc<CryptoProvider> {
        &self.exchanges.usual
    }
}

/// The key that the other end of an established connection showed. `None` never happens after a handshake of [`Tls`].
pub fn peer_key_of(connection: &CommonState) -> Option<KeyId> {
    PeerCertificate::of_peer(connection).map(|shown| shown.key)
}

/// The name of the key exchange of an established connection, for status.
pub fn key_exchange_of(connection: &CommonState) -> &'static str {
    connection.negotiated_key_exchange_group().map_or("unknown", |group| group_name(group.name()))
}

impl OwnCertificate {
    fn new(identity: &Identity, provider: &CryptoProvider) -> Result<Self, IdentityError> {
        let certified = Arc::new(identity.certified(provider)?);
        Ok(Self { node: identity.node(), key: identity.key_id(), expires: identity.expires(), certified })
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
