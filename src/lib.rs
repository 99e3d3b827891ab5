//! A hot standby for the configuration of your application.
//!
//! Two instances of your program form a **pair**. The **master** owns the configuration and pushes it, whole or change by
//! change, over mutual TLS to the one permitted **shadow**. The shadow keeps a read-only copy, watches the master's
//! heartbeats, and takes over when they stop. What could not be pushed shows as alerts.
//!
//! ```no_run
//! use shadowpair::{ChangeSet, FirstStart, Node, Watched};
//!
//! # async fn host() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("/var/lib/gateway/pair") // remembers role, key, peer and configuration
//!     .first_start(FirstStart::Master) // looked at only while the directory is empty
//!     .listen("0.0.0.0:7443")
//!     .start()
//!     .await?;
//!
//! // Both roles read, and hear of every change.
//! let mut watch = node.config().watch("routes/");
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
//! The other instance says [`FirstStart::Join`] with a [`JoinToken`] that the master's [`Operator::token`] made. After their
//! first start both keep their command lines: the data directory knows who is what.
//!
//! # How to read it
//!
//! | you want to | look at |
//! |---|---|
//! | start and stop a node | [`Node`], [`Builder`], [`Options`] |
//! | read, write and watch the configuration | [`Config`], [`ChangeSet`], [`Snapshot`], [`Watch`]; [`Local`] for entries of one node's own |
//! | act only while you are master | [`Node::mastership`], [`Mastership`] and its [`epoch`](Mastership::epoch), the fencing token for what you write elsewhere |
//! | rule out two masters | [`Builder::witness`], [`FileWitness`]; [`Witness`] for one of your own |
//! | have a say | [`Hooks`]: refuse what is pushed, or a takeover |
//! | show what is going on | [`Node::status`], [`Node::events`], [`Alert`] |
//! | operate | [`Operator`]: tokens, hold, resync, takeover, quarantine |
//! | know a bound | [`limits`] |
//!
//! What holds and what does not (above all: without a witness, a partition can make two masters) stands in the
//! repository's `README.md`, every situation in `docs/FAILOVER.md`, the layout of the sources in `docs/ARCHITECTURE.md`.
//!
//! # Errors
//!
//! Every error says what happened to the state: nothing remains of what was *refused*; only
//! [`CommitError::InDoubt`] leaves an end open, and names the revision to look for. Errors, events and options are
//! `#[non_exhaustive]`: match with a wildcard, and set [`Options`] field by field.
//!
//! # Features
//!
//! - `aws-lc-rs` (default) and `ring`: the cryptography of rustls. At least one; with both, the host chooses with
//!   [`Builder::crypto_provider`]. No process-wide default is installed.
//! - `testing`: the module `testing`, a witness in memory, and the test that any [`Witness`] must pass.
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
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub(crate) mod witness;

pub use identity::{EnrolError, IdentityError, JoinToken, ParseTokenError};
pub use model::{
    Change, ChangeSet, Conflict, Digest, Epoch, Era, Expected, Guard, History, Key, Limit, NodeId, PairId, Position,
    Revision, WitnessRecord, WitnessVersion, limits,
};
pub use node::{
    Builder, CommitError, Committed, Config, Ended, Events, FirstStart, Hooks, Local, Mastership, Node, NodeEvent,
    Operator, OperatorError, Pending, Remaining, StartError, Status, Stopped, Watch, Watched,
};
pub use protocol::alerts::{Alert, AlertKind, Severity};
pub use protocol::engine::{
    AlertChange, EngineStatus, Failover, LinkState, LinkStatus, LogBounds, Options, OptionsError, RepairKind,
    Replication, RoleReason, TakeoverBlocker, Timeouts, WitnessStatus,
};
pub use protocol::wire::Role;
pub use store::{Diverged, DivergedChange, Entry, ReadError, Scan, Snapshot, StoreError, ValueReader};
pub use witness::{BoxFuture, FileWitness, Swap, Witness, WitnessError};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
