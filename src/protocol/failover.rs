//! Roles, heartbeats, takeover.
