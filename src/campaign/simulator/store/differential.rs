//! Differential testing of the store: the real store and its model do the same jobs, and must hold the same afterwards.
//!
//! After a fault the real store decides how much of a job is there. The model must allow it: nothing, some of its change sets, or
//! all of it. The model then continues from there.

use std::collections::BTreeMap;

use super::job::{Job, has_change_sets};
use super::model::ModelStore;
use super::real::{RealStore, Recovered, UncertainJob, violation};
use super::records::{Record, RecordBody, Sent, State, key_of, value_of};
use super::staging::Staging;
use crate::campaign::violation::{Checked, Invariant, Violation, catch_panic};
use crate::model::{Epoch, Position, Revision};
use crate::protocol::engine::{
    AppendRecords, Completed, Completion, RecordsReceipt, StagedBefore, StagingReceipt, StatePurpose, StoreState,
};
use crate::protocol::wire::Role;
use crate::store::{Diverged, DivergedChange, DivergedValue, Snapshot};

/// After so many of a hundred jobs the store maintains itself.
const MAINTAIN_PERCENT: u64 = 25;

impl RealStore {
    /// Does a job on both.
    pub(super) fn execute(
        &mut self,
        model: &mut ModelStore,
        job: Job,
        accepts: bool,
        written: &mut Vec<Record>,
    ) -> Result<Completed, Violation> {
        let fails = model.faults.fail_next.take();
        self.arm(fails.map_or(0, |kept| 1 + u64::from(kept % 3)), model.faults.full);
        let outcome = self.work(&job, accepts)?;
        self.arm(0, model.faults.full);
        match outcome.failure() {
            None => {
                // The job had fewer syncs. The first one of the next job fails instead.
                model.faults.fail_next = fails.map(|_| 0);
                self.follow(model, &job, accepts, &outcome, written)?;
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
                self.uncertain.get_or_insert(UncertainJob { job, accepts });
                return Ok(outcome);
            }
        }
        self.compare(model)?;
        self.maintain_sometimes(model)?;
        model.real_floor = self.store()?.log_floor();
        Ok(outcome)
    }

    /// Writes a group to the log of the store. The model says what should be in it.
    pub(super) fn write(
        &mut self,
        model: &ModelStore,
        job: &Job,
        expected: Option<(Position, Vec<Record>)>,
    ) -> Result<Option<(Position, Sent<Record>)>, Violation> {
        self.arm(model.faults.fail_next.map_or(0, |kept| 1 + u64::from(kept % 3)), model.faults.full);
        let records = self.append(job)?;
        self.arm(0, model.faults.full);
        // A group with values in chunks may be more than is sent at once.
        Ok(expected.zip(records).map(|((head, items), bytes)| {
            self.context.count("store: a group was sent before it was durable");
            (head, Sent { items: items.into(), bytes: vec![bytes] })
        }))
    }

    /// The store has done a job. The model does it too, and its receipt must be the same.
    fn follow(
        &mut self,
        model: &mut ModelStore,
        job: &Job,
        accepts: bool,
        outcome: &Completed,
        written: &mut Vec<Record>,
    ) -> Checked {
        if let Job::Reopen(_) = job {
            self.context.count("store: opened again");
            let found = self.peek()?;
            let (before, least) = (model.visible, model.shown_at_start());
            self.reconcile(model, &found, written)?;
            model.crash();
            self.follow_shown(model, before, least)?;
            return self.compare_content(model);
        }
        if let Job::Quarantine(order) = job {
            let quarantined = self.quarantined()?;
            let before = std::mem::replace(&mut self.diverged, quarantined);
            self.set_aside(model, order.job.common, &before)?;
        }
        // What is compared is what the store has in its state.
        let mut base = None;
        if let Completion::StagingBegun(Ok(StagedBefore::Base(_))) = outcome.completion() {
            self.context.count("store: compared with a snapshot");
            let store = self.store()?;
            let applied = catch_panic(|| store.applied())?;
            base = Some(content(&applied, &State::new(model.floor.state.digests()))?);
        }
        let expected = model.apply(job.clone(), accepts, written);
        if let (Some(base), Some(staging)) = (base, &mut model.staging) {
            staging.compare_with(base);
        }
        if let Completion::PiecesStaged(Ok(receipt)) = outcome.completion()
            && receipt.wants.as_ref().is_some_and(Vec::is_empty)
            && let Some(staging) = &mut model.staging
        {
            // The state has moved on since it was compared.
            staging.begin_whole();
        }
        let same = same_outcome(outcome.completion(), expected.completion());
        Invariant::SameContent.check(same, || format!("the store says {outcome:?} and the model {expected:?}"))?;
        if matches!(outcome.completion(), Completion::StagingFinished(Ok(StagingReceipt::Switched { .. }))) {
            self.context.count("store: switched to a snapshot");
            self.compare_content(model)?;
        }
        Ok(())
    }

    /// The disk was full: nothing was done, except for the first half of a job that has two.
    fn refused(&mut self, model: &mut ModelStore, job: &Job) -> Checked {
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

    /// Maintains the store now and then.
    fn maintain_sometimes(&mut self, model: &mut ModelStore) -> Checked {
        if !self.random.percent(MAINTAIN_PERCENT) {
            return Ok(());
        }
        match self.maintain()? {
            Ok(()) => self.compare(model).and_then(|()| self.compare_content(model)),
            Err(failure) if failure.full => self.compare(model),
            Err(failure) => Err(violation(format!("tidying up failed without a fault: {failure:?}"))),
        }
    }

    /// Opens the store after a stop or a crash. It must hold what was there, and of the job under way what the model allows.
    pub(super) fn come_back(&mut self, model: &mut ModelStore, crashed: bool, written: &mut Vec<Record>) -> Checked {
        self.context.count(if crashed { "store: recovered from a power cut" } else { "store: opened after a stop" });
        let found = self.recover(crashed)?;
        let (before, least) = (model.visible, model.shown_at_start());
        self.reconcile(model, &found, written)?;
        model.crash();
        self.follow_shown(model, before, least)?;
        // How much of a full push a fault left is for the store to say. A wrong word shows when the push that goes on there is
        // verified.
        model.staging = self.staged(model)?;
        if model.staging.is_some() {
            self.context.count("store: a part of a full push is there after a start");
        }
        model.real_floor = self.store()?.log_floor();
        self.compare(model)?;
        self.compare_content(model)
    }

    /// What is visible after a start depends on how much of the last job is there, and on what was moved to the state. It is at most
    /// what was visible before, or what may be visible by now, and at least what might be before.
    fn follow_shown(&mut self, model: &mut ModelStore, before: Revision, least: Revision) -> Checked {
        let shown = self.reader()?.snapshot().revision();
        let most = if model.durable_state.role == Role::Master { shown } else { before.max(model.visible) };
        let right = shown <= most && shown >= least.min(model.visible);
        Invariant::OneRevision.check(right, || {
            format!("the store shows {shown} after its start, {before} before, and should from {least} to {most}")
        })?;
        model.visible = shown;
        Ok(())
    }

    /// Finds out how much of an uncertain job is there, and brings the model to that state.
    fn reconcile(&mut self, model: &mut ModelStore, found: &Recovered, written: &mut Vec<Record>) -> Checked {
        let uncertain = self.uncertain.take();
        let quarantined = self.quarantined()?;
        let moved = quarantined != self.diverged;
        let before = std::mem::replace(&mut self.diverged, quarantined);
        let mut outcomes = outcomes(model, uncertain.as_ref());
        let fits = |(whole, after, _): &(bool, ModelStore, Vec<Record>)| {
            let set_aside = *whole && matches!(uncertain, Some(UncertainJob { job: Job::Quarantine(_), .. }));
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
                "{held} was there, {uncertain:?} under way, and what is found is {} with {durable_state}, quarantine changed: {moved}",
                found.head.revision
            )));
        };
        if let Some(uncertain) = &uncertain {
            self.context.count(if at == 0 {
                "store: nothing of a job in doubt"
            } else {
                "store: a job in doubt is there"
            });
            if let Job::Quarantine(order) = &uncertain.job
                && moved
            {
                self.set_aside(model, order.job.common, &before)?;
            }
        }
        let (_, after, records) = outcomes.swap_remove(at);
        *model = after;
        written.extend(records);
        let same = found.history == model.head.history;
        Invariant::SameContent.check(same, || format!("the store's history is {:?}", found.history))
    }

    /// What the store has of a full push that was cut.
    fn staged(&mut self, model: &ModelStore) -> Result<Option<Staging>, Violation> {
        let store = self.store()?;
        let Some((point, snapshot)) = catch_panic(|| store.staged_part())? else { return Ok(None) };
        let empty = State::new(model.floor.state.digests());
        Ok(Some(Staging::found(content(&snapshot, &empty)?, empty, point)))
    }

    fn quarantined(&self) -> Result<Vec<Diverged>, Violation> {
        let reader = self.reader()?;
        let read = catch_panic(|| reader.diverged())?;
        read.map_err(|error| violation(format!("reading the quarantine: {error}")))
    }

    /// Positions, histories and what is visible must be the same.
    pub(super) fn compare(&mut self, model: &ModelStore) -> Checked {
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

    /// What readers see must be the same, entry by entry.
    pub(super) fn compare_content(&self, model: &ModelStore) -> Checked {
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

    /// 9: the quarantine has everything after `common` that can still be undone, and keeps what it had.
    fn set_aside(&self, model: &ModelStore, common: Revision, before: &[Diverged]) -> Checked {
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
    /// Epoch, first and last revision of each range of change sets.
    eras: Vec<(Epoch, Revision, Revision)>,
    /// Changes of the log: sequence number, key, value before and after.
    changes: Vec<(u64, u8, Option<u64>, Option<u64>)>,
}

impl Expected {
    fn new(model: &ModelStore, common: u64) -> Self {
        let mut eras: Vec<(Epoch, Revision, Revision)> = Vec::new();
        for seq in common + 1..=model.head.position.revision.seq {
            let Some(epoch) = model.head.history.epoch_of(seq) else {
                continue;
            };
            let revision = Revision::new(epoch, seq);
            match eras.last_mut() {
                Some((last, _, to)) if *last == epoch => *to = revision,
                _ => eras.push((epoch, revision, revision)),
            }
        }
        let mut entries = model.floor.state.entries.clone();
        let mut changes = Vec::new();
        for record in &model.log {
            let RecordBody::Set(change) = record.content else {
                continue;
            };
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
        let is =
            |found: &Option<DivergedValue>, value: Option<u64>| *found == value.map(|value| value_of(value).0.into());
        for (key, changes) in keys {
            let needed = changes.iter().any(|(seq, ..)| *seq > reach);
            match found.iter().find(|found| found.key.as_str() == key_of(key)) {
                None if needed => {
                    return Err(format!("{} of {from} to {to} is not in quarantine", key_of(key)));
                }
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

    /// Whether the model's log reaches back to this change set.
    fn is_known(&self, from: u64) -> bool {
        self.changes.first().is_some_and(|(seq, ..)| *seq <= from)
    }
}

/// The states to which an uncertain job may have led, each with the records that were written. The first is that nothing is
/// there; the flag tells the others from it.
fn outcomes(model: &ModelStore, uncertain: Option<&UncertainJob>) -> Vec<(bool, ModelStore, Vec<Record>)> {
    let mut all = vec![(false, model.clone(), Vec::new())];
    let Some(UncertainJob { job, accepts }) = uncertain else {
        return all;
    };
    let mut also = |job: Job| {
        let (mut after, mut written) = (model.clone(), Vec::new());
        after.apply(job, *accepts, &mut written);
        all.push((true, after, written));
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
        Job::AppendRecords(order) if *accepts || !has_change_sets(&order.job.frames) => {
            let records: Vec<Record> = order.job.frames.iter().flat_map(|piece| piece.iter().copied()).collect();
            (1..=records.len()).for_each(|n| {
                let frames = vec![Sent::modelled(records[..n].to_vec())];
                also(Job::AppendRecords(order.clone().map(|job| AppendRecords { frames, durable: job.durable })));
            });
        }
        Job::FinishStaging(_) if *accepts && model.staging.is_some() => also(job.clone()),
        _ => {}
    }
    all
}

/// The entries of a snapshot of the real store, as the model has them.
fn content(snapshot: &Snapshot, empty: &State) -> Result<State, Violation> {
    let mut state = empty.clone();
    for entry in snapshot.scan("") {
        let entry = entry.map_err(|error| violation(format!("reading a snapshot: {error}")))?;
        let value = snapshot.get(&entry.key).ok().flatten().unwrap_or_default();
        let key = entry.key.as_str().rsplit('/').next().and_then(|number| number.parse().ok());
        let number = value.first_chunk().copied().map(u64::from_le_bytes);
        let (Some(key), Some(number)) = (key, number) else {
            return Err(violation(format!("{:?} is there, and nobody wrote it", entry.key)));
        };
        state.apply(key, Some(number));
    }
    Ok(state)
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
        (C::StagingBegun(Ok(StagedBefore::Base(_))), C::StagingBegun(Ok(StagedBefore::Base(_)))) => true,
        (C::StagingBegun(Ok(real)), C::StagingBegun(Ok(model))) => real == model,
        (C::PiecesStaged(Ok(real)), C::PiecesStaged(Ok(model))) => {
            let moved_on = real.wants.as_ref().is_some_and(Vec::is_empty) && model.wants.is_some();
            real == model || moved_on
        }
        (C::StagingFinished(Ok(real)), C::StagingFinished(Ok(model))) => {
            std::mem::discriminant(real) == std::mem::discriminant(model)
        }
        (real, model) => std::mem::discriminant(real) == std::mem::discriminant(model),
    }
}
