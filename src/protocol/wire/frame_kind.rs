use std::fmt;

use crate::model::limits::{
    BULK_FRAME_BYTES_MAX, CARRIED_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, ENROL_FRAME_BYTES_MAX,
};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A [`super::Message`] of protocol version 1.
    Control,
    /// A [`super::Message`] that protocol version 3 added.
    ControlV3,
    /// Log records.
    Records,
    /// A piece of a snapshot.
    Snapshot,
    /// A part of a change set that the shadow's operator sends to the master, or the answer to one.
    Carried,
    /// A message of the enrolment protocol, which has connections of its own.
    Enrolment,
}

impl FrameKind {
    /// Longest payload of this kind, in bytes.
    pub const fn payload_max(self) -> usize {
        match self {
            Self::Control | Self::ControlV3 => CONTROL_FRAME_BYTES_MAX,
            Self::Records | Self::Snapshot => BULK_FRAME_BYTES_MAX,
            Self::Carried => CARRIED_FRAME_BYTES_MAX,
            Self::Enrolment => ENROL_FRAME_BYTES_MAX,
        }
    }

    /// The number of this kind in a frame header.
    pub const fn code(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Records => 2,
            Self::Snapshot => 3,
            Self::Carried => 5,
            Self::ControlV3 => 4,
            Self::Enrolment => 16,
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control | Self::ControlV3 => "control",
            Self::Records => "records",
            Self::Snapshot => "snapshot",
            Self::Carried => "carried",
            Self::Enrolment => "enrolment",
        })
    }
}
