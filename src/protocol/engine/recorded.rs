//! What the witness' record says of this node, and what follows from it: rules 10, 11 and 17 of `FAILOVER.md`.

use super::{Engine, Moment, Mutant, Now};
use crate::model::{Epoch, NodeId, Revision, WitnessRecord};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{Flaw, NodeState, Transition, micros};
use crate::protocol::wire::Role;

/// What the alert log calls the witness.
pub(super) const WITNESS: &str = "witness";

/// PendingUpdates of the alert about the witness, beside those of a flaw.
const UNREACHABLE: &str = "unreachable";
const UNWRITABLE: &str = "unwritable";
const UNFIT: &str = "unfit";
/// Leases for which the record may name another master than the one that is followed: a shadow looks once in a lease.
const UNFIT_LEASES: u64 = 3;

/// Why a node that is master by its directory must not serve, whatever its peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deposed {
    /// The record names the other node.
    NotNamed,
    /// The record names this node, and more than its disk holds.
    RolledBack,
}

impl Deposed {
    /// The stable word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotNamed => "not_named",
            Self::RolledBack => "rolled_back",
        }
    }

    fn trouble(self) -> NewAlert {
        let (kind, message) = match self {
            Self::NotNamed => (
                AlertKind::Takeover,
                "the witness names the other node as master: this one does not serve, and becomes its shadow on contact",
            ),
            Self::RolledBack => (
                AlertKind::Diverged,
                "the witness records more than this node's disk holds, so the disk is an older copy: this node does not serve by \
                 itself. It takes what it lacks from its peer; or say take-over --accept-loss here",
            ),
        };
        NewAlert::new(kind, WITNESS, message)
    }
}

impl Engine {
    /// What is wrong with the register, if anything is.
    pub(super) fn register_flaw(&self) -> Option<Flaw> {
        self.witnessed
            .as_ref()
            .and_then(|witnessed| witnessed.register.flaw(self.durable_state.pair, self.durable_state.witnessed))
    }

    /// The register holds this now: who is not named yields, and who lacks what it records steps down.
    pub(super) fn register_changed(&mut self, now: Now) {
        let Some(record) = self.witnessed.as_ref().and_then(|witnessed| witnessed.register.record()).cloned() else {
            return;
        };
        if record.pair != self.durable_state.pair {
            return;
        }
        if record.epoch > self.durable_state.witnessed && !self.is_wild(record.epoch) {
            self.durable_state.witnessed = record.epoch;
            self.state_changed();
        }
        if self.register_flaw().is_some() {
            return;
        }
        if self.makes(Mutant::NamedServes) && self.is_named() && self.node_state == NodeState::Following {
            return self.serve_as_named(now, record.epoch);
        }
        let own = record.holder == self.durable_state.node;
        let why = match () {
            () if !own && !self.makes(Mutant::IgnoresRegister) => Some(Deposed::NotNamed),
            () if own && self.lacks_recorded(record.revision) => Some(Deposed::RolledBack),
            // Where the peer was in sync and has nothing more, its answer is enough: this node has everything.
            () if own && self.is_behind_epoch(&record) && record.in_sync != self.peer_node() => {
                Some(Deposed::RolledBack)
            }
            () => None,
        };
        self.depose(now, why);
    }

    /// Whether what is known of the register, where there is one, is what it holds.
    pub(super) fn knows_register(&self) -> bool {
        self.witnessed.as_ref().is_none_or(|witnessed| !witnessed.register.is_stale())
    }

    /// The epoch in the record; none where there is no record.
    pub(super) fn recorded_epoch(&self) -> Epoch {
        let record = self.witnessed.as_ref().and_then(|witnessed| witnessed.register.record());
        record.map_or(Epoch::NONE, |record| record.epoch)
    }

    /// The highest epoch that this node, its peer and the record are known to have had: a new one is above it (rule 17).
    pub(super) fn highest_known_epoch(&self) -> Epoch {
        self.epoch().max(self.links.highest_seen()).max(self.recorded_epoch())
    }

    /// Whether the register names an epoch that this node does not remember: its disk is an older copy.
    pub(super) fn is_behind_epoch(&self, record: &WitnessRecord) -> bool {
        record.epoch > self.head.revision.epoch.max(self.durable_state.epoch).max(self.durable_state.tried)
    }

    pub(super) fn peer_node(&self) -> Option<NodeId> {
        self.durable_state.peer.as_ref().map(|peer| peer.node)
    }

    /// Whether the register records more than this log holds: rule 10. What is older than all eras that a long history still
    /// names is held.
    pub(super) fn lacks_recorded(&self, recorded: Revision) -> bool {
        let older =
            self.history.eras().first().is_some_and(|first| first.first_seq > 1 && recorded.epoch < first.epoch);
        let held = recorded == Revision::NONE || older || self.history.contains(self.head.revision, recorded);
        !held && !self.makes(Mutant::IgnoresRecorded)
    }

    /// A master by its directory must not serve, for this reason; or it may again.
    fn depose(&mut self, now: Now, why: Option<Deposed>) {
        if self.durable_state.role != Role::Master {
            return;
        }
        let Some(witnessed) = &mut self.witnessed else { return };
        let news = witnessed.deposed != why;
        witnessed.deposed = why;
        let Some(why) = why else {
            if news {
                self.clear(|alert| alert.subject == WITNESS && alert.kind != AlertKind::WitnessUnreachable);
            }
            return;
        };
        (witnessed.promise, witnessed.lease) = (None, None);
        if news {
            self.raise(now, why.trouble());
        }
        if news && self.session.waits_for_peer() {
            // It was met before this was known: the hellos are said again.
            self.close_all_links(now, None, "the witness names the other node");
        }
        self.transition(now, Transition::Deposed, why.as_str());
    }

    /// The alert about the witness: silent for a lease, or with a value that this pair cannot go on from.
    pub(super) fn tell_of_witness(&mut self, now: Now) {
        self.look_at_followed(now);
        let word = self.trouble_with_witness(now);
        let Some(witnessed) = &mut self.witnessed else { return };
        if word == witnessed.told {
            return;
        }
        let before = std::mem::replace(&mut witnessed.told, word);
        if before.is_some() {
            self.clear(|alert| alert.kind == AlertKind::WitnessUnreachable && alert.subject == WITNESS);
        }
        let message = match word {
            None => return,
            Some(UNREACHABLE) => {
                "the witness does not answer: while the pair is connected nothing stops, but without it nobody takes over, and a \
                 master that loses its shadow as well stops serving"
            }
            Some(UNWRITABLE) => {
                "the witness can be read and not written: see to its permissions and its room. While the pair is connected nothing \
                 stops, but this master stops serving when it loses its shadow"
            }
            Some(UNFIT) => {
                "the witness does not name the master that this shadow follows, so this node will not take over: start both nodes \
                 with the same witness"
            }
            Some("record_foreign") => "the witness holds the record of another pair: give each pair a path of its own",
            Some("record_older") => {
                "the witness holds an older record than it did: it was restored from a copy. No node mends that by itself; \
                 say take-over --accept-loss on the master"
            }
            Some(_) => {
                "the witness' record is gone. No node makes a new one by itself; say take-over --accept-loss on the master"
            }
        };
        self.raise(now, NewAlert::new(AlertKind::WitnessUnreachable, WITNESS, message));
    }

    /// What is wrong with the witness, in a word.
    fn trouble_with_witness(&self, now: Now) -> Option<&'static str> {
        let witnessed = self.witnessed.as_ref()?;
        if let Some(flaw) = self.register_flaw() {
            return Some(flaw.as_str());
        }
        let lease_us = micros(self.options.lease());
        let told = |word: &str| witnessed.told == Some(word);
        // What was told stands until it is over.
        let lasts = |since: Option<Moment>, us: u64, told: bool| {
            since.is_some_and(|since| told || now.at.0.saturating_sub(since.0) >= us)
        };
        let unwritten = witnessed.register.unwritten_since().filter(|_| self.renews());
        match () {
            () if lasts(witnessed.register.silent_since(), lease_us, told(UNREACHABLE)) => Some(UNREACHABLE),
            () if lasts(unwritten, lease_us, told(UNWRITABLE)) => Some(UNWRITABLE),
            () if lasts(witnessed.unfit_since, UNFIT_LEASES * lease_us, told(UNFIT)) => Some(UNFIT),
            () => None,
        }
    }

    /// A master that serves renews the record. One that is followed here, and that the record does not name for longer than it
    /// takes to look again, renews another one.
    fn look_at_followed(&mut self, now: Now) {
        let follows =
            self.node_state == NodeState::Following && self.links.active().is_some() && self.links.peer_serves;
        let peer = self.peer_node();
        let Some(witnessed) = &mut self.witnessed else { return };
        let known = !witnessed.register.is_stale() && witnessed.register.is_reachable();
        let named = peer.is_some_and(|peer| witnessed.register.names(peer));
        match () {
            () if !follows || named => witnessed.unfit_since = None,
            () if known => drop(witnessed.unfit_since.get_or_insert(now.at)),
            () => {}
        }
    }
}
