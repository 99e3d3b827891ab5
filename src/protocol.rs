//! Pure decisions: no clock, no socket, no disk, no randomness, no async. What happens comes in as an
//! [`engine::Event`] with its time, what to do goes out as [`engine::Action`]s, in order.

pub mod alerts;
pub mod engine;
pub mod failover;
pub mod replication;
pub mod wire;
