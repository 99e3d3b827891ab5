//! What an engine must still know after a restart.

use serde::{Deserialize, Serialize};

use crate::model::{Epoch, NodeId, PairId, PinnedKeys, Position, Revision};
use crate::protocol::alerts::Alert;
use crate::protocol::wire::{Modes, Role};

/// The durable state of a node, beside its configuration. Small; always written whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableState {
    /// This node.
    pub node: NodeId,
    /// Its pair.
    pub pair: PairId,
    /// Its role.
    pub role: Role,
    /// The highest epoch it has had.
    pub epoch: Epoch,
    /// The highest epoch it has tried at the witness; zero is none.
    pub tried: Epoch,
    /// The highest epoch it has seen in the witness' record; zero is none.
    pub witnessed: Epoch,
    /// The longest promise it ever gave, milliseconds.
    pub promised_ms: u64,
    /// Whether a shadow may be enrolled.
    pub enabled: bool,
    /// Whether what it holds is a complete, verified copy. True on a master.
    pub complete: bool,
    /// The pairing was forgotten on a shadow: it keeps a readable copy and never takes over.
    pub detached: bool,
    /// The other node.
    pub peer: Option<Peer>,
    /// Join tokens alive.
    pub tokens: Vec<StoredToken>,
    /// How mastership moved, and what operators want of that.
    pub moves: Moves,
    /// The alert log.
    pub alerts: Vec<Alert>,
    /// Number of the next alert.
    pub next_alert: u64,
}

impl DurableState {
    /// Of the first master of a new pair.
    pub fn first_master(node: NodeId, pair: PairId) -> Self {
        Self { role: Role::Master, epoch: Epoch::FIRST, complete: true, ..Self::blank(node, pair) }
    }

    /// Of a shadow that has just enrolled with `master`.
    pub fn first_shadow(node: NodeId, pair: PairId, master: Peer) -> Self {
        Self { role: Role::Shadow, enabled: true, peer: Some(master), ..Self::blank(node, pair) }
    }

    fn blank(node: NodeId, pair: PairId) -> Self {
        Self {
            node,
            pair,
            role: Role::Shadow,
            epoch: Epoch::NONE,
            tried: Epoch::NONE,
            witnessed: Epoch::NONE,
            promised_ms: 0,
            enabled: false,
            complete: false,
            detached: false,
            peer: None,
            tokens: Vec::new(),
            moves: Moves::default(),
            alerts: Vec::new(),
            next_alert: 1,
        }
    }
}

/// How mastership moved between the nodes, and what operators want of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// Wall clock of the last takeovers, milliseconds since 1970, for the hold-down. Planned switches are not among them.
    pub takeovers_ms: Vec<u64>,
    /// What this node has handed over, until it is known that the other node took it.
    pub given: Option<Given>,
    /// The modes of the pair.
    pub modes: Modes,
}

/// What a former master without a witness has handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The term that its shadow had noted.
    pub epoch: Epoch,
    /// The head at which it was handed over.
    pub position: Position,
}

/// The other node, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// The keys by which it is recognised.
    pub keys: PinnedKeys,
    /// Its name.
    pub name: String,
    /// Where it can be dialled.
    pub address: String,
    /// Its takeover delay, milliseconds, as last told.
    pub takeover_delay_ms: u64,
    /// The newest of our positions that it is known to have held durably.
    pub confirmed: Revision,
}

/// A join token, as its master remembers it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredToken {
    /// Its secret bits.
    pub secret: [u8; 16],
    /// Wall clock, milliseconds since 1970, after which it is worth nothing.
    pub expires_ms: u64,
}

impl std::fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredToken(until {})", self.expires_ms)
    }
}
