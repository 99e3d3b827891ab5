//! The driver's loop.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, oneshot};

use super::alarms::{Alarm, Alarms};
use super::auditor::Enrolling;
use super::callers::Callers;
use super::context::DriverContext;
use super::inbox::{Inbox, Wake};
use super::input::{EnrolmentQuestion, Input, Proved};
use super::maintenance::{DirectoryStep, DirectoryWatch, Maintenance};
use super::notifier::Notifier;
use super::notifier::logged;
use super::received_bulk::{ReceivedBulk, ReceivedPiece};
use crate::model::ChangeSet;
use crate::model::limits::{CERTIFICATE_CHECK, CHECKPOINT_BYTES, LINGER, WAKE_UPS_MAX};
use crate::node::environment::later;
use crate::node::handles::admission::AdmissionPermit;
use crate::node::handles::shared::Request;
use crate::node::mutants::{Mutant, made};
use crate::node::network::connection::Connection;
use crate::node::network::dial::DialFailure;
use crate::node::network::link::Link;
use crate::node::offload::store_executor::StoreReport;
use crate::node::offload::tail::Tail;
use crate::protocol::engine::{
    Action, BulkId, Command, CommandAnswer, CommandRefusal, CommitAnswer, CommitRefusal, Completed, Completion,
    DialFailureKind, DiskFailure, Engine, EnrolProof, Event, LinkId, Moment, Notice, Now, Room, StagingReceipt, Ticket,
};
use crate::protocol::wire::Bulk;

/// The driver of one node.
pub struct Driver {
    pub(super) engine: Engine,
    inbox: Inbox,
    pub(super) alarms: Alarms,
    pub(super) notifier: Notifier,
    pub(super) callers: Callers,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) received: ReceivedBulk,
    /// Nodes that ask to enrol, by the number of the question.
    pub(super) enrolments: BTreeMap<u64, Enrolling>,
    maintenance: Maintenance,
    directory: DirectoryWatch,
    /// The records of the newest group, until they are sent.
    pub(super) tail: Option<Tail>,
    /// Events that came up while actions were performed. The engine hears of them after those actions.
    pub(super) backlog: VecDeque<Event>,
    /// The last number given to a ticket, link or bulk.
    last_number: u64,
    pub(super) lifecycle: Lifecycle,
    pub(super) context: DriverContext,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// Nobody asked for one.
    Running,
    /// The engine was told to stop.
    Stopping,
    /// The engine has stopped.
    Stopped,
}

impl Driver {
    pub fn new(engine: Engine, inbox: Inbox, notifier: Notifier, callers: Callers, context: DriverContext) -> Self {
        Self {
            engine,
            inbox,
            alarms: Alarms::new(Arc::clone(&context.environment.clock)),
            notifier,
            callers,
            links: BTreeMap::new(),
            received: ReceivedBulk::default(),
            enrolments: BTreeMap::new(),
            maintenance: Maintenance::default(),
            directory: DirectoryWatch::default(),
            tail: None,
            backlog: VecDeque::new(),
            last_number: 0,
            lifecycle: Lifecycle::Running,
            context,
        }
    }

    /// Runs the node until it stops. `first` are the actions with which the engine started.
    pub async fn run(mut self, first: Vec<Action>) {
        self.check_certificate();
        self.watch_directory();
        self.update_accept_policy();
        let at = self.context.environment.clock.now();
        self.perform(at, first);
        self.handle_backlog();
        self.after_turn();
        while self.lifecycle != Lifecycle::Stopped {
            let wake = self.inbox.next(&mut self.alarms).await;
            let gives_way = self.on_wake(wake) || self.handle_waiting();
            self.after_turn();
            if gives_way {
                // The push of a group goes out before anything else is handled.
                tokio::task::yield_now().await;
            }
        }
        Box::pin(self.shutdown()).await;
    }

    /// Handles what has come meanwhile, so that status is published once for all of it. Returns whether to give way to links.
    fn handle_waiting(&mut self) -> bool {
        for turn in 0..WAKE_UPS_MAX {
            match self.inbox.take(turn % 2 == 0) {
                Some(wake) if self.lifecycle != Lifecycle::Stopped => {
                    if self.on_wake(wake) {
                        return true;
                    }
                }
                _ => return false,
            }
        }
        false
    }

    /// Returns whether to give way to links.
    fn on_wake(&mut self, wake: Wake) -> bool {
        let gives_way = matches!(wake, Wake::Store(StoreReport::Written { .. }));
        match wake {
            Wake::Alarm(Alarm::Engine) => self.handle(Event::Timer),
            Wake::Alarm(Alarm::Certificate) => self.check_certificate(),
            Wake::Alarm(Alarm::ShutdownDeadline) => self.handle(Event::Abandoned),
            Wake::Alarm(Alarm::Directory) => self.watch_directory(),
            Wake::Store(StoreReport::Written { batch, written, tail }) => {
                self.tail = Some(tail);
                self.handle(Event::Written { batch, written });
            }
            Wake::Store(StoreReport::Persisted(completed)) => self.on_persisted(completed),
            Wake::Store(StoreReport::Maintained(result)) => self.on_maintained(result),
            Wake::Store(StoreReport::Looked(result)) => self.on_looked(result),
            Wake::Input(input) => self.on_input(input),
            Wake::Request(Request::Commit { changes, permit, answer }) => self.on_commit(changes, permit, answer),
            Wake::Request(Request::Command { command, answer }) => self.on_command(command, answer),
            Wake::Request(Request::Carry { changes, answer }) => self.on_carry(&changes, answer),
            Wake::Request(Request::StoreFailed { reason }) => self.handle(Event::StoreTrouble { reason, full: false }),
            Wake::Abandoned => self.on_command(Command::Shutdown, oneshot::channel().0),
        }
        self.handle_backlog();
        gives_way
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Engine(event) => {
                let renewed = matches!(event, Event::KeyUsed(Ok(_)));
                self.handle(event);
                if renewed {
                    self.check_certificate();
                    self.handle_backlog();
                }
            }
            Input::Message { link, message } if self.links.contains_key(&link) => {
                self.handle(Event::Message { link, message });
            }
            Input::Bulk { link, what, piece, counted, permit } if self.links.contains_key(&link) => {
                self.on_bulk(link, what, (piece, permit), counted);
            }
            Input::Carried { link, payload } if self.links.contains_key(&link) => self.on_carried(link, payload),
            // From a link that this node has closed.
            Input::Progress { link } if self.links.contains_key(&link) => self.handle(Event::Progress { link }),
            Input::Malformed { link, what } if self.links.contains_key(&link) => {
                self.handle(Event::Malformed { link, what });
            }
            Input::Message { .. }
            | Input::Bulk { .. }
            | Input::Carried { .. }
            | Input::Progress { .. }
            | Input::Malformed { .. } => {}
            Input::LinkDown { link, reason } => self.on_link_down(link, reason),
            Input::Dialled(Ok(connection)) => {
                self.on_connection(connection, true);
                if let Some(addresses) = self.context.addresses.unstored(self.context.environment.clock.now()) {
                    self.context.store.keep_addresses(addresses);
                }
            }
            Input::Dialled(Err(failure)) => self.on_dial_failure(failure),
            Input::Accepted(connection) => self.on_connection(connection, false),
            Input::EnrolAsked(question) => self.on_enrolment_question(question),
        }
    }

    /// Tells the engine what happened, and performs its actions.
    pub(super) fn handle(&mut self, event: Event) {
        let now = self.now();
        let actions = self.engine.handle(now, event);
        self.perform(now.at, actions);
    }

    /// Tells the engine what came up while actions were performed.
    fn handle_backlog(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            self.handle(event);
        }
    }

    /// Performs actions, in order. Mastership is updated first, so that nobody sees an answer under an authority that
    /// has ended.
    fn perform(&mut self, at: Moment, actions: Vec<Action>) {
        let reason = actions.iter().find_map(|action| match action {
            Action::Notify(Notice::Role { reason, .. }) => Some(*reason),
            _ => None,
        });
        self.notifier.update_mastership(self.engine.authority(), self.engine.durable_state().epoch, reason);
        self.notifier.mastership.announce(self.engine.is_ending());
        self.notifier.audit.observe(at, &self.engine, &self.enrolments, &actions);
        // A caller that is answered finds the status that goes with the answer.
        if actions.iter().any(|action| matches!(action, Action::AnswerCommit { .. } | Action::AnswerCommand { .. })) {
            self.publish_status();
        }
        // A caller that is answered about a token finds the acceptor up to date.
        self.update_accept_policy();
        for action in actions {
            self.perform_action(action);
        }
    }

    /// Ends a turn: starts maintenance where it is due, and publishes the status.
    fn after_turn(&mut self) {
        self.maintain(CHECKPOINT_BYTES);
        self.publish_status();
    }

    fn publish_status(&self) {
        let clock = &self.context.environment.clock;
        let (at, wall_ms) = (clock.now(), clock.wall_ms());
        // Of two links, the younger stays; the other is about to be closed.
        let key_exchange = self.links.values().next_back().map(|link| link.key_exchange);
        self.notifier.publish_status(self.context.info.status(
            self.engine.status(at, wall_ms),
            self.engine.own_keys(),
            key_exchange,
            at,
        ));
    }

    pub(super) fn on_commit(
        &mut self,
        changes: ChangeSet,
        permit: AdmissionPermit,
        answer: oneshot::Sender<CommitAnswer>,
    ) {
        let (ticket, bytes) = (Ticket(self.number()), permit.bytes());
        self.callers.add_commit(ticket, changes, permit, answer);
        self.handle(Event::Commit { ticket, bytes });
    }

    fn on_command(&mut self, command: Command, answer: oneshot::Sender<CommandAnswer>) {
        if command == Command::Shutdown && self.lifecycle == Lifecycle::Running {
            self.lifecycle = Lifecycle::Stopping;
            // The engine bounds its wait for the peer by the drain timeout; this bounds its wait for the disk.
            let at = self.context.environment.after(2 * self.context.drain_timeout());
            self.alarms.set(Alarm::ShutdownDeadline, at);
        }
        let ticket = Ticket(self.number());
        self.callers.add_command(ticket, answer);
        self.notifier.audit.commanded(ticket, &command);
        self.handle(Event::Command { ticket, command });
    }

    fn on_bulk(&mut self, link: LinkId, what: Bulk, (piece, permit): ReceivedPiece, counted: usize) {
        let bulk = BulkId(self.number());
        if made(Mutant::LoseBulk) && bulk.0.is_multiple_of(3) {
            return;
        }
        self.received.insert(bulk, piece, permit);
        self.handle(Event::Bulk { link, bulk, what, bytes: counted });
    }

    /// Opens a link on the connection, or drops it if the key of its peer has ceased to be permitted since the handshake.
    fn on_connection(&mut self, connection: Connection, dialled: bool) {
        let peer_key = connection.peer_key;
        let pinned = self.context.policy.pins.get();
        // This node's key may have been renewed since, too: the peer is about to forget the one that this connection showed.
        if !self.context.policy.pins.permit(&peer_key) || connection.own_key != self.context.tls.key() {
            if dialled {
                let reason = "the pairing changed meanwhile".into();
                self.handle(Event::DialFailed { how: DialFailureKind::Unreachable, reason });
            }
            return;
        }
        let link = LinkId(self.number());
        let from = (!dialled).then_some(connection.remote);
        let key_exchange = connection.key_exchange;
        if self.context.tls.is_fallback(key_exchange) {
            logged(|| {
                tracing::warn!(key_exchange, "the link uses the classical key exchange, not the post-quantum one")
            });
        }
        self.links.insert(link, Link::open(link, connection, dialled, &self.context.links));
        self.handle(Event::LinkUp { link, dialled });
        if pinned.is_some_and(|pinned| pinned.next == Some(peer_key)) {
            self.handle(Event::NextKeyShown { key: peer_key });
        }
        if let Some(from) = from.filter(|_| self.links.contains_key(&link)) {
            self.handle(Event::LinkFrom { link, address: from.to_string() });
        }
    }

    /// A peer that refuses this node may not have stored the enrolment: this node asks it once more to enrol.
    fn on_dial_failure(&mut self, DialFailure { how, reason }: DialFailure) {
        if how == DialFailureKind::RefusedByPeer
            && let Some(enrolment) = self.context.unconfirmed.take()
        {
            self.context.spawn(enrolment.finish());
        }
        self.handle(Event::DialFailed { how, reason });
    }

    fn on_link_down(&mut self, link: LinkId, reason: String) {
        if self.remove_link(link).is_some() {
            self.handle(Event::LinkDown { link, reason });
        }
    }

    fn on_enrolment_question(&mut self, question: EnrolmentQuestion) {
        let EnrolmentQuestion { ask, peer, own_key, proved, from, verdicts } = question;
        let tokens = &self.engine.durable_state().tokens;
        let proof = match proved {
            Proved::Nothing => EnrolProof::Nothing,
            Proved::User => EnrolProof::User,
            // The secret was found in an earlier list of tokens. The engine needs its index in the current list.
            Proved::Secret(secret) => tokens
                .iter()
                .position(|token| bool::from(token.secret.ct_eq(&secret)))
                .map_or(EnrolProof::Nothing, EnrolProof::Token),
        };
        self.enrolments.retain(|_, enrolling| !enrolling.verdicts.is_closed());
        let (node, name) = (peer.node, peer.name.clone());
        self.enrolments.insert(ask, Enrolling { node, name, from: from.clone(), verdicts });
        self.handle(Event::EnrolAsked { ask, peer: Box::new(peer), own_key, proof, from });
    }

    fn on_persisted(&mut self, completed: Completed) {
        // Another copy is visible at once: watchers must take a snapshot again.
        let replaced = match completed.completion() {
            Completion::StagingFinished(Ok(StagingReceipt::Switched { head })) => Some(head.revision),
            Completion::Reopened(Ok(receipt)) => Some(receipt.head.revision),
            _ => None,
        };
        if let Some(revision) = replaced {
            self.notifier.replaced(revision, self.context.reader.snapshot().entries());
        }
        if let Some(DiskFailure { full, reason }) = completed.failure() {
            logged(|| tracing::warn!(full, reason, "durable work failed"));
        }
        self.handle(Event::Persisted(completed));
    }

    fn on_maintained(&mut self, result: Result<(), DiskFailure>) {
        self.maintenance.finish(result.is_ok(), &self.context.environment);
        if let Err(DiskFailure { full, reason }) = result {
            self.handle(Event::StoreTrouble { reason, full });
        }
    }

    /// The data directory was looked at.
    fn on_looked(&mut self, result: Result<Option<Room>, DiskFailure>) {
        let now = self.context.environment.clock.now();
        self.alarms.set(Alarm::Directory, self.directory.answered(now, self.engine.options()));
        let from_bytes = self.maintenance.begins_at(self.context.reader.snapshot().revision());
        self.maintain(from_bytes);
        match result {
            Ok(Some(room)) => self.handle(Event::Room(room)),
            Ok(None) => {}
            Err(DiskFailure { full, reason }) => self.handle(Event::StoreTrouble { reason, full }),
        }
        if let Some(reason) = self.notifier.audit.look() {
            self.handle(Event::AuditTrouble { reason });
        }
    }

    fn watch_directory(&mut self) {
        let now = self.context.environment.clock.now();
        // A master without a peer waits for its disk: nobody could act in its place.
        let replaceable = self.engine.authority().serving && self.engine.durable_state().peer.is_some();
        let step = self.directory.step(now, replaceable, self.engine.disk_grace(), self.engine.options());
        match step {
            DirectoryStep::Look { writes_after, room, again_at } => {
                self.alarms.set(Alarm::Directory, again_at);
                self.context.store.look(writes_after, room);
            }
            DirectoryStep::Wait { until } => self.alarms.set(Alarm::Directory, until),
            DirectoryStep::Unanswered { after } => {
                self.alarms.set(Alarm::Directory, self.context.environment.after(after));
                let reason = format!("a look at the data directory was not answered for {after:?}");
                self.handle(Event::StoreTrouble { reason, full: false });
            }
        }
    }

    /// Starts a checkpoint where the overlay has so many bytes, or the log is held by the state.
    fn maintain(&mut self, from_bytes: u64) {
        let due = self.lifecycle == Lifecycle::Running && self.context.reader.wants_checkpoint(from_bytes);
        if due && self.maintenance.may_start(self.context.environment.clock.now()) {
            self.maintenance.start();
            self.context.store.make_checkpoint();
        }
    }

    fn check_certificate(&mut self) {
        let environment = &self.context.environment;
        self.alarms.set(Alarm::Certificate, later(environment.clock.now(), CERTIFICATE_CHECK));
        let now = i64::try_from(environment.clock.wall_ms() / 1_000).unwrap_or(i64::MAX);
        let days = u64::try_from(self.context.tls.certificate_ends().saturating_sub(now)).unwrap_or(0) / (24 * 3600);
        let subject = "this node's certificate".into();
        self.backlog.push_back(Event::CertificateEnds { subject, days });
    }

    /// Tells the acceptor whom to accept, and closes the links whose peer is not permitted any more.
    fn update_accept_policy(&mut self) {
        if !self.context.policy.update(self.engine.durable_state()) {
            return;
        }
        let pins = &self.context.policy.pins;
        let (stay, go) = std::mem::take(&mut self.links).into_iter().partition(|(_, open)| pins.permit(&open.peer_key));
        let go: BTreeMap<LinkId, Link> = go;
        self.links = stay;
        for (link, open) in go {
            self.callers.carried.forget(link);
            open.close();
            self.backlog.push_back(Event::LinkDown { link, reason: "the pairing was changed".into() });
        }
    }

    /// Answers everybody, closes the links and the store, and then tells the host that the node has stopped.
    async fn shutdown(&mut self) {
        self.inbox.callers.close();
        while let Ok(request) = self.inbox.callers.try_recv() {
            match request {
                Request::Commit { answer, .. } => drop(answer.send(Err(CommitRefusal::Stopped))),
                Request::Command { answer, .. } => drop(answer.send(Err(CommandRefusal::Stopped))),
                // Without an answer the operator knows that there is none.
                Request::StoreFailed { .. } | Request::Carry { .. } => {}
            }
        }
        for (_, link) in std::mem::take(&mut self.links) {
            link.close();
        }
        let drain_timeout = self.context.drain_timeout();
        let context = &mut self.context;
        self.notifier.audit.stopped(&self.engine);
        context.links.alive = mpsc::channel(1).0;
        let links_over = async { while context.links_over.recv().await.is_some() {} };
        context.environment.within(drain_timeout + LINGER, links_over).await;
        // The directory is ours until the store is closed.
        context.environment.within(drain_timeout, self.notifier.audit.settle()).await;
        self.notifier.audit.close();
        Box::pin(context.environment.within(drain_timeout, context.store.close())).await;
        self.publish_status();
        self.notifier.stop();
    }

    fn now(&self) -> Now {
        let environment = &self.context.environment;
        let (at, wall_ms) = (environment.clock.now(), environment.clock.wall_ms());
        // No supported system denies randomness after boot. If one does, this is enough to spread retries.
        let random = environment.random_u64().unwrap_or_else(|_| at.0 ^ wall_ms.rotate_left(32));
        Now { at, wall_ms, random }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// A driver that is dropped with its runtime leaves its files as a crash does, and still tells the host that it stopped.
impl Drop for Driver {
    fn drop(&mut self) {
        self.notifier.stop();
        self.notifier.audit.close();
        self.context.store.abandon();
    }
}
