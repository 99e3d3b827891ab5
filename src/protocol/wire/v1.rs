//! The frozen structs of version 1. Their fields, order and types are the format: nothing here may change once it has
//! been released; what changes becomes `v2`, beside it. Golden copies of each message stand in `tests/golden`.
//!
//! Numbers that stand for words (roles, refusals) are not Rust enums here: a refusal must be readable to an older
//! program even if its kind is newer. Where that is not so, an unknown number is an error.

mod enrol;
mod message;
mod text;
mod witness;

pub use enrol::{EnrolV1, RequestV1};
pub use message::MessageV1;
pub use witness::WitnessV1;
