//! Which of the states that only a person ends hold now, and how soon each is said.

use crate::model::limits::{OPERATOR_ERROR_AFTER, OPERATOR_GRACE};
use crate::protocol::alerts::{AlertKind, NewAlert, Severity};
use crate::protocol::engine::alerts::{OperatorState, Subject, texts};
use crate::protocol::engine::{Alert, Engine, Moment, Mutant, Now, TakeoverBlocker, Undialable};
use crate::protocol::failover::{NodeState, held_down, micros};
use crate::protocol::wire::Role;

impl Engine {
    /// Enters an alert for every such state whose time has come, and ends those that are over.
    pub(in super::super) fn advance_operator_states(&mut self, now: Now) {
        if self.authority.state() == NodeState::Stopped || self.setup.makes(Mutant::HidesOperatorStates) {
            return;
        }
        for state in OperatorState::ALL {
            let holds = self.holds(state, now);
            let since = self.alerts.operator_states().note(state, holds, now.at);
            let alert = state.alert(self.alerts.log().alerts()).cloned();
            match (since, alert) {
                (Some(since), None) if now.at >= self.grace_ends(state, since) => self.say(now, state, 1),
                (Some(_), Some(alert)) if alert.severity < self.severity(state, now, Some(&alert)) => {
                    self.say(now, state, 0);
                }
                (None, Some(alert)) if self.is_settled(now.at) => {
                    self.clear(now, |standing| standing.id == alert.id);
                }
                _ => {}
            }
        }
    }

    /// A hold ends with the run in which it began: nobody is surprised by a machine that was restarted and stays without its peer. Its
    /// operator is told that it has ended.
    pub(in super::super) fn end_former_hold(&mut self, now: Now) {
        let held = OperatorState::Held.as_str();
        let ended = self.clear(now, |alert| alert.kind == AlertKind::NeedsOperator && alert.subject == held);
        for alert in ended {
            let seconds = now.wall_ms.saturating_sub(alert.first_ms) / 1_000;
            self.raise(now, NewAlert::new(AlertKind::Recovered, Subject::Peer, texts::hold_ended(seconds)));
        }
    }

    /// Ends alerts of an earlier version about states that have another word now. It said `read_only` of a frozen pair, and `frozen`
    /// of change sets in doubt, which no restart leaves. A state that still holds is said anew.
    pub(in super::super) fn end_former_words(&mut self, now: Now) {
        self.clear(now, |alert| {
            let former = match OperatorState::of(alert) {
                Some(state) => state == OperatorState::Frozen && alert.message != texts::FROZEN,
                None => true,
            };
            alert.kind == AlertKind::NeedsOperator && former
        });
    }

    /// When the next of them is to be said, or becomes an error.
    pub(super) fn operator_states_deadline(&self, now: Now) -> Option<Moment> {
        let alerts = self.alerts.log().alerts();
        let due = |state: OperatorState| {
            let since = self.alerts.operator_states_seen().since(state)?;
            match state.alert(alerts) {
                None => Some(self.grace_ends(state, since)),
                Some(alert) => {
                    let left_us = error_at_ms(state, alert)?.saturating_sub(now.wall_ms).saturating_mul(1_000);
                    (alert.severity < Severity::Error).then_some(Moment(now.at.0.saturating_add(left_us)))
                }
            }
        };
        OperatorState::ALL.into_iter().filter_map(due).min()
    }

    fn say(&mut self, now: Now, state: OperatorState, times: u64) {
        let alert = NewAlert::new(AlertKind::NeedsOperator, state.as_str(), self.text(state, now));
        let severity = self.severity(state, now, state.alert(self.alerts.log().alerts()));
        self.raise(now, NewAlert { severity: Some(severity), times, ..alert });
    }

    /// Whether what stood before a restart would have come again by now.
    fn is_settled(&self, at: Moment) -> bool {
        let started = self.alerts.operator_states_seen().started();
        self.links.was_up() || at.0 >= started.0.saturating_add(self.start_up_us())
    }

    /// How long a master may take to find out whether it still is one.
    fn start_up_us(&self) -> u64 {
        let peer_us = self.durable.peer.as_ref().map_or(0, |peer| peer.takeover_delay_ms.saturating_mul(1_000));
        let delay_us = self.setup.timing.delay_us.max(peer_us);
        delay_us.saturating_mul(2).saturating_add(micros(self.setup.options.timeouts.connect))
    }

    /// What an operator begins on purpose and ends soon is not said at once. What prevents a takeover is.
    fn grace_ends(&self, state: OperatorState, since: Moment) -> Moment {
        let grace_us = match state {
            OperatorState::Held
            | OperatorState::HeldByPeer
            | OperatorState::CommitsBlocked
            | OperatorState::HoldDown
            | OperatorState::Undialable
            | OperatorState::PeerUndialable
            | OperatorState::Paused
            | OperatorState::Frozen => 0,
            OperatorState::NoTakeover | OperatorState::Refused => self.setup.timing.delay_us,
            OperatorState::NotServing => self.start_up_us(),
            OperatorState::NotEnabled | OperatorState::NoShadow | OperatorState::Token | OperatorState::Detached => {
                micros(OPERATOR_GRACE)
            }
        };
        Moment(since.0.saturating_add(grace_us))
    }

    fn severity(&self, state: OperatorState, now: Now, alert: Option<&Alert>) -> Severity {
        let hurts = match state {
            OperatorState::Held
            | OperatorState::HeldByPeer
            | OperatorState::NoTakeover
            | OperatorState::NotServing
            | OperatorState::Refused
            | OperatorState::CommitsBlocked => true,
            // Where the master is away, nobody serves until it is over.
            OperatorState::HoldDown => self.links.active_id().is_none(),
            OperatorState::Paused if self.durable.role == Role::Shadow && self.links.active_id().is_none() => true,
            _ => alert.and_then(|alert| error_at_ms(state, alert)).is_some_and(|error_ms| now.wall_ms >= error_ms),
        };
        if hurts { Severity::Error } else { Severity::Warning }
    }

    fn holds(&self, state: OperatorState, now: Now) -> bool {
        let (durable, links) = (&self.durable, &self.links);
        let paired = durable.peer.is_some();
        let lone_master = durable.role == Role::Master && !paired;
        match state {
            OperatorState::Held => paired && links.is_held_here(),
            OperatorState::HeldByPeer => paired && links.is_held() && !links.is_held_here(),
            OperatorState::NoTakeover => self.needs_decision(now),
            OperatorState::NotServing => {
                let serves = self.authority.is_serving() || self.authority.is_out_of_service();
                durable.role == Role::Master && !serves && (paired || !durable.complete)
            }
            OperatorState::Refused => paired && links.is_refused() && links.active_id().is_none(),
            OperatorState::CommitsBlocked => self.authority.is_leading() && self.commits.is_blocked(),
            OperatorState::HoldDown => {
                let (taken, hold_down) = (&durable.moves.takeovers_ms, self.setup.options.hold_down);
                paired && durable.role == Role::Shadow && held_down(taken, hold_down, now.wall_ms)
            }
            OperatorState::NotEnabled => lone_master && !durable.enabled,
            OperatorState::NoShadow => lone_master && durable.enabled,
            OperatorState::Token => !durable.tokens.is_empty(),
            OperatorState::Detached => durable.role == Role::Shadow && !paired,
            OperatorState::Undialable => (paired || durable.enabled) && self.undialable().own.is_some(),
            OperatorState::PeerUndialable => paired && self.undialable().peer.is_some(),
            OperatorState::Paused => paired && durable.moves.modes.paused.on,
            OperatorState::Frozen => durable.moves.modes.frozen.on,
        }
    }

    fn undialable(&self) -> &Undialable {
        self.alerts.operator_states_seen().addresses()
    }

    /// Whether the master of this shadow is away, and what keeps the shadow from taking over is for a person to decide.
    fn needs_decision(&self, now: Now) -> bool {
        let alone = self.durable.peer.is_some() && self.links.active_id().is_none();
        alone && self.authority.state() == NodeState::Following && self.deciding_blockers(now).next().is_some()
    }

    /// What keeps this shadow from taking over and does not end by itself. A held or refused link is a state of its own.
    fn deciding_blockers(&self, now: Now) -> impl Iterator<Item = TakeoverBlocker> + use<> {
        use TakeoverBlocker as B;
        let blockers = self.takeover_conditions(now.at, now.wall_ms).blockers();
        let elsewhere = blockers.contains(&B::Held) || blockers.contains(&B::Refused);
        let decides = move |blocker: &TakeoverBlocker| {
            let by_itself = matches!(blocker, B::Master | B::HoldDown | B::DiskTrouble | B::WitnessUnreachable);
            !elsewhere && !by_itself
        };
        blockers.into_iter().filter(decides)
    }

    fn text(&self, state: OperatorState, now: Now) -> String {
        let words = |blockers: &mut dyn Iterator<Item = TakeoverBlocker>| {
            blockers.map(TakeoverBlocker::as_str).collect::<Vec<_>>().join(", ")
        };
        let (_, link) = self.link_state();
        match state {
            OperatorState::Held => texts::HELD.to_owned(),
            OperatorState::HeldByPeer => texts::HELD_BY_PEER.to_owned(),
            OperatorState::NoTakeover => texts::no_takeover(&words(&mut self.deciding_blockers(now))),
            OperatorState::NotServing => {
                let blockers = self.takeover_conditions(now.at, now.wall_ms).blockers().into_iter().skip(1);
                texts::not_serving(&words(&mut { blockers }), &link)
            }
            OperatorState::Refused => texts::refused(&link),
            OperatorState::CommitsBlocked => texts::COMMITS_BLOCKED.to_owned(),
            OperatorState::HoldDown => texts::HOLD_DOWN.to_owned(),
            OperatorState::NotEnabled => texts::NOT_ENABLED.to_owned(),
            OperatorState::NoShadow => texts::NO_SHADOW.to_owned(),
            OperatorState::Token => texts::tokens(self.durable.tokens.len()),
            OperatorState::Detached => texts::DETACHED.to_owned(),
            OperatorState::Undialable => texts::undialable(self.undialable().own.as_deref().unwrap_or_default()),
            OperatorState::PeerUndialable => {
                texts::peer_undialable(self.undialable().peer.as_deref().unwrap_or_default())
            }
            OperatorState::Paused => texts::PAUSED.to_owned(),
            OperatorState::Frozen => texts::FROZEN.to_owned(),
        }
    }
}

/// When a state that has lasted for long becomes an error, by the wall clock. Never where it may be meant.
fn error_at_ms(state: OperatorState, alert: &Alert) -> Option<u64> {
    use OperatorState as S;
    let becomes = matches!(state, S::NoShadow | S::Detached | S::Paused | S::Frozen);
    becomes.then(|| alert.first_ms.saturating_add(micros(OPERATOR_ERROR_AFTER) / 1_000))
}
