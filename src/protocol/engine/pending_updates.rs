//! What operators and guests want changed in the durable state. Until it is durable it is as if it had never been said: it is
//! written with the durable state and adopted on their receipt, and where they could not be written nothing has to be undone.

use super::{
    Action, AlertChange, CommandRefusal, DiskFailure, DurableState, Engine, EnrolVerdict, Mutant, Notice, Now, Peer,
    StoredToken, Ticket,
};
use crate::model::Revision;
use crate::model::limits::PENDING_UPDATES_MAX;
use crate::protocol::alerts::{Alert, AlertLog};
use crate::protocol::wire::Role;

/// A change of the durable state.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// Whether a shadow may be enrolled.
    Enabled(bool),
    /// A join token lives.
    Token(StoredToken),
    /// The pairing is forgotten.
    Forgotten,
    /// An alert was seen, as often as it had been raised then.
    Seen { alert: u64, count: u64 },
    /// A peer is enrolled, and its token used up.
    Enrolled { peer: Peer, token: Option<StoredToken> },
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requester {
    /// An operator.
    Operator(Ticket),
    /// A node that enrols.
    Guest(u64),
}

/// What was said and is not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingUpdates {
    waiting: Vec<(Requester, Update)>,
    /// In the batch in flight.
    written: Vec<(Requester, Update)>,
    /// Not in force, and perhaps on a disk that failed: refused once the durable state are written without it.
    doubtful: Vec<Requester>,
    /// What that disk said.
    reason: String,
}

impl PendingUpdates {
    /// Whether the pairing is about to be forgotten: nothing may begin with the peer any more.
    pub(super) fn forget(&self) -> bool {
        self.written.iter().chain(&self.waiting).any(|(_, update)| matches!(update, Update::Forgotten))
    }
}

impl Update {
    /// Changes the durable state, and returns what changed in the alert log.
    fn apply(&self, durable_state: &mut DurableState, alert_log: &mut AlertLog) -> Vec<(AlertChange, Alert)> {
        match self {
            Self::Enabled(enabled) => {
                durable_state.enabled = *enabled;
                if !enabled {
                    durable_state.tokens.clear();
                }
            }
            Self::Token(token) => durable_state.tokens.push(token.clone()),
            Self::Forgotten => {
                durable_state.peer = None;
                durable_state.tokens.clear();
                durable_state.detached = durable_state.role == Role::Shadow;
                return alert_log.forget().into_iter().map(|alert| (AlertChange::Cleared, alert)).collect();
            }
            // What was raised again meanwhile has not been seen.
            Self::Seen { alert, count } => {
                let same = alert_log.alerts().iter().any(|standing| standing.id == *alert && standing.count == *count);
                let seen = if same { alert_log.acknowledge(*alert) } else { None };
                return seen.into_iter().collect();
            }
            Self::Enrolled { peer, token } => {
                if durable_state.peer.is_none() {
                    durable_state.tokens.retain(|alive| Some(alive) != token.as_ref());
                    durable_state.peer = Some(Peer { confirmed: Revision::NONE, ..peer.clone() });
                }
            }
        }
        Vec::new()
    }
}

impl Requester {
    fn done(self) -> Action {
        match self {
            Self::Operator(ticket) => Action::AnswerCommand { ticket, answer: Ok(()) },
            Self::Guest(ask) => Action::AnswerEnrol { ask, verdict: EnrolVerdict::Stored },
        }
    }

    fn refused(self, refused: CommandRefusal) -> Action {
        match self {
            Self::Operator(ticket) => Action::AnswerCommand { ticket, answer: Err(refused) },
            Self::Guest(ask) => Action::AnswerEnrol { ask, verdict: EnrolVerdict::Refused { kind: "disk" } },
        }
    }
}

impl Engine {
    /// Takes a change of the durable state that is right on the ground of [`Engine::expected`]; answered once it is durable.
    pub(super) fn request_update(&mut self, by: Requester, update: Update) {
        if self.updates.waiting.len() >= PENDING_UPDATES_MAX {
            return self.out.push(by.refused(CommandRefusal::Overloaded));
        }
        self.updates.waiting.push((by, update));
        self.state_changed();
    }

    /// The durable state as they will be when everything that was said is durable.
    pub(super) fn expected(&self) -> (DurableState, AlertLog) {
        let (mut durable_state, mut alert_log) = (self.durable_state.clone(), self.alert_log.clone());
        for (_, update) in self.updates.written.iter().chain(&self.updates.waiting) {
            update.apply(&mut durable_state, &mut alert_log);
        }
        (durable_state, alert_log)
    }

    /// The durable state with everything that was said, for the batch that makes it durable.
    pub(super) fn state_with_updates(&mut self) -> DurableState {
        let (durable_state, alert_log) = self.expected();
        self.updates.written.append(&mut self.updates.waiting);
        DurableState { alerts: alert_log.alerts().to_vec(), next_alert: alert_log.next(), ..durable_state }
    }

    /// What was said is durable: it is in force from now on.
    pub(super) fn updates_durable(&mut self, now: Now) {
        for (by, update) in std::mem::take(&mut self.updates.written) {
            let known = self.durable_state.peer.is_some();
            for (change, alert) in update.apply(&mut self.durable_state, &mut self.alert_log) {
                self.out.push(Action::Notify(Notice::Alert { change, alert }));
            }
            match update {
                Update::Forgotten => {
                    self.ask_witness_soon();
                    self.links.forget_peer();
                    self.troubles_of_new_peer();
                }
                Update::Enrolled { .. } if !known => {
                    self.peer_is_new();
                    self.troubles_of_new_peer();
                    self.links.new_peer(now.at);
                }
                _ => {}
            }
            self.out.push(by.done());
        }
    }

    /// The durable state are durable as they are in memory: of what was said to a failed disk nothing is left.
    pub(super) fn updates_undone(&mut self) {
        for by in std::mem::take(&mut self.updates.doubtful) {
            let refused = CommandRefusal::Disk { reason: self.updates.reason.clone() };
            self.out.push(by.refused(refused));
        }
    }

    /// The disk failed again, or is not waited for: whoever was not answered yet is told that nobody knows.
    pub(super) fn updates_in_doubt(&mut self) {
        for by in std::mem::take(&mut self.updates.doubtful) {
            let refused = CommandRefusal::InDoubt { reason: self.updates.reason.clone() };
            self.out.push(by.refused(refused));
        }
    }

    /// The durable state could not be written. What was said after what failed was said on its ground, and is refused with it.
    pub(super) fn updates_failed(&mut self, failure: &DiskFailure) {
        let mut refused = std::mem::take(&mut self.updates.written);
        refused.append(&mut self.updates.waiting);
        if self.makes(Mutant::KeepsRefusedFact) {
            for (_, update) in &refused {
                update.apply(&mut self.durable_state, &mut self.alert_log);
            }
        }
        let by = refused.into_iter().map(|(by, _)| by);
        if failure.full {
            self.out.extend(by.map(|by| by.refused(CommandRefusal::DiskFull)));
        } else {
            self.updates.doubtful.extend(by);
            self.updates.reason.clone_from(&failure.reason);
        }
    }

    /// What waits is not going to be written.
    pub(super) fn refuse_updates(&mut self, refused: &CommandRefusal) {
        for (by, _) in std::mem::take(&mut self.updates.waiting) {
            self.out.push(by.refused(refused.clone()));
        }
    }
}
