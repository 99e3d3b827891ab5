//! The data directories of the simulated nodes: a model of the store, and beside it, in some histories, the real store.
//!
//! [`records`] is what the model holds, [`model`] the model itself, [`real`] the real store on a simulated disk.
//! [`differential`] does each job on both and compares what they hold afterwards.

mod differential;
mod model;
mod real;
mod records;

pub use model::{Change, Disk, Export, ITEM_BYTES, Job, Record, RecordBody, Sent};
pub use real::StoreContext;
