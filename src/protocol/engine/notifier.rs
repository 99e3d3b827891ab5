//! What the host was told last, and the timer that was set: only changes are told.

use super::{LinkState, Moment};
use crate::model::Epoch;
use crate::protocol::wire::{RefusalKind, Role};

/// What was told last.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier {
    role: Option<(Role, bool, Epoch)>,
    link: Option<(LinkState, Option<RefusalKind>)>,
    timer: Option<Moment>,
}

impl Notifier {
    /// Whether the host must hear of this role. A shadow's epoch moves with its master's; that is no change of role.
    pub(super) fn role(&mut self, role: Role, serving: bool, epoch: Epoch) -> bool {
        let told = self.role.replace((role, serving, epoch));
        match told {
            Some((before, served, under)) => (before, served) != (role, serving) || (serving && under != epoch),
            None => true,
        }
    }

    /// Whether the host must hear of this link. One failed dial after the other for reasons that differ in their wording is no
    /// news.
    pub(super) fn link(&mut self, state: LinkState, refusal: Option<RefusalKind>) -> bool {
        self.link.replace((state, refusal)) != Some((state, refusal))
    }

    /// Whether the timer must be set anew.
    pub(super) fn timer(&mut self, at: Moment) -> bool {
        self.timer.replace(at) != Some(at)
    }

    /// The timer that was set last.
    pub(super) fn timer_at(&self) -> Option<Moment> {
        self.timer
    }
}
