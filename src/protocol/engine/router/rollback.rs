//! A disk that is an older copy: this node's own, or the peer's. Whoever made a change set durable has it for good. A node that
//! lacks one was given an older disk. Nothing is decided here; an alert says what happened.
//!
//! A master pushes its group while it makes it durable. What a crash leaves of that group may be on the shadow alone. So a shadow
//! speaks only of what it has shown, which its master had made durable. From a shadow that became master nobody can tell which of its
//! predecessor's last change sets those are: then as many as one group may have do not count.

use crate::model::limits::GROUP_CHANGE_SETS_MAX;
use crate::model::{History, Relation, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::{Engine, Now};
use crate::protocol::wire::{Hello, Role};

impl Engine {
    /// Compares what the peer holds with what either node is known to have held. A damaged copy is told of already.
    pub(super) fn compare_with_hello(&mut self, now: Now, hello: &Hello) {
        let (own, theirs) = (self.log.history(), &hello.log.history);
        let (head, peer_head) = (self.log.revision(), hello.log.position.revision);
        let (node, peer) = (self.durable.node, hello.sender.node);
        let (whole, peer_whole) = (self.durable.complete && self.log.damage().is_none(), hello.log.complete);
        let relation = self.log.relation(hello);
        let shared = match relation {
            Relation::Same | Relation::Ahead => head,
            Relation::Behind => peer_head,
            Relation::Diverged { common } => common,
            Relation::Foreign => Revision::NONE,
        };
        let was_durable = |held_by: Role, lost: &Revision| {
            let one_group = lost.epoch == shared.epoch && lost.seq <= shared.seq + GROUP_CHANGE_SETS_MAX as u64;
            held_by == Role::Shadow || !one_group
        };
        let known = |role: Role, head: Revision, shown: Revision| if role == Role::Shadow { shown } else { head };
        let peer_known = known(hello.role, peer_head, hello.log.shown);
        let own_known = known(self.durable.role, head, self.log.shown());
        let lost = theirs.written_and_lacking(peer_known, node, own, head);
        let lost = lost.filter(|lost| whole && was_durable(hello.role, lost));
        let written = own.written_and_lacking(own_known, peer, theirs, peer_head);
        let written = written.filter(|lost| was_durable(self.durable.role, lost));
        // A hello of a run that was met before may be older than what that run has sent or confirmed. A rolled-back disk needs a restart.
        let met = self.links.peer_run() == Some(hello.sender.run);
        let peer_lost = written.or(self.confirmed_and_lacking(hello)).filter(|_| peer_whole && !met);
        let common = shared.seq;
        if let Some(lost) = lost {
            let message = texts::rolled_back(lost.seq.saturating_sub(common), head, lost);
            let range = (first_lost(&hello.log.history, common, lost), lost);
            self.raise_rolled_back(now, Subject::ThisNode, message, range);
        }
        if let Some(lost) = peer_lost {
            let message = texts::peer_rolled_back(lost.seq.saturating_sub(common), peer_head, lost);
            let range = (first_lost(self.log.history(), common, lost), lost);
            self.raise_rolled_back(now, Subject::Peer, message, range);
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
    fn raise_rolled_back(&mut self, now: Now, subject: Subject, message: String, range: (Revision, Revision)) {
        let mut alerts = self.alerts.log().alerts().iter();
        let told = alerts.any(|alert| {
            let same = alert.revisions.is_some_and(|(_, upto)| upto == range.1);
            alert.kind == AlertKind::RolledBack && subject.is_of(alert) && same
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
