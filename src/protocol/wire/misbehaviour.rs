//! How a peer breaks the protocol.

/// What an authenticated peer did that its role and state do not allow. The link is dropped; nothing of this node's state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// Something other than a hello came first.
    #[error("a message before the hello")]
    MessageBeforeHello,
    /// A hello came after the first.
    #[error("a second hello")]
    SecondHello,
    /// A heartbeat names an epoch that no history leads to.
    #[error("an epoch that no history leads to")]
    EpochOutOfReach,
    /// A repair came to a node that is no sink.
    #[error("a repair of one who is no sink")]
    RepairWithoutSink,
    /// A repair calls an empty copy complete.
    #[error("nothing is no copy")]
    RepairOfNothing,
    /// A snapshot's position is not in its own history.
    #[error("a snapshot outside its own history")]
    SnapshotOutsideHistory,
    /// More bulk came than the window allows.
    #[error("more bulk than was acknowledged")]
    WindowExceeded,
    /// The end of a snapshot came before its pieces were acknowledged.
    #[error("the end of a snapshot before its last acknowledgement")]
    SnapshotEndedEarly,
    /// The end of a snapshot came that never began.
    #[error("the end of a snapshot that never began")]
    SnapshotNeverBegan,
    /// A message came that no sink sends.
    #[error("a message that no sink says")]
    NotOfASink,
    /// The peer is ready for a snapshot that was never offered.
    #[error("ready for a snapshot that was never offered")]
    SnapshotNeverOffered,
    /// The peer's copy differs after every full push.
    #[error("the copy does not match after repeated full pushes")]
    CopyNeverMatches,
    /// The peer acknowledges what it was not sent.
    #[error("an acknowledgement of what was never sent")]
    ImpossibleAck,
}
