//! A takeover through the register: note the term durably, win the swap, store the epoch; only then is there mastership.
//! (Test-and-set on shared storage as the third vote: VMware Fault Tolerance, Scales 2010.)

use super::recorded::Deposed;
use super::{CommandRefusal, Engine, Moment, Mutant, Now, StatePurpose, StoreState, Ticket};
use crate::model::{Epoch, Revision, WitnessRecord, WitnessVersion};
use crate::protocol::failover::{Flaw, NodeState, Transition, micros, waited};
use crate::protocol::wire::Role;

/// An attempt under way, or an operator's wish that waits for its time.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    /// An operator wants it; leases and promises must run out first.
    Wanted { accept_loss: bool },
    /// The term is being made durable.
    Noting { epoch: Epoch, accept_loss: bool, version: Option<WitnessVersion> },
    /// The term is durable: the swap may go, if the register still holds this version.
    Noted { epoch: Epoch, accept_loss: bool, version: Option<WitnessVersion> },
    /// The swap is won.
    Won { epoch: Epoch },
}

/// What speaks against a claim now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurdle {
    /// The register is not known: no answer, or what is known may be outdated.
    Unreachable,
    /// It holds nothing that this pair can go on from.
    Flawed(Flaw),
    /// It was never made.
    Unmade,
    /// It does not say that this node is in sync.
    NotInSync,
    /// It records more than this node holds.
    Behind,
    /// This node's own promise to its master runs.
    Promised,
    /// The value has not stood unchanged for its lease.
    Leased,
}

impl Hurdle {
    /// Why a node would not take over, in a word; what only time removes is no reason.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Unreachable => Some("witness_unreachable"),
            Self::Flawed(flaw) => Some(flaw.as_str()),
            Self::Unmade => Some("record_missing"),
            Self::NotInSync => Some("not_in_sync"),
            Self::Behind => Some("behind_record"),
            Self::Promised | Self::Leased => None,
        }
    }
}

impl Engine {
    /// Whether the register names this node although it is no master: rule 8.
    pub(super) fn is_named(&self) -> bool {
        let own = self.durable_state.node;
        let named = self.witnessed.as_ref().is_some_and(|witnessed| witnessed.register.names(own));
        named && self.durable_state.role == Role::Shadow && self.register_flaw().is_none()
    }

    /// What speaks against a claim of this node, the gravest first; `None` where nothing does.
    pub(super) fn hurdle(&self, at: Moment) -> Option<Hurdle> {
        let witnessed = self.witnessed.as_ref()?;
        let register = &witnessed.register;
        let lasting = match () {
            () if !register.is_reachable() || register.is_stale() => Some(Hurdle::Unreachable),
            () => self.register_flaw().map(Hurdle::Flawed),
        };
        let record = match (lasting, register.record()) {
            (Some(hurdle), _) => return Some(hurdle),
            (None, None) => return Some(Hurdle::Unmade),
            (None, Some(record)) => record,
        };
        let (own, named) = (self.durable_state.node, self.is_named());
        let passes = |mutant: Mutant| self.makes(mutant);
        // A later position of another history is no more than an earlier one.
        let behind = self.lacks_recorded(record.revision) || (named && self.epoch() < record.epoch);
        match () {
            () if record.in_sync != Some(own) && !named && !passes(Mutant::IgnoresInSync) => Some(Hurdle::NotInSync),
            () if behind && !passes(Mutant::IgnoresRecordedRevision) => Some(Hurdle::Behind),
            () => self.wait(at),
        }
    }

    /// Until when this node's own promise and the recorded lease are waited for.
    pub(super) fn waits_end(&self) -> (Moment, Option<Moment>) {
        let Some(witnessed) = &self.witnessed else { return (Moment(0), None) };
        // Mistakes for tests: no margin for the rates of two clocks (rule 4).
        let cut = |until: Moment, lease_us: u64, only: Mutant| {
            let without = self.makes(Mutant::NoMargin) || self.makes(only);
            Moment(until.0.saturating_sub(if without { lease_us / 1_000 * 21 + 1_000 } else { 0 }))
        };
        let usual = self.options.lease();
        let lease_us = micros(witnessed.register.record().map_or(usual, |record| record.lease));
        let leased = witnessed.register.lease_over(usual).map(|until| cut(until, lease_us, Mutant::NoMarginOnLease));
        let leased = self.misjudged(leased, lease_us);
        (cut(witnessed.promised_until, micros(usual), Mutant::NoMarginOnPromise), leased)
    }

    /// Mistakes for tests: the end of a lease of this length, by another measure than rules 2 and 4 want.
    fn misjudged(&self, over: Option<Moment>, lease_us: u64) -> Option<Moment> {
        let missing = self.witnessed.as_ref().is_some_and(|witnessed| witnessed.register.is_missing());
        if missing && self.makes(Mutant::WipedLeaseIsOver) {
            return None;
        }
        let early_us = match () {
            () if self.makes(Mutant::OwnLeaseLength) => lease_us.saturating_sub(micros(self.options.lease())),
            () if self.makes(Mutant::LeaseByOthersClock) => self.trouble.skew_us,
            () => 0,
        };
        over.map(|over| Moment(over.0.saturating_sub(early_us)))
    }

    /// What only time removes.
    fn wait(&self, at: Moment) -> Option<Hurdle> {
        let witnessed = self.witnessed.as_ref()?;
        let (promised, leased) = self.waits_end();
        let forgotten = witnessed.promised_until == witnessed.remembered_until && self.makes(Mutant::ForgetsPromise);
        // One that names this node, but is not the newest that there was, says nothing of who held the last one.
        let own_lease = witnessed.register.names(self.durable_state.node) && self.register_flaw().is_none();
        match () {
            () if at <= promised && !forgotten && !self.makes(Mutant::IgnoresOwnPromise) => Some(Hurdle::Promised),
            () if !own_lease && leased.is_some_and(|over| at <= over) && !self.makes(Mutant::SkipsLeaseWait) => {
                Some(Hurdle::Leased)
            }
            () => None,
        }
    }

    /// Why this node would not take over, or a master does not serve, as far as the witness goes, in a word.
    pub(super) fn register_word(&self, at: Moment) -> Option<&'static str> {
        if self.durable_state.role == Role::Master {
            let deposed = self.witnessed.as_ref().and_then(|witnessed| witnessed.deposed);
            let uncovered = (self.node_state == NodeState::Stalled && self.is_bound()).then(|| self.uncovered_word());
            return deposed.map(Deposed::as_str).or(self.register_flaw().map(Flaw::as_str)).or(uncovered);
        }
        self.hurdle(at).and_then(Hurdle::word)
    }

    /// Why a master has no cover: its shadow does not answer, and the witness not either, or nothing has come yet.
    fn uncovered_word(&self) -> &'static str {
        match self.witness_status() {
            Some(status) if !status.reachable => "witness_unreachable",
            _ => "uncovered",
        }
    }

    /// A shadow that the register names tries again, with a new term, without waiting for anybody's lease: rule 8.
    pub(super) fn advance_named(&mut self, now: Now) {
        let free = self.durable_state.complete && self.work.is_idle() && now.at >= self.retry_at;
        if free && self.is_named() && self.hurdle(now.at).is_none() {
            self.begin_claim(now, "takeover", false);
        }
    }

    /// Notes the term that is to be tried; the swap goes when that is durable: rule 7.
    pub(super) fn begin_claim(&mut self, now: Now, reason: &'static str, accept_loss: bool) {
        let epoch = self.highest_known_epoch().promoted(now.random);
        self.durable_state.tried = epoch;
        self.transition(now, Transition::MustClaim, reason);
        if let Some(witnessed) = &mut self.witnessed {
            // What was waited for is the end of this very value: rule 6.
            let version = witnessed.register.version().cloned();
            witnessed.claim = Some(Claim::Noting { epoch, accept_loss, version });
        }
        let state = Box::new(self.state_now());
        self.work.queue(StoreState { state, purpose: StatePurpose::NoteTerm });
        if self.makes(Mutant::SwapsBeforeNote) {
            self.claim_noted();
        }
    }

    /// The term is durable.
    pub(super) fn claim_noted(&mut self) {
        let Some(witnessed) = &mut self.witnessed else { return };
        if let Some(Claim::Noting { epoch, accept_loss, version }) = witnessed.claim.clone() {
            witnessed.claim = Some(Claim::Noted { epoch, accept_loss, version });
        }
    }

    /// The record to swap in, once the term is durable. What spoke for the claim must still hold.
    pub(super) fn claim_to_send(&mut self, now: Now) -> Option<WitnessRecord> {
        let witnessed = self.witnessed.as_ref().filter(|_| self.node_state == NodeState::Claiming)?;
        let Some(Claim::Noted { epoch, accept_loss, version }) = &witnessed.claim else { return None };
        let (epoch, accept_loss, same) = (*epoch, *accept_loss, *version == witnessed.register.version().cloned());
        // Its master may have been heard meanwhile.
        let heard = self.reason == "takeover" && !self.is_named() && !self.is_silent(now.at);
        if !same || heard || witnessed.register.is_stale() || self.wait(now.at).is_some() {
            self.claim_lost(now, CommandRefusal::LeaseHeld);
            return None;
        }
        let wanted = WitnessRecord {
            pair: self.durable_state.pair,
            holder: self.durable_state.node,
            epoch,
            lease: self.options.lease(),
            // The other one is away: it is not in sync from here on (rule 13).
            in_sync: None,
            revision: Revision::NONE,
            counter: 0,
        };
        let mut record = witnessed.register.next(wanted);
        if accept_loss && self.lacks_recorded(record.revision) {
            // The one swap that lowers it: what is missing was given up by name. Else this node would step down for it.
            record.revision = self.head.revision;
        }
        Some(if self.makes(Mutant::LowersRevision) {
            WitnessRecord { revision: Revision::NONE, ..record }
        } else {
            record
        })
    }

    /// The swap is done: this node holds the register. It is master once its epoch is durable too.
    pub(super) fn claim_won(&mut self, now: Now, sent: Moment, record: WitnessRecord, version: WitnessVersion) {
        let (epoch, lease, alone) = (record.epoch, record.lease, record.in_sync.is_none());
        let Some(witnessed) = &mut self.witnessed else { return };
        witnessed.register.swapped(record, version, now.at);
        self.durable_state.witnessed = self.durable_state.witnessed.max(epoch);
        // A promise that was given meanwhile, or runs, makes it void: rule 9.
        let promised = self.wait(now.at) == Some(Hurdle::Promised) && !self.makes(Mutant::PromisesWhileClaiming);
        if self.node_state != NodeState::Claiming || promised {
            return self.claim_lost(now, CommandRefusal::LeaseHeld);
        }
        let reason = self.reason;
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.claim = Some(Claim::Won { epoch });
        }
        self.transition(now, Transition::Claimed, reason);
        if let Some(witnessed) = &mut self.witnessed {
            let until = Moment(sent.0.saturating_add(micros(lease)));
            (witnessed.promise, witnessed.lease, witnessed.alone) = (None, Some(until), alone);
            witnessed.deposed = None;
        }
    }

    /// The attempt is over without mastership. The note stays (rule 7).
    pub(super) fn claim_lost(&mut self, now: Now, why: CommandRefusal) {
        let Some(witnessed) = &mut self.witnessed else { return };
        witnessed.claim = None;
        witnessed.ask_soon();
        if self.node_state != NodeState::Claiming {
            return;
        }
        if self.makes(Mutant::DropsNote) {
            self.durable_state.tried = Epoch::NONE;
            self.state_changed();
        }
        self.retry_at = Moment(now.at.0 + self.timing.heartbeat_us / 2 + now.random % self.timing.heartbeat_us.max(1));
        self.refuse_takeover_waiters(&why);
        self.transition(
            now,
            if self.durable_state.role == Role::Master { Transition::ClaimLostAsMaster } else { Transition::ClaimLost },
            "claim_lost",
        );
    }

    /// A mistake for tests: being named is taken for mastership (rule 8).
    pub(super) fn serve_as_named(&mut self, now: Now, epoch: Epoch) {
        self.durable_state.tried = self.durable_state.tried.max(epoch);
        self.transition(now, Transition::MustClaim, "takeover");
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.claim = Some(Claim::Won { epoch });
        }
        self.transition(now, Transition::Claimed, "takeover");
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.lease = Some(Moment(now.at.0 + micros(self.options.lease())));
        }
    }

    /// The epoch that is won, for the era.
    pub(super) fn won_epoch(&self) -> Option<Epoch> {
        match self.witnessed.as_ref()?.claim {
            Some(Claim::Won { epoch }) => Some(epoch),
            _ => None,
        }
    }

    /// An operator makes this node master, through the register. `accept_loss` overrides "in sync" and "head", and a register
    /// without a value of this pair; never a promise, a lease or the swap.
    pub(super) fn claim_by_operator(&mut self, now: Now, ticket: Ticket, accept_loss: bool) {
        if self.is_led() {
            return self.refuse(ticket, CommandRefusal::LeaseHeld);
        }
        if let Some(refused) = self.operators_hurdle(now.at, accept_loss) {
            return self.refuse(ticket, refused);
        }
        self.takeover_waiters.push(ticket);
        self.takeover_deadline = Moment(now.at.0 + self.wish_us());
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.claim = Some(Claim::Wanted { accept_loss });
            witnessed.ask_soon();
        }
    }

    /// How long an operator's wish waits for its time.
    pub(super) fn wish_us(&self) -> u64 {
        2 * (micros(waited(self.options.lease())) + self.timing.delay_us + micros(self.options.witness_timeout()))
    }

    /// Whether a master that serves is at the other end of the link.
    fn is_led(&self) -> bool {
        self.links.active().is_some()
            && self.links.peer_serves
            && self.durable_state.role == Role::Shadow
            && !self.is_named()
    }

    /// Why an operator is refused at once; what time or an answer may remove is waited for.
    fn operators_hurdle(&self, at: Moment, accept_loss: bool) -> Option<CommandRefusal> {
        match self.hurdle(at)? {
            Hurdle::Flawed(Flaw::Foreign) => Some(CommandRefusal::WitnessUnreachable),
            _ if accept_loss => None,
            Hurdle::Flawed(_) | Hurdle::Unmade => Some(CommandRefusal::Loss { missing: None }),
            Hurdle::NotInSync | Hurdle::Behind => {
                let own = self.head.revision;
                let recorded = self.witnessed.as_ref()?.register.record()?.revision;
                let first = Revision::new(recorded.epoch, own.seq + 1);
                Some(CommandRefusal::Loss {
                    missing: (recorded > own && recorded.seq > own.seq).then_some((first, recorded)),
                })
            }
            Hurdle::Unreachable | Hurdle::Promised | Hurdle::Leased => None,
        }
    }

    /// An operator's wish, when its time has come.
    pub(super) fn advance_wish(&mut self, now: Now) {
        let Some(Claim::Wanted { accept_loss }) = self.witnessed.as_ref().and_then(|w| w.claim.clone()) else {
            return;
        };
        let led = self.is_led().then_some(CommandRefusal::LeaseHeld);
        let refused = led.or(self.operators_hurdle(now.at, accept_loss));
        // The peer is there, and has more: it is given the time to hand it over.
        let behind = self.node_state == NodeState::TakingTail && !accept_loss;
        let over = match self.hurdle(now.at) {
            _ if behind => Some(self.loss_to_peer()),
            Some(Hurdle::Unreachable) => Some(CommandRefusal::WitnessUnreachable),
            _ => Some(CommandRefusal::LeaseHeld),
        };
        let passed = match self.hurdle(now.at) {
            _ if refused.is_some() || behind => false,
            None => true,
            Some(Hurdle::NotInSync | Hurdle::Behind | Hurdle::Unmade | Hurdle::Flawed(_)) => {
                accept_loss && self.wait(now.at).is_none()
            }
            Some(_) => false,
        };
        if passed && self.work.is_idle() {
            return self.begin_claim(now, "operator", accept_loss);
        }
        if let Some(why) = refused.or(over.filter(|_| now.at >= self.takeover_deadline)) {
            if let Some(witnessed) = &mut self.witnessed {
                witnessed.claim = None;
            }
            self.refuse_takeover_waiters(&why);
        }
    }

    /// When a claim may become possible, or a wish ends.
    pub(super) fn claim_deadlines(&self) -> [Option<Moment>; 3] {
        let Some(witnessed) = &self.witnessed else { return [None; 3] };
        let wish = match witnessed.claim {
            Some(Claim::Wanted { .. }) => Some(self.takeover_deadline),
            _ => None,
        };
        let waits = matches!(
            self.node_state,
            NodeState::Following | NodeState::AskingHost | NodeState::Inquiring | NodeState::TakingTail
        );
        let next = |until: Moment| Moment(until.0.saturating_add(1));
        let (promised, leased) = self.waits_end();
        let promised = Some(next(promised)).filter(|_| waits);
        let leased = leased.map(next).filter(|_| waits);
        [wish, promised, leased]
    }
}
