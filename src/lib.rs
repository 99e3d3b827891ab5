//! A hot standby for the configuration of your application.
//!
//! Two instances of your program form a **pair**. The **master** owns the configuration and pushes it, whole or change by
//! change, over mutual TLS to the one permitted **shadow**. The shadow keeps a read-only copy, watches the master's
//! heartbeats, and takes over when they stop. Alerts show what could not be pushed.
//!
//! ```no_run
//! use shadowpair::{ChangeSet, FirstStart, Node, Watched};
//!
//! # async fn host() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("/var/lib/gateway/pair") // remembers role, key, peer and configuration
//!     .first_start(FirstStart::Master) // only where there is no directory yet
//!     .listen("0.0.0.0:7443")
//!     .start()
//!     .await?;
//!
//! // Both roles can read and watch.
//! let mut watch = node.config().watch("routes/", None);
//! let route = node.config().snapshot().get("routes/api")?;
//!
//! // The master writes; on a shadow this waits until it has taken over.
//! let mastership = node.mastership().await?;
//! let changes = ChangeSet::new().put("routes/api", "10.0.0.7:80").delete("routes/old");
//! let committed = node.config().commit(changes).await?;
//! println!("epoch {} wrote {}; before: {route:?}", mastership.epoch(), committed.revision);
//!
//! while let Some(change) = watch.next().await {
//!     match change {
//!         Watched::Changed { revision, keys } => println!("{revision}: {keys:?}"),
//!         _ => println!("something was missed: take a snapshot again"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Start the other instance with [`FirstStart::Join`] and a [`JoinToken`] from the master's [`Operator::token`]. Later starts
//! ignore both settings, because the data directory stores role, key and peer.
//!
//! # How to read it
//!
//! | you want to | look at |
//! |---|---|
//! | start and stop a node | [`Node`], [`Builder`], [`Options`] |
//! | read, write and watch the configuration | [`Config`], [`ChangeSet`], [`Snapshot`], [`Watch`]; [`Local`] for unreplicated entries |
//! | act only while you are master | [`Node::mastership`], [`Mastership`]; its [`epoch`](Mastership::epoch) is the fencing token |
//! | rule out two masters | [`Builder::witness`], [`FileWitness`]; [`Witness`] to write your own |
//! | veto a push or a takeover | [`Hooks`] |
//! | observe a node | [`Node::status`], [`Node::events`], [`Alert`] |
//! | operate | [`Operator`]: tokens, hold, resync, takeover, quarantine |
//! | look up a bound | [`limits`] |
//!
//! The repository's `README.md` lists the guarantees and their limits. The most important limit: without a witness, a
//! partition can make two masters. `docs/FAILOVER.md` describes every situation, `docs/ARCHITECTURE.md` the layout of the
//! sources.
//!
//! # Errors
//!
//! Every error says what happened to the state. A *refused* change leaves nothing behind. [`CommitError::InDoubt`] and
//! [`OperatorError::InDoubt`] mean that the outcome is not known yet; the former names the revision to look for. Errors,
//! events and options are `#[non_exhaustive]`: match with a wildcard, and set [`Options`] field by field.
//!
//! # Logs
//!
//! Log lines go through `tracing`, on the tasks of the node. A subscriber that panics does not end the node's main task. A subscriber
//! that blocks, such as one that writes to a pipe whose reader is stopped, holds up the node and can cost it its mastership: give it a
//! writer that drops lines rather than wait. [`Events`] and the watches never hold up the node.
//!
//! # Features
//!
//! - `aws-lc-rs` (default) and `ring`: the cryptography of rustls. At least one; with both, the host chooses with
//!   [`Builder::crypto_provider`]. No process-wide default is installed.
//! - `testing`: the module `testing`, for the tests of a host. It runs a pair of real nodes in one process on simulated time,
//!   network, disks and witness. It also has an in-memory witness, and the conformance test for any [`Witness`].
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

#[cfg(test)]
mod campaign;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod identity;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod protocol;
pub(crate) mod store;
/// The tests compile the host of an example, which names the crate.
#[cfg(test)]
extern crate self as shadowpair;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub(crate) mod witness;

pub use identity::{EnrolError, IdentityError, JoinToken, KeyExchange, ParseTokenError};
pub use model::{
    Change, ChangeSet, Conflict, Digest, Epoch, Era, Expected, Guard, History, Key, KeyId, Limit, NodeId, PairId,
    Password, PasswordError, Position, Revision, WitnessRecord, WitnessVersion, limits,
};
pub use node::{
    BackupError, Builder, CommitError, Committed, Config, DivergedConflict, DivergedError, Ended, EntryError, Events,
    Exported, FirstStart, Hooks, Imported, Local, Mastership, NewPairRefused, Node, NodeEvent, Operator, OperatorError,
    Pending, Reapplied, Remaining, StartError, Status, Stopped, Typed, TypedChange, TypedSnapshot, TypedWatch, Watch,
    Watched,
};
pub use protocol::alerts::{Alert, AlertKind, Severity};
pub use protocol::engine::{
    AlertChange, EngineStatus, Failover, Handover, LinkState, LinkStatus, LogBounds, Options, OptionsError, OwnKeys,
    RepairKind, Replication, RoleReason, TakeoverBlocker, TimeoutOption, Timeouts, WitnessStatus,
};
pub use protocol::wire::{Mode, Modes, RefusalKind, Role, SwitchObstacle};
pub use store::{
    BackupFileError, ContentHash, Diverged, DivergedChange, DivergedReader, DivergedSide, DivergedValue, Entry,
    ReadError, Scan, Snapshot, StoreError, ValueReader,
};
pub use witness::{BoxFuture, FileWitness, Swap, Witness, WitnessError};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
