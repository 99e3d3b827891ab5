//! What a former master alone had written: listed, read, applied again, discarded.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::config::{CommitError, Committed, Config};
use super::operator::Operator;
use super::shared::Request;
use super::store_step::{on_store, refused};
use crate::model::limits::{CARRIED_WAIT, GROUP_BYTES_MAX, GUARDS_MAX};
use crate::model::{ChangeSet, Conflict, Expected, Guard, Key};
use crate::node::mutants::{Mutant, made};
use crate::node::offload::audit_entry::AuditWord;
use crate::protocol::wire::CarriedOutcome;
use crate::store::{
    Diverged, DivergedChange, DivergedReader, DivergedSide, DivergedValue, ReadError, Reader, Snapshot,
};

/// What [`Operator::reapply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reapplied {
    /// Entries that were changed.
    pub applied: u64,
    /// Entries that were already as the quarantine has them.
    pub unchanged: u64,
    /// Entries that somebody changed meanwhile. They were left as they are. In key order.
    pub conflicts: Vec<DivergedConflict>,
    /// The last change set that was committed. `None` where nothing had to be changed.
    pub committed: Option<Committed>,
}

/// An entry that [`Operator::reapply`] left alone, since it is neither as the former master found it nor as it left it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DivergedConflict {
    /// What the former master did.
    pub change: DivergedChange,
    /// The value now. `None` if there is no entry.
    pub now: Option<DivergedValue>,
}

/// Why [`Operator::reapply`] or [`Operator::discard`] failed. The quarantine is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DivergedError {
    /// Nothing is in quarantine under this number. Nothing changed. [`Operator::diverged`] lists what is.
    #[error("nothing is in quarantine under the number {id}")]
    Unknown {
        /// The number.
        id: u64,
    },
    /// The quarantine or the configuration could not be read. What was committed before stays.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A change set was not committed, or the store refused. What was committed before stays, and repeating the call does
    /// only what is missing. [`CommitError::NotMaster`]: the link to the master is down, or it is of an older version.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The master, to which a change set was sent, did not answer. It may have been committed. Repeat the call when the link is
    /// up: it does only what is missing.
    #[error("the master did not answer: repeat it when the link is up, which does only what is missing")]
    Unanswered,
}

/// A change set of one step of [`Operator::reapply`], and what need not be in it.
#[derive(Default)]
struct Step {
    changes: ChangeSet,
    unchanged: u64,
    conflicts: Vec<DivergedConflict>,
    /// Keys that this step deals with.
    keys: usize,
}

impl Operator {
    /// The quarantine of this node: what it alone had written as a former master, oldest first. It is kept until
    /// [`Operator::discard`], or until newer quarantine needs its room
    /// ([`QUARANTINE_CHANGE_SETS_MAX`](crate::limits::QUARANTINE_CHANGE_SETS_MAX)).
    ///
    /// # Errors
    /// [`ReadError`]: the disk failed, or the quarantine is damaged.
    pub async fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        self.shared.store.read(Reader::diverged).await
    }

    /// Reads a value of the quarantine piece by piece. `None` if there is none. Reading may read the disk.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Write;
    /// use shadowpair::DivergedSide;
    /// let mut file = std::fs::File::create("logo.lost")?;
    /// for piece in node.operator().diverged_value(1, "images/logo", DivergedSide::New).await?.into_iter().flatten() {
    ///     file.write_all(&piece?)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReadError`]: the disk failed, or the quarantine is damaged.
    pub async fn diverged_value(
        &self,
        id: u64,
        key: impl AsRef<str>,
        side: DivergedSide,
    ) -> Result<Option<DivergedReader>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        self.shared.store.read(move |reader| reader.diverged_value(id, &key, side)).await
    }

    /// Applies what is in quarantine under this number again, on this node or, where it is the shadow, on its master, as ordinary change sets of at most
    /// [`GUARDS_MAX`](crate::limits::GUARDS_MAX) entries each. Every entry is guarded: one that somebody changed meanwhile is
    /// left as it is, and is returned. The quarantine keeps everything until [`Operator::discard`], so the call may be
    /// repeated: it does only what is missing.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let operator = node.operator();
    /// for lost in operator.diverged().await? {
    ///     let done = operator.reapply(lost.id).await?;
    ///     for conflict in &done.conflicts {
    ///         println!("{} was changed meanwhile: {:?}", conflict.change.key, conflict.now);
    ///     }
    ///     if done.conflicts.is_empty() {
    ///         operator.discard(lost.id).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`DivergedError`].
    pub async fn reapply(&self, id: u64) -> Result<Reapplied, DivergedError> {
        let keys = self.shared.store.read(move |reader| reader.diverged_keys(id)).await?;
        let mut keys = keys.ok_or(DivergedError::Unknown { id })?;
        let mut done = Reapplied::default();
        // Entries that changed between the look at them and the commit.
        let mut moved = BTreeSet::new();
        while !keys.is_empty() {
            let (next, passed) = (keys[..keys.len().min(GUARDS_MAX)].to_vec(), moved.clone());
            let step = self.shared.store.read(move |reader| plan(reader, id, &next, &passed)).await?;
            let applied = step.changes.len() as u64;
            if applied > 0 {
                match self.commit_or_carry(step.changes).await {
                    Ok(committed) => done.committed = Some(committed),
                    Err(DivergedError::Commit(CommitError::Guard(Conflict::Key { key }))) => {
                        moved.insert(key);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            done.applied += applied;
            done.unchanged += step.unchanged;
            done.conflicts.extend(step.conflicts);
            keys.drain(..step.keys);
        }
        self.shared.audit(AuditWord::Reapplied, |entry| {
            entry.with("id", id).with("applied", done.applied).with("conflicts", done.conflicts.len())
        });
        Ok(done)
    }

    /// Commits here, or on the master where this node is its shadow.
    async fn commit_or_carry(&self, changes: ChangeSet) -> Result<Committed, DivergedError> {
        let config = Config::new(self.shared.clone());
        let master = match config.commit(changes.clone()).await {
            Err(CommitError::NotMaster { master }) => master,
            other => return other.map_err(DivergedError::Commit),
        };
        let mut feed = self.shared.watches.subscribe();
        let (answer, answered) = oneshot::channel();
        let asked = self.shared.callers.send(Request::Carry { changes, answer }).await;
        asked.map_err(|_| CommitError::Stopped)?;
        let refusal = match answered.await.map_err(|_| DivergedError::Unanswered)? {
            CarriedOutcome::Committed { revision, replicated } => {
                // What comes next looks at this node's copy.
                let shown = async {
                    while self.shared.reader.snapshot().revision() < revision
                        && !matches!(feed.recv().await, Err(RecvError::Closed))
                    {}
                };
                self.shared.environment.within(CARRIED_WAIT, shown).await;
                return Ok(Committed { revision, replicated });
            }
            CarriedOutcome::Conflict { key } => CommitError::Guard(Conflict::Key { key }),
            CarriedOutcome::InDoubt { revision } => CommitError::InDoubt { revision },
            CarriedOutcome::NotMaster => CommitError::NotMaster { master },
            CarriedOutcome::Overloaded => CommitError::Overloaded,
            CarriedOutcome::DiskFull => CommitError::DiskFull,
            CarriedOutcome::Refused => return Err(DivergedError::Unanswered),
        };
        Err(refusal.into())
    }

    /// Removes what is in quarantine under this number, durably and for good.
    ///
    /// # Errors
    /// [`DivergedError::Unknown`]; [`DivergedError::Commit`] with [`CommitError::DiskFull`], [`CommitError::Disk`] or
    /// [`CommitError::Stopped`].
    pub async fn discard(&self, id: u64) -> Result<(), DivergedError> {
        match on_store(&self.shared, move |store| store.discard_diverged(id).map_err(refused)).await? {
            true => {
                self.shared.audit(AuditWord::Discarded, |entry| entry.with("id", id));
                Ok(())
            }
            false => Err(DivergedError::Unknown { id }),
        }
    }
}

/// What is to be done for the first of these keys, at most [`GUARDS_MAX`], as many as one change set takes. `moved` are known to have changed.
fn plan(reader: &Reader, id: u64, keys: &[Key], moved: &BTreeSet<Key>) -> Result<Step, ReadError> {
    let (snapshot, mut step, mut bytes) = (reader.snapshot(), Step::default(), 0);
    for key in keys {
        // The store waits for this read.
        if bytes >= GROUP_BYTES_MAX as u64 {
            break;
        }
        step.keys += 1;
        // Discarded meanwhile.
        let Some(change) = reader.diverged_change(id, key)? else { continue };
        bytes += [&change.old, &change.new].into_iter().flatten().map(DivergedValue::bytes).sum::<u64>();
        let kept = |side| reader.diverged_value(id, key, side);
        if is_same(&snapshot, key, kept(DivergedSide::New)?)? {
            step.unchanged += 1;
            continue;
        }
        let free = !moved.contains(key) && is_same(&snapshot, key, kept(DivergedSide::Old)?)?;
        if !free && !made(Mutant::ReapplyUnguarded) {
            step.conflicts.push(DivergedConflict { change, now: present(&snapshot, key)? });
            continue;
        }
        let [old, new] =
            [DivergedSide::Old, DivergedSide::New].map(|side| kept(side)?.map(DivergedReader::whole).transpose());
        step.changes = again(step.changes, key, change.secret, old?, new?);
    }
    Ok(step)
}

/// Adds the change of one key, guarded by the value that it replaces.
fn again(changes: ChangeSet, key: &Key, secret: bool, old: Option<Bytes>, new: Option<Bytes>) -> ChangeSet {
    let changes = match new {
        None => changes.delete(key),
        Some(value) if secret => changes.put_secret(key, value),
        Some(value) => changes.put(key, value),
    };
    if made(Mutant::ReapplyUnguarded) {
        return changes;
    }
    let expected = old.map_or(Expected::Absent, Expected::Value);
    changes.only_if(Guard::Key { key: key.clone(), expected })
}

/// Whether the entry has this value now. Neither is ever in memory as a whole.
fn is_same(snapshot: &Snapshot, key: &Key, kept: Option<DivergedReader>) -> Result<bool, ReadError> {
    let (mut now, mut kept) = match (snapshot.value(key)?, kept) {
        (Some(now), Some(kept)) => (now, kept),
        (now, kept) => return Ok(now.is_none() && kept.is_none()),
    };
    let (mut ours, mut theirs) = (Bytes::new(), Bytes::new());
    loop {
        let more = [next(&mut ours, &mut now)?, next(&mut theirs, &mut kept)?];
        if more.contains(&false) {
            return Ok(more == [false; 2]);
        }
        let common = ours.len().min(theirs.len());
        if ours.split_to(common) != theirs.split_to(common) {
            return Ok(false);
        }
    }
}

/// Reads the next piece where the last one is used up. Returns whether there is anything left.
fn next(piece: &mut Bytes, from: &mut impl Iterator<Item = Result<Bytes, ReadError>>) -> Result<bool, ReadError> {
    while piece.is_empty() {
        match from.next() {
            Some(read) => *piece = read?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

fn present(snapshot: &Snapshot, key: &Key) -> Result<Option<DivergedValue>, ReadError> {
    let Some(value) = snapshot.value(key)? else { return Ok(None) };
    match value.bytes() > crate::model::limits::VALUE_INLINE_BYTES_MAX as u64 {
        true => Ok(Some(DivergedValue::Large { bytes: value.bytes() })),
        false => value.whole().map(|value| Some(value.into())),
    }
}
