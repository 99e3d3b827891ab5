//! A hot standby for the configuration of your application.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod identity;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod protocol;
pub(crate) mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use identity::{EnrolError, IdentityError, JoinToken, ParseTokenError};
pub use model::{
    Change, ChangeSet, Conflict, Digest, Epoch, Era, Expected, Guard, History, Key, Limit, NodeId, PairId, Position,
    Revision, limits,
};
pub use node::{
    Builder, CommitError, Committed, Config, Ended, Events, FirstStart, Hooks, Local, Mastership, Node, NodeEvent,
    Operator, OperatorError, Pending, Remaining, StartError, Status, Stopped, Watch, Watched,
};
pub use protocol::alerts::{Alert, AlertKind, Severity};
pub use protocol::engine::{AlertChange, EngineStatus, Failover, How, LinkState, Options, OptionsError, Replication};
pub use protocol::wire::Role;
pub use store::{Diverged, DivergedChange, Entry, ReadError, Scan, Snapshot, StoreError, ValueReader};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
