//! Starts a node from its data directory.

pub mod builder;
pub mod error;
mod first_start;
mod open_or_create;
pub mod settings;
mod start;
