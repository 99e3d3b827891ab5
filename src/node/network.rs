//! The network: links to the peer, the acceptor in front of them, and enrolment.

pub mod accept_policy;
pub mod acceptor;
pub mod address_book;
pub mod address_check;
pub mod bulk_joiner;
pub mod connection;
pub mod dial;
pub mod enrolment_client;
pub mod enrolment_limiter;
pub mod enrolment_server;
pub mod frames;
pub mod handshake_slots;
pub mod link;
pub mod permitted_sources;
pub mod receive_budget;
pub mod refusal_reporter;
