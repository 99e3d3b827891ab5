//! Whole lists of actions: an extra action shows as well as a missing one.

mod alerting;
mod callers;
mod copies;
mod durable_mark;
mod hostile;
mod hung_disk;
mod operator_states;
mod pending_updates;
mod regressions;
mod replacement;
mod simulator_regressions;
mod switchover;
pub(super) mod tables;
mod time;
mod witnessed;

use std::time::Duration;

use super::*;
use crate::model::{Digest, Era, KeyId, NodeId, PairId, PinnedKeys};
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::durable::Moves;
use crate::protocol::wire::{
    Bulk, Heartbeat, HeartbeatAck, Hello, HelloLog, HelloOptions, HelloSender, Message, Repair, Versions,
};

pub(super) const PAIR: PairId = PairId([9; 16]);
pub(super) const MASTER: NodeId = NodeId([1; 32]);
pub(super) const SHADOW: NodeId = NodeId([2; 32]);
pub(super) const SECOND: u64 = 1_000_000;
pub(super) const LINK: LinkId = LinkId(1);

pub(super) fn now(at_us: u64) -> Now {
    Now { at: Moment(at_us), wall_ms: 1_700_000_000_000 + at_us / 1_000, random: 41 }
}

pub(super) fn at(epoch: Epoch, seq: u64) -> Revision {
    Revision::new(epoch, seq)
}

pub(super) fn position(epoch: Epoch, seq: u64) -> Position {
    Position { revision: at(epoch, seq), digest: Digest([seq as u8; 32]) }
}

pub(super) fn history(eras: &[(Epoch, u64)]) -> History {
    let era = |&(epoch, first_seq): &(Epoch, u64)| Era { epoch, first_seq, node: MASTER };
    History::from_eras(eras.iter().map(era).collect()).unwrap()
}

/// The same, each era with the node that wrote it.
fn history_of(eras: &[(Epoch, u64, NodeId)]) -> History {
    let era = |&(epoch, first_seq, node): &(Epoch, u64, NodeId)| Era { epoch, first_seq, node };
    History::from_eras(eras.iter().map(era).collect()).unwrap()
}

/// A key of a node whose key does not matter.
fn own_keys() -> OwnKeys {
    OwnKeys::only(KeyId([1; 32]))
}

pub(super) fn peer(node: NodeId) -> Peer {
    Peer {
        node,
        keys: PinnedKeys::only(node.first_key()),
        name: String::new(),
        address: "there:1".to_owned(),
        takeover_delay_ms: 5_000,
        confirmed: Revision::NONE,
    }
}

/// The same state after takeovers at these wall-clock times.
fn after_takeovers(state: &DurableState, takeovers_ms: Vec<u64>) -> DurableState {
    DurableState { moves: Moves { takeovers_ms, ..state.moves.clone() }, ..state.clone() }
}

pub(super) fn begin(durable_state: DurableState, head: Position, history: History) -> (Engine, Vec<Action>) {
    start(durable_state, head, history, None)
}

fn start(durable_state: DurableState, head: Position, history: History, damage: Option<&str>) -> (Engine, Vec<Action>) {
    let start = Start {
        durable_state,
        head,
        log_floor: Revision::NONE,
        history,
        shown: head.revision,
        options: Options::default(),
        run: RunId(7),
        address: "here:1".to_owned(),
        keys: own_keys(),
        witnessed: false,
        damage: damage.map(str::to_owned),
    };
    Engine::start(now(0), start)
}

fn role(role: Role, serving: bool, epoch: Epoch, reason: RoleReason) -> Action {
    Action::Notify(Notice::Role { role, serving, epoch, reason })
}

fn link(state: LinkState) -> Action {
    Action::Notify(Notice::Link { state, reason: String::new() })
}

fn timer(at_us: u64) -> Action {
    Action::SetTimer { at: Moment(at_us) }
}

/// What a job of one kind ends with. The receipt says which kind that is.
trait EndOf: Sized {
    type Job: Job<Receipt = Self>;

    /// The order of such a job, where this work is one.
    fn order(work: Work) -> Option<Order<Self::Job>>;
}

macro_rules! end_of {
    ($($receipt:ty => $kind:ident, $job:ty;)+) => {
        $(impl EndOf for $receipt {
            type Job = $job;

            fn order(work: Work) -> Option<Order<$job>> {
                match work {
                    Work::$kind(order) => Some(order),
                    _ => None,
                }
            }
        })+
    };
}

end_of! {
    () => StoreState, StoreState;
    GroupReceipt => AppendGroup, AppendGroup<()>;
    EraReceipt => BeginEra, BeginEra;
    RecordsReceipt => AppendRecords, AppendRecords<BulkId>;
    QuarantineReceipt => Quarantine, Quarantine;
    ReopenReceipt => Reopen, Reopen;
}

fn complete<J: Job>(order: Order<J>, receipt: J::Receipt) -> Completed {
    order.split().1.complete(Ok(receipt))
}

/// The batch in flight is over.
fn done<R: EndOf>(engine: &mut Engine, at_us: u64, batch: u64, receipt: R) -> Vec<Action> {
    let work = engine.work.in_flight().unwrap_or_else(|| panic!("no batch is in flight")).clone();
    assert_eq!(work.batch(), BatchId(batch));
    let order = R::order(work.clone()).unwrap_or_else(|| panic!("{work:?} does not end so"));
    engine.handle(now(at_us), Event::Persisted(complete(order, receipt)))
}

/// The store was opened again, and nothing of what it had shown is gone.
fn reopened(head: Position, history: History, damage: Option<&str>) -> ReopenReceipt {
    let damage = damage.map(str::to_owned);
    ReopenReceipt { head, log_floor: Revision::NONE, history, shown: head.revision, damage }
}

/// The batch in flight has failed.
fn fails(engine: &mut Engine, at_us: u64, batch: u64, failure: DiskFailure) -> Vec<Action> {
    let work = engine.work.in_flight().unwrap_or_else(|| panic!("no batch is in flight")).clone();
    assert_eq!(work.batch(), BatchId(batch));
    engine.handle(now(at_us), Event::Persisted(work.fail(failure)))
}

/// The number of the batch in flight; zero is none.
fn batch_in_flight(engine: &Engine) -> u64 {
    engine.work.in_flight().map_or(0, |work| work.batch().0)
}

fn refused_commit(ticket: u64, refusal: CommitRefusal) -> Action {
    Action::AnswerCommit { ticket: Ticket(ticket), answer: Err(refusal) }
}

fn committed(ticket: u64, revision: Revision, replicated: bool) -> Action {
    Action::AnswerCommit { ticket: Ticket(ticket), answer: Ok(Committed { revision, replicated }) }
}

fn answered(ticket: u64, answer: CommandAnswer) -> Action {
    Action::AnswerCommand { ticket: Ticket(ticket), answer }
}

/// These change sets as one group in this batch.
fn group(batch: u64, tickets: &[u64], epoch: Epoch) -> Work {
    let change_sets = tickets.iter().map(|ticket| (Ticket(*ticket), ())).collect();
    Work::from(AppendGroup { change_sets, epoch }).numbered(BatchId(batch))
}

/// The last common position, where this work is a quarantine.
fn quarantine(work: &Work) -> Option<Revision> {
    match work {
        Work::Quarantine(order) => Some(order.job.common),
        _ => None,
    }
}

fn is_answer(action: &Action) -> bool {
    matches!(action, Action::AnswerCommit { .. } | Action::AnswerCommand { .. })
}

/// Answers every batch of durable state until none is in flight.
pub(super) fn settle(engine: &mut Engine, at_us: u64) {
    for _ in 0..8 {
        let pending = batch_in_flight(engine);
        if pending == 0 {
            return;
        }
        let _ = done(engine, at_us, pending, ());
    }
}

fn tell(engine: &mut Engine, at_us: u64, message: Message) -> Vec<Action> {
    engine.handle(now(at_us), Event::Message { link: LINK, message })
}

pub(super) fn command(engine: &mut Engine, at_us: u64, ticket: u64, command: Command) -> Vec<Action> {
    engine.handle(now(at_us), Event::Command { ticket: Ticket(ticket), command })
}

/// The batch that these actions ask for.
fn batch(actions: &[Action]) -> (u64, Work) {
    let found = actions.iter().find_map(|action| match action {
        Action::Persist(work) => Some((work.batch().0, work.clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no batch in {actions:#?}"))
}

fn sent(actions: &[Action]) -> Vec<Message> {
    let message = |action: &Action| match action {
        Action::Send { message, .. } => Some(message.clone()),
        _ => None,
    };
    actions.iter().filter_map(message).collect()
}

/// A first master that serves; its first era is durable.
pub(super) fn lone_master() -> Engine {
    let (mut engine, actions) = begin(DurableState::first_master(MASTER, PAIR), Position::NONE, History::default());
    let (batch, _) = batch(&actions);
    let head = Position { revision: at(Epoch::FIRST, 0), digest: Digest::ZERO };
    let _ = done(&mut engine, 10, batch, EraReceipt { head, log_floor: Revision::NONE });
    engine
}

pub(super) fn hello_of(role: Role, node: NodeId, position: Position, history: History) -> Hello {
    Hello {
        versions: Versions::OURS,
        sender: HelloSender { pair: PAIR, node, run: RunId(3), name: String::new(), address: "there:1".to_owned() },
        hello_no: 1,
        linked: false,
        role,
        serving: role == Role::Master,
        epoch: position.revision.epoch,
        log: HelloLog {
            position,
            floor: Revision::NONE,
            shown: position.revision,
            complete: position != Position::NONE,
            history,
        },
        options: HelloOptions {
            heartbeat: Duration::from_secs(1),
            takeover_delay: Duration::from_secs(5),
            schema: 0,
            data_key: None,
        },
        wall_ms: 1_700_000_000_000,
    }
}

/// A shadow at 1.0/5 that follows its master.
pub(super) fn following_shadow() -> Engine {
    let mut durable_state = DurableState::first_shadow(SHADOW, PAIR, peer(MASTER));
    durable_state.complete = true;
    let (mut engine, actions) = begin(durable_state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    assert!(actions.contains(&Action::Dial { address: "there:1".to_owned(), within: Duration::from_secs(3) }));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(200), Event::Message { link: LINK, message: Message::Hello(Box::new(hello)) });
    let actions = engine.handle(now(300), Event::Message { link: LINK, message: Message::Repair(Repair::None) });
    assert!(actions.contains(&link(LinkState::Connected)), "{actions:#?}");
    engine
}

#[test]
fn a_first_master_serves_once_its_era_is_durable() {
    let (mut engine, actions) = begin(DurableState::first_master(MASTER, PAIR), Position::NONE, History::default());
    let era = Era { epoch: Epoch::FIRST, first_seq: 1, node: MASTER };
    let state = Box::new(DurableState::first_master(MASTER, PAIR));
    assert_eq!(
        actions,
        [
            Action::Persist(Work::from(BeginEra { state, era }).numbered(BatchId(1))),
            role(Role::Master, false, Epoch::FIRST, RoleReason::FirstStart),
            link(LinkState::None),
            timer(5 * SECOND),
        ]
    );
    let head = Position { revision: at(Epoch::FIRST, 0), digest: Digest::ZERO };
    let actions = done(&mut engine, 10, 1, EraReceipt { head, log_floor: Revision::NONE });
    assert_eq!(
        actions,
        [
            Action::Publish { upto: at(Epoch::FIRST, 0) },
            Action::Confirm { upto: at(Epoch::FIRST, 0) },
            role(Role::Master, true, Epoch::FIRST, RoleReason::FirstStart),
            // It has no shadow, and none may be enrolled: somebody should know.
            timer(600 * SECOND),
        ]
    );
}

#[test]
fn bytes_of_an_unfinished_frame_keep_a_link_and_nothing_else() {
    let closes = |actions: &[Action]| actions.contains(&Action::Close { link: LINK });
    let mut engine = following_shadow();
    for second in 1..20 {
        let actions = engine.handle(now(second * SECOND), Event::Progress { link: LINK });
        assert!(!closes(&actions) && !actions.iter().any(is_dial), "{actions:#?}");
    }
    assert!(!closes(&engine.handle(now(19 * SECOND + 2_900_000), Event::Timer)));
    assert!(closes(&engine.handle(now(22 * SECOND + 100_000), Event::Timer)));

    // What a link is that nobody knows says nothing of the peer.
    let mut engine = following_shadow();
    for second in 1..3 {
        let _ = engine.handle(now(second * SECOND), Event::Progress { link: LinkId(99) });
    }
    assert!(closes(&engine.handle(now(3 * SECOND + 100_000), Event::Timer)));

    // A master that starts again is not confirmed by them: it waits for an answer to its question.
    let mut durable_state = DurableState::first_master(MASTER, PAIR);
    durable_state.peer = Some(peer(SHADOW));
    durable_state.complete = true;
    let (mut engine, _) = begin(durable_state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: false });
    let hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    for second in 1..20 {
        let _ = engine.handle(now(second * SECOND), Event::Progress { link: LINK });
        settle(&mut engine, second * SECOND);
    }
    assert!(!engine.authority().serving);
}

fn is_dial(action: &Action) -> bool {
    matches!(action, Action::Dial { .. })
}

#[test]
fn commits_that_wait_together_are_one_group() {
    let mut engine = lone_master();
    let actions = engine.handle(now(20), Event::Commit { ticket: Ticket(1), bytes: 10 });
    let (first, work) = batch(&actions);
    assert_eq!(work, group(first, &[1], Epoch::FIRST));
    assert_eq!(batch_count(&engine.handle(now(21), Event::Commit { ticket: Ticket(2), bytes: 10 })), 0);
    assert_eq!(batch_count(&engine.handle(now(22), Event::Commit { ticket: Ticket(3), bytes: 10 })), 0);

    let verdicts = vec![(Ticket(1), Ok(at(Epoch::FIRST, 1)))];
    let head = position(Epoch::FIRST, 1);
    let actions = done(&mut engine, 30, first, GroupReceipt { verdicts, head, log_floor: Revision::NONE });
    assert_eq!(
        actions,
        [
            Action::Publish { upto: at(Epoch::FIRST, 1) },
            Action::Confirm { upto: at(Epoch::FIRST, 1) },
            committed(1, at(Epoch::FIRST, 1), false),
            Action::Persist(group(first + 1, &[2, 3], Epoch::FIRST)),
            timer(5 * SECOND + 30),
        ]
    );
}

fn batch_count(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Persist(_))).count()
}

#[test]
fn a_full_disk_refuses_and_the_next_commit_is_tried() {
    let mut engine = lone_master();
    let (first, _) = batch(&engine.handle(now(20), Event::Commit { ticket: Ticket(1), bytes: 10 }));
    let failure = DiskFailure { full: true, reason: "no space".to_owned() };
    let actions = fails(&mut engine, 30, first, failure);
    assert!(actions.contains(&refused_commit(1, CommitRefusal::DiskFull)));
    assert_eq!(engine.status(Moment(31), 0).alerts[0].kind, AlertKind::DiskTrouble);
    assert!(engine.authority().serving);
    let (durable_state, _) = batch(&actions);
    let _ = done(&mut engine, 40, durable_state, ());
    let (second, _) = batch(&engine.handle(now(50), Event::Commit { ticket: Ticket(2), bytes: 10 }));
    let verdicts = vec![(Ticket(2), Ok(at(Epoch::FIRST, 1)))];
    let head = position(Epoch::FIRST, 1);
    let _ = done(&mut engine, 60, second, GroupReceipt { verdicts, head, log_floor: Revision::NONE });
    let kinds: Vec<AlertKind> = engine.status(Moment(61), 0).alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::Recovered]);
}

#[test]
fn a_failed_sync_ends_the_incarnation() {
    let mut engine = lone_master();
    let (first, _) = batch(&engine.handle(now(20), Event::Commit { ticket: Ticket(1), bytes: 10 }));
    let failure = DiskFailure { full: false, reason: "io".to_owned() };
    let actions = fails(&mut engine, 30, first, failure);
    let revision = at(Epoch::FIRST, 1);
    assert!(actions.contains(&refused_commit(1, CommitRefusal::InDoubt { revision })));
    assert!(actions.contains(&role(Role::Master, false, Epoch::FIRST, RoleReason::DiskTrouble)), "{actions:#?}");
    let (reopen, work) = batch(&actions);
    assert!(matches!(work, Work::Reopen(_)), "{work:?}");
    // The change set turned out to be there.
    let head = position(Epoch::FIRST, 1);
    let history = history(&[(Epoch::FIRST, 1)]);
    let receipt = reopened(head, history, None);
    let actions = done(&mut engine, 2 * SECOND + 10, reopen, receipt);
    let (_, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    assert!(era.epoch > Epoch::FIRST && era.epoch.term() == 1 && era.first_seq == 2);
}

fn refused_dial() -> Event {
    Event::DialFailed { how: DialFailureKind::Unreachable, reason: "refused".to_owned() }
}

#[test]
fn a_silent_master_is_replaced_after_the_delay_and_not_before() {
    let mut engine = following_shadow();
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let mut time = SECOND;
    while time < 5 * SECOND {
        let actions = engine.handle(now(time), refused_dial());
        assert!(!actions.contains(&Action::AskMayTakeOver { question: 1 }), "at {time}");
        time += SECOND / 2;
        let _ = engine.handle(now(time), Event::Timer);
    }
    let actions = engine.handle(now(5 * SECOND + 400), Event::Timer);
    assert!(actions.contains(&Action::AskMayTakeOver { question: 1 }), "{actions:#?}");
    let answer = Event::HostAnswered { question: 1, allowed: true, reason: String::new() };
    let (promote, work) = batch(&engine.handle(now(5 * SECOND + 500), answer));
    let Work::BeginEra(Order { job: BeginEra { state: durable_state, era }, .. }) = work else { panic!("{work:?}") };
    assert_eq!((era.epoch.term(), era.first_seq, durable_state.role), (2, 6, Role::Master));
    assert!(!engine.authority().serving);
    let head = Position { revision: at(era.epoch, 5), ..position(Epoch::FIRST, 5) };
    let actions = done(&mut engine, 5 * SECOND + 600, promote, EraReceipt { head, log_floor: Revision::NONE });
    assert!(actions.contains(&role(Role::Master, true, era.epoch, RoleReason::Takeover)), "{actions:#?}");
    assert_eq!(engine.status(Moment(6 * SECOND), 0).alerts[0].kind, AlertKind::Takeover);
}

#[test]
fn a_shadow_that_was_stopped_itself_does_not_take_over() {
    let mut engine = following_shadow();
    let actions = engine.handle(now(60 * SECOND), Event::Timer);
    assert!(!actions.contains(&Action::AskMayTakeOver { question: 1 }));
    assert_eq!(engine.status(Moment(60 * SECOND), 0).why_not, []);
}

#[test]
fn a_shadow_without_contact_does_not_take_over_and_says_why() {
    let mut durable_state = DurableState::first_shadow(SHADOW, PAIR, peer(MASTER));
    durable_state.complete = true;
    let (mut engine, _) = begin(durable_state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    for second in 1..20 {
        let _ = engine.handle(now(second * SECOND), refused_dial());
        let actions = engine.handle(now(second * SECOND + 1), Event::Timer);
        assert!(!actions.iter().any(|action| matches!(action, Action::AskMayTakeOver { .. })));
    }
    assert_eq!(engine.status(Moment(20 * SECOND), 0).why_not, [TakeoverBlocker::NoContact]);
}

/// The shadow answers the heartbeat among these actions.
fn answer(engine: &mut Engine, at_us: u64, actions: &[Action], position: Position) -> Vec<Action> {
    let nonce = sent(actions).into_iter().find_map(|message| match message {
        Message::Heartbeat(Heartbeat { nonce, .. }) => Some(nonce),
        _ => None,
    });
    let epoch = position.revision.epoch;
    let ack = HeartbeatAck { nonce: nonce.unwrap(), role: Role::Shadow, epoch, position, promise: Duration::ZERO };
    engine.handle(now(at_us), Event::Message { link: LINK, message: Message::HeartbeatAck(ack) })
}

/// A master with a shadow in sync, at 1.0/5 before the start and under a new incarnation since.
pub(super) fn leading_master() -> (Engine, Epoch) {
    let mut durable_state = DurableState::first_master(MASTER, PAIR);
    durable_state.peer = Some(peer(SHADOW));
    let (mut engine, actions) = begin(durable_state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    assert!(!engine.authority().serving, "it asks first: {actions:#?}");
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let hello_event = Event::Message { link: LINK, message: Message::Hello(Box::new(hello)) };
    let actions = engine.handle(now(200), hello_event);
    assert_eq!(batch_count(&actions), 0, "a hello may be old, only an answer counts: {actions:#?}");
    let (batch, work) = batch(&answer(&mut engine, 250, &actions, position(Epoch::FIRST, 5)));
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    let head = Position { revision: at(era.epoch, 5), ..position(Epoch::FIRST, 5) };
    let actions = done(&mut engine, 300, batch, EraReceipt { head, log_floor: Revision::NONE });
    assert!(sent(&actions).contains(&Message::Repair(Repair::Incremental { to: head.revision })), "{actions:#?}");
    let _ = engine.handle(now(310), Event::RecordsPushed { link: LINK, last: head.revision, bytes: 72, gone: false });
    let ack = Message::Ack { position: head, received: 72 };
    let actions = engine.handle(now(400), Event::Message { link: LINK, message: ack });
    assert!(actions.contains(&link(LinkState::Connected)), "{actions:#?}");
    assert!(engine.status(Moment(500), 0).in_sync);
    (engine, era.epoch)
}

#[test]
fn a_stopped_master_acknowledges_nothing_until_its_peer_answered() {
    let (mut engine, epoch) = leading_master();
    let (first, _) = drain_state(&mut engine, Event::Commit { ticket: Ticket(1), bytes: 3 });
    // Stopped for a minute; the receipt is the first that it hears of.
    let verdicts = vec![(Ticket(1), Ok(at(epoch, 6)))];
    let head = position(epoch, 6);
    let late = 60 * SECOND;
    let actions = done(&mut engine, late, first, GroupReceipt { verdicts, head, log_floor: Revision::NONE });
    assert!(!actions.iter().any(|action| is_answer(action) || matches!(action, Action::Publish { .. })));
    assert!(actions.contains(&role(Role::Master, false, epoch, RoleReason::Stalled)), "{actions:#?}");
    let asks = |message: &Message| matches!(message, Message::Heartbeat(Heartbeat { asks: true, .. }));
    assert!(sent(&actions).iter().any(asks), "{actions:#?}");
    let actions = answer(&mut engine, late + 100, &actions, position(epoch, 5));
    assert!(actions.contains(&committed(1, at(epoch, 6), false)), "{actions:#?}");
    assert!(actions.contains(&role(Role::Master, true, epoch, RoleReason::Confirmed)));
}

/// Handles an event, and receipts for durable state, until another batch is asked for.
fn drain_state(engine: &mut Engine, event: Event) -> (u64, Vec<Action>) {
    let mut all = engine.handle(now(600), event);
    for _ in 0..4 {
        match all.iter().rev().find_map(|action| match action {
            Action::Persist(work) => Some((work.batch().0, work.clone())),
            _ => None,
        }) {
            Some((batch, Work::StoreState(_))) => all.extend(done(engine, 601, batch, ())),
            Some((batch, _)) => return (batch, all),
            None => {
                let pending = batch_in_flight(engine);
                all.extend(done(engine, 601, pending, ()));
            }
        }
    }
    panic!("no batch in {all:#?}");
}

#[test]
fn a_stopped_master_whose_shadow_took_over_yields() {
    let (mut engine, epoch) = leading_master();
    let (first, _) = drain_state(&mut engine, Event::Commit { ticket: Ticket(1), bytes: 3 });
    let late = 60 * SECOND;
    let verdicts = vec![(Ticket(1), Ok(at(epoch, 6)))];
    let head = position(epoch, 6);
    let _ = done(&mut engine, late, first, GroupReceipt { verdicts, head, log_floor: Revision::NONE });
    let _ = engine.handle(now(late + 1), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let _ = engine.handle(now(late + 2), Event::LinkUp { link: LinkId(2), dialled: true });
    let promoted = epoch.promoted(5);
    let lineage = history_of(&[(Epoch::FIRST, 1, MASTER), (epoch, 6, MASTER), (promoted, 6, SHADOW)]);
    let hello = hello_of(Role::Master, SHADOW, position(promoted, 9), lineage);
    let hello_event = Event::Message { link: LinkId(2), message: Message::Hello(Box::new(hello)) };
    let actions = engine.handle(now(late + 3), hello_event);
    let doubt = CommitRefusal::InDoubt { revision: at(epoch, 6) };
    assert!(actions.contains(&refused_commit(1, doubt)), "{actions:#?}");
    // Durable state were being written when the winner came: quarantine waits for them.
    let pending = batch_in_flight(&engine);
    let (batch_no, work) = batch(&done(&mut engine, late + 4, pending, ()));
    assert_eq!(quarantine(&work), Some(at(epoch, 5)));
    let (from, to) = (at(epoch, 6), at(epoch, 6));
    let receipt = QuarantineReceipt { from, to, change_sets: 1 };
    let (batch_no, work) = batch(&done(&mut engine, late + 4, batch_no, receipt));
    let Work::StoreState(Order { job: StoreState { state: durable_state, .. }, .. }) = work else { panic!("{work:?}") };
    assert_eq!((durable_state.role, durable_state.complete), (Role::Shadow, false));
    let actions = done(&mut engine, late + 5, batch_no, ());
    assert!(actions.contains(&role(Role::Shadow, false, epoch, RoleReason::SteppedDown)), "{actions:#?}");
    assert!(actions.contains(&Action::Close { link: LinkId(2) }));
    let kinds: Vec<AlertKind> = engine.status(Moment(late), 0).alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::PushFailed, AlertKind::ClockSkew, AlertKind::Diverged]);
}

#[test]
fn an_outage_is_counted_and_told_once() {
    let (mut engine, epoch) = leading_master();
    let _ = engine.handle(now(SECOND / 2), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let mut time = SECOND / 2;
    for seq in 6..=105 {
        time += 1_000;
        let mut actions = engine.handle(now(time), Event::Commit { ticket: Ticket(seq), bytes: 3 });
        while let Some((batch, work)) = actions.iter().find_map(|action| match action {
            Action::Persist(work) => Some((work.batch().0, work.clone())),
            _ => None,
        }) {
            actions = match work {
                Work::AppendGroup(order) => {
                    let verdicts = vec![(order.job.change_sets[0].0, Ok(at(epoch, seq)))];
                    let receipt = GroupReceipt { verdicts, head: position(epoch, seq), log_floor: Revision::NONE };
                    done(&mut engine, time, batch, receipt)
                }
                _ => done(&mut engine, time, batch, ()),
            };
        }
        // A durable state batch may have been in flight when the change set came.
        let pending = batch_in_flight(&engine);
        if pending != 0 {
            let _ = done(&mut engine, time, pending, ());
        }
    }
    let alerts = engine.status(Moment(time), 0).alerts;
    let failed = alerts.iter().find(|alert| alert.kind == AlertKind::PushFailed).unwrap();
    assert_eq!(failed.count, engine.status(Moment(time), 0).position.revision.seq - 5);
}

#[test]
fn bulk_that_nobody_asked_for_is_dropped() {
    let mut engine = following_shadow();
    let what = Bulk::Snapshot { transfer: 9 };
    let actions = engine.handle(now(400), Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 100 });
    assert!(actions.contains(&Action::DropBulk { bulk: BulkId(1) }));
    assert!(sent(&actions).contains(&Message::Received { sum: 100 }));
}
