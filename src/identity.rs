//! Who a node is, who its peer is, and how the two find out: keys, pins, TLS, enrolment.
//!
//! - [`Identity`] is a node's key with its certificate; [`NodeId`](crate::model::NodeId) is the SHA-256 of that key.
//! - [`Pins`] names the one permitted peer. The certificate around its key proves nothing and is not asked to.
//! - [`Tls`] makes connections, TLS 1.3 only: a peer whose key is not pinned is refused *inside* the handshake, on both
//!   sides. Sessions are never resumed, because a resumed session asks no verifier, and so would outlive its pin.
//! - [`Enrolment`] and [`Enrolling`] are the two ends of the protocol by which a shadow with a [`JoinToken`] and its
//!   master come to pin each other.
//!
//! Nothing here reads or writes files, holds state of the process, or bounds time: the caller does that.
//!
//! # Expired certificates
//! The dates of a pinned certificate are not compared with the clock. Whoever holds the key can write new dates, so the
//! check would keep nobody out; but a wrong clock (machines without a battery wake up in 1970) or a forgotten rotation
//! would part a healthy pair, on both nodes at once, and without a witness that makes two masters. So an end that comes
//! near is an alert: see [`Identity::expires`] and [`Shown::expires`].
#![allow(clippy::disallowed_methods, reason = "making a key needs randomness, and its certificate a date")]

mod enrol;
mod key;
mod pin;
mod tls;
mod token;

pub use enrol::{ENROLMENT_CLOSED, EnrolError, EnrolRequest, Enrolled, Enrolling, Enrolment};
pub use key::{Identity, IdentityError};
pub use pin::Pins;
#[cfg(any(fuzzing, test))]
pub use pin::Shown;
#[cfg(test)]
pub use tls::shown_by;
pub use tls::{Accepted, Refused, Stream, Tls, default_provider, refused_by_peer};
pub use token::{JoinToken, ParseTokenError};

/// ALPN name of the link between two enrolled nodes.
pub const ALPN_LINK: &[u8] = b"shadowpair/1";
/// ALPN name of the enrolment protocol.
pub const ALPN_ENROL: &[u8] = b"shadowpair-enrol/1";

#[cfg(test)]
mod tests;
