//! The first words on a connection: this node's hello, and which of two connections stays.

use super::{Action, Engine, LinkId, Now};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::{Hello, Message, Versions};

impl Engine {
    /// Greets whoever was not greeted yet. What a link before this one left in the store must be settled first: the
    /// position in the hello is where the repair begins.
    pub(super) fn send_hellos(&mut self, now: Now) {
        if self.work.is_busy_for_sink() {
            return;
        }
        let waiting: Vec<LinkId> = self.links.conns.iter().filter(|conn| !conn.greeted).map(|conn| conn.id).collect();
        for link in waiting {
            self.links.hello_no += 1;
            let hello = self.hello(now);
            if let Some(conn) = self.links.conn(link) {
                conn.greeted = true;
            }
            self.out.push(Action::Send { link, message: Message::Hello(Box::new(hello)) });
            if let Some(early) = self.links.conn(link).and_then(|conn| conn.early.take()) {
                self.greet(now, link, early);
            }
        }
    }

    fn hello(&self, now: Now) -> Hello {
        Hello {
            versions: Versions::OURS,
            pair: self.durable_state.pair,
            node: self.durable_state.node,
            run: self.run,
            hello_no: self.links.hello_no,
            linked: self.links.active.is_some(),
            name: self.options.name.clone(),
            address: self.address.clone(),
            role: self.durable_state.role,
            serving: self.node_state == NodeState::Serving,
            epoch: self.epoch(),
            position: self.head,
            log_floor: self.log_floor,
            shown: self.shown,
            complete: self.durable_state.complete,
            history: self.history.clone(),
            heartbeat: self.options.heartbeat,
            takeover_delay: self.options.takeover_delay,
            schema: self.options.schema,
            data_key: None,
            wall_ms: now.wall_ms,
        }
    }

    /// Of two connections, whether the newly greeted one stays. Both sides come to the same answer: a peer that started
    /// again, or says that it lost the other one, is right; else the one dialled by the lower id stays.
    pub(super) fn stays(&self, link: LinkId, hello: &Hello) -> bool {
        let Some(active) = self.links.active() else { return true };
        let Some(before) = &active.hello else { return true };
        let Some(new) = self.links.conns.iter().find(|conn| conn.id == link) else { return false };
        if before.run != hello.run || (active.confirmed && hello.hello_no > before.hello_no && !hello.linked) {
            return true;
        }
        if active.dialled == new.dialled {
            return hello.hello_no > before.hello_no;
        }

        if new.dialled { self.durable_state.node < hello.node } else { hello.node < self.durable_state.node }
    }

    /// Greeted under these names; for who is who.
    pub(super) fn greeted(&mut self, link: LinkId, hello: Box<Hello>) {
        self.links.highest_seen = self.links.highest_seen.max(hello.epoch);
        self.links.peer_serves = hello.serving;
        if let Some(conn) = self.links.conn(link) {
            conn.hello = Some(hello);
        }
    }
}
