//! The ways in which a peer can break the protocol by messages that can be read. What cannot be read is `Event::Malformed`.

/// What an authenticated peer did that the protocol does not allow. The link is closed; this node's durable state does not
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// The first message was not a hello.
    #[error("a message before the hello")]
    MessageBeforeHello,
    /// It sent a second hello.
    #[error("a second hello")]
    SecondHello,
    /// A message names an epoch that is too far ahead for any history.
    #[error("an epoch that no history leads to")]
    EpochOutOfReach,
    /// It says that a mode of the pair was turned on and off more often than anybody can have said.
    #[error("modes of the pair that were turned impossibly often")]
    ModesOutOfReach,
    /// It sent a repair to a node that is not the sink.
    #[error("a repair for a node that is not the sink")]
    RepairWithoutSink,
    /// A repair says that an empty copy is up to date.
    #[error("a repair that calls an empty copy complete")]
    RepairOfNothing,
    /// The position of a snapshot is not in the snapshot's history.
    #[error("a snapshot whose position is not in its history")]
    SnapshotOutsideHistory,
    /// It sent more bulk than the window allows.
    #[error("more unacknowledged bulk than allowed")]
    WindowExceeded,
    /// It ended a snapshot before all its pieces were acknowledged.
    #[error("the end of a snapshot before its last piece was acknowledged")]
    SnapshotEndedEarly,
    /// It ended a snapshot that never began.
    #[error("the end of a snapshot that never began")]
    SnapshotNeverBegan,
    /// It sent a message that a sink never sends.
    #[error("a message that a sink never sends")]
    NotOfASink,
    /// It is ready for a snapshot that was never offered.
    #[error("ready for a snapshot that was never offered")]
    SnapshotNeverOffered,
    /// Its copy did not match after repeated full pushes.
    #[error("the copy does not match after repeated full pushes")]
    CopyNeverMatches,
    /// What it sends does not match what it says, after repeated repairs.
    #[error("what it sends does not match what it says, after repeated repairs")]
    SourceNeverMatches,
    /// It acknowledged more bulk than was sent.
    #[error("an acknowledgement of more bulk than was sent")]
    ImpossibleAck,
}
