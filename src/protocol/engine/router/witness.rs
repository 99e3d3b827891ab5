//! The witness: when to read, when to renew, what an answer means, and what its record says of this node. `FAILOVER.md` numbers the
//! rules.

use crate::model::{Epoch, NodeId, Revision, WitnessRecord, WitnessVersion};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::authority::{Deposed, Question, WitnessTrouble};
use crate::protocol::engine::{
    Action, CommandRefusal, Engine, Moment, Mutant, Now, Transition, WitnessAnswer, WitnessQuestion, WitnessStatus,
};
use crate::protocol::failover::{Flaw, NodeState, micros};
use crate::protocol::wire::Role;

/// Leases for which the record may name another master than the one that is followed: a shadow looks once in a lease.
const NAMES_ANOTHER_LEASES: u64 = 3;

impl Engine {
    // Questions.

    /// Asks the witness, if it is time.
    pub(in super::super) fn advance_witness(&mut self, now: Now) {
        let Some(witnessed) = self.authority.witnessed() else { return };
        if self.authority.is_out_of_service() || self.durable.detached {
            return;
        }
        if !witnessed.client.is_asking() {
            if self.switchover.is_handing_over() {
                if let Some(record) = self.hand_over_to_send() {
                    self.swap(now, record, Question::HandOver);
                }
            } else if let Some(record) = self.takeover_to_send(now) {
                self.swap(now, record, Question::Takeover);
            } else if self.authority.renews() {
                self.renew(now);
            } else if self.read_due().is_some_and(|due| due <= now.at) {
                self.read_register(now);
            }
        }
        self.watch_named_master(now);
        self.report_witness(now);
    }

    fn renew(&mut self, now: Now) {
        let Some(witnessed) = self.authority.witnessed() else { return };
        let register = witnessed.client.register();
        let due = witnessed.client.asks_at_once() || self.read_due().is_some_and(|due| due <= now.at);
        let settled = register.record().is_some_and(|record| record.in_sync == self.in_sync_flag());
        let proven = witnessed.covers.is_alone() || !(self.commits.wants_alone() || self.is_replacing());
        let failing = !register.is_reachable() && register.silent_since().is_some();
        if !due && ((settled && proven) || failing) {
            return;
        }
        let may = match self.register_flaw() {
            None => !register.is_missing() || self.may_create(now.at),
            Some(Flaw::Foreign) => false,
            Some(_) => witnessed.allows_recreation() && self.nobody_else_holds(now.at),
        };
        if register.is_stale() || !may {
            if due || register.is_stale() {
                self.read_register(now);
            }
            return;
        }
        let record = register.next(WitnessRecord {
            pair: self.durable.pair,
            holder: self.durable.node,
            epoch: self.log.epoch(),
            lease: self.setup.options.lease(),
            in_sync: self.in_sync_flag(),
            revision: self.acknowledged_revision(),
            counter: 0,
        });
        self.swap(now, record, Question::Renewal);
    }

    /// Whether this master may make the register's first value. Nobody can have taken over from it: its shadow promises
    /// so now, has never held anything, or is about to enrol (then the lease is there before it is needed). And this
    /// node has never seen a value: one that is gone is an operator's matter.
    fn may_create(&self, at: Moment) -> bool {
        let blank = match &self.durable.peer {
            Some(peer) => peer.confirmed == Revision::NONE,
            None => !self.enrolments.is_empty(),
        };
        self.durable.witnessed == Epoch::NONE && (blank || self.authority.is_promised(at))
    }

    /// Whether nobody else can hold mastership: this node does, or whatever lease stood in the register is over.
    fn nobody_else_holds(&self, at: Moment) -> bool {
        self.is_covered(at) || self.waits_end().1.is_none_or(|over| at > over)
    }

    /// The node that the record is to name as in sync.
    fn in_sync_flag(&self) -> Option<NodeId> {
        let peer = self.peer_node().filter(|_| !self.commits.wants_alone() && !self.is_replacing())?;
        let known = self.authority.record();
        let kept = known.is_some_and(|record| record.in_sync == Some(peer));
        (self.commits.joined() || kept).then_some(peer)
    }

    fn swap(&mut self, now: Now, record: WitnessRecord, question: fn(Box<WitnessRecord>) -> Question) {
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        if record.in_sync.is_some() && !self.setup.makes(Mutant::FlagCountsWhenAnswered) {
            witnessed.covers.may_be_in_sync();
        }
        witnessed.client.register_mut().tries(&record);
        let expected = witnessed.client.register().version().cloned();
        let record = Box::new(record);
        let ask = witnessed.client.ask(now.at, witnessed.covers.era(), question(record.clone()));
        self.out.push(Action::AskWitness { ask, question: WitnessQuestion::Swap { expected, record } });
    }

    fn read_register(&mut self, now: Now) {
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        let ask = witnessed.client.ask(now.at, witnessed.covers.era(), Question::Read);
        self.out.push(Action::AskWitness { ask, question: WitnessQuestion::Read });
    }

    /// When the next question is due, where none is under way. A master renews three times within its lease. A shadow
    /// reads at every heartbeat interval while its master is silent, else once in a lease.
    fn read_due(&self) -> Option<Moment> {
        let client = &self.authority.witnessed()?.client;
        if client.is_asking() {
            return None;
        }
        let Some(asked_at) = client.asked_at().filter(|_| !client.asks_at_once()) else { return Some(Moment(0)) };
        let lease_us = micros(self.setup.options.lease());
        let heartbeat_us = self.setup.timing.heartbeat_us;
        let interval_us = match self.authority.state() {
            NodeState::Broken
            | NodeState::Stopped
            | NodeState::SteppingDown
            | NodeState::Promoting
            | NodeState::OpeningEra => return None,
            NodeState::AskingWitness => return client.register().is_stale().then_some(Moment(0)),
            NodeState::Serving | NodeState::Stalled => lease_us / 3,
            NodeState::CheckingStartup | NodeState::TakingTail => heartbeat_us.min(lease_us / 3),
            NodeState::Following | NodeState::AskingHost => {
                let quiet_us = heartbeat_us / 2 * 3;
                let heard = self.links.last_heard().map_or(Moment(0), |heard| Moment(heard.0 + quiet_us));
                let slow = Moment(asked_at.0 + lease_us);
                return Some(slow.min(heard.max(Moment(asked_at.0 + heartbeat_us))));
            }
        };
        // A witness that does not answer is asked again soon, but not in a loop.
        let failing = client.register().silent_since().is_some();
        Some(Moment(asked_at.0 + if failing { interval_us.min(heartbeat_us) } else { interval_us }))
    }

    /// When something about the witness becomes due.
    pub(super) fn witness_deadlines(&self) -> [Option<Moment>; 3] {
        let Some(witnessed) = self.authority.witnessed() else { return [None; 3] };
        let bound = self.authority.is_serving() && self.is_bound();
        let covered = self.authority.covered_until().filter(|_| bound).map(|until| Moment(until.0 + 1));
        let register = witnessed.client.register();
        let silent = register.silent_since().or(register.unwritten_since());
        let silent = silent.filter(|_| witnessed.client.reported().is_none());
        let alert = silent.map(|since| Moment(since.0 + micros(self.setup.options.lease())));
        [self.read_due(), covered, alert]
    }

    // Answers.

    /// The witness answered.
    pub(in super::super) fn witness_answered(&mut self, now: Now, ask: u64, answer: WitnessAnswer) {
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        let Some(asked) = witnessed.client.answered(ask) else { return };
        let (sent, seen_at) = (asked.at, now.at);
        #[cfg(test)]
        let (sent, seen_at) = self.setup.mistimed(sent, seen_at);
        match (answer, asked.question) {
            (WitnessAnswer::Holds(found), Question::Read) => {
                self.register_read(now, found.map(|found| *found), seen_at);
            }
            (WitnessAnswer::Swapped(version), Question::Renewal(record)) => {
                self.renewed(now, sent, asked.era, *record, version);
            }
            (WitnessAnswer::Swapped(version), Question::Takeover(record)) => {
                self.takeover_won(now, sent, *record, version);
            }
            (WitnessAnswer::Swapped(version), Question::HandOver(record)) => {
                self.hand_over_swapped(now, *record, version);
            }
            (WitnessAnswer::Unknown { .. }, Question::Renewal(record))
                if self.setup.makes(Mutant::UnknownIsSuccess) =>
            {
                let version = witnessed.client.register().version().cloned().unwrap_or_else(|| WitnessVersion::new(0));
                self.renewed(now, sent, asked.era, *record, version);
            }
            (WitnessAnswer::Conflict, question) => {
                witnessed.client.register_mut().conflicted();
                witnessed.client.ask_soon();
                match question {
                    Question::Takeover(_) => self.takeover_lost(now, &CommandRefusal::LeaseHeld),
                    Question::HandOver(_) => self.hand_over_unanswered(now),
                    Question::Read | Question::Renewal(_) => {}
                }
            }
            // An unknown outcome, or an answer to another question, is no answer.
            (_, question) => {
                let swap = !matches!(question, Question::Read);
                witnessed.client.register_mut().unanswered(swap, now.at);
                self.swap_unanswered(now, &question);
            }
        }
        self.release(now);
    }

    fn swap_unanswered(&mut self, now: Now, question: &Question) {
        match question {
            Question::Read => {}
            Question::Renewal(_) => {
                self.switch_failed();
                self.call_off_replacement(CommandRefusal::WitnessUnreachable);
            }
            Question::HandOver(_) => self.hand_over_unanswered(now),
            Question::Takeover(_) => {
                let reason =
                    "the witness did not answer the swap: if the witness still makes it, this node becomes master";
                self.takeover_lost(now, &CommandRefusal::InDoubt { reason: reason.to_owned() });
            }
        }
    }

    fn register_read(&mut self, now: Now, found: Option<(WitnessRecord, WitnessVersion)>, seen_at: Moment) {
        let own = self.durable.node;
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        witnessed.client.register_mut().read(found, seen_at);
        #[cfg(test)]
        if let Some(record) = witnessed.client.register().record().filter(|record| record.holder == own).cloned() {
            // A read proves nothing (rules 3 and 12).
            if self.setup.makes(Mutant::ReadExtends) {
                witnessed.covers.extend_lease(Moment(now.at.0 + micros(record.lease)));
            }
            if self.setup.makes(Mutant::AloneByRead) && record.in_sync.is_none() {
                witnessed.covers.assume_alone();
            }
        }
        self.register_changed(now);
        let renews = self.authority.renews() && self.register_flaw().is_none();
        if let Some(witnessed) = self.authority.witnessed_mut().filter(|_| renews)
            && witnessed.client.register().names(own)
        {
            // A master that had to read the record first renews it now: its lease runs meanwhile.
            witnessed.client.ask_soon();
        }
    }

    /// A renewal was done: the lease counts from when the swap was sent (rule 1).
    fn renewed(&mut self, now: Now, sent: Moment, era: u64, record: WitnessRecord, version: WitnessVersion) {
        let lone = self.durable.peer.is_none();
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        if era == witnessed.covers.era() {
            let until = Moment(sent.0.saturating_add(micros(record.lease)));
            witnessed.covers.renewed(sent, until, record.in_sync.is_none(), lone);
        }
        witnessed.allow_recreation(false);
        witnessed.client.register_mut().swapped(record, version, now.at);
        self.register_changed(now);
        self.part_from_rival(now, sent);
    }

    // What the record says of this node: rules 10, 11 and 17.

    /// What is wrong with the register, if anything is.
    pub(super) fn register_flaw(&self) -> Option<Flaw> {
        let witnessed = self.authority.witnessed()?;
        witnessed.client.register().flaw(self.durable.pair, self.durable.witnessed)
    }

    /// The known record has changed. A master that it does not name, or that lacks what it records, steps down.
    pub(super) fn register_changed(&mut self, now: Now) {
        let register = self.authority.register();
        // Nothing follows from a value that is known to be replaced.
        let register = register.filter(|register| !register.is_stale());
        let Some(record) = register.and_then(|register| register.record()).cloned() else { return };
        if record.pair != self.durable.pair {
            return;
        }
        if !self.is_out_of_reach(record.epoch) && self.durable.saw_recorded(record.epoch) {
            self.durable.changed();
        }
        if self.register_flaw().is_some() {
            return;
        }
        #[cfg(test)]
        if self.setup.makes(Mutant::NamedServes) && self.is_named() && self.authority.state() == NodeState::Following {
            return self.serve_as_named(now, record.epoch);
        }
        let own = record.holder == self.durable.node;
        let behind = self.is_behind_epoch(&record);
        let copied = own && self.authority.is_copied() && self.may_be_held_by_a_copy(now.at);
        let why = match () {
            () if !own && !self.setup.makes(Mutant::IgnoresRegister) => Some(Deposed::NotNamed),
            () if copied && !self.authority.is_leading() => Some(Deposed::Duplicate),
            () if own && self.lacks_recorded(record.revision) => Some(Deposed::RolledBack),
            // Whoever swapped it in while this node leads has this node's identity. The register decides (rule 11).
            () if own && behind && self.authority.is_leading() => Some(Deposed::RolledBack),
            // A peer that was in sync and has nothing more shows by its answer that this node has everything.
            () if own && behind && record.in_sync != self.peer_node() => Some(Deposed::RolledBack),
            () => None,
        };
        if own && behind && self.authority.is_leading() {
            let message = texts::strange_epoch(record.epoch);
            self.raise(now, NewAlert::new(AlertKind::RolledBack, Subject::ThisNode, message));
        }
        self.depose(now, why);
    }

    /// Whether the register names an epoch that this node does not remember: its disk is an older copy.
    pub(super) fn is_behind_epoch(&self, record: &WitnessRecord) -> bool {
        record.epoch > self.log.epoch().max(self.durable.epoch).max(self.durable.tried)
    }

    /// Whether this node itself wrote the record, by its disk: it names this node, under an epoch that it noted or wrote history
    /// under. Another epoch is that of a copy of this node, or of its own before the disk was rolled back. One that is not the
    /// newest that there was says nothing of who held the last one.
    pub(super) fn wrote_record(&self) -> bool {
        let register = self.authority.register();
        let Some(record) = register.and_then(|register| register.record()) else { return false };
        let node = self.durable.node;
        let noted = record.epoch == self.durable.tried || record.epoch == self.durable.epoch;
        let wrote = self.log.history().eras().iter().any(|era| era.epoch == record.epoch && era.node == node);
        record.holder == node && (noted || wrote) && self.register_flaw().is_none()
    }

    /// Whether the register names this node and its value has not stood unchanged for its lease: a copy of this node may hold it.
    pub(super) fn may_be_held_by_a_copy(&self, at: Moment) -> bool {
        let Some(witnessed) = self.authority.witnessed() else { return false };
        let register = witnessed.client.register();
        register.names(self.durable.node) && self.waits_end().1.is_some_and(|over| at <= over)
    }

    fn peer_node(&self) -> Option<NodeId> {
        self.durable.peer.as_ref().map(|peer| peer.node)
    }

    /// Whether the register records more than this log holds: rule 10.
    pub(super) fn lacks_recorded(&self, recorded: Revision) -> bool {
        self.log.lacks(recorded) && !self.setup.makes(Mutant::IgnoresRecorded)
    }

    /// Notes why a node whose directory says master must not serve, or that it may again.
    fn depose(&mut self, now: Now, why: Option<Deposed>) {
        if self.durable.role != Role::Master {
            return;
        }
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        let Some(why) = why else {
            if witnessed.reinstate() {
                self.clear(now, |alert| Subject::Witness.is_of(alert) && alert.kind != AlertKind::WitnessUnreachable);
            }
            return;
        };
        let news = witnessed.depose(why);
        if news {
            self.raise_deposed(now, why);
        }
        if news && self.session.waits_for_peer() {
            // The peer was met before this was known: the hellos are said again.
            self.close_all_links(now, None, "the witness names the other node");
        }
        self.transition(now, Transition::Deposed, why.reason());
    }

    /// The alert of a master that must not serve.
    fn raise_deposed(&mut self, now: Now, why: Deposed) {
        let (head, recorded) = (self.log.revision(), self.recorded_revision());
        let alert = match why {
            Deposed::NotNamed => NewAlert::new(AlertKind::Takeover, Subject::Witness, texts::NOT_NAMED),
            Deposed::Duplicate => NewAlert::new(AlertKind::DuplicateNode, Subject::Witness, texts::COPY_RENEWS),
            Deposed::RolledBack => {
                let alert =
                    NewAlert::new(AlertKind::RolledBack, Subject::Witness, texts::behind_record(head, recorded));
                NewAlert { revisions: Some((head, recorded)), ..alert }
            }
        };
        self.raise(now, alert);
    }

    /// The revision that the register records; none where there is no record.
    fn recorded_revision(&self) -> Revision {
        let record = self.authority.record();
        record.map_or(Revision::NONE, |record| record.revision)
    }

    // What is reported of it.

    /// A master that serves renews the record. If the record still does not name the master that this node follows
    /// after it was read again, that master renews another record.
    fn watch_named_master(&mut self, now: Now) {
        let up = self.links.active_id().is_some() && self.links.peer_serves();
        let follows = self.authority.state() == NodeState::Following && up;
        let peer = self.peer_node();
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        let register = witnessed.client.register();
        let known = !register.is_stale() && register.is_reachable();
        let named = peer.is_some_and(|peer| register.names(peer));
        let names_another = if !follows || named { Some(false) } else { known.then_some(true) };
        witnessed.client.note_named(names_another, now.at);
    }

    /// Raises or ends the alert about the witness: it is silent for a lease, or this pair cannot go on from its value.
    fn report_witness(&mut self, now: Now) {
        let trouble = self.witness_trouble(now);
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        let Some(before) = witnessed.client.report(trouble) else { return };
        if before.is_some() {
            self.clear(now, |alert| alert.kind == AlertKind::WitnessUnreachable && Subject::Witness.is_of(alert));
        }
        let Some(trouble) = trouble else { return };
        let message = match trouble {
            WitnessTrouble::Unreachable => texts::WITNESS_UNREACHABLE,
            WitnessTrouble::Unwritable => texts::WITNESS_UNWRITABLE,
            WitnessTrouble::NamesAnother => texts::WITNESS_NAMES_ANOTHER,
            WitnessTrouble::Flawed(Flaw::Foreign) => texts::RECORD_FOREIGN,
            WitnessTrouble::Flawed(Flaw::Older) => texts::RECORD_OLDER,
            WitnessTrouble::Flawed(Flaw::Missing) => texts::RECORD_MISSING,
        };
        self.raise(now, NewAlert::new(AlertKind::WitnessUnreachable, Subject::Witness, message));
    }

    /// What is wrong with the witness.
    fn witness_trouble(&self, now: Now) -> Option<WitnessTrouble> {
        let client = &self.authority.witnessed()?.client;
        if let Some(flaw) = self.register_flaw() {
            return Some(WitnessTrouble::Flawed(flaw));
        }
        let (register, lease_us) = (client.register(), micros(self.setup.options.lease()));
        // What was reported stands until it is over.
        let lasts = |since: Option<Moment>, us: u64, trouble: WitnessTrouble| {
            let reported = client.reported() == Some(trouble);
            since.is_some_and(|since| reported || now.at.0.saturating_sub(since.0) >= us).then_some(trouble)
        };
        let unwritten = register.unwritten_since().filter(|_| self.authority.renews());
        lasts(register.silent_since(), lease_us, WitnessTrouble::Unreachable)
            .or(lasts(unwritten, lease_us, WitnessTrouble::Unwritable))
            .or(lasts(client.names_another_since(), NAMES_ANOTHER_LEASES * lease_us, WitnessTrouble::NamesAnother))
    }

    /// What is known of the witness.
    pub(in super::super) fn witness_status(&self) -> Option<WitnessStatus> {
        let register = self.authority.register()?;
        let writable = register.unwritten_since().is_none() || !self.authority.renews();
        Some(WitnessStatus { reachable: register.is_reachable() && writable, record: register.record().cloned() })
    }
}
