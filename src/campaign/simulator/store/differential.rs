//! The model of the store and the real one beside it: each job is done by both, and what they hold afterwards must be the same.
//!
//! What a fault leaves of a job is for the real store to say, and must be what the model allows: nothing of it, so many of its
//! change sets, or all of it. The model then goes on from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Disk, Job};
use super::real::{ReadOutcome, RealStore, Recovered, StoreContext, UncertainJob, changes, violation};
use super::records::{Checkpoint, Record, RecordBody, Sent, key_of, value_of};
use crate::campaign::simulator::violation::{Checked, Invariant, Violation, catch_panic};
use crate::model::{Epoch, Revision};
use crate::protocol::engine::{
    AppendRecords, Completed, Completion, RecordsReceipt, StagingReceipt, StatePurpose, StoreState,
};
use crate::protocol::wire::SnapshotHeader;
use crate::store::disk::sim::PowerCut;
use crate::store::{Diverged, DivergedChange};

/// Of so many of a hundred jobs the store tidies up after itself.
const MAINTAIN_PERCENT: u64 = 25;

impl Disk {
    /// Puts the real store under this directory, which must be new.
    pub fn stand_on(&mut self, seed: u64, context: &Arc<StoreContext>) -> Checked {
        self.floor = Checkpoint::none(Some(&context.digests));
        self.head = self.floor.clone();
        self.real = Some(Box::new(RealStore::create(seed, &self.durable_state, self.log_changes, context)?));
        Ok(())
    }

    /// Does a job: by the real store too, where it stands here.
    pub fn carry_out(&mut self, job: Job, accepts: bool, made: &mut Vec<Record>) -> Result<Completed, Violation> {
        match self.real.take() {
            None => Ok(self.perform(job, accepts, made)),
            Some(mut real) => {
                let outcome = real.carry_out(self, job, accepts, made);
                self.real = Some(real);
                outcome
            }
        }
    }

    /// The process is gone; where power was cut, so much of the job under way is there, of 255.
    pub fn cut(&mut self, job: Option<Job>, accepts: bool, kept: Option<u8>, made: &mut Vec<Record>) -> Checked {
        let Some(mut real) = self.real.take() else {
            if let (Some(job), Some(kept)) = (job, kept) {
                self.interrupted(job, kept, made);
            }
            self.crash();
            return Ok(());
        };
        match kept {
            Some(_) => real.cut_power(job.as_ref(), accepts)?,
            None => real.close(None)?,
        }
        real.come_back(self, kept.is_some(), made)?;
        self.real = Some(real);
        Ok(())
    }

    /// It is an older copy of itself that comes back.
    pub fn roll_back(&mut self) -> Checked {
        let Some(mut real) = self.real.take() else {
            self.crash();
            return Ok(());
        };
        real.close(Some(PowerCut::Lost))?;
        real.come_back(self, true, &mut Vec::new())?;
        self.real = Some(real);
        Ok(())
    }

    /// What is durable becomes visible up to here.
    pub fn show(&mut self, upto: Revision) -> Checked {
        self.visible = upto;
        let Some(mut real) = self.real.take() else { return Ok(()) };
        real.reader()?.publish(upto);
        let same = real.compare(self).and_then(|()| real.content(self));
        self.real = Some(real);
        same
    }

    /// Reads records for a push.
    pub fn read(&self, after: Revision, upto: Revision, max_bytes: usize) -> ReadOutcome<Option<Sent<Record>>> {
        let found = self.records(after, upto, max_bytes);
        let Some(real) = &self.real else { return Ok(Ok(found.map(Sent::modelled))) };
        let last = found.as_ref().and_then(|records| records.last()).map_or(after, |record| record.position.revision);
        let read = match real.records(after, last)? {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        Invariant::SameContent.check(read.is_some() == found.is_some(), || {
            format!("records after {after}: the store has {}, the model {}", read.is_some(), found.is_some())
        })?;
        let sent = found.zip(read).map(|(records, bytes)| Sent { what: records.into(), bytes });
        Ok(Ok(sent))
    }

    /// Opens what is visible for a full push; its header is this.
    pub fn open_export(&mut self, header: &SnapshotHeader) -> Checked {
        self.real.as_mut().map_or(Ok(()), |real| real.export(header.transfer, header))
    }

    /// The bytes of its next piece, or of all that is left.
    pub fn export_piece(&mut self, transfer: u64, last: bool) -> ReadOutcome<Vec<bytes::Bytes>> {
        self.real.as_mut().map_or(Ok(Ok(Vec::new())), |real| real.piece(transfer, last))
    }

    /// It is no longer needed.
    pub fn close_export(&mut self, transfer: u64) {
        if let Some(real) = &mut self.real {
            real.close_export(transfer);
        }
    }
}

impl RealStore {
    fn carry_out(
        &mut self,
        model: &mut Disk,
        job: Job,
        accepts: bool,
        made: &mut Vec<Record>,
    ) -> Result<Completed, Violation> {
        let fails = model.fail_next.take();
        self.arm(fails.map_or(0, |kept| 1 + u64::from(kept % 3)), model.full);
        let outcome = self.work(&job, accepts)?;
        self.arm(0, model.full);
        match outcome.failure() {
            None => {
                // A job without so many syncs: it will be the next one's first.
                model.fail_next = fails.map(|_| 0);
                self.done(model, &job, accepts, &outcome, made)?;
            }
            Some(failure) if failure.full => {
                self.context.count("store: disk full in a job");
                self.refused(model, &job)?;
            }
            Some(failure) => {
                let mistaken = failure.reason.starts_with("refused, nothing was changed");
                Invariant::Contract.check(!mistaken, || format!("{job:?}: {}", failure.reason))?;
                self.context.count("store: closed by a failure");
                model.closed = true;
                self.doubt.get_or_insert(UncertainJob { job, accepts });
                return Ok(outcome);
            }
        }
        self.compare(model)?;
        self.tidy(model)?;
        model.real_floor = self.store()?.log_floor();
        Ok(outcome)
    }

    /// The store has done it: so does the model, and they must tell the same.
    fn done(
        &mut self,
        model: &mut Disk,
        job: &Job,
        accepts: bool,
        outcome: &Completed,
        made: &mut Vec<Record>,
    ) -> Checked {
        if let Job::Reopen(_) = job {
            self.context.count("store: opened again");
            let found = self.peek()?;
            self.settle(model, &found, made)?;
            model.crash();
            return self.content(model);
        }
        if let Job::Quarantine(order) = job {
            let quarantined = self.quarantined()?;
            let before = std::mem::replace(&mut self.diverged, quarantined);
            self.set_aside(model, order.job.common, &before)?;
        }
        let expected = model.done(job.clone(), accepts, made);
        let same = same_outcome(outcome.completion(), expected.completion());
        Invariant::SameContent.check(same, || format!("the store says {outcome:?} and the model {expected:?}"))?;
        if matches!(outcome.completion(), Completion::StagingFinished(Ok(StagingReceipt::Switched { .. }))) {
            self.context.count("store: switched to a snapshot");
            self.content(model)?;
        }
        Ok(())
    }

    /// The disk was full: nothing was done, but for the first half of what is done in two.
    fn refused(&mut self, model: &mut Disk, job: &Job) -> Checked {
        match job {
            Job::BeginStaging(_) | Job::StagePieces(_) | Job::FinishStaging(_) => model.staging = None,
            Job::BeginEra(order) => {
                let found = self.peek()?.durable_state;
                if found == *order.job.state {
                    self.context.count("store: disk full between durable state and era");
                    model.durable_state = found;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the store does by itself now and then.
    fn tidy(&mut self, model: &mut Disk) -> Checked {
        if !self.random.percent(MAINTAIN_PERCENT) {
            return Ok(());
        }
        match self.maintain()? {
            Ok(()) => self.compare(model).and_then(|()| self.content(model)),
            Err(failure) if failure.full => self.compare(model),
            Err(failure) => Err(violation(format!("tidying up failed without a fault: {failure:?}"))),
        }
    }

    /// The store is opened: what it holds must be what was there, and of the job that was under way what the model allows.
    fn come_back(&mut self, model: &mut Disk, crashed: bool, made: &mut Vec<Record>) -> Checked {
        self.context.count(if crashed { "store: recovered from a power cut" } else { "store: opened after a stop" });
        let found = self.recover(crashed)?;
        self.settle(model, &found, made)?;
        model.crash();
        model.real_floor = self.store()?.log_floor();
        self.compare(model)?;
        self.content(model)
    }

    /// Finds out what became of a job in doubt, and brings the model there.
    fn settle(&mut self, model: &mut Disk, found: &Recovered, made: &mut Vec<Record>) -> Checked {
        let doubt = self.doubt.take();
        let quarantined = self.quarantined()?;
        let moved = quarantined != self.diverged;
        let before = std::mem::replace(&mut self.diverged, quarantined);
        let mut outcomes = outcomes(model, doubt.as_ref());
        let fits = |(whole, after, _): &(bool, Disk, Vec<Record>)| {
            let set_aside = *whole && matches!(doubt, Some(UncertainJob { job: Job::Quarantine(_), .. }));
            after.head.position == found.head && after.durable_state == found.durable_state && moved == set_aside
        };
        let Some(at) = outcomes.iter().position(fits) else {
            let durable_state = if model.durable_state == found.durable_state {
                "its durable state".into()
            } else {
                format!("{:?}", found.durable_state)
            };
            let held = model.head.position.revision;
            return Err(violation(format!(
                "{held} was there, {doubt:?} under way, and what is found is {} with {durable_state}, quarantine changed: {moved}",
                found.head.revision
            )));
        };
        if let Some(doubt) = &doubt {
            self.context.count(if at == 0 {
                "store: nothing of a job in doubt"
            } else {
                "store: a job in doubt is there"
            });
            if let Job::Quarantine(order) = &doubt.job
                && moved
            {
                self.set_aside(model, order.job.common, &before)?;
            }
        }
        let (_, after, records) = outcomes.swap_remove(at);
        *model = after;
        made.extend(records);
        let same = found.history == model.head.history;
        Invariant::SameContent.check(same, || format!("the store's history is {:?}", found.history))
    }

    fn quarantined(&self) -> Result<Vec<Diverged>, Violation> {
        let reader = self.reader()?;
        let read = catch_panic(|| reader.diverged())?;
        read.map_err(|error| violation(format!("reading the quarantine: {error}")))
    }

    /// Where both are.
    pub(super) fn compare(&mut self, model: &Disk) -> Checked {
        let (log_changes, roomy) = (self.options.log_changes, self.is_roomy());
        let store = self.store()?;
        let (head, history, floor) = (store.head(), store.history(), store.log_floor());
        let same = head == model.head.position && history == model.head.history;
        Invariant::SameContent
            .check(same, || format!("the store is at {head:?} and the model at {:?}", model.head.position))?;
        let reach = head.revision.seq.saturating_sub(log_changes).max(model.floor.position.revision.seq);
        Invariant::SameContent.check(floor <= head.revision && (!roomy || floor.seq <= reach), || {
            format!("the log reaches back to {floor} from {}, and should to {reach}", head.revision)
        })?;
        let snapshot = self.reader()?.snapshot();
        let shown = snapshot.revision();
        let digest = model.visible_position().map(|position| position.digest);
        Invariant::OneRevision.check(shown == model.visible && digest == Some(snapshot.digest()), || {
            format!("the store shows {shown} {:?} and the model {} {digest:?}", snapshot.digest(), model.visible)
        })
    }

    /// What readers see, entry for entry.
    fn content(&self, model: &Disk) -> Checked {
        let wrong = |what: String| Violation { invariant: Invariant::OneRevision, what: format!("the store: {what}") };
        let point = model.visible_point().ok_or_else(|| wrong(format!("{} is not held", model.visible)))?;
        let snapshot = self.reader()?.snapshot();
        let mut found = BTreeMap::new();
        let read = catch_panic(|| {
            for entry in snapshot.scan("") {
                let entry = entry?;
                let value = snapshot.get(&entry.key)?;
                found.insert(entry.key.as_str().to_owned(), value.map(|value| (value, entry.secret)));
            }
            Ok::<_, crate::store::ReadError>(found)
        })?;
        let found = read.map_err(|error| wrong(format!("{} cannot be read: {error}", model.visible)))?;
        let expected = point.state.entries.iter().map(|(key, value)| (key_of(*key), Some(value_of(*value))));
        let same = found == expected.collect() && snapshot.history() == point.history;
        Invariant::OneRevision.check(same, || format!("the store shows {} with other content", model.visible))
    }

    /// 9: the quarantine has everything after `common` that can still be undone, and what it had.
    fn set_aside(&self, model: &Disk, common: Revision, before: &[Diverged]) -> Checked {
        self.context.count("store: quarantined");
        let lost =
            |what: String| Violation { invariant: Invariant::NothingOfRefused, what: format!("the store: {what}") };
        let expected = Expected::new(model, common.seq);
        for kept in before {
            let replaced = expected.eras.iter().any(|(epoch, from, _)| (*epoch, *from) == (kept.epoch, kept.from));
            let there = replaced || self.diverged.contains(kept);
            Invariant::NothingOfRefused.check(there, || format!("the store: quarantine {} is gone", kept.id))?;
        }
        let undone = model.head.position.revision.seq - self.options.log_changes.min(model.head.position.revision.seq);
        let reach = match self.is_roomy() {
            true => undone.max(self.confirmed.seq).max(model.floor.position.revision.seq),
            // How far undo images reach depends on their bytes.
            false => u64::MAX,
        };
        for (epoch, from, to) in &expected.eras {
            let found =
                self.diverged.iter().rev().find(|found| (found.epoch, found.from, found.to) == (*epoch, *from, *to));
            let found = found.ok_or_else(|| lost(format!("{from} to {to} is not in quarantine")))?;
            expected.check((from.seq, to.seq), reach, &found.changes).map_err(lost)?;
        }
        Ok(())
    }
}

/// What should be in quarantine.
struct Expected {
    /// Epoch, first and last revision of each lost stretch.
    eras: Vec<(Epoch, Revision, Revision)>,
    /// Changes of the log: when, which entry, what was before and after.
    changes: Vec<(u64, u8, Option<u64>, Option<u64>)>,
}

impl Expected {
    fn new(model: &Disk, common: u64) -> Self {
        let mut eras: Vec<(Epoch, Revision, Revision)> = Vec::new();
        for seq in common + 1..=model.head.position.revision.seq {
            let Some(epoch) = model.head.history.epoch_of(seq) else { continue };
            let revision = Revision::new(epoch, seq);
            match eras.last_mut() {
                Some((last, _, to)) if *last == epoch => *to = revision,
                _ => eras.push((epoch, revision, revision)),
            }
        }
        let mut entries = model.floor.state.entries.clone();
        let mut changes = Vec::new();
        for record in &model.log {
            let RecordBody::Set(change) = record.content else { continue };
            let before = match change.value {
                Some(value) => entries.insert(change.key, value),
                None => entries.remove(&change.key),
            };
            changes.push((record.position.revision.seq, change.key, before, change.value));
        }
        Self { eras, changes }
    }

    /// Each change set after `reach` is in it, and nothing else is.
    fn check(&self, (from, to): (u64, u64), reach: u64, found: &[DivergedChange]) -> Result<(), String> {
        type Changes = Vec<(u64, Option<u64>, Option<u64>)>;
        let mut keys: BTreeMap<u8, Changes> = BTreeMap::new();
        for (seq, key, before, after) in self.changes.iter().filter(|(seq, ..)| (from..=to).contains(seq)) {
            keys.entry(*key).or_default().push((*seq, *before, *after));
        }
        let is = |bytes: &Option<bytes::Bytes>, value: Option<u64>| *bytes == value.map(|value| value_of(value).0);
        for (key, changes) in keys {
            let needed = changes.iter().any(|(seq, ..)| *seq > reach);
            match found.iter().find(|found| found.key.as_str() == key_of(key)) {
                None if needed => return Err(format!("{} of {from} to {to} is not in quarantine", key_of(key))),
                None => {}
                Some(found) => {
                    let exact = reach < from;
                    let old = changes.iter().position(|(_, before, _)| is(&found.old, *before));
                    let new = changes.last().is_some_and(|(_, _, after)| is(&found.new, *after));
                    let right = new && old.is_some_and(|at| at == 0 || !exact);
                    if !right && self.is_known(from) {
                        return Err(format!("{} is in quarantine with other values", key_of(key)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the model knows everything from this change set on.
    fn is_known(&self, from: u64) -> bool {
        self.changes.first().is_some_and(|(seq, ..)| *seq <= from)
    }
}

/// What a job in doubt may have led to, and the records that were made: nothing first. The flag says that it is not nothing.
fn outcomes(model: &Disk, doubt: Option<&UncertainJob>) -> Vec<(bool, Disk, Vec<Record>)> {
    let mut all = vec![(false, model.clone(), Vec::new())];
    let Some(UncertainJob { job, accepts }) = doubt else { return all };
    let mut also = |job: Job| {
        let (mut after, mut made) = (model.clone(), Vec::new());
        after.done(job, *accepts, &mut made);
        all.push((true, after, made));
    };
    match job {
        Job::StoreState(_) | Job::Quarantine(_) => also(job.clone()),
        Job::BeginEra(order) => {
            let state = order.job.state.clone();
            also(Job::StoreState(order.clone().map(|_| StoreState { state, purpose: StatePurpose::StepDown })));
            also(job.clone());
        }
        Job::AppendGroup(order) => (1..=order.job.change_sets.len()).for_each(|n| {
            let mut part = order.clone();
            part.job.change_sets.truncate(n);
            also(Job::AppendGroup(part));
        }),
        Job::AppendRecords(order) if *accepts || !changes(&order.job.frames) => {
            let records: Vec<Record> = order.job.frames.iter().flat_map(|piece| piece.iter().copied()).collect();
            (1..=records.len()).for_each(|n| {
                let frames = vec![Sent::modelled(records[..n].to_vec())];
                also(Job::AppendRecords(order.clone().map(|_| AppendRecords { frames })));
            });
        }
        Job::FinishStaging(_) if *accepts && model.staging.is_some() => also(job.clone()),
        _ => {}
    }
    all
}

/// Whether the store and the model tell the same of a job.
fn same_outcome(real: &Completion, model: &Completion) -> bool {
    use Completion as C;
    use RecordsReceipt as R;
    match (real, model) {
        (C::GroupAppended(_, Ok(real)), C::GroupAppended(_, Ok(model))) => {
            let plain = |verdicts: &[(_, Result<Revision, _>)]| -> Vec<Option<Revision>> {
                verdicts.iter().map(|(_, verdict)| verdict.as_ref().ok().copied()).collect()
            };
            plain(&real.verdicts) == plain(&model.verdicts)
        }
        (C::RecordsAppended(Ok(real)), C::RecordsAppended(Ok(model))) => match (real, model) {
            (R::Appended { eras: real, .. }, R::Appended { eras: model, .. }) => real == model,
            (R::Rejected { at: real, .. }, R::Rejected { at: model, .. }) => real == model,
            (R::Mismatch { head: real }, R::Mismatch { head: model }) => real == model,
            _ => false,
        },
        (C::StagingFinished(Ok(real)), C::StagingFinished(Ok(model))) => {
            std::mem::discriminant(real) == std::mem::discriminant(model)
        }
        (real, model) => std::mem::discriminant(real) == std::mem::discriminant(model),
    }
}
