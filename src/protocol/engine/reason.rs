//! Why a node has its role, as stable words.

/// Why the role, or whether the node serves, changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoleReason {
    /// The node has just started.
    Started,
    /// The first master of a new pair.
    FirstStart,
    /// No peer is enrolled.
    NoPeer,
    /// The peer answered as a shadow.
    PeerAnswered,
    /// The peer did not answer within its own takeover delay.
    PeerSilent,
    /// The peer cannot be reached, so it is not acting as master.
    PeerUnreachable,
    /// The peer holds change sets that this master's disk lost.
    PeerAhead,
    /// The link was lost.
    LinkLost,
    /// The master was silent for the takeover delay.
    Takeover,
    /// An operator made this node master.
    Operator,
    /// The roles were switched by plan, or that was called off.
    Switched,
    /// The witness' record names this node.
    Witness,
    /// The witness' record names the other node.
    NotNamed,
    /// The witness records a revision that this node's disk lacks.
    RolledBack,
    /// Another node with this node's identity serves, or is linked to the peer.
    Duplicate,
    /// The peer's promise and the lease at the witness have both run out.
    Uncovered,
    /// The node was stopped, or did not run, for too long.
    Stalled,
    /// Mastership was confirmed.
    Confirmed,
    /// The master was heard again.
    MasterHeard,
    /// The host did not allow a takeover.
    HostRefused,
    /// The swap of a takeover did not succeed.
    TakeoverLost,
    /// Another master outranks this one.
    SteppedDown,
    /// The disk failed.
    DiskTrouble,
    /// The store was opened again.
    Reopened,
    /// The node is stopped.
    Stopped,
}

impl RoleReason {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::FirstStart => "first_start",
            Self::NoPeer => "no_peer",
            Self::PeerAnswered => "peer_answered",
            Self::PeerSilent => "peer_silent",
            Self::PeerUnreachable => "peer_unreachable",
            Self::PeerAhead => "peer_ahead",
            Self::LinkLost => "link_lost",
            Self::Takeover => "takeover",
            Self::Operator => "operator",
            Self::Switched => "switched",
            Self::Witness => "witness",
            Self::NotNamed => "not_named",
            Self::RolledBack => "rolled_back",
            Self::Duplicate => "duplicate",
            Self::Uncovered => "uncovered",
            Self::Stalled => "stalled",
            Self::Confirmed => "confirmed",
            Self::MasterHeard => "master_heard",
            Self::HostRefused => "host_refused",
            Self::TakeoverLost => "takeover_lost",
            Self::SteppedDown => "stepped_down",
            Self::DiskTrouble => "disk_trouble",
            Self::Reopened => "reopened",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for RoleReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
