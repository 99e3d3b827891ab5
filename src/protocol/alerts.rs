//! The alert book: what is wrong now, each trouble once, counted.

use serde::{Deserialize, Serialize};

use crate::model::Revision;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AlertKind {
    /// Change sets could not be pushed.
    PushFailed,
    /// The shadow's host refused what was pushed.
    PushRejected,
    /// The peer does not answer.
    ShadowLost,
    /// Somebody who is not the permitted peer tried to connect or enrol.
    UnpermittedPeer,
    /// The peer speaks no common version.
    VersionMismatch,
    /// The data keys differ.
    KeyMismatch,
    /// The clocks differ.
    ClockSkew,
    /// Same position, different content.
    DigestMismatch,
    /// A certificate is about to expire.
    CertificateExpiring,
    /// This node took over.
    Takeover,
    /// Two masters met.
    TwoMasters,
    /// Changes of a former master are in quarantine.
    Diverged,
    /// The witness does not answer.
    WitnessUnreachable,
    /// The disk is full or failed, here or on the peer.
    DiskTrouble,
    /// Pushes succeed again: what the trouble was.
    Recovered,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// The pair does not protect now, or needs an operator.
    Error,
}

/// One trouble that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// By which it is acknowledged.
    pub id: u64,
    /// What it is.
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a peer, a disk, an address. One alert stands per kind and subject.
    pub subject: String,
    /// What happened and what to do.
    pub message: String,
    /// Occurrences of the same trouble.
    pub count: u64,
    /// First time, wall clock, milliseconds since 1970.
    pub first_ms: u64,
    /// Last time.
    pub last_ms: u64,
    /// Change sets it concerns, first and last.
    pub revisions: Option<(Revision, Revision)>,
    /// An operator has seen it.
    pub acknowledged: bool,
}
