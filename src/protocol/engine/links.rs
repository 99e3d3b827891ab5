//! The connection to the peer: dialled by whoever has none, greeted, beaten, and given up when silent.

use super::{Action, DialFailureKind, Engine, LinkId, LinkState, Moment, Notice, Now};
use crate::model::limits::PEER_LINKS_MAX;
use crate::model::{Epoch, Position};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{Backoff, NodeState, Transition};
use crate::protocol::wire::{Bye, Hello, Message, Refusal, RefusalKind};

/// Head start of a newly enrolled shadow, which knows best when it is ready.
const FIRST_DIAL_US: u64 = 1_000_000;

/// The connections to the peer: one that counts, and at most a few that are being greeted.
#[derive(Clone, Debug)]
pub(super) struct Links {
    pub(super) conns: Vec<Conn>,
    pub(super) active: Option<LinkId>,
    pub(super) dialling: bool,
    pub(super) dial_at: Moment,
    /// When the last dial began.
    pub(super) dialled_at: Moment,
    /// When this run began, or went on after a stop: silence of a peer that was never heard counts from here.
    began: Moment,
    /// When one failed last.
    failed_at: Option<Moment>,
    /// The peer was met as a master that outranks this one.
    outranked: bool,
    pub(super) backoff: Backoff,
    pub(super) hello_no: u64,
    /// An operator of this node holds the link.
    pub(super) held: bool,
    /// The peer's operator holds it.
    held_by_peer: bool,
    refusal: Option<Refused>,
    /// A link counted since the start.
    was_up: bool,
    /// Since when none counts.
    down_since: Moment,
    down_reason: String,
    /// Last frame of the peer, since the start.
    last_heard: Option<Moment>,
    peer_position: Option<Position>,
    /// By its last word, the peer holds mastership.
    pub(super) peer_serves: bool,
    pub(super) highest_seen: Epoch,
    pub(super) round_trip_us: Option<u64>,
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) id: LinkId,
    pub(super) dialled: bool,
    /// This node's hello was sent.
    pub(super) greeted: bool,
    pub(super) heard: Moment,
    /// The peer's first word.
    pub(super) hello: Option<Box<Hello>>,
    /// It came before this node's own, which waits for the store: both sides judge the two that were said.
    pub(super) early: Option<Box<Hello>>,
    /// The peer has spoken after its hello, so it has accepted ours.
    pub(super) confirmed: bool,
    pub(super) next_beat: Moment,
    pub(super) nonce: u64,
    pub(super) unanswered: Vec<(u64, Moment)>,
    /// Answers from this heartbeat on confirm a mastership that is asked for.
    pub(super) asked: Option<u64>,
}

/// Why there is no link although there could be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: Option<RefusalKind>,
    pub(super) reason: String,
    /// The peer itself refuses or is refused: it lives.
    pub(super) alive: bool,
}

impl Links {
    pub(super) fn new(at: Moment) -> Self {
        Self {
            conns: Vec::new(),
            active: None,
            dialling: false,
            dial_at: at,
            dialled_at: at,
            began: at,
            failed_at: None,
            outranked: false,
            backoff: Backoff::default(),
            hello_no: 0,
            held: false,
            held_by_peer: false,
            refusal: None,
            was_up: false,
            down_since: at,
            down_reason: String::new(),
            last_heard: None,
            peer_position: None,
            peer_serves: false,
            highest_seen: Epoch::NONE,
            round_trip_us: None,
        }
    }

    /// The connection that counts.
    pub(super) fn active(&self) -> Option<&Conn> {
        self.conns.iter().find(|conn| Some(conn.id) == self.active)
    }

    pub(super) fn is_active(&self, link: LinkId) -> bool {
        self.active == Some(link)
    }

    pub(super) fn is_held(&self) -> bool {
        self.held || self.held_by_peer
    }

    /// Whether a dial failed since then.
    pub(super) fn failed_since(&self, at: Moment) -> bool {
        self.failed_at.is_some_and(|failed| failed >= at)
    }

    /// Whether the peer was last met as a master that outranks this one.
    pub(super) fn is_outranked(&self) -> bool {
        self.outranked
    }

    pub(super) fn outranked_by_peer(&mut self, outranked: bool) {
        self.outranked = outranked;
    }

    pub(super) fn any(&self) -> bool {
        !self.conns.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.conns.iter().map(|conn| conn.id).collect()
    }

    pub(super) fn clear(&mut self) {
        self.conns.clear();
        self.active = None;
    }

    /// Whether a link counted since the start, or since the peer was enrolled.
    pub(super) fn was_up(&self) -> bool {
        self.was_up
    }

    pub(super) fn refusal(&self) -> Option<&Refused> {
        self.refusal.as_ref()
    }

    pub(super) fn last_heard(&self) -> Option<Moment> {
        self.last_heard
    }

    pub(super) fn round_trip_us(&self) -> Option<u64> {
        self.round_trip_us
    }

    pub(super) fn peer_position(&self) -> Option<Position> {
        self.peer_position
    }

    pub(super) fn highest_seen(&self) -> Epoch {
        self.highest_seen
    }

    /// Since when no link counts; `None` while one does.
    pub(super) fn down_since(&self) -> Option<Moment> {
        self.active.is_none().then_some(self.down_since)
    }

    /// How long the peer was not heard; `None` where it never was since the start.
    pub(super) fn silence_us(&self, at: Moment) -> Option<u64> {
        self.last_heard.map(|heard| at.0.saturating_sub(heard.0))
    }

    /// Since when the peer is silent: when it was heard last, or when this run began.
    pub(super) fn silent_since(&self) -> Moment {
        self.last_heard.unwrap_or(self.began)
    }

    /// This node was stopped: what it did not hear meanwhile says nothing of the peer.
    pub(super) fn forgive(&mut self, at: Moment) {
        self.last_heard = self.last_heard.map(|_| at);
        self.began = at;
        self.down_since = self.down_since.max(Moment(0));
        self.conns.iter_mut().for_each(|conn| conn.heard = at);
    }

    /// The peer says where it stands.
    pub(super) fn peer_at(&mut self, position: Position) {
        self.peer_position = Some(position);
    }

    pub(super) fn forget_peer(&mut self) {
        self.peer_position = None;
        self.last_heard = None;
        self.round_trip_us = None;
        self.outranked = false;
        self.refusal = None;
        self.held = false;
        self.held_by_peer = false;
        self.was_up = false;
    }

    /// A shadow was enrolled: it dials first, so that a node that is still storing the pairing is left alone.
    pub(super) fn new_peer(&mut self, at: Moment) {
        self.forget_peer();
        self.down_since = at;
        self.dial_at = Moment(at.0 + FIRST_DIAL_US);
        self.backoff.reset();
    }

    pub(super) fn set_held(&mut self, held: bool, at: Moment) {
        self.held = held;
        self.held_by_peer &= held;
        // What was not heard while the link was held says nothing of the peer.
        self.last_heard = self.last_heard.map(|_| at);
        self.began = at;
        self.dial_at = at;
        self.backoff.reset();
    }

    pub(super) fn conn(&mut self, link: LinkId) -> Option<&mut Conn> {
        self.conns.iter_mut().find(|conn| conn.id == link)
    }
}

impl Engine {
    pub(super) fn link_up(&mut self, now: Now, link: LinkId, dialled: bool) {
        if dialled {
            self.links.dialling = false;
        }
        let alone = self.durable_state.peer.is_none() || self.updates.forget();
        if alone || self.stopping.is_some() || self.node_state == NodeState::Broken {
            self.out.push(Action::Close { link });
            return;
        }
        if self.links.held {
            self.heard(now, link);
            self.out.push(Action::Send { link, message: Message::Bye(Bye::Held) });
            self.out.push(Action::Close { link });
            return;
        }
        if self.links.conns.len() >= PEER_LINKS_MAX
            && let Some(oldest) = self.links.conns.iter().map(|conn| conn.id).find(|id| !self.links.is_active(*id))
        {
            self.close(oldest, None);
            self.drop_conn(now, oldest, "too many links");
        }
        self.links.conns.push(Conn {
            id: link,
            dialled,
            greeted: false,
            heard: now.at,
            hello: None,
            early: None,
            confirmed: false,
            next_beat: now.at,
            nonce: 0,
            unanswered: Vec::new(),
            asked: None,
        });
    }

    /// Any frame of the peer is a sign of life.
    pub(super) fn heard(&mut self, now: Now, link: LinkId) {
        if let Some(conn) = self.links.conn(link) {
            conn.heard = now.at;
            conn.confirmed |= conn.hello.is_some();
        }
        if self.links.last_heard.is_some() || self.links.is_active(link) {
            self.links.last_heard = Some(now.at);
        }
    }

    pub(super) fn link_down(&mut self, now: Now, link: LinkId, reason: String) {
        if self.links.conn(link).is_some() {
            self.links.dial_at = self.links.backoff.next(now.at, self.timing.heartbeat_us, false, now.random);
            self.drop_conn(now, link, &reason);
        }
    }

    pub(super) fn dial_failed(&mut self, now: Now, how: DialFailureKind, reason: String) {
        self.links.dialling = false;
        self.links.failed_at = Some(now.at);
        let slow = how != DialFailureKind::Unreachable;
        self.links.dial_at = self.links.backoff.next(now.at, self.timing.heartbeat_us, slow, now.random);
        if how == DialFailureKind::WrongKey {
            let peer = self.durable_state.peer.as_ref().map(|peer| peer.address.clone()).unwrap_or_default();
            let message = format!("whoever answers at the peer's address is not the peer: {reason}");
            self.raise(now, NewAlert::new(AlertKind::UnpermittedPeer, peer, message));
        }
        // Whoever forgot this node holds no link to it any more.
        self.links.held_by_peer &= how != DialFailureKind::RefusedByPeer;
        if slow {
            let alive = how == DialFailureKind::RefusedByPeer;
            self.refused_link(None, reason, alive);
        } else if self.links.refusal.as_ref().is_some_and(|refusal| !refusal.alive) {
            self.links.refusal = None;
            self.links.down_reason = reason;
        } else {
            self.links.down_reason = reason;
        }
        if self.node_state == NodeState::Stalled && self.links.dialled_at < self.since {
            // Dialled before this node stood still: it says nothing of the time since.
            self.links.dial_at = now.at;
        } else if !self.is_bound() {
            self.transition(now, Transition::Confirmed, "peer_unreachable");
        }
    }

    /// One side refuses the other.
    pub(super) fn refused_link(&mut self, kind: Option<RefusalKind>, reason: String, alive: bool) {
        let refusal = Refused { kind, reason: reason.clone(), alive };
        let news = self.links.refusal.as_ref().is_none_or(|before| before.kind != kind || before.alive != alive);
        self.links.refusal = Some(refusal);
        if let (true, Some(kind)) = (news, kind) {
            self.out.push(Action::Notify(Notice::Refused { kind, reason }));
        }
    }

    pub(super) fn message(&mut self, now: Now, link: LinkId, message: Message) {
        let Some(conn) = self.links.conn(link) else { return };
        let (greeted, said, early) = (conn.hello.is_some(), conn.greeted, conn.early.is_some());
        let message = match message {
            Message::Hello(hello) if !said && !early => {
                conn.early = Some(hello);
                return self.heard(now, link);
            }
            message => message,
        };
        self.heard(now, link);
        match message {
            Message::Hello(hello) if !greeted && said => self.greet(now, link, hello),
            Message::Bye(bye) => self.bye(now, link, bye),
            Message::Refuse(refusal) => self.refused_by_peer(now, link, refusal),
            _ if !greeted => self.protest(now, link, "a message before the hello"),
            Message::Hello(_) => self.protest(now, link, "a second hello"),
            // A link that lost against another one is closed already, or about to be.
            _ if !self.links.is_active(link) => {}
            Message::Heartbeat(beat) => self.heartbeat(now, link, beat),
            Message::HeartbeatAck(ack) => self.heartbeat_ack(now, link, ack),
            other => self.session_message(now, link, other),
        }
    }

    fn bye(&mut self, now: Now, link: LinkId, bye: Bye) {
        let reason = match bye {
            Bye::Held => "held by the peer's operator",
            Bye::Shutdown => "the peer stopped",
            Bye::Duplicate => "another link stays",
            Bye::Reset => "the peer forgot the pairing",
        };
        self.links.held_by_peer = bye == Bye::Held;
        self.close(link, None);
        self.drop_conn(now, link, reason);
        let slow = bye == Bye::Held;
        self.links.dial_at = self.links.backoff.next(now.at, self.timing.heartbeat_us, slow, now.random);
    }

    fn refused_by_peer(&mut self, now: Now, link: LinkId, refusal: Refusal) {
        self.refusal_alert(now, refusal.kind, &refusal.reason);
        self.refused_link(Some(refusal.kind), refusal.reason, true);
        self.end_refused(now, link);
    }

    /// This node refuses the peer, with a word.
    pub(super) fn refuse_peer(&mut self, now: Now, link: LinkId, kind: RefusalKind, reason: String) {
        self.refusal_alert(now, kind, &reason);
        self.out.push(Action::Send { link, message: Message::Refuse(Refusal { kind, reason: reason.clone() }) });
        self.refused_link(Some(kind), reason, true);
        self.end_refused(now, link);
    }

    fn end_refused(&mut self, now: Now, link: LinkId) {
        self.close(link, None);
        self.drop_conn(now, link, "refused");
        self.links.dial_at = self.links.backoff.next(now.at, self.timing.heartbeat_us, true, now.random);
    }

    /// The peer, or its shell, broke the protocol. The link is dropped; the next one comes after a while.
    pub(super) fn protest(&mut self, now: Now, link: LinkId, what: &str) {
        self.refuse_peer(now, link, RefusalKind::Protest, format!("the peer broke the protocol: {what}"));
    }

    /// Closes a link without a word about roles.
    pub(super) fn close(&mut self, link: LinkId, word: Option<Bye>) {
        if let Some(bye) = word {
            self.out.push(Action::Send { link, message: Message::Bye(bye) });
        }
        self.out.push(Action::Close { link });
    }

    pub(super) fn close_all_links(&mut self, now: Now, word: Option<Bye>, reason: &str) {
        for link in self.links.ids() {
            self.close(link, word);
            self.drop_conn(now, link, reason);
        }
        self.links.dial_at = now.at;
        self.links.backoff.reset();
    }

    /// A connection is no more.
    pub(super) fn drop_conn(&mut self, now: Now, link: LinkId, reason: &str) {
        self.links.conns.retain(|conn| conn.id != link);
        if self.links.is_active(link) {
            self.links.active = None;
            self.links.down_since = now.at;
            self.links.down_reason = reason.to_owned();
            self.session_ended(now);
            self.transition(now, Transition::LinkLost, "link_lost");
        }
    }

    /// This connection counts from now on; another that did is closed.
    pub(super) fn activate(&mut self, now: Now, link: LinkId) {
        if let Some(before) = self.links.active
            && before != link
        {
            self.close(before, Some(Bye::Duplicate));
            self.drop_conn(now, before, "another link stays");
        }
        self.links.active = Some(link);
        self.links.was_up = true;
        self.links.refusal = None;
        self.links.held_by_peer = false;
        self.links.backoff.reset();
        self.links.last_heard = Some(now.at);
    }

    /// The state of the link, and why.
    pub(super) fn link_state(&self) -> (LinkState, String) {
        let links = &self.links;
        let why = |text: &str| text.to_owned();
        if self.durable_state.peer.is_none() {
            return (LinkState::None, String::new());
        }
        if links.held {
            return (LinkState::Held, why("held by this node's operator"));
        }
        if links.active.is_some() {
            let state = if self.session.in_progress() { LinkState::Syncing } else { LinkState::Connected };
            return (state, String::new());
        }
        if links.held_by_peer {
            return (LinkState::Held, why("held by the peer's operator"));
        }
        if let Some(refusal) = &links.refusal {
            let word = refusal.kind.map_or("not_permitted", RefusalKind::as_str);
            return (LinkState::Refused, format!("{word}: {}", refusal.reason));
        }
        match (links.any(), links.was_up) {
            (true, _) => (LinkState::Handshake, String::new()),
            (false, true) => (LinkState::Lost, links.down_reason.clone()),
            (false, false) => (LinkState::Connecting, links.down_reason.clone()),
        }
    }
}
