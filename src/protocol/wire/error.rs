use super::FrameKind;

/// Received bytes are not a valid frame or message, or a message does not fit into a frame.
///
/// Nothing of the received bytes was used. A connection that delivered them must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A newer program wrote it.
    #[error("{what} has format {found}, this program reads up to {known}; nothing was read: upgrade this program")]
    Newer {
        /// What was read.
        what: &'static str,
        /// Its format.
        found: u32,
        /// Newest format that this program reads.
        known: u32,
    },
    /// A frame of a kind that does not belong on this connection.
    #[error("a frame of kind {found} does not belong on this connection")]
    UnknownKind {
        /// Number of the kind.
        found: u8,
    },
    /// The reserved bytes of a frame header are not zero.
    #[error("reserved bytes of a frame header are not zero")]
    Reserved,
    /// A frame is longer than its kind allows. No memory was allocated for it.
    #[error("a {kind} frame of {bytes} bytes exceeds the bound of {max} bytes")]
    TooLong {
        /// Its kind.
        kind: FrameKind,
        /// Its length, header excluded.
        bytes: u64,
        /// The bound of that kind.
        max: usize,
    },
    /// The bytes do not decode, are too many or too few, or are not the one valid encoding of their value.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A field is out of its bounds.
    #[error("the field {field} is out of bounds")]
    Bound {
        /// Name of the field.
        field: &'static str,
    },
}
