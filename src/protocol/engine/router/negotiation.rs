//! The negotiation on a link: sends this node's hello, judges the peer's, and does what the two come to.

use crate::model::{Epoch, Relation, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::authority::Witnessed;
use crate::protocol::engine::hello::{Negotiation, OwnSide};
use crate::protocol::engine::links::Connection;
use crate::protocol::engine::{Action, Engine, LinkId, Moment, Mutant, Now, RoleReason, Transition};
use crate::protocol::failover::outranks;
use crate::protocol::wire::{Bye, Hello, HelloLog, HelloOptions, HelloSender, Message};

impl Engine {
    /// Says hello on every connection without one. The store must first finish what an earlier link gave it: the
    /// position in the hello is where the repair begins.
    pub(super) fn send_hellos(&mut self, now: Now) {
        if self.work.is_busy_for_sink() {
            return;
        }
        for link in self.links.without_hello() {
            if self.is_contested(now, link) {
                continue;
            }
            let hello_no = self.links.number_hello();
            let hello = self.own_hello(now, hello_no);
            let early = self.links.hello_sent(link);
            self.out.push(Action::Send { link, message: Message::Hello(Box::new(hello)) });
            if let Some(early) = early {
                self.hello(now, link, early);
            }
        }
    }

    /// Whether another run of the peer has said hello on this link than the one whose connection counts. Then it waits.
    fn is_contested(&mut self, now: Now, link: LinkId) -> bool {
        let early = self.links.connection(link).and_then(Connection::early);
        let refused = early.is_some_and(|hello| self.own_side().refuse_hello(hello).is_some());
        !refused && !self.setup.makes(Mutant::TakesCopyForRestart) && self.links.contest(link, now.at)
    }

    fn own_hello(&self, now: Now, hello_no: u64) -> Hello {
        let (durable, options) = (&self.durable, &self.setup.options);
        Hello {
            versions: options.versions(),
            sender: HelloSender {
                pair: durable.pair,
                node: durable.node,
                run: self.setup.run,
                name: options.name.clone(),
                address: self.setup.address.clone(),
            },
            hello_no,
            linked: self.links.active_id().is_some(),
            role: durable.role,
            serving: self.authority.is_serving(),
            epoch: self.epoch(),
            log: HelloLog {
                position: self.log.head(),
                floor: self.log.floor(),
                shown: self.log.shown(),
                complete: durable.complete,
                history: self.log.history().clone(),
            },
            options: HelloOptions {
                heartbeat: options.heartbeat,
                takeover_delay: options.takeover_delay,
                schema: options.schema,
                data_key: None,
            },
            wall_ms: now.wall_ms,
        }
    }

    fn own_side(&self) -> OwnSide<'_> {
        OwnSide {
            setup: &self.setup,
            durable: &self.durable,
            log: &self.log,
            state: self.authority.state(),
            epoch: self.epoch(),
            witness: self.authority.witnessed().map(Witnessed::deposed),
            record: self.authority.record(),
            awaits: !self.switchover.awaited_in_vain(),
        }
    }

    /// Whether this epoch is so far ahead that the node that names it must be broken.
    pub(super) fn is_out_of_reach(&self, epoch: Epoch) -> bool {
        self.own_side().is_out_of_reach(epoch)
    }

    /// The peer's hello.
    pub(super) fn hello(&mut self, now: Now, link: LinkId, hello: Box<Hello>) {
        if let Some((kind, reason)) = self.own_side().refuse_hello(&hello) {
            return self.refuse_peer(now, link, kind, reason);
        }
        if !self.links.stays(link, &hello, self.durable.node < hello.sender.node) {
            self.close(link, Some(Bye::Duplicate));
            return self.drop_connection(now, link, "another link stays");
        }
        self.check_skew(now, hello.wall_ms);
        self.compare_with_hello(now, &hello);
        match self.own_side().negotiate(&hello) {
            Negotiation::Refuse(kind, reason) => {
                self.session.refused_at(match self.log.relation(&hello) {
                    Relation::Diverged { common } => common,
                    _ => Revision::NONE,
                });
                self.refuse_peer(now, link, kind, reason);
            }
            outcome => {
                self.links.hello_accepted(link, hello.clone());
                self.activate(now, link);
                self.durable.learn_peer(&hello);
                self.links.peer_is_at(hello.log.position, now.at);
                self.negotiated(now, outcome, hello);
                if self.links.is_active(link) {
                    self.say_modes(link);
                    self.offer_key(link);
                }
            }
        }
    }

    /// This connection counts from now on. The one that counted before is closed.
    fn activate(&mut self, now: Now, link: LinkId) {
        if let Some(before) = self.links.active_id()
            && before != link
        {
            self.close(before, Some(Bye::Duplicate));
            self.drop_connection(now, before, "another link stays");
        }
        self.links.activated(link, now.at);
        self.clear(now, |alert| alert.kind == AlertKind::DuplicateNode && Subject::ThisNode.is_of(alert));
    }

    fn negotiated(&mut self, now: Now, outcome: Negotiation, hello: Box<Hello>) {
        self.links.set_outranked(outcome == Negotiation::StepDown);
        match outcome {
            // A hello may have waited in a buffer while this node was stopped: only an answer counts.
            Negotiation::Lead => {
                self.links.ask_peer(now.at);
                if self.setup.makes(Mutant::HelloConfirms) {
                    self.transition(now, Transition::Confirmed, RoleReason::Confirmed);
                }
            }
            Negotiation::TakeTail => self.transition(now, Transition::PeerAhead, RoleReason::PeerAhead),
            Negotiation::Follow => {
                self.outdate_register(&hello);
                self.durable.given_is_taken();
                self.master_heard(now);
            }
            Negotiation::GiveTail => self.master_heard(now),
            Negotiation::StepDown => {
                if hello.serving && self.authority.is_serving() {
                    self.two_masters(now, &hello, false);
                }
                self.transition(now, Transition::Outranked, RoleReason::SteppedDown);
            }
            Negotiation::PeerStepsDown => {
                if hello.serving && self.authority.is_serving() {
                    self.two_masters(now, &hello, true);
                }
            }
            Negotiation::Refuse(..) | Negotiation::MeetAsShadows => {}
        }
        if outcome == Negotiation::MeetAsShadows {
            self.meet_as_shadows();
        }
        self.session.agree(now.at, outcome, hello);
    }

    fn master_heard(&mut self, now: Now) {
        self.transition(now, Transition::MasterHeard, RoleReason::MasterHeard);
        self.call_off_promotion(now);
    }

    /// A master that serves under a later epoch than the known record's has replaced that record: it is read again.
    fn outdate_register(&mut self, hello: &Hello) {
        let Some(witnessed) = self.authority.witnessed_mut().filter(|_| hello.serving) else { return };
        let record = witnessed.client.register().record();
        if record.is_some_and(|record| record.epoch < hello.log.position.revision.epoch) {
            witnessed.client.register_mut().outdated();
            witnessed.client.ask_soon();
        }
    }

    /// The witness has just agreed that this node is the master. A peer that serves under a later epoch has not asked
    /// this witness: the nodes were given different ones. So the epochs decide who stays master, as without a witness.
    pub(super) fn part_from_rival(&mut self, now: Now, agreed: Moment) {
        let Some(rival) = self.session.rival(agreed).filter(|_| self.links.active_id().is_some()) else { return };
        let stays = outranks(self.epoch(), self.durable.node, (rival.epoch, rival.sender.node));
        if stays || !self.authority.is_serving() {
            return;
        }
        let rival = Box::new(rival.clone());
        let message = texts::different_witnesses(self.epoch(), rival.epoch);
        self.raise(now, NewAlert::new(AlertKind::TwoMasters, Subject::Peer, message));
        self.session.agree(now.at, Negotiation::StepDown, rival);
        self.transition(now, Transition::Outranked, RoleReason::SteppedDown);
    }

    fn two_masters(&mut self, now: Now, hello: &Hello, stays: bool) {
        // Two connections may cross. The other master is reported once all the same.
        if !self.alerts.is_known_rival(hello.sender.run, hello.epoch) {
            let message = texts::two_masters(self.epoch(), hello.epoch, stays);
            self.raise(now, NewAlert::new(AlertKind::TwoMasters, Subject::Peer, message));
        }
    }
}
