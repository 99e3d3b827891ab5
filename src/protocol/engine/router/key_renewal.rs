//! Renewal of keys: this node's own, and what the peer says of its next one.

use crate::model::limits::CERTIFICATE_RENEW_DAYS;
use crate::model::{KeyId, PinnedKeys};
use crate::protocol::engine::durable::{Requester, Update};
use crate::protocol::engine::{Action, CommandRefusal, DiskFailure, Engine, LinkId, Moment, Mutant, Now, Ticket};
use crate::protocol::failover::micros;
use crate::protocol::wire::Message;

impl Engine {
    /// An operator wants this node to have a new key.
    pub(super) fn rotate(&mut self, now: Now, ticket: Ticket) {
        if self.links.active_id().is_some() && !self.peer_renews() {
            return self.refuse(ticket, CommandRefusal::PeerTooOld);
        }
        if self.durable.peer.is_none() {
            // They name the key that goes.
            self.durable.forget_tokens();
        }
        let until = Moment(now.at.0.saturating_add(micros(self.setup.options.timeouts.sync)));
        match self.rotation.begin(Some((ticket, until))) {
            true => self.out.push(Action::MakeKey),
            false => self.refuse(ticket, CommandRefusal::RotationUnderWay),
        }
    }

    /// So many days are left of this node's certificate. Comes every day: a peer whose disk did not take the next key is asked again.
    pub(super) fn renew_in_time(&mut self, days: u64) {
        if let Some(link) = self.links.ready() {
            self.offer_key(link);
        }
        if days < CERTIFICATE_RENEW_DAYS && !self.shutdown.is_under_way() && self.rotation.begin(None) {
            self.out.push(Action::MakeKey);
        }
    }

    /// The next key is durable beside the one in use, or could not be made.
    pub(in super::super) fn key_made(&mut self, made: Result<KeyId, DiskFailure>) {
        match made {
            Ok(key) => {
                self.rotation.made(key);
                match self.links.ready() {
                    _ if self.durable.peer.is_none() => {}
                    Some(link) => self.offer_key(link),
                    None => self.renewal_waits(),
                }
            }
            Err(failure) => {
                if let Some(ticket) = self.rotation.not_made() {
                    self.refuse(ticket, disk_refusal(failure));
                }
            }
        }
    }

    /// Tells the peer of the next key, where there is one and the peer knows of such.
    pub(super) fn offer_key(&mut self, link: LinkId) {
        let Some(key) = self.rotation.offer() else { return };
        match self.peer_renews() {
            true => self.out.push(Action::Send { link, message: Message::NextKey { key } }),
            false => self.renewal_waits(),
        }
    }

    /// The peer cannot be told now. Whoever waits learns that the renewal goes on without them.
    pub(super) fn renewal_waits(&mut self) {
        if self.rotation.offer().is_some()
            && let Some(ticket) = self.rotation.take_waiter()
        {
            self.answer(ticket, Ok(()));
        }
    }

    /// Where there is no peer, nobody has to permit the next key: unless a shadow is about to enrol, and pins the key that its token
    /// names. A disk that does not answer, here or there, keeps nobody waiting.
    pub(in super::super) fn advance_rotation(&mut self, now: Now) {
        if self.rotation.deadline().is_some_and(|until| now.at >= until)
            && let Some(ticket) = self.rotation.take_waiter()
        {
            let in_doubt = || Err(CommandRefusal::InDoubt { reason: "the disk does not answer".to_owned() });
            self.answer(ticket, self.rotation.offer().map_or_else(in_doubt, |_| Ok(())));
        }
        if self.shutdown.is_under_way() {
            return;
        }
        if self.rotation.retries(now.at)
            && let Some(link) = self.links.ready()
        {
            self.offer_key(link);
        }
        self.store_peer_keys(now);
        let (expected, _) = self.durable.expected(self.alerts.log());
        let alone = expected.peer.is_none() && expected.tokens.is_empty();
        if (alone || self.setup.makes(Mutant::UsesKeyUnpinned))
            && let Some(key) = self.rotation.unpinned()
        {
            self.out.push(Action::UseKey { key });
        }
    }

    /// Stores what the peer wants to be remembered of its keys, one thing after the other; again, where the disk did not take it.
    fn store_peer_keys(&mut self, now: Now) {
        let Some((peer, stored)) = self.durable.peer.as_ref().map(|peer| (peer.node, peer.keys)) else { return };
        if self.durable.stores_peer_keys() {
            return;
        }
        if let Some(keys) = self.rotation.peer_wants(stored, now.at) {
            self.rotation.stores_peer(Moment(now.at.0.saturating_add(self.setup.timing.heartbeat_us)));
            self.update(Requester::Peer, Update::PeerKeys { peer, keys });
        }
    }

    /// The peer durably permits this key.
    pub(super) fn key_pinned(&mut self, key: KeyId) {
        if self.rotation.pinned(key) {
            self.out.push(Action::UseKey { key });
        }
    }

    /// The next key is the only one here, or the old one stays.
    pub(in super::super) fn key_used(&mut self, now: Now, used: Result<KeyId, DiskFailure>) {
        match used {
            Ok(_) => {
                let Some(waiter) = self.rotation.used() else { return };
                // They name the old key.
                self.durable.forget_tokens();
                // The peer forgets the old key when it sees this one.
                self.close_all_links(now, None, "this node's key was renewed");
                if let Some(ticket) = waiter {
                    self.answer(ticket, Ok(()));
                }
            }
            Err(failure) => {
                let retry_at = Moment(now.at.0.saturating_add(self.setup.timing.heartbeat_us));
                if let Some(ticket) = self.rotation.not_used(retry_at) {
                    self.refuse(ticket, disk_refusal(failure));
                }
            }
        }
    }

    /// The peer will show this key next. It is told once that is durable.
    pub(super) fn peer_next_key(&mut self, link: LinkId, key: KeyId) {
        let Some(keys) = self.durable.peer.as_ref().map(|peer| peer.keys) else { return };
        if key == keys.current || keys.next == Some(key) || self.setup.makes(Mutant::PinsUnstored) {
            return self.out.push(Action::Send { link, message: Message::KeyPinned { key } });
        }
        // Nobody else has this node's key. Who permitted it would permit a copy of this node.
        if key != self.rotation.current() {
            self.rotation.peer_names(key);
        }
    }

    /// The peer's keys are durable.
    pub(super) fn peer_keys_stored(&mut self, keys: PinnedKeys) {
        self.rotation.peer_stored();
        if let (Some(key), Some(link)) = (keys.next, self.links.ready()) {
            self.out.push(Action::Send { link, message: Message::KeyPinned { key } });
        }
    }

    /// The peer has shown its next key in a handshake: the one before it is worth nothing any more.
    pub(in super::super) fn next_key_shown(&mut self, key: KeyId) {
        self.rotation.peer_shows(key);
    }

    /// Whether the peer knows of renewed keys.
    fn peer_renews(&self) -> bool {
        let hello = self.links.active().and_then(|connection| connection.hello());
        hello.is_some_and(|hello| self.setup.options.versions().renews_keys(hello.versions))
    }
}

fn disk_refusal(DiskFailure { full, reason }: DiskFailure) -> CommandRefusal {
    if full { CommandRefusal::DiskFull } else { CommandRefusal::Disk { reason } }
}
