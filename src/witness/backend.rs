//! What a back end of the witness does.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use crate::model::{WitnessRecord, WitnessVersion};
use crate::protocol::wire::WireError;

/// A future of a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The register of a pair, outside both nodes, on a service that fails independently of them.
///
/// # Contract
///
/// 1. **Linearizable.** A swap takes effect at one moment, against the value at that moment. Every read, from either node,
///    that begins after the swap has answered sees its value. A cache, an eventually consistent store or a lagging replica
///    does not do this, and makes two masters.
/// 2. **One value, one version.** A version never names two values, and a version that was replaced never returns.
/// 3. **A swap is sent once.** Neither a back end nor the client library in it may repeat a swap, not even after a
///    time-out. The repetition could take effect long after the node gave up.
/// 4. **An unknown outcome is allowed.** It costs time only. [`Swap::Swapped`] and [`Swap::Conflict`] must be certain.
/// 5. **A read creates nothing.** Only a swap that expects no value may create the register. If the register is missing
///    because it is not mounted, not authorised or mistyped, and the back end can tell, that is an error.
///
/// A method may hang. After [`Options::witness_timeout`](crate::Options::witness_timeout) the node drops the future and
/// counts the outcome as unknown. The request may still take effect later; the node expects that. Neither polling nor
/// dropping the future may block. Blocking work belongs on another thread, but not on one of tokio's `spawn_blocking`: the
/// host's runtime waits for those at its end. A panic is an unknown outcome too.
///
/// A node has one request under way at a time, and makes a few per lease. Check a back end with
/// `shadowpair::testing::witness_conformance` (feature `testing`).
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
    /// Kind of the back end, as a stable word for status and logs, such as `file`.
    fn kind(&self) -> &'static str;

    /// Reads the value and its version. `None` if there has never been a value.
    ///
    /// # Errors
    /// [`WitnessError`]. Nothing was changed, and nothing is known of the value.
    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>>;

    /// Replaces the value that has the version `expected` by `record`. With `None`, writes the first value if there is none.
    fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap>;
}

/// The outcome of a [`Witness::swap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value was replaced, durably. This is the version of the new value.
    Swapped(WitnessVersion),
    /// The value is not the expected one. Nothing was changed, and nothing will be.
    Conflict,
    /// It is not known whether the value was replaced or will be. (An error before anything was sent may be reported so
    /// too.)
    Unknown {
        /// The cause, for logs and alerts.
        reason: String,
    },
}

/// The register could not be read, or a record could not be encoded or decoded. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The witness did not answer, or answered with an error. Nothing is known of its value. The node asks again.
    #[error("the witness cannot be reached: {reason}")]
    Unreachable {
        /// The cause.
        reason: String,
    },
    /// The witness's value is not a record. No node replaces it; an operator must remove it.
    #[error("the witness's record is damaged and no node will replace it: {reason}")]
    Damaged {
        /// The damage.
        reason: String,
    },
    /// A newer program wrote the record. No node replaces it. Start the newer version.
    #[error("the witness's record was written by a newer program (format {found}, known is {known})")]
    Newer {
        /// Format of the record.
        found: u32,
        /// Newest format that this program knows.
        known: u32,
    },
    /// A field of the record to be written is out of bounds. Nothing was written.
    #[error("the field {field} of the witness's record is out of bounds")]
    Bound {
        /// Name of the field.
        field: &'static str,
    },
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
