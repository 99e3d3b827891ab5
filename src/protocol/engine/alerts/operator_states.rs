//! The states that only a person ends. Each is an alert of the kind `needs_operator`, with its word as the subject. `first` of the
//! alert says since when, so nothing is written while the state only lasts.
//!
//! | | holds | holds, its grace over | holds for long | holds no more |
//! |---|---|---|---|---|
//! | absent | waits | - | - | - |
//! | waits | waits | stands | - | absent |
//! | stands | stands | stands | stands as an error | absent |
//! | stood before a restart | stands | stands | stands as an error | stands until the node has met its peer or waited for it, then absent |

use super::super::Moment;
use crate::protocol::alerts::{Alert, AlertKind};

/// A state that only a person ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum OperatorState {
    /// This node's operator holds the link.
    Held,
    /// The peer's operator holds the link.
    HeldByPeer,
    /// The master is silent, and this shadow does not take over by itself.
    NoTakeover,
    /// A master by its directory that does not serve.
    NotServing,
    /// One side refuses the other.
    Refused,
    /// Change sets are in doubt, and no other is taken.
    CommitsBlocked,
    /// There were too many takeovers. It ends by itself, and until then no takeover does.
    HoldDown,
    /// A master without a shadow, and none may be enrolled.
    NotEnabled,
    /// A master without a shadow, although one may be enrolled.
    NoShadow,
    /// A join token waits to be used.
    Token,
    /// A shadow whose pairing was forgotten.
    Detached,
    /// This node advertises an address at which its peer cannot dial it.
    Undialable,
    /// So does the peer.
    PeerUndialable,
    /// An operator has paused automatic failover.
    Paused,
    /// An operator has frozen the configuration.
    Frozen,
}

const STATES: usize = 15;

/// When each of them began, as far as it holds.
#[derive(Clone, Debug)]
pub(in super::super) struct OperatorStates {
    started: Moment,
    since: [Option<Moment>; STATES],
    addresses: Undialable,
}

/// Why nobody can dial the addresses that the two nodes advertise, where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undialable {
    /// This node's.
    pub own: Option<String>,
    /// The peer's.
    pub peer: Option<String>,
}

impl OperatorState {
    pub(in super::super) const ALL: [Self; STATES] = [
        Self::Held,
        Self::HeldByPeer,
        Self::NoTakeover,
        Self::NotServing,
        Self::Refused,
        Self::CommitsBlocked,
        Self::HoldDown,
        Self::NotEnabled,
        Self::NoShadow,
        Self::Token,
        Self::Detached,
        Self::Undialable,
        Self::PeerUndialable,
        Self::Paused,
        Self::Frozen,
    ];

    /// The stable word for it.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::HeldByPeer => "held_by_peer",
            Self::NoTakeover => "no_takeover",
            Self::NotServing => "not_serving",
            Self::Refused => "refused",
            Self::CommitsBlocked => "commits_blocked",
            Self::HoldDown => "hold_down",
            Self::NotEnabled => "not_enabled",
            Self::NoShadow => "no_shadow",
            Self::Token => "token",
            Self::Detached => "detached",
            Self::Undialable => "undialable",
            Self::PeerUndialable => "peer_undialable",
            Self::Paused => "paused",
            Self::Frozen => "frozen",
        }
    }

    /// The alert about it, among these.
    pub(in super::super) fn alert(self, alerts: &[Alert]) -> Option<&Alert> {
        alerts.iter().find(|alert| Self::of(alert) == Some(self))
    }

    /// The state that this alert is about, where it is about one that this version knows.
    pub(in super::super) fn of(alert: &Alert) -> Option<Self> {
        let about = |state: &Self| alert.kind == AlertKind::NeedsOperator && alert.subject == state.as_str();
        Self::ALL.into_iter().find(about)
    }
}

impl OperatorStates {
    pub(in super::super) fn new(started: Moment) -> Self {
        Self { started, since: [None; STATES], addresses: Undialable::default() }
    }

    /// The advertised addresses were looked at.
    pub(in super::super) fn set_addresses(&mut self, found: Undialable) {
        self.addresses = found;
    }

    /// What was found at the last look at them.
    pub(in super::super) fn addresses(&self) -> &Undialable {
        &self.addresses
    }

    /// When this run began.
    pub(in super::super) fn started(&self) -> Moment {
        self.started
    }

    /// Whether the state holds at this moment. Returns since when it does.
    pub(in super::super) fn note(&mut self, state: OperatorState, holds: bool, at: Moment) -> Option<Moment> {
        let since = &mut self.since[state as usize];
        *since = holds.then(|| since.unwrap_or(at));
        *since
    }

    /// Since when the state holds.
    pub(in super::super) fn since(&self, state: OperatorState) -> Option<Moment> {
        self.since[state as usize]
    }

    /// This node was stopped. How long a state has held meanwhile says nothing.
    pub(in super::super) fn restart_clocks(&mut self, at: Moment) {
        self.since.iter_mut().flatten().for_each(|since| *since = at);
    }
}
