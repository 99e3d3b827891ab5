//! The frozen structs of version 1. The types and the order of their fields are the format, so neither may change after a
//! release; a change becomes `v2`, beside this. `tests/golden` has the bytes of each message.
//!
//! Contiguous fields may be grouped into a struct of their own: a struct is encoded as its fields, in order.
//!
//! Roles and kinds of refusal are numbers here, not enums, because an older program must be able to read a refusal of a newer
//! kind. Elsewhere an unknown number is an error.

mod enrol;
mod message;
mod text;
mod witness;

pub use enrol::{EnrolV1, RequestV1};
pub use message::MessageV1;
pub use text::{reason, send_reason};
pub use witness::WitnessV1;
