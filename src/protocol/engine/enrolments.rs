//! Nodes that were accepted and have not confirmed yet. The first one that confirms is the shadow.

use std::collections::VecDeque;

use super::{Peer, StoredToken};
use crate::model::limits::ENROLLING_MAX;

/// | | `accept` | `confirm` of one that waits | `confirm` of another |
/// |---|---|---|---|
/// | fewer than the bound wait | waits | taken | nothing |
/// | the bound | waits, the oldest is forgotten | taken | nothing |
#[derive(Clone, Debug, Default)]
pub(super) struct Enrolments(VecDeque<Accepted>);

/// A node that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    ask: u64,
    pub(super) peer: Peer,
    pub(super) token: Option<StoredToken>,
}

impl Enrolments {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn accept(&mut self, ask: u64, peer: Peer, token: Option<StoredToken>) {
        if self.0.len() >= ENROLLING_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Accepted { ask, peer, token });
    }

    pub(super) fn confirm(&mut self, ask: u64) -> Option<Accepted> {
        let found = self.0.iter().position(|accepted| accepted.ask == ask)?;
        self.0.remove(found)
    }
}

#[cfg(test)]
mod tests;
