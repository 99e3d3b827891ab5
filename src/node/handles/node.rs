use std::sync::Arc;

use tokio::sync::watch;

use super::config::Config;
use super::events::Events;
use super::local::Local;
use super::mastership::{Mastership, Stopped};
use super::operator::Operator;
use super::shared::Shared;
use super::status::Status;
use crate::protocol::engine::Command;

/// One running instance of a pair.
///
/// It is cheap to clone. When the last clone is dropped the node stops cleanly, in the background; [`Node::shutdown`] stops
/// it and waits for that. Handles made from it ([`Config`], [`Operator`] and the like) do not keep it running.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    /// The driver stops when the last clone of this is dropped.
    _running: Arc<watch::Sender<()>>,
}

impl Node {
    pub(in crate::node) fn new(shared: Arc<Shared>, running: watch::Sender<()>) -> Self {
        Self { shared, _running: Arc::new(running) }
    }

    /// The replicated configuration. Both roles read it, the master writes it.
    pub fn config(&self) -> Config {
        Config::new(Arc::clone(&self.shared))
    }

    /// This node's own entries, which are never replicated.
    pub fn local(&self) -> Local {
        Local::new(Arc::clone(&self.shared))
    }

    /// The status: role, epoch, position, link, alerts, and why this node would not take over. It never waits.
    ///
    /// `engine.serving` is checked against the clock now. Everything else is as the node's task wrote it at the end of its
    /// last turn.
    ///
    /// ```no_run
    /// # fn example(node: &shadowpair::Node) {
    /// let status = node.status();
    /// println!("{:?} at {}, {} alerts", status.engine.role, status.engine.position.revision, status.engine.alerts.len());
    /// # }
    /// ```
    pub fn status(&self) -> Arc<Status> {
        let status = Arc::clone(&self.shared.status.borrow());
        if status.engine.serving && !self.shared.mastership.holds(self.shared.environment.clock.now()) {
            let mut now = Status::clone(&status);
            now.engine.serving = false;
            return Arc::new(now);
        }
        status
    }

    /// The status as a watch. Receivers wake when anything changes but ages, round trips and the witness's counter.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// // Waits until the shadow has everything.
    /// node.status_watch().wait_for(|status| status.engine.in_sync).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn status_watch(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.status.clone()
    }

    /// The events from now on. See [`Events`] for what a slow reader misses.
    pub fn events(&self) -> Events {
        let feed = self.shared.events.subscribe();
        Events::new(feed, self.shared.is_stopped())
    }

    /// The operator's commands.
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.shared))
    }

    /// Waits until this node holds mastership, for as long as that takes; returns at once while it does. Dropping the
    /// future changes nothing.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::Stopped> {
    /// loop {
    ///     let mastership = node.mastership().await?;
    ///     // Do here what only the master does, until:
    ///     let ended = mastership.ended().await;
    ///     println!("not master any more: {ended}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Stopped`] when the node stops before it becomes master.
    pub async fn mastership(&self) -> Result<Mastership, Stopped> {
        self.shared.mastership.granted(&self.shared.environment.clock).await
    }

    /// Stops the node, and waits until it has stopped. Change sets that were accepted are finished, the link is closed, and
    /// the data directory is free for another start. Other clones find the node stopped; stopping it again does nothing.
    ///
    /// A master whose shadow is in sync hands over to it first ([`Options::handover`](crate::Options::handover)): the shadow serves
    /// at once instead of after the takeover delay, and this node is the shadow when it starts again.
    ///
    /// It takes a few times [`Timeouts::drain`](crate::Timeouts::drain) at most, whatever hangs. If the
    /// disk hangs, its work may go on after that.
    pub async fn shutdown(&self) {
        // No answer means that the node has stopped already.
        let _ = self.shared.command(Command::Shutdown).await;
        self.shared.until_stopped().await;
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("node", &self.shared.node).field("stopped", &self.shared.is_stopped()).finish()
    }
}
