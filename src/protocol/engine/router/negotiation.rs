//! Two nodes meet: who refuses, who leads, who follows, who yields.

use super::recorded::Deposed;
use super::{DiskFailure, Engine, LinkId, Moment, Mutant, Now, Quarantine};
use crate::model::limits::TERMS_AHEAD_MAX;
use crate::model::{Epoch, Relation, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{NodeState, Transition, micros, outranks};
use crate::protocol::wire::{Bye, Hello, RefusalKind, Role, SnapshotHeader, Versions};

/// What two hellos come to, from this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// This node is the master and brings its shadow up to date.
    Lead,
    /// This node is the shadow and is brought up to date.
    Follow,
    /// This node is the master, its disk lost what the shadow holds: it takes that over before it serves.
    TakeTail,
    /// This node is the shadow, and gives its master what that one's disk lost.
    GiveTail,
    /// Both are masters, and the peer outranks this node.
    Yield,
    /// Both are masters, and this node outranks the peer.
    PeerYields,
    /// There is nothing to be done together.
    Refuse(RefusalKind, String),
}

impl Engine {
    /// The peer's first word.
    pub(super) fn greet(&mut self, now: Now, link: LinkId, hello: Box<Hello>) {
        if let Some((kind, reason)) = self.unacceptable(&hello) {
            return self.refuse_peer(now, link, kind, reason);
        }
        if !self.stays(link, &hello) {
            self.close(link, Some(Bye::Duplicate));
            self.drop_conn(now, link, "another link stays");
            return;
        }
        self.check_skew(now, hello.wall_ms);
        match self.judge(&hello) {
            Meeting::Refuse(kind, reason) => {
                self.session.refused_at(match self.relation(&hello) {
                    Relation::Diverged { common } => common,
                    _ => Revision::NONE,
                });
                self.refuse_peer(now, link, kind, reason);
            }
            meeting => {
                self.greeted(link, hello.clone());
                self.activate(now, link);
                self.learn_peer(&hello);
                self.links.peer_at(hello.position);
                self.meet(now, meeting, hello);
            }
        }
    }

    /// An epoch that no history leads to.
    pub(super) fn is_wild(&self, epoch: Epoch) -> bool {
        epoch.term() > self.epoch().term().saturating_add(TERMS_AHEAD_MAX)
    }

    /// What no role can mend.
    fn unacceptable(&self, hello: &Hello) -> Option<(RefusalKind, String)> {
        let permitted = self.durable_state.peer.as_ref().map(|peer| peer.node);
        if hello.pair != self.durable_state.pair || permitted != Some(hello.node) {
            return Some((RefusalKind::WrongPair, format!("the peer belongs to pair {}", hello.pair)));
        }
        if self.is_wild(hello.epoch) || hello.history.eras().iter().any(|era| self.is_wild(era.epoch)) {
            return Some((RefusalKind::Protest, format!("the peer claims the epoch {}", hello.epoch)));
        }
        if Versions::OURS.common(hello.versions).is_none() {
            let (min, max) = (hello.versions.min, hello.versions.max);
            let ours = Versions::OURS;
            let reason = format!(
                "the peer speaks protocol versions {min} to {max}, this node {} to {}: upgrade the older one",
                ours.min, ours.max
            );
            return Some((RefusalKind::Protocol, reason));
        }
        let (master, shadow) = match hello.role {
            Role::Master => (hello.schema, self.options.schema),
            Role::Shadow => (self.options.schema, hello.schema),
        };
        (hello.role != self.durable_state.role && master > shadow).then(|| {
            let reason = format!(
                "the master's data has schema version {master}, the shadow knows {shadow}: upgrade the shadow first"
            );
            (RefusalKind::Schema, reason)
        })
    }

    /// Who is who, from the two hellos. Both sides come to answers that fit.
    pub(super) fn judge(&self, hello: &Hello) -> Meeting {
        let relation = self.relation(hello);
        match (self.durable_state.role, hello.role) {
            (Role::Master, Role::Master) => {
                if self.stays_master(hello) {
                    Meeting::PeerYields
                } else {
                    Meeting::Yield
                }
            }
            (Role::Shadow, Role::Shadow) => {
                let reason = "both nodes are shadows: let an operator make one master with take-over";
                Meeting::Refuse(RefusalKind::NoMaster, reason.to_owned())
            }
            (Role::Master, Role::Shadow) => {
                let may_take =
                    matches!(self.node_state, NodeState::Inquiring | NodeState::TakingTail) && hello.complete;
                if may_take && (relation == Relation::Ahead || !self.durable_state.complete) {
                    Meeting::TakeTail
                } else {
                    Meeting::Lead
                }
            }
            (Role::Shadow, Role::Master) => self.judge_master(hello, relation),
        }
    }

    /// Whether this master stays one when it meets another. With a witness its record decides; where that is not known here,
    /// only one who serves makes this node yield: what it tells of its epoch may be a term that it tried in vain.
    fn stays_master(&self, hello: &Hello) -> bool {
        match &self.witnessed {
            Some(witnessed) => {
                let served = hello.serving && self.node_state != NodeState::Serving;
                witnessed.deposed != Some(Deposed::NotNamed) && !served
            }
            None => outranks(self.epoch(), self.durable_state.node, (hello.epoch, hello.node)),
        }
    }

    /// How the peer's history stands to this node's.
    pub(super) fn relation(&self, hello: &Hello) -> Relation {
        self.history.relate(self.head.revision, &hello.history, hello.position.revision)
    }

    fn judge_master(&self, hello: &Hello, relation: Relation) -> Meeting {
        let inquiring = !hello.serving && self.durable_state.complete;
        if inquiring && (relation == Relation::Behind || !hello.complete) {
            return Meeting::GiveTail;
        }
        match relation {
            Relation::Same | Relation::Ahead => Meeting::Follow,
            // Nothing that was shown as a verified copy may be replaced by something that does not contain it.
            _ if !self.durable_state.complete || self.makes(Mutant::BlankWipes) => Meeting::Follow,
            Relation::Diverged { common } if self.shown.seq <= common.seq => Meeting::Follow,
            // Eras without change sets are nothing that could be lost.
            Relation::Behind if self.shown.seq <= hello.position.revision.seq => Meeting::Follow,
            _ if hello.position.revision.seq == 0 => {
                let reason = "the master is blank, and this shadow holds a configuration; \
                              resync here to accept it, or take-over here to serve what this node holds";
                Meeting::Refuse(RefusalKind::Blank, reason.to_owned())
            }
            _ => {
                let reason = format!(
                    "the master at {} does not have what this shadow has shown ({}); resync on the shadow to accept \
                     that (its own changes go to quarantine), or take-over on it to serve what it holds",
                    hello.position.revision, self.shown
                );
                Meeting::Refuse(RefusalKind::ForeignHistory, reason)
            }
        }
    }

    /// What is worth remembering of the peer.
    fn learn_peer(&mut self, hello: &Hello) {
        let Some(peer) = &mut self.durable_state.peer else { return };
        let before = (peer.name.clone(), peer.address.clone(), peer.takeover_delay_ms);
        peer.name = hello.name.clone();
        peer.address = hello.address.clone();
        peer.takeover_delay_ms = micros(hello.takeover_delay) / 1_000;
        if before != (peer.name.clone(), peer.address.clone(), peer.takeover_delay_ms) {
            self.state_changed();
        }
    }

    fn meet(&mut self, now: Now, meeting: Meeting, hello: Box<Hello>) {
        self.links.outranked_by_peer(meeting == Meeting::Yield);
        match meeting {
            // A hello may have waited in a buffer while this node stood still: only an answer counts.
            Meeting::Lead => {
                self.ask_peer(now);
                if self.makes(Mutant::HelloConfirms) {
                    self.transition(now, Transition::Confirmed, "confirmed");
                }
            }
            Meeting::TakeTail => self.transition(now, Transition::PeerAhead, "peer_ahead"),
            Meeting::Follow => {
                self.outdate_register(&hello);
                self.transition(now, Transition::MasterHeard, "master_heard");
                self.call_off_promotion(now);
            }
            Meeting::Yield => self.meet_winner(now, &hello),
            Meeting::PeerYields => {
                if hello.serving && self.node_state == NodeState::Serving {
                    self.two_masters(now, &hello, "stays");
                }
            }
            Meeting::GiveTail => {
                self.transition(now, Transition::MasterHeard, "master_heard");
                self.call_off_promotion(now);
            }
            Meeting::Refuse(..) => {}
        }
        self.session.meet(now.at, meeting, hello);
    }

    /// A master that serves under a later epoch than the record's, as known here, has replaced it.
    fn outdate_register(&mut self, hello: &Hello) {
        let Some(witnessed) = self.witnessed.as_mut().filter(|_| hello.serving) else { return };
        if witnessed.register.record().is_some_and(|record| record.epoch < hello.position.revision.epoch) {
            witnessed.register.outdated();
            witnessed.ask_soon();
        }
    }

    fn meet_winner(&mut self, now: Now, hello: &Hello) {
        if hello.serving && self.node_state == NodeState::Serving {
            self.two_masters(now, hello, "yields");
        }
        self.transition(now, Transition::Outranked, "yielded");
    }

    /// The witness has just agreed that this node is the master. One that serves under a later epoch has not asked it: the two
    /// have not been given the same witness, and it decides nothing between them. So they part by epoch, as without one.
    pub(super) fn part_from_rival(&mut self, now: Now, agreed: Moment) {
        let Some(rival) = self.session.rival(agreed).filter(|_| self.links.active().is_some()) else { return };
        let stays = outranks(self.epoch(), self.durable_state.node, (rival.epoch, rival.node));
        if stays || self.node_state != NodeState::Serving {
            return;
        }
        let rival = Box::new(rival.clone());
        let message = format!(
            "the peer serves at epoch {} although the witness names this node (epoch {}): start both nodes with the same \
             witness. This node yields; what it committed alone is kept on it in quarantine",
            rival.epoch,
            self.epoch()
        );
        self.raise(now, NewAlert::new(AlertKind::TwoMasters, super::trouble::PEER, message));
        self.session.meet(now.at, Meeting::Yield, rival);
        self.transition(now, Transition::Outranked, "yielded");
    }

    fn two_masters(&mut self, now: Now, hello: &Hello, verdict: &str) {
        // Two connections may cross: one meeting all the same.
        if self.trouble.is_known_rival(hello.run, hello.epoch) {
            return;
        }
        let message = format!(
            "two masters met: this node at epoch {} and the peer at {}; this node {verdict}. What the one that yields \
             committed alone is kept on it in quarantine",
            self.epoch(),
            hello.epoch
        );
        self.raise(now, NewAlert::new(AlertKind::TwoMasters, super::trouble::PEER, message));
    }

    /// A shadow is about to replace this master's damaged copy. What only this node holds goes to quarantine first: then the
    /// link is closed, and the push begins on the next one. Returns whether there is something to be saved.
    pub(super) fn saves_first(&mut self, header: &SnapshotHeader) -> bool {
        let head = self.head.revision;
        if self.durable_state.role != Role::Master || self.session.set_aside == Some(head) {
            return false;
        }
        let common = match self.history.relate(head, &header.history, header.position.revision) {
            Relation::Same | Relation::Ahead => return false,
            Relation::Behind => header.position.revision,
            Relation::Diverged { common } => common,
            Relation::Foreign => Revision::NONE,
        };
        // An era without change sets is no loss.
        let saves = common.seq < head.seq;
        if saves {
            self.work.queue(Quarantine { common });
        }
        saves
    }

    /// What only this node holds could not be saved. Of a damaged store it is given up when it cannot be read twice: else
    /// nothing would ever repair it.
    pub(super) fn quarantine_failed(&mut self, now: Now, failure: &DiskFailure) {
        if self.node_state == NodeState::TakingTail {
            self.close_all_links(now, None, "what only this node holds could not be saved");
            self.links.dial_at = self.retry_at;
        }
        let head = self.head.revision;
        let Some(damage) = self.damage.clone().filter(|_| !failure.full) else { return };
        if self.session.unread.replace(head) != Some(head) {
            return;
        }
        self.session.set_aside = Some(head);
        let message = format!(
            "change sets up to {head} that only this node holds could not be read from its damaged store, and are lost \
             when it is repaired ({damage}): {}",
            failure.reason
        );
        self.raise(now, NewAlert::new(AlertKind::Diverged, super::trouble::THIS_NODE, message));
    }

    /// An operator of the shadow accepts a master that does not have what the shadow has shown.
    pub(super) fn accept_foreign_master(&mut self) {
        let common = self.session.last_common();
        self.work.queue(Quarantine { common });
    }
}
