use crate::store::Snapshot;

/// The host's vetoes of pushes and takeovers. A panic or a time-out ([`Timeouts::hook`](crate::Timeouts::hook)) counts as a
/// refusal.
///
/// The methods may block: they run on threads of a pool. Each runs on one thread at a time, so that a hook that hangs holds
/// one thread and no more.
///
/// ```
/// use shadowpair::{Hooks, Snapshot};
///
/// struct Gateway;
///
/// impl Hooks for Gateway {
///     fn validate(&self, candidate: &Snapshot) -> Result<(), String> {
///         match candidate.get("routes/default") {
///             Ok(Some(_)) => Ok(()),
///             Ok(None) => Err("there is no default route".into()),
///             Err(error) => Err(error.to_string()),
///         }
///     }
/// }
/// # let _: std::sync::Arc<dyn Hooks> = std::sync::Arc::new(Gateway);
/// ```
pub trait Hooks: Send + Sync + 'static {
    /// On the shadow: whether the configuration that the master pushes is acceptable. The hook is asked before any of
    /// that configuration is durable or visible. After a refusal the shadow keeps the last accepted configuration, and
    /// the hook is not asked again before the master has a newer revision.
    ///
    /// Received change sets are stored in one step where no hooks are set, and in two where some are.
    ///
    /// # Errors
    /// The reason, which the master's alert shows.
    fn validate(&self, candidate: &Snapshot) -> Result<(), String> {
        let _ = candidate;
        Ok(())
    }

    /// Whether this node may take over now; it may check its own uplinks, for example. After a refusal it is asked again
    /// when another takeover delay has passed.
    ///
    /// # Errors
    /// The reason, which the alert `shadow_lost` shows.
    fn may_take_over(&self) -> Result<(), String> {
        Ok(())
    }
}
