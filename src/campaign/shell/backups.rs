//! Operators who export, import and restore, and the files that they have.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::Word;
use crate::node::{BackupError, CommitError, Exported, Imported, Node};
use crate::store::disk::{Disk, read_file};
use crate::testing::{Pair, Side};

/// Longest file of an export in a history.
const FILE_BYTES_MAX: usize = 1 << 24;

/// What operators were answered.
#[derive(Clone, Debug)]
pub enum Kept {
    /// An export was written.
    Exported { file: usize, exported: Exported },
    /// An import of this file is a change.
    Imported { file: usize, imported: Imported },
    /// An import was refused, and nothing of it may remain.
    Refused,
}

/// The files, and the answers that nobody has looked at.
#[derive(Debug, Default)]
pub struct Backups {
    /// Exports that were asked for.
    asked: usize,
    /// Numbers of those that were written, each on both machines.
    files: Vec<usize>,
    /// Imports that were asked for.
    pub imports: u64,
    answers: Arc<Mutex<Vec<(Side, Kept)>>>,
    /// Each command that is not answered holds it, until its process ends.
    under_way: Arc<()>,
}

fn path(file: usize) -> PathBuf {
    format!("/backup/{file}").into()
}

impl Backups {
    /// An operator says this to the node of this machine.
    pub fn say(&mut self, pair: &Pair, side: Side, node: &Node, word: Word) {
        let (operator, scheduler, answers) = (node.operator(), pair.scheduler().clone(), Arc::clone(&self.answers));
        let tell = move |kept| answers.lock().unwrap_or_else(PoisonError::into_inner).push((side, kept));
        let under_way = Arc::clone(&self.under_way);
        match word {
            Word::Export => {
                let file = self.asked;
                self.asked += 1;
                pair.node(side).spawn(async move {
                    let _under_way = under_way;
                    let outcome = operator.export(path(file)).await;
                    scheduler.note(|| format!("{side:?} answers {word:?} with {outcome:?}"));
                    if let Ok(exported) = outcome {
                        tell(Kept::Exported { file, exported });
                    }
                });
            }
            Word::Import { back } | Word::Restore { back } if !self.files.is_empty() => {
                let file = self.files[self.files.len() - 1 - usize::from(back) % self.files.len()];
                self.imports += 1;
                pair.node(side).spawn(async move {
                    let _under_way = under_way;
                    let outcome = match word {
                        Word::Restore { .. } => operator.restore(path(file)).await,
                        _ => operator.import(path(file)).await,
                    };
                    scheduler.note(|| format!("{side:?} answers {word:?} of {file} with {outcome:?}"));
                    match outcome {
                        Ok(imported) => tell(Kept::Imported { file, imported }),
                        Err(BackupError::Commit(CommitError::InDoubt { .. } | CommitError::Stopped)) => {}
                        Err(_) => tell(Kept::Refused),
                    }
                });
            }
            _ => {}
        }
    }

    /// Whether every command is answered, or ended with its process.
    pub fn idle(&self) -> bool {
        Arc::strong_count(&self.under_way) == 1
    }

    /// The answers since the last call.
    pub fn take_answers(&self) -> Vec<(Side, Kept)> {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This export, which this node has written, may be imported from now on: on either machine.
    pub fn keep(&mut self, pair: &Pair, side: Side, file: usize) {
        copy(pair, side, &path(file));
        self.files.push(file);
    }
}

/// Copies a file to the other machine, if both disks work.
fn copy(pair: &Pair, from: Side, path: &Path) {
    let [from, to] = [from, from.other()].map(|side| pair.machine(side).disk.sim.clone());
    let Ok(Some(bytes)) = read_file(&from, path, FILE_BYTES_MAX) else { return };
    let written = to.open(path, true).and_then(|file| file.write_at(0, &bytes).and_then(|()| file.sync()));
    let _ = written.and_then(|()| to.sync_dir(Path::new("/backup")));
}
