//! A snapshot that the model of a store receives.

use super::records::{SnapshotItem, State, key_of};
use crate::model::{History, Key, Position};
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
}

impl Staging {
    /// Begins a snapshot. What was staged before stays until the source says whether it goes on there.
    pub fn begin(before: Option<Self>, header: SnapshotHeader, empty: State) -> Self {
        match before.filter(|before| before.point.is_some()) {
            Some(before) => Self { header, offered: true, ..before },
            None => Self { header, state: empty.clone(), empty, point: None, offered: false, kept: None },
        }
    }

    /// What a store was found to hold after a crash.
    pub fn found(state: State, empty: State, point: ResumePoint) -> Self {
        let (position, history) = (Position::NONE, History::default());
        let header = SnapshotHeader { transfer: 0, position, history, chain: 0, entries: 0, bytes: 0 };
        let kept = Some((state.clone(), point.clone()));
        Self { header, state, empty, point: Some(point), offered: false, kept }
    }

    /// How much is staged.
    pub fn point(&self) -> Option<&ResumePoint> {
        self.point.as_ref()
    }

    fn drop_offered(&mut self) {
        if std::mem::take(&mut self.offered) {
            (self.state, self.point, self.kept) = (self.empty.clone(), None, None);
        }
    }

    /// Stages an item.
    pub fn stage(&mut self, item: &SnapshotItem) {
        let revision = self.header.position.revision;
        match (item, &mut self.point) {
            (SnapshotItem::Continue { after, from }, Some(point))
                if self.offered && (&point.after, &point.from) == (after, from) =>
            {
                self.offered = false;
                point.upto = revision;
                return;
            }
            _ => self.drop_offered(),
        }
        match item {
            SnapshotItem::Entry(key, value) => {
                self.state.apply(*key, Some(*value));
                let Ok(after) = Key::new(key_of(*key)) else { return };
                if self.point.as_ref().is_none_or(|point| point.after < after) {
                    self.point = Some(ResumePoint { after, from: revision, upto: revision });
                }
            }
            SnapshotItem::Delete(key) => self.state.apply(*key, None),
            SnapshotItem::Continue { .. } => {}
        }
    }

    /// A crash leaves what is staged now.
    pub fn keep(&mut self) {
        self.kept = self.point.clone().map(|point| (self.state.clone(), point));
    }

    /// What a crash left.
    pub fn after_crash(self) -> Option<Self> {
        let (state, point) = self.kept.clone()?;
        Some(Self { state, point: Some(point), offered: false, ..self })
    }

    /// All items came.
    pub fn finish(mut self) -> (SnapshotHeader, State) {
        self.drop_offered();
        (self.header, self.state)
    }
}
