use std::io;
use std::path::PathBuf;

use crate::identity::{EnrolError, IdentityError};
use crate::model::limits::USER_BYTES_MAX;
use crate::node::network::enrolment_client::EnrolmentFailure;
use crate::protocol::engine::OptionsError;
use crate::store::StoreError;

/// Why a node did not start. Each variant says what is left in the data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The options contradict each other. Nothing was touched. Correct them.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The directory holds no node, and [`Builder::first_start`](crate::Builder::first_start) was not set. It stays as it is.
    #[error("the data directory is empty: say whether this is the first master, or join a master with a token")]
    FirstStartMissing,
    /// No new pair is made in this directory, because there are signs that it held a node. Nothing was changed. Mount the volume,
    /// restore the directory, or join the peer as a shadow; or insist with [`FirstStart::NewPair`](crate::FirstStart::NewPair).
    #[error("no new pair is made in {}: {why}", dir.display())]
    NewPairRefused {
        /// The data directory.
        dir: PathBuf,
        /// The sign.
        why: NewPairRefused,
    },
    /// The master could not be reached within [`ENROL_TIMEOUT`](crate::limits::ENROL_TIMEOUT). The directory is still empty.
    /// Start again.
    #[error("the master at {master} could not be reached: {reason}")]
    MasterUnreachable {
        /// Address that was dialled.
        master: String,
        /// Reason of the last failure.
        reason: String,
    },
    /// The master refused the enrolment. The directory is still empty. Start again with a new token.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The data directory could not be opened or created. Its content was not changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key or the certificate could not be made or read. Its file was not changed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Nobody can dial this address: it is unspecified (`0.0.0.0`, `::`) or has port 0. Nothing was touched. Name the address at
    /// which a node is reached.
    #[error("nobody can dial {0}: name the address and the port at which the node is reached")]
    Undialable(String),
    /// The node could not listen on the address. The directory was not changed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A permit is neither a host name nor an address range. Nothing was touched. Correct it.
    #[error("{0} is neither a host name nor an address range")]
    Permit(String),
    /// An address is not of the form `host:port`, or is too long. Nothing was touched. Correct it.
    #[error("{0} is not an address of the form host:port")]
    Address(String),
    /// The name of the user that enrols this node is empty or too long. Nothing was touched. Correct it.
    #[error("the name of a user has 1 to {USER_BYTES_MAX} bytes")]
    User,
    /// The operating system returned no random bytes. A directory that was empty may hold a new node now. Start again.
    #[error("the operating system returned no random bytes: {0}")]
    System(io::Error),
}

/// Why [`FirstStart::Master`](crate::FirstStart::Master) makes no new pair in a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewPairRefused {
    /// The directory is there and is empty, except perhaps for a lock file and `lost+found`.
    #[error("it exists and is empty: if a node was in it, its volume is not mounted, or the directory was emptied")]
    Empty,
    /// The directory holds files of a node, and its pointer file is missing.
    #[error("it holds the remains of a node, which lacks its file `current`")]
    Remains,
    /// The directory holds other files, and no node.
    #[error("it exists and holds other files, but no node: it is another directory, or the node was removed from it")]
    Foreign,
    /// This volume is in the system's table of volumes, and is not mounted.
    #[error("its volume {} is in /etc/fstab and is not mounted", .0.display())]
    NotMounted(PathBuf),
}

impl From<EnrolmentFailure> for StartError {
    fn from(failure: EnrolmentFailure) -> Self {
        match failure {
            EnrolmentFailure::Unreachable { master, reason } => Self::MasterUnreachable { master, reason },
            EnrolmentFailure::Enrol(error) => Self::Enrol(error),
        }
    }
}
