//! Joins the machines: one event in, ordered actions out.

mod action;
mod event;
mod facts;
mod frozen;
mod options;
mod status;

use crate::model::{History, Position, Revision, RunId};

pub use action::*;
pub use event::*;
pub use facts::*;
pub use frozen::{decode_facts, encode_facts};
pub use options::*;
pub use status::*;
/// What an engine starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The durable facts.
    pub facts: Facts,
    /// Durable head of the store.
    pub head: Position,
    /// The log holds everything after this.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: History,
    /// The knobs, validated.
    pub options: Options,
    /// This run: random.
    pub run: RunId,
    /// Where the peer dials this node.
    pub address: String,
    /// Damage that recovery found: the copy must be repaired from the peer before it counts.
    pub damage: Option<String>,
}

/// Until when what the engine said last may be relied upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Whether this node holds mastership.
    pub serving: bool,
    /// A master whose clock shows more than this was stopped, and is not serving until it has asked.
    pub until: Moment,
}

/// One node's decisions: master session, shadow session, failover and alerts behind one door.
#[derive(Clone, Debug)]
pub struct Engine {}

impl Engine {
    /// An engine for what the data directory holds, and its first actions.
    pub fn start(now: Now, start: Start) -> (Self, Vec<Action>) {
        let _ = (now, start);
        todo!()
    }

    /// One event in, ordered actions out.
    #[must_use]
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        let _ = (now, event);
        todo!()
    }

    /// What the engine says of itself at this moment.
    pub fn status(&self, at: Moment) -> EngineStatus {
        let _ = at;
        todo!()
    }

    /// The facts, some of them perhaps not durable yet.
    pub fn facts(&self) -> &Facts {
        todo!()
    }

    /// Whether it serves, and until when that may be relied upon.
    pub fn cover(&self) -> Cover {
        todo!()
    }
}
