//! What the state does not have yet, in memory: two layers of changes by key. Clones share.
//!
//! A checkpoint moves the changes up to one revision to the state. While it runs they are `frozen`, and what comes later is
//! `recent`, so that neither its beginning nor its end costs more than the few changes that are not visible yet.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::version::AppliedChange;
use crate::model::Key;

type Layer = OrdMap<Key, Arc<AppliedChange>>;

/// The newest change of each key that the state may not have.
#[derive(Clone, Default)]
pub(super) struct Overlay {
    /// What came after the checkpoint under way began. It counts before `frozen`.
    recent: Layer,
    /// What the checkpoint under way moves to the state.
    frozen: Layer,
}

impl Overlay {
    /// The newest change of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Arc<AppliedChange>> {
        self.recent.get(key).or_else(|| self.frozen.get(key))
    }

    pub(super) fn insert(&mut self, change: Arc<AppliedChange>) {
        self.recent.insert(change.key.clone(), change);
    }

    /// The newest changes of the keys with this prefix from here on, in key order.
    pub(super) fn between(&self, prefix: &str, from: Bound<&str>) -> VecDeque<Arc<AppliedChange>> {
        let of = |layer: &Layer| -> Vec<Arc<AppliedChange>> {
            let later = layer.range::<_, str>((from, Bound::Unbounded));
            later.take_while(|(key, _)| key.as_str().starts_with(prefix)).map(|(_, change)| change.clone()).collect()
        };
        let mut found = of(&self.recent);
        if !self.frozen.is_empty() {
            found.extend(of(&self.frozen).into_iter().filter(|change| !self.recent.contains_key(change.key.as_str())));
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        found.into()
    }

    /// This overlay, all of which a checkpoint now moves to the state. What an earlier checkpoint could not move is moved too.
    pub(super) fn freeze(&self) -> Self {
        let mut frozen = self.frozen.clone();
        if frozen.is_empty() {
            frozen = self.recent.clone();
        } else {
            frozen.extend(self.recent.iter().map(|(key, change)| (key.clone(), change.clone())));
        }
        Self { recent: Layer::new(), frozen }
    }

    /// A later overlay: its changes after the change set `seq` over those that are frozen here.
    pub(super) fn with_later(&self, later: &Self, seq: u64) -> Self {
        let newer = later.recent.iter().filter(|(_, change)| change.seq > seq);
        Self { recent: newer.map(|(key, change)| (key.clone(), change.clone())).collect(), frozen: self.frozen.clone() }
    }

    /// The state has what was frozen.
    pub(super) fn drop_frozen(&mut self) {
        self.frozen = Layer::new();
    }
}
