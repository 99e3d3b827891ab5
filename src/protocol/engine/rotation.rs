//! Renewal of this node's key, while the peer permits both the old one and the next one.
//!
//! | | `begin` | `made` | `not_made` | `offer` | `pinned` | `unpinned` | `used` | `not_used` |
//! |---|---|---|---|---|---|---|---|---|
//! | idle | making | - | - | - | - | - | - | - |
//! | making | refused | offered | idle | - | - | - | - | - |
//! | offered | refused | - | - | tells the peer | using | using | - | - |
//! | using | refused | - | - | - | - | - | idle | offered |
//!
//! `made`: the next key is durable here, beside the one in use. `offer`: a link is up whose peer knows of renewed keys. `pinned`: the peer
//! durably permits the next key too. `unpinned`: there is no peer that would have to permit it. `used`: the next key is the only one here.
//! The peer forgets the old key when it sees the next one in a handshake. So at every moment the peer permits whichever key this node
//! comes back with.

use super::{Moment, Ticket};
use crate::model::{KeyId, PinnedKeys};

/// The keys of this node, as its data directory holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnKeys {
    /// The key in use.
    pub current: KeyId,
    /// The key that is to replace it, where a renewal was under way.
    pub next: Option<KeyId>,
}

impl OwnKeys {
    /// This key, and none that is to replace it.
    pub fn only(current: KeyId) -> Self {
        Self { current, next: None }
    }
}

/// The renewal of this node's key.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    current: KeyId,
    state: State,
    /// Who waits for its end, and until when.
    waiter: Option<(Ticket, Moment)>,
    /// The next key could not be used: when that is tried again.
    retry_at: Option<Moment>,
    peer: PeerRotation,
}

/// What the peer wants to be remembered of its keys. It stays wanted until it is durable.
#[derive(Clone, Copy, Debug, Default)]
struct PeerRotation {
    /// The next key that it names.
    next: Option<KeyId>,
    /// The next key that it has shown.
    shown: Option<KeyId>,
    /// When storing that is tried again.
    retry_at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Making,
    Offered(KeyId),
    Using(KeyId),
}

impl Rotation {
    pub(super) fn new(keys: OwnKeys) -> Self {
        let state = keys.next.map_or(State::Idle, State::Offered);
        Self { current: keys.current, state, waiter: None, retry_at: None, peer: PeerRotation::default() }
    }

    /// Whether a key is made, waits to be permitted, or is about to be used.
    /// The key in use, and the one that is to replace it.
    pub(super) fn keys(&self) -> OwnKeys {
        let next = match self.state {
            State::Offered(key) | State::Using(key) => Some(key),
            State::Idle | State::Making => None,
        };
        OwnKeys { current: self.current, next }
    }

    /// The key in use.
    pub(super) fn current(&self) -> KeyId {
        self.current
    }

    /// Begins, for an operator or because the certificate ends. Returns whether it did.
    pub(super) fn begin(&mut self, waiter: Option<(Ticket, Moment)>) -> bool {
        let begins = self.state == State::Idle;
        if begins {
            (self.state, self.waiter) = (State::Making, waiter);
        }
        begins
    }

    pub(super) fn made(&mut self, key: KeyId) {
        if self.state == State::Making {
            self.state = State::Offered(key);
        }
    }

    /// Returns who waits in vain.
    pub(super) fn not_made(&mut self) -> Option<Ticket> {
        if self.state != State::Making {
            return None;
        }
        self.state = State::Idle;
        self.take_waiter()
    }

    /// The key that the peer is to be told.
    pub(super) fn offer(&self) -> Option<KeyId> {
        match self.state {
            State::Offered(key) => Some(key),
            State::Idle | State::Making | State::Using(_) => None,
        }
    }

    /// Whoever waits waits no longer.
    pub(super) fn take_waiter(&mut self) -> Option<Ticket> {
        self.waiter.take().map(|(ticket, _)| ticket)
    }

    /// Whether this is the key in use, and is not about to go.
    pub(super) fn stays(&self, key: KeyId) -> bool {
        key == self.current && matches!(self.state, State::Idle | State::Offered(_))
    }

    /// Until when somebody waits.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.waiter.map(|(_, until)| until)
    }

    /// When something is tried again.
    pub(super) fn retry_at(&self) -> [Option<Moment>; 2] {
        let wanted = self.peer.next.is_some() || self.peer.shown.is_some();
        [self.retry_at, self.peer.retry_at.filter(|_| wanted)]
    }

    /// Whether the time has come to try again.
    pub(super) fn retries(&mut self, at: Moment) -> bool {
        self.retry_at.take_if(|retry_at| *retry_at <= at).is_some()
    }

    // The next key.

    /// The peer permits this key. Returns whether it is to be used now.
    pub(super) fn pinned(&mut self, key: KeyId) -> bool {
        let awaited = self.state == State::Offered(key);
        if awaited {
            self.state = State::Using(key);
        }
        awaited
    }

    /// There is no peer. Returns the key that is to be used now.
    pub(super) fn unpinned(&mut self) -> Option<KeyId> {
        let key = self.offer().filter(|_| self.retry_at.is_none())?;
        self.state = State::Using(key);
        Some(key)
    }

    /// Returns whether a renewal has ended, and who waited for that.
    pub(super) fn used(&mut self) -> Option<Option<Ticket>> {
        let State::Using(key) = self.state else { return None };
        (self.current, self.state) = (key, State::Idle);
        Some(self.take_waiter())
    }

    /// Returns who waits in vain. It is tried again at this moment.
    pub(super) fn not_used(&mut self, retry_at: Moment) -> Option<Ticket> {
        let State::Using(key) = self.state else { return None };
        (self.state, self.retry_at) = (State::Offered(key), Some(retry_at));
        self.take_waiter()
    }

    // The peer's keys.

    pub(super) fn peer_names(&mut self, key: KeyId) {
        self.peer.next = Some(key);
    }

    pub(super) fn peer_shows(&mut self, key: KeyId) {
        self.peer.shown = Some(key);
    }

    /// The link is gone. What the peer named, it names again.
    pub(super) fn peer_lost(&mut self) {
        self.peer.next = None;
    }

    /// What is to be stored of the peer's keys, where these are stored: first that it has shown its next one, then the one after that.
    pub(super) fn peer_wants(&mut self, stored: PinnedKeys, at: Moment) -> Option<PinnedKeys> {
        self.peer.shown = self.peer.shown.filter(|shown| stored.next == Some(*shown));
        self.peer.next = self.peer.next.filter(|next| stored.next != Some(*next) && stored.current != *next);
        match (self.peer.shown, self.peer.next) {
            _ if self.peer.retry_at.is_some_and(|retry_at| retry_at > at) => None,
            (Some(shown), _) => Some(PinnedKeys::only(shown)),
            (None, Some(next)) => Some(PinnedKeys { next: Some(next), ..stored }),
            (None, None) => None,
        }
    }

    /// It is being stored. Until this moment it is not tried again.
    pub(super) fn stores_peer(&mut self, retry_at: Moment) {
        self.peer.retry_at = Some(retry_at);
    }

    /// It is stored.
    pub(super) fn peer_stored(&mut self) {
        self.peer.retry_at = None;
    }
}

#[cfg(test)]
mod tests;
