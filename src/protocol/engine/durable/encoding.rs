//! The durable form of [`DurableState`]: frozen structs, as on the wire (`protocol/wire/v1.rs` states the rules). A newer
//! format is refused untouched; an older one will be read here, by the structs of its version.

use serde::{Deserialize, Serialize};

use super::state::{DurableState, Given, Moves, Peer, StoredToken};
use crate::model::limits::DURABLE_STATE_BYTES_MAX;
use crate::model::{Digest, Epoch, KeyId, NodeId, PairId, PinnedKeys, Position, Revision};
use crate::protocol::alerts::{Alert, AlertKind, Severity};
use crate::protocol::wire::{Mode, Modes, Role, WireError, durable_format, open_durable, seal_durable};

/// The format that this build writes. 1 lacked what was seen at the witness, 2 what was handed over and the modes of the pair,
/// 3 the keys of the peer, which then was named after its only one.
const FORMAT: u16 = 4;
/// The older ones that it reads.
const WITHOUT_KEYS: u16 = 3;
const WITHOUT_MOVES: u16 = 2;
const OLDEST: u16 = 1;
const WHAT: &str = "the durable state";

/// The durable state as bytes. Secret: they hold the secrets of join tokens.
///
/// # Errors
/// [`WireError::Bound`] where they exceed [`DURABLE_STATE_BYTES_MAX`]; what was written before stays right.
pub fn encode_durable_state(durable_state: &DurableState) -> Result<Vec<u8>, WireError> {
    let before = StateV2 { durable_state: durable_state.into(), witnessed: durable_state.witnessed.as_u64() };
    let Moves { given, modes, .. } = &durable_state.moves;
    let given = given.as_ref().map(GivenV3::from);
    let before = StateV3 { before, given, paused: modes.paused.into(), frozen: modes.frozen.into() };
    let peer_keys = durable_state.peer.as_ref().map(|peer| peer.keys.into());
    seal_durable::<StateV4, DURABLE_STATE_BYTES_MAX>(WHAT, FORMAT, &StateV4 { before, peer_keys })
}

/// Reads what [`encode_durable_state`] wrote.
///
/// # Errors
/// [`WireError::Newer`] where a newer program wrote them, [`WireError::Malformed`] and [`WireError::Bound`] where they
/// are damaged.
pub fn decode_durable_state(bytes: &[u8]) -> Result<DurableState, WireError> {
    match durable_format(bytes) {
        Some(OLDEST) => open_durable::<StateV1, DURABLE_STATE_BYTES_MAX>(WHAT, OLDEST, bytes)?.try_into(),
        Some(WITHOUT_MOVES) => open_durable::<StateV2, DURABLE_STATE_BYTES_MAX>(WHAT, WITHOUT_MOVES, bytes)?.try_into(),
        Some(WITHOUT_KEYS) => open_durable::<StateV3, DURABLE_STATE_BYTES_MAX>(WHAT, WITHOUT_KEYS, bytes)?.try_into(),
        _ => open_durable::<StateV4, DURABLE_STATE_BYTES_MAX>(WHAT, FORMAT, bytes)?.try_into(),
    }
}

#[derive(Serialize, Deserialize)]
struct StateV4 {
    before: StateV3,
    peer_keys: Option<PinnedKeysV4>,
}

#[derive(Serialize, Deserialize)]
struct PinnedKeysV4 {
    current: [u8; 32],
    next: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct StateV3 {
    before: StateV2,
    given: Option<GivenV3>,
    paused: ModeV3,
    frozen: ModeV3,
}

#[derive(Serialize, Deserialize)]
struct GivenV3 {
    epoch: u64,
    revision: RevisionV1,
    digest: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct ModeV3 {
    changes: u64,
    on: bool,
}

#[derive(Serialize, Deserialize)]
struct StateV2 {
    durable_state: StateV1,
    witnessed: u64,
}

#[derive(Serialize, Deserialize)]
struct StateV1 {
    node: [u8; 32],
    pair: [u8; 16],
    role: u8,
    epoch: u64,
    tried: u64,
    promised_ms: u64,
    enabled: bool,
    complete: bool,
    detached: bool,
    peer: Option<PeerV1>,
    tokens: Vec<TokenV1>,
    takeovers_ms: Vec<u64>,
    alerts: Vec<AlertV1>,
    next_alert: u64,
}

#[derive(Serialize, Deserialize)]
struct PeerV1 {
    node: [u8; 32],
    name: String,
    address: String,
    takeover_delay_ms: u64,
    confirmed: RevisionV1,
}

#[derive(Serialize, Deserialize)]
struct TokenV1 {
    secret: [u8; 16],
    expires_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct AlertV1 {
    id: u64,
    kind: u8,
    severity: u8,
    subject: String,
    message: String,
    count: u64,
    first_ms: u64,
    last_ms: u64,
    revisions: Option<(RevisionV1, RevisionV1)>,
    acknowledged: bool,
}

#[derive(Serialize, Deserialize)]
struct RevisionV1 {
    epoch: u64,
    seq: u64,
}

impl From<&DurableState> for StateV1 {
    fn from(durable_state: &DurableState) -> Self {
        Self {
            node: durable_state.node.0,
            pair: durable_state.pair.0,
            role: role_code(durable_state.role),
            epoch: durable_state.epoch.as_u64(),
            tried: durable_state.tried.as_u64(),
            promised_ms: durable_state.promised_ms,
            enabled: durable_state.enabled,
            complete: durable_state.complete,
            detached: durable_state.detached,
            peer: durable_state.peer.as_ref().map(PeerV1::from),
            tokens: durable_state.tokens.iter().map(TokenV1::from).collect(),
            takeovers_ms: durable_state.moves.takeovers_ms.clone(),
            alerts: durable_state.alerts.iter().map(AlertV1::from).collect(),
            next_alert: durable_state.next_alert,
        }
    }
}

impl TryFrom<StateV1> for DurableState {
    type Error = WireError;

    fn try_from(durable_state: StateV1) -> Result<Self, WireError> {
        Ok(Self {
            node: NodeId(durable_state.node),
            pair: PairId(durable_state.pair),
            role: role(durable_state.role)?,
            epoch: Epoch::from_u64(durable_state.epoch),
            tried: Epoch::from_u64(durable_state.tried),
            witnessed: Epoch::NONE,
            promised_ms: durable_state.promised_ms,
            enabled: durable_state.enabled,
            complete: durable_state.complete,
            detached: durable_state.detached,
            peer: durable_state.peer.map(Peer::from),
            tokens: durable_state.tokens.into_iter().map(StoredToken::from).collect(),
            moves: Moves { takeovers_ms: durable_state.takeovers_ms, ..Moves::default() },
            alerts: durable_state.alerts.into_iter().map(Alert::try_from).collect::<Result<_, _>>()?,
            next_alert: durable_state.next_alert,
        })
    }
}

impl TryFrom<StateV2> for DurableState {
    type Error = WireError;

    fn try_from(all: StateV2) -> Result<Self, WireError> {
        let durable_state = Self::try_from(all.durable_state)?;
        Ok(Self { witnessed: Epoch::from_u64(all.witnessed), ..durable_state })
    }
}

impl TryFrom<StateV3> for DurableState {
    type Error = WireError;

    fn try_from(all: StateV3) -> Result<Self, WireError> {
        let mut durable_state = Self::try_from(all.before)?;
        durable_state.moves.given = all.given.map(Given::from);
        durable_state.moves.modes = Modes { paused: all.paused.into(), frozen: all.frozen.into() };
        Ok(durable_state)
    }
}

impl TryFrom<StateV4> for DurableState {
    type Error = WireError;

    fn try_from(all: StateV4) -> Result<Self, WireError> {
        let mut durable_state = Self::try_from(all.before)?;
        match (&mut durable_state.peer, all.peer_keys) {
            (Some(peer), Some(keys)) => peer.keys = keys.into(),
            (None, None) => {}
            _ => return Err(WireError::Bound { field: "the peer's keys" }),
        }
        Ok(durable_state)
    }
}

impl From<PinnedKeys> for PinnedKeysV4 {
    fn from(keys: PinnedKeys) -> Self {
        Self { current: keys.current.0, next: keys.next.map(|next| next.0) }
    }
}

impl From<PinnedKeysV4> for PinnedKeys {
    fn from(keys: PinnedKeysV4) -> Self {
        Self { current: KeyId(keys.current), next: keys.next.map(KeyId) }
    }
}

impl From<&Given> for GivenV3 {
    fn from(given: &Given) -> Self {
        let Position { revision, digest } = given.position;
        Self { epoch: given.epoch.as_u64(), revision: revision.into(), digest: digest.0 }
    }
}

impl From<GivenV3> for Given {
    fn from(given: GivenV3) -> Self {
        let position = Position { revision: given.revision.into(), digest: Digest(given.digest) };
        Self { epoch: Epoch::from_u64(given.epoch), position }
    }
}

impl From<Mode> for ModeV3 {
    fn from(mode: Mode) -> Self {
        Self { changes: mode.changes, on: mode.on }
    }
}

impl From<ModeV3> for Mode {
    fn from(mode: ModeV3) -> Self {
        Self { changes: mode.changes, on: mode.on }
    }
}

impl From<&Peer> for PeerV1 {
    fn from(peer: &Peer) -> Self {
        Self {
            node: peer.node.0,
            name: peer.name.clone(),
            address: peer.address.clone(),
            takeover_delay_ms: peer.takeover_delay_ms,
            confirmed: peer.confirmed.into(),
        }
    }
}

impl From<PeerV1> for Peer {
    fn from(peer: PeerV1) -> Self {
        let node = NodeId(peer.node);
        Self {
            node,
            keys: PinnedKeys::only(node.first_key()),
            name: peer.name,
            address: peer.address,
            takeover_delay_ms: peer.takeover_delay_ms,
            confirmed: peer.confirmed.into(),
        }
    }
}

impl From<&StoredToken> for TokenV1 {
    fn from(token: &StoredToken) -> Self {
        Self { secret: token.secret, expires_ms: token.expires_ms }
    }
}

impl From<TokenV1> for StoredToken {
    fn from(token: TokenV1) -> Self {
        Self { secret: token.secret, expires_ms: token.expires_ms }
    }
}

impl From<&Alert> for AlertV1 {
    fn from(alert: &Alert) -> Self {
        Self {
            id: alert.id,
            kind: kind_code(alert.kind),
            severity: severity_code(alert.severity),
            subject: alert.subject.clone(),
            message: alert.message.clone(),
            count: alert.count,
            first_ms: alert.first_ms,
            last_ms: alert.last_ms,
            revisions: alert.revisions.map(|(first, last)| (first.into(), last.into())),
            acknowledged: alert.acknowledged,
        }
    }
}

impl TryFrom<AlertV1> for Alert {
    type Error = WireError;

    fn try_from(alert: AlertV1) -> Result<Self, WireError> {
        let find_kind = |kind: &AlertKind| kind_code(*kind) == alert.kind;
        let find_severity = |severity: &Severity| severity_code(*severity) == alert.severity;
        Ok(Self {
            id: alert.id,
            kind: KINDS.into_iter().find(find_kind).ok_or(WireError::Bound { field: "alert kind" })?,
            severity: SEVERITIES.into_iter().find(find_severity).ok_or(WireError::Bound { field: "alert severity" })?,
            subject: alert.subject,
            message: alert.message,
            count: alert.count,
            first_ms: alert.first_ms,
            last_ms: alert.last_ms,
            revisions: alert.revisions.map(|(first, last)| (first.into(), last.into())),
            acknowledged: alert.acknowledged,
        })
    }
}

impl From<Revision> for RevisionV1 {
    fn from(revision: Revision) -> Self {
        Self { epoch: revision.epoch.as_u64(), seq: revision.seq }
    }
}

impl From<RevisionV1> for Revision {
    fn from(revision: RevisionV1) -> Self {
        Self::new(Epoch::from_u64(revision.epoch), revision.seq)
    }
}

fn role_code(role: Role) -> u8 {
    match role {
        Role::Master => 1,
        Role::Shadow => 2,
    }
}

fn role(code: u8) -> Result<Role, WireError> {
    let mut roles = [Role::Master, Role::Shadow].into_iter();
    roles.find(|role| role_code(*role) == code).ok_or(WireError::Bound { field: "role" })
}

const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Error];

fn severity_code(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
    }
}

const KINDS: [AlertKind; 19] = [
    AlertKind::PushFailed,
    AlertKind::PushRejected,
    AlertKind::ShadowLost,
    AlertKind::UnpermittedPeer,
    AlertKind::VersionMismatch,
    AlertKind::KeyMismatch,
    AlertKind::ClockSkew,
    AlertKind::DigestMismatch,
    AlertKind::CertificateExpiring,
    AlertKind::Takeover,
    AlertKind::TwoMasters,
    AlertKind::Diverged,
    AlertKind::WitnessUnreachable,
    AlertKind::DiskTrouble,
    AlertKind::Recovered,
    AlertKind::SlowLink,
    AlertKind::DuplicateNode,
    AlertKind::RolledBack,
    AlertKind::NeedsOperator,
];

fn kind_code(kind: AlertKind) -> u8 {
    match kind {
        AlertKind::PushFailed => 1,
        AlertKind::PushRejected => 2,
        AlertKind::ShadowLost => 3,
        AlertKind::UnpermittedPeer => 4,
        AlertKind::VersionMismatch => 5,
        AlertKind::KeyMismatch => 6,
        AlertKind::ClockSkew => 7,
        AlertKind::DigestMismatch => 8,
        AlertKind::CertificateExpiring => 9,
        AlertKind::Takeover => 10,
        AlertKind::TwoMasters => 11,
        AlertKind::Diverged => 12,
        AlertKind::WitnessUnreachable => 13,
        AlertKind::DiskTrouble => 14,
        AlertKind::Recovered => 15,
        AlertKind::SlowLink => 16,
        AlertKind::NeedsOperator => 19,
        AlertKind::DuplicateNode => 17,
        AlertKind::RolledBack => 18,
    }
}

#[cfg(test)]
mod tests;
