//! The connections to the peer: which one counts, when the next dial is due, and what was last heard of the peer.
//!
//! | | `opened` | `activated` | `dropped` | `dial failed` | `held` |
//! |---|---|---|---|---|---|
//! | never up | waits for hellos | up | forgotten | dial again after a pause | held |
//! | up | waits for hellos | the new one counts | lost, if it counted | - | lost, held |
//! | lost | waits for hellos | up | forgotten | dial again after a pause | held |

mod connection;
mod contest;
mod dialer;
mod peer_view;
mod stopped_peer;

pub(super) use connection::{Answered, Connection};

use connection::Contest;
use dialer::Dialer;
use peer_view::PeerView;

use super::{LinkId, LinkState, Moment};
use crate::model::limits::PEER_LINKS_MAX;
use crate::model::{Epoch, Position};
use crate::protocol::wire::{Hello, RefusalKind};

/// Head start of a newly enrolled shadow, which knows best when it is ready.
const FIRST_DIAL_US: u64 = 1_000_000;

/// The connections to the peer.
#[derive(Clone, Debug)]
pub(super) struct Links {
    connections: Vec<Connection>,
    contact: Contact,
    down: Down,
    dialer: Dialer,
    hold: Hold,
    refusal: Option<Refused>,
    hellos_sent: u64,
    peer: PeerView,
    /// A younger run of the peer that waits.
    contest: Option<Contest>,
}

/// Whether a connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// None has, since this run began or since the peer was enrolled.
    Never,
    /// This one does.
    Up(LinkId),
    /// One did.
    Lost,
}

/// Why and since when no connection counts.
#[derive(Clone, Debug)]
struct Down {
    since: Moment,
    reason: String,
}

/// Who keeps the link closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Nobody,
    /// The peer's operator.
    Peer,
    /// This node's operator.
    Here,
}

/// Why there is no link although there could be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: Option<RefusalKind>,
    pub(super) reason: String,
    /// The peer itself refuses or is refused, so it is alive.
    pub(super) alive: bool,
}

impl Links {
    pub(super) fn new(at: Moment) -> Self {
        Self {
            connections: Vec::new(),
            contact: Contact::Never,
            down: Down { since: at, reason: String::new() },
            dialer: Dialer::new(at),
            hold: Hold::Nobody,
            refusal: None,
            hellos_sent: 0,
            peer: PeerView::new(at),
            contest: None,
        }
    }

    /// The connection that counts.
    pub(super) fn active(&self) -> Option<&Connection> {
        match self.contact {
            Contact::Up(link) => self.connection(link),
            Contact::Never | Contact::Lost => None,
        }
    }

    /// Its number.
    pub(super) fn active_id(&self) -> Option<LinkId> {
        match self.contact {
            Contact::Up(link) => Some(link),
            Contact::Never | Contact::Lost => None,
        }
    }

    pub(super) fn is_active(&self, link: LinkId) -> bool {
        self.contact == Contact::Up(link)
    }

    /// The connection that counts, once this node's hello was sent on it.
    pub(super) fn ready(&self) -> Option<LinkId> {
        self.active().filter(|connection| connection.hello_sent()).map(Connection::id)
    }

    pub(super) fn connection(&self, link: LinkId) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id() == link)
    }

    fn connection_mut(&mut self, link: LinkId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id() == link)
    }

    fn active_mut(&mut self) -> Option<&mut Connection> {
        let link = self.active_id()?;
        self.connection_mut(link)
    }

    pub(super) fn any(&self) -> bool {
        !self.connections.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.connections.iter().map(Connection::id).collect()
    }

    /// Forgets every connection, without a word of why.
    pub(super) fn clear(&mut self) {
        self.connections.clear();
        self.contest = None;
        if let Contact::Up(_) = self.contact {
            self.contact = Contact::Lost;
        }
    }

    /// The connection to be closed before another is taken, where there are too many.
    pub(super) fn excess(&self) -> Option<LinkId> {
        let mut ids = self.connections.iter().map(Connection::id);
        if self.connections.len() < PEER_LINKS_MAX { None } else { ids.find(|id| !self.is_active(*id)) }
    }

    pub(super) fn opened(&mut self, link: LinkId, dialled: bool, at: Moment) {
        self.connections.push(Connection::new(link, dialled, at));
    }

    /// A dial has led to a connection.
    pub(super) fn dial_succeeded(&mut self) {
        self.dialer.ended();
    }

    /// A connection is no more. Returns whether it was the one that counted.
    pub(super) fn dropped(&mut self, link: LinkId, at: Moment, reason: &str) -> bool {
        self.connections.retain(|connection| connection.id() != link);
        let counted = self.is_active(link);
        if counted || self.is_contested_by(link) {
            self.contest = None;
        }
        if counted {
            self.contact = Contact::Lost;
            self.down = Down { since: at, reason: reason.to_owned() };
        }
        counted
    }

    /// This connection counts from now on.
    pub(super) fn activated(&mut self, link: LinkId, at: Moment) {
        self.contact = Contact::Up(link);
        self.refusal = None;
        if self.hold == Hold::Peer {
            self.hold = Hold::Nobody;
        }
        self.dialer.succeeded();
        self.peer.heard(at);
    }

    /// Any frame of the peer is a sign of life.
    pub(super) fn heard(&mut self, link: LinkId, at: Moment) {
        if let Some(connection) = self.connection_mut(link) {
            connection.heard(at);
        }
        if self.peer.last_heard().is_some() || self.is_active(link) {
            self.peer.heard(at);
        }
    }

    /// Bytes of an unfinished frame are a sign of life too. They do not say that the peer has accepted this node's hello.
    pub(super) fn progressed(&mut self, link: LinkId, at: Moment) {
        let Some(connection) = self.connection_mut(link) else { return };
        connection.progressed(at);
        if self.is_active(link) {
            self.peer.heard(at);
        }
    }

    // Dialling.

    /// When a dial is due, where one may be made at all.
    pub(super) fn dial_due(&self) -> Option<Moment> {
        self.dialer.due().filter(|_| self.hold != Hold::Here && !self.any())
    }

    pub(super) fn dialled(&mut self, at: Moment) {
        self.dialer.begins(at);
    }

    /// The dial led to no connection. Returns when it had begun.
    pub(super) fn dial_failed(&mut self, at: Moment) -> Moment {
        self.dialer.failed(at)
    }

    /// Dials again after a pause that grows with every failure.
    pub(super) fn dial_later(&mut self, at: Moment, heartbeat_us: u64, slow: bool, random: u64) {
        self.dialer.wait(at, heartbeat_us, slow, random);
    }

    /// Dials no earlier than this.
    pub(super) fn dial_at(&mut self, at: Moment) {
        self.dialer.wait_until(at);
    }

    /// Dials at once, as if nothing had failed before.
    pub(super) fn dial_afresh(&mut self, at: Moment) {
        self.dialer.wait_until(at);
        self.dialer.succeeded();
    }

    /// Whether a dial failed since then.
    pub(super) fn failed_since(&self, at: Moment) -> bool {
        self.dialer.failed_since(at)
    }

    // Holds and refusals.

    pub(super) fn is_held(&self) -> bool {
        self.hold != Hold::Nobody
    }

    pub(super) fn is_held_here(&self) -> bool {
        self.hold == Hold::Here
    }

    /// The peer closed the link. `held`: its operator keeps it closed.
    pub(super) fn closed_by_peer(&mut self, held: bool) {
        self.hold = if held { Hold::Peer } else { Hold::Nobody };
    }

    /// The peer has forgotten this node, and with it its own hold.
    pub(super) fn forgotten_by_peer(&mut self) {
        if self.hold == Hold::Peer {
            self.hold = Hold::Nobody;
        }
    }

    /// This node's operator holds the link, or lets it come again.
    pub(super) fn set_held(&mut self, held: bool, at: Moment) {
        self.hold = if held { Hold::Here } else { Hold::Nobody };
        // What was not heard while the link was held says nothing of the peer.
        self.peer.restart_silence(at);
        self.dial_afresh(at);
    }

    pub(super) fn refusal(&self) -> Option<&Refused> {
        self.refusal.as_ref()
    }

    /// Whether the peer itself refuses, or is refused, for another reason than a broken protocol.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.alive && refusal.kind != Some(RefusalKind::ProtocolError))
    }

    /// One side refuses the other. Returns whether that is news.
    pub(super) fn refused(&mut self, refusal: Refused) -> bool {
        if self.is_duplicate() && !refusal.alive {
            // A stranger at the peer's address does not know whether the other one still runs.
            return false;
        }
        let before = self.refusal.as_ref();
        let news = before.is_none_or(|before| before.kind != refusal.kind || before.alive != refusal.alive);
        self.refusal = Some(refusal);
        news
    }

    /// Nobody answers. A stranger at the peer's address is no longer the reason.
    pub(super) fn unreachable(&mut self, reason: String) {
        self.refusal.take_if(|refusal| !refusal.alive);
        self.down.reason = reason;
    }

    // What is known of the peer.

    /// Whether a connection counted since this run began, or since the peer was enrolled.
    pub(super) fn was_up(&self) -> bool {
        self.contact != Contact::Never
    }

    pub(super) fn last_heard(&self) -> Option<Moment> {
        self.peer.last_heard()
    }

    pub(super) fn round_trip_us(&self) -> Option<u64> {
        self.peer.round_trip_us()
    }

    pub(super) fn peer_position(&self) -> Option<Position> {
        self.peer.position()
    }

    /// How long ago the peer last said where it stands; `None` where it never did since this run began.
    pub(super) fn position_age_us(&self, at: Moment) -> Option<u64> {
        self.peer.position_at().map(|said| at.0.saturating_sub(said.0))
    }

    pub(super) fn peer_serves(&self) -> bool {
        self.peer.serves()
    }

    /// Whether the peer was last met as a master that outranks this one.
    pub(super) fn is_outranked(&self) -> bool {
        self.peer.outranks()
    }

    pub(super) fn highest_epoch(&self) -> Epoch {
        self.peer.highest_epoch()
    }

    /// Since when no connection counts; `None` while one does.
    pub(super) fn down_since(&self) -> Option<Moment> {
        self.active_id().is_none().then_some(self.down.since)
    }

    /// How long the peer was not heard; `None` where it never was since this run began.
    pub(super) fn silence_us(&self, at: Moment) -> Option<u64> {
        self.peer.last_heard().map(|heard| at.0.saturating_sub(heard.0))
    }

    /// Since when the peer is silent: when it was heard last, or when this run began.
    pub(super) fn silent_since(&self) -> Moment {
        self.peer.silent_since()
    }

    pub(super) fn peer_is_at(&mut self, position: Position, at: Moment) {
        self.peer.is_at(position, at);
    }

    /// The peer says what it is.
    pub(super) fn peer_is(&mut self, epoch: Epoch, serves: bool) {
        self.peer.is(epoch, serves);
    }

    pub(super) fn set_outranked(&mut self, outranked: bool) {
        self.peer.set_outranks(outranked);
    }

    /// This node was stopped. What it did not hear meanwhile says nothing of the peer, and the time without a link counts anew.
    pub(super) fn restart_clocks(&mut self, at: Moment) {
        self.peer.restart_silence(at);
        self.down.since = at;
        self.connections.iter_mut().for_each(|connection| connection.restart_clock(at));
    }

    pub(super) fn forget_peer(&mut self) {
        self.peer.forget();
        self.refusal = None;
        self.hold = Hold::Nobody;
        self.contact = Contact::Never;
    }

    /// A shadow was enrolled. It dials first, so that a node that is still storing the pairing is left alone.
    pub(super) fn new_peer(&mut self, at: Moment) {
        self.forget_peer();
        self.down.since = at;
        self.dial_afresh(Moment(at.0 + FIRST_DIAL_US));
    }

    #[cfg(test)]
    pub(super) fn is_dialling(&self) -> bool {
        self.dialer.due().is_none()
    }

    #[cfg(test)]
    pub(super) fn assume_round_trip(&mut self, us: u64) {
        self.peer.assume_round_trip(us);
    }

    // Hellos and heartbeats.

    /// The number of the next hello.
    pub(super) fn number_hello(&mut self) -> u64 {
        self.hellos_sent += 1;
        self.hellos_sent
    }

    /// This node's hello is sent. Returns the peer's, where that came first.
    pub(super) fn hello_sent(&mut self, link: LinkId) -> Option<Box<Hello>> {
        self.connection_mut(link)?.set_hello_sent()
    }

    /// The peer's hello came before this node's own was sent: both sides judge the two that were said.
    pub(super) fn hello_early(&mut self, link: LinkId, hello: Box<Hello>) {
        if let Some(connection) = self.connection_mut(link) {
            connection.keep_early(hello);
        }
    }

    /// The peer's hello is accepted.
    pub(super) fn hello_accepted(&mut self, link: LinkId, hello: Box<Hello>) {
        self.peer_is(hello.epoch, hello.serving);
        self.peer.met(hello.sender.run);
        if let Some(connection) = self.connection_mut(link) {
            connection.set_hello(hello);
        }
    }

    /// Of two connections, whether the one with the new hello stays. Both sides come to the same answer: a peer that says that it
    /// lost the other one is right; else the one dialled by the lower id stays. Another run of the peer has to dial, and waits
    /// ([`Links::contest`]). `ours_lower`: this node's id is the lower one.
    pub(super) fn stays(&self, link: LinkId, hello: &Hello, ours_lower: bool) -> bool {
        let Some(active) = self.active() else { return true };
        let Some(before) = active.hello() else { return true };
        let Some(new) = self.connection(link) else { return false };
        if before.sender.run != hello.sender.run {
            return false;
        }
        if active.is_confirmed() && hello.hello_no > before.hello_no && !hello.linked {
            return true;
        }
        if active.is_dialled() == new.is_dialled() {
            return hello.hello_no > before.hello_no;
        }
        if new.is_dialled() { ours_lower } else { !ours_lower }
    }

    /// The next heartbeat, if it is time: where to send it, and its number.
    pub(super) fn beat(&mut self, at: Moment, heartbeat_us: u64) -> Option<(LinkId, u64)> {
        let connection = self.active_mut().filter(|connection| connection.hello_sent())?;
        let nonce = connection.beat(at, heartbeat_us)?;
        Some((connection.id(), nonce))
    }

    /// Asks the peer at once; only the answer to this question, or a later one, confirms a mastership.
    pub(super) fn ask_peer(&mut self, at: Moment) {
        if let Some(connection) = self.active_mut() {
            connection.ask(at);
        }
    }

    /// The peer answered a heartbeat. `None` where that was never sent on this connection, or so long ago that it is forgotten.
    pub(super) fn beat_answered(&mut self, link: LinkId, nonce: u64, at: Moment) -> Option<Answered> {
        let answered = self.connection_mut(link)?.answered(nonce)?;
        self.peer.answered_in(at.0.saturating_sub(answered.sent.0));
        Some(answered)
    }

    /// The connections on which the peer was silent for too long: for `lost_us`, before its hello for `hello_us`.
    pub(super) fn silent(&self, at: Moment, lost_us: u64, hello_us: u64) -> Vec<LinkId> {
        let silent = |connection: &&Connection| {
            if self.is_contested_by(connection.id()) {
                // It is this node that owes the next word.
                return false;
            }
            let bound_us = if connection.hello().is_some() { lost_us } else { hello_us };
            connection.silence_us(at) >= bound_us
        };
        self.connections.iter().filter(silent).map(Connection::id).collect()
    }

    /// When a connection is given up, or the next heartbeat is due.
    pub(super) fn deadline(&self, lost_us: u64) -> Option<Moment> {
        let lost = self.connections.iter().map(|connection| connection.lost_at(lost_us));
        let beat = self.active().map(Connection::next_beat);
        let contest = self.contest.map(|contest| contest.over_at(lost_us));
        lost.chain(beat).chain(contest).min()
    }

    /// The state of the link, and why. `syncing`: the session on it is not over.
    pub(super) fn state(&self, syncing: bool) -> (LinkState, String) {
        match (self.hold, self.contact, &self.refusal) {
            (Hold::Here, ..) => (LinkState::Held, "held by this node's operator".to_owned()),
            (_, Contact::Up(_), _) if syncing => (LinkState::Syncing, String::new()),
            (_, Contact::Up(_), _) => (LinkState::Connected, String::new()),
            (Hold::Peer, ..) => (LinkState::Held, "held by the peer's operator".to_owned()),
            (.., Some(refusal)) => {
                let word = refusal.kind.map_or("not_permitted", RefusalKind::as_str);
                (LinkState::Refused, format!("{word}: {}", refusal.reason))
            }
            _ if self.any() => (LinkState::Handshake, String::new()),
            (_, Contact::Lost, _) => (LinkState::Lost, self.down.reason.clone()),
            (_, Contact::Never, _) => (LinkState::Connecting, self.down.reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
