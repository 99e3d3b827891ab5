/// Newest version of the record format that this program writes and reads.
pub const RECORD_VERSION: u8 = 1;

/// Bytes that are not a valid record. Nothing of them was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// They end before the record does.
    #[error("the record is cut off")]
    Short,
    /// They do not start with a valid record header.
    #[error("no record begins here")]
    Header,
    /// A newer program wrote the record.
    #[error("the record has version {found}, newer than {RECORD_VERSION}")]
    Newer {
        /// Its version.
        found: u8,
    },
    /// The checksum does not match.
    #[error("the checksum of the record does not match")]
    Checksum,
    /// The checksum matches, but the payload does not follow the format: the program that wrote it is at fault.
    #[error("the content of the record is malformed")]
    Payload,
}
