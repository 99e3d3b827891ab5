//! The one task that owns the engine: waits, tells the engine what happened and when, carries out what it says.

mod act;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::dial::DialFailure;
use super::enrol::Ask;
use super::hooks::Host;
use super::inbox::{Alarm, Alarms, Inbox, Input, Wake};
use super::join::Joining;
use super::link::{Connection, Link, LinkContext, Share};
use super::listener::{Pin, Porch};
use super::persist::Keeper;
use super::seam::{Environment, Scope, later, random_u64};
use super::shared::{Place as QueuePlace, Request};
use super::voice::{Place, Voice};
use super::witness::ThirdVote;
use crate::identity::Tls;
use crate::model::ChangeSet;
use crate::model::limits::{CERTIFICATE_CHECK, CERTIFICATE_WARN_DAYS, LINGER, MAINTENANCE_PAUSE, WAKE_UPS_MAX};
use crate::protocol::engine::{
    Action, BulkId, Command, CommandAnswer, CommandRefusal, CommitAnswer, CommitRefusal, Completed, Completion,
    DialFailureKind, DiskFailure, Engine, EnrolVerdict, Event, LinkId, Moment, Notice, Now, StagingReceipt, Ticket,
};
use crate::protocol::wire::Bulk;
use crate::store::Reader;

/// The driver of one node.
pub struct Driver {
    engine: Engine,
    inbox: Inbox,
    alarms: Alarms,
    voice: Voice,
    callers: HashMap<Ticket, Caller>,
    links: HashMap<LinkId, Link>,
    /// Received bulk that no batch has named yet.
    shelf: HashMap<BulkId, (Bytes, Share)>,
    asks: HashMap<u64, mpsc::Sender<EnrolVerdict>>,
    upkeep: Upkeep,
    /// Events that came up while others were handled.
    backlog: VecDeque<Event>,
    /// The last number of a ticket, link or bulk.
    last_number: u64,
    ending: Ending,
    tools: Tools,
}

/// What the driver works with.
pub struct Tools {
    pub environment: Environment,
    pub reader: Reader,
    pub keeper: Keeper,
    pub host: Host,
    pub vote: ThirdVote,
    pub tls: Tls,
    pub porch: Arc<Porch>,
    pub links: LinkContext,
    /// Ends when the last link's task does.
    pub links_over: mpsc::Receiver<()>,
    /// Tried beside the peer's learnt address.
    pub master_address: Option<String>,
    pub drain_timeout: Duration,
    /// End of this node's certificate, seconds since 1970.
    pub certificate_ends: i64,
    pub place: Place,
    /// An enrolment that is stored here and perhaps not with the master.
    pub unconfirmed: Option<Joining>,
    /// Ends the node's tasks with the driver.
    pub scope: Scope,
}

/// One who waits for an answer.
enum Caller {
    /// One who commits. The change set is here until a batch takes it; its place in the queue until it is answered.
    Commit { changes: Option<ChangeSet>, _place: QueuePlace, answer: oneshot::Sender<CommitAnswer> },
    /// An operator.
    Command(oneshot::Sender<CommandAnswer>),
}

impl Caller {
    fn take_change_set(&mut self) -> Option<ChangeSet> {
        match self {
            Self::Commit { changes, .. } => changes.take(),
            Self::Command(_) => None,
        }
    }
}

/// Maintenance of the store: one run at a time, less often while it fails.
#[derive(Default)]
struct Upkeep {
    running: bool,
    not_before: Moment,
    failures: u32,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Not at all.
    Running,
    /// The engine was told to stop.
    Asked,
    /// The engine has stopped.
    Over,
}

impl Driver {
    pub fn new(engine: Engine, inbox: Inbox, voice: Voice, tools: Tools) -> Self {
        Self {
            engine,
            inbox,
            alarms: Alarms::new(Arc::clone(&tools.environment.clock)),
            voice,
            callers: HashMap::new(),
            links: HashMap::new(),
            shelf: HashMap::new(),
            asks: HashMap::new(),
            upkeep: Upkeep::default(),
            backlog: VecDeque::new(),
            last_number: 0,
            ending: Ending::Running,
            tools,
        }
    }

    /// The life of a node.
    pub async fn run(mut self, first: Vec<Action>) {
        self.look_at_certificate();
        self.open_or_close_the_door();
        self.obey(first);
        self.tell_what_came_up();
        self.settle();
        while self.ending != Ending::Over {
            let wake = self.inbox.next(&mut self.alarms).await;
            self.take(wake);
            self.take_what_waits();
            self.settle();
        }
        Box::pin(self.farewell()).await;
    }

    /// More that has come meanwhile: status is published once for all of it.
    fn take_what_waits(&mut self) {
        for turn in 0..WAKE_UPS_MAX {
            match self.inbox.take(turn % 2 == 0) {
                Some(wake) if self.ending != Ending::Over => self.take(wake),
                _ => return,
            }
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Alarm(Alarm::Engine) => self.tell(Event::Timer),
            Wake::Alarm(Alarm::Certificate) => self.look_at_certificate(),
            Wake::Alarm(Alarm::Deadline) => self.tell(Event::Abandoned),
            Wake::Input(input) => self.take_input(input),
            Wake::Request(Request::Commit { changes, place, answer }) => self.take_commit(changes, place, answer),
            Wake::Request(Request::Command { command, answer }) => self.take_command(command, answer),
            Wake::Request(Request::Trouble { reason }) => self.tell(Event::StoreTrouble { reason, full: false }),
            Wake::Abandoned => self.take_command(Command::Shutdown, oneshot::channel().0),
        }
        self.tell_what_came_up();
    }

    fn take_input(&mut self, input: Input) {
        match input {
            Input::Engine(event) => self.tell(event),
            Input::Message { link, message } if self.links.contains_key(&link) => {
                self.tell(Event::Message { link, message });
            }
            Input::Bulk { link, what, bytes, share } if self.links.contains_key(&link) => {
                self.take_bulk(link, what, bytes, share);
            }
            // What a link said after it was closed here.
            Input::Message { .. } | Input::Bulk { .. } => {}
            Input::LinkDown { link, reason } => self.drop_link(link, reason),
            Input::Dialled { outcome: Ok(connection), pin } => self.take_link(connection, pin, true),
            Input::Dialled { outcome: Err(failure), .. } => {
                self.take_dial_failure(failure);
            }
            Input::Accepted { connection, pin } => self.take_link(connection, pin, false),
            Input::EnrolAsked(ask) => self.take_ask(ask),
            Input::Persisted(completed) => self.take_completed(completed),
            Input::Maintained(result) => self.take_maintained(result),
        }
    }

    /// Tells the engine what happened, and does what it says.
    fn tell(&mut self, event: Event) {
        let now = self.now();
        let actions = self.engine.handle(now, event);
        self.obey(actions);
    }

    /// What came up while actions were carried out.
    fn tell_what_came_up(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            self.tell(event);
        }
    }

    /// Carries out actions, in order; mastership first, so that nobody sees an answer under a cover that is gone.
    fn obey(&mut self, actions: Vec<Action>) {
        let reason = actions.iter().find_map(|action| match action {
            Action::Notify(Notice::Role { reason, .. }) => Some(*reason),
            _ => None,
        });
        self.voice.reign(self.engine.authority(), self.engine.durable_state().epoch, reason);
        // Whoever is answered finds the status that goes with the answer.
        if actions.iter().any(|action| matches!(action, Action::AnswerCommit { .. } | Action::AnswerCommand { .. })) {
            self.publish_status();
        }
        // Whoever is answered that a token lives, or is none any more, finds the door so.
        self.open_or_close_the_door();
        for action in actions {
            self.carry_out(action);
        }
    }

    /// After every turn: maintenance where it is due, and status.
    fn settle(&mut self) {
        self.maintain();
        self.publish_status();
    }

    fn publish_status(&self) {
        let clock = &self.tools.environment.clock;
        let (at, wall_ms) = (clock.now(), clock.wall_ms());
        self.voice.publish(self.tools.place.status(self.engine.status(at, wall_ms), at));
    }

    fn take_commit(&mut self, changes: ChangeSet, place: QueuePlace, answer: oneshot::Sender<CommitAnswer>) {
        let (ticket, bytes) = (Ticket(self.number()), place.bytes());
        self.callers.insert(ticket, Caller::Commit { changes: Some(changes), _place: place, answer });
        self.tell(Event::Commit { ticket, bytes });
    }

    fn take_command(&mut self, command: Command, answer: oneshot::Sender<CommandAnswer>) {
        if command == Command::Shutdown && self.ending == Ending::Running {
            self.ending = Ending::Asked;
            // The engine bounds its wait for others by the drain timeout; this bounds its wait for the disk.
            let at = self.tools.environment.after(2 * self.tools.drain_timeout);
            self.alarms.set(Alarm::Deadline, at);
        }
        let ticket = Ticket(self.number());
        self.callers.insert(ticket, Caller::Command(answer));
        self.tell(Event::Command { ticket, command });
    }

    fn take_bulk(&mut self, link: LinkId, what: Bulk, bytes: Bytes, share: Share) {
        let (bulk, length) = (BulkId(self.number()), bytes.len());
        self.shelf.insert(bulk, (bytes, share));
        self.tell(Event::Bulk { link, bulk, what, bytes: length });
    }

    /// A connection whose peer was checked against a pin that has changed since is nobody's.
    fn take_link(&mut self, connection: Connection, pin: Pin, dialled: bool) {
        if pin.is_none() || pin != self.tools.porch.pins.get() {
            if dialled {
                let reason = "the pairing changed meanwhile".into();
                self.tell(Event::DialFailed { how: DialFailureKind::Unreachable, reason });
            }
            return;
        }
        let link = LinkId(self.number());
        self.links.insert(link, Link::open(link, connection, &self.tools.links));
        self.tell(Event::LinkUp { link, dialled });
    }

    /// A peer that refuses this node, whose enrolment it may not have stored, is asked again, once.
    fn take_dial_failure(&mut self, DialFailure { how, reason }: DialFailure) {
        if how == DialFailureKind::RefusedByPeer
            && let Some(joining) = self.tools.unconfirmed.take()
        {
            self.spawn(joining.finish());
        }
        self.tell(Event::DialFailed { how, reason });
    }

    /// A link is gone by itself, or for a reason that came up here.
    fn drop_link(&mut self, link: LinkId, reason: String) {
        if self.links.remove(&link).is_some() {
            self.tell(Event::LinkDown { link, reason });
        }
    }

    fn take_ask(&mut self, ask: Ask) {
        // The door found the secret among the tokens of a moment ago; the engine knows them by their place now.
        let tokens = &self.engine.durable_state().tokens;
        let token = ask.secret.and_then(|secret| tokens.iter().position(|token| token.secret == secret));
        self.asks.retain(|_, verdicts| !verdicts.is_closed());
        self.asks.insert(ask.ask, ask.verdicts);
        self.tell(Event::EnrolAsked { ask: ask.ask, peer: ask.peer, token, from: ask.from });
    }

    fn take_completed(&mut self, completed: Completed) {
        // Another copy is visible at once: whoever watches takes a snapshot again.
        let replaced = match completed.completion() {
            Completion::StagingFinished(Ok(StagingReceipt::Switched { head })) => Some(head.revision),
            Completion::Reopened(Ok(receipt)) => Some(receipt.head.revision),
            _ => None,
        };
        if let Some(revision) = replaced {
            self.voice.replaced(revision, self.tools.reader.snapshot().entries());
        }
        if let Some(DiskFailure { full, reason }) = completed.failure() {
            tracing::warn!(full, reason, "durable work failed");
        }
        self.tell(Event::Persisted(completed));
    }

    fn take_maintained(&mut self, result: Result<(), DiskFailure>) {
        self.upkeep.running = false;
        match result {
            Ok(()) => self.upkeep.failures = 0,
            Err(DiskFailure { full, reason }) => {
                let pause = MAINTENANCE_PAUSE * (1 << self.upkeep.failures.min(6));
                self.upkeep.failures = self.upkeep.failures.saturating_add(1);
                self.upkeep.not_before = self.tools.environment.after(pause);
                self.tell(Event::StoreTrouble { reason, full });
            }
        }
    }

    /// Starts maintenance where the store wants it. It gives way to batches by itself.
    fn maintain(&mut self) {
        let due = !self.upkeep.running && self.ending == Ending::Running && self.tools.reader.wants_maintenance();
        if due && self.tools.environment.clock.now() >= self.upkeep.not_before {
            self.upkeep.running = true;
            let (keeper, inputs) = (self.tools.keeper.clone(), self.tools.links.inputs.clone());
            self.spawn(async move {
                drop(inputs.send(Input::Maintained(keeper.maintain().await)).await);
            });
        }
    }

    fn look_at_certificate(&mut self) {
        let environment = &self.tools.environment;
        self.alarms.set(Alarm::Certificate, later(environment.clock.now(), CERTIFICATE_CHECK));
        let now = i64::try_from(environment.clock.wall_ms() / 1_000).unwrap_or(i64::MAX);
        let days = u64::try_from(self.tools.certificate_ends.saturating_sub(now)).unwrap_or(0) / (24 * 3600);
        if days < CERTIFICATE_WARN_DAYS {
            let subject = "this node's certificate".into();
            self.backlog.push_back(Event::CertificateExpiring { subject, days });
        }
    }

    /// Lets the door know whom to let in. Links of a node that is no longer permitted are closed.
    fn open_or_close_the_door(&mut self) {
        if self.tools.porch.update(self.engine.durable_state()) {
            for (link, open) in self.links.drain() {
                open.close();
                self.backlog.push_back(Event::LinkDown { link, reason: "the pairing was changed".into() });
            }
        }
    }

    /// The end: everybody is answered, links say goodbye, the directory is free, and then the host is told.
    async fn farewell(&mut self) {
        self.inbox.callers.close();
        while let Ok(request) = self.inbox.callers.try_recv() {
            match request {
                Request::Commit { answer, .. } => drop(answer.send(Err(CommitRefusal::Stopped))),
                Request::Command { answer, .. } => drop(answer.send(Err(CommandRefusal::Stopped))),
                Request::Trouble { .. } => {}
            }
        }
        for (_, link) in self.links.drain() {
            link.close();
        }
        let tools = &mut self.tools;
        tools.links.alive = mpsc::channel(1).0;
        let bound = tools.drain_timeout + LINGER;
        let links_over = async { while tools.links_over.recv().await.is_some() {} };
        tools.environment.within(bound, links_over).await;
        Box::pin(tools.environment.within(tools.drain_timeout, tools.keeper.close())).await;
        self.publish_status();
        self.voice.stop();
    }

    fn now(&self) -> Now {
        let clock = &self.tools.environment.clock;
        let (at, wall_ms) = (clock.now(), clock.wall_ms());
        // Without randomness from the system, which no supported one denies after boot: enough to tell jitter apart.
        let random = random_u64().unwrap_or_else(|_| at.0 ^ wall_ms.rotate_left(32));
        Now { at, wall_ms, random }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tools.scope.spawn(&*self.tools.environment.tasks, task);
    }
}

/// A driver that is dropped with its runtime leaves as a crash would, but for the word to the host's other tasks.
impl Drop for Driver {
    fn drop(&mut self) {
        self.voice.stop();
        self.tools.keeper.abandon();
    }
}
