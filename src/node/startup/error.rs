use std::io;

use crate::identity::{EnrolError, IdentityError};
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
    /// The directory is empty, and [`Builder::first_start`](crate::Builder::first_start) was not set. It stays empty.
    #[error("the data directory is empty: say whether this is the first master, or join a master with a token")]
    FirstStartMissing,
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
    /// The operating system returned no random bytes. A directory that was empty may hold a new node now. Start again.
    #[error("the operating system returned no random bytes: {0}")]
    System(io::Error),
}

impl From<EnrolmentFailure> for StartError {
    fn from(failure: EnrolmentFailure) -> Self {
        match failure {
            EnrolmentFailure::Unreachable { master, reason } => Self::MasterUnreachable { master, reason },
            EnrolmentFailure::Enrol(error) => Self::Enrol(error),
        }
    }
}
