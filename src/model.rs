//! The nouns: what is replicated, where in its history it stands, and how large anything may get.
//!
//! Nothing here knows of clocks, sockets, disks or of the rest of the crate. Reading order: [`Key`] and
//! [`ChangeSet`] are what a caller writes; [`Revision`] says where in the [`History`] a change set stands;
//! [`Digest`] says what the configuration holds there.

mod change;
mod digest;
mod history;
mod id;
mod key;
pub mod limits;
mod moment;
mod revision;
mod witness;

pub use change::{Change, ChangeSet, Conflict, Expected, Guard};
pub use digest::{Digest, DigestKey, EntryHash, EntryHasher, bucket_of};
pub use history::{Era, History, Relation};
pub use id::{NodeId, PairId, RunId};
pub use key::Key;
pub use limits::Limit;
pub use moment::Moment;
pub use revision::{Epoch, Position, Revision};
pub use witness::{WitnessRecord, WitnessVersion};
