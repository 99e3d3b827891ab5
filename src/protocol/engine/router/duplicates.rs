//! Two nodes with one identity: a data directory was copied, and both copies run.
//!
//! The node that meets both keeps the one that it was linked to first, as long as that answers. The later one is refused and says so
//! itself. It neither serves nor takes over before its peer has welcomed it, or an operator decides. The first one is told of the later
//! one, so that all three say that there are two.
//!
//! | | on the node that meets both | on the first | on the later |
//! |---|---|---|---|
//! | the first answers | alert `peer`; tells both | alert `copy of this node` | alert `this node`, refused |
//! | the same copy comes again | - | told once on each connection: - | refused again |
//! | another run of the copy | counts | counts | alert, refused |

use crate::model::KeyId;
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::links::Connection;
use crate::protocol::engine::{Action, Engine, LinkId, Now, RoleReason, Transition};
use crate::protocol::wire::{CopySeen, Hello, Message, Refusal, RefusalKind};

impl Engine {
    /// The first of two nodes with the peer's identity has answered: the later one is refused.
    pub(super) fn refuse_duplicate(&mut self, now: Now, later: LinkId) {
        let place = |connection: &Connection, hello: Option<&Hello>| {
            let address = hello.map_or_else(String::new, |hello| hello.sender.address.clone());
            match connection.from() {
                Some(from) => format!("{from} (advertises {address})"),
                None => address,
            }
        };
        let first = self.links.active().map(|active| place(active, active.hello())).unwrap_or_default();
        let Some(connection) = self.links.connection(later) else { return };
        let (second, run) = (place(connection, connection.early()), connection.early().map(|hello| hello.sender.run));
        if let Some(run) = run {
            if !self.alerts.is_known_duplicate(run) {
                self.raise(
                    now,
                    NewAlert::new(AlertKind::DuplicateNode, Subject::Peer, texts::duplicate_peer(&first, &second)),
                );
            }
            self.tell_of_copy(CopySeen { run, first: first.clone(), later: second });
        }
        let refusal = Refusal { kind: RefusalKind::DuplicateIdentity, reason: texts::duplicate_refused(&first) };
        self.out.push(Action::Send { link: later, message: Message::Refuse(refusal) });
        self.close(later, None);
        self.drop_connection(now, later, "refused");
    }

    /// Tells the first of the two about the later one: once on a connection, for the connection may break before it hears of it.
    fn tell_of_copy(&mut self, seen: CopySeen) {
        let Some(first) = self.links.active() else { return };
        let link = first.id();
        let ours = self.setup.options.versions();
        let knows = first.hello().is_some_and(|hello| ours.tells_copies(hello.versions));
        if knows && !self.alerts.was_told_of_copy(seen.run, link) {
            self.out.push(Action::Send { link, message: Message::CopySeen(seen) });
        }
    }

    /// The peer has refused another node with this node's identity. It says so again on every connection: that is the same trouble.
    pub(super) fn copy_seen(&mut self, now: Now, seen: &CopySeen) {
        if !self.alerts.is_known_copy(seen.run) {
            let message = texts::copy_of_this_node(&seen.first, &seen.later);
            self.raise(now, NewAlert::new(AlertKind::DuplicateNode, Subject::OwnCopy, message));
        }
    }

    /// The connection that counts has not answered although a younger run of the peer has come: the peer was restarted.
    pub(super) fn advance_contest(&mut self, now: Now) {
        if let Some(first) = self.links.contest_lost(now.at, self.setup.timing.lost_after_us) {
            self.close(first, None);
            self.drop_connection(now, first, "the peer was restarted");
        }
    }

    /// Why somebody was turned away, with a word where the key that it showed is this node's own.
    pub(in super::super) fn own_named(&self, reason: &str, shown: Option<KeyId>) -> String {
        match shown == Some(self.rotation.current()) {
            true => format!("{reason}; that is this node's own identity: {}", texts::OWN_IDENTITY),
            false => reason.to_owned(),
        }
    }

    /// The peer has refused this node because another one with its identity is linked: a master stops serving.
    pub(super) fn stop_as_duplicate(&mut self, now: Now) {
        if self.authority.is_leading() {
            self.authority.drop_covers(now.at);
            self.transition(now, Transition::Deposed, RoleReason::Duplicate);
            self.links.dial_later(now.at, self.setup.timing.heartbeat_us, true, now.random);
        }
    }
}
