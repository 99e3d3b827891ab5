//! The states of a node and their transitions, as one table.

/// The state of a node. The first six states belong to the role of master, the next four to the role of shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Its durable state says master. It asks its peer and the witness whether that is still so.
    CheckingStartup,
    /// The shadow holds change sets that this master's disk lost. This master copies them.
    TakingTail,
    /// The era that this master begins is being made durable.
    OpeningEra,
    /// Serves as master.
    Serving,
    /// It was stopped for too long, or has lost its cover. It acknowledges nothing until its mastership is confirmed.
    Stalled,
    /// Another master outranks it. It quarantines the changes that only it has, then becomes shadow.
    SteppingDown,
    /// Follows the master, and watches for its silence.
    Following,
    /// The master was silent for the takeover delay. The host is asked whether a takeover is allowed.
    AskingHost,
    /// It stores the term that it tries, then swaps itself into the witness' record.
    AskingWitness,
    /// The era that it begins as the new master is being made durable.
    Promoting,
    /// The store failed and is being reopened. The role may be either.
    Broken,
    /// The node is stopped. The role may be either. No transition leaves this state.
    Stopped,
}

/// An input of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// No peer is enrolled.
    NoPeer,
    /// The peer answered as a shadow, and holds nothing that this node lacks.
    PeerFollows,
    /// The peer answered as a shadow, and holds change sets that this node lacks.
    PeerAhead,
    /// The peer answered as a master that outranks this one.
    Outranked,
    /// The peer did not answer within its own takeover delay.
    PeerSilent,
    /// The link was lost.
    LinkLost,
    /// An operator makes this node master.
    OperatorTakesOver,
    /// The era is durable.
    EraDurable,
    /// The era is durable, but this node has no cover.
    EraDurableUncovered,
    /// The era could not be made durable. The store still works.
    EraFailed,
    /// This node's own clock loop was late.
    Late,
    /// The peer's promise and the lease have both run out.
    Uncovered,
    /// Mastership is confirmed. Without a witness: the peer answered as a shadow, or a dial failed. With a witness: a cover is in
    /// force.
    Confirmed,
    /// The witness' record names the other node, or a revision that this node lacks.
    Deposed,
    /// The witness' record names this node, and the peer does not answer.
    NamedByWitness,
    /// The quarantine and the role of shadow are durable.
    SteppedDown,
    /// The master was silent for the takeover delay, and no condition prevents a takeover.
    Silence,
    /// A takeover begins that must be decided at the witness.
    MustAskWitness,
    /// The swap at the witness succeeded.
    WitnessWon,
    /// The swap did not succeed. The role is that of shadow.
    WitnessLost,
    /// The swap did not succeed. The role is that of master.
    WitnessLostAsMaster,
    /// The host allows the takeover.
    HostAllows,
    /// The host does not allow the takeover.
    HostRefuses,
    /// The master was heard again.
    MasterHeard,
    /// A planned switch of roles: this master lets go, before it hands over.
    HandsOver,
    /// It has handed over.
    HandedOver,
    /// The master has handed over to this shadow.
    GivenMastership,
    /// The store failed.
    StoreFailed,
    /// The store is open again. The role is that of master.
    ReopenedAsMaster,
    /// The store is open again. The role is that of shadow.
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

    /// The state after this transition. `None` if the transition does not apply in this state.
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
                T::NoPeer | T::PeerFollows | T::PeerSilent | T::NamedByWitness | T::OperatorTakesOver,
            ) => Some(S::OpeningEra),
            (S::CheckingStartup, T::PeerAhead) => Some(S::TakingTail),
            (S::TakingTail, T::PeerFollows | T::OperatorTakesOver) => Some(S::OpeningEra),
            (S::TakingTail, T::LinkLost) => Some(S::CheckingStartup),
            (S::OpeningEra, T::EraDurable) => Some(S::Serving),
            (S::OpeningEra, T::EraFailed) => Some(S::CheckingStartup),
            (S::OpeningEra | S::Promoting, T::EraDurableUncovered) => Some(S::Stalled),
            (S::Serving, T::Late | T::Uncovered | T::HandsOver) => Some(S::Stalled),
            (S::Stalled, T::HandedOver) => Some(S::SteppingDown),
            (S::Stalled, T::Confirmed) => Some(S::Serving),
            (S::CheckingStartup | S::TakingTail | S::Serving | S::Stalled, T::Outranked) => Some(S::SteppingDown),
            (S::Serving | S::Stalled, T::Deposed) => Some(S::CheckingStartup),
            (S::SteppingDown, T::SteppedDown) => Some(S::Following),

            (S::Following, T::Silence) => Some(S::AskingHost),
            (S::Following | S::AskingHost, T::OperatorTakesOver) => Some(S::Promoting),
            (S::Following, T::GivenMastership) => Some(S::Promoting),
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

    /// Whether the role in this state is that of master. That includes a role that is not durable yet.
    pub fn is_master(self) -> bool {
        matches!(self, Self::CheckingStartup | Self::TakingTail | Self::OpeningEra | Self::Serving | Self::Stalled)
    }
}
