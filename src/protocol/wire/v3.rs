//! The messages that protocol version 3 added, frozen. Their frames have a kind of their own, so that version 1 stays as it is.

mod switch;

use serde::{Deserialize, Serialize};

use super::{Message, WireError};
use switch::{ModesV3, SwitchV3};

/// What version 3 added to [`Message`].
#[derive(Serialize, Deserialize)]
pub enum MessageV3 {
    Switch(SwitchV3),
    Modes(ModesV3),
}

impl MessageV3 {
    /// The message, if this version added it.
    pub fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Switch(step) => Some(Self::Switch(step.into())),
            Message::Modes(modes) => Some(Self::Modes((*modes).into())),
            _ => None,
        }
    }
}

impl TryFrom<MessageV3> for Message {
    type Error = WireError;

    fn try_from(message: MessageV3) -> Result<Self, WireError> {
        Ok(match message {
            MessageV3::Switch(step) => Self::Switch(step.into()),
            MessageV3::Modes(modes) => Self::Modes(modes.into()),
        })
    }
}
