//! A planned switch of roles: the master lets its shadow catch up, lets go for good, and hands over (rules 21 to 23 of
//! `FAILOVER.md`).
//!
//! The master's side. Until it lets go of mastership it serves, and calling off costs nothing. What it does after that depends on what became of
//! the swap, or of the write that makes it a shadow.
//!
//! | the master is | begins | drained | ready | may hand over | handed over | role stored | called off | link lost |
//! |---|---|---|---|---|---|---|---|---|
//! | idle | announced | - | - | - | - | - | - | - |
//! | announced | - | - | - | - | - | - | idle | called off by the router |
//! | draining | - | preparing | - | - | - | - | idle | called off by the router |
//! | preparing | - | - | prepared | - | - | - | idle | called off by the router |
//! | prepared | - | - | - | handing over | - | - | idle | called off by the router |
//! | handing over | - | - | - | - | leaving | - | idle | stays |
//! | leaving | - | - | - | - | - | left | taking back | stays |
//! | left | announced | - | - | - | - | - | taking back | idle |
//! | taking back | - | - | - | - | - | - | - | stays until it is acted upon |
//!
//! The shadow's side. To be ready gives no right to anything: the hand-over, or the register, does.
//!
//! | the shadow is | prepare | term durable | awaits again | hand-over taken | over | called off, link lost |
//! |---|---|---|---|---|---|---|
//! | idle | noting | - | ready | - | - | - |
//! | noting | - | ready | ready | - | idle | idle |
//! | ready | noting | - | ready | taking | idle | idle |
//! | taking | - | - | - | - | idle | stays |
//!
//! An operator of the shadow who asks the master for a switch waits beside all that.

use super::{Moment, Ticket};
use crate::model::{Epoch, Position};

/// A planned switch of roles, on either side.
#[derive(Clone, Debug, Default)]
pub(super) struct Switchover {
    phase: Phase,
    /// This shadow's operator, who waits for what the master does.
    asked: Option<Asked>,
    /// Two shadows met, and nothing was handed over.
    in_vain: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    #[default]
    Idle,
    /// The host knows that its mastership is about to end.
    Announced { asker: Asker, until: Moment },
    /// Change sets wait; the shadow gets what it lacks.
    Draining { asker: Asker, until: Moment },
    /// The shadow is to note a term. Nothing is written from here on.
    Preparing { asker: Asker, until: Moment, position: Position },
    /// It has. The swap goes as soon as the witness is free.
    Prepared { asker: Asker, until: Moment, position: Position, epoch: Epoch },
    /// This node has let go. `asked`: the swap, or the write, is under way.
    HandingOver { asker: Asker, position: Position, epoch: Epoch, asked: bool },
    /// It is handed over, and the role of shadow is being stored.
    Leaving { asker: Asker },
    /// It is handed over, and the peer has not been seen as master.
    Left,
    /// The peer does not take it.
    TakingBack,
    /// As shadow: the term is being made durable.
    Noting { position: Position, epoch: Epoch },
    /// As shadow: it is, and the master knows it.
    Ready { epoch: Epoch },
    /// As shadow: what was handed over is taken, and the era is being made durable.
    Taking { epoch: Epoch },
}

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// This node's operator.
    Operator(Ticket),
    /// The shadow's operator.
    Shadow,
    /// A clean shutdown.
    Shutdown,
}

/// The operator of a shadow.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ticket: Ticket,
    until: Moment,
}

impl Switchover {
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    // As master.

    /// One begins. The host has until then to prepare. Returns whether it does.
    pub(super) fn begin(&mut self, asker: Asker, until: Moment) -> bool {
        let free = matches!(self.phase, Phase::Idle | Phase::Left);
        if free {
            self.phase = Phase::Announced { asker, until };
        }
        free
    }

    /// The host has had its time: change sets wait from now on, until then at the most.
    pub(super) fn drain(&mut self, until: Moment) {
        if let Phase::Announced { asker, .. } = self.phase {
            self.phase = Phase::Draining { asker, until };
        }
    }

    /// The shadow holds everything up to here.
    pub(super) fn drained(&mut self, position: Position) {
        if let Phase::Draining { asker, until } = self.phase {
            self.phase = Phase::Preparing { asker, until, position };
        }
    }

    /// The shadow has noted this term.
    pub(super) fn ready(&mut self, epoch: Epoch) {
        if let Phase::Preparing { asker, until, position } = self.phase {
            self.phase = Phase::Prepared { asker, until, position, epoch };
        }
    }

    /// This node lets go.
    pub(super) fn hands_over(&mut self) {
        if let Phase::Prepared { asker, position, epoch, .. } = self.phase {
            self.phase = Phase::HandingOver { asker, position, epoch, asked: false };
        }
    }

    /// What is to be handed over, for the one swap or write that does it.
    pub(super) fn ask_once(&mut self) -> Option<(Position, Epoch)> {
        let Phase::HandingOver { position, epoch, asked, .. } = &mut self.phase else { return None };
        (!std::mem::replace(asked, true)).then_some((*position, *epoch))
    }

    /// The record names the shadow, or the role of shadow is durable here. Returns what is handed over.
    pub(super) fn handed_over(&mut self) -> Option<(Position, Epoch)> {
        let Phase::HandingOver { asker, position, epoch, .. } = self.phase else { return None };
        self.phase = Phase::Leaving { asker };
        Some((position, epoch))
    }

    /// The role of shadow is stored. Returns who wanted it.
    pub(super) fn left(&mut self) -> Option<Asker> {
        let Phase::Leaving { asker } = self.phase else { return None };
        self.phase = Phase::Left;
        Some(asker)
    }

    /// What was handed over before this run, or before this link, is offered again.
    pub(super) fn offered_again(&mut self) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Left;
        }
    }

    /// It is off. Returns who wanted it; `None` where it is handed over, or there is none.
    pub(super) fn call_off(&mut self) -> Option<Asker> {
        let asker = self.asker()?;
        if let Phase::Leaving { .. } = self.phase {
            return None;
        }
        self.phase = Phase::Idle;
        Some(asker)
    }

    /// The shadow does not take what was handed over. Returns who wanted it and was not answered.
    pub(super) fn not_taken(&mut self) -> Option<Asker> {
        let asker = self.asker();
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Left) {
            self.phase = Phase::TakingBack;
            return asker;
        }
        None
    }

    fn asker(&self) -> Option<Asker> {
        match self.phase {
            Phase::Announced { asker, .. }
            | Phase::Draining { asker, .. }
            | Phase::Preparing { asker, .. }
            | Phase::Prepared { asker, .. }
            | Phase::HandingOver { asker, .. }
            | Phase::Leaving { asker } => Some(asker),
            _ => None,
        }
    }

    /// Whether one is under way on the master's side.
    pub(super) fn is_under_way(&self) -> bool {
        self.asker().is_some()
    }

    /// Whether change sets wait for its end. Those that a clean shutdown has accepted do not.
    pub(super) fn holds_commits(&self) -> bool {
        self.is_under_way() && !matches!(self.phase, Phase::Announced { .. }) && self.asker() != Some(Asker::Shutdown)
    }

    /// Whether this node has let go, and does not know yet what becomes of it.
    pub(super) fn is_handing_over(&self) -> bool {
        matches!(self.phase, Phase::HandingOver { .. })
    }

    // As shadow.

    /// The master is drained at this position. This term is noted for it.
    pub(super) fn note(&mut self, position: Position, epoch: Epoch) {
        if let Phase::Idle | Phase::Left | Phase::Ready { .. } = self.phase {
            self.phase = Phase::Noting { position, epoch };
            self.in_vain = false;
        }
    }

    /// Terms up to this one are durable. Returns that of the switch, if it is among them.
    pub(super) fn noted(&mut self, tried: Epoch) -> Option<Epoch> {
        let Phase::Noting { epoch, .. } = self.phase else { return None };
        if tried < epoch {
            return None;
        }
        self.phase = Phase::Ready { epoch };
        Some(epoch)
    }

    /// Both nodes are shadows, and this one has noted this term: the other may have something to hand over.
    pub(super) fn awaits(&mut self, epoch: Epoch) {
        if let Phase::Idle | Phase::Noting { .. } | Phase::Ready { .. } = self.phase {
            self.phase = Phase::Ready { epoch };
        }
    }

    /// What is handed over is taken.
    pub(super) fn take(&mut self) {
        if let Phase::Ready { epoch } = self.phase {
            self.phase = Phase::Taking { epoch };
        }
    }

    /// The shadow's part is over.
    pub(super) fn forget(&mut self) {
        if let Phase::Noting { .. } | Phase::Ready { .. } | Phase::Taking { .. } = self.phase {
            self.phase = Phase::Idle;
        }
    }

    /// The master calls it off.
    pub(super) fn called_off_by_master(&mut self) {
        if let Phase::Noting { .. } | Phase::Ready { .. } = self.phase {
            self.phase = Phase::Idle;
        }
    }

    /// The peer is a shadow too, and has had the time to hand over.
    pub(super) fn await_no_longer(&mut self) {
        self.in_vain = true;
        self.forget();
    }

    /// Whether nothing was handed over where two shadows met.
    pub(super) fn awaited_in_vain(&self) -> bool {
        self.in_vain
    }

    // Either side.

    /// The link is gone. What can only go on over it is over.
    pub(super) fn link_lost(&mut self) {
        if let Phase::Noting { .. } | Phase::Ready { .. } | Phase::Left = self.phase {
            self.phase = Phase::Idle;
        }
    }

    /// It was acted upon that the peer does not take what was handed over.
    pub(super) fn taken_back(&mut self) {
        if self.phase == Phase::TakingBack {
            self.phase = Phase::Idle;
        }
    }

    /// When the master's side takes its next step by itself, or is called off.
    fn until(&self) -> Option<Moment> {
        match self.phase {
            Phase::Announced { until, .. }
            | Phase::Draining { until, .. }
            | Phase::Preparing { until, .. }
            | Phase::Prepared { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether the time of this phase is over.
    pub(super) fn is_over(&self, at: Moment) -> bool {
        self.until().is_some_and(|until| at >= until)
    }

    // The operator of a shadow.

    /// This shadow's operator waits for the switch. Returns whether there was nobody before.
    pub(super) fn wait(&mut self, ticket: Ticket, until: Moment) -> bool {
        let free = self.asked.is_none();
        if free {
            self.asked = Some(Asked { ticket, until });
        }
        free
    }

    /// It is decided, or waited for long enough. Returns who waits.
    pub(super) fn answered(&mut self) -> Option<Ticket> {
        self.asked.take().map(|asked| asked.ticket)
    }

    /// Whether the one who waits has waited for long enough.
    pub(super) fn waited_enough(&self, at: Moment) -> bool {
        self.asked.is_some_and(|asked| at >= asked.until)
    }

    pub(super) fn deadlines(&self) -> [Option<Moment>; 2] {
        [self.until(), self.asked.map(|asked| asked.until)]
    }
}

#[cfg(test)]
mod tests;
