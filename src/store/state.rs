//! The state: a redb file that holds the configuration at one position, the digests of its buckets, and undo images: what
//! was before the change sets that the peer may not have yet.

mod adopt;
mod apply;
mod file;
mod loader;
mod loader_resume;
mod read;
mod rows;
mod tables;
mod value;

pub(super) use adopt::Undo;
pub(super) use apply::{Move, UndoBounds};
pub(super) use file::StateFile;
pub(super) use loader::{LoadedEntry, Loader};
pub(super) use loader_resume::StagedNote;
pub(super) use read::{StateScan, StateSnapshot};
pub(super) use rows::{chunked_row, inline_row};
pub use value::ValueReader;
