//! Why a node is in the role that it is in, as words that do not change.

/// Why role or serving changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoleReason {
    /// The node has just started.
    Started,
    /// The first master of a new pair.
    FirstStart,
    /// There is no peer to ask.
    NoPeer,
    /// The peer answered as a shadow.
    PeerAnswered,
    /// The peer did not answer for its own takeover delay.
    PeerSilent,
    /// The peer cannot be reached, so it does not act as master.
    PeerUnreachable,
    /// The peer holds what this master's disk lost.
    PeerAhead,
    /// The link was lost.
    LinkLost,
    /// The master was silent for the takeover delay.
    Takeover,
    /// An operator made this node master.
    Operator,
    /// The witness names this node.
    Witness,
    /// The witness names the other node.
    NotNamed,
    /// The witness records more than this node's disk holds.
    RolledBack,
    /// Neither the peer's promise nor the lease at the witness covers now.
    Uncovered,
    /// The node was stopped or starved for too long.
    Stalled,
    /// Mastership was confirmed.
    Confirmed,
    /// The master was heard again.
    MasterHeard,
    /// The host did not allow a takeover.
    HostRefused,
    /// A takeover was not won at the witness.
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
            Self::Witness => "witness",
            Self::NotNamed => "not_named",
            Self::RolledBack => "rolled_back",
            Self::Uncovered => "uncovered",
            Self::Stalled => "stalled",
            Self::Confirmed => "confirmed",
            Self::MasterHeard => "master_heard",
            Self::HostRefused => "host_refused",
            Self::TakeoverLost => "claim_lost",
            Self::SteppedDown => "yielded",
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
