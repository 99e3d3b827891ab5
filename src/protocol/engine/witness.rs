//! The witness, asked: when to read, when to renew, and what an answer means. `FAILOVER.md` numbers the rules.

use std::time::Duration;

use super::recorded::Deposed;
use super::{Action, Engine, Moment, Mutant, Now, Replication, WitnessAnswer, WitnessQuestion, WitnessStatus};
use crate::model::{Epoch, NodeId, Revision, WitnessRecord, WitnessVersion};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::claim::Claim;
use crate::protocol::failover::{Flaw, NodeState, Register, micros, waited};

/// Answers in a row without a promise after which a shadow is said to make none.
const UNPROMISED_MAX: u32 = 10;

/// What a node with a witness keeps beside all else.
#[derive(Clone, Debug)]
pub(super) struct Witnessed {
    pub(super) register: Register,
    asked: Option<Asked>,
    last_ask: u64,
    asked_at: Option<Moment>,
    /// Ask again without waiting for the interval.
    at_once: bool,
    /// An answer, or none in time, came since this node began to ask for mastership.
    pub(super) consulted: bool,
    /// Until when the peer's promise covers this master.
    pub(super) promise: Option<Moment>,
    /// Until when the lease covers it.
    pub(super) lease: Option<Moment>,
    /// What was asked before this moment covers nothing: this node was stopped, or took another role.
    pub(super) fresh_after: Moment,
    /// This node's own promise to its master runs until here.
    pub(super) promised_until: Moment,
    /// What that was at the start.
    pub(super) remembered_until: Moment,
    /// The longest promise that a restart would remember, milliseconds.
    pub(super) promise_stored_ms: u64,
    /// Counts the eras of this run, so that an answer to an earlier one says nothing of this one.
    pub(super) stint: u64,
    /// A swap of this stint wrote "nobody in sync", and none that says otherwise was sent since: rule 12.
    pub(super) alone: bool,
    /// This node has no peer, and the record says so since: a former one cannot take over.
    pub(super) unrivalled: bool,
    pub(super) claim: Option<Claim>,
    /// Why a master by its directory must not serve, whatever its peer says.
    pub(super) deposed: Option<Deposed>,
    /// An operator wants a register without a value of this pair to get one.
    pub(super) recreate: bool,
    /// What the alert log says of the witness.
    pub(super) told: Option<&'static str>,
    /// Since when the record names another master than the one that this shadow follows, or none.
    pub(super) unfit_since: Option<Moment>,
    /// Heartbeats in a row that the shadow answered without a promise.
    unpromised: u32,
}

/// A question under way.
#[derive(Clone, Debug)]
struct Asked {
    ask: u64,
    at: Moment,
    stint: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Read,
    Renewal(Box<WitnessRecord>),
    Claim(Box<WitnessRecord>),
}

impl Witnessed {
    /// Of a node that has just started. It counts as having just given the longest promise that it ever gave: rule 5.
    pub(super) fn new(now: Now, promised_ms: u64) -> Self {
        let ever = waited(Duration::from_millis(promised_ms));
        let promised_until = if promised_ms == 0 { Moment(0) } else { Moment(now.at.0.saturating_add(micros(ever))) };
        Self {
            register: Register::default(),
            asked: None,
            last_ask: 0,
            asked_at: None,
            at_once: true,
            consulted: false,
            promise: None,
            lease: None,
            fresh_after: now.at,
            promised_until,
            remembered_until: promised_until,
            promise_stored_ms: promised_ms,
            stint: 0,
            alone: false,
            unrivalled: false,
            claim: None,
            deposed: None,
            recreate: false,
            told: None,
            unfit_since: None,
            unpromised: 0,
        }
    }

    /// Asks as soon as nothing is under way.
    pub(super) fn ask_soon(&mut self) {
        self.at_once = true;
    }
}

impl Engine {
    /// Asks the witness, if it is time.
    pub(super) fn advance_witness(&mut self, now: Now) {
        let Some(witnessed) = &self.witnessed else { return };
        if self.node_state == NodeState::Broken || self.durable_state.detached {
            return;
        }
        if witnessed.asked.is_none() {
            if let Some(record) = self.claim_to_send(now) {
                self.swap(now, record, What::Claim);
            } else if self.renews() {
                self.renew(now);
            } else if self.read_due().is_some_and(|due| due <= now.at) {
                self.ask(now, What::Read, WitnessQuestion::Read);
            }
        }
        self.tell_of_witness(now);
    }

    /// Whether this node keeps a lease: a master whose era is durable, and that nothing forbids.
    pub(super) fn renews(&self) -> bool {
        let deposed = self.witnessed.as_ref().is_some_and(|witnessed| witnessed.deposed.is_some());
        matches!(self.node_state, NodeState::Serving | NodeState::Stalled) && !deposed
    }

    fn renew(&mut self, now: Now) {
        let Some(witnessed) = &self.witnessed else { return };
        let due = witnessed.at_once || self.read_due().is_some_and(|due| due <= now.at);
        let settled = witnessed.register.record().is_some_and(|record| record.in_sync == self.flag());
        let proven = witnessed.alone || !self.wants_alone();
        if !due && settled && proven {
            return;
        }
        let failing = !witnessed.register.is_reachable() && witnessed.register.silent_since().is_some();
        if failing && !due {
            return;
        }
        let may = match self.register_flaw() {
            None => !witnessed.register.is_missing() || self.may_create(now.at),
            Some(Flaw::Foreign) => false,
            Some(_) => witnessed.recreate && self.nobody_else_holds(now.at),
        };
        if witnessed.register.is_stale() || !may {
            if due || witnessed.register.is_stale() {
                self.ask(now, What::Read, WitnessQuestion::Read);
            }
            return;
        }
        let record = witnessed.register.next(self.draft(self.head.revision.epoch));
        self.swap(now, record, What::Renewal);
    }

    /// The first value of a register is made by a master from which nobody can have taken over: its shadow says so now, or has
    /// never held anything, or is about to enrol: then the lease is there before it is needed. And only where this node has
    /// never seen a value: one that is gone is an operator's matter.
    fn may_create(&self, at: Moment) -> bool {
        let blank = match &self.durable_state.peer {
            Some(peer) => peer.confirmed == Revision::NONE,
            None => !self.enrolling.is_empty(),
        };
        self.durable_state.witnessed == Epoch::NONE && (blank || self.is_promised(at))
    }

    /// Whether nobody else can hold mastership: this node does, or whatever lease stood in the register is over.
    fn nobody_else_holds(&self, at: Moment) -> bool {
        self.is_covered(at) || self.waits_end().1.is_none_or(|over| at > over)
    }

    /// What this master writes.
    fn draft(&self, epoch: Epoch) -> WitnessRecord {
        WitnessRecord {
            pair: self.durable_state.pair,
            holder: self.durable_state.node,
            epoch,
            lease: self.options.lease(),
            in_sync: self.flag(),
            revision: self.acknowledged_revision(),
            counter: 0,
        }
    }

    /// Who is to stand in the record as in sync.
    pub(super) fn flag(&self) -> Option<NodeId> {
        let peer = self.durable_state.peer.as_ref()?.node;
        if self.wants_alone() {
            return None;
        }
        let known = self.witnessed.as_ref().and_then(|witnessed| witnessed.register.record());
        let kept = known.is_some_and(|record| record.in_sync == Some(peer));
        (self.commits.joined() || kept).then_some(peer)
    }

    fn swap(&mut self, now: Now, record: WitnessRecord, what: fn(Box<WitnessRecord>) -> What) {
        let Some(witnessed) = &mut self.witnessed else { return };
        let flags = record.in_sync.is_some();
        witnessed.register.tries(&record);
        let expected = witnessed.register.version().cloned();
        let record = Box::new(record);
        let question = WitnessQuestion::Swap { expected, record: record.clone() };
        if flags
            && !self.makes(Mutant::FlagCountsWhenAnswered)
            && let Some(witnessed) = &mut self.witnessed
        {
            // From now on it may be in the register, whatever the answer: rule 14.
            witnessed.alone = false;
        }
        self.ask(now, what(record), question);
    }

    fn ask(&mut self, now: Now, what: What, question: WitnessQuestion) {
        let Some(witnessed) = &mut self.witnessed else { return };
        witnessed.last_ask += 1;
        let (ask, stint) = (witnessed.last_ask, witnessed.stint);
        witnessed.asked = Some(Asked { ask, at: now.at, stint, what });
        witnessed.asked_at = Some(now.at);
        witnessed.at_once = false;
        self.out.push(Action::AskWitness { ask, question });
    }

    /// When the next question is due, where none is under way. A master renews three times within its lease; a shadow whose
    /// master is silent looks at every heartbeat, else once in a lease.
    fn read_due(&self) -> Option<Moment> {
        let witnessed = self.witnessed.as_ref().filter(|witnessed| witnessed.asked.is_none())?;
        let Some(asked_at) = witnessed.asked_at.filter(|_| !witnessed.at_once) else { return Some(Moment(0)) };
        let lease_us = micros(self.options.lease());
        let interval_us = match self.node_state {
            NodeState::Broken | NodeState::Yielding | NodeState::Promoting | NodeState::Opening => return None,
            NodeState::Claiming => return witnessed.register.is_stale().then_some(Moment(0)),
            NodeState::Serving | NodeState::Stalled => lease_us / 3,
            NodeState::Inquiring | NodeState::TakingTail => self.timing.heartbeat_us.min(lease_us / 3),
            NodeState::Following | NodeState::AskingHost => {
                let quiet_us = self.timing.heartbeat_us / 2 * 3;
                let heard = self.links.last_heard().map_or(Moment(0), |heard| Moment(heard.0 + quiet_us));
                let slow = Moment(asked_at.0 + lease_us);
                return Some(slow.min(heard.max(Moment(asked_at.0 + self.timing.heartbeat_us))));
            }
        };
        // One that does not answer is asked again soon, but not in a loop.
        let failing = witnessed.register.silent_since().is_some();
        Some(Moment(asked_at.0 + if failing { interval_us.min(self.timing.heartbeat_us) } else { interval_us }))
    }

    /// When something about the witness becomes due.
    pub(super) fn witness_deadlines(&self) -> [Option<Moment>; 3] {
        let Some(witnessed) = &self.witnessed else { return [None; 3] };
        let covered = (self.node_state == NodeState::Serving && self.is_bound())
            .then(|| self.covered_until().map(|until| Moment(until.0 + 1)))
            .flatten();
        let silent = witnessed.register.silent_since().or(witnessed.register.unwritten_since());
        let silent = silent.filter(|_| witnessed.told.is_none());
        let alert = silent.map(|since| Moment(since.0 + micros(self.options.lease())));
        [self.read_due(), covered, alert]
    }

    /// The witness answered.
    pub(super) fn witness_answered(&mut self, now: Now, ask: u64, answer: WitnessAnswer) {
        let trusts = self.makes(Mutant::UnknownIsSuccess);
        let late = self.makes(Mutant::LeaseFromAnswer);
        let Some(witnessed) = &mut self.witnessed else { return };
        let Some(asked) = witnessed.asked.take_if(|asked| asked.ask == ask) else { return };
        witnessed.consulted = true;
        let sent = if late { now.at } else { asked.at };
        match (answer, asked.what) {
            (WitnessAnswer::Holds(found), What::Read) => {
                let seen_at = if self.makes(Mutant::AgeFromQuestion) { asked.at } else { now.at };
                self.register_read(now, found.map(|found| *found), seen_at);
            }
            (WitnessAnswer::Swapped(version), What::Renewal(record)) => {
                self.renewed(now, sent, asked.stint, *record, version);
            }
            (WitnessAnswer::Swapped(version), What::Claim(record)) => self.claim_won(now, sent, *record, version),
            (WitnessAnswer::Unknown { .. }, What::Renewal(record)) if trusts => {
                let version = witnessed.register.version().cloned().unwrap_or_else(|| WitnessVersion::new(0));
                self.renewed(now, sent, asked.stint, *record, version);
            }
            (WitnessAnswer::Conflict, what) => {
                witnessed.register.conflicted();
                witnessed.at_once = true;
                self.claim_failed(now, &what, super::CommandRefusal::LeaseHeld);
            }
            // No answer, or one to another question, is no answer.
            (_, what) => {
                witnessed.register.unanswered(!matches!(what, What::Read), now.at);
                let reason =
                    "the witness did not answer the swap: it may land, and this node be master by it".to_owned();
                self.claim_failed(now, &what, super::CommandRefusal::InDoubt { reason });
                if matches!(what, What::Renewal(_)) {
                    self.switch_failed();
                }
            }
        }
        self.release(now);
    }

    fn claim_failed(&mut self, now: Now, what: &What, why: super::CommandRefusal) {
        if matches!(what, What::Claim(_)) {
            self.claim_lost(now, why);
        }
    }

    fn register_read(&mut self, now: Now, found: Option<(WitnessRecord, WitnessVersion)>, seen_at: Moment) {
        let extends = self.makes(Mutant::ReadExtends);
        let believes = self.makes(Mutant::AloneByRead);
        let own = self.durable_state.node;
        let Some(witnessed) = &mut self.witnessed else { return };
        witnessed.register.read(found, seen_at);
        if let Some(record) = witnessed.register.record().filter(|record| record.holder == own) {
            // Mistakes for tests: a read proves nothing (rules 3 and 12).
            if extends {
                witnessed.lease = Some(Moment(now.at.0 + micros(record.lease)));
            }
            witnessed.alone |= believes && record.in_sync.is_none();
        }
        self.register_changed(now);
        if self.renews()
            && self.register_flaw().is_none()
            && let Some(witnessed) = self.witnessed.as_mut().filter(|witnessed| witnessed.register.names(own))
        {
            // What a master had to read first it renews now: its lease runs meanwhile.
            witnessed.ask_soon();
        }
    }

    /// A renewal was done: the lease counts from when it was sent (rule 1).
    fn renewed(&mut self, now: Now, sent: Moment, stint: u64, record: WitnessRecord, version: WitnessVersion) {
        let lone = self.durable_state.peer.is_none();
        let Some(witnessed) = &mut self.witnessed else { return };
        if stint == witnessed.stint {
            let until = Moment(sent.0.saturating_add(micros(record.lease)));
            if sent >= witnessed.fresh_after {
                witnessed.lease = witnessed.lease.max(Some(until));
            }
            witnessed.alone |= record.in_sync.is_none();
            witnessed.unrivalled = record.in_sync.is_none() && lone;
        }
        witnessed.recreate = false;
        witnessed.register.swapped(record, version, now.at);
        self.register_changed(now);
        self.part_from_rival(now, sent);
    }

    /// The shadow of a serving master answered. One that never promises has no witness, and would take over by its clock alone.
    pub(super) fn look_at_promise(&mut self, now: Now, promise: Duration) {
        let serving = self.node_state == NodeState::Serving;
        let Some(witnessed) = self.witnessed.as_mut().filter(|_| serving) else { return };
        let before = witnessed.unpromised;
        witnessed.unpromised = if promise.is_zero() { before.saturating_add(1) } else { 0 };
        if !promise.is_zero() && before >= UNPROMISED_MAX {
            self.clear(|alert| alert.kind == AlertKind::WitnessUnreachable && alert.subject == super::trouble::PEER);
        } else if promise.is_zero() && before + 1 == UNPROMISED_MAX {
            let message = "the shadow makes no promise: it runs without the witness, or cannot use it, and may take over beside this \
                           master; start it with the same witness";
            self.raise(now, NewAlert::new(AlertKind::WitnessUnreachable, super::trouble::PEER, message));
        }
    }

    /// What is known of the witness.
    pub(super) fn witness_status(&self) -> Option<WitnessStatus> {
        let witnessed = self.witnessed.as_ref()?;
        let record = witnessed.register.record().cloned();
        let writable = witnessed.register.unwritten_since().is_none() || !self.renews();
        Some(WitnessStatus { reachable: witnessed.register.is_reachable() && writable, record })
    }

    /// Whether the record must come to say that nobody is in sync.
    pub(super) fn wants_alone(&self) -> bool {
        match self.options.replication {
            Replication::Synchronous => !self.commits.waits(),
            Replication::Asynchronous => false,
        }
    }
}
