//! One connection: its hellos and its heartbeats.
//!
//! | the peer's hello | comes before this node's | this node's is sent | accepted | any later frame |
//! |---|---|---|---|---|
//! | none | early | - | accepted | - |
//! | early | early | none: it is looked at now | accepted | - |
//! | accepted | not called | - | accepted | confirmed: the peer has accepted this node's |
//! | confirmed | not called | - | accepted | - |

use super::{LinkId, Moment};
use crate::model::limits::UNANSWERED_MAX;
use crate::protocol::wire::Hello;

/// One connection to the peer, authenticated.
#[derive(Clone, Debug)]
pub(in super::super) struct Connection {
    id: LinkId,
    dialled: bool,
    hello_sent: bool,
    heard: Moment,
    peer: PeerHello,
    next_beat: Moment,
    nonce: u64,
    unanswered: Vec<(u64, Moment)>,
    /// Answers to this heartbeat or a later one confirm a mastership that is asked for.
    asked: Option<u64>,
    /// Where its other end is, where the shell knows that.
    from: Option<String>,
}

/// What the peer has said first.
#[derive(Clone, Debug)]
enum PeerHello {
    /// Nothing yet.
    None,
    /// Its hello, before this node's own, which waits for the store.
    Early(Box<Hello>),
    /// Its hello, accepted.
    Accepted(Box<Hello>),
    /// Its hello, and more after it: so it has accepted this node's.
    Confirmed(Box<Hello>),
}

/// A heartbeat that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Answered {
    /// When it was sent.
    pub(in super::super) sent: Moment,
    /// Whether the answer confirms a mastership that was asked for.
    pub(in super::super) asked: bool,
}

/// A connection of another run of the peer, and the question to the one that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    pub(super) later: LinkId,
    /// An answer to this heartbeat or a younger one was given after the later run had said hello.
    pub(super) nonce: u64,
    pub(super) asked: Moment,
}

impl Contest {
    /// Until when an answer is waited for.
    pub(super) fn over_at(self, lost_us: u64) -> Moment {
        Moment(self.asked.0 + lost_us)
    }
}

impl Connection {
    pub(super) fn new(id: LinkId, dialled: bool, at: Moment) -> Self {
        Self {
            id,
            dialled,
            hello_sent: false,
            heard: at,
            peer: PeerHello::None,
            next_beat: at,
            nonce: 0,
            unanswered: Vec::new(),
            asked: None,
            from: None,
        }
    }

    pub(in super::super) fn id(&self) -> LinkId {
        self.id
    }

    pub(in super::super) fn is_dialled(&self) -> bool {
        self.dialled
    }

    /// Whether this node's hello was sent.
    pub(in super::super) fn hello_sent(&self) -> bool {
        self.hello_sent
    }

    /// The peer's hello, once it is accepted.
    pub(in super::super) fn hello(&self) -> Option<&Hello> {
        match &self.peer {
            PeerHello::Accepted(hello) | PeerHello::Confirmed(hello) => Some(hello),
            PeerHello::None | PeerHello::Early(_) => None,
        }
    }

    /// The peer's hello, where it came before this node's own.
    pub(in super::super) fn early(&self) -> Option<&Hello> {
        match &self.peer {
            PeerHello::Early(hello) => Some(hello),
            PeerHello::None | PeerHello::Accepted(_) | PeerHello::Confirmed(_) => None,
        }
    }

    /// Where its other end is.
    pub(in super::super) fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    pub(super) fn set_from(&mut self, address: String) {
        self.from = Some(address);
    }

    /// Whether the peer's hello came before this node's own.
    pub(in super::super) fn is_early(&self) -> bool {
        matches!(self.peer, PeerHello::Early(_))
    }

    /// Whether the peer has accepted this node's hello.
    pub(super) fn is_confirmed(&self) -> bool {
        matches!(self.peer, PeerHello::Confirmed(_))
    }

    pub(super) fn heard(&mut self, at: Moment) {
        self.heard = at;
        self.peer = match std::mem::replace(&mut self.peer, PeerHello::None) {
            PeerHello::Accepted(hello) => PeerHello::Confirmed(hello),
            other => other,
        };
    }

    /// Bytes of an unfinished frame came.
    pub(super) fn progressed(&mut self, at: Moment) {
        self.heard = at;
    }

    pub(super) fn restart_clock(&mut self, at: Moment) {
        self.heard = at;
    }

    pub(super) fn set_hello_sent(&mut self) -> Option<Box<Hello>> {
        self.hello_sent = true;
        match std::mem::replace(&mut self.peer, PeerHello::None) {
            PeerHello::Early(hello) => Some(hello),
            other => {
                self.peer = other;
                None
            }
        }
    }

    pub(super) fn keep_early(&mut self, hello: Box<Hello>) {
        self.peer = PeerHello::Early(hello);
    }

    pub(super) fn set_hello(&mut self, hello: Box<Hello>) {
        self.peer = PeerHello::Accepted(hello);
    }

    pub(super) fn beat(&mut self, at: Moment, heartbeat_us: u64) -> Option<u64> {
        if self.next_beat > at {
            return None;
        }
        self.next_beat = Moment(at.0 + heartbeat_us);
        self.nonce += 1;
        if self.unanswered.len() == UNANSWERED_MAX {
            self.unanswered.remove(0);
        }
        self.unanswered.push((self.nonce, at));
        Some(self.nonce)
    }

    /// Sends the next heartbeat at once. Returns its number.
    pub(super) fn beat_soon(&mut self, at: Moment) -> u64 {
        self.next_beat = at;
        self.nonce + 1
    }

    pub(super) fn ask(&mut self, at: Moment) {
        self.asked = Some(self.nonce + 1);
        self.next_beat = at;
    }

    pub(super) fn answered(&mut self, nonce: u64) -> Option<Answered> {
        let at = self.unanswered.iter().position(|(sent, _)| *sent == nonce)?;
        let (_, sent) = self.unanswered.remove(at);
        let asked = self.asked.take_if(|first| nonce >= *first).is_some();
        Some(Answered { sent, asked })
    }

    pub(super) fn next_beat(&self) -> Moment {
        self.next_beat
    }

    pub(super) fn silence_us(&self, at: Moment) -> u64 {
        at.0.saturating_sub(self.heard.0)
    }

    pub(super) fn lost_at(&self, lost_us: u64) -> Moment {
        Moment(self.heard.0 + lost_us)
    }
}
