//! A disk that is an older copy: this node's own, or the peer's. Whoever wrote a change set, or stored it durably, has it for good.
//! A node that lacks one was given an older disk. Nothing is decided here; an alert says what happened.

use crate::model::{History, Relation, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{PEER, THIS_NODE, texts};
use crate::protocol::engine::{Engine, Now};
use crate::protocol::wire::{Hello, Role};

impl Engine {
    /// Compares what the peer holds with what either node is known to have held. A damaged copy is told of already.
    pub(super) fn compare_with_hello(&mut self, now: Now, hello: &Hello) {
        let (own, theirs) = (self.log.history(), &hello.log.history);
        let (head, peer_head) = (self.log.revision(), hello.log.position.revision);
        let (node, peer) = (self.durable.node, hello.sender.node);
        let (whole, peer_whole) = (self.durable.complete && self.damage.is_none(), hello.log.complete);
        let lost = theirs.written_and_lacking(peer_head, node, own, head).filter(|_| whole);
        let written = own.written_and_lacking(head, peer, theirs, peer_head);
        // A hello of a run that was met before may be older than what that run has sent or confirmed. A rolled-back disk needs a restart.
        let met = self.links.peer_run() == Some(hello.sender.run);
        let peer_lost = written.or(self.confirmed_and_lacking(hello)).filter(|_| peer_whole && !met);
        let common = match self.log.relation(hello) {
            Relation::Same | Relation::Ahead => head.seq,
            Relation::Behind => peer_head.seq,
            Relation::Diverged { common } => common.seq,
            Relation::Foreign => 0,
        };
        if let Some(lost) = lost {
            let message = texts::rolled_back(lost.seq.saturating_sub(common), head, lost);
            let range = (first_lost(&hello.log.history, common, lost), lost);
            self.raise_rolled_back(now, THIS_NODE, message, range);
        }
        if let Some(lost) = peer_lost {
            let message = texts::peer_rolled_back(lost.seq.saturating_sub(common), peer_head, lost);
            let range = (first_lost(self.log.history(), common, lost), lost);
            self.raise_rolled_back(now, PEER, message, range);
        }
    }

    /// What the shadow had confirmed as durable, where it lacks it.
    fn confirmed_and_lacking(&self, hello: &Hello) -> Option<Revision> {
        let confirmed = self.durable.peer.as_ref()?.confirmed;
        let held = hello.log.position.revision;
        let follows = self.durable.role == Role::Master && hello.role == Role::Shadow && self.log.contains(held);
        (follows && held < confirmed && self.log.contains(confirmed)).then_some(confirmed)
    }

    /// The same loss is told once, however often the nodes meet before it is repaired.
    fn raise_rolled_back(&mut self, now: Now, subject: &str, message: String, range: (Revision, Revision)) {
        let mut alerts = self.alerts.log().alerts().iter();
        let told = alerts.any(|alert| {
            let same = alert.revisions.is_some_and(|(_, upto)| upto == range.1);
            alert.kind == AlertKind::RolledBack && alert.subject == subject && same
        });
        if !told {
            let alert = NewAlert::new(AlertKind::RolledBack, subject, message);
            self.raise(now, NewAlert { revisions: Some(range), ..alert });
        }
    }
}

/// The first position after the last common one. An era without change sets is a position of its own.
fn first_lost(history: &History, common_seq: u64, lost: Revision) -> Revision {
    let epoch = history.epoch_of(common_seq + 1).unwrap_or(lost.epoch);
    Revision::new(epoch, common_seq + 1).min(lost)
}
