//! The messages that protocol versions 3 and 4 added, frozen. Their frames have a kind of their own, so that version 1 stays as it is.

mod switch;

use serde::{Deserialize, Serialize};

use super::v1::{reason, send_reason};
use super::{CopySeen, Message, ResumePoint, WireError};
use crate::model::limits::{BASE_DIGEST_BYTES, BUCKETS, COMPARED_ENTRIES_MAX};
use crate::model::{Epoch, Key, KeyId, Revision, RunId};
use switch::{ModesV3, SwitchV3};

/// What version 3 added to [`Message`], and version 4 behind that.
#[derive(Serialize, Deserialize)]
pub enum MessageV3 {
    SnapshotResume { transfer: u64, after: String, from: RevisionV3, upto: RevisionV3 },
    Durable { upto: RevisionV3 },
    Switch(SwitchV3),
    Modes(ModesV3),
    CopySeen { run: u64, first: String, later: String },
    SnapshotBase { transfer: u64, buckets: Vec<u8> },
    SnapshotWants { transfer: u64, wants: Vec<u8> },
    // From version 4 on.
    NextKey { key: [u8; 32] },
    KeyPinned { key: [u8; 32] },
}

#[derive(Serialize, Deserialize)]
pub struct RevisionV3 {
    epoch: u64,
    seq: u64,
}

impl MessageV3 {
    /// The message, if this version added it.
    pub fn of(message: &Message) -> Option<Self> {
        match message {
            Message::SnapshotResume { transfer, point } => Some(Self::SnapshotResume {
                transfer: *transfer,
                after: point.after.as_str().to_owned(),
                from: point.from.into(),
                upto: point.upto.into(),
            }),
            Message::Switch(step) => Some(Self::Switch(step.into())),
            Message::Modes(modes) => Some(Self::Modes((*modes).into())),
            Message::Durable { upto } => Some(Self::Durable { upto: (*upto).into() }),
            Message::CopySeen(CopySeen { run, first, later }) => {
                Some(Self::CopySeen { run: run.0, first: send_reason(first), later: send_reason(later) })
            }
            Message::SnapshotBase { transfer, buckets } => {
                Some(Self::SnapshotBase { transfer: *transfer, buckets: buckets.clone() })
            }
            Message::SnapshotWants { transfer, wants } => {
                Some(Self::SnapshotWants { transfer: *transfer, wants: wants.clone() })
            }
            Message::NextKey { key } => Some(Self::NextKey { key: key.0 }),
            Message::KeyPinned { key } => Some(Self::KeyPinned { key: key.0 }),
            _ => None,
        }
    }
}

impl TryFrom<MessageV3> for Message {
    type Error = WireError;

    fn try_from(message: MessageV3) -> Result<Self, WireError> {
        Ok(match message {
            MessageV3::SnapshotResume { transfer, after, from, upto } => {
                let after = Key::new(after).map_err(|_| WireError::Bound { field: "key" })?;
                let point = Box::new(ResumePoint { after, from: from.into(), upto: upto.into() });
                Self::SnapshotResume { transfer, point }
            }
            MessageV3::Switch(step) => Self::Switch(step.into()),
            MessageV3::Modes(modes) => Self::Modes(modes.into()),
            MessageV3::Durable { upto } => Self::Durable { upto: upto.into() },
            MessageV3::CopySeen { run, first, later } => {
                Self::CopySeen(CopySeen { run: RunId(run), first: reason(&first)?, later: reason(&later)? })
            }
            MessageV3::SnapshotBase { transfer, buckets } if buckets.len() == BUCKETS * BASE_DIGEST_BYTES => {
                Self::SnapshotBase { transfer, buckets }
            }
            MessageV3::SnapshotWants { transfer, wants } if wants.len() <= COMPARED_ENTRIES_MAX.div_ceil(8) => {
                Self::SnapshotWants { transfer, wants }
            }
            MessageV3::NextKey { key } => Self::NextKey { key: KeyId(key) },
            MessageV3::KeyPinned { key } => Self::KeyPinned { key: KeyId(key) },
            MessageV3::SnapshotBase { .. } => return Err(WireError::Bound { field: "buckets" }),
            MessageV3::SnapshotWants { .. } => return Err(WireError::Bound { field: "wants" }),
        })
    }
}

impl From<Revision> for RevisionV3 {
    fn from(revision: Revision) -> Self {
        Self { epoch: revision.epoch.as_u64(), seq: revision.seq }
    }
}

impl From<RevisionV3> for Revision {
    fn from(revision: RevisionV3) -> Self {
        Self::new(Epoch::from_u64(revision.epoch), revision.seq)
    }
}
