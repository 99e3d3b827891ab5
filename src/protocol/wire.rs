//! Frames and versioned messages: the one place that knows how they look as bytes.

mod message;
pub mod record;

pub use message::*;
