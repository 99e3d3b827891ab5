//! A clean shutdown: who asked for it, and until when change sets are waited for.
//!
//! | | `begin` | `finish` |
//! |---|---|---|
//! | running | stopping | stopped |
//! | stopping | not called | stopped; the one who asked is answered |
//! | stopped | not called | - |

use super::{Moment, Ticket};

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Shutdown {
    #[default]
    Running,
    Stopping {
        ticket: Ticket,
        until: Moment,
    },
    Stopped,
}

impl Shutdown {
    pub(super) fn begin(&mut self, ticket: Ticket, until: Moment) {
        *self = Self::Stopping { ticket, until };
    }

    /// Whether nothing new is begun any more.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Self::Running)
    }

    /// Until when change sets are waited for.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self {
            Self::Stopping { until, .. } => Some(*until),
            Self::Running | Self::Stopped => None,
        }
    }

    /// It is over. Returns who asked for it.
    pub(super) fn finish(&mut self) -> Option<Ticket> {
        match std::mem::replace(self, Self::Stopped) {
            Self::Stopping { ticket, .. } => Some(ticket),
            Self::Running | Self::Stopped => None,
        }
    }
}

#[cfg(test)]
mod tests;
