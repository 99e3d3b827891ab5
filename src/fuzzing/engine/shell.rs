//! The shell of the engine: it does what the engine asks for, when the input says so, and checks what the engine promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::input::Input;
use super::identifiers::{NODE, PAIR, PEER};
use super::model_store::{self, ModelStore};
use super::peer::{self, Known};
use crate::model::{Epoch, KeyId, PinnedKeys, Revision, RunId};
use crate::protocol::engine::{
    Action, BulkId, Command, DialFailureKind, DurableState, Engine, Event, LinkId, Moment, Now, Options, OwnKeys, Peer,
    Replication, Start, Ticket, Work,
};
use crate::protocol::wire::{Bulk, Message, Repair, decode, decode_v3, encode};

/// When the history begins, by the wall clock.
const WALL_MS: u64 = 1_700_000_000_000;
/// Most actions of one event: the answers to full queues of callers, and a few more.
const ACTIONS_MAX: usize = 6_000;
/// Steps within which a shutdown ends: every batch is done, every dial and every read fails.
const SHUTDOWN_STEPS_MAX: usize = 2_000;

/// The shell of one engine.
pub(super) struct Shell {
    engine: Engine,
    now_us: u64,
    timer: Option<u64>,
    store: ModelStore,
    batch: Option<Work>,
    links: Links,
    /// Received bulk that nothing has named yet.
    bulk: BTreeMap<BulkId, (LinkId, Bulk, usize)>,
    /// What the engine asked for and was not answered yet.
    answers: VecDeque<Event>,
    /// Callers that wait.
    waiting: BTreeSet<Ticket>,
    /// The last number that was given to a link, a caller or a piece of bulk.
    last_id: u64,
    epoch: Epoch,
    has_stopped: bool,
}

#[derive(Default)]
struct Links {
    up: BTreeSet<LinkId>,
    dialling: bool,
    /// The nonce of the last heartbeat.
    heartbeat: u64,
    /// Transfer of the last snapshot that was offered.
    transfer: u64,
}

impl Shell {
    /// A shadow at 1.0/5 whose master is connected.
    pub(super) fn following_shadow() -> Self {
        let mut state = DurableState::first_shadow(NODE, PAIR, peer());
        (state.complete, state.epoch) = (true, Epoch::FIRST);
        let mut shell = Self::start(state, ModelStore::with_change_sets(5, PEER));
        shell.meet();
        shell
    }

    /// A master at 1.0/5 whose shadow is connected.
    pub(super) fn serving_master() -> Self {
        let mut state = DurableState::first_master(NODE, PAIR);
        (state.peer, state.enabled) = (Some(peer()), true);
        let mut shell = Self::start(state, ModelStore::with_change_sets(5, NODE));
        shell.meet();
        shell
    }

    /// A shadow that has nothing yet.
    pub(super) fn enrolled_shadow() -> Self {
        Self::start(DurableState::first_shadow(NODE, PAIR, peer()), ModelStore::default())
    }

    fn start(durable_state: DurableState, store: ModelStore) -> Self {
        let start = Start {
            durable_state,
            head: store.head,
            log_floor: store.floor,
            history: store.history.clone(),
            shown: store.head.revision,
            options: Options::default(),
            run: RunId(7),
            address: "here:1".to_owned(),
            keys: OwnKeys::only(KeyId(NODE.0)),
            witnessed: false,
            damage: None,
        };
        let now = Now { at: Moment(0), wall_ms: WALL_MS, random: 41 };
        let (engine, actions) = Engine::start(now, start);
        let mut shell = Self {
            engine,
            now_us: 0,
            timer: None,
            store,
            batch: None,
            links: Links::default(),
            bulk: BTreeMap::new(),
            answers: VecDeque::new(),
            waiting: BTreeSet::new(),
            last_id: 0,
            epoch: Epoch::NONE,
            has_stopped: false,
        };
        shell.perform(actions);
        shell
    }

    /// The peer connects and says hello, and the session begins.
    fn meet(&mut self) {
        self.link_up();
        self.say(Message::Hello(Box::new(peer::hello(&self.known(), 0))));
        self.batch_ends(None);
        self.say(peer::heartbeat_ack(&self.known()));
        self.batch_ends(None);
        self.say(peer::begin_session(&self.known()));
        self.answer_next();
    }

    /// Whether the engine has asked to stop.
    pub(super) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Lets one thing happen.
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 21 {
            0 => decode(input.piece()).into_iter().for_each(|message| self.say(message)),
            1 => decode_v3(input.piece()).into_iter().for_each(|message| self.say(message)),
            2 => {
                let message = peer::near_message(input, &self.known());
                self.say(message);
            }
            3 => {
                let what = peer::records(input, &self.known());
                self.receive(what, input.u16());
            }
            4 => {
                let transfer = u64::from(input.u8());
                self.receive(Bulk::Snapshot { transfer }, input.u16());
            }
            5 => self.time_passes(u64::from(input.u16()) * 1_000),
            6 => self.batch_ends(None),
            7 => self.batch_ends(Some(input.u8().is_multiple_of(2))),
            8 => self.link_up(),
            9 => self.link_down(),
            10 => self.dial_fails(input.u8()),
            11 => self.answer_next(),
            12 => self.commit(usize::from(input.u16())),
            13 => self.command(input),
            14 => self.on_link(|link| Event::Progress { link }),
            15 => self.say(Message::Hello(Box::new(peer::hello(&self.known(), input.u8())))),
            16 => self.say(peer::heartbeat_ack(&self.known())),
            17 => self.say(peer::heartbeat(&self.known(), input.u8())),
            18 => self.store.faults = input.u8(),
            19 => self.on_link(|link| Event::Malformed { link, what: "noise".to_owned() }),
            _ => self.handle(Event::ReadFailed { reason: "a sector".to_owned() }),
        }
    }

    /// The host stops the node: it ends, and everybody is answered.
    pub(super) fn shut_down(&mut self) {
        if !self.has_stopped {
            self.ask(Command::Shutdown);
        }
        for _ in 0..SHUTDOWN_STEPS_MAX {
            if self.has_stopped {
                break;
            }
            self.batch_ends(None);
            self.answer_next();
            self.dial_fails(0);
            self.time_passes(250_000);
        }
        assert!(self.has_stopped, "it does not stop");
        assert!(self.waiting.is_empty(), "callers who got no answer: {:?}", self.waiting);
    }

    // What happens.

    fn handle(&mut self, event: Event) {
        if self.has_stopped {
            return;
        }
        let random = self.now_us.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.last_id;
        let now = Now { at: Moment(self.now_us), wall_ms: self.wall_ms(), random };
        let actions = self.engine.handle(now, event);
        assert!(actions.len() <= ACTIONS_MAX, "{} actions at once", actions.len());
        self.perform(actions);
        let epoch = self.engine.durable_state().epoch;
        assert!(epoch >= self.epoch, "its epoch fell from {} to {epoch}", self.epoch);
        self.epoch = epoch;
        assert!(self.has_stopped || self.timer.is_some(), "it waits for no timer");
    }

    fn on_link(&mut self, event: impl FnOnce(LinkId) -> Event) {
        if let Some(link) = self.links.up.last().copied() {
            self.handle(event(link));
        }
    }

    fn say(&mut self, message: Message) {
        self.on_link(|link| Event::Message { link, message });
    }

    fn receive(&mut self, what: Bulk, bytes: u16) {
        let Some(link) = self.links.up.last().copied() else { return };
        let (bulk, bytes) = (BulkId(self.next_id()), usize::from(bytes) * 16 + 1);
        self.bulk.insert(bulk, (link, what, bytes));
        self.handle(Event::Bulk { link, bulk, what, bytes });
    }

    fn time_passes(&mut self, us: u64) {
        let end = self.now_us + us;
        for _ in 0..64 {
            match self.timer.filter(|at| *at <= end) {
                Some(at) => {
                    self.now_us = self.now_us.max(at);
                    self.handle(Event::Timer);
                }
                None => break,
            }
        }
        self.now_us = end;
    }

    /// The batch under way is over: done, or failed (on a full disk or not).
    fn batch_ends(&mut self, fails: Option<bool>) {
        let Some(work) = self.batch.take() else { return };
        let frames = model_store::frames_of(&work);
        let frames: Vec<_> = frames.into_iter().map(|bulk| self.bulk.remove(&bulk)).collect();
        let frames = frames.into_iter().map(|frame| frame.expect("bulk that is named is here"));
        let frames: Vec<_> = frames.map(|(_, what, bytes)| (what, bytes)).collect();
        let completed = self.store.complete(work, &frames, fails, self.engine.durable_state().node);
        self.handle(Event::Persisted(completed));
    }

    fn link_up(&mut self) {
        let link = LinkId(self.next_id());
        self.links.up.insert(link);
        let dialled = std::mem::take(&mut self.links.dialling);
        self.handle(Event::LinkUp { link, dialled });
    }

    fn link_down(&mut self) {
        let Some(link) = self.links.up.pop_last() else { return };
        self.forget_bulk_of(link);
        self.handle(Event::LinkDown { link, reason: "reset".to_owned() });
    }

    /// The link is gone, and with it what nothing has named.
    fn forget_bulk_of(&mut self, link: LinkId) {
        let named = self.batch.as_ref().map(model_store::frames_of).unwrap_or_default();
        self.bulk.retain(|bulk, (from, ..)| *from != link || named.contains(bulk));
    }

    fn dial_fails(&mut self, how: u8) {
        if !std::mem::take(&mut self.links.dialling) {
            return;
        }
        let how =
            [DialFailureKind::Unreachable, DialFailureKind::WrongKey { shown: None }, DialFailureKind::RefusedByPeer]
                [usize::from(how % 3)];
        self.handle(Event::DialFailed { how, reason: "no".to_owned() });
    }

    fn answer_next(&mut self) {
        let Some(event) = self.answers.pop_front() else { return };
        let link = match &event {
            Event::RecordsPushed { link, .. } => Some(*link),
            _ => None,
        };
        // What a link that is gone had asked for stays unanswered.
        if link.is_none_or(|link| self.links.up.contains(&link)) {
            self.handle(event);
        }
    }

    fn commit(&mut self, bytes: usize) {
        let ticket = self.next_ticket();
        self.handle(Event::Commit { ticket, bytes });
    }

    fn command(&mut self, input: &mut Input<'_>) {
        let on = input.u8().is_multiple_of(2);
        self.ask(match input.u8() % 14 {
            0 => Command::Disconnect,
            1 => Command::Reconnect,
            2 => Command::Resync,
            3 => Command::TakeOver,
            4 => Command::TakeOverAcceptingLoss,
            5 => Command::SwitchRoles,
            6 => Command::Pause(on),
            7 => Command::Freeze(on),
            8 => Command::Replicate(if on { Replication::Asynchronous } else { Replication::Synchronous }),
            9 => Command::Rotate,
            10 => Command::Enable,
            11 => Command::Disable,
            12 => Command::Reset,
            _ => Command::Acknowledge { alert: u64::from(input.u8()) },
        });
    }

    fn ask(&mut self, command: Command) {
        let ticket = self.next_ticket();
        self.handle(Event::Command { ticket, command });
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn next_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_id());
        if !self.has_stopped {
            self.waiting.insert(ticket);
        }
        ticket
    }

    // What the engine asks for.

    fn perform(&mut self, actions: Vec<Action>) {
        actions.into_iter().for_each(|action| self.carry_out(action));
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Persist(work) => {
                model_store::check(&work);
                assert!(self.batch.is_none(), "two batches at once");
                self.batch = Some(work);
            }
            Action::Send { message, .. } => self.sends(&message),
            Action::PushRecords { link, upto, max_bytes, .. } => {
                let bytes = max_bytes.min(100);
                self.answers.push_back(Event::RecordsPushed { link, last: upto, bytes, gone: false });
            }
            Action::OpenSnapshot { transfer, .. } => {
                self.answers.push_back(Event::SnapshotOpened { header: self.store.snapshot(transfer) });
            }
            Action::PushSnapshot { transfer, max_bytes, .. } => {
                let bytes = max_bytes.min(100);
                self.answers.push_back(Event::SnapshotPushed { transfer, bytes, done: true });
            }
            Action::DropBulk { bulk } => drop(self.bulk.remove(&bulk)),
            Action::Close { link } => {
                self.links.up.remove(&link);
                self.forget_bulk_of(link);
            }
            Action::Dial { within, .. } => {
                assert!(within > Duration::ZERO && !self.links.dialling, "one dial at a time, in some time");
                self.links.dialling = true;
            }
            Action::AnswerCommit { ticket, .. } | Action::AnswerCommand { ticket, .. } => {
                assert!(self.waiting.remove(&ticket), "{ticket:?} is answered twice");
            }
            Action::AskMayTakeOver { question } => {
                self.answers.push_back(Event::HostAnswered { question, allowed: true, reason: String::new() });
            }
            Action::SetTimer { at } => self.timer = Some(at.0),
            Action::MakeKey => self.answers.push_back(Event::KeyMade(Ok(KeyId([0x44; 32])))),
            Action::UseKey { key } => self.answers.push_back(Event::KeyUsed(Ok(key))),
            Action::Stop => self.has_stopped = true,
            Action::Publish { .. }
            | Action::Confirm { .. }
            | Action::ResumeSnapshot { .. }
            | Action::CompareSnapshot { .. }
            | Action::SelectSnapshot { .. }
            | Action::CloseSnapshot { .. }
            | Action::AnswerEnrol { .. }
            | Action::AskWitness { .. }
            | Action::Notify(_) => {}
        }
    }

    fn sends(&mut self, message: &Message) {
        encode(message).expect("what is said can be encoded");
        match message {
            Message::Heartbeat(beat) => self.links.heartbeat = beat.nonce,
            Message::Repair(Repair::Full(header)) => self.links.transfer = header.transfer,
            _ => {}
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            role: self.engine.durable_state().role,
            store: &self.store,
            last_id: self.last_id,
            last_heartbeat: self.links.heartbeat,
            last_transfer: self.links.transfer,
            wall_ms: self.wall_ms(),
        }
    }

    fn wall_ms(&self) -> u64 {
        WALL_MS + self.now_us / 1_000
    }
}

fn peer() -> Peer {
    Peer {
        node: PEER,
        keys: PinnedKeys::only(PEER.first_key()),
        name: String::new(),
        address: "there:1".to_owned(),
        takeover_delay_ms: 5_000,
        confirmed: Revision::NONE,
    }
}
