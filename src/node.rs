//! The shell: [`Node`] and what it is made of. Dials, listens, keeps time, drives the engine with tokio.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::identity::JoinToken;
use crate::model::{ChangeSet, Conflict, Epoch, History, Key, Limit, Revision};
use crate::protocol::alerts::Alert;
use crate::protocol::engine::{AlertChange, EngineStatus, How, LinkState, Options, OptionsError};
use crate::protocol::wire::Role;
use crate::store::{Diverged, ReadError, Snapshot};

/// One running instance of a pair. Cheap to clone; the last clone dropped stops it cleanly, as a crash would for its peer.
#[derive(Clone)]
pub struct Node {}

/// Makes and starts a [`Node`].
pub struct Builder {}

/// What an empty data directory becomes. Ignored afterwards: the directory knows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FirstStart {
    /// The first master of a new pair.
    Master,
    /// The shadow of a master that is there.
    Join {
        /// `host:port` of the master.
        master: String,
        /// Made by the master's operator.
        token: JoinToken,
    },
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The options contradict each other.
    #[error("{0}")]
    Options(#[from] OptionsError),
    /// The directory is empty and nobody said what it should become.
    #[error("the data directory is empty: say whether this is the first master, or join a master with a token")]
    FirstStartMissing,
    /// The master could not be reached within 30 s. The directory is as empty as before.
    #[error("the master at {master} could not be reached: {reason}")]
    MasterUnreachable {
        /// Where.
        master: String,
        /// Why.
        reason: String,
    },
    /// The master refused. The directory is as empty as before.
    #[error("{0}")]
    Enrol(#[from] crate::identity::EnrolError),
    /// The data directory could not be opened; nothing was changed.
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    /// Key, certificate or TLS.
    #[error("{0}")]
    Identity(#[from] crate::identity::IdentityError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A permit is neither host name nor address range.
    #[error("{0} is neither a host name nor an address range")]
    Permit(String),
}

impl Node {
    /// A node in this data directory.
    pub fn builder(dir: impl Into<PathBuf>) -> Builder {
        let _: PathBuf = dir.into();
        todo!()
    }

    /// The replicated configuration: read in either role, written on the master.
    pub fn config(&self) -> Config {
        todo!()
    }

    /// This node's own entries.
    pub fn local(&self) -> Local {
        todo!()
    }

    /// What the node says of itself.
    pub fn status(&self) -> Arc<Status> {
        todo!()
    }

    /// The same, to be watched.
    pub fn status_watch(&self) -> tokio::sync::watch::Receiver<Arc<Status>> {
        todo!()
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        todo!()
    }

    /// The operator's verbs.
    pub fn operator(&self) -> Operator {
        todo!()
    }

    /// Waits until this node holds mastership.
    ///
    /// # Errors
    /// [`Stopped`] when the node stops before.
    pub async fn mastership(&self) -> Result<Mastership, Stopped> {
        todo!()
    }

    /// Stops: accepted change sets are finished, the link is closed with a word. Other clones find the node stopped.
    pub async fn shutdown(&self) {
        todo!()
    }
}

impl Builder {
    /// What an empty directory becomes.
    #[must_use]
    pub fn first_start(self, first: FirstStart) -> Self {
        let _ = first;
        self
    }

    /// The knobs. Default: [`Options::default`].
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        let _ = options;
        self
    }

    /// Where to listen. Default `127.0.0.1:0`.
    #[must_use]
    pub fn listen(self, address: impl Into<String>) -> Self {
        let _: String = address.into();
        self
    }

    /// Where the peer dials. Default: where this node listens.
    #[must_use]
    pub fn advertise(self, address: impl Into<String>) -> Self {
        let _: String = address.into();
        self
    }

    /// Only peers from these host names or address ranges (`10.0.0.0/8`) are answered. Default: everybody, who then needs the pinned key.
    #[must_use]
    pub fn permit(self, hosts: impl IntoIterator<Item = String>) -> Self {
        let _: Vec<String> = hosts.into_iter().collect();
        self
    }

    /// The master's address, tried beside the learnt one.
    #[must_use]
    pub fn master_address(self, address: impl Into<String>) -> Self {
        let _: String = address.into();
        self
    }

    /// What the host has a say in.
    #[must_use]
    pub fn hooks(self, hooks: Arc<dyn Hooks>) -> Self {
        let _ = hooks;
        self
    }

    /// The cryptography. Default: aws-lc-rs where it is built in, else ring.
    #[must_use]
    pub fn crypto_provider(self, provider: Arc<rustls::crypto::CryptoProvider>) -> Self {
        let _ = provider;
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// [`StartError`] says what is left in the directory.
    pub async fn start(self) -> Result<Node, StartError> {
        todo!()
    }
}

/// The replicated configuration.
#[derive(Clone)]
pub struct Config {}

impl Config {
    /// What is visible now. Never blocks, never waits for the network.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// Commits a change set. Once accepted it is not undone by dropping the future.
    ///
    /// # Errors
    /// [`CommitError`]; nothing remains of a refused change set.
    pub async fn commit(&self, changes: ChangeSet) -> Result<Committed, CommitError> {
        let _ = changes;
        todo!()
    }

    /// Hands a change set over without waiting.
    ///
    /// # Errors
    /// As [`Config::commit`], as far as it is known at once.
    pub fn try_commit(&self, changes: ChangeSet) -> Result<Pending, CommitError> {
        let _ = changes;
        todo!()
    }

    /// Changes of keys with this prefix from now on.
    pub fn watch(&self, prefix: &str) -> Watch {
        let _ = prefix;
        todo!()
    }
}

/// A change set on its way.
pub struct Pending {}

impl Pending {
    /// Waits for the end.
    ///
    /// # Errors
    /// As [`Config::commit`].
    pub async fn committed(self) -> Result<Committed, CommitError> {
        todo!()
    }
}

/// A change set is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// As this revision.
    pub revision: Revision,
    /// Whether it is durable on both nodes.
    pub replicated: bool,
}

/// Why a change set was not committed. Nothing remains of it, but for [`CommitError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// This node is not master.
    #[error("this node is not master{}", master.as_ref().map(|at| format!("; the master is dialled at {at}")).unwrap_or_default())]
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// A guard did not hold.
    #[error("{0}")]
    Guard(#[from] Conflict),
    /// A bound is broken.
    #[error("{0}")]
    Invalid(#[from] Limit),
    /// Too many change sets wait. Try again later.
    #[error("too many change sets wait; try again later")]
    Overloaded,
    /// It reached the log; whether it stays is not known yet. Look at the history later.
    #[error("the change set reached the log as {revision}, but what becomes of it is not known")]
    InDoubt {
        /// As this revision.
        revision: Revision,
    },
    /// The disk is full. Nothing changed.
    #[error("the disk is full; nothing was changed")]
    DiskFull,
    /// The disk failed. Nothing changed.
    #[error("the disk failed; nothing was changed: {0}")]
    Disk(String),
    /// The node is stopped.
    #[error("the node is stopped")]
    Stopped,
}

/// Changes, as they become visible.
pub struct Watch {}

/// What a [`Watch`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watched {
    /// These keys changed.
    Changed {
        /// In this revision.
        revision: Revision,
        /// Those with the prefix; never empty.
        keys: Arc<[Key]>,
    },
    /// Changes were missed, or the whole copy was replaced: take a snapshot again.
    Lagged,
}

impl Watch {
    /// The next change. `None` when the node stopped.
    pub async fn next(&mut self) -> Option<Watched> {
        todo!()
    }
}

/// This node's own entries: never replicated, writable in either role.
#[derive(Clone)]
pub struct Local {}

impl Local {
    /// An entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        let _ = key;
        todo!()
    }

    /// Keys with this prefix.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        let _ = prefix;
        todo!()
    }

    /// Sets an entry, durably.
    ///
    /// # Errors
    /// [`CommitError`], never `NotMaster`.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), CommitError> {
        let _ = (key, value.into());
        todo!()
    }

    /// Removes an entry, durably.
    ///
    /// # Errors
    /// [`CommitError`], never `NotMaster`.
    pub async fn delete(&self, key: &str) -> Result<(), CommitError> {
        let _ = key;
        todo!()
    }
}

/// What a node says of itself, as plain data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What the engine says: role, serving, epoch, position, link, takeover, alerts.
    pub engine: EngineStatus,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its peer dials.
    pub advertise: String,
    /// When this was written, by the suspend-aware clock; `last_seen` ages from here.
    pub written_us: u64,
}

/// A bounded stream of events.
pub struct Events {}

/// What happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Role or serving changed.
    Role {
        /// Role now.
        role: Role,
        /// Whether the node holds mastership.
        serving: bool,
        /// Its epoch.
        epoch: Epoch,
        /// Why, in a stable word.
        reason: &'static str,
    },
    /// The link changed.
    Link {
        /// To this state.
        state: LinkState,
        /// Where the peer is dialled.
        peer: Option<String>,
        /// Why.
        reason: String,
    },
    /// Both nodes are at the same position.
    Synced {
        /// How that was reached.
        how: How,
        /// Where.
        revision: Revision,
        /// Entries transferred.
        entries: u64,
        /// Bytes transferred.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// A change set became visible.
    Changed {
        /// As this revision.
        revision: Revision,
        /// Number of keys.
        keys: u64,
    },
    /// An alert changed.
    Alert {
        /// How.
        change: AlertChange,
        /// What it says.
        alert: Alert,
    },
    /// The reader was too slow and missed this many.
    Missed(u64),
    /// The node stopped. Nothing follows.
    Stopped,
}

impl Events {
    /// The next event. `None` after [`NodeEvent::Stopped`].
    pub async fn next(&mut self) -> Option<NodeEvent> {
        todo!()
    }
}

/// The operator's verbs.
#[derive(Clone)]
pub struct Operator {}

/// Why an operator's command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// High availability is not enabled.
    #[error("high availability is not enabled on this node: say enable first")]
    Disabled,
    /// There is an enrolled shadow.
    #[error("there is an enrolled shadow")]
    ShadowEnrolled,
    /// There is no enrolled peer.
    #[error("there is no enrolled peer")]
    NoPeer,
    /// The link is up.
    #[error("the link to the peer is up: disconnect first")]
    PeerConnected,
    /// Only a master can do this.
    #[error("only a master can do this")]
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// There is no such alert.
    #[error("there is no alert of this number")]
    UnknownAlert,
    /// Too many tokens are alive.
    #[error("too many tokens are alive: wait until one expires")]
    TooManyTokens,
    /// The argument is out of bounds.
    #[error("{0}")]
    BadArgument(String),
    /// This shadow never had a complete copy.
    #[error("this shadow has no complete, verified copy")]
    Incomplete,
    /// Change sets would be lost.
    #[error("change sets would be lost; say so explicitly to accept it")]
    Loss {
        /// First and last that are known to be missing, where known.
        missing: Option<(Revision, Revision)>,
    },
    /// A later version brings it.
    #[error("not supported yet")]
    NotSupported,
    /// The disk is full or failed.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The node is stopped.
    #[error("the node is stopped")]
    Stopped,
}

impl Operator {
    /// Allows a shadow to be enrolled. The directory remembers.
    pub async fn enable(&self) -> Result<(), OperatorError> {
        todo!()
    }

    /// Forbids it again.
    pub async fn disable(&self) -> Result<(), OperatorError> {
        todo!()
    }

    /// Makes a join token; returns it with its end (wall clock, milliseconds since 1970).
    pub async fn token(&self, life: Option<Duration>) -> Result<(JoinToken, u64), OperatorError> {
        let _ = life;
        todo!()
    }

    /// Closes the link and holds it.
    pub async fn disconnect(&self) -> Result<(), OperatorError> {
        todo!()
    }

    /// Lets it come again.
    pub async fn reconnect(&self) -> Result<(), OperatorError> {
        todo!()
    }

    /// Asks for a full push.
    pub async fn resync(&self) -> Result<(), OperatorError> {
        todo!()
    }

    /// Forgets the pairing on this node.
    pub async fn reset(&self) -> Result<(), OperatorError> {
        todo!()
    }

    /// Marks an alert as seen.
    pub async fn acknowledge(&self, alert: u64) -> Result<(), OperatorError> {
        let _ = alert;
        todo!()
    }

    /// Makes this node master.
    pub async fn take_over(&self, accept_loss: bool) -> Result<(), OperatorError> {
        let _ = accept_loss;
        todo!()
    }

    /// What a former master's quarantine holds.
    pub async fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        todo!()
    }

    /// The lineage.
    pub fn history(&self) -> History {
        todo!()
    }
}

/// The right to act as master. Ends on its own when the node loses it; dropping it changes nothing.
pub struct Mastership {}

/// How long mastership holds at the least, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remaining {
    /// No witness bounds it.
    Unbounded,
    /// This long.
    For(Duration),
}

/// Mastership has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mastership has ended: {reason}")]
pub struct Ended {
    /// Why, in a stable word.
    pub reason: &'static str,
}

/// The node is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopped")]
pub struct Stopped;

impl Mastership {
    /// The fencing token for the host's own external writes.
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// Whether it still holds, now.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn check(&self) -> Result<Remaining, Ended> {
        todo!()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Ended {
        todo!()
    }
}

/// What the host has a say in. A panic or a timeout ([`Options::hook_timeout`]) is a refusal with an alert.
/// The methods block a thread of tokio's blocking pool, never the node.
pub trait Hooks: Send + Sync + 'static {
    /// On the shadow, before anything of it is durable: whether this configuration is acceptable.
    ///
    /// # Errors
    /// The reason, which the master's alert shows.
    fn validate(&self, candidate: &Snapshot) -> Result<(), String> {
        let _ = candidate;
        Ok(())
    }

    /// Whether this node may take over now: a check of its own uplinks, say.
    ///
    /// # Errors
    /// The reason.
    fn may_take_over(&self) -> Result<(), String> {
        Ok(())
    }
}
