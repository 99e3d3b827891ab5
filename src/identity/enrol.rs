use std::io;
use std::ops::Deref;

use rustls::{ConnectionCommon, Error};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{client, server};
use zeroize::Zeroizing;

use super::tls::{NO_PROTOCOL, Refused, Stream};
use super::token::JoinToken;
use crate::model::{NodeId, PairId};
use crate::protocol::wire::{EnrolMessage, FrameDecoder, WireError, decode_enrol, encode_enrol, enrol_proof_input};

/// Label of the keying material that binds a proof to its connection (RFC 5705, as TLS 1.3 has it).
const EXPORTER: &[u8] = b"EXPORTER-shadowpair-enrol-1";
/// Context of the key that is derived from a token's secret.
const PROOF: &str = "shadowpair 2026 enrolment proof v1";

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

/// The word for a door at which nobody is enrolled: no token is alive.
pub const ENROLMENT_CLOSED: &str = "enrolment_closed";

/// Why an enrolment failed. Nothing is stored unless it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The master's key is not the one that the token names.
    #[error(
        "the master's key is not the one that the token names: somebody stands between, or the token is another master's"
    )]
    WrongMaster,
    /// The master refused, with its word for it; `enrolment_closed` where no token lives there.
    #[error("the master refused the enrolment: {0}")]
    Refused(String),
    /// The connection broke. Where that happens after the answer, the master may have stored the enrolment: the same
    /// request with the same key and token is answered alike, so try again.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The other side breaks the protocol.
    #[error("the other side breaks the enrolment protocol: {0}")]
    Protocol(String),
}

/// The master's end: a node that wants to enrol, TLS done, not yet asked.
///
/// In this order: [`Enrolment::request`], then [`Enrolment::accept`] or [`Enrolment::refuse`], then
/// [`Enrolment::stored`] or [`Enrolment::refuse`]. Dropped at any point, the enrolee learns that the connection broke.
pub struct Enrolment<S> {
    conversation: Conversation<server::TlsStream<S>>,
    binding: Binding,
    peer: NodeId,
    own: NodeId,
}

/// The enrolee's end: an enrolment that the master has accepted and nobody has stored yet.
pub struct Enrolling<S> {
    conversation: Conversation<client::TlsStream<S>>,
    enrolled: Enrolled,
}

/// Keying material that both ends of one connection share and no other connection has.
pub(super) type Binding = Zeroizing<[u8; 32]>;

/// The binding of this connection.
pub(super) fn binding<C, D>(connection: &C) -> Result<Binding, Error>
where
    C: Deref<Target = ConnectionCommon<D>>,
{
    connection.export_keying_material([0; 32], EXPORTER, None).map(Zeroizing::new)
}

impl<S: Stream> Enrolment<S> {
    pub(super) fn new(stream: server::TlsStream<S>, binding: Binding, peer: NodeId, own: NodeId) -> Self {
        Self { conversation: Conversation::new(stream), binding, peer, own }
    }

    /// The node that wants to enrol. It has proved that it has this key, and nothing else yet.
    #[cfg(test)]
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Reads the request and finds which of these secrets it proves, in constant time.
    ///
    /// # Errors
    /// [`EnrolError::Broken`] and [`EnrolError::Protocol`].
    pub async fn request(&mut self, secrets: &[[u8; 16]]) -> Result<(NodeId, EnrolRequest, Option<usize>), EnrolError> {
        let (request, shown) = match self.conversation.hear().await? {
            EnrolMessage::Request { name, address, takeover_delay_ms, proof } => {
                (EnrolRequest { name, address, takeover_delay_ms }, proof)
            }
            _ => return Err(out_of_turn()),
        };
        let mut proved = (Choice::from(0), 0);
        for (index, secret) in secrets.iter().enumerate() {
            let expected = proof(secret, &self.binding, &self.peer, &self.own, &request)?;
            let right = expected.ct_eq(&shown);
            proved.1 = u64::conditional_select(&proved.1, &(index as u64), right);
            proved.0 |= right;
        }
        let index = bool::from(proved.0).then_some(proved.1 as usize);
        Ok((self.peer, request, index))
    }

    /// Accepts; returns when the enrolee has stored what it needs.
    ///
    /// # Errors
    /// [`EnrolError::Broken`] and [`EnrolError::Protocol`]; the enrolee may have stored it nevertheless, and will ask
    /// again.
    pub async fn accept(&mut self, pair: PairId, name: &str, address: &str) -> Result<(), EnrolError> {
        let accepted = EnrolMessage::Accepted { pair, name: name.into(), address: address.into() };
        self.conversation.say(&accepted).await?;
        match self.conversation.hear().await? {
            EnrolMessage::Confirm => Ok(()),
            _ => Err(out_of_turn()),
        }
    }

    /// Says that the enrolment is stored here too, and closes.
    ///
    /// # Errors
    /// [`EnrolError::Broken`]; the enrolment stands all the same.
    pub async fn stored(mut self) -> Result<(), EnrolError> {
        self.conversation.say(&EnrolMessage::Stored).await?;
        self.conversation.close().await;
        Ok(())
    }

    /// Refuses, and closes. `kind` is a stable word: at most 64 lower-case letters, digits and underscores.
    pub async fn refuse(mut self, kind: &str) {
        if self.conversation.say(&EnrolMessage::Refused { word: kind.into() }).await.is_ok() {
            self.conversation.close().await;
        }
    }
}

impl<S: Stream> Enrolling<S> {
    pub(super) async fn ask(
        stream: client::TlsStream<S>,
        binding: Binding,
        own: NodeId,
        token: &JoinToken,
        request: &EnrolRequest,
    ) -> Result<Self, EnrolError> {
        let mut conversation = Conversation::new(stream);
        let proof = proof(token.secret(), &binding, &own, &token.master(), request)?;
        let EnrolRequest { name, address, takeover_delay_ms } = request.clone();
        conversation.say(&EnrolMessage::Request { name, address, takeover_delay_ms, proof }).await?;
        match conversation.hear().await? {
            EnrolMessage::Accepted { pair, name, address } => {
                Ok(Self { conversation, enrolled: Enrolled { pair, master: token.master(), name, address } })
            }
            EnrolMessage::Refused { word } => Err(EnrolError::Refused(word)),
            _ => Err(out_of_turn()),
        }
    }

    /// What the master says.
    pub fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }

    /// Says that it is stored here, and returns when it is stored there. An enrolment with the same token and key is
    /// answered alike when the answer was lost, so the caller may try again.
    ///
    /// # Errors
    /// [`EnrolError::Refused`] where the master could not store it; [`EnrolError::Broken`] leaves open whether it did.
    pub async fn confirm(mut self) -> Result<(), EnrolError> {
        self.conversation.say(&EnrolMessage::Confirm).await?;
        match self.conversation.hear().await? {
            EnrolMessage::Stored => {
                self.conversation.close().await;
                Ok(())
            }
            EnrolMessage::Refused { word } => Err(EnrolError::Refused(word)),
            _ => Err(out_of_turn()),
        }
    }
}

impl EnrolError {
    /// Why there is no connection to ask on.
    pub(super) fn of_connection(refused: Refused) -> Self {
        match refused {
            Refused::Unpermitted(shown) => Self::Protocol(format!("it shows {shown}")),
            Refused::ByPeer(reason) if reason == NO_PROTOCOL => Self::Refused(ENROLMENT_CLOSED.into()),
            Refused::ByPeer(reason) => Self::Protocol(reason),
            Refused::Broken(error) => Self::Broken(error),
        }
    }
}

impl From<WireError> for EnrolError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// What shows that an enrolee knows a secret: keyed BLAKE3 over what binds it to this connection (so it cannot be
/// replayed on another), to both keys (so nobody can stand between) and to the request (so it cannot be changed).
pub(super) fn proof(
    secret: &[u8; 16],
    binding: &Binding,
    enrolee: &NodeId,
    master: &NodeId,
    request: &EnrolRequest,
) -> Result<[u8; 32], EnrolError> {
    let key = Zeroizing::new(blake3::derive_key(PROOF, secret));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&**binding);
    hasher.update(&enrolee.0);
    hasher.update(&master.0);
    hasher.update(&enrol_proof_input(&request.name, &request.address, request.takeover_delay_ms)?);
    Ok(*hasher.finalize().as_bytes())
}

fn out_of_turn() -> EnrolError {
    EnrolError::Protocol("a message out of turn".into())
}

/// Messages in turn over one connection: neither end says anything before it has heard what it waits for, so more
/// than one frame at a time is never held.
struct Conversation<T> {
    stream: T,
    decoder: FrameDecoder,
}

impl<T: Stream> Conversation<T> {
    fn new(stream: T) -> Self {
        Self { stream, decoder: FrameDecoder::enrolment() }
    }

    async fn say(&mut self, message: &EnrolMessage) -> Result<(), EnrolError> {
        let frame = encode_enrol(message)?;
        self.stream.write_all(&frame).await.map_err(EnrolError::Broken)?;
        self.stream.flush().await.map_err(EnrolError::Broken)
    }

    async fn hear(&mut self) -> Result<EnrolMessage, EnrolError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(decode_enrol(&frame.payload)?);
            }
            if self.stream.read_buf(self.decoder.buffer()).await.map_err(EnrolError::Broken)? == 0 {
                return Err(EnrolError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The last word was said and heard, or will be: how the connection ends makes no difference any more.
    async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}
