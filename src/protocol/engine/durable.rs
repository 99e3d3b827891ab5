//! The durable state and the updates that wait for it.
//!
//! What an operator or an enrolling node wants changed is a [`PendingUpdates`] entry: it is written with the state and adopted on the
//! receipt of that write. What the engine itself learns is changed here at once, and written soon.
//!
//! | | `changed` | `counted` | `alert_counted` | written | write failed |
//! |---|---|---|---|---|---|
//! | saved | unsaved | to be written within a second | within five minutes | - | - |
//! | to be written later | unsaved | within a second | as before | saved | unsaved, retried after a second |
//! | unsaved | unsaved | unsaved | unsaved | saved | unsaved, retried after a second |
//!
//! `alerts_changed` is `changed`, until a network or a peer has changed alerts too often: then it is `alert_counted`.

mod encoding;
mod pending_updates;
mod state;
mod wall_clock;

use std::ops::Deref;

use super::{Moment, Now};
use crate::model::limits::{ALERT_WRITE_INTERVAL, ALERT_WRITES_MAX, TAKEOVERS_KEPT_MAX};
use crate::model::{Epoch, Revision};
use crate::protocol::alerts::AlertLog;
use crate::protocol::failover::micros;
use crate::protocol::wire::{Hello, Modes, Role};

pub use encoding::{decode_durable_state, encode_durable_state};
pub(super) use pending_updates::{Adopted, Requester, Update};
pub use state::*;
pub(super) use wall_clock::{ClockStep, bound_times};

use pending_updates::PendingUpdates;
use wall_clock::WallClock;

/// Longest time for which what the peer confirmed stays unsaved.
const COUNTED_US: u64 = 1_000_000;

/// The durable state as it is in force. Read through [`Deref`]; changed by the methods alone.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    state: DurableState,
    unsaved: Unsaved,
    updates: PendingUpdates,
    alert_writes: AlertWrites,
    wall_clock: WallClock,
}

/// Alerts that a network or a peer changed, and that were written at once.
#[derive(Clone, Copy, Debug, Default)]
struct AlertWrites {
    /// Since when they are counted.
    since: Moment,
    count: u32,
}

/// Whether the state must be written.
#[derive(Clone, Copy, Debug, Default)]
struct Unsaved {
    urgency: Urgency,
    /// A write failed: not before this moment again.
    retry_at: Option<Moment>,
}

/// How soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Urgency {
    #[default]
    Saved,
    /// It changed in what only counts, and is to be written by this moment.
    By(Moment),
    /// It changed, and somebody waits for it, or should not have to.
    Changed,
}

impl Deref for Durable {
    type Target = DurableState;

    fn deref(&self) -> &DurableState {
        &self.state
    }
}

impl Durable {
    pub(super) fn new(state: DurableState) -> Self {
        Self {
            state,
            unsaved: Unsaved::default(),
            updates: PendingUpdates::default(),
            alert_writes: AlertWrites::default(),
            wall_clock: WallClock::default(),
        }
    }

    /// The state in force.
    pub(super) fn state(&self) -> &DurableState {
        &self.state
    }

    // What changes.

    /// It changed, and is to be written soon.
    pub(super) fn changed(&mut self) {
        self.unsaved.urgency = Urgency::Changed;
    }

    /// It changed in what only counts.
    pub(super) fn counted(&mut self, at: Moment) {
        self.changed_by(Moment(at.0 + COUNTED_US));
    }

    /// An alert occurred again, and nothing else of it changed.
    pub(super) fn alert_counted(&mut self, at: Moment) {
        self.changed_by(Moment(at.0 + micros(ALERT_WRITE_INTERVAL)));
    }

    /// An alert began or ended. `from_outside`: a network or a peer can make that happen at any rate.
    pub(super) fn alerts_changed(&mut self, at: Moment, from_outside: bool) {
        if !from_outside {
            return self.changed();
        }
        let writes = &mut self.alert_writes;
        let ends = Moment(writes.since.0.saturating_add(micros(ALERT_WRITE_INTERVAL)));
        if writes.count == 0 || at >= ends {
            *writes = AlertWrites { since: at, count: 0 };
        }
        if writes.count < ALERT_WRITES_MAX {
            writes.count += 1;
            return self.changed();
        }
        self.changed_by(ends);
    }

    fn changed_by(&mut self, by: Moment) {
        self.unsaved.urgency = match self.unsaved.urgency {
            Urgency::Saved => Urgency::By(by),
            Urgency::By(before) => Urgency::By(before.min(by)),
            Urgency::Changed => Urgency::Changed,
        };
    }

    /// The copy is complete and verified.
    pub(super) fn set_complete(&mut self) {
        if !self.state.complete {
            self.state.complete = true;
            self.changed();
        }
    }

    /// The copy counts as complete from now on, or no more; not written for that alone.
    pub(super) fn assume_complete(&mut self, complete: bool) {
        self.state.complete = complete;
    }

    /// This node tries this term.
    pub(super) fn note_term(&mut self, epoch: Epoch) {
        self.state.tried = epoch;
    }

    /// An epoch was won at the witness, or seen in its record. Returns whether it is the highest so far.
    pub(super) fn saw_recorded(&mut self, epoch: Epoch) -> bool {
        let news = epoch > self.state.witnessed;
        self.state.witnessed = self.state.witnessed.max(epoch);
        news
    }

    /// Promises may last this long from now on, once this is written.
    pub(super) fn promise_up_to(&mut self, promised_ms: u64) {
        if self.state.promised_ms < promised_ms {
            self.state.promised_ms = promised_ms;
            self.changed();
        }
    }

    /// The peer says what is worth remembering of it.
    pub(super) fn learn_peer(&mut self, hello: &Hello) {
        let Some(peer) = &mut self.state.peer else { return };
        let before = (peer.name.clone(), peer.address.clone(), peer.takeover_delay_ms);
        peer.name = hello.sender.name.clone();
        peer.address = hello.sender.address.clone();
        peer.takeover_delay_ms = micros(hello.options.takeover_delay) / 1_000;
        if before != (peer.name.clone(), peer.address.clone(), peer.takeover_delay_ms) {
            self.changed();
        }
    }

    /// The peer durably holds this much. Returns whether that is news.
    pub(super) fn confirm(&mut self, confirmed: Revision, at: Moment) -> bool {
        let Some(peer) = self.state.peer.as_mut().filter(|peer| peer.confirmed != confirmed) else { return false };
        peer.confirmed = confirmed;
        self.counted(at);
        true
    }

    /// Looks at the wall clock. Where it was set, the noted times move with it. Returns by how much, for the alerts.
    pub(super) fn look_at_wall_clock(&mut self, now: Now) -> Option<ClockStep> {
        let step = self.wall_clock.look(now)?;
        step.shift_state(&mut self.state);
        self.counted(now.at);
        Some(step)
    }

    /// Forgets join tokens whose time is over.
    /// No token is worth anything any more.
    pub(super) fn forget_tokens(&mut self) {
        if !self.state.tokens.is_empty() {
            self.state.tokens.clear();
            self.changed();
        }
    }

    pub(super) fn expire_tokens(&mut self, wall_ms: u64) {
        let before = self.state.tokens.len();
        self.state.tokens.retain(|token| token.expires_ms > wall_ms);
        if self.state.tokens.len() < before {
            self.changed();
        }
    }

    /// When the next token's time is over.
    pub(super) fn token_deadline(&self, now: Now) -> Option<Moment> {
        let ends_ms = self.state.tokens.iter().map(|token| token.expires_ms).min()?;
        let left_us = ends_ms.saturating_sub(now.wall_ms).saturating_mul(1_000);
        Some(Moment(now.at.0.saturating_add(left_us)))
    }

    /// The state with which this node becomes master under this epoch, for the batch that makes it so.
    pub(super) fn as_master(&self, epoch: Epoch, alerts: &AlertLog, takeover_ms: Option<u64>) -> DurableState {
        let mut state = self.with_alerts(alerts);
        state.become_master(epoch);
        takeover_ms.into_iter().for_each(|wall_ms| state.remember_takeover(wall_ms));
        state
    }

    /// That batch is durable.
    pub(super) fn became_master(&mut self, epoch: Epoch, takeover_ms: Option<u64>) {
        self.state.become_master(epoch);
        takeover_ms.into_iter().for_each(|wall_ms| self.state.remember_takeover(wall_ms));
    }

    /// A takeover was not made durable; the role of master may have been.
    pub(super) fn stayed_shadow(&mut self) {
        self.state.role = Role::Shadow;
        self.changed();
    }

    /// This node has stepped down. The takeover of the other one counts for the hold-down here too; a planned switch does not.
    pub(super) fn stepped_down(&mut self, takeover_ms: Option<u64>) {
        self.state.role = Role::Shadow;
        takeover_ms.into_iter().for_each(|wall_ms| self.state.remember_takeover(wall_ms));
        self.changed();
    }

    /// The state in which this node has handed over what it is master of, for the batch that makes it so.
    pub(super) fn as_handed_over(&self, given: Given, alerts: &AlertLog) -> DurableState {
        let mut state = self.with_alerts(alerts);
        state.hand_over(given);
        state
    }

    /// That batch is durable.
    pub(super) fn handed_over(&mut self, given: Given) {
        self.state.hand_over(given);
    }

    /// The node to which this one has handed over is master.
    pub(super) fn given_is_taken(&mut self) {
        if self.state.moves.given.take().is_some() {
            self.changed();
        }
    }

    /// The peer says what it knows of the modes. Returns whether it knew less, or other things, than are known now.
    pub(super) fn merge_modes(&mut self, theirs: Modes) -> bool {
        let merged = self.state.moves.modes.merged(theirs);
        if merged != self.state.moves.modes {
            self.state.moves.modes = merged;
            self.changed();
        }
        merged != theirs
    }

    // Writing.

    /// The state as it is to be written.
    pub(super) fn with_alerts(&self, alerts: &AlertLog) -> DurableState {
        DurableState { alerts: alerts.alerts().to_vec(), next_alert: alerts.next(), ..self.state.clone() }
    }

    /// Whether there is something to be written.
    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved.urgency != Urgency::Saved
    }

    /// When it is to be written although nobody waits.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let wanted = match self.unsaved.urgency {
            Urgency::Changed => self.unsaved.retry_at,
            Urgency::By(by) => Some(by),
            Urgency::Saved => None,
        };
        wanted.max(self.unsaved.retry_at.filter(|_| wanted.is_some()))
    }

    /// Whether it is to be written now. `stopping`: what only counts does not wait any longer.
    pub(super) fn is_due(&self, at: Moment, stopping: bool) -> bool {
        let may_write = self.unsaved.retry_at.is_none_or(|retry_at| retry_at <= at);
        may_write
            && match self.unsaved.urgency {
                Urgency::Changed => true,
                Urgency::By(by) => stopping || by <= at,
                Urgency::Saved => false,
            }
    }

    /// The state with every pending update, for the batch that makes them durable.
    pub(super) fn begin_write(&mut self, alerts: &AlertLog) -> DurableState {
        self.unsaved.urgency = Urgency::Saved;
        let (state, alerts) = self.expected(alerts);
        self.updates.begin_write();
        DurableState { alerts: alerts.alerts().to_vec(), next_alert: alerts.next(), ..state }
    }

    /// It is durable. Returns what was updated, for their requesters.
    pub(super) fn written(&mut self, alerts: &mut AlertLog) -> Vec<Adopted> {
        self.unsaved.retry_at = None;
        self.updates.adopt(&mut self.state, alerts)
    }

    /// It could not be written, and is tried again then.
    pub(super) fn write_failed(&mut self, retry_at: Moment) {
        self.changed();
        self.unsaved.retry_at = Some(retry_at);
    }

    // Updates.

    /// The state and alerts as they will be when every pending update is durable.
    pub(super) fn expected(&self, alerts: &AlertLog) -> (DurableState, AlertLog) {
        let (mut state, mut alerts) = (self.state.clone(), alerts.clone());
        self.updates.apply_to(&mut state, &mut alerts);
        (state, alerts)
    }

    /// Takes an update that was decided by [`Durable::expected`]. It is answered once it is durable. Returns whether there
    /// was room for it.
    pub(super) fn update(&mut self, requester: Requester, update: Update) -> bool {
        let room = self.updates.push(requester, update);
        if room {
            self.changed();
        }
        room
    }

    /// Whether keys of the peer are being stored.
    pub(super) fn stores_peer_keys(&self) -> bool {
        self.updates.has_peer_keys()
    }

    /// Whether the pairing is about to be forgotten: nothing may begin with the peer any more.
    pub(super) fn is_being_reset(&self) -> bool {
        self.updates.forgets_pairing()
    }

    /// Updates that were not written are not going to be. Returns their requesters.
    pub(super) fn drop_waiting_updates(&mut self) -> Vec<Requester> {
        self.updates.drop_waiting()
    }

    /// Updates could not be written, and what was asked for after them was decided as if they were. Returns the requesters of all,
    /// where nothing of them is left; else they are in doubt for this reason.
    pub(super) fn updates_failed(&mut self, in_doubt: Option<&str>) -> Vec<Requester> {
        self.updates.failed(in_doubt)
    }

    /// Ends the doubt about updates. Returns their requesters, and why they were in doubt.
    pub(super) fn end_doubt(&mut self) -> (Vec<Requester>, String) {
        self.updates.end_doubt()
    }

    /// A mistake for tests: what was refused stays in force.
    #[cfg(test)]
    pub(super) fn keep_refused(&mut self, alerts: &mut AlertLog) {
        self.updates.apply_to(&mut self.state, alerts);
    }
}

impl DurableState {
    fn hand_over(&mut self, given: Given) {
        self.role = Role::Shadow;
        self.tried = self.tried.max(given.epoch);
        self.moves.given = Some(given);
    }

    fn become_master(&mut self, epoch: Epoch) {
        self.role = Role::Master;
        self.epoch = epoch;
        (self.complete, self.detached) = (true, false);
        self.moves.given = None;
    }

    /// The hold-down is the pair's: a takeover counts on the node that it made master, and on the one that steps down.
    fn remember_takeover(&mut self, wall_ms: u64) {
        let takeovers_ms = &mut self.moves.takeovers_ms;
        takeovers_ms.retain(|at| wall_ms.saturating_sub(*at) < 24 * 3_600_000);
        if takeovers_ms.len() >= TAKEOVERS_KEPT_MAX {
            takeovers_ms.remove(0);
        }
        takeovers_ms.push(wall_ms);
    }
}

#[cfg(test)]
mod tests;
