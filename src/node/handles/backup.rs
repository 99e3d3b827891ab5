//! Exports to a file, and back.

use std::path::Path;

use super::config::{CommitError, Committed, Config};
use super::operator::Operator;
use super::store_step::{on_store, refused};
use crate::model::{ChangeSet, Conflict, Digest, History, PairId, Position};
use crate::node::environment::Panicked;
use crate::node::mutants::{Mutant, made};
use crate::node::offload::audit_entry::AuditWord;
use crate::protocol::engine::{DiskFailure, TakeoverBlocker};
use crate::protocol::wire::{Role, SnapshotHeader};
use crate::store::{
    BackupFileError, BackupHeader, BackupReader, ContentHash, ExportFailure, ReadError, SnapshotPiece, Store,
    VerifiedBackup, content_hash, verify_backup, write_backup,
};

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The revision, with its digest in this pair.
    pub position: Position,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Hash of the content, which does not depend on the pair.
    pub content: ContentHash,
}

/// What an import has made of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The change that it was here.
    pub committed: Committed,
    /// The digest in this pair.
    pub digest: Digest,
    /// The pair that wrote the export.
    pub pair: PairId,
    /// What the export holds, with the revision and the digest that it had there.
    pub exported: Exported,
    /// When it was exported, by the wall clock there, milliseconds since 1970.
    pub exported_ms: u64,
}

/// Why an export, an import or a restore failed. The configuration is unchanged, but for [`CommitError::InDoubt`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] BackupFileError),
    /// The data of the export have a newer schema version than this host knows
    /// ([`Options::schema`](crate::Options)). Upgrade this host first.
    #[error("the export has schema version {found}, newer than {known} which this host knows: upgrade it first")]
    NewerSchema {
        /// Schema version of the export.
        found: u32,
        /// That of this host.
        known: u32,
    },
    /// Another pair wrote the export. [`Operator::restore`] takes only this pair's own; [`Operator::import`] takes any.
    #[error("the export is of pair {pair}, and only an import takes what another pair wrote")]
    OtherPair {
        /// The pair that wrote it.
        pair: PairId,
    },
    /// This node has no complete, verified copy that could be exported. Export on its peer.
    #[error("this node has no complete, verified copy: export on its peer")]
    Incomplete,
    /// The configuration could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change was not committed, for one of the reasons of [`Config::commit`]. An import that is
    /// [superseded](Conflict::Superseded) may be repeated.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Operator {
    /// Writes what is visible now, one revision, to a file: on either node, while it runs. The file has a version and checksums.
    /// It is streamed, and replaces a file of that name only when it is complete and durable. Secret entries are in it as
    /// they are stored, so keep it as the data directory is kept.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::BackupError> {
    /// let exported = node.operator().export("/backup/today.export").await?;
    /// println!("{} entries of {}, {}", exported.entries, exported.position.revision, exported.content);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BackupError::File`], [`BackupError::Incomplete`], [`BackupError::Read`].
    pub async fn export(&self, path: impl AsRef<Path>) -> Result<Exported, BackupError> {
        let path = path.as_ref().to_owned();
        let status = self.shared.status.borrow().clone();
        let lacking = [TakeoverBlocker::Incomplete, TakeoverBlocker::DiskTrouble];
        if status.engine.why_not.iter().any(|blocker| lacking.contains(blocker)) {
            return Err(BackupError::Incomplete);
        }
        let (pair, schema) = (status.engine.pair, self.shared.schema);
        let wall_ms = self.shared.environment.clock.wall_ms();
        let (reader, disk) = (self.shared.reader.clone(), self.shared.environment.disk.clone());
        let written = self.shared.environment.block(move || -> Result<Exported, ExportFailure> {
            let (SnapshotHeader { position, entries, bytes, .. }, export) =
                reader.export(0).map_err(ExportFailure::Read)?;
            let header = BackupHeader { pair, position, entries, bytes, wall_ms, schema };
            let content = write_backup(&*disk, &path, &header, export)?;
            Ok(Exported { position, entries, bytes, content })
        });
        let exported = written.await.map_err(no_thread)?.map_err(|failure| match failure {
            ExportFailure::Read(error) => BackupError::Read(error),
            ExportFailure::File(error) => BackupError::File(error),
        })?;
        self.shared.audit(AuditWord::Exported, |entry| {
            entry.text("revision", exported.position.revision.to_string()).text("content", exported.content.to_string())
        });
        Ok(exported)
    }

    /// The hash of what is visible now. Unlike the digest it does not depend on the pair: it is that of an export of this
    /// revision, and of everything that imports it. It reads the whole configuration.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn content(&self) -> Result<Exported, ReadError> {
        let reader = self.shared.reader.clone();
        let read = self.shared.environment.block(move || -> Result<Exported, ReadError> {
            let (SnapshotHeader { position, entries, bytes, .. }, export) = reader.export(0)?;
            Ok(Exported { position, entries, bytes, content: content_hash(export)? })
        });
        read.await.unwrap_or_else(|panicked| Err(ReadError::Disk(panicked.to_string())))
    }

    /// Replaces the whole configuration by that of an export, of this pair or another one, as one change. The file is verified
    /// before anything is touched; its content is loaded beside the live copy, so it needs the room of a full push, and is
    /// switched to at one moment. The shadow gets it by a full push. Watches are told [`Watched::Lagged`](crate::Watched).
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::BackupError> {
    /// let imported = node.operator().import("/backup/other-site.export").await?;
    /// // The digest of another pair cannot be compared with one of this pair; the hash of the content can.
    /// assert_eq!(node.operator().content().await?.content, imported.exported.content);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn import(&self, path: impl AsRef<Path>) -> Result<Imported, BackupError> {
        self.replace(path.as_ref(), false).await
    }

    /// Goes back to an export of this pair, on purpose: makes its content the newest revision. The history goes on, and the
    /// shadow follows. (A disk that was rolled back by accident is something else: there the shadow gives back what is newer.)
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn restore(&self, path: impl AsRef<Path>) -> Result<Imported, BackupError> {
        self.replace(path.as_ref(), true).await
    }

    async fn replace(&self, path: &Path, own: bool) -> Result<Imported, BackupError> {
        let status = self.shared.status.borrow().clone();
        let (pair, schema) = (status.engine.pair, self.shared.schema);
        if status.engine.role != Role::Master {
            return Err(CommitError::NotMaster { master: status.engine.link.peer.clone() }.into());
        }
        let (disk, file) = (self.shared.environment.disk.clone(), path.to_owned());
        let verified = self.shared.environment.block(move || verify_backup(&*disk, &file, &pair));
        let verified = verified.await.map_err(no_thread)??;
        if verified.header.schema > schema {
            return Err(BackupError::NewerSchema { found: verified.header.schema, known: schema });
        }
        if own && verified.header.pair != pair {
            return Err(BackupError::OtherPair { pair: verified.header.pair });
        }
        let number = self.stage(path, &verified).await?;
        if made(Mutant::ImportInTwo) {
            self.empty().await?;
        }
        let committed = Config::new(self.shared.clone()).commit(ChangeSet::of_import(number)).await;
        if committed.is_err() {
            // If it was not taken, it must not wait for anything.
            let _ = self.on_store(Store::import_drop_of(number)).await;
        }
        let VerifiedBackup { header, digest, content } = verified;
        let BackupHeader { pair, position, entries, bytes, wall_ms, .. } = header;
        let exported = Exported { position, entries, bytes, content };
        self.audit_import(own, &exported, pair, &committed);
        Ok(Imported { committed: committed?, digest, pair, exported, exported_ms: wall_ms })
    }

    /// Records an import that is committed, or may be.
    fn audit_import(&self, own: bool, of: &Exported, pair: PairId, committed: &Result<Committed, CommitError>) {
        let (revision, in_doubt) = match committed {
            Ok(committed) => (committed.revision, false),
            Err(CommitError::InDoubt { revision }) => (*revision, true),
            Err(_) => return,
        };
        self.shared.audit(if own { AuditWord::Restored } else { AuditWord::Imported }, |entry| {
            let entry = entry.text("revision", revision.to_string()).text("content", of.content.to_string());
            let entry = entry.text("from_pair", pair.to_string()).text("from", of.position.revision.to_string());
            if in_doubt { entry.with("in_doubt", true) } else { entry }
        });
    }

    /// Removes every entry: the first half of a mistake.
    async fn empty(&self) -> Result<(), BackupError> {
        let config = Config::new(self.shared.clone());
        let entries: Result<Vec<_>, ReadError> = config.snapshot().scan("").collect();
        let removed = entries?.iter().fold(ChangeSet::new(), |set, entry| set.delete(entry.key.as_str()));
        config.commit(removed).await?;
        Ok(())
    }

    /// Loads a verified file beside the live copy. Returns the number of the import.
    async fn stage(&self, path: &Path, verified: &VerifiedBackup) -> Result<u64, BackupError> {
        let (disk, file) = (self.shared.environment.disk.clone(), path.to_owned());
        let reader = self.shared.environment.block(move || BackupReader::open(&*disk, &file));
        let mut reader = reader.await.map_err(no_thread)??;
        let header = SnapshotHeader {
            transfer: 0,
            position: Position { digest: verified.digest, ..verified.header.position },
            history: History::default(),
            chain: 0,
            entries: verified.header.entries,
            bytes: verified.header.bytes,
        };
        let number = self.on_store(move |store| store.import_begin(&header)).await?;
        loop {
            let (read, piece) = self
                .shared
                .environment
                .block(move || {
                    let piece = reader.next();
                    (reader, piece)
                })
                .await
                .map_err(no_thread)?;
            reader = read;
            let Some(piece) = piece?.map(SnapshotPiece::from) else { break };
            if !self.on_store(move |store| store.import_write(number, &piece)).await? {
                return Err(superseded());
            }
        }
        match self.on_store(move |store| store.import_verify(number)).await? {
            true => Ok(number),
            // The file was changed while it was read, or something took its place.
            false => Err(superseded()),
        }
    }

    /// Runs a step on the store, in turn with all other work.
    async fn on_store<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Store) -> Result<T, DiskFailure> + Send + 'static,
    ) -> Result<T, BackupError> {
        let done = on_store(&self.shared, move |store| step(store).map_err(refused)).await;
        done.map_err(BackupError::Commit)
    }
}

fn superseded() -> BackupError {
    CommitError::Guard(Conflict::Superseded).into()
}

fn no_thread(panicked: Panicked) -> BackupError {
    BackupError::File(BackupFileError::Io(panicked.to_string()))
}
