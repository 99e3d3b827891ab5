//! What the writer shares with the readers: the visible view, and the versions that wait to become visible or to be moved to
//! the state. No lock here is held during a sync.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::log::LogIndex;
use super::mutants::{Mutant, is_active};
use super::node_file::NodeFile;
use super::overlay::Overlay;
use super::state::StateSnapshot;
use super::version::{AppliedChange, Summary};
use super::view::{Version, View};
use crate::model::{Key, Revision};

/// What the writer shares with the readers.
pub(super) struct Publication {
    pub(super) view: ArcSwap<View>,
    pub(super) log_index: ArcSwap<LogIndex>,
    pub(super) node_file: ArcSwap<NodeFile>,
    queue: Mutex<VersionQueue>,
    /// The peer has every change set up to here.
    confirmed: Mutex<Revision>,
}

/// The versions that the log has and the state does not, in order.
#[derive(Default)]
pub(super) struct VersionQueue {
    /// Durable, not visible.
    pub(super) unpublished: VecDeque<Version>,
    /// Visible, not in the state.
    pub(super) visible: VecDeque<Version>,
    /// Memory that the changes in `visible` take, about.
    memory: u64,
    /// The last import. The state has it, and all that came before.
    imported: Option<Revision>,
    /// Imports that are not visible yet, each with the state that it made.
    replacements: VecDeque<(Revision, Arc<StateSnapshot>)>,
}

/// What a checkpoint moves: the changes of all versions that are visible.
pub(super) struct Frozen {
    /// Number of the versions.
    pub(super) versions: usize,
    pub(super) changes: Vec<Arc<AppliedChange>>,
    /// The configuration after them. `None` if there is no version.
    pub(super) upto: Option<Summary>,
}

impl VersionQueue {
    /// Whether the state has this version, because an import came after it or is it.
    pub(super) fn is_superseded(&self, version: &Version) -> bool {
        let revision = version.summary.revision;
        self.imported.is_some_and(|imported| revision.seq < imported.seq || revision == imported)
    }

    /// The state that this version made, if it is the next import.
    fn take_replacement(&mut self, version: &Version) -> Option<Arc<StateSnapshot>> {
        let (revision, _) = self.replacements.front()?;
        if *revision != version.summary.revision {
            return None;
        }
        self.replacements.pop_front().map(|(_, state)| state)
    }

    fn push_visible(&mut self, mut version: Version) {
        if self.is_superseded(&version) {
            return;
        }
        // The visible view has the overlay. Here it would only keep memory.
        version.overlay = Overlay::default();
        self.memory += version.memory();
        self.visible.push_back(version);
    }

    fn remove_applied(&mut self, versions: usize) {
        for version in self.visible.drain(..versions.min(self.visible.len())) {
            self.memory -= version.memory();
        }
    }
}

impl Publication {
    pub(super) fn new(view: View, log_index: Arc<LogIndex>, node_file: NodeFile) -> Self {
        Self {
            view: ArcSwap::from_pointee(view),
            log_index: ArcSwap::new(log_index),
            node_file: ArcSwap::from_pointee(node_file),
            queue: Mutex::new(VersionQueue::default()),
            confirmed: Mutex::new(Revision::NONE),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, VersionQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds durable versions that are to become visible.
    pub(super) fn enqueue(&self, versions: Vec<Version>) {
        self.queue().unpublished.extend(versions);
    }

    /// Adds an import that is to become visible. `state`, under the log from now on, has it and all that came before.
    pub(super) fn enqueue_import(&self, import: Version, state: Arc<StateSnapshot>) {
        let mut queue = self.queue();
        let imported = import.summary.revision;
        let (mut unpublished, mut replacements) =
            (std::mem::take(&mut queue.unpublished), std::mem::take(&mut queue.replacements));
        unpublished.push_back(import);
        replacements.push_back((imported, state));
        *queue = VersionQueue { imported: Some(imported), unpublished, replacements, ..VersionQueue::default() };
    }

    /// Makes durable versions up to this revision visible. Returns the keys that they changed; none for an import, which may
    /// have changed all of them.
    pub(super) fn publish(&self, upto: Revision) -> Vec<(Revision, Vec<Key>)> {
        let mut queue = self.queue();
        let mut changed = Vec::new();
        let (mut last, mut replacement) = (None, None);
        while queue.unpublished.front().is_some_and(|version| version.summary.revision <= upto) {
            let Some(version) = queue.unpublished.pop_front() else { break };
            let imported = queue.take_replacement(&version);
            if imported.is_some() || !version.changes.is_empty() {
                let keys = version.changes.iter().map(|change| change.key.clone()).collect();
                changed.push((version.summary.revision, keys));
            }
            replacement = imported.or(replacement);
            last = Some(version.clone());
            queue.push_visible(version);
        }
        if let Some(Version { summary, overlay, .. }) = last {
            let before = self.view.load();
            let (state, keys) = (replacement.unwrap_or_else(|| before.state.clone()), before.keys.clone());
            self.view.store(Arc::new(View { summary, overlay, state, keys }));
        }
        changed
    }

    /// What would be visible if everything durable were.
    pub(super) fn durable_view(&self) -> Arc<View> {
        let queue = self.queue();
        let visible = self.view.load_full();
        let Some(Version { summary, overlay, .. }) = queue.unpublished.back().cloned() else { return visible };
        let imported = queue.replacements.back().map(|(_, state)| state.clone());
        let (state, keys) = (imported.unwrap_or_else(|| visible.state.clone()), visible.keys.clone());
        Arc::new(View { summary, overlay, state, keys })
    }

    /// Replaces everything by what recovery found: all of it is visible, or all up to a revision.
    pub(super) fn recovered(&self, tip: &View, mut versions: Vec<Version>, shown: Option<Revision>) {
        let visible =
            shown.map_or(versions.len(), |shown| versions.partition_point(|version| version.summary.revision <= shown));
        let withheld = versions.split_off(visible);
        let view = match versions.last() {
            _ if withheld.is_empty() => tip.clone(),
            Some(Version { summary, overlay, .. }) => {
                View { summary: summary.clone(), overlay: overlay.clone(), ..tip.clone() }
            }
            None => View::of_state(tip.state.clone(), &tip.keys),
        };
        self.replace(view, versions);
        self.enqueue(withheld);
    }

    /// Replaces everything: this view is visible, and these versions of it are not in the state yet.
    pub(super) fn replace(&self, view: View, versions: Vec<Version>) {
        let mut queue = self.queue();
        *queue = VersionQueue::default();
        versions.into_iter().for_each(|version| queue.push_visible(version));
        self.view.store(Arc::new(view));
    }

    /// A checkpoint begins to move what is visible to the state. `tip` is the view of the writer.
    pub(super) fn freeze(&self, tip: &mut View) -> Frozen {
        let mut queue = self.queue();
        if !queue.replacements.is_empty() {
            // What is visible is older than the state that an import has made. Nothing is to be moved until that is visible.
            return Frozen { versions: 0, changes: Vec::new(), upto: None };
        }
        let mut view = View::clone(&self.view.load());
        view.overlay = match is_active(Mutant::LoseOverlay) {
            true => Overlay::default(),
            false => view.overlay.freeze(),
        };
        let mut overlay = view.overlay.clone();
        for version in &mut queue.unpublished {
            version.changes.iter().for_each(|change| overlay.insert(change.clone()));
            version.overlay = overlay.clone();
        }
        tip.overlay = view.overlay.with_later(&tip.overlay, view.summary.revision.seq);
        self.view.store(Arc::new(view));
        Frozen {
            versions: queue.visible.len(),
            changes: queue.visible.iter().flat_map(|version| version.changes.iter().cloned()).collect(),
            upto: queue.visible.back().map(|version| version.summary.clone()),
        }
    }

    /// A checkpoint has moved this many versions to the state: puts all views on the new state. `tip` is the view of the
    /// writer.
    pub(super) fn thaw(&self, state: &Arc<StateSnapshot>, versions: usize, tip: &mut View) {
        let mut queue = self.queue();
        queue.remove_applied(versions);
        if !queue.replacements.is_empty() {
            // What is visible is older than the state that an import has made.
            tip.state = state.clone();
            return;
        }
        queue.unpublished.iter_mut().for_each(|version| version.overlay.drop_frozen());
        let mut view = View::clone(&self.view.load());
        for view in [&mut view, tip] {
            view.overlay.drop_frozen();
            view.state = state.clone();
        }
        self.view.store(Arc::new(view));
    }

    /// A checkpoint has failed and left the state as it was: puts all views on the state, which was opened again.
    pub(super) fn replace_state(&self, state: &Arc<StateSnapshot>, tip: &mut View) {
        let queue = self.queue();
        tip.state = state.clone();
        if queue.replacements.is_empty() {
            let mut view = View::clone(&self.view.load());
            view.state = state.clone();
            self.view.store(Arc::new(view));
        }
    }

    pub(super) fn confirm(&self, upto: Revision) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        *confirmed = upto.max(*confirmed);
    }

    pub(super) fn confirmed(&self) -> Revision {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory that what is visible and not in the state takes, about.
    pub(super) fn memory(&self) -> u64 {
        self.queue().memory
    }
}
