//! Who is accepted as a link, and whether enrolment is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use arc_swap::ArcSwap;

use crate::identity::Pins;
use crate::protocol::engine::{DurableState, StoredToken};
use crate::protocol::wire::Role;

/// What the acceptor needs to know of the durable state. The driver keeps it up to date.
pub struct AcceptPolicy {
    /// Who may become a link.
    pub pins: Pins,
    /// High availability is enabled.
    enabled: AtomicBool,
    /// This node is master, and has room for a shadow.
    vacant: AtomicBool,
    tokens: ArcSwap<Vec<StoredToken>>,
    questions: AtomicU64,
}

impl AcceptPolicy {
    pub fn new(pins: Pins) -> Self {
        let (enabled, vacant, tokens) = (AtomicBool::new(false), AtomicBool::new(false), ArcSwap::default());
        Self { pins, enabled, vacant, tokens, questions: AtomicU64::new(0) }
    }

    /// Copies what it needs from the durable state. Returns whether the permitted keys changed.
    pub fn update(&self, durable_state: &DurableState) -> bool {
        self.enabled.store(durable_state.enabled, SeqCst);
        self.vacant.store(durable_state.role == Role::Master && durable_state.peer.is_none(), SeqCst);
        if **self.tokens.load() != durable_state.tokens {
            self.tokens.store(Arc::new(durable_state.tokens.clone()));
        }
        let peer = durable_state.peer.as_ref().map(|peer| peer.keys);
        let changed = self.pins.get() != peer;
        if changed {
            self.pins.set(peer);
        }
        changed
    }

    /// Secrets of the valid tokens. The enrolment protocol is answered only while there is one. The engine forgets those whose
    /// time is over, and decides whether there is room for a shadow, with its reason.
    pub fn secrets(&self) -> Vec<[u8; 16]> {
        if !self.enabled.load(SeqCst) {
            return Vec::new();
        }
        let tokens = self.tokens.load();
        tokens.iter().map(|token| token.secret).collect()
    }

    /// Whether a user of the host may enrol a node: while there is room for a shadow.
    pub fn is_vacant(&self) -> bool {
        self.enabled.load(SeqCst) && self.vacant.load(SeqCst)
    }

    /// A number for the next question to the engine.
    pub fn next_question(&self) -> u64 {
        self.questions.fetch_add(1, SeqCst)
    }
}
