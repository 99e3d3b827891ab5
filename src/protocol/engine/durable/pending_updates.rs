//! What operators and enrolling nodes want changed in the durable state. Until it is durable it is as if it had never been asked
//! for: it is written with the state and adopted on the receipt, and where the state could not be written nothing has to be undone.

use super::super::Ticket;
use super::state::{DurableState, Peer, StoredToken};
use crate::model::limits::PENDING_UPDATES_MAX;
use crate::model::{NodeId, PinnedKeys, Revision};
use crate::protocol::alerts::{Alert, AlertChange, AlertLog};
use crate::protocol::wire::Role;

/// A change of the durable state.
#[derive(Clone, Debug)]
pub(in super::super) enum Update {
    /// Whether a shadow may be enrolled.
    Enabled(bool),
    /// A join token lives.
    Token(StoredToken),
    /// The pairing is forgotten.
    Forgotten,
    /// Automatic failover is paused, or goes on.
    Paused(bool),
    /// The configuration is frozen, or can be changed again.
    Frozen(bool),
    /// An alert was seen, as often as it had been raised then. What each time is news must not have occurred again.
    Seen { alert: u64, count: u64 },
    /// A peer is enrolled, and its token used up.
    Enrolled { peer: Peer, token: Option<StoredToken> },
    /// The keys by which this peer is recognised.
    PeerKeys { peer: NodeId, keys: PinnedKeys },
    /// The shadow's pairing is forgotten, and a join token lives for another one.
    Replaced { token: StoredToken },
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Requester {
    /// An operator.
    Operator(Ticket),
    /// A node that enrols, by the number of its question.
    Enrolling(u64),
    /// The peer. It asks again over the next link.
    Peer,
}

/// An update that is in force now.
#[derive(Clone, Debug)]
pub(in super::super) struct Adopted {
    pub(in super::super) requester: Requester,
    pub(in super::super) update: Update,
    /// Whether there was a peer before it.
    pub(in super::super) had_peer: bool,
    /// What it changed in the alert log.
    pub(in super::super) alerts: Vec<(AlertChange, Alert)>,
}

/// Updates that were asked for and are not answered yet.
///
/// | | `push` | `begin_write` | `adopt` | `failed`, full | `failed`, else | `end_doubt` |
/// |---|---|---|---|---|---|---|
/// | waiting | waits behind | written | - | refused | in doubt | - |
/// | written | - | - | in force | refused | in doubt | - |
/// | in doubt | - | - | - | - | - | refused |
#[derive(Clone, Debug, Default)]
pub(super) struct PendingUpdates {
    waiting: Vec<(Requester, Update)>,
    /// In the batch in flight.
    written: Vec<(Requester, Update)>,
    /// Not in force, and perhaps on a disk that failed: refused once the state is written without them.
    in_doubt: Vec<Requester>,
    /// What that disk reported.
    reason: String,
}

impl PendingUpdates {
    pub(super) fn push(&mut self, requester: Requester, update: Update) -> bool {
        let room = self.waiting.len() < PENDING_UPDATES_MAX;
        if room {
            self.waiting.push((requester, update));
        }
        room
    }

    fn all(&self) -> impl Iterator<Item = &Update> {
        self.written.iter().chain(&self.waiting).map(|(_, update)| update)
    }

    /// Whether keys of the peer are to be stored.
    pub(super) fn has_peer_keys(&self) -> bool {
        self.all().any(|update| matches!(update, Update::PeerKeys { .. }))
    }

    pub(super) fn forgets_pairing(&self) -> bool {
        self.all().any(|update| matches!(update, Update::Forgotten | Update::Replaced { .. }))
    }

    pub(super) fn apply_to(&self, state: &mut DurableState, alerts: &mut AlertLog) {
        self.all().for_each(|update| drop(update.apply(state, alerts)));
    }

    pub(super) fn begin_write(&mut self) {
        self.written.append(&mut self.waiting);
    }

    pub(super) fn adopt(&mut self, state: &mut DurableState, log: &mut AlertLog) -> Vec<Adopted> {
        let adopt = |(requester, update): (Requester, Update)| {
            let had_peer = state.peer.is_some();
            let alerts = update.apply(state, log);
            Adopted { requester, update, had_peer, alerts }
        };
        std::mem::take(&mut self.written).into_iter().map(adopt).collect()
    }

    pub(super) fn failed(&mut self, in_doubt: Option<&str>) -> Vec<Requester> {
        let mut lost = std::mem::take(&mut self.written);
        lost.append(&mut self.waiting);
        let requesters = lost.into_iter().map(|(requester, _)| requester);
        match in_doubt {
            None => requesters.collect(),
            Some(reason) => {
                self.in_doubt.extend(requesters);
                reason.clone_into(&mut self.reason);
                Vec::new()
            }
        }
    }

    pub(super) fn end_doubt(&mut self) -> (Vec<Requester>, String) {
        (std::mem::take(&mut self.in_doubt), self.reason.clone())
    }

    pub(super) fn drop_waiting(&mut self) -> Vec<Requester> {
        std::mem::take(&mut self.waiting).into_iter().map(|(requester, _)| requester).collect()
    }
}

impl Update {
    /// Changes the state, and returns what changed in the alert log.
    fn apply(&self, state: &mut DurableState, alerts: &mut AlertLog) -> Vec<(AlertChange, Alert)> {
        match self {
            Self::Enabled(enabled) => {
                state.enabled = *enabled;
                if !enabled {
                    state.tokens.clear();
                }
            }
            Self::Token(token) => state.tokens.push(token.clone()),
            Self::Paused(on) => state.moves.modes.paused = state.moves.modes.paused.turned(*on),
            Self::Frozen(on) => state.moves.modes.frozen = state.moves.modes.frozen.turned(*on),
            Self::PeerKeys { peer: of, keys } => {
                if let Some(peer) = state.peer.as_mut().filter(|peer| peer.node == *of) {
                    peer.keys = *keys;
                }
            }
            Self::Forgotten => {
                return forget_pairing(state, alerts);
            }
            Self::Replaced { token } => {
                let cleared = forget_pairing(state, alerts);
                state.tokens.push(token.clone());
                return cleared;
            }
            Self::Seen { alert, count } => {
                let is_seen = |raised: &Alert| raised.count == *count || !raised.kind.is_news_each_time();
                let same = alerts.alerts().iter().any(|raised| raised.id == *alert && is_seen(raised));
                let seen = if same { alerts.acknowledge(*alert) } else { None };
                return seen.into_iter().collect();
            }
            Self::Enrolled { peer, token } => {
                if state.peer.is_none() {
                    state.tokens.retain(|alive| token.as_ref().is_none_or(|used| used.secret != alive.secret));
                    state.peer = Some(Peer { confirmed: Revision::NONE, ..peer.clone() });
                }
            }
        }
        Vec::new()
    }
}

/// Forgets the peer, its tokens, and the alerts that were about it.
fn forget_pairing(state: &mut DurableState, alerts: &mut AlertLog) -> Vec<(AlertChange, Alert)> {
    (state.peer, state.moves.given) = (None, None);
    state.tokens.clear();
    state.detached = state.role == Role::Shadow;
    alerts.forget().into_iter().map(|alert| (AlertChange::Cleared, alert)).collect()
}
