//! Pure decisions: no clock, no socket, no disk, no randomness, no async. The engine takes one [`engine::Event`] with its time
//! and returns the ordered list of [`engine::Action`]s.

pub mod alerts;
pub mod engine;
pub mod failover;
pub mod replication;
pub mod wire;
