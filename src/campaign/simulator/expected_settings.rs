//! The settings that operators were told are in force. The durable state in memory must have exactly these; the one on disk may
//! also have those of commands under way.

use std::collections::BTreeSet;

use super::step::Verb;
use crate::campaign::violation::{Checked, Invariant};
use crate::protocol::alerts::Alert;
use crate::protocol::engine::{CommandAnswer, CommandRefusal, DurableState};
use crate::protocol::wire::Modes;

/// A command of an operator, with the alert that it is about.
pub type OperatorCall = (Verb, u64);

/// The settings of a node, as its operators know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedSettings {
    enabled: bool,
    tokens: BTreeSet<[u8; 16]>,
    peer: bool,
    /// Alerts that were acknowledged.
    seen: BTreeSet<u64>,
    /// The modes of the pair when an operator was last told of them. Later words may have come since, of the peer too.
    modes: Modes,
    /// Commands whose settings may be on disk until the durable state is written again.
    pub in_doubt: Vec<OperatorCall>,
}

impl ExpectedSettings {
    /// The settings in this durable state.
    pub fn of(durable_state: &DurableState) -> Self {
        Self {
            enabled: durable_state.enabled,
            tokens: durable_state.tokens.iter().map(|token| token.secret).collect(),
            peer: durable_state.peer.is_some(),
            seen: durable_state.alerts.iter().filter(|alert| alert.acknowledged).map(|alert| alert.id).collect(),
            modes: durable_state.moves.modes,
            in_doubt: Vec::new(),
        }
    }

    /// An operator was answered. `stored`: what is on disk now.
    pub fn answered(&mut self, word: OperatorCall, answer: &CommandAnswer, stored: &DurableState) -> Checked {
        match answer {
            Ok(()) => self.done(word),
            Err(CommandRefusal::InDoubt { .. }) => self.in_doubt.push(word),
            _ => {}
        }
        let Modes { paused, frozen } = stored.moves.modes;
        let told = match (word.0, answer) {
            (Verb::Pause { on }, Ok(())) => (on, paused, self.modes.paused),
            (Verb::Freeze { on }, Ok(())) => (on, frozen, self.modes.frozen),
            _ => return Ok(()),
        };
        self.modes = self.modes.merged(stored.moves.modes);
        // One write may hold several words, also of the peer. Then what they come to is stored.
        let (on, mode, before) = told;
        let superseded = before.turned(on).merged(mode) == mode;
        Invariant::NothingOfRefused
            .check(superseded || on == mode.on, || format!("{word:?} was answered and is not stored"))
    }

    fn done(&mut self, (verb, alert): OperatorCall) {
        match verb {
            Verb::Enable => self.enabled = true,
            Verb::Disable => {
                self.enabled = false;
                self.tokens.clear();
            }
            Verb::Token { secret } => {
                self.tokens.insert(token_secret(secret));
            }
            Verb::Reset => {
                self.peer = false;
                self.tokens.clear();
            }
            Verb::ReplaceShadow { secret } => {
                self.peer = false;
                self.tokens = BTreeSet::from([token_secret(secret)]);
            }
            Verb::Acknowledge => {
                self.seen.insert(alert);
            }
            _ => {}
        }
    }

    /// 9: the settings in force are those that operators were told. `clock_was_set`: tokens may have ended, since a node that starts
    /// cannot tell a clock that was set from time that passed.
    pub fn check_in_force(&self, durable_state: &DurableState, alerts: &[Alert], clock_was_set: bool) -> Checked {
        let found = Self::of(durable_state);
        let refused = Invariant::NothingOfRefused;
        refused.check(self.enabled == found.enabled, || format!("enabled is {} and nobody was told", found.enabled))?;
        let ended = clock_was_set && found.tokens.is_subset(&self.tokens);
        refused
            .check(self.tokens == found.tokens || ended, || "the tokens are others than operators were told".into())?;
        let later = self.modes.merged(found.modes) == found.modes;
        refused.check(later, || format!("the modes are {:?}, and {:?} was told", found.modes, self.modes))?;
        refused.check(self.peer == found.peer, || format!("peer: {}, and nobody was told", found.peer))?;
        let unseen = alerts.iter().find(|alert| alert.acknowledged && !self.seen.contains(&alert.id));
        refused.check(unseen.is_none(), || format!("acknowledged, and nobody was told: {unseen:?}"))
    }

    /// 9: the settings on disk are those that operators were told, or ask for now.
    pub fn check_stored(
        &self,
        durable_state: &DurableState,
        pending_calls: &[OperatorCall],
        clock_was_set: bool,
    ) -> Checked {
        let found = Self::of(durable_state);
        let pending = |wanted: Verb| pending_calls.iter().chain(&self.in_doubt).any(|(verb, _)| *verb == wanted);
        let replaced = |(verb, _): &OperatorCall| matches!(verb, Verb::ReplaceShadow { .. });
        let replaced = pending_calls.iter().chain(&self.in_doubt).any(replaced);
        let token = |secret: &[u8; 16]| {
            let of = |(verb, _): &OperatorCall| matches!(verb, Verb::Token { secret: drawn } | Verb::ReplaceShadow { secret: drawn } if token_secret(*drawn) == *secret);
            self.tokens.contains(secret) || pending_calls.iter().chain(&self.in_doubt).any(of)
        };
        let enabled =
            self.enabled == found.enabled || pending(if found.enabled { Verb::Enable } else { Verb::Disable });
        let ends = clock_was_set || pending(Verb::Disable) || pending(Verb::Reset) || replaced;
        let tokens = found.tokens.iter().all(token) && (ends || self.tokens.is_subset(&found.tokens));
        let peer = self.peer == found.peer || (!found.peer && (pending(Verb::Reset) || replaced));
        let seen = found.seen.iter().all(|id| {
            let of = |(verb, alert): &OperatorCall| *verb == Verb::Acknowledge && alert == id;
            self.seen.contains(id) || pending_calls.iter().chain(&self.in_doubt).any(of)
        });
        let modes = self.modes.merged(found.modes) == found.modes;
        Invariant::NothingOfRefused.check(enabled && tokens && peer && seen && modes, || {
            format!("on disk is what was refused: {found:?}, told {self:?}, pending {pending_calls:?}")
        })
    }
}

/// The secret of a drawn token.
pub fn token_secret(drawn: u64) -> [u8; 16] {
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&drawn.to_le_bytes());
    secret
}
