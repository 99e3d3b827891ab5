//! The nouns of the crate: keys, change sets, revisions, digests, ids, and every limit.
//!
//! Nothing here knows clocks, sockets, disks or the rest of the crate. Reading order: [`Key`] and [`ChangeSet`] are what a
//! caller writes. [`Revision`] names the place of a change set in the [`History`]. [`Digest`] is the checksum of the
//! configuration there. [`limits`] holds every bound.

mod change;
mod digest;
mod history;
mod id;
mod key;
pub mod limits;
mod moment;
mod password;
mod revision;
mod witness;

pub use change::{Change, ChangeSet, Conflict, Expected, Guard};
pub use digest::{Digest, DigestKey, EntryHash, EntryHasher, bucket_of};
pub use history::{Era, History, Relation};
pub use id::{KeyId, NodeId, PairId, PinnedKeys, RunId};
pub use key::Key;
pub use limits::Limit;
pub use moment::Moment;
pub use password::{Password, PasswordError};
pub use revision::{Epoch, Position, Revision};
pub use witness::{WitnessRecord, WitnessVersion};
