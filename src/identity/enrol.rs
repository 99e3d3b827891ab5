//! The enrolment protocol: how a shadow with a join token, or with a user and a password of the master's host, and its master come
//! to pin each other.

use std::io;
use std::ops::Deref;

use bytes::Bytes;
use rustls::{ConnectionCommon, Error};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{client, server};
use zeroize::{Zeroize, Zeroizing};

use super::client_hello::Protocol;
use super::connection::{NO_PROTOCOL, Refused, Stream};
use super::token::JoinToken;
use crate::model::{KeyId, NodeId, PairId, Password};
use crate::protocol::wire::{EnrolMessage, FrameDecoder, WireError, decode_enrol, encode_enrol, enrol_proof_input};

/// Label of the exported keying material that binds a proof to its connection (RFC 8446, section 7.5).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-shadowpair-enrol-1";
/// Context in which the key of a proof is derived from a token's secret.
const PROOF_CONTEXT: &str = "shadowpair 2026 enrolment proof v1";

/// What a node that wants to enrol says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolRequest {
    /// Name of the node.
    pub name: String,
    /// Address at which it can be dialled.
    pub address: String,
    /// Its takeover delay, in milliseconds.
    pub takeover_delay_ms: u64,
}

/// What an enrolled node learns from the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The pair.
    pub pair: PairId,
    /// The master.
    pub master: NodeId,
    /// Its key, which it has proved to have.
    pub key: KeyId,
    /// Name of the master.
    pub name: String,
    /// Address at which the master can be dialled.
    pub address: String,
}

/// With what a node that wants to enrol proves itself, and the one master to which it does so.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A token, which names the master.
    Token(JoinToken),
    /// A user of the master's host.
    User {
        /// The key of the master.
        master: KeyId,
        /// The user.
        user: String,
        /// The user's password.
        password: Password,
    },
}

impl Credentials {
    /// The key of the master to which they are shown, and no other node.
    pub fn master(&self) -> KeyId {
        match self {
            Self::Token(token) => token.master(),
            Self::User { master, .. } => *master,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Token(_) => Protocol::Enrolment,
            Self::User { .. } => Protocol::UserEnrolment,
        }
    }
}

/// What a node that wants to enrol has shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The proof that it knows a secret: which one, if any.
    Secret(Option<usize>),
    /// A user and a password, which the host must judge.
    User {
        /// The user.
        user: String,
        /// The user's password.
        password: Password,
    },
}

/// The word of a master that enrols no node because none of its tokens is valid, and no user may enrol one.
pub const ENROLMENT_CLOSED: &str = "enrolment_closed";
/// The word of a master that has not judged a proof because too many were wrong before, or too many are being judged.
pub const TRY_LATER: &str = "try_later";

/// An enrolment failed. Nothing was stored, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The master's key is not the one that the token, or the fingerprint, names. Nothing else was sent. Check the address and the
    /// token.
    #[error(
        "the master's key is not the one that the token or the fingerprint names: it is that of another master, or someone intercepts the connection"
    )]
    WrongMaster,
    /// The master refused and gave this word as the reason. `enrolment_closed` means that none of its tokens is valid,
    /// and that no user may enrol a node now; `wrong_proof` that token, user or password is wrong; `try_later` that too many were
    /// wrong before.
    #[error("the master refused the enrolment: {0}")]
    Refused(String),
    /// The connection broke. If that happened after the answer, the master may have stored the enrolment. Try again: the
    /// same request with the same key and token gets the same answer.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The other side violated the enrolment protocol.
    #[error("the other side violated the enrolment protocol: {0}")]
    Protocol(String),
}

/// The master's end of an enrolment. The TLS handshake is done; the node has not said anything yet.
///
/// Call [`Enrolment::request`], then [`Enrolment::accept`] or [`Enrolment::refuse`], then [`Enrolment::stored`] or
/// [`Enrolment::refuse`]. If it is dropped at any point, the other node sees a broken connection.
pub struct Enrolment<S> {
    messages: MessageStream<server::TlsStream<S>>,
    binding: Binding,
    protocol: Protocol,
    peer: KeyId,
    own: KeyId,
    /// This node, which may have renewed its key since it was named.
    node: NodeId,
}

/// The shadow's end of an enrolment. The master has accepted it; neither node has stored it yet.
pub struct Enrolling<S> {
    messages: MessageStream<client::TlsStream<S>>,
    enrolled: Enrolled,
}

/// Keying material that only the two ends of one connection share.
pub(super) type Binding = Zeroizing<[u8; 32]>;

/// Exports the binding of this connection.
pub(super) fn binding<C, D>(connection: &C) -> Result<Binding, Error>
where
    C: Deref<Target = ConnectionCommon<D>>,
{
    connection.export_keying_material([0; 32], EXPORTER_LABEL, None).map(Zeroizing::new)
}

impl<S: Stream> Enrolment<S> {
    pub(super) fn new(
        stream: server::TlsStream<S>,
        binding: Binding,
        (protocol, peer): (Protocol, KeyId),
        (node, own): (NodeId, KeyId),
    ) -> Self {
        Self { messages: MessageStream::new(stream), binding, protocol, peer, own, node }
    }

    /// The key that this node has shown.
    pub fn own_key(&self) -> KeyId {
        self.own
    }

    /// The key of the node that wants to enrol. It has proved that it has it, and nothing else.
    #[cfg(test)]
    pub fn peer(&self) -> KeyId {
        self.peer
    }

    /// Reads the request. Where it is one with a token, finds which of these secrets it proves, in constant time.
    ///
    /// # Errors
    /// [`EnrolError::Broken`] and [`EnrolError::Protocol`].
    pub async fn request(&mut self, secrets: &[[u8; 16]]) -> Result<(KeyId, EnrolRequest, Shown), EnrolError> {
        let (request, shown) = match (self.messages.receive().await?, self.protocol) {
            (EnrolMessage::Request { name, address, takeover_delay_ms, proof }, Protocol::Enrolment) => {
                (EnrolRequest { name, address, takeover_delay_ms }, proof)
            }
            (
                EnrolMessage::Authenticate { name, address, takeover_delay_ms, user, password },
                Protocol::UserEnrolment,
            ) => {
                let request = EnrolRequest { name, address, takeover_delay_ms };
                return Ok((self.peer, request, Shown::User { user, password }));
            }
            _ => return Err(unexpected()),
        };
        let (mut is_proved, mut proved) = (Choice::from(0), 0);
        for (index, secret) in secrets.iter().enumerate() {
            let expected = proof(secret, &self.binding, &self.peer, &self.own, &request)?;
            let right = expected.ct_eq(&shown);
            proved = u64::conditional_select(&proved, &(index as u64), right);
            is_proved |= right;
        }
        let index = bool::from(is_proved).then_some(proved as usize);
        Ok((self.peer, request, Shown::Secret(index)))
    }

    /// Accepts the enrolment. Returns when the other node has stored it.
    ///
    /// # Errors
    /// [`EnrolError::Broken`] and [`EnrolError::Protocol`]. The other node may have stored the enrolment all the same, and
    /// will ask again.
    pub async fn accept(&mut self, pair: PairId, name: &str, address: &str) -> Result<(), EnrolError> {
        let (name, address) = (name.into(), address.into());
        let accepted = match self.node.first_key() == self.own {
            true => EnrolMessage::Accepted { pair, name, address },
            false => EnrolMessage::AcceptedBy { node: self.node, pair, name, address },
        };
        self.messages.send(&accepted).await?;
        match self.messages.receive().await? {
            EnrolMessage::Confirm => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Says that the enrolment is stored here too, and closes the connection.
    ///
    /// # Errors
    /// [`EnrolError::Broken`]. The enrolment is valid all the same.
    pub async fn stored(mut self) -> Result<(), EnrolError> {
        self.messages.send(&EnrolMessage::Stored).await?;
        self.messages.close().await;
        Ok(())
    }

    /// Refuses the enrolment and closes the connection. `kind` is a stable word of at most 64 lower-case letters, digits and
    /// underscores.
    pub async fn refuse(mut self, kind: &str) {
        if self.messages.send(&EnrolMessage::Refused { word: kind.into() }).await.is_ok() {
            self.messages.close().await;
        }
    }
}

impl<S: Stream> Enrolling<S> {
    pub(super) async fn request(
        stream: client::TlsStream<S>,
        binding: Binding,
        own: KeyId,
        credentials: &Credentials,
        request: &EnrolRequest,
    ) -> Result<Self, EnrolError> {
        let mut messages = MessageStream::new(stream);
        let key = credentials.master();
        let EnrolRequest { name, address, takeover_delay_ms } = request.clone();
        messages
            .send(&match credentials {
                Credentials::Token(token) => {
                    let proof = proof(token.secret(), &binding, &own, &key, request)?;
                    EnrolMessage::Request { name, address, takeover_delay_ms, proof }
                }
                Credentials::User { user, password, .. } => {
                    let (user, password) = (user.clone(), password.clone());
                    EnrolMessage::Authenticate { name, address, takeover_delay_ms, user, password }
                }
            })
            .await?;
        match messages.receive().await? {
            EnrolMessage::Accepted { pair, name, address } => {
                let master = key.first_of();
                Ok(Self { messages, enrolled: Enrolled { pair, master, key, name, address } })
            }
            EnrolMessage::AcceptedBy { node, pair, name, address } => {
                Ok(Self { messages, enrolled: Enrolled { pair, master: node, key, name, address } })
            }
            EnrolMessage::Refused { word } => Err(EnrolError::Refused(word)),
            _ => Err(unexpected()),
        }
    }

    /// What the master said.
    pub fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }

    /// Says that the enrolment is stored here. Returns when the master has stored it too. If the answer is lost, the caller
    /// may enrol again: the same credentials and key get the same answer.
    ///
    /// # Errors
    /// [`EnrolError::Refused`] if the master could not store it. After [`EnrolError::Broken`] it may have stored it or not.
    pub async fn confirm(mut self) -> Result<(), EnrolError> {
        self.messages.send(&EnrolMessage::Confirm).await?;
        match self.messages.receive().await? {
            EnrolMessage::Stored => {
                self.messages.close().await;
                Ok(())
            }
            EnrolMessage::Refused { word } => Err(EnrolError::Refused(word)),
            _ => Err(unexpected()),
        }
    }
}

impl EnrolError {
    /// The connection to the master was refused, or broke.
    pub(super) fn refused(refused: Refused) -> Self {
        match refused {
            Refused::Unpermitted(shown) => Self::Protocol(format!("it showed {shown}")),
            Refused::Unproven(reason) if reason == NO_PROTOCOL => Self::Refused(ENROLMENT_CLOSED.into()),
            Refused::ByPeer(reason) | Refused::Unproven(reason) => Self::Protocol(reason),
            Refused::Broken(error) => Self::Broken(error),
        }
    }
}

impl From<WireError> for EnrolError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// Proves that the enrolling node knows a secret. The proof is a keyed BLAKE3 hash of the connection's binding (so that it
/// cannot be replayed on another connection), of both keys (so that no one can intercept the connection) and of the
/// request (so that it cannot be changed).
pub(super) fn proof(
    secret: &[u8; 16],
    binding: &Binding,
    enrolee: &KeyId,
    master: &KeyId,
    request: &EnrolRequest,
) -> Result<[u8; 32], EnrolError> {
    let key = Zeroizing::new(blake3::derive_key(PROOF_CONTEXT, secret));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&**binding);
    hasher.update(&enrolee.0);
    hasher.update(&master.0);
    hasher.update(&enrol_proof_input(&request.name, &request.address, request.takeover_delay_ms)?);
    Ok(*hasher.finalize().as_bytes())
}

fn unexpected() -> EnrolError {
    EnrolError::Protocol("an unexpected message".into())
}

/// Wipes the bytes of a frame: it may hold a password.
fn wipe(frame: Bytes) {
    if let Ok(mut bytes) = frame.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

/// Sends and receives the messages of one enrolment. The two ends take turns, so at most one frame is in memory.
struct MessageStream<T> {
    stream: T,
    decoder: FrameDecoder,
}

impl<T: Stream> MessageStream<T> {
    fn new(stream: T) -> Self {
        Self { stream, decoder: FrameDecoder::enrolment() }
    }

    async fn send(&mut self, message: &EnrolMessage) -> Result<(), EnrolError> {
        let frame = encode_enrol(message)?;
        let sent = self.stream.write_all(&frame).await;
        wipe(frame);
        sent.map_err(EnrolError::Broken)?;
        self.stream.flush().await.map_err(EnrolError::Broken)
    }

    async fn receive(&mut self) -> Result<EnrolMessage, EnrolError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                // The ends take turns: nothing follows before this end has answered, so the buffer can go with the frame.
                self.decoder = FrameDecoder::enrolment();
                let message = decode_enrol(&frame.payload);
                wipe(frame.payload);
                return Ok(message?);
            }
            if self.stream.read_buf(self.decoder.buffer()).await.map_err(EnrolError::Broken)? == 0 {
                return Err(EnrolError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Closes the connection after the last message. An error makes no difference: both ends know the outcome.
    async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}
