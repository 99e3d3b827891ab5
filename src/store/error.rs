//! Why the store could not be opened, read or written.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use crate::protocol::engine::DiskFailure;

/// The data directory could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process uses the directory. Stop it, or name another directory.
    #[error("another process uses the data directory {0}")]
    Locked(PathBuf),
    /// A newer program wrote the file. Start that version.
    #[error("{what} has version {found}, newer than {known} which this program knows; nothing was changed")]
    Newer {
        /// Name of the file.
        what: String,
        /// Version of the file.
        found: u32,
        /// Newest version that this program knows.
        known: u32,
    },
    /// A file is damaged and cannot be repaired from the peer. Restore the directory from a backup, or empty it and enrol
    /// the node again.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// Name of the file.
        what: String,
        /// The damage.
        reason: String,
    },
    /// The user of this process may not use a file of the data directory, for example because the node was once started as root. The
    /// command in `mend` changes that; the user may need the rights of root for it.
    #[error("permission denied: {} belongs to {owner} (mode {mode:04o}), and this process runs as {user}: `{mend}` mends it", path.display())]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// The user that owns it.
        owner: String,
        /// Its permission bits.
        mode: u32,
        /// The user as whom this process runs.
        user: String,
        /// A command that mends it.
        mend: String,
    },
    /// The operating system reported an error.
    #[error("{what}: {source}")]
    Io {
        /// The attempted operation.
        what: String,
        /// The error.
        source: io::Error,
    },
}

/// The configuration could not be read. It is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk failed, or what it holds is damaged. Check the disk; the alerts say whether the copy is being repaired.
    #[error("the configuration could not be read: {0}")]
    Disk(String),
}

impl StoreError {
    pub(super) fn io(what: &str, source: io::Error) -> Self {
        Self::Io { what: what.to_owned(), source }
    }

    /// A file could not be opened. What the error says decides whether the file is damaged or out of reach.
    pub(super) fn unreadable(what: &str, source: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, NotFound, Other, UnexpectedEof};
        match source.kind() {
            InvalidData | Other | NotFound | UnexpectedEof => {
                Self::Corrupt { what: what.to_owned(), reason: source.to_string() }
            }
            _ => Self::io(&format!("opening {what}"), source),
        }
    }
}

impl ReadError {
    pub(super) fn of(error: impl Display) -> Self {
        Self::Disk(error.to_string())
    }

    pub(super) fn damaged(what: &str) -> Self {
        Self::Disk(format!("{what} is damaged"))
    }
}

/// An error of data that cannot be right.
pub(super) fn invalid_data(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// The caller broke the contract of the store. Nothing was changed, and the store stays open.
pub(super) fn misuse(reason: impl Display) -> DiskFailure {
    DiskFailure { full: false, reason: format!("refused, nothing was changed: {reason}") }
}
