//! What the writer and the readers share: the visible view, the versions that wait to become visible, and those that
//! wait to be applied to the state. No lock here is ever held over a sync.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::OrdMap;

use super::log::{Cursor, Log, RecordsRead, SharedIndex};
use super::node_file::NodeFile;
use super::staging::Export;
use super::state::Base;
use super::view::{Version, View};
use super::{Diverged, ReadError, Snapshot};
use crate::model::limits::{OVERLAY_BYTES_MAX, OVERLAY_ENTRIES_MAX};
use crate::model::{Key, Revision};
use crate::protocol::wire::SnapshotHeader;

/// Reads beside the writer; never waits for it. Clones share.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) view: ArcSwap<View>,
    queue: Mutex<Queue>,
    pub(super) index: ArcSwap<SharedIndex>,
    pub(super) node: ArcSwap<NodeFile>,
    confirmed: Mutex<Revision>,
}

/// Everything that is in the log and not yet in the state, in order.
#[derive(Default)]
pub(super) struct Queue {
    /// Durable and not visible.
    pub(super) unpublished: VecDeque<Version>,
    /// Visible and not in the state.
    pub(super) visible: VecDeque<Version>,
    /// Changes in `visible`, and bytes of keys and values.
    changes: usize,
    bytes: u64,
}

impl Queue {
    /// The oldest visible versions, up to the bounds of one round of maintenance; one at the least.
    pub(super) fn round(&self) -> Vec<Version> {
        let (mut changes, mut bytes) = (0, 0);
        let fits = |version: &&Version| {
            let before = (changes, bytes);
            changes += version.changes.len();
            bytes += weight(version);
            before == (0, 0) || (changes <= OVERLAY_ENTRIES_MAX && bytes <= OVERLAY_BYTES_MAX as u64)
        };
        self.visible.iter().take_while(fits).cloned().collect()
    }

    fn show(&mut self, mut version: Version) {
        // What the view needs of the overlay it has; here only the changes count.
        version.overlay = OrdMap::new();
        self.changes += version.changes.len();
        self.bytes += weight(&version);
        self.visible.push_back(version);
    }

    fn applied(&mut self, versions: usize) {
        for version in self.visible.drain(..versions.min(self.visible.len())) {
            self.changes -= version.changes.len();
            self.bytes -= weight(&version);
        }
    }
}

fn weight(version: &Version) -> u64 {
    let bytes = |change: &super::view::Applied| {
        change.key.as_bytes().len() as u64 + change.entry.as_ref().map_or(0, |entry| entry.bytes)
    };
    version.changes.iter().map(bytes).sum()
}

impl Shared {
    pub(super) fn new(view: View, index: Arc<SharedIndex>, node: NodeFile) -> Self {
        Self {
            view: ArcSwap::from_pointee(view),
            queue: Mutex::new(Queue::default()),
            index: ArcSwap::new(index),
            node: ArcSwap::from_pointee(node),
            confirmed: Mutex::new(Revision::NONE),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Durable versions that wait to become visible.
    pub(super) fn enqueue(&self, versions: Vec<Version>) {
        self.queue().unpublished.extend(versions);
    }

    /// Replaces everything: this view is visible, these versions of it are not in the state yet.
    pub(super) fn replace(&self, view: View, versions: Vec<Version>) {
        let mut queue = self.queue();
        *queue = Queue::default();
        versions.into_iter().for_each(|version| queue.show(version));
        self.view.store(Arc::new(view));
    }

    /// The state has moved on by so many versions: views stand on it from now on.
    pub(super) fn rebase(&self, base: &Arc<Base>, versions: usize, tip: &mut View) {
        tip.rebase(base.clone());
        let mut queue = self.queue();
        queue.applied(versions);
        if let Some(last) = queue.unpublished.back_mut()
            && last.meta.revision == tip.meta.revision
        {
            last.overlay = tip.overlay.clone();
        }
        let mut view = View::clone(&self.view.load());
        view.rebase(base.clone());
        self.view.store(Arc::new(view));
    }

    pub(super) fn confirmed(&self) -> Revision {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is visible and not in the state is beyond the bounds by this factor.
    pub(super) fn is_behind(&self, factor: usize) -> bool {
        let queue = self.queue();
        queue.changes >= factor * OVERLAY_ENTRIES_MAX || queue.bytes >= (factor * OVERLAY_BYTES_MAX) as u64
    }
}

impl Reader {
    /// What is visible now. Never blocks on a writer.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.view.load_full())
    }

    /// Makes durable change sets visible up to here, in memory and at once; returns the keys that changed, by revision,
    /// for watchers. Eras become visible too and have no keys.
    pub fn publish(&self, upto: Revision) -> Vec<(Revision, Vec<Key>)> {
        let mut queue = self.0.queue();
        let mut changed = Vec::new();
        let mut last = None;
        while queue.unpublished.front().is_some_and(|version| version.meta.revision <= upto) {
            let Some(version) = queue.unpublished.pop_front() else { break };
            if !version.changes.is_empty() {
                let keys = version.changes.iter().map(|change| change.key.clone()).collect();
                changed.push((version.meta.revision, keys));
            }
            last = Some(version.clone());
            queue.show(version);
        }
        if let Some(version) = last {
            let before = self.0.view.load();
            let (base, keys) = (before.base.clone(), before.keys.clone());
            self.0.view.store(Arc::new(View { meta: version.meta, overlay: version.overlay, base, keys }));
        }
        changed
    }

    /// The peer durably holds everything up to here: what was kept to undo it goes with the next maintenance.
    pub fn confirm(&self, upto: Revision) {
        let mut confirmed = self.0.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        *confirmed = upto.max(*confirmed);
    }

    /// Whether [`super::Store::maintain`] should run now.
    pub fn wants_maintenance(&self) -> bool {
        self.0.is_behind(1) || Log::is_pinned(&self.0.index.load(), self.0.view.load().base.meta.end)
    }

    /// Reads whole durable records after `after` and up to `upto`, at most `max_bytes` (one record at the least).
    ///
    /// A change set may be larger than that. Then `last` stays before it, and the next call must give back `next` as
    /// `cursor` together with the same `after`: it goes on behind what was read. Without a cursor, or with that of
    /// another position, reading begins right after `after`. `None`: the log does not reach there, or never had it.
    ///
    /// # Errors
    /// The disk failed, or the log is damaged there.
    pub fn records_after(
        &self,
        after: Revision,
        cursor: Option<Cursor>,
        upto: Revision,
        max_bytes: usize,
    ) -> Result<Option<RecordsRead>, ReadError> {
        self.0.index.load().read(after, cursor, upto, max_bytes)
    }

    /// Opens what is visible now for a full push (`transfer` of the header is as given).
    ///
    /// # Errors
    /// None now; a later failure is told by [`Export::next`].
    pub fn export(&self, transfer: u64) -> Result<(SnapshotHeader, Export), ReadError> {
        let view = self.0.view.load_full();
        let header = SnapshotHeader {
            transfer,
            position: view.meta.position(),
            history: view.meta.history.as_ref().clone(),
            chain: view.meta.chain,
            entries: view.meta.entries,
            bytes: view.meta.bytes,
        };
        Ok((header, Export::new(view)))
    }

    /// What is in quarantine, oldest first.
    ///
    /// # Errors
    /// The disk failed.
    pub fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        self.0.node.load().diverged()
    }

    /// A local entry.
    ///
    /// # Errors
    /// The disk failed.
    pub fn local(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        self.0.node.load().local(key)
    }

    /// Keys of local entries with this prefix, in order.
    ///
    /// # Errors
    /// The disk failed.
    pub fn local_keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        self.0.node.load().local_keys(prefix)
    }
}
