//! Who a node is, who its peer is, and how two nodes come to know each other: keys, pins, TLS, enrolment.
//!
//! - [`Identity`] is a node's key and certificate. [`KeyId`](crate::model::KeyId) is the SHA-256 of that key;
//!   [`NodeId`](crate::model::NodeId) that of the node's first key, and it stays when the key is renewed.
//! - [`Pins`] names the one permitted peer by its key, and while the peer renews it by the next one too. The rest of its certificate proves nothing and is not checked.
//! - [`Tls`] makes connections, with TLS 1.3 only. Both sides refuse a key that is not pinned *inside* the handshake.
//!   Sessions are never resumed: a resumed session asks no verifier, so it would outlive its pin.
//! - [`KeyExchange`] says whether a link must withstand a quantum computer of later, and what follows where a router drops the
//!   large hello of that.
//! - [`Enrolment`] (master) and [`Enrolling`] (shadow) are the two ends of the protocol by which a shadow with a
//!   [`JoinToken`], or with a user and a password of the master's host, and its master pin each other.
//!
//! Nothing here reads or writes files, keeps process-wide state, or limits time. The caller does.
//!
//! # Expired certificates
//! The dates of a pinned certificate are not compared with the clock. Whoever holds the key can write new dates, so the
//! check would keep nobody out. But a wrong clock (a machine without a battery starts in 1970) or a forgotten rotation
//! would separate a healthy pair, on both nodes at once, and without a witness that makes two masters. So a certificate
//! that is about to end raises an alert instead: see [`Identity::expires`].
#![allow(clippy::disallowed_methods, reason = "a new key needs randomness, and its certificate a date")]

mod certificate;
mod client_hello;
mod connection;
mod enrol;
mod key;
mod key_exchange;
mod pin;
mod provider;
mod tls;
mod token;

#[cfg(any(fuzzing, test))]
pub use certificate::PeerCertificate;
pub use client_hello::OpenEnrolments;
pub use connection::{Refused, Stream, Unpermitted, refused_by_peer};
pub use enrol::{
    Credentials, ENROLMENT_CLOSED, EnrolError, EnrolRequest, Enrolled, Enrolling, Enrolment, Shown, TRY_LATER,
};
pub use key::{Identity, IdentityError};
pub use key_exchange::KeyExchange;
pub use pin::Pins;
pub use provider::default_provider;
pub use tls::{Accepted, Tls, key_exchange_of, peer_key_of};
pub use token::{JoinToken, ParseTokenError};

#[cfg(test)]
mod tests;
