use serde::{Deserialize, Serialize};

use super::text;
use crate::model::limits::{PEER_DURATION_MAX, USER_BYTES_MAX, WORD_BYTES_MAX};
use crate::model::{NodeId, PairId, Password};
use crate::protocol::wire::{EnrolMessage, WireError};

/// [`EnrolMessage`], frozen.
#[derive(Serialize, Deserialize)]
pub enum EnrolV1 {
    Request { request: RequestV1, proof: [u8; 32] },
    Accepted { pair: [u8; 16], name: String, address: String },
    Refused { word: String },
    Confirm,
    Stored,
    AcceptedBy { node: [u8; 32], pair: [u8; 16], name: String, address: String },
    Authenticate { request: RequestV1, user: String, password: String },
}

/// The fields of a request that its proof covers.
#[derive(Serialize, Deserialize)]
pub struct RequestV1 {
    name: String,
    address: String,
    takeover_delay_ms: u64,
}

impl RequestV1 {
    /// A request of these fields.
    pub fn new(name: &str, address: &str, takeover_delay_ms: u64) -> Result<Self, WireError> {
        let (name, address) = (text::send_name(name), text::address(address)?);
        Ok(Self { name, address, takeover_delay_ms: delay(takeover_delay_ms)? })
    }
}

impl TryFrom<&EnrolMessage> for EnrolV1 {
    type Error = WireError;

    fn try_from(message: &EnrolMessage) -> Result<Self, WireError> {
        Ok(match message {
            EnrolMessage::Request { name, address, takeover_delay_ms, proof } => {
                Self::Request { request: RequestV1::new(name, address, *takeover_delay_ms)?, proof: *proof }
            }
            EnrolMessage::Accepted { pair, name, address } => {
                Self::Accepted { pair: pair.0, name: text::send_name(name), address: text::address(address)? }
            }
            EnrolMessage::Refused { word } => Self::Refused { word: stable_word(word)? },
            EnrolMessage::Confirm => Self::Confirm,
            EnrolMessage::Stored => Self::Stored,
            EnrolMessage::AcceptedBy { node, pair, name, address } => Self::AcceptedBy {
                node: node.0,
                pair: pair.0,
                name: text::send_name(name),
                address: text::address(address)?,
            },
            EnrolMessage::Authenticate { name, address, takeover_delay_ms, user, password } => Self::Authenticate {
                request: RequestV1::new(name, address, *takeover_delay_ms)?,
                user: user_name(user)?,
                password: password.as_str().to_owned(),
            },
        })
    }
}

impl TryFrom<EnrolV1> for EnrolMessage {
    type Error = WireError;

    fn try_from(message: EnrolV1) -> Result<Self, WireError> {
        Ok(match message {
            EnrolV1::Request { request, proof } => Self::Request {
                name: text::name(&request.name)?,
                address: text::address(&request.address)?,
                takeover_delay_ms: delay(request.takeover_delay_ms)?,
                proof,
            },
            EnrolV1::Accepted { pair, name, address } => {
                Self::Accepted { pair: PairId(pair), name: text::name(&name)?, address: text::address(&address)? }
            }
            EnrolV1::Refused { word } => Self::Refused { word: stable_word(&word)? },
            EnrolV1::Confirm => Self::Confirm,
            EnrolV1::Stored => Self::Stored,
            EnrolV1::AcceptedBy { node, pair, name, address } => Self::AcceptedBy {
                node: NodeId(node),
                pair: PairId(pair),
                name: text::name(&name)?,
                address: text::address(&address)?,
            },
            EnrolV1::Authenticate { request, user, password } => {
                // First, so that it is wiped whatever is wrong with the rest.
                let password = Password::new(password).map_err(|_| WireError::Bound { field: "password" })?;
                Self::Authenticate {
                    name: text::name(&request.name)?,
                    address: text::address(&request.address)?,
                    takeover_delay_ms: delay(request.takeover_delay_ms)?,
                    user: user_name(&user)?,
                    password,
                }
            }
        })
    }
}

/// Checks the name of a user.
fn user_name(user: &str) -> Result<String, WireError> {
    match (1..=USER_BYTES_MAX).contains(&user.len()) {
        true => Ok(user.to_owned()),
        false => Err(WireError::Bound { field: "user" }),
    }
}

/// Checks a stable word: lower-case letters, digits and underscores.
fn stable_word(word: &str) -> Result<String, WireError> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match (1..=WORD_BYTES_MAX).contains(&word.len()) && word.bytes().all(good) {
        true => Ok(word.to_owned()),
        false => Err(WireError::Bound { field: "word" }),
    }
}

fn delay(takeover_delay_ms: u64) -> Result<u64, WireError> {
    match u128::from(takeover_delay_ms) <= PEER_DURATION_MAX.as_millis() {
        true => Ok(takeover_delay_ms),
        false => Err(WireError::Bound { field: "takeover_delay" }),
    }
}
