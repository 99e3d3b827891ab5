//! What exports and imports must be: an export is one whole revision, and an import is one change set, whole or not at all.
//!
//! Every change set leaves a mark, and an import none: it replaces the marks by those of its export. So what is visible at a position
//! either has as many marks as the position has change sets, or it is some export with the marks of change sets after the import.

use std::collections::{BTreeMap, BTreeSet};

use super::backups::Kept;
use crate::campaign::violation::{Checked, Invariant};
use crate::model::{Digest, Revision};
use crate::store::ContentHash;

type Marks = BTreeSet<u64>;

/// What an export holds.
#[derive(Debug)]
struct Export {
    marks: Marks,
    hash: u64,
    digest: Digest,
    content: ContentHash,
}

/// The exports of a history, and the imports that operators asked for.
#[derive(Debug, Default)]
pub struct Imports {
    /// By number of the file; those whose revision was never looked at are missing.
    exports: BTreeMap<usize, Export>,
    /// What was visible where.
    seen: BTreeMap<Revision, (Digest, u64, Marks)>,
    /// Imports that may have become a change.
    possible: u64,
    /// As which revision an import was acknowledged.
    acknowledged: Vec<Revision>,
    /// Exports that were compared with what was visible.
    pub compared: u64,
}

impl Imports {
    /// Whether nobody has imported anything.
    pub fn none(&self) -> bool {
        self.possible == 0
    }

    /// So many imports were asked for since the last call.
    pub fn asked(&mut self, count: u64) {
        self.possible += count;
    }

    /// Imports that were acknowledged.
    pub fn done(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// This was visible.
    pub fn saw(&mut self, revision: Revision, digest: Digest, hash: u64, marks: &Marks) {
        self.seen.entry(revision).or_insert_with(|| (digest, hash, marks.clone()));
    }

    /// The numbers of the change sets that an import may have been, if this is visible at `revision`. Newest first.
    pub fn explained<'a>(
        &'a self,
        revision: Revision,
        hash: Option<u64>,
        marks: &'a Marks,
        acknowledged: &'a BTreeMap<u64, Revision>,
    ) -> impl Iterator<Item = u64> + 'a {
        let possible = if self.possible > 0 { Some(&self.exports) } else { None };
        possible.into_iter().flatten().filter_map(move |(_, export)| {
            let later = marks.len().checked_sub(export.marks.len())? as u64;
            let import = revision.seq.checked_sub(later).filter(|seq| *seq > 0)?;
            let whole = export.marks.is_subset(marks);
            let exact = later > 0 || hash.is_none_or(|hash| hash == export.hash);
            let mut added = marks.difference(&export.marks);
            let after = added.all(|id| acknowledged.get(id).is_none_or(|revision| revision.seq > import));
            (whole && exact && after).then_some(import)
        })
    }

    /// Whether it is known what this file must hold.
    pub fn knows(&self, file: usize) -> bool {
        self.exports.contains_key(&file)
    }

    /// An answer to an operator.
    pub fn answer(&mut self, kept: Kept) -> Checked {
        match kept {
            Kept::Refused => {
                self.possible -= 1;
                Ok(())
            }
            Kept::Exported { file, exported } => {
                let Some((digest, hash, marks)) = self.seen.get(&exported.position.revision) else { return Ok(()) };
                self.compared += 1;
                Invariant::OneRevision.check(*digest == exported.position.digest, || {
                    format!("{exported:?} was written of a revision that has the digest {digest:?}")
                })?;
                let (digest, content) = (*digest, exported.content);
                self.exports.insert(file, Export { marks: marks.clone(), hash: *hash, digest, content });
                Ok(())
            }
            Kept::Imported { file, imported } => {
                let revision = imported.committed.revision;
                self.acknowledged.push(revision);
                let Some(export) = self.exports.get(&file) else { return Ok(()) };
                let same = (imported.digest, imported.exported.content) == (export.digest, export.content);
                Invariant::SameContent.check(same, || format!("{imported:?} is not what was exported: {export:?}"))?;
                let Some((_, hash, _)) = self.seen.get(&revision) else { return Ok(()) };
                Invariant::OneRevision
                    .check(*hash == export.hash, || format!("{revision} is an import and does not hold the export"))
            }
        }
    }

    /// The newest import that is acknowledged at or before this position.
    pub fn last_before(&self, revision: Revision) -> Option<u64> {
        self.acknowledged.iter().filter(|import| **import <= revision).map(|import| import.seq).max()
    }
}
