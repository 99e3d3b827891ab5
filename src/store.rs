//! The durable configuration: an append-only log over a state in redb.
//!
//! `docs/STORAGE.md` has the bytes and the reasons. A new change set goes into the log. Maintenance moves it from there to
//! the state. A [`Snapshot`] reads the state through an overlay in memory, which holds what the state does not have yet.
//!
//! | to see | read |
//! |---|---|
//! | the one writer: opening, failures | `writer.rs` |
//! | what a master writes, what a shadow writes | `commit.rs`, `received_records.rs` |
//! | how a change set becomes records, and back | `change_set_log.rs` |
//! | the files of the log | `log.rs` |
//! | the state, and the files that redb writes to | `state.rs`, `checksummed_file.rs` |
//! | how what the log has moves to the state | `checkpoint.rs`, `maintenance.rs`, `overlay.rs` |
//! | what readers see while the writer works | `reader.rs`, `publication.rs`, `view.rs`, `snapshot.rs` |
//! | a full push: read out, received and switched to, loaded | `export.rs` (`changed_keys.rs`, `bucket_set.rs`), `snapshot_piece.rs`, `full_push.rs`, `staging.rs` (`comparison.rs`) |
//! | an export to a file, and an import of one | `backup.rs`, `import.rs` |
//! | whether the directory is still the one that was opened | `directory_watch.rs` |
//! | the files of a data directory, and what a crash leaves | `data_dir.rs`, `recovery.rs` |
//! | what belongs to the node and not to the pair | `node_file.rs`, `quarantine.rs`, `quarantine_tables.rs`, `address_file.rs` |

mod address_file;
mod backup;
mod bucket_set;
mod change_set_log;
mod changed_keys;
mod checkpoint;
mod checksummed_file;
mod commit;
mod comparison;
mod data_dir;
mod database;
mod denied;
mod directory_watch;
pub mod disk;
mod error;
mod export;
mod full_push;
mod held_file;
mod import;
mod log;
mod maintenance;
pub mod mutants;
mod node_file;
mod overlay;
mod publication;
mod quarantine;
mod quarantine_tables;
mod reader;
mod received_records;
mod recovery;
mod snapshot;
mod snapshot_piece;
mod staging;
mod state;
mod types;
mod version;
mod view;
mod writer;

pub use backup::{
    BackupFileError, BackupHeader, BackupReader, ContentHash, ExportFailure, VerifiedBackup, content_hash,
    verify_backup, write_backup,
};
pub use checkpoint::Checkpoint;
pub use commit::Appended;
pub use data_dir::DirLock;
pub use error::{ReadError, StoreError};
pub use export::Export;
pub use full_push::Verified;
pub use log::Cursor;
pub use quarantine_tables::DivergedReader;
pub use reader::Reader;
pub use received_records::Received;
pub use snapshot::{Scan, Snapshot};
pub use snapshot_piece::SnapshotPiece;
pub use state::ValueReader;
pub use types::{Diverged, DivergedChange, DivergedSide, DivergedValue, Entry, StoreOptions};
pub use writer::{Opened, Store};

#[cfg(test)]
mod tests;
