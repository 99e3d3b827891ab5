//! Joins the machines: one event in, ordered actions out.

mod action;
mod event;
mod facts;
mod options;
mod status;

pub use action::*;
pub use event::*;
pub use facts::*;
pub use options::*;
pub use status::*;
