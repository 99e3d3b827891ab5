//! Collects what a former master changed and the new master never had: for each epoch, the keys with their values before and
//! after.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::error::ReadError;
use super::publication::Publication;
use super::quarantine_tables::{ChangeToQuarantine, ToQuarantine};
use super::state::Undo;
use super::version::EntryRef;
use super::view::{Version, View, ViewEntries};
use crate::model::{Key, Revision};

/// The entry before one change.
struct UndoImage {
    /// Number of the change set.
    seq: u64,
    entry: Option<EntryRef>,
}

/// Collects all changes after `common`: from the undo images of the state, and from the versions that the state does not
/// have yet. Returns also the first change set.
pub(super) fn collect(
    publication: &Publication,
    tip: &View,
    common: u64,
) -> Result<(Revision, Vec<ToQuarantine>), ReadError> {
    let changes = changes_after(publication, tip, common)?;
    let history = &tip.summary.history;
    let head = tip.summary.revision;
    let epoch_of = |seq| history.epoch_of(seq).unwrap_or(head.epoch);
    let from = Revision::new(epoch_of(common + 1), common + 1);
    let mut epochs = Vec::new();
    let mut first = common + 1;
    while first <= head.seq {
        let epoch = epoch_of(first);
        let next =
            history.eras().iter().map(|era| era.first_seq).find(|start| *start > first && epoch_of(*start) != epoch);
        let last = next.map_or(head.seq, |next| (next - 1).min(head.seq));
        let mut found = Vec::new();
        for (key, images) in &changes {
            let Some(at) = images.iter().position(|image| (first..=last).contains(&image.seq)) else { continue };
            // The next change of a later epoch knows the entry as this epoch left it.
            let new = match images[at..].iter().find(|image| image.seq > last) {
                Some(image) => image.entry.clone(),
                None => tip.get(key.as_str())?,
            };
            found.push(change(tip, key, images[at].entry.clone(), new));
        }
        let (from, to) = (Revision::new(epoch, first), Revision::new(epoch, last));
        epochs.push(ToQuarantine { epoch, from, to, changes: found });
        first = last + 1;
    }
    Ok((from, epochs))
}

/// For each key, the undo images of its changes after `common`, oldest first.
fn changes_after(
    publication: &Publication,
    tip: &View,
    common: u64,
) -> Result<BTreeMap<Key, Vec<UndoImage>>, ReadError> {
    let mut changes: BTreeMap<Key, Vec<UndoImage>> = BTreeMap::new();
    for (seq, key, entry) in tip.state.undo_after(common)? {
        changes.entry(key).or_default().push(UndoImage { seq, entry });
    }
    let queue = publication.queue();
    let versions = queue.visible.iter().chain(&queue.unpublished).filter(|version| !queue.is_superseded(version));
    let versions: Vec<Version> = versions.cloned().collect();
    drop(queue);
    let mut current: BTreeMap<Key, Option<EntryRef>> = BTreeMap::new();
    for version in versions {
        let seq = version.summary.revision.seq;
        for change in version.changes.iter() {
            let before = match current.get(&change.key) {
                Some(entry) => entry.clone(),
                None => tip.state.get(change.key.as_str())?,
            };
            if seq > common {
                changes.entry(change.key.clone()).or_default().push(UndoImage { seq, entry: before });
            }
            current.insert(change.key.clone(), change.entry.clone());
        }
    }
    Ok(changes)
}

/// The undo images for the state that an import makes: of the changes that the peer is not known to have, and of the import
/// itself. Beyond `bytes_max` those of the import are left out, as undo images are wherever they are too many.
pub(super) fn before_import(
    publication: &Publication,
    tip: &View,
    imported: &View,
    seq: u64,
    confirmed: u64,
    bytes_max: u64,
) -> Result<Vec<Undo>, ReadError> {
    let mut undo = Vec::new();
    for (key, images) in changes_after(publication, tip, confirmed)? {
        undo.extend(images.into_iter().map(|image| (image.seq, key.clone(), image.entry)));
    }
    let (earlier, mut bytes) = (undo.len(), 0);
    let (mut old, mut new) = (ViewEntries::new(tip, ""), ViewEntries::new(imported, ""));
    let (mut was, mut is) = (old.next().transpose()?, new.next().transpose()?);
    loop {
        let order = match (&was, &is) {
            (None, None) => return Ok(undo),
            (Some((key, _)), Some((other, _))) => key.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        let left = if order.is_le() { std::mem::replace(&mut was, old.next().transpose()?) } else { None };
        let right = if order.is_ge() { std::mem::replace(&mut is, new.next().transpose()?) } else { None };
        let same = matches!((&left, &right), (Some((_, before)), Some((_, now))) if before.hash == now.hash);
        let key = left.as_ref().or(right.as_ref()).map(|(key, _)| key.clone());
        let Some(key) = key.filter(|_| !same) else { continue };
        let before = left.map(|(_, before)| before);
        bytes += key.as_bytes().len() as u64 + before.as_ref().map_or(0, |entry| entry.bytes);
        undo.push((seq, key, before));
        if bytes > bytes_max {
            undo.truncate(earlier);
            return Ok(undo);
        }
    }
}

fn change(tip: &View, key: &Key, old: Option<EntryRef>, new: Option<EntryRef>) -> ChangeToQuarantine {
    let secret = [&old, &new].into_iter().flatten().any(|entry| entry.secret);
    let open = |entry| tip.open(key, entry);
    ChangeToQuarantine { key: key.clone(), secret, old: old.map(open), new: new.map(open) }
}
