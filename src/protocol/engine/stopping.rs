//! A clean shutdown: what is waited for, for how long, and the last word to everybody.

use super::{Action, CommandRefusal, Engine, Moment, Now};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::{Bye, Message};

impl Engine {
    /// A stop in progress goes on: accepted change sets first, then the durable state, then a word to the peer.
    pub(super) fn advance_stop(&mut self, now: Now) {
        let Some((_, until)) = self.stopping else { return };
        if now.at >= until {
            // What is durable here and waits for others may wait for ever.
            self.drop_commits();
        }
        let writable = matches!(self.node_state, NodeState::Serving) && !self.commits.is_empty();
        let facts_wait = self.unsaved.is_wanted() && self.unsaved.deadline().is_none() && !self.is_broken();
        if !self.work.is_idle() || writable || facts_wait {
            return;
        }
        self.stop_now();
    }

    /// The shell waits no longer for a batch that is under way: what it holds is in doubt.
    pub(super) fn abandon(&mut self) {
        if self.stopping.is_some() {
            self.abandon_batch();
            self.stop_now();
        }
    }

    /// Everybody is answered, the peer gets a word, and that was all.
    fn stop_now(&mut self) {
        self.drop_commits();
        self.refuse_updates(&CommandRefusal::Stopped);
        self.updates_in_doubt();
        self.switch_stopped();
        self.refuse_takeover_waiters(&CommandRefusal::Stopped);
        for link in self.links.ids() {
            self.out.push(Action::Send { link, message: Message::Bye(Bye::Shutdown) });
            self.out.push(Action::Close { link });
        }
        self.links.clear();
        if let Some((ticket, _)) = self.stopping.take() {
            self.answer(ticket, Ok(()));
        }
        self.out.push(Action::Stop);
        // Nothing is left to be done: like a store that is never opened again.
        self.node_state = NodeState::Broken;
        self.retry_at = Moment(u64::MAX);
        self.reason = "stopped";
    }

    fn is_broken(&self) -> bool {
        self.node_state == NodeState::Broken
    }
}
