use super::FrameKind;

/// Bytes that are not a frame or message of ours, or a message that does not fit into one.
///
/// Of received bytes nothing was taken over; the only thing to do with the connection is to close it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Written by a newer program.
    #[error("{what} has format {found}, newer than {known} which this program knows; nothing was read")]
    Newer {
        /// What was read.
        what: &'static str,
        /// Its format.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// A frame of a kind that does not belong on this connection.
    #[error("a frame of kind {found} does not belong here")]
    UnknownKind {
        /// The kind found.
        found: u8,
    },
    /// The reserved bytes of a frame header are not zero.
    #[error("reserved bytes of a frame header are not zero")]
    Reserved,
    /// A frame is longer than its kind may be. Nothing was allocated for it.
    #[error("a {kind} frame of {bytes} bytes exceeds the bound of {max}")]
    TooLong {
        /// Its kind.
        kind: FrameKind,
        /// Its length, header excluded.
        bytes: u64,
        /// The bound of that kind.
        max: usize,
    },
    /// The bytes are not a message: cut, extended, not canonical, or something else altogether.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// How.
        reason: &'static str,
    },
    /// The bytes are a message, but a field is out of its bounds.
    #[error("the field {field} is out of bounds")]
    Bound {
        /// Which one.
        field: &'static str,
    },
}
