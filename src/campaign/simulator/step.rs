//! What is done to a pair: concrete steps.

use serde::{Deserialize, Serialize};

use crate::testing::Side;

/// Something that happens to the pair. A step that makes no sense when it comes (starting a running node) is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Time passes.
    Run {
        /// Microseconds.
        us: u64,
    },
    /// A caller commits.
    Commit {
        /// On this node.
        node: Side,
        /// This entry.
        key: u8,
        /// Sets it, or removes it.
        value: Option<u64>,
        /// Only if the entry is there.
        guarded: bool,
    },
    /// Nothing sent by this node arrives until it is healed.
    Cut {
        /// The sender.
        from: Side,
    },
    /// What was held back arrives.
    Heal {
        /// The sender.
        from: Side,
    },
    /// All connections break.
    Reset,
    /// One way takes about this long from now on.
    Latency {
        /// Microseconds.
        us: u64,
    },
    /// The next dials of this node fail.
    FailDials {
        /// The dialler.
        node: Side,
        /// How many.
        count: u8,
    },
    /// Power is cut.
    Crash {
        /// Of this node.
        node: Side,
        /// The peer is not told by a closed connection.
        silent: bool,
        /// How much of the batch under way reached the disk, of 255.
        kept: u8,
    },
    /// A crashed or stopped node starts again.
    Start {
        /// Which one.
        node: Side,
    },
    /// A node stands still, as under SIGSTOP.
    Pause {
        /// Which one.
        node: Side,
    },
    /// It goes on.
    Resume {
        /// Which one.
        node: Side,
        /// Its timer is seen before what waited in its sockets.
        timer_first: bool,
    },
    /// The disk is full, or has room again.
    DiskFull {
        /// Whose.
        node: Side,
        /// Full?
        full: bool,
    },
    /// The batch under way, or the next one, fails.
    FailSync {
        /// Whose.
        node: Side,
        /// How much of it reached the disk, of 255.
        kept: u8,
    },
    /// A batch takes about this long from now on.
    DiskLatency {
        /// Whose.
        node: Side,
        /// Microseconds.
        us: u64,
    },
    /// What the host answers to "may I take over" from now on.
    MayTakeOver {
        /// Whose host.
        node: Side,
        /// Its answer.
        allowed: bool,
    },
    /// Whether the host accepts what is pushed from now on.
    Validation {
        /// Whose host.
        node: Side,
        /// Its answer.
        accepts: bool,
    },
    /// Power is cut between two actions of one list.
    CrashAt {
        /// Of this node.
        node: Side,
        /// The peer is not told by a closed connection.
        silent: bool,
        /// How much of the batch under way reached the disk, of 255.
        kept: u8,
        /// So many actions of the next event that asks for any are carried out.
        actions: u8,
    },
    /// Somebody copies the disk.
    KeepCopy {
        /// Whose.
        node: Side,
    },
    /// Power is cut, and what comes back is the old copy of the disk.
    RollBack {
        /// Whose.
        node: Side,
    },
    /// Power is cut, and the disk is as it was before the first start.
    Blank {
        /// Whose.
        node: Side,
    },
    /// The wall clock is set to another time.
    WallJump {
        /// Whose.
        node: Side,
        /// So many milliseconds away from where it began.
        ms: i64,
    },
    /// Frames on the connections that are open now take longer; connections opened later overtake them.
    SlowConns {
        /// Microseconds more.
        us: u64,
    },
    /// All connections break for this node now, and for the peer after what is on its way to it.
    HalfReset {
        /// For this node.
        node: Side,
    },
    /// A node accepts a connection whose dialler is gone, and learns that late.
    Ghost {
        /// Which node.
        node: Side,
        /// Microseconds until it learns it.
        us: u64,
    },
    /// Something happens to the witness, or between a node and it.
    Witness {
        /// What.
        what: WitnessFault,
    },
    /// An operator gives a command.
    Operator {
        /// To this node.
        node: Side,
        /// What.
        verb: Verb,
    },
    /// The peer of this node is byzantine: it sends an arbitrary well-formed message.
    ByzantinePeer {
        /// At this node.
        node: Side,
        /// From which the message is drawn.
        seed: u64,
    },
}

/// A fault of the witness, or of a node's route to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessFault {
    /// A node does not reach it, or reaches it again.
    Cut {
        /// Which node.
        node: Side,
        /// Cut?
        cut: bool,
    },
    /// It takes about this long to answer a node, which may be longer than that node waits.
    Latency {
        /// Which node.
        node: Side,
        /// Microseconds.
        us: u64,
    },
    /// The fate of a question of this node, after the fates given before.
    Fate {
        /// Which node.
        node: Side,
        /// What.
        fate: Fate,
    },
    /// The fate of the next swap of this node, however often it reads before.
    Swap {
        /// Which node.
        node: Side,
        /// What.
        fate: Fate,
    },
    /// Somebody copies the record.
    Keep,
    /// The record is replaced by the copy.
    Restore,
    /// The record is deleted.
    Wipe,
    /// The record is replaced by one of another pair.
    Foreign,
}

/// The fate of a question to the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It never arrives.
    QuestionLost,
    /// It arrives; its answer does not.
    AnswerLost,
    /// It arrives so much later. By then the node may have given up, asked again or restarted.
    Late {
        /// Microseconds.
        us: u64,
    },
    /// It arrives, and once more so much later.
    Twice {
        /// Microseconds.
        us: u64,
    },
}

/// A command of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Close the link and keep it closed.
    Disconnect,
    /// Allow it again.
    Reconnect,
    /// Ask for a full push.
    Resync,
    /// Take over, with or without accepting a loss.
    TakeOver {
        /// Changes may be lost.
        accept_loss: bool,
    },
    /// Commits wait for the shadow, or do not, until the next start.
    Replicate {
        /// They wait.
        synchronous: bool,
    },
    /// Mark the first alert as seen.
    Acknowledge,
    /// Stop.
    Shutdown,
    /// Allow a shadow to be enrolled.
    Enable,
    /// Forbid it.
    Disable,
    /// Remember a join token.
    Token {
        /// From which its secret is made.
        secret: u64,
    },
    /// Forget the pairing.
    Reset,
    /// Switch the roles.
    SwitchRoles,
    /// Pause automatic failover, or let it go on.
    Pause {
        /// Paused?
        on: bool,
    },
    /// Freeze the configuration, or let it be changed again.
    Freeze {
        /// Frozen?
        on: bool,
    },
    /// Renew the node's key.
    Rotate,
    /// Replace the shadow, and remember a join token for another one.
    ReplaceShadow {
        /// From which its secret is made.
        secret: u64,
    },
}
