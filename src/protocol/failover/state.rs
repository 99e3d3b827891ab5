//! A node's state and what changes it: one table.

/// Where a node stands. The first six belong to the role of master, the next four to that of shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Master by its directory; asks its peer whether that is still so.
    CheckingStartup,
    /// The shadow holds what this master's disk lost; takes it over.
    TakingTail,
    /// Its new era is being made durable.
    OpeningEra,
    /// Acts as master.
    Serving,
    /// Was stopped for too long, or has lost its cover; acknowledges nothing until its mastership is confirmed.
    Stalled,
    /// Another outranks it; its own changes go to quarantine, then it is shadow.
    SteppingDown,
    /// Follows the master, and watches it.
    Following,
    /// The master was silent for the takeover delay; the host is asked.
    AskingHost,
    /// Notes the term that it tries, then swaps the witness' record to itself.
    AskingWitness,
    /// Its era as the new master is being made durable.
    Promoting,
    /// The store failed and is being opened again; either role.
    Broken,
    /// The node is stopped; either role. No transition leads on.
    Stopped,
}

/// What changes a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// There is no peer to ask.
    NoPeer,
    /// The peer answered as a shadow that has nothing this node lacks.
    PeerFollows,
    /// The peer answered as a shadow that has what this node lacks.
    PeerAhead,
    /// The peer answered as a master that outranks this one.
    Outranked,
    /// The peer did not answer for its own takeover delay.
    PeerSilent,
    /// The link was lost.
    LinkLost,
    /// An operator makes this node master.
    OperatorTakesOver,
    /// The era is durable.
    EraDurable,
    /// The era is durable, but no cover is there any more, or yet.
    EraDurableUncovered,
    /// The era could not be made durable; the store works.
    EraFailed,
    /// This node's own clock loop was late.
    Late,
    /// Neither the peer's promise nor the lease covers now.
    Uncovered,
    /// Mastership is confirmed: without a witness the peer answered as a shadow, or a dial failed; with one, a cover is there.
    Confirmed,
    /// The witness names the other node, or records more than this one holds.
    Deposed,
    /// The witness names this node, and the peer does not answer.
    WitnessVouches,
    /// Role and quarantine are durable.
    SteppedDown,
    /// The master was silent for the takeover delay, and nothing speaks against a takeover.
    Silence,
    /// A takeover has to be won at the witness.
    MustAskWitness,
    /// It is won.
    WitnessWon,
    /// It is not; the role is that of shadow.
    WitnessLost,
    /// It is not; the role is that of master.
    WitnessLostAsMaster,
    /// The host allows it.
    HostAllows,
    /// The host does not.
    HostRefuses,
    /// The master was heard again.
    MasterHeard,
    /// The store failed.
    StoreFailed,
    /// The store is open again; the role is that of master.
    ReopenedAsMaster,
    /// The store is open again; the role is that of shadow.
    ReopenedAsShadow,
    /// The node stops.
    Stopped,
}

impl NodeState {
    #[cfg(test)]
    /// Every state, for tables.
    pub const ALL: [Self; 12] = [
        Self::CheckingStartup,
        Self::TakingTail,
        Self::OpeningEra,
        Self::Serving,
        Self::Stalled,
        Self::SteppingDown,
        Self::Following,
        Self::AskingHost,
        Self::AskingWitness,
        Self::Promoting,
        Self::Broken,
        Self::Stopped,
    ];

    /// The state after this transition; `None` where it changes nothing.
    pub fn transition(self, turn: Transition) -> Option<Self> {
        use NodeState as S;
        use Transition as T;
        match (self, turn) {
            (S::Stopped, _) => None,
            (_, T::Stopped) => Some(S::Stopped),
            (S::Broken, T::ReopenedAsMaster) => Some(S::CheckingStartup),
            (S::Broken, T::ReopenedAsShadow) => Some(S::Following),
            (S::Broken, _) => None,
            (_, T::StoreFailed) => Some(S::Broken),

            (
                S::CheckingStartup,
                T::NoPeer | T::PeerFollows | T::PeerSilent | T::WitnessVouches | T::OperatorTakesOver,
            ) => Some(S::OpeningEra),
            (S::CheckingStartup, T::PeerAhead) => Some(S::TakingTail),
            (S::TakingTail, T::PeerFollows | T::OperatorTakesOver) => Some(S::OpeningEra),
            (S::TakingTail, T::LinkLost) => Some(S::CheckingStartup),
            (S::OpeningEra, T::EraDurable) => Some(S::Serving),
            (S::OpeningEra, T::EraFailed) => Some(S::CheckingStartup),
            (S::OpeningEra | S::Promoting, T::EraDurableUncovered) => Some(S::Stalled),
            (S::Serving, T::Late | T::Uncovered) => Some(S::Stalled),
            (S::Stalled, T::Confirmed) => Some(S::Serving),
            (S::CheckingStartup | S::TakingTail | S::Serving | S::Stalled, T::Outranked) => Some(S::SteppingDown),
            (S::Serving | S::Stalled, T::Deposed) => Some(S::CheckingStartup),
            (S::SteppingDown, T::SteppedDown) => Some(S::Following),

            (S::Following, T::Silence) => Some(S::AskingHost),
            (S::Following | S::AskingHost, T::OperatorTakesOver) => Some(S::Promoting),
            (S::Following | S::AskingHost | S::CheckingStartup | S::TakingTail, T::MustAskWitness) => {
                Some(S::AskingWitness)
            }
            (S::AskingWitness, T::WitnessWon) => Some(S::Promoting),
            (S::AskingWitness, T::WitnessLost) => Some(S::Following),
            (S::AskingWitness, T::WitnessLostAsMaster) => Some(S::CheckingStartup),
            (S::AskingHost, T::HostAllows) => Some(S::Promoting),
            (S::AskingHost, T::HostRefuses | T::MasterHeard) => Some(S::Following),
            (S::Promoting, T::EraDurable) => Some(S::Serving),
            (S::Promoting, T::EraFailed) => Some(S::Following),
            _ => None,
        }
    }

    /// Whether the role is that of master here, before and after it is durable.
    pub fn is_master(self) -> bool {
        matches!(self, Self::CheckingStartup | Self::TakingTail | Self::OpeningEra | Self::Serving | Self::Stalled)
    }
}
