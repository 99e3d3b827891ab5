//! The shell: [`Node`] and what it is made of. Dials, listens, keeps time, drives the engine with tokio.
//!
//! Reading order: `builder` and `start` make a node; `config`, `local`, `operator` and `mastership` are its handles;
//! `inbox` is all that can wake its one task, `driver` is that task; `link`, `listener`, `dial`, `enrol` and `join` are
//! the network, `persist` and `push` the store, `witness` the third vote. What touches the world goes through `seam`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the shell is where clocks, randomness, tasks and threads belong; all of them stand in `seam` and `pool`"
)]

mod builder;
mod config;
mod dial;
mod driver;
mod enrol;
mod events;
mod files;
mod frames;
mod hooks;
mod inbox;
mod join;
mod link;
mod listener;
mod local;
mod mastership;
mod operator;
mod permit;
mod persist;
mod pool;
mod push;
pub(crate) mod seam;
mod shared;
mod start;
mod status;
mod voice;
mod witness;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

pub use builder::{Builder, FirstStart, StartError};
pub use config::{CommitError, Committed, Config, Pending, Watch, Watched};
pub use events::{Events, NodeEvent};
pub use hooks::Hooks;
pub use local::Local;
pub use mastership::{Ended, Mastership, Remaining, Stopped};
pub use operator::{Operator, OperatorError};
pub use status::Status;

use crate::protocol::engine::Command;
use shared::Shared;

/// One running instance of a pair. Cheap to clone; the last clone dropped stops it cleanly, without waiting. Handles
/// made from it ([`Config`], [`Operator`] and the like) do not keep it running.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    /// The driver ends when the last clone of this is gone.
    _running: Arc<watch::Sender<()>>,
}

impl Node {
    fn new(shared: Arc<Shared>, running: watch::Sender<()>) -> Self {
        Self { shared, _running: Arc::new(running) }
    }

    /// A node in this data directory, which is made where it is missing. One process at a time may use it.
    pub fn builder(dir: impl Into<PathBuf>) -> Builder {
        Builder::new(dir.into())
    }

    /// The replicated configuration: read in either role, written on the master.
    pub fn config(&self) -> Config {
        Config::new(Arc::clone(&self.shared))
    }

    /// This node's own entries.
    pub fn local(&self) -> Local {
        Local::new(Arc::clone(&self.shared))
    }

    /// What the node says of itself. Never waits; `serving` is looked at now, the rest is at most one turn of the
    /// node's task old.
    pub fn status(&self) -> Arc<Status> {
        let status = Arc::clone(&self.shared.status.borrow());
        if status.engine.serving && !self.shared.reign.holds(self.shared.environment.clock.now()) {
            let mut now = Status::clone(&status);
            now.engine.serving = false;
            return Arc::new(now);
        }
        status
    }

    /// The same, to be watched. It changes where anything but ages and round trips does.
    pub fn status_watch(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.status.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        let feed = self.shared.events.subscribe();
        Events::new(feed, self.shared.is_stopped())
    }

    /// The operator's verbs.
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.shared))
    }

    /// Waits until this node holds mastership; returns at once while it does.
    ///
    /// # Errors
    /// [`Stopped`] when the node stops before.
    pub async fn mastership(&self) -> Result<Mastership, Stopped> {
        self.shared.reign.granted(&self.shared.environment.clock).await
    }

    /// Stops: accepted change sets are finished, the link is closed with a word, and the directory is free when this
    /// returns. Other clones find the node stopped. Bounded by a few times the drain timeout, whatever hangs.
    pub async fn shutdown(&self) {
        // No answer means that somebody else stopped it first.
        let _ = self.shared.command(Command::Shutdown).await;
        self.shared.until_stopped().await;
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("node", &self.shared.node).field("stopped", &self.shared.is_stopped()).finish()
    }
}
