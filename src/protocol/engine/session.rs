//! The session on the link that counts: a source or a sink, and what they want done.

use super::meeting::Meeting;
use super::{Action, BulkId, DiskFailure, Engine, LinkId, Moment, Mutant, Now, RecordsReceipt, StagingReceipt};
use crate::model::limits::{LINK_BULK_WAITING_BYTES_MAX, LINK_BULK_WAITING_MAX};
use crate::model::{History, Position, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{NodeState, Transition};
use crate::protocol::replication::{Sink, SinkOut, Source};
use crate::protocol::wire::{Bulk, Hello, Message, Repair, Role};

/// Time after which a sink whose disk failed says that it is ready again.
const DISK_RETRY_US: u64 = 1_000_000;

/// What is going on with the peer, beside heartbeats.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) met: Option<(Meeting, Box<Hello>)>,
    /// The peer has answered a question on this link, as a shadow.
    pub(super) answered: bool,
    pub(super) source: Option<Source>,
    pub(super) sink: Option<Sink>,
    /// Lineage of the snapshot that is being staged.
    pub(super) staged: Option<History>,
    /// Number of the next snapshot, over all sessions of this run.
    pub(super) next_transfer: u64,
    /// A repair began and was not finished; it outlives the link.
    pub(super) lacks: bool,
    /// An operator asked for a full push.
    pub(super) resync: bool,
    /// It is under way. Where the link breaks before it is over, the next one goes on with it.
    pub(super) owed: bool,
    /// A snapshot that is wanted, and not asked for yet.
    pub(super) to_open: Option<u64>,
    /// The sink's disk failed: when to say that it is ready again.
    pub(super) disk_retry_at: Option<Moment>,
    /// Received and not yet durable: frames, bytes.
    pub(super) waiting: (usize, usize),
    /// How far the source's own log is durable, by its last word.
    pub(super) mark: Option<Revision>,
    /// The last position that is common with a master that was refused.
    pub(super) common: Option<Revision>,
    /// When the peer was met last.
    met_at: Moment,
    /// The master that this one met last and yields to, by its word when they met. It outlives the link: what this node has
    /// alone is saved before it is a shadow, however long that takes.
    pub(super) yields_to: Option<Box<Hello>>,
    /// Up to here this node's own changes are in quarantine already.
    pub(super) set_aside: Option<Revision>,
    /// Up to here they could not be read once.
    pub(super) unread: Option<Revision>,
}

impl Session {
    /// The staged snapshot is complete; whatever it lacks is asked for by the next session.
    pub(super) fn caught_up(&mut self) {
        self.lacks = false;
    }

    /// A master was refused; up to here its history is this node's.
    pub(super) fn refused_at(&mut self, common: Revision) {
        self.common = Some(common);
    }

    /// The last position that is common with a master that was refused.
    pub(super) fn last_common(&self) -> Revision {
        self.common.unwrap_or(Revision::NONE)
    }

    /// Two nodes met and agreed.
    pub(super) fn meet(&mut self, at: Moment, meeting: Meeting, hello: Box<Hello>) {
        self.met_at = at;
        if meeting == Meeting::Yield {
            self.yields_to = Some(hello.clone());
        }
        self.met = Some((meeting, hello));
        self.answered = false;
    }

    /// The peer has answered the question on this link, as a shadow.
    pub(super) fn peer_answered(&mut self) {
        self.answered = true;
    }

    /// What the peer answered to a master that asks, as long as the link is up.
    pub(super) fn answer_of_peer(&self) -> Option<Transition> {
        match &self.met {
            Some((Meeting::Lead, _)) if self.answered => Some(Transition::PeerFollows),
            Some((Meeting::TakeTail, _)) => {
                let taken = self.sink.as_ref().is_some_and(|sink| !sink.syncing());
                match (taken, self.answered) {
                    (false, _) => Some(Transition::PeerAhead),
                    (true, true) => Some(Transition::PeerFollows),
                    (true, false) => None,
                }
            }
            _ => None,
        }
    }

    /// Whether another master was met that is expected to yield.
    pub(super) fn waits_for_peer(&self) -> bool {
        matches!(self.met, Some((Meeting::PeerYields, _)))
    }

    /// A master that was met before this moment, serves, and is expected to yield although it has the later epoch.
    pub(super) fn rival(&self, before: Moment) -> Option<&Hello> {
        match &self.met {
            Some((Meeting::PeerYields, hello)) if hello.serving && self.met_at <= before => Some(hello),
            _ => None,
        }
    }

    /// The master that outranks this one.
    pub(super) fn winner(&self) -> Option<&Hello> {
        match &self.met {
            Some((Meeting::Yield, hello)) => Some(hello),
            _ => None,
        }
    }

    pub(super) fn forget_winner(&mut self) {
        (self.met, self.yields_to) = (None, None);
    }

    /// Whether the copy is known to lack something that the master has.
    pub(super) fn lacks(&self) -> bool {
        self.lacks
    }

    pub(super) fn became_master(&mut self) {
        self.lacks = false;
        self.resync = false;
        self.owed = false;
    }

    /// Whether a repair is under way, or about to be.
    pub(super) fn in_progress(&self) -> bool {
        match (&self.source, &self.sink) {
            (Some(source), _) => !source.synced(),
            (None, Some(sink)) => sink.syncing(),
            (None, None) => true,
        }
    }

    /// What the sink of this source durably holds.
    pub(super) fn confirmed(&self) -> Option<Position> {
        self.source.as_ref().map(Source::peer)
    }

    /// Whether this node is being brought up to date.
    pub(super) fn is_sink(&self) -> bool {
        self.sink.is_some()
    }

    /// Whether pushes get through.
    pub(super) fn is_live(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.rejected().is_none())
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.disk_retry_at
    }

    pub(super) fn ask_full(&mut self) {
        self.resync = true;
    }
}

impl Engine {
    /// Begins what the meeting allows, and goes on with what is under way.
    pub(super) fn advance_session(&mut self, now: Now) {
        self.begin_session(now);
        if let Some(at) = self.session.disk_retry_at
            && at <= now.at
            && self.work.is_idle()
            && self.node_state != NodeState::Broken
        {
            self.session.disk_retry_at = None;
            self.with_sink(now, |sink, head, _, out| sink.acknowledge(head, out));
        }
        if self.session.resync {
            self.push_resync(now);
        }
        self.with_source(now, |source, log_view, at, out| source.advance(log_view, at, out));
        self.open_snapshot();
    }

    /// Opens the snapshot that is wanted. A master that waits for its shadow shows less than the shadow may hold: then what the
    /// shadow holds is shown first, so that no push takes it away again.
    fn open_snapshot(&mut self) {
        let Some(transfer) = self.session.to_open else { return };
        let held = self.session.confirmed().map_or(Revision::NONE, |position| position.revision);
        let master = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
        if master && self.shown < held && self.history.contains(self.head.revision, held) {
            return;
        }
        self.session.to_open = None;
        self.out.push(Action::OpenSnapshot { transfer });
    }

    fn begin_session(&mut self, now: Now) {
        let Some((meeting, hello)) = &self.session.met else { return };
        if !self.links.active().is_some_and(|conn| conn.greeted) {
            return;
        }
        let idle = self.session.source.is_none() && self.session.sink.is_none();
        match meeting {
            Meeting::Lead if idle && self.node_state == NodeState::Serving => self.begin_source(now),
            Meeting::GiveTail if idle => self.begin_source(now),
            Meeting::Follow | Meeting::TakeTail if idle => {
                let behind = hello.position != self.head;
                self.session.lacks |= behind && *meeting == Meeting::Follow;
                self.session.sink = Some(Sink::begin(now.at));
            }
            // The tail is over: the places change back.
            Meeting::TakeTail if self.node_state == NodeState::Serving => {
                let hello = hello.clone();
                self.end_machines(now);
                let hello = Box::new(Hello { position: self.tail_end(), history: self.history.clone(), ..*hello });
                self.session.meet(now.at, Meeting::Lead, hello);
                self.begin_source(now);
            }
            _ => {}
        }
    }

    /// Where the shadow stands whose tail was taken over: at the end of the era before this one.
    fn tail_end(&self) -> Position {
        let eras = self.history.eras();
        let before = eras.len().checked_sub(2).and_then(|at| eras.get(at));
        let revision = before.map_or(Revision::NONE, |era| Revision::new(era.epoch, self.head.revision.seq));
        Position { revision, digest: self.head.digest }
    }

    fn begin_source(&mut self, now: Now) {
        let Some((_, hello)) = self.session.met.clone() else { return };
        let full = std::mem::take(&mut self.session.resync);
        self.session.owed |= full;
        let log_view = self.log_view();
        let same_place = log_view.head.revision == hello.position.revision;
        let mismatch = same_place && log_view.head.digest != hello.position.digest && hello.complete;
        let peer = (hello.position, &hello.history, hello.complete);
        let transfer = self.session.next_transfer;
        let peer = if self.makes(Mutant::SkipsRepair) { (log_view.head, log_view.history, true) } else { peer };
        let (source, out) = Source::begin(log_view, peer, full, self.options.heartbeat, transfer, now.at);
        self.session.source = Some(source);
        if mismatch {
            self.digest_mismatch(now, hello.position);
        }
        self.source_out(now, out);
        if self.durable_state.role == Role::Master && !mismatch {
            // What the shadow says that it holds counts at once: a full push waits until it shows here.
            self.peer_confirmed(now);
        }
    }

    fn push_resync(&mut self, now: Now) {
        if self.session.source.is_some() {
            (self.session.resync, self.session.owed) = (false, true);
            self.with_source(now, |source, _, _, out| source.restart_full(out));
        } else if let (Some(_), Some(conn)) = (&self.session.sink, self.links.active()) {
            (self.session.resync, self.session.owed) = (false, true);
            self.out.push(Action::Send { link: conn.id, message: Message::Resync });
        }
    }

    /// A message that belongs to the session.
    pub(super) fn session_message(&mut self, now: Now, link: LinkId, message: Message) {
        match message {
            Message::Repair(repair) => self.repair(now, link, repair),
            Message::SnapshotEnd { transfer } => {
                self.with_sink(now, |sink, _, _, out| sink.snapshot_end(transfer, out));
            }
            Message::Resync if self.durable_state.role == Role::Master => {
                self.session.resync = true;
            }
            other => {
                self.tell_of_sink(now, &other);
                self.with_source(now, |source, log_view, at, out| source.message(log_view, &other, at, out));
                self.peer_confirmed(now);
            }
        }
    }

    /// What the sink says that concerns the alert log.
    fn tell_of_sink(&mut self, now: Now, message: &Message) {
        match message {
            Message::Rejected { at, reason } => {
                let text = format!("the shadow's host refused the configuration up to {at}: {reason}");
                let trouble = NewAlert::new(AlertKind::PushRejected, super::trouble::PEER, text);
                self.raise(now, NewAlert { revisions: Some((*at, *at)), ..trouble });
            }
            Message::DiskTrouble { full, reason } => {
                let what = if *full { "is full" } else { "failed" };
                let text = format!("the shadow's disk {what}: {reason}; pushes go on when it works again");
                self.raise(now, NewAlert::new(AlertKind::DiskTrouble, super::trouble::PEER, text));
            }
            Message::Mismatch { at } => self.digest_mismatch(now, *at),
            _ => {}
        }
    }

    fn repair(&mut self, now: Now, link: LinkId, repair: Repair) {
        let giving = matches!(self.session.met, Some((Meeting::GiveTail, _)));
        if giving && self.durable_state.role == Role::Shadow {
            // The master has the tail and leads now.
            self.end_machines(now);
            if let Some((meeting, _)) = &mut self.session.met {
                *meeting = Meeting::Follow;
            }
            self.session.sink = Some(Sink::begin(now.at));
        }
        if self.session.sink.is_none() {
            return self.protest(now, link, "a repair of one who is no sink");
        }
        if repair == Repair::None && self.head.revision == Revision::NONE {
            return self.protest(now, link, "nothing is no copy");
        }
        if let Repair::Full(header) = &repair {
            if !header.history.contains(header.position.revision, header.position.revision) {
                return self.protest(now, link, "a snapshot outside its own history");
            }
            if self.saves_first(header) {
                return;
            }
            let known = self.history.contains(self.head.revision, header.position.revision);
            // An era without change sets shows nothing.
            if self.durable_state.complete && known && header.position.revision.seq < self.head.revision.seq {
                // Its source does not know yet what is here: nothing that was shown is taken back (rule 18).
                return self.with_sink(now, |sink, head, _, out| sink.acknowledge(head, out));
            }
            self.session.staged = Some(header.history.clone());
        }
        self.session.lacks |= self.durable_state.role == Role::Shadow && repair != Repair::None;
        self.with_sink(now, |sink, head, at, out| sink.repair(repair, head, at, out));
    }

    pub(super) fn bulk(&mut self, now: Now, link: LinkId, bulk: BulkId, what: Bulk, bytes: usize) {
        self.heard(now, link);
        if !self.links.is_active(link) || self.session.sink.is_none() || self.stopping.is_some() {
            self.out.push(Action::DropBulk { bulk });
            return;
        }
        let (frames, waiting) = self.session.waiting;
        self.session.waiting = (frames + 1, waiting + bytes);
        if frames >= LINK_BULK_WAITING_MAX || waiting + bytes > LINK_BULK_WAITING_BYTES_MAX {
            self.out.push(Action::DropBulk { bulk });
            return self.protest(now, link, "more bulk than was acknowledged");
        }
        if let Bulk::Records { durable, .. } = what {
            self.session.mark = Some(durable);
        }
        self.with_sink(now, |sink, _, _, out| sink.bulk(bulk, what, bytes, out));
    }

    pub(super) fn records_pushed(&mut self, now: Now, link: LinkId, last: Revision, bytes: usize, gone: bool) {
        if self.links.is_active(link)
            && let Some(source) = &mut self.session.source
        {
            source.records_pushed(last, bytes, gone, now.at);
        }
    }

    pub(super) fn snapshot_opened(&mut self, now: Now, header: crate::protocol::wire::SnapshotHeader) {
        if self.session.source.is_none() {
            self.out.push(Action::CloseSnapshot { transfer: header.transfer });
            return;
        }
        self.with_source(now, |source, _, _, out| source.snapshot_opened(header, out));
        self.peer_confirmed(now);
    }

    pub(super) fn snapshot_pushed(&mut self, now: Now, transfer: u64, bytes: usize, done: bool) {
        if let Some(source) = &mut self.session.source {
            source.snapshot_pushed(transfer, bytes, done, now.at);
        }
    }

    /// The store could not be read: the link is dropped, and the next one comes after a while.
    pub(super) fn read_failed(&mut self, now: Now, reason: String) {
        self.disk_trouble(now, &DiskFailure { full: false, reason });
        if let Some(link) = self.links.active().map(|conn| conn.id) {
            self.protest(now, link, "this node cannot read its own store");
        }
    }

    pub(super) fn session_records(&mut self, now: Now, receipt: &RecordsReceipt) {
        if let (None, RecordsReceipt::Appended { head, .. }) = (&self.session.sink, receipt) {
            // The link is gone; what it brought counts all the same.
            let upto = self.session.mark.map(|mark| head.revision.min(mark));
            self.sink_out(now, upto.map(SinkOut::Publish).into_iter().collect());
        }
        self.with_sink(now, |sink, _, at, out| sink.records_done(receipt, at, out));
        if matches!(receipt, RecordsReceipt::Rejected { .. }) {
            self.tail_refused(now);
        }
    }

    pub(super) fn staging_finished(&mut self, now: Now, receipt: StagingReceipt) {
        match receipt {
            StagingReceipt::Switched { head } => {
                self.adopt_staged(head);
                self.session.caught_up();
                self.disk_works(now);
                self.with_sink(now, |sink, _, at, out| sink.stage_finished(head, at, out));
            }
            StagingReceipt::Mismatch { found } => {
                self.with_sink(now, |sink, _, _, out| sink.stage_mismatch(found, out));
                self.digest_mismatch(now, found);
            }
            StagingReceipt::Rejected { reason } => {
                self.with_sink(now, |sink, _, _, out| sink.stage_rejected(&reason, out));
                self.tail_refused(now);
            }
        }
    }

    /// A shadow has nothing newer to push, and without the tail nobody leads: the host is asked again, and again.
    fn tail_refused(&mut self, now: Now) {
        if self.node_state == NodeState::TakingTail {
            self.close_all_links(now, None, "this node's host refuses what its shadow gives back");
            self.links.dial_at = Moment(now.at.0 + DISK_RETRY_US);
        }
    }

    /// The source hears of this node's disk, and a while later that it may try again.
    pub(super) fn tell_source_of_disk(&mut self, now: Now, full: bool, reason: String) {
        if let (Some(_), Some(conn)) = (&self.session.sink, self.links.active()) {
            self.out.push(Action::Send { link: conn.id, message: Message::DiskTrouble { full, reason } });
            self.session.disk_retry_at = Some(Moment(now.at.0 + DISK_RETRY_US));
        }
    }

    pub(super) fn sink_failed(&mut self, now: Now, failure: &DiskFailure) {
        self.session.disk_retry_at = Some(Moment(now.at.0 + DISK_RETRY_US));
        self.with_sink(now, |sink, _, _, out| sink.failed(failure.full, &failure.reason, out));
    }

    /// The staged snapshot is the configuration now.
    fn adopt_staged(&mut self, head: Position) {
        if let Some(history) = self.session.staged.take() {
            self.history = history;
        }
        self.head = head;
        self.log_floor = head.revision;
        self.shown = head.revision;
        if !self.durable_state.complete && self.durable_state.role == Role::Shadow {
            self.durable_state.complete = true;
            self.state_changed();
        }
    }

    /// The link that counted is gone.
    pub(super) fn session_ended(&mut self, now: Now) {
        self.end_machines(now);
        self.session.resync |= std::mem::take(&mut self.session.owed);
        self.session.met = None;
        self.session.disk_retry_at = None;
    }

    fn end_machines(&mut self, now: Now) {
        self.session.to_open = None;
        if let Some(source) = self.session.source.take() {
            self.session.next_transfer = source.next_transfer();
            if let Some(transfer) = source.open_transfer() {
                self.out.push(Action::CloseSnapshot { transfer });
            }
            self.pushes_interrupted(source.peer());
        }
        if let Some(mut sink) = self.session.sink.take() {
            let mut out = Vec::new();
            sink.end(&mut out);
            self.sink_out(now, out);
            self.drop_sink_work();
        }
        self.session.waiting = (0, 0);
    }

    /// The peer says in a heartbeat where it stands.
    pub(super) fn peer_position(&mut self, now: Now, link: LinkId, position: Position) {
        self.links.peer_at(position);
        let differs = position.revision == self.head.revision
            && (position.digest != self.head.digest || self.makes(Mutant::RepairsForEver));
        let settled = !self.session.in_progress() && self.work.is_idle();
        if differs && settled && self.links.is_active(link) {
            self.digest_mismatch(now, position);
            self.with_source(now, |source, _, _, out| source.restart_full(out));
            self.with_sink(now, |sink, head, _, out| sink.mismatch(head, out));
        }
    }

    /// Whether at the last heartbeat both had the same revision and digest, and nothing was committed here since.
    pub(super) fn in_sync(&self) -> bool {
        let same = self.links.peer_position() == Some(self.head);
        // A master that does not serve yet is about to open an era that its shadow lacks.
        let settled = self.durable_state.role == Role::Shadow || self.node_state == NodeState::Serving;
        same && settled && self.durable_state.peer.is_some() && self.durable_state.complete
    }
}
