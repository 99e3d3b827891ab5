//! A second run of the peer, beside the one whose connection counts. Either the peer was restarted, and the connection that counts is
//! dead although no end of it was reported. Or its data directory was copied, and both run. The first run is asked: its answer shows
//! that both run, and no answer in time that it was restarted.
//!
//! | | hello of another run | the first answers | no answer in time, or its connection ends | the later connection ends |
//! |---|---|---|---|---|
//! | none | the first is asked, the later waits | - | - | - |
//! | contested | the newest one waits | the later is refused | the later is welcomed | none |

use super::connection::{Connection, Contest};
use super::{LinkId, Links, Moment};
use crate::model::RunId;
use crate::protocol::wire::RefusalKind;

impl Links {
    /// Whether this connection waits for the answer of the one that counts.
    pub(super) fn is_contested_by(&self, link: LinkId) -> bool {
        self.contest.is_some_and(|contest| contest.later == link)
    }

    /// Looks at the peer's hello, which came before this node's own on this connection. Returns whether another run of the peer said
    /// it than the one whose connection counts: then it waits, and the first one is asked.
    pub(in super::super) fn contest(&mut self, link: LinkId, at: Moment) -> bool {
        let Some(run) = self.connection(link).and_then(Connection::early).map(|hello| hello.sender.run) else {
            return false;
        };
        let asked = self.contest;
        let Some(first) = self.active_mut() else { return false };
        if first.hello().is_none_or(|hello| hello.sender.run == run) {
            return false;
        }
        let asked = asked.unwrap_or_else(|| Contest { later: link, nonce: first.beat_soon(at), asked: at });
        self.contest = Some(Contest { later: link, ..asked });
        true
    }

    /// The connection that counts has answered this heartbeat. Returns the connection that is refused for that.
    pub(in super::super) fn contest_answered(&mut self, nonce: u64) -> Option<LinkId> {
        self.contest.take_if(|contest| nonce >= contest.nonce).map(|contest| contest.later)
    }

    /// Returns the connection that counts where it has not answered for so long that a younger run takes its place.
    pub(in super::super) fn contest_lost(&self, at: Moment, lost_us: u64) -> Option<LinkId> {
        self.contest.filter(|contest| contest.over_at(lost_us) <= at).and(self.active_id())
    }

    /// The other end of a connection is there.
    pub(in super::super) fn comes_from(&mut self, link: LinkId, address: String) {
        if let Some(connection) = self.connection_mut(link) {
            connection.set_from(address);
        }
    }

    /// The connections on which this node is to say hello. While another one counts, whoever dialled says it first: it may be a copy
    /// of the peer, which must not take this node's hello for a welcome.
    pub(in super::super) fn without_hello(&self) -> Vec<LinkId> {
        let linked = self.active_id().is_some();
        let due = |connection: &&Connection| {
            !connection.hello_sent() && (!linked || connection.is_dialled() || connection.is_early())
        };
        self.connections.iter().filter(due).map(Connection::id).collect()
    }

    /// The run of the peer that was met last.
    pub(in super::super) fn peer_run(&self) -> Option<RunId> {
        self.peer.run()
    }

    /// Whether the peer refuses this node because another one with its identity is linked, or was when the peer was met last.
    pub(in super::super) fn is_duplicate(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.kind == Some(RefusalKind::DuplicateIdentity))
    }
}
