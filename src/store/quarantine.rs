//! What a former master changed and the new master never had: the keys of each lost epoch, before and after.

use std::collections::BTreeMap;

use super::node_file::{Lost, LostChange};
use super::shared::Shared;
use super::view::{EntryRef, ValueReader, View};
use super::{ReadError, view};
use crate::model::{Key, Revision};

/// What stood before one change.
struct Before {
    seq: u64,
    entry: Option<EntryRef>,
}

/// Everything after `common`, from undo images of the state and from what is not in it yet.
pub(super) fn collect(shared: &Shared, tip: &View, common: u64) -> Result<(Revision, Vec<Lost>), ReadError> {
    let changes = changes_after(shared, tip, common)?;
    let history = &tip.meta.history;
    let head = tip.meta.revision;
    let epoch_of = |seq| history.epoch_of(seq).unwrap_or(head.epoch);
    let from = Revision::new(epoch_of(common + 1), common + 1);
    let mut lost = Vec::new();
    let mut first = common + 1;
    while first <= head.seq {
        let epoch = epoch_of(first);
        let next =
            history.eras().iter().map(|era| era.first_seq).find(|start| *start > first && epoch_of(*start) != epoch);
        let last = next.map_or(head.seq, |next| (next - 1).min(head.seq));
        let mut found = Vec::new();
        for (key, befores) in &changes {
            let Some(at) = befores.iter().position(|before| (first..=last).contains(&before.seq)) else { continue };
            let after = befores[at..].iter().find(|before| before.seq > last);
            let new = match after {
                Some(before) => before.entry.clone(),
                None => tip.get(key.as_str())?,
            };
            found.push(change(tip, key, befores[at].entry.clone(), new));
        }
        lost.push(Lost { epoch, from: Revision::new(epoch, first), to: Revision::new(epoch, last), changes: found });
        first = last + 1;
    }
    Ok((from, lost))
}

/// For each key what was before each of its changes, oldest first.
fn changes_after(shared: &Shared, tip: &View, common: u64) -> Result<BTreeMap<Key, Vec<Before>>, ReadError> {
    let mut changes: BTreeMap<Key, Vec<Before>> = BTreeMap::new();
    for (seq, key, entry) in tip.base.undo_after(common)? {
        changes.entry(key).or_default().push(Before { seq, entry });
    }
    let queue = shared.queue();
    let versions: Vec<view::Version> = queue.visible.iter().chain(&queue.unpublished).cloned().collect();
    drop(queue);
    let mut current: BTreeMap<Key, Option<EntryRef>> = BTreeMap::new();
    for version in versions {
        let seq = version.meta.revision.seq;
        for change in version.changes.iter() {
            let before = match current.get(&change.key) {
                Some(entry) => entry.clone(),
                None => tip.base.get(change.key.as_str())?,
            };
            if seq > common {
                changes.entry(change.key.clone()).or_default().push(Before { seq, entry: before });
            }
            current.insert(change.key.clone(), change.entry.clone());
        }
    }
    Ok(changes)
}

fn change(tip: &View, key: &Key, old: Option<EntryRef>, new: Option<EntryRef>) -> LostChange {
    let secret = [&old, &new].into_iter().flatten().any(|entry| entry.secret);
    let open =
        |entry: EntryRef| ValueReader::new(tip.base.clone(), tip.keys.hasher(key, entry.bytes, entry.secret), entry);
    LostChange { key: key.clone(), secret, old: old.map(open), new: new.map(open) }
}
