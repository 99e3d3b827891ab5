//! The stable words of the contract.

use shadowpair::{AlertChange, AlertKind, How, LinkState, Role, Severity};

pub fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Shadow => "shadow",
    }
}

pub fn link(state: LinkState) -> &'static str {
    match state {
        LinkState::None => "none",
        LinkState::Connecting => "connecting",
        LinkState::Handshake => "handshake",
        LinkState::Syncing => "syncing",
        LinkState::Connected => "connected",
        LinkState::Lost => "lost",
        LinkState::Refused => "refused",
        LinkState::Held => "held",
        _ => "unknown",
    }
}

pub fn how(how: How) -> &'static str {
    match how {
        How::None => "none",
        How::Incremental => "incremental",
        How::Differential => "differential",
        How::Full => "full",
        _ => "unknown",
    }
}

pub fn kind(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::PushFailed => "push_failed",
        AlertKind::PushRejected => "push_rejected",
        AlertKind::ShadowLost => "shadow_lost",
        AlertKind::UnpermittedPeer => "unpermitted_peer",
        AlertKind::VersionMismatch => "version_mismatch",
        AlertKind::KeyMismatch => "key_mismatch",
        AlertKind::ClockSkew => "clock_skew",
        AlertKind::DigestMismatch => "digest_mismatch",
        AlertKind::CertificateExpiring => "certificate_expiring",
        AlertKind::Takeover => "takeover",
        AlertKind::TwoMasters => "two_masters",
        AlertKind::Diverged => "diverged",
        AlertKind::WitnessUnreachable => "witness_unreachable",
        AlertKind::DiskTrouble => "disk_trouble",
        AlertKind::Recovered => "recovered",
        _ => "unknown",
    }
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

pub fn alert_change(change: AlertChange) -> &'static str {
    match change {
        AlertChange::Raised => "raised",
        AlertChange::Updated => "updated",
        AlertChange::Cleared => "cleared",
    }
}
