//! The shell: [`Node`] and its parts. It owns sockets, timers and tasks, and drives the engine.
//!
//! Reading order: `startup` makes a node. `handles` are the objects that the host holds. `driver` is the node's main task;
//! `driver/input` defines the messages from the node's other tasks to it. `network` has the links, the acceptor and enrolment.
//! `offload` runs work that the driver must not wait for: the store, reads for pushes, the witness, the host's hooks, the audit
//! log. All of them reach clocks, sockets, files and threads through `environment`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the shell is where clocks, randomness, tasks and threads belong; all of them stand in `environment`"
)]

mod driver;
pub(crate) mod environment;
mod handles;
pub(crate) mod mutants;
mod network;
mod offload;
mod startup;

pub use handles::backup::{BackupError, Exported, Imported};
pub use handles::config::{CommitError, Committed, Config, Pending};
pub use handles::events::{Events, NodeEvent};
pub use handles::hooks::Hooks;
pub use handles::local::Local;
pub use handles::mastership::{Ended, Mastership, Remaining, Stopped};
pub use handles::node::Node;
pub use handles::operator::{Operator, OperatorError};
pub use handles::quarantine::{DivergedConflict, DivergedError, Reapplied};
pub use handles::status::Status;
pub use handles::typed::{EntryError, Typed, TypedChange, TypedSnapshot, TypedWatch};
pub use handles::watch::{Watch, Watched};
pub use startup::builder::Builder;
pub use startup::error::{NewPairRefused, StartError};
pub use startup::settings::FirstStart;
