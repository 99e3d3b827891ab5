//! The third vote: one register outside both nodes, replaced as a whole by compare-and-swap.
//!
//! - [`Witness`] is what a back end does: read, and swap. Everything else (leases, waits, who may swap what and when) is in
//!   `protocol/failover`, so a back end is about fifty lines.
//! - [`FileWitness`] is one on a directory that both nodes reach.
//!
//! The idea of a lease over a register that any store with compare-and-swap can be is that of Chubby (Burrows 2006) and of
//! the leader elections built on etcd; that a vote needs no third copy of the data, that of Gifford (1979) and of Pâris's
//! witnesses (1986).
#![allow(
    clippy::disallowed_methods,
    reason = "a file system that hangs must hang a thread of the witness's own, and files written aside need names of their own"
)]

mod file;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

pub use file::FileWitness;

use crate::model::{WitnessRecord, WitnessVersion};
use crate::protocol::wire::{WireError, decode_witness, encode_witness};

/// A future of a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One register of a pair, outside both nodes, on something that fails independently of them.
///
/// # Contract
///
/// 1. **Linearizable.** A swap takes effect at one moment, against the value at that moment; a read that begins after it
///    has answered sees it, from either node. A cache, an eventually consistent store or a replica that lags is none.
///    Without this two nodes become master.
/// 2. **One value, one version.** No version names two values, ever, and a version that was replaced does not come back.
/// 3. **A swap is tried once.** A back end (or the client library in it) never sends one a second time by itself, not after
///    a time-out either: the second try could take effect long after the node gave up.
/// 4. **An unknown outcome is legal** and costs time only. [`Swap::Swapped`] and [`Swap::Conflict`] are certain.
/// 5. **A read makes nothing.** Only a swap that expects nothing may create the register, and what is not there because it
///    is not mounted, not authorised or mistyped is an error where that can be told.
///
/// A method may hang: the node bounds it by [`Options::witness_timeout`](crate::Options::witness_timeout), drops the future
/// and counts the outcome as unknown. What was given up may still take effect, late: the node expects that. Dropping the
/// future must not block, nor must polling it: what blocks belongs on another thread, and not one of tokio's
/// `spawn_blocking`, for which the host's runtime would wait at its end. A panic is an unknown outcome too.
///
/// Check a back end with `shadowpair::testing::witness_conformance` (feature `testing`).
///
/// A node asks one question at a time, a few times per lease.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use shadowpair::{BoxFuture, Swap, Witness, WitnessError, WitnessRecord, WitnessVersion};
///
/// /// A register in memory, for two nodes of one process.
/// #[derive(Clone, Debug, Default)]
/// struct Memory(Arc<Mutex<(u64, Option<WitnessRecord>)>>);
///
/// impl Witness for Memory {
///     fn kind(&self) -> &'static str {
///         "memory"
///     }
///
///     fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
///         let unreachable = |e: &dyn ToString| WitnessError::Unreachable { reason: e.to_string() };
///         let held = self.0.lock().map_err(|e| unreachable(&e)).map(|held| held.clone());
///         Box::pin(async { held.map(|(number, record)| Some((record?, WitnessVersion::new(number)))) })
///     }
///
///     fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap> {
///         Box::pin(async move {
///             let Ok(mut held) = self.0.lock() else { return Swap::Unknown { reason: "a panic".into() } };
///             let current = held.1.is_some().then(|| WitnessVersion::new(held.0));
///             if current != expected {
///                 return Swap::Conflict;
///             }
///             *held = (held.0 + 1, Some(record));
///             Swap::Swapped(WitnessVersion::new(held.0))
///         })
///     }
/// }
/// ```
pub trait Witness: Debug + Send + Sync + 'static {
    /// What kind of back end it is, in a stable word, for status and logs: `file`, say.
    fn kind(&self) -> &'static str;

    /// Its value and which version that is; `None` where there was never one.
    ///
    /// # Errors
    /// [`WitnessError`]; nothing changed, and nothing is known of the value.
    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>>;

    /// Replaces the value of this version by `record`; with `None`, makes the first one where there is none.
    fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap>;
}

/// What came of a [`Witness::swap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Done, durably; this is the version of the new value.
    Swapped(WitnessVersion),
    /// The value is another than the one that was expected. Nothing changed, and nothing will.
    Conflict,
    /// Nobody knows: it may have been done, or may be done later. (An error before anything was sent may say this too.)
    Unknown {
        /// Why, for logs and alerts.
        reason: String,
    },
}

/// Why a register could not be read, or a record not be turned into bytes and back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// It did not answer, or with an error of its own. Nothing is known of its value; the node asks again.
    #[error("the witness could not be asked: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// What it holds is no record. No node replaces it: an operator decides.
    #[error("the witness's record is damaged: {reason}; see to it by hand")]
    Damaged {
        /// How.
        reason: String,
    },
    /// What it holds was written by a newer program. No node replaces it: start the newer version.
    #[error("the witness's record was written by a newer program (format {found}, known is {known})")]
    Newer {
        /// Its format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// A field of the record that was to be written is out of bounds. Nothing was written.
    #[error("the field {field} of the witness's record is out of bounds")]
    Bound {
        /// Which one.
        field: &'static str,
    },
}

impl WitnessRecord {
    /// Its frozen form, which every back end stores: versioned, with a checksum, at most
    /// [`WITNESS_BYTES_MAX`](crate::limits::WITNESS_BYTES_MAX) bytes. `docs/PROTOCOL.md` says it byte by byte. The lease is cut to
    /// the microsecond.
    ///
    /// ```
    /// # use shadowpair::{Epoch, NodeId, PairId, Revision, WitnessRecord};
    /// let record = WitnessRecord {
    ///     pair: PairId([1; 16]),
    ///     holder: NodeId([2; 32]),
    ///     epoch: Epoch::FIRST,
    ///     lease: std::time::Duration::from_secs(3),
    ///     in_sync: None,
    ///     revision: Revision::NONE,
    ///     counter: 1,
    /// };
    /// let bytes = record.to_bytes()?;
    /// assert_eq!(WitnessRecord::from_bytes(&bytes)?, record);
    /// assert!(WitnessRecord::from_bytes(&bytes[1..]).is_err());
    /// # Ok::<(), shadowpair::WitnessError>(())
    /// ```
    ///
    /// # Errors
    /// [`WitnessError::Bound`] where the lease is longer than 24 h.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WitnessError> {
        Ok(encode_witness(self)?)
    }

    /// Reads what [`WitnessRecord::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`WitnessError::Newer`] and [`WitnessError::Damaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WitnessError> {
        Ok(decode_witness(bytes)?)
    }
}

impl From<WireError> for WitnessError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Newer { found, known, .. } => Self::Newer { found, known },
            WireError::Bound { field } => Self::Bound { field },
            other => Self::Damaged { reason: other.to_string() },
        }
    }
}
