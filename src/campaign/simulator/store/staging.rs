//! A snapshot that the model of a store receives.

use std::collections::BTreeMap;

use super::records::{SnapshotItem, State, bucket_of, key_of};
use crate::model::{History, Key, Position};
use crate::protocol::engine::StagedBefore;
use crate::protocol::wire::{ResumePoint, SnapshotHeader};

/// A snapshot that is being received, or was cut.
#[derive(Clone, Debug)]
pub struct Staging {
    header: SnapshotHeader,
    state: State,
    /// Without any entry.
    empty: State,
    /// How much is staged.
    point: Option<ResumePoint>,
    /// The source has not said yet whether it goes on there.
    offered: bool,
    /// What a crash leaves.
    kept: Option<(State, ResumePoint)>,
    comparison: Comparison,
}

/// Whether only what differs from a complete copy is sent.
#[derive(Clone, Debug)]
enum Comparison {
    /// The whole snapshot is sent.
    No,
    /// The source has not said which buckets differ from this copy.
    Offered(State),
    /// Own entries in the buckets that differ and that the source has not named; a bit for each that it has named and that is
    /// missing here, and how many it has named.
    Under { left: BTreeMap<u8, u64>, wants: Vec<u8>, named: usize },
    /// Too much differs.
    GivenUp,
    /// What differs is known.
    Known,
}

impl Staging {
    /// Begins a snapshot. What was staged before stays until the source says whether it goes on there. Where there is nothing, and a
    /// complete copy, it is compared.
    pub fn begin(before: Option<Self>, header: SnapshotHeader, empty: State, base: Option<State>) -> Self {
        match before.filter(|before| before.point.is_some()) {
            Some(before) => Self { header, offered: true, ..before },
            None => {
                let comparison = base.map_or(Comparison::No, Comparison::Offered);
                Self { header, state: empty.clone(), empty, point: None, offered: false, kept: None, comparison }
            }
        }
    }

    /// What a store was found to hold after a crash.
    pub fn found(state: State, empty: State, point: ResumePoint) -> Self {
        let (position, history) = (Position::NONE, History::default());
        let header = SnapshotHeader { transfer: 0, position, history, chain: 0, entries: 0, bytes: 0 };
        let kept = Some((state.clone(), point.clone()));
        Self { header, state, empty, point: Some(point), offered: false, kept, comparison: Comparison::No }
    }

    /// What there was when it began. The digests of the buckets are the entries themselves here.
    pub fn before(&self) -> StagedBefore {
        match (&self.point, &self.comparison) {
            (Some(point), _) => StagedBefore::Part(Box::new(point.clone())),
            (None, Comparison::Offered(base)) => StagedBefore::Base(base_of(&base.entries)),
            (None, _) => StagedBefore::Nothing,
        }
    }

    /// This is the complete copy with which it is compared.
    pub fn compare_with(&mut self, base: State) {
        if let Comparison::Offered(offered) = &mut self.comparison {
            *offered = base;
        }
    }

    /// The whole snapshot comes after all.
    pub fn begin_whole(&mut self) {
        (self.state, self.point, self.kept, self.comparison) = (self.empty.clone(), None, None, Comparison::No);
    }

    fn drop_offered(&mut self) {
        if std::mem::take(&mut self.offered) {
            self.begin_whole();
        }
    }

    /// Stages an item. Returns what is wanted, after the last of the hashes.
    pub fn stage(&mut self, item: &SnapshotItem) -> Option<Vec<u8>> {
        let revision = self.header.position.revision;
        match (item, &mut self.point) {
            (SnapshotItem::Continue { after, from }, Some(point))
                if self.offered && (&point.after, &point.from) == (after, from) =>
            {
                self.offered = false;
                point.upto = revision;
                return None;
            }
            _ => self.drop_offered(),
        }
        match item {
            SnapshotItem::Entry(key, value) => self.entry(*key, *value),
            SnapshotItem::Delete(key) => self.state.apply(*key, None),
            SnapshotItem::Continue { .. } => {}
            SnapshotItem::Compare(None) => self.comparison = Comparison::GivenUp,
            SnapshotItem::Compare(Some(buckets)) => {
                if let Comparison::Offered(base) = std::mem::replace(&mut self.comparison, Comparison::No) {
                    self.state = base;
                    let mut left = self.state.entries.clone();
                    left.retain(|key, _| buckets.contains(&bucket_of(*key)));
                    left.keys().for_each(|key| self.state.apply(*key, None));
                    self.comparison = Comparison::Under { left, wants: Vec::new(), named: 0 };
                }
            }
            SnapshotItem::Hashes(named) => return self.hashes(named),
        }
        None
    }

    fn entry(&mut self, key: u8, value: u64) {
        let revision = self.header.position.revision;
        self.state.apply(key, Some(value));
        if matches!(self.comparison, Comparison::Known) {
            return;
        }
        // A whole snapshot, although a comparison was offered.
        self.comparison = Comparison::No;
        let Ok(after) = Key::new(key_of(key)) else { return };
        if self.point.as_ref().is_none_or(|point| point.after < after) {
            self.point = Some(ResumePoint { after, from: revision, upto: revision });
        }
    }

    fn hashes(&mut self, hashes: &[(u8, u64)]) -> Option<Vec<u8>> {
        if matches!(self.comparison, Comparison::GivenUp) && hashes.is_empty() {
            self.begin_whole();
            return Some(Vec::new());
        }
        let Comparison::Under { left, wants, named } = &mut self.comparison else { return None };
        for (key, value) in hashes {
            if named.is_multiple_of(8) {
                wants.push(0);
            }
            if left.get(key) == Some(value) {
                self.state.apply(*key, Some(*value));
            } else if let Some(byte) = wants.last_mut() {
                *byte |= 1 << (*named % 8);
            }
            *named += 1;
        }
        if !hashes.is_empty() {
            return None;
        }
        let wants = if wants.is_empty() { vec![0] } else { std::mem::take(wants) };
        self.comparison = Comparison::Known;
        Some(wants)
    }

    /// A crash leaves what is staged now.
    pub fn keep(&mut self) {
        self.kept = self.point.clone().map(|point| (self.state.clone(), point));
    }

    /// What a crash left.
    pub fn after_crash(self) -> Option<Self> {
        let (state, point) = self.kept.clone()?;
        Some(Self { state, point: Some(point), offered: false, comparison: Comparison::No, ..self })
    }

    /// All items came.
    pub fn finish(mut self) -> (SnapshotHeader, State) {
        self.drop_offered();
        (self.header, self.state)
    }
}

/// Entries as the digests of buckets, for stores without real ones.
fn base_of(entries: &BTreeMap<u8, u64>) -> Vec<u8> {
    entries.iter().flat_map(|(key, value)| std::iter::once(*key).chain(value.to_le_bytes())).collect()
}

/// The entries of such digests.
pub fn entries_of(base: &[u8]) -> BTreeMap<u8, u64> {
    let entry = |bytes: &[u8; 9]| (bytes[0], bytes[1..].iter().rfold(0, |value, byte| value << 8 | u64::from(*byte)));
    base.as_chunks::<9>().0.iter().map(entry).collect()
}
