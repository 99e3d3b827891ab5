//! What an alert is about, where the engine itself names it. Alerts about strangers, certificates and states that only a person ends
//! have an address, a certificate or the word of the state as their subject.

use crate::protocol::alerts::Alert;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Subject {
    /// The other node.
    Peer,
    /// This node.
    ThisNode,
    /// This node's disk, which does not answer.
    Disk,
    /// The room that this node's disk has left.
    Room,
    /// Strangers whose addresses are not told apart.
    OtherAddresses,
    /// Another node with this node's identity, which the peer has refused.
    OwnCopy,
    /// The witness.
    Witness,
    /// This node's audit log.
    Audit,
}

impl Subject {
    /// The stable word for it, as alerts are stored and shown.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::ThisNode => "this node",
            Self::Disk => "this node's disk",
            Self::Room => "room on this node's disk",
            Self::OtherAddresses => "other addresses",
            Self::OwnCopy => "copy of this node",
            Self::Witness => "witness",
            Self::Audit => "audit log",
        }
    }

    /// Whether this alert is about it.
    pub(in super::super) fn is_of(self, alert: &Alert) -> bool {
        alert.subject == self.as_str()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.as_str().to_owned()
    }
}
