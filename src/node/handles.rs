//! The objects through which the host uses a node: [`node::Node`] and the handles made from it.

pub mod admission;
pub mod backup;
pub mod config;
pub mod events;
pub mod feed;
pub mod hooks;
pub mod local;
pub mod mastership;
pub mod node;
pub mod operator;
pub mod quarantine;
pub mod shared;
pub mod status;
pub mod store_step;
pub mod typed;
pub mod watch;
