//! The modes of the pair: what an operator of either node says holds for both, and both remember it.

use crate::protocol::engine::durable::{Requester, Update};
use crate::protocol::engine::{Action, CommitRefusal, Engine, LinkId, Ticket};
use crate::protocol::wire::{Message, Modes};

impl Engine {
    /// An operator pauses automatic failover, or lets it go on.
    pub(super) fn pause(&mut self, ticket: Ticket, on: bool) {
        self.update(Requester::Operator(ticket), Update::Paused(on));
    }

    /// An operator freezes the configuration, or lets it be changed again.
    pub(super) fn freeze(&mut self, ticket: Ticket, on: bool) {
        self.update(Requester::Operator(ticket), Update::Frozen(on));
    }

    /// An operator of this node has turned a mode on or off, and that is durable.
    pub(super) fn modes_turned(&mut self) {
        self.modes_changed();
        if let Some(link) = self.links.ready() {
            self.tell_modes(link);
        }
    }

    /// Tells the peer, where it knows of modes.
    pub(super) fn tell_modes(&mut self, link: LinkId) {
        if self.peer_switches() {
            self.out.push(Action::Send { link, message: Message::Modes(self.durable.moves.modes) });
        }
    }

    /// A link has come. Where nobody has ever turned a mode on there is nothing to be said.
    pub(super) fn say_modes(&mut self, link: LinkId) {
        if self.durable.moves.modes != Modes::default() {
            self.tell_modes(link);
        }
    }

    /// The peer says what it knows.
    pub(super) fn peer_modes(&mut self, link: LinkId, theirs: Modes) {
        if self.durable.merge_modes(theirs) {
            self.tell_modes(link);
        }
        self.modes_changed();
    }

    /// Change sets that have not reached the log are refused in a frozen pair.
    fn modes_changed(&mut self) {
        if self.is_frozen() {
            self.refuse_queue(&CommitRefusal::Frozen);
        }
    }

    /// Whether the pair is frozen.
    pub(super) fn is_frozen(&self) -> bool {
        self.durable.moves.modes.frozen.on
    }
}
