//! What the host was told last, and the timer that was set last. Only changes are reported.

use super::{LinkState, Moment};
use crate::model::Epoch;
use crate::protocol::wire::{RefusalKind, Role};

/// What was told last.
#[derive(Clone, Debug, Default)]
pub(super) struct LastTold {
    role: Option<(Role, bool, Epoch)>,
    link: Option<(LinkState, Option<RefusalKind>)>,
    timer: Option<Moment>,
}

impl LastTold {
    /// Records the role, and returns whether the host must be told. A shadow's epoch changes with its master's. That is no change
    /// of role.
    pub(super) fn role(&mut self, role: Role, serving: bool, epoch: Epoch) -> bool {
        let told = self.role.replace((role, serving, epoch));
        match told {
            Some((before, served, under)) => (before, served) != (role, serving) || (serving && under != epoch),
            None => true,
        }
    }

    /// Records the state of the link, and returns whether the host must be told. Failed dials whose reasons differ only in
    /// wording are not reported again.
    pub(super) fn link(&mut self, state: LinkState, refusal: Option<RefusalKind>) -> bool {
        self.link.replace((state, refusal)) != Some((state, refusal))
    }

    /// Records the timer, and returns whether it must be set.
    pub(super) fn timer(&mut self, at: Moment) -> bool {
        self.timer.replace(at) != Some(at)
    }

    /// The timer that was set last.
    pub(super) fn timer_at(&self) -> Option<Moment> {
        self.timer
    }
}
