//! The driver of the simulated nodes: one event in, its actions carried out in order, everything checked.

use super::network::{Connection, Frame};
use super::node::{Caller, Payload};
use super::step::{Side, Verb};
use super::store::{Export, ITEM_BYTES, Job, Sent};
use super::violation::{Checked, Invariant, Violation, catch_panic};
use super::world::{InjectedBug, Read, Scheduled, World};
use crate::model::Revision;
use crate::protocol::engine::WitnessQuestion;
use crate::protocol::engine::{
    Action, BatchId, Command, CommandAnswer, CommandRefusal, CommitAnswer, CommitRefusal, Committed, Completed,
    Completion, DialFailureKind, Event, How, Notice, Ticket, WitnessAnswer, Work,
};
use crate::protocol::wire::{Bulk, SnapshotHeader};

/// More actions than one event may ask for: a full queue of callers answered, and some.
const ACTIONS_MAX: usize = 6_000;
/// Takeover delay and a dial, with clock error (microseconds): a peer that keeps closing for so long does not lead.
const ALONE_US_MIN: u64 = 790_000;
/// More dials within a second than this are a loop that waits for nothing.
const DIALS_MAX: u64 = 200;

impl World {
    /// Hands an event to an engine and does what it asks for.
    pub fn event(&mut self, side: Side, event: Event) -> Checked {
        let (now_us, random) = (self.now, self.bits(side));
        if self.host(side).engine.is_none() {
            return Ok(());
        }
        self.summary.events += 1;
        if let Some(engine) = &self.hosts[side.index()].engine {
            self.coverage.happened(engine.node_state(), &event);
        }
        self.tell(|| format!("{side:?} <- {event:?}"));
        let fails = matches!(event, Event::DialFailed { .. });
        let swapped = matches!(event, Event::WitnessAnswered { answer: WitnessAnswer::Swapped(_), .. });
        let host = self.host(side);
        if fails || swapped {
            host.unconfirmed_since = None;
        }
        let now = host.clock.now(now_us, random);
        let covered = self.holds_mastership(side);
        let host = self.host(side);
        host.covered = covered;
        let Some(mut engine) = host.engine.take() else { return Ok(()) };
        let (engine, actions) = catch_panic(move || {
            let actions = engine.handle(now, event);
            (engine, actions)
        })?;
        self.host(side).engine = Some(engine);
        Invariant::Bounded.check(actions.len() <= ACTIONS_MAX, || format!("{} actions at once", actions.len()))?;
        self.perform(side, actions)?;
        self.judge(side)
    }

    /// Carries out actions in their order.
    pub fn perform(&mut self, side: Side, actions: Vec<Action>) -> Checked {
        let crash = self.host(side).crash_at.filter(|_| !actions.is_empty());
        let most = crash.map_or(usize::MAX, |(most, ..)| usize::from(most));
        for action in actions.into_iter().take(most) {
            if !matches!(action, Action::SetTimer { .. }) {
                self.tell(|| format!("{side:?} -> {action:?}"));
            }
            let opening = self.opening(side).clone();
            self.host(side).check_action(&action, &opening)?;
            self.act(side, action)?;
            if self.host(side).engine.is_none() {
                return Ok(());
            }
        }
        match crash {
            Some((_, silent, kept)) => {
                self.tell(|| format!("{side:?}: power is cut behind the last action"));
                self.end(side, Some(kept), silent)
            }
            None => Ok(()),
        }
    }

    fn act(&mut self, side: Side, action: Action) -> Checked {
        let run = self.host(side).run;
        match action {
            Action::Persist(work) => {
                if matches!(work, Work::BeginEra(_)) && !self.plan.witnessed {
                    self.takes_over(side)?;
                }
                return self.persist(side, work);
            }
            Action::Publish { upto } => return self.publish(side, upto),
            Action::Confirm { upto } => self.host(side).disk.confirm(upto),
            Action::Send { link, message } => {
                if !self.plan.hostile {
                    let disk = &self.hosts[side.index()].disk;
                    self.oracle.truthful(disk, &message)?;
                }
                if let Some(conn) = self.host(side).links.get(&link).copied() {
                    self.send(conn, side.other(), Frame::Message(message));
                }
            }
            Action::PushRecords { link, after, durable, max_bytes } => {
                let read = Read::Records { link, after, durable, max_bytes };
                self.after(30, Scheduled::Read { side, run, read });
            }
            Action::OpenSnapshot { transfer } => {
                self.opening(side).insert(transfer);
                self.after(30, Scheduled::Read { side, run, read: Read::Open { transfer } });
            }
            Action::PushSnapshot { link, transfer, max_bytes } => {
                self.after(30, Scheduled::Read { side, run, read: Read::Piece { link, transfer, max_bytes } });
            }
            Action::CloseSnapshot { transfer } => {
                self.opening(side).remove(&transfer);
                self.host(side).exports.remove(&transfer);
                self.host(side).disk.close_export(transfer);
            }
            Action::DropBulk { bulk } => {
                self.host(side).bulks.remove(&bulk);
            }
            Action::Close { link } => self.close(side, link),
            Action::Dial { .. } => return self.dial(side),
            Action::AnswerCommit { ticket, answer } => return self.commit_answered(side, ticket, answer),
            Action::AnswerCommand { ticket, answer } => return self.command_answered(side, ticket, &answer),
            Action::AskMayTakeOver { question } => {
                self.host(side).question = Some(question);
                self.after(500, Scheduled::Host { side, run, question });
            }
            Action::SetTimer { at } => {
                let now = self.now;
                let host = self.host(side);
                let set = host.timer.map_or(1, |(_, set)| set + 1);
                host.timer = Some((at, set));
                let wait = host.clock.when(at).saturating_sub(now);
                self.after(wait, Scheduled::Timer { side, run, set });
            }
            Action::Notify(notice) => self.noticed(&notice),
            Action::AskWitness { ask, question } => {
                if matches!(question, WitnessQuestion::Swap { .. }) {
                    // With a witness it is decided here: the answer grants it.
                    self.takes_over(side)?;
                }
                return self.ask_witness(side, ask, question);
            }
            Action::AnswerEnrol { .. } => {}
            Action::Stop => return self.stops(side),
        }
        Ok(())
    }

    fn stops(&mut self, side: Side) -> Checked {
        self.tell(|| format!("{side:?} stops"));
        let asked = self.host(side).asked.len();
        Invariant::Contract.check(asked == 0, || format!("{side:?} stops, and {asked} callers wait"))?;
        // A batch that was not waited for may be done all the same.
        let kept = if self.host(side).batch.is_some() { Some(self.random.bits() as u8) } else { None };
        self.end(side, kept, false)
    }

    fn noticed(&mut self, notice: &Notice) {
        if let Notice::Synced { how: How::Full, .. } = notice {
            self.summary.full_pushes += 1;
        }
    }

    fn persist(&mut self, side: Side, work: Work) -> Checked {
        let batch = work.batch();
        let host = self.host(side);
        let job = host.job(work)?;
        host.batch = Some(job);
        let (run, disk_us) = (host.run, host.disk_us);
        let us = disk_us / 2 + self.random.below(disk_us + 1);
        self.after(us, Scheduled::Batch { side, run, batch });
        Ok(())
    }

    fn publish(&mut self, side: Side, upto: Revision) -> Checked {
        let eager = self.flaw == Some(InjectedBug::EagerReader);
        let disk = &mut self.host(side).disk;
        disk.show(upto)?;
        if eager {
            disk.visible.seq += 1;
        }
        let disk = &self.hosts[side.index()].disk;
        self.oracle.one_revision(disk)
    }

    /// A batch came to its end.
    pub fn batch_done(&mut self, side: Side, batch: BatchId) -> Checked {
        let flaw = self.flaw;
        let host = self.host(side);
        let Some(job) = host.batch.take_if(|job| job.batch() == batch) else { return Ok(()) };
        let quarantines = matches!(job, Job::Quarantine(_));
        let durable_state = matches!(job, Job::StoreState(_) | Job::BeginEra(_));
        let mut made = Vec::new();
        let completed = host.disk.carry_out(job, host.accepts, &mut made)?;
        let done = completed.failure().is_none();
        if flaw == Some(InjectedBug::WrongContent)
            && matches!(completed.completion(), Completion::RecordsAppended(Ok(_)))
        {
            host.disk.spoil();
        }
        if durable_state && done {
            host.said.in_doubt.clear();
        }
        let node = host.disk.node();
        self.oracle.wrote(node, &made)?;
        if quarantines && done {
            self.summary.quarantines += 1;
            self.oracle.may_be_cut(side);
        }
        let host = &self.hosts[side.index()];
        if !self.plan.hostile {
            self.oracle.known(host.disk.head.position)?;
        }
        self.oracle.kept(side, &host.disk)?;
        if flaw == Some(InjectedBug::LeakyRefusal) {
            self.leak(side, &completed)?;
        }
        self.event(side, Event::Persisted(completed))
    }

    /// A flaw: a refused change is written all the same.
    fn leak(&mut self, side: Side, completed: &Completed) -> Checked {
        let Completion::GroupAppended(_, Ok(receipt)) = completed.completion() else { return Ok(()) };
        let mut made = Vec::new();
        for (ticket, verdict) in &receipt.verdicts {
            let host = self.host(side);
            if let (Err(_), Some(Caller::Commit(change))) = (verdict, host.asked.get(ticket).copied()) {
                host.disk.leak(change, &mut made);
            }
        }
        let node = self.host(side).disk.node();
        self.oracle.wrote(node, &made)
    }

    /// Reads for a push. What is read for a link that is gone is not told.
    pub fn read(&mut self, side: Side, read: Read) -> Checked {
        match read {
            Read::Records { link, after, durable, max_bytes } => {
                let Some(conn) = self.host(side).links.get(&link).copied() else { return Ok(()) };
                let found = match self.host(side).disk.read(after, durable, max_bytes)? {
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
            Read::Open { transfer } => self.open(side, transfer),
            Read::Piece { link, transfer, max_bytes } => {
                let host = self.host(side);
                let Some(conn) = host.links.get(&link).copied() else { return Ok(()) };
                let Some(export) = host.exports.get_mut(&transfer) else {
                    return self.event(side, Event::SnapshotPushed { transfer, bytes: 0, done: true });
                };
                let count = (max_bytes / ITEM_BYTES).max(1).min(export.rest.len());
                let piece: Vec<(u8, u64)> = export.rest.drain(..count).collect();
                let done = export.rest.is_empty();
                let bytes = piece.len() * ITEM_BYTES;
                let real = match self.host(side).disk.export_piece(transfer, done)? {
                    Ok(real) => real,
                    Err(reason) => return self.event(side, Event::ReadFailed { reason }),
                };
                if bytes > 0 {
                    let payload = Payload::Snapshot(Sent { what: piece.into(), bytes: real });
                    self.send(conn, side.other(), Frame::Bulk(Bulk::Snapshot { transfer }, payload, bytes));
                }
                self.event(side, Event::SnapshotPushed { transfer, bytes, done })
            }
        }
    }

    fn open(&mut self, side: Side, transfer: u64) -> Checked {
        if !self.opening(side).remove(&transfer) {
            return Ok(());
        }
        let host = self.host(side);
        let Some(point) = host.disk.visible_point() else {
            return self.event(side, Event::ReadFailed { reason: "not held".into() });
        };
        let rest: std::collections::VecDeque<(u8, u64)> = point.state.entries.into_iter().collect();
        let header = SnapshotHeader {
            transfer,
            position: point.position,
            history: point.history,
            chain: point.chain,
            entries: rest.len() as u64,
            bytes: (rest.len() * ITEM_BYTES) as u64,
        };
        host.disk.open_export(&header)?;
        host.exports.insert(transfer, Export { rest });
        self.event(side, Event::SnapshotOpened { header })
    }

    fn close(&mut self, side: Side, link: crate::protocol::engine::LinkId) {
        let Some(conn) = self.host(side).links.remove(&link) else { return };
        self.connections[conn].links[side.index()] = None;
        self.connections[conn].to[side.index()].clear();
        self.send(conn, side.other(), Frame::Down("closed by peer"));
    }

    fn dial(&mut self, side: Side) -> Checked {
        let second = self.now / 1_000_000;
        let host = self.host(side);
        host.dials = if host.dials.1 == second { (host.dials.0 + 1, second) } else { (1, second) };
        let dials = host.dials.0;
        Invariant::Bounded
            .check(dials <= DIALS_MAX, || format!("{side:?} dials in a loop: {dials} times in a second"))?;
        let dial = host.fresh();
        host.dialing = Some(dial);
        let (run, wanted) = (host.run, host.fail_dials == 0);
        host.fail_dials = host.fail_dials.saturating_sub(1);
        let other_down = self.hosts[side.other().index()].engine.is_none();
        let one_way = self.latency_us;
        let barred = self.hosts[side.other().index()].bars();
        if wanted && self.reachable(side) && !barred {
            let conn = self.connections.len();
            self.connections.push(Connection { dial, ..Connection::default() });
            self.send(conn, side.other(), Frame::Up { dialled: false });
            self.send(conn, side, Frame::Up { dialled: true });
            // TLS takes two round trips; either end may be first.
            for (end, trips) in [(side.other(), 2), (side, 3)] {
                if let Some((at, ..)) = self.connections[conn].to[end.index()].back_mut() {
                    *at += one_way * trips;
                }
            }
            self.after(300_000, Scheduled::DialOver { side, run, dial, refused: false });
        } else {
            let refused = (other_down || barred) && !self.cut[0] && !self.cut[1];
            let us = if refused || !wanted { 2 * one_way } else { 300_000 };
            self.after(us, Scheduled::DialOver { side, run, dial, refused });
        }
        Ok(())
    }

    /// A dial that led to no link is over.
    pub fn dial_over(&mut self, side: Side, dial: u64, refused: bool) -> Checked {
        if self.host(side).dialing != Some(dial) {
            return Ok(());
        }
        self.host(side).dialing = None;
        let other = side.other();
        if let Some(conn) =
            self.connections.iter().position(|conn| conn.dial == dial && conn.links[side.index()].is_none())
        {
            self.connections[conn].to[side.index()].clear();
            if self.connections[conn].links[other.index()].is_some()
                || !self.connections[conn].to[other.index()].is_empty()
            {
                self.send(conn, other, Frame::Down("the dial was given up"));
            }
        }
        let how = match refused && self.hosts[other.index()].bars() {
            true => DialFailureKind::RefusedByPeer,
            false => DialFailureKind::Unreachable,
        };
        let reason = if refused { "connection refused" } else { "timed out" };
        self.event(side, Event::DialFailed { how, reason: reason.into() })
    }

    /// The host answers.
    pub fn host_answers(&mut self, side: Side, question: u64) -> Checked {
        let host = self.host(side);
        if host.question.take_if(|asked| *asked == question).is_none() {
            return Ok(());
        }
        let allowed = host.may_take_over;
        let reason = if allowed { "" } else { "no uplink" };
        self.event(side, Event::HostAnswered { question, allowed, reason: reason.into() })
    }

    /// 0 and 9: an operator is answered once, and truthfully.
    fn command_answered(&mut self, side: Side, ticket: Ticket, answer: &CommandAnswer) -> Checked {
        let host = self.host(side);
        let asked = host.asked.remove(&ticket);
        if let Some(Caller::Operator(word)) = asked {
            host.said.answered(word, answer);
            let serves = host.engine.as_ref().is_some_and(|engine| engine.authority().serving);
            let settles = match word.0 {
                // A node without a peer has nobody to ask.
                Verb::Reset => true,
                // An operator's word, unless the node asks all the same.
                Verb::TakeOver { .. } => serves,
                _ => false,
            };
            if settles && answer.is_ok() {
                host.unconfirmed_since = None;
            }
        }
        if asked == Some(Caller::AcceptsLoss) {
            match answer {
                // It may come about all the same.
                Ok(()) | Err(CommandRefusal::InDoubt { .. }) => self.exemptions.accepted(side, Some(ticket)),
                Err(_) => self.exemptions.refused(side, ticket),
            }
        }
        let wrong = matches!(asked, Some(Caller::Commit(_)));
        Invariant::Contract.check(!wrong, || "a commit answered as a command".into())
    }

    /// 0 and 9: a caller who commits is answered once, and truthfully.
    fn commit_answered(&mut self, side: Side, ticket: Ticket, answer: CommitAnswer) -> Checked {
        let double = self.flaw == Some(InjectedBug::DoubleAnswer);
        let host = self.host(side);
        let asked = if double { host.asked.get(&ticket).copied() } else { host.asked.remove(&ticket) };
        let unconfirmed = host.unconfirmed_since;
        let Some(Caller::Commit(change)) = asked else {
            return Err(Violation { invariant: Invariant::Contract, what: "a command answered as a commit".into() });
        };
        match answer {
            Ok(Committed { revision, replicated, .. }) => {
                self.acknowledges(side, revision, replicated)?;
                // With a witness its authority says more; without one, a peer that leads nowhere for long enough is no master.
                let left_alone = unconfirmed.is_some_and(|since| self.now - since >= ALONE_US_MIN);
                let confirmed = unconfirmed.is_none() || left_alone || self.plan.hostile || self.plan.witnessed;
                Invariant::OneMaster.check(confirmed, || {
                    format!("{side:?} acknowledged {revision} after it stood still, before it heard from anybody")
                })?;
                let disk = &self.hosts[side.index()].disk;
                self.oracle.acknowledge(side, disk, change.id, revision)?;
                self.named_holds_all()?;
                self.summary.acknowledged += 1;
                self.summary.replicated += u64::from(replicated);
                if double {
                    return self.answered_again(side, ticket, answer);
                }
                Ok(())
            }
            Err(CommitRefusal::InDoubt { revision }) => self.oracle.doubt(change.id, revision),
            Err(_) => self.oracle.refuse(change.id),
        }
    }

    /// A flaw: the answer comes a second time.
    fn answered_again(&mut self, side: Side, ticket: Ticket, answer: CommitAnswer) -> Checked {
        self.host(side).asked.remove(&ticket);
        let opening = self.opening(side).clone();
        self.host(side).check_action(&Action::AnswerCommit { ticket, answer }, &opening)
    }

    /// A caller or an operator asks.
    pub fn ask(&mut self, side: Side, asked: Caller, event: impl FnOnce(Ticket) -> Event) -> Checked {
        let host = self.host(side);
        if host.engine.is_none() {
            return Ok(());
        }
        let ticket = Ticket(host.fresh());
        host.asked.insert(ticket, asked);
        if asked == Caller::AcceptsLoss {
            self.exemptions.accepts(side, ticket);
        }
        self.event(side, event(ticket))
    }

    /// An operator asks.
    pub fn command(&mut self, side: Side, command: Command) -> Checked {
        self.ask(side, Caller::Command, |ticket| Event::Command { ticket, command })
    }
}
