//! Nodes that were accepted and have not confirmed yet, of which the first that confirms is the shadow; and a shadow that is being
//! replaced.

use std::collections::VecDeque;

use super::{Moment, Peer, StoredToken, Ticket};
use crate::model::limits::ENROLLING_MAX;
use crate::model::{KeyId, NodeId};

/// | | `accept` | `confirm` of one that waits | `confirm` of another |
/// |---|---|---|---|
/// | fewer than the bound wait | waits | taken | nothing |
/// | the bound | waits, the oldest is forgotten | taken | nothing |
///
/// | | `replace` | `take_replacement` |
/// |---|---|---|
/// | nobody is replaced | begins | nothing |
/// | the shadow is being replaced | refused by the engine | taken: nobody is replaced |
#[derive(Clone, Debug, Default)]
pub(super) struct Enrolments {
    accepted: VecDeque<Accepted>,
    replacement: Option<Replacement>,
}

/// A node that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    ask: u64,
    pub(super) peer: Peer,
    /// The key of this node that it has seen.
    pub(super) own_key: KeyId,
    pub(super) welcome: Welcome,
}

/// Why a node was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// It is enrolled already, and the answer was lost.
    Known,
    /// It knows this token.
    Token(StoredToken),
    /// The host knows its user and password.
    User,
}

/// A shadow that is being replaced: its pin ends once the witness, where there is one, says that it is not in sync.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    /// Who asked for it.
    pub(super) ticket: Ticket,
    /// The shadow that is replaced.
    pub(super) shadow: NodeId,
    /// The token of the new shadow.
    pub(super) token: StoredToken,
    /// Since when.
    pub(super) since: Moment,
}

impl Enrolments {
    pub(super) fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }

    pub(super) fn accept(&mut self, ask: u64, (peer, own_key): (Peer, KeyId), welcome: Welcome) {
        if self.accepted.len() >= ENROLLING_MAX {
            self.accepted.pop_front();
        }
        self.accepted.push_back(Accepted { ask, peer, own_key, welcome });
    }

    pub(super) fn confirm(&mut self, ask: u64) -> Option<Accepted> {
        let found = self.accepted.iter().position(|accepted| accepted.ask == ask)?;
        self.accepted.remove(found)
    }

    /// The shadow is to be replaced.
    pub(super) fn replace(&mut self, replacement: Replacement) {
        self.replacement = Some(replacement);
    }

    /// The shadow that is being replaced, if it is.
    pub(super) fn replacement(&self) -> Option<&Replacement> {
        self.replacement.as_ref()
    }

    /// The replacement goes on elsewhere, or is off.
    pub(super) fn take_replacement(&mut self) -> Option<Replacement> {
        self.replacement.take()
    }
}

#[cfg(test)]
mod tests;
