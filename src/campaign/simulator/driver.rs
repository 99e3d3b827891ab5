//! The driver of the simulated nodes: it hands one event to an engine, carries out its actions in order, and checks everything.

use super::injected_bug::InjectedBug;
use super::machine::Caller;
use super::network::Frame;
use super::schedule::{Read, Scheduled};
use super::step::Verb;
use super::store::{ITEM_BYTES, Job, Payload, Sent, SnapshotItem};
use super::world::World;
use crate::campaign::violation::{Checked, Invariant, Violation, catch_panic};
use crate::model::Revision;
use crate::protocol::engine::{
    Action, BatchId, Command, CommandAnswer, CommandRefusal, CommitAnswer, CommitRefusal, Committed, Completed,
    Completion, DialFailureKind, Event, LinkId, Moment, Notice, RepairKind, StagingReceipt, Ticket, WitnessAnswer,
    WitnessQuestion, Work,
};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::{Bulk, Message, Switch};
use crate::testing::Side;

/// Most actions of one event: the answers to a full queue of callers, and a few more.
const ACTIONS_MAX: usize = 6_000;
/// Takeover delay and a dial, with clock error, microseconds. A peer that keeps closing connections for so long does not lead.
const ALONE_US_MIN: u64 = 790_000;
/// More dials within a second are a loop without a wait.
const DIALS_MAX: u64 = 200;

impl World {
    /// Hands an event to an engine and carries out its actions.
    pub fn event(&mut self, side: Side, event: Event) -> Checked {
        let (now_us, random) = (self.now, self.bits(side));
        if self.machine(side).engine.is_none() {
            return Ok(());
        }
        self.journal.summary.events += 1;
        if let Some(engine) = &self.machines[side.index()].engine {
            self.journal.coverage.count_event(engine.node_state(), &event);
        }
        self.note(|| format!("{side:?} <- {event:?}"));
        let fails = matches!(event, Event::DialFailed { .. });
        let swapped = matches!(event, Event::WitnessAnswered { answer: WitnessAnswer::Swapped(_), .. });
        let machine = self.machine(side);
        if fails || swapped {
            machine.observed.unconfirmed_since = None;
        }
        let now = machine.clock.now(now_us, random);
        let held = self.holds_mastership(side);
        let machine = self.machine(side);
        machine.observed.held_before_event = held;
        let Some(mut engine) = machine.engine.take() else {
            return Ok(());
        };
        let (engine, actions) = catch_panic(move || {
            let actions = engine.handle(now, event);
            (engine, actions)
        })?;
        self.machine(side).engine = Some(engine);
        Invariant::Bounded.check(actions.len() <= ACTIONS_MAX, || format!("{} actions at once", actions.len()))?;
        self.perform(side, actions)?;
        self.check_invariants(side)
    }

    /// Carries out actions in their order.
    pub fn perform(&mut self, side: Side, actions: Vec<Action>) -> Checked {
        let crash = self.machine(side).conditions.crash_at.filter(|_| !actions.is_empty());
        let most = crash.map_or(usize::MAX, |(most, ..)| usize::from(most));
        for action in actions.into_iter().take(most) {
            if !matches!(action, Action::SetTimer { .. }) {
                self.note(|| format!("{side:?} -> {action:?}"));
            }
            self.machine(side).check_action(&action)?;
            self.carry_out(side, action)?;
            if self.machine(side).engine.is_none() {
                return Ok(());
            }
        }
        match crash {
            Some((_, silent, kept)) => {
                self.note(|| format!("{side:?}: power is cut behind the last action"));
                self.end(side, Some(kept), silent)
            }
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, side: Side, action: Action) -> Checked {
        let run = self.machine(side).run;
        match action {
            Action::Persist(work) => {
                if matches!(work, Work::BeginEra(_)) && !self.plan.witnessed {
                    self.check_takeover(side)?;
                }
                return self.persist(side, work);
            }
            Action::Publish { upto } => return self.publish(side, upto),
            Action::Confirm { upto } => self.machine(side).disk.confirm(upto),
            Action::Send { link, message } => {
                if !self.plan.byzantine {
                    let disk = &self.machines[side.index()].disk;
                    self.oracle.check_message(disk, &message)?;
                }
                if let Message::Switch(Switch::HandOver { epoch, .. }) = &message {
                    self.check_hand_over(side, *epoch)?;
                }
                if let Some(conn) = self.machine(side).driver.links.get(&link).copied() {
                    self.send(conn, side.other(), Frame::Message(message));
                }
            }
            Action::PushRecords { link, after, upto, durable, max_bytes } => {
                let read = Read::Records { link, after, upto, durable, max_bytes };
                self.after(30, Scheduled::Read { side, run, read });
            }
            Action::OpenSnapshot { transfer, withheld } => {
                self.machine(side).driver.opening.insert(transfer);
                self.after(30, Scheduled::Read { side, run, read: Read::Open { transfer, withheld } });
            }
            Action::ResumeSnapshot { transfer, point } => return self.resume(side, transfer, &point),
            Action::CompareSnapshot { transfer, buckets } => return self.compare(side, transfer, &buckets),
            Action::SelectSnapshot { transfer, wants } => self.select(side, transfer, &wants),
            Action::PushSnapshot { link, transfer, max_bytes } => {
                self.after(30, Scheduled::Read { side, run, read: Read::Piece { link, transfer, max_bytes } });
            }
            Action::CloseSnapshot { transfer } => {
                self.machine(side).driver.opening.remove(&transfer);
                self.machine(side).driver.exports.remove(&transfer);
                self.machine(side).disk.close_export(transfer);
            }
            Action::DropBulk { bulk } => drop(self.machine(side).driver.bulks.remove(&bulk)),
            Action::Close { link } => self.close(side, link),
            Action::Dial { .. } => return self.dial(side),
            Action::AnswerCommit { ticket, answer } => {
                return self.commit_answered(side, ticket, answer);
            }
            Action::AnswerCommand { ticket, answer } => {
                return self.command_answered(side, ticket, &answer);
            }
            Action::AskMayTakeOver { question } => {
                self.machine(side).callers.question = Some(question);
                self.after(500, Scheduled::HostAnswers { side, run, question });
            }
            Action::SetTimer { at } => self.set_timer(side, at),
            Action::Notify(notice) => self.notified(&notice),
            Action::AskWitness { ask, question } => {
                if matches!(question, WitnessQuestion::Swap { .. }) {
                    // With a witness the takeover is decided here: the answer grants it.
                    self.check_takeover(side)?;
                }
                return self.ask_witness(side, ask, question);
            }
            Action::AnswerEnrol { .. } => {}
            Action::MakeKey | Action::UseKey { .. } => self.renew(side, &action),
            Action::Stop => return self.stop(side),
        }
        Ok(())
    }

    fn stop(&mut self, side: Side) -> Checked {
        self.note(|| format!("{side:?} stops"));
        let asked = self.machine(side).callers.waiting.len();
        Invariant::Contract.check(asked == 0, || format!("{side:?} stops, and {asked} callers wait"))?;
        // A batch that nobody waits for may be done all the same.
        let kept = if self.machine(side).driver.batch.is_some() { Some(self.random.bits() as u8) } else { None };
        self.end(side, kept, false)
    }

    fn notified(&mut self, notice: &Notice) {
        match notice {
            Notice::Synced { how: RepairKind::Full, .. } => self.journal.summary.pushes.completed += 1,
            Notice::Synced { how: RepairKind::Differential, .. } => self.journal.summary.pushes.differential += 1,
            _ => {}
        }
    }

    fn set_timer(&mut self, side: Side, at: Moment) {
        let now = self.now;
        let machine = self.machine(side);
        let set = machine.driver.timer.map_or(1, |(_, set)| set + 1);
        machine.driver.timer = Some((at, set));
        let (run, wait) = (machine.run, machine.clock.when(at).saturating_sub(now));
        self.after(wait, Scheduled::Timer { side, run, set });
    }

    fn persist(&mut self, side: Side, work: Work) -> Checked {
        let (batch, now_us) = (work.batch(), self.now);
        let machine = self.machine(side);
        let job = machine.job(work)?;
        let group = matches!(job, Job::AppendGroup(_));
        machine.driver.batch = Some(job);
        machine.driver.batch_since = now_us;
        let (run, batch_us) = (machine.run, machine.conditions.batch_us);
        let us = batch_us / 2 + self.random.below(batch_us + 1);
        if group {
            self.after(us / 3, Scheduled::GroupWritten { side, run, batch });
        }
        self.after(us, Scheduled::BatchEnds { side, run, batch });
        Ok(())
    }

    fn publish(&mut self, side: Side, upto: Revision) -> Checked {
        let eager = self.bug == Some(InjectedBug::EagerReader);
        let disk = &mut self.machine(side).disk;
        disk.show(upto)?;
        if eager {
            disk.visible.seq += 1;
        }
        let disk = &self.machines[side.index()].disk;
        self.oracle.check_visible(disk)
    }

    /// The disk has done a batch, or failed to.
    pub fn batch_ended(&mut self, side: Side, batch: BatchId) -> Checked {
        let (bug, byzantine) = (self.bug, self.plan.byzantine);
        let machine = self.machine(side);
        let Some(job) = machine.driver.batch.take_if(|job| job.batch() == batch) else {
            return Ok(());
        };
        let quarantines = matches!(job, Job::Quarantine(_));
        let durable_state = matches!(job, Job::StoreState(_) | Job::BeginEra(_));
        let mut written = Vec::new();
        let completed = machine.disk.execute(job, machine.conditions.accepts_pushes, &mut written)?;
        let done = completed.failure().is_none();
        if bug == Some(InjectedBug::WrongContent)
            && matches!(completed.completion(), Completion::RecordsAppended(Ok(_)))
        {
            machine.disk.spoil();
        }
        // One that counted as failed before it came back is not what the engine holds: whoever is in doubt stays so.
        let late = machine.engine.as_ref().is_some_and(|engine| engine.node_state() == NodeState::Broken);
        if durable_state && done && !late {
            machine.callers.settings.in_doubt.clear();
        }
        if let Completion::StagingFinished(Ok(StagingReceipt::Mismatch { found })) = completed.completion()
            && !byzantine
        {
            return Err(Violation {
                invariant: Invariant::SameContent,
                what: format!("{side:?} received a snapshot that is not what its header said: {found:?}"),
            });
        }
        let node = machine.disk.node();
        self.oracle.check_written(node, &written)?;
        self.oracle.note_durable(&self.machines[side.index()].disk);
        if quarantines && done {
            self.journal.summary.quarantines += 1;
            self.oracle.may_be_cut(side);
        }
        let machine = &self.machines[side.index()];
        if !self.plan.byzantine {
            self.oracle.check_known(machine.disk.head.position)?;
        }
        self.oracle.check_kept(side, &machine.disk)?;
        if bug == Some(InjectedBug::LeakyRefusal) {
            self.leak(side, &completed)?;
        }
        self.event(side, Event::Persisted(completed))
    }

    /// An injected bug: a refused change is written all the same.
    fn leak(&mut self, side: Side, completed: &Completed) -> Checked {
        let Completion::GroupAppended(_, Ok(receipt)) = completed.completion() else {
            return Ok(());
        };
        let mut written = Vec::new();
        for (ticket, verdict) in &receipt.verdicts {
            let machine = self.machine(side);
            if let (Err(_), Some(Caller::Commit(change))) = (verdict, machine.callers.waiting.get(ticket).copied()) {
                machine.disk.leak(change, &mut written);
            }
        }
        let node = self.machine(side).disk.node();
        self.oracle.check_written(node, &written)
    }

    /// Reads for a push. The engine does not hear of reads for a closed link.
    pub fn read(&mut self, side: Side, read: Read) -> Checked {
        match read {
            Read::Records { link, after, upto, durable, max_bytes } => {
                let Some(conn) = self.machine(side).driver.links.get(&link).copied() else {
                    return Ok(());
                };
                if let Some(bytes) = self.push_newest_group(side, conn, (after, upto), durable) {
                    return self.event(side, Event::RecordsPushed { link, last: upto, bytes, gone: false });
                }
                let found = match self.machine(side).disk.read(after, upto, max_bytes)? {
                    Ok(found) => found,
                    Err(reason) => return self.event(side, Event::ReadFailed { reason }),
                };
                let gone = found.is_none();
                let records = found.unwrap_or_else(|| Sent::modelled(Vec::new()));
                let last = records.last().map_or(after, |record| record.position.revision);
                let mut bytes = 0;
                if !records.is_empty() {
                    bytes = self.push_records(side, conn, records, Bulk::Records { after, last, durable });
                }
                self.event(side, Event::RecordsPushed { link, last, bytes, gone })
            }
            Read::Open { transfer, withheld } => self.open(side, transfer, withheld),
            Read::Piece { link, transfer, max_bytes } => {
                let machine = self.machine(side);
                let Some(conn) = machine.driver.links.get(&link).copied() else {
                    return Ok(());
                };
                let Some(export) = machine.driver.exports.get_mut(&transfer) else {
                    return self.event(side, Event::SnapshotPushed { transfer, bytes: 0, done: true });
                };
                let count = (max_bytes / ITEM_BYTES).max(1).min(export.rest.len());
                let piece: Vec<SnapshotItem> = export.rest.drain(..count).collect();
                let done = export.rest.is_empty();
                let bytes = piece.len() * ITEM_BYTES;
                let real = match self.machine(side).disk.export_piece(transfer, piece.len(), done)? {
                    Ok(real) => real,
                    Err(reason) => return self.event(side, Event::ReadFailed { reason }),
                };
                if bytes > 0 {
                    let payload = Payload::Snapshot(Sent { items: piece.into(), bytes: real });
                    self.send(conn, side.other(), Frame::Bulk(Bulk::Snapshot { transfer }, payload, bytes));
                }
                self.event(side, Event::SnapshotPushed { transfer, bytes, done })
            }
        }
    }

    fn close(&mut self, side: Side, link: LinkId) {
        let Some(conn) = self.machine(side).driver.links.remove(&link) else {
            return;
        };
        self.network.connections[conn].close_end(side);
        self.send(conn, side.other(), Frame::Down("closed by peer"));
    }

    fn dial(&mut self, side: Side) -> Checked {
        let second = self.now / 1_000_000;
        let machine = self.machine(side);
        machine.driver.dials =
            if machine.driver.dials.1 == second { (machine.driver.dials.0 + 1, second) } else { (1, second) };
        let dials = machine.driver.dials.0;
        Invariant::Bounded
            .check(dials <= DIALS_MAX, || format!("{side:?} dials in a loop: {dials} times in a second"))?;
        let dial = machine.fresh();
        machine.driver.dial = Some(dial);
        let (run, wanted) = (machine.run, machine.conditions.failing_dials == 0);
        machine.conditions.failing_dials = machine.conditions.failing_dials.saturating_sub(1);
        let other_down = self.machines[side.other().index()].engine.is_none();
        let one_way = self.network.latency_us;
        let barred = self.bars(side.other(), side);
        if wanted && self.reachable(side) && !barred {
            let conn = self.network.open(dial);
            self.send(conn, side.other(), Frame::Up { dialled: false });
            self.send(conn, side, Frame::Up { dialled: true });
            // TLS takes two round trips, and either end may be up first.
            for (end, trips) in [(side.other(), 2), (side, 3)] {
                if let Some((at, ..)) = self.network.connections[conn].to[end.index()].back_mut() {
                    *at += one_way * trips;
                }
            }
            self.after(300_000, Scheduled::DialEnds { side, run, dial, refused: false });
        } else {
            let refused = (other_down || barred) && !self.network.is_cut();
            let us = if refused || !wanted { 2 * one_way } else { 300_000 };
            self.after(us, Scheduled::DialEnds { side, run, dial, refused });
        }
        Ok(())
    }

    /// A dial that led to no link ends.
    pub fn dial_ended(&mut self, side: Side, dial: u64, refused: bool) -> Checked {
        if self.machine(side).driver.dial != Some(dial) {
            return Ok(());
        }
        self.machine(side).driver.dial = None;
        let other = side.other();
        if let Some(conn) =
            self.network.connections.iter().position(|conn| conn.dial == dial && conn.links[side.index()].is_none())
        {
            self.network.connections[conn].to[side.index()].clear();
            if self.network.connections[conn].links[other.index()].is_some()
                || !self.network.connections[conn].to[other.index()].is_empty()
            {
                self.send(conn, other, Frame::Down("the dial was given up"));
            }
        }
        let how = match refused && self.bars(other, side) {
            true => DialFailureKind::RefusedByPeer,
            false => DialFailureKind::Unreachable,
        };
        let reason = if refused { "connection refused" } else { "timed out" };
        self.event(side, Event::DialFailed { how, reason: reason.into() })
    }

    /// The host answers.
    pub fn host_answered(&mut self, side: Side, question: u64) -> Checked {
        let machine = self.machine(side);
        if machine.callers.question.take_if(|asked| *asked == question).is_none() {
            return Ok(());
        }
        let allowed = machine.conditions.may_take_over;
        let reason = if allowed { "" } else { "no uplink" };
        self.event(side, Event::HostAnswered { question, allowed, reason: reason.into() })
    }

    /// 0 and 9: an operator gets one answer, and it is true.
    fn command_answered(&mut self, side: Side, ticket: Ticket, answer: &CommandAnswer) -> Checked {
        let machine = self.machine(side);
        let asked = machine.callers.waiting.remove(&ticket);
        if let Some(Caller::Operator(word)) = asked {
            machine.callers.settings.answered(word, answer, &machine.disk.durable_state)?;
            let serves = machine.engine.as_ref().is_some_and(|engine| engine.authority().serving);
            let settles = match word.0 {
                // A node without a peer has nobody to ask.
                Verb::Reset | Verb::ReplaceShadow { .. } => true,
                // The operator decides, unless the node asks all the same.
                Verb::TakeOver { .. } => serves,
                _ => false,
            };
            if settles && answer.is_ok() {
                machine.observed.unconfirmed_since = None;
            }
            machine.callers.replaced_peer |= matches!(word.0, Verb::ReplaceShadow { .. }) && answer.is_ok();
        }
        if asked == Some(Caller::AcceptsLoss) {
            match answer {
                // It may be done all the same.
                Ok(()) | Err(CommandRefusal::InDoubt { .. }) => self.exemptions.loss_accepted(side, Some(ticket)),
                Err(_) => self.exemptions.loss_refused(side, ticket),
            }
        }
        let wrong = matches!(asked, Some(Caller::Commit(_)));
        Invariant::Contract.check(!wrong, || "a commit answered as a command".into())
    }

    /// 0 and 9: a caller who commits gets one answer, and it is true.
    fn commit_answered(&mut self, side: Side, ticket: Ticket, answer: CommitAnswer) -> Checked {
        let double = self.bug == Some(InjectedBug::DoubleAnswer);
        let machine = self.machine(side);
        let asked = if double {
            machine.callers.waiting.get(&ticket).copied()
        } else {
            machine.callers.waiting.remove(&ticket)
        };
        let unconfirmed = machine.observed.unconfirmed_since;
        let Some(Caller::Commit(change)) = asked else {
            return Err(Violation { invariant: Invariant::Contract, what: "a command answered as a commit".into() });
        };
        match answer {
            Ok(Committed { revision, replicated, .. }) => {
                self.check_acknowledgement(side, revision, replicated)?;
                // With a witness its authority says more. Without one, a peer that leaves it alone for long enough is no master.
                let left_alone = unconfirmed.is_some_and(|since| self.now - since >= ALONE_US_MIN);
                let confirmed = unconfirmed.is_none() || left_alone || self.plan.byzantine || self.plan.witnessed;
                Invariant::OneMaster.check(confirmed, || {
                    format!("{side:?} acknowledged {revision} after it stood still, before it heard from anybody")
                })?;
                let disk = &self.machines[side.index()].disk;
                self.oracle.check_acknowledged(side, disk, change.id, revision)?;
                self.check_in_sync_node()?;
                self.journal.summary.acknowledged += 1;
                self.journal.summary.replicated += u64::from(replicated);
                if double {
                    return self.answer_again(side, ticket, answer);
                }
                Ok(())
            }
            Err(CommitRefusal::InDoubt { revision }) => self.oracle.check_in_doubt(change.id, revision),
            Err(_) => self.oracle.check_refused(change.id),
        }
    }

    /// An injected bug: the answer comes a second time.
    fn answer_again(&mut self, side: Side, ticket: Ticket, answer: CommitAnswer) -> Checked {
        self.machine(side).callers.waiting.remove(&ticket);
        self.machine(side).check_action(&Action::AnswerCommit { ticket, answer })
    }

    /// A caller or an operator asks.
    pub fn ask(&mut self, side: Side, asked: Caller, event: impl FnOnce(Ticket) -> Event) -> Checked {
        let machine = self.machine(side);
        if machine.engine.is_none() {
            return Ok(());
        }
        let ticket = Ticket(machine.fresh());
        machine.callers.waiting.insert(ticket, asked);
        if asked == Caller::AcceptsLoss {
            self.exemptions.loss_offered(side, ticket);
        }
        self.event(side, event(ticket))
    }

    /// An operator asks.
    pub fn command(&mut self, side: Side, command: Command) -> Checked {
        self.ask(side, Caller::Command, |ticket| Event::Command { ticket, command })
    }
}
