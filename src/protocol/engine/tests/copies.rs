//! Copies of a node, and disks that are older copies.

use super::witnessed::{holds, options, question, record, shadow_state, start_at, store_state, tell_witness};
use super::*;
use crate::model::WitnessRecord;
use crate::protocol::failover::{micros, waited};
use crate::protocol::wire::{CopySeen, Refusal, RefusalKind};

const MS: u64 = 1_000;
const LATER: LinkId = LinkId(2);

/// The hello of a shadow at this position, by this run, on an accepted connection.
fn dials(engine: &mut Engine, at_us: u64, link: LinkId, run: u64, position: Position, history: History) -> Vec<Action> {
    let mut actions = engine.handle(now(at_us), Event::LinkUp { link, dialled: false });
    let from = Event::LinkFrom { link, address: format!("10.0.0.{run}:7") };
    actions.extend(engine.handle(now(at_us), from));
    let mut hello = hello_of(Role::Shadow, SHADOW, position, history);
    hello.sender.run = RunId(run);
    hello.sender.address = format!("there:{run}");
    actions.extend(engine.handle(now(at_us), Event::Message { link, message: Message::Hello(Box::new(hello)) }));
    actions
}

/// A copy of the shadow dials a master that is linked.
fn copy_dials(engine: &mut Engine, at_us: u64, link: LinkId) -> Vec<Action> {
    let (position, history) = (engine.log.head(), engine.log.history().clone());
    dials(engine, at_us, link, 8, position, history)
}

fn beats(actions: &[Action]) -> Vec<(LinkId, u64)> {
    let beat = |action: &Action| match action {
        Action::Send { link, message: Message::Heartbeat(beat) } => Some((*link, beat.nonce)),
        _ => None,
    };
    actions.iter().filter_map(beat).collect()
}

fn answer(engine: &mut Engine, at_us: u64, nonce: u64) -> Vec<Action> {
    let position = engine.log.head();
    let ack = HeartbeatAck { nonce, role: Role::Shadow, epoch: engine.epoch(), position, promise: Duration::ZERO };
    tell(engine, at_us, Message::HeartbeatAck(ack))
}

fn on(actions: &[Action], on: LinkId) -> Vec<&Action> {
    let of_link = |action: &&Action| match action {
        Action::Send { link, .. } | Action::Close { link } => *link == on,
        _ => false,
    };
    actions.iter().filter(of_link).collect()
}

fn alert(engine: &Engine, kind: AlertKind, subject: &str) -> Option<Alert> {
    let found = engine.alerts.log().alerts().iter().find(|alert| alert.kind == kind && alert.subject == subject);
    found.cloned()
}

fn refused_as_duplicate(link: LinkId) -> Event {
    let reason = "another node with this node's identity is linked already, at x".to_owned();
    Event::Message { link, message: Message::Refuse(Refusal { kind: RefusalKind::DuplicateIdentity, reason }) }
}

/// The first one is asked at once. Its answer refuses the later one, which never hears this node's hello.
#[test]
fn a_copy_beside_a_shadow_that_answers_is_refused_and_named() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let actions = copy_dials(&mut engine, 800, LATER);
    let [(LINK, nonce)] = beats(&actions)[..] else { panic!("the first is not asked: {actions:#?}") };
    assert_eq!(on(&actions, LATER), [] as [&Action; 0], "it waits");
    // What was asked before proves nothing.
    assert_eq!(on(&answer(&mut engine, 900, nonce - 1), LATER), [] as [&Action; 0]);
    let actions = answer(&mut engine, 950, nonce);
    let reason = "another node with this node's identity is linked already, at there:1".to_owned();
    let refusal = Message::Refuse(Refusal { kind: RefusalKind::DuplicateIdentity, reason });
    assert_eq!(
        on(&actions, LATER),
        [&Action::Send { link: LATER, message: refusal }, &Action::Close { link: LATER }],
        "{actions:#?}"
    );
    let raised = alert(&engine, AlertKind::DuplicateNode, "peer").unwrap();
    assert!(raised.message.contains("there:1") && raised.message.contains("10.0.0.8:7 (advertises there:8)"));
    assert_eq!(engine.link_state().0, LinkState::Connected, "the first one stays");
    // It comes again: it is refused again, and nobody is told twice. What was acknowledged stays so.
    settle(&mut engine, 960);
    let _ = command(&mut engine, 970, 9, Command::Acknowledge { alert: raised.id });
    settle(&mut engine, 980);
    let actions = copy_dials(&mut engine, 1_000, LinkId(3));
    let [(LINK, nonce)] = beats(&actions)[..] else { panic!("{actions:#?}") };
    let actions = answer(&mut engine, 1_100, nonce);
    assert_eq!(on(&actions, LinkId(3)).len(), 2, "{actions:#?}");
    let now_stands = alert(&engine, AlertKind::DuplicateNode, "peer").unwrap();
    assert_eq!((now_stands.count, now_stands.acknowledged), (1, true));
    // The first one goes: the later one may come, at once.
    let _ = engine.handle(now(1_200), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let actions = copy_dials(&mut engine, 1_300, LinkId(4));
    assert!(sent(&actions).iter().any(|message| matches!(message, Message::Hello(_))), "{actions:#?}");
    assert_eq!(engine.links.active_id(), Some(LinkId(4)));
}

/// What the master says when the copy by this run comes and the first one answers: to the first, and to the copy.
fn refuses_copy(engine: &mut Engine, at_us: u64, link: LinkId, run: u64) -> Vec<Action> {
    let (position, history) = (engine.log.head(), engine.log.history().clone());
    let actions = dials(engine, at_us, link, run, position, history);
    let first = engine.links.active_id().unwrap();
    let [(on, nonce)] = beats(&actions)[..] else { panic!("the first is not asked: {actions:#?}") };
    assert_eq!(on, first);
    let (position, epoch) = (engine.log.head(), engine.epoch());
    let ack = HeartbeatAck { nonce, role: Role::Shadow, epoch, position, promise: Duration::ZERO };
    let mut actions =
        engine.handle(now(at_us + 50), Event::Message { link: first, message: Message::HeartbeatAck(ack) });
    settle(engine, at_us + 60);
    actions.retain(|action| matches!(action, Action::Send { .. } | Action::Close { .. }));
    actions
}

fn seen(run: u64) -> CopySeen {
    let later = format!("10.0.0.{run}:7 (advertises there:{run})");
    CopySeen { run: RunId(run), first: "there:1".to_owned(), later }
}

/// The first of two is told where both are: once on each connection, and of each run of the copy.
#[test]
fn the_first_of_two_is_told_of_the_copy() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let refusal = |link| {
        let reason = "another node with this node's identity is linked already, at there:1".to_owned();
        let refusal = Refusal { kind: RefusalKind::DuplicateIdentity, reason };
        [Action::Send { link, message: Message::Refuse(refusal) }, Action::Close { link }]
    };
    let told = |link, run| Action::Send { link, message: Message::CopySeen(seen(run)) };
    let both = |first, link, run| [&[told(first, run)][..], &refusal(link)].concat();
    assert_eq!(refuses_copy(&mut engine, 800, LinkId(2), 8), both(LINK, LinkId(2), 8));
    assert_eq!(refuses_copy(&mut engine, 1_000, LinkId(3), 8), refusal(LinkId(3)));
    assert_eq!(refuses_copy(&mut engine, 1_200, LinkId(4), 9), both(LINK, LinkId(4), 9));
    assert_eq!(refuses_copy(&mut engine, 1_400, LinkId(5), 9), refusal(LinkId(5)));
    // The connection of the first breaks, perhaps before it was told. It comes back, and so does the copy.
    let _ = engine.handle(now(1_600), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let (again, head, history) = (LinkId(6), engine.log.head(), engine.log.history().clone());
    let _ = engine.handle(now(1_700), Event::LinkUp { link: again, dialled: true });
    let hello = Message::Hello(Box::new(hello_of(Role::Shadow, SHADOW, head, history)));
    let _ = engine.handle(now(1_800), Event::Message { link: again, message: hello });
    settle(&mut engine, 1_850);
    let actions = refuses_copy(&mut engine, 200_000, LinkId(7), 9);
    assert_eq!(actions, both(again, LinkId(7), 9));
    assert_eq!(refuses_copy(&mut engine, 201_000, LinkId(8), 9), refusal(LinkId(8)));
}

/// A program of before version 3 is not sent what it cannot read.
#[test]
fn an_older_node_is_not_told_of_its_copy() {
    let state = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
    let lineage = history(&[(Epoch::FIRST, 1)]);
    let (mut engine, _) = begin(state, position(Epoch::FIRST, 5), lineage.clone());
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), lineage);
    let old = Hello { versions: Versions { min: 1, max: 2 }, ..hello };
    let actions = tell(&mut engine, 200, Message::Hello(Box::new(old)));
    let (_, nonce) = beats(&actions)[0];
    let ack = HeartbeatAck {
        nonce,
        role: Role::Shadow,
        epoch: Epoch::FIRST,
        position: position(Epoch::FIRST, 5),
        promise: Duration::ZERO,
    };
    let (begun, work) = batch(&tell(&mut engine, 300, Message::HeartbeatAck(ack)));
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    let head = Position { revision: at(era.epoch, 5), ..position(Epoch::FIRST, 5) };
    let _ = done(&mut engine, 350, begun, EraReceipt { head, log_floor: Revision::NONE });
    settle(&mut engine, 400);
    let sends = refuses_copy(&mut engine, 200_000, LATER, 8);
    assert!(
        matches!(&sends[..], [Action::Send { message: Message::Refuse(_), .. }, Action::Close { .. }]),
        "{sends:#?}"
    );
    assert!(alert(&engine, AlertKind::DuplicateNode, "peer").is_some());
}

/// The original hears of its copy: one alert that names both addresses, and nothing else changes.
#[test]
fn a_node_that_is_told_of_its_copy_raises_one_alert_and_goes_on() {
    for mut engine in [leading_master().0, following_shadow()] {
        settle(&mut engine, 700);
        let (serving, state) = (engine.authority().serving, engine.node_state());
        let mut said = |at_us, run| {
            let mut actions = tell(&mut engine, at_us, Message::CopySeen(seen(run)));
            settle(&mut engine, at_us + 1);
            actions.retain(|action| !matches!(action, Action::SetTimer { .. }));
            (actions, alert(&engine, AlertKind::DuplicateNode, "copy of this node").unwrap())
        };
        let (actions, raised) = said(800, 8);
        let [Action::Notify(Notice::Alert { change: AlertChange::Raised, alert: told }), Action::Persist(work)] =
            &actions[..]
        else {
            panic!("{actions:#?}")
        };
        assert_eq!((told, matches!(work, Work::StoreState(_)), raised.count), (&raised, true, 1));
        assert!(raised.message.contains("there:1") && raised.message.contains("10.0.0.8:7 (advertises there:8)"));
        // Said again on the next connection it is the same trouble. Another run of the copy counts.
        assert_eq!(said(900, 8), (vec![], raised.clone()));
        let (actions, again) = said(1_000, 9);
        let news = [Action::Notify(Notice::Alert { change: AlertChange::Updated, alert: again.clone() })];
        assert_eq!((again.count, again.id, &actions[..]), (2, raised.id, &news[..]), "written later");
        let (actions, again) = said(1_050, 10);
        assert_eq!((again.count, &actions[..]), (3, &[][..]), "told later as well");
        assert_eq!((engine.authority().serving, engine.node_state()), (serving, state));
        // It is no trouble of the link: a new connection does not end it.
        let _ = engine.handle(now(1_100), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
        let (role, sender, head) = match engine.durable_state().role {
            Role::Master => (Role::Shadow, SHADOW, engine.log.head()),
            Role::Shadow => (Role::Master, MASTER, engine.log.head()),
        };
        let hello = Message::Hello(Box::new(hello_of(role, sender, head, engine.log.history().clone())));
        let _ = engine.handle(now(1_200), Event::LinkUp { link: LATER, dialled: true });
        let _ = engine.handle(now(1_300), Event::Message { link: LATER, message: hello });
        assert_eq!(engine.links.active_id(), Some(LATER));
        assert!(alert(&engine, AlertKind::DuplicateNode, "copy of this node").is_some());
    }
}

/// Without the question the link would flap between the two.
#[test]
fn without_the_question_a_copy_takes_the_link() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    engine.mutate(Mutant::TakesCopyForRestart);
    let actions = copy_dials(&mut engine, 800, LATER);
    assert_ne!(on(&actions, LATER), [] as [&Action; 0], "the mistake is not made: {actions:#?}");
}

/// A shadow that was restarted, and whose old connection nobody has closed.
#[test]
fn a_restarted_shadow_takes_the_place_of_a_connection_that_is_dead() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let actions = copy_dials(&mut engine, 800, LATER);
    assert_eq!(on(&actions, LATER), [] as [&Action; 0]);
    let lost_us = engine.setup.timing.lost_after_us;
    let actions = engine.handle(now(800 + lost_us), Event::Timer);
    assert!(actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
    assert_eq!(engine.links.active_id(), Some(LATER));
    assert_eq!(alert(&engine, AlertKind::DuplicateNode, "peer"), None);
    // The same where the old connection ends first: then it is at once.
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = copy_dials(&mut engine, 800, LATER);
    let _ = engine.handle(now(900), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    assert_eq!(engine.links.active_id(), Some(LATER));
}

/// An address that leads to this node itself, or a node that shows its key, is named as that. Another key is not, whatever the text says.
#[test]
fn whoever_shows_this_nodes_own_key_is_named_so() {
    let mut engine = following_shadow();
    let own = engine.rotation.current();
    let reason = format!("the certificate of node {own}, which is not permitted");
    let named = |engine: &Engine, subject: &str| {
        alert(engine, AlertKind::UnpermittedPeer, subject).unwrap().message.contains("this node's own identity")
    };
    for (address, shown, is_own) in [("a", Some(own), true), ("b", Some(KeyId([7; 32])), false), ("c", None, false)] {
        let (from, reason) = (address.to_owned(), reason.clone());
        let _ = engine.handle(now(400), Event::Unpermitted { from, reason, shown, times: 1 });
        assert_eq!(named(&engine, address), is_own, "{address}");
    }
    for (shown, is_own) in [(Some(own), true), (Some(KeyId([7; 32])), false), (None, false)] {
        let how = DialFailureKind::WrongKey { shown };
        let _ = engine.handle(now(SECOND), Event::DialFailed { how, reason: reason.clone() });
        assert_eq!(named(&engine, "there:1"), is_own, "{shown:?}");
    }
}

#[test]
fn a_shadow_that_is_refused_as_a_copy_never_takes_over_by_itself() {
    let mut engine = following_shadow();
    let _ = engine.handle(now(400), refused_as_duplicate(LINK));
    settle(&mut engine, 500);
    assert_eq!(engine.link_state().0, LinkState::Refused);
    assert!(alert(&engine, AlertKind::DuplicateNode, "this node").is_some());
    // Its master dies, and a stranger answers in its place.
    let mut time = SECOND;
    for how in [DialFailureKind::Unreachable, DialFailureKind::WrongKey { shown: None }].into_iter().cycle().take(30) {
        let _ = engine.handle(now(time), Event::DialFailed { how, reason: "nobody".to_owned() });
        settle(&mut engine, time + 1);
        time += SECOND;
        let _ = engine.handle(now(time), Event::Timer);
        settle(&mut engine, time + 1);
    }
    assert!(engine.status(Moment(time), 0).why_not.contains(&TakeoverBlocker::Refused));
    assert_eq!(engine.node_state(), crate::protocol::failover::NodeState::Following);
    // A master welcomes it: what was wrong is over.
    let link = LinkId(9);
    let _ = engine.handle(now(time + 10), Event::LinkUp { link, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(time + 20), Event::Message { link, message: Message::Hello(Box::new(hello)) });
    assert_eq!(alert(&engine, AlertKind::DuplicateNode, "this node"), None);
}

#[test]
fn a_master_that_is_refused_as_a_copy_stops_serving_and_does_not_serve_for_silence() {
    let (mut engine, epoch) = leading_master();
    settle(&mut engine, 700);
    let actions = engine.handle(now(800), refused_as_duplicate(LINK));
    assert!(actions.contains(&role(Role::Master, false, epoch, RoleReason::Duplicate)), "{actions:#?}");
    settle(&mut engine, 900);
    let mut time = SECOND;
    for _ in 0..40 {
        let failed = Event::DialFailed { how: DialFailureKind::Unreachable, reason: "nobody".to_owned() };
        let _ = engine.handle(now(time), failed);
        settle(&mut engine, time + 1);
        time += SECOND;
        let _ = engine.handle(now(time), Event::Timer);
        assert!(!engine.authority().serving, "it serves beside the one that its shadow follows");
    }
    // An operator decides.
    let actions = command(&mut engine, time, 5, Command::TakeOver);
    assert!(matches!(batch(&actions).1, Work::BeginEra(_)), "{actions:#?}");
}

/// Two copies of a shadow have tried the witness at once. The one that lost had noted the higher term, and finds its own name in the
/// record: it is not its own, so the lease is waited for, and a record that moves has a master.
#[test]
fn a_record_under_another_epoch_than_the_one_tried_is_a_copys() {
    let lease_us = micros(waited(Options::default().lease()));
    for moves in [false, true] {
        let tried = Epoch::new(2, 900);
        let state = DurableState { tried, ..shadow_state(0) };
        let setup = options(Replication::Synchronous);
        let (mut engine, actions) = start_at(state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]), setup);
        let (mut ask, _) = question(&actions);
        let _ = store_state(&mut engine, 5, actions);
        let mut time = 10 * MS;
        let mut taken_at = None;
        for round in 0..40 {
            let counter = if moves { 1 + round } else { 1 };
            let found = WitnessRecord { counter, ..record(SHADOW, Epoch::new(2, 7), None, 5) };
            let mut actions = tell_witness(&mut engine, time, ask, holds(found, counter));
            let asks = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::AskWitness { .. }));
            while !asks(&actions) {
                settle(&mut engine, time);
                if engine.node_state() == crate::protocol::failover::NodeState::AskingWitness {
                    break;
                }
                time += 100 * MS;
                actions = engine.handle(now(time), Event::Timer);
            }
            if engine.node_state() == crate::protocol::failover::NodeState::AskingWitness {
                taken_at = Some(time);
                break;
            }
            ask = question(&actions).0;
            time += 10 * MS;
        }
        assert_eq!(taken_at.is_some(), !moves, "moves: {moves}, {taken_at:?}");
        assert!(taken_at.is_none_or(|at_us| at_us > 10 * MS + lease_us), "{taken_at:?}");
    }
}

/// A copied directory starts while the master that it was copied from renews its lease, and its shadow cannot be reached.
#[test]
fn a_copy_of_a_master_does_not_serve_while_the_record_moves() {
    let state = super::witnessed::master_state();
    let setup = options(Replication::Synchronous);
    let (mut engine, actions) = start_at(state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]), setup);
    let (mut ask, _) = question(&actions);
    let _ = store_state(&mut engine, 5, actions);
    let _ =
        engine.handle(now(7 * MS), Event::DialFailed { how: DialFailureKind::Unreachable, reason: "cut".to_owned() });
    let mut time = 10 * MS;
    let mut counter = 1;
    let look = |engine: &mut Engine, ask: &mut u64, time: &mut u64, counter: u64| {
        let found = WitnessRecord { counter, ..record(MASTER, Epoch::FIRST, None, 5) };
        let mut actions = tell_witness(engine, *time, *ask, holds(found, counter));
        for _ in 0..60 {
            if let Some(Action::AskWitness { ask: next, .. }) =
                actions.iter().rev().find(|action| matches!(action, Action::AskWitness { .. }))
            {
                *ask = *next;
                break;
            }
            if engine.node_state() == crate::protocol::failover::NodeState::OpeningEra {
                return true;
            }
            settle(engine, *time);
            *time += 50 * MS;
            actions = engine.handle(now(*time), Event::Timer);
        }
        *time += 10 * MS;
        false
    };
    for _ in 0..30 {
        counter += 1;
        assert!(!look(&mut engine, &mut ask, &mut time, counter), "it serves beside the one that renews");
    }
    assert!(alert(&engine, AlertKind::DuplicateNode, "witness").is_some());
    assert!(engine.status(Moment(time), 0).why_not.contains(&TakeoverBlocker::Duplicate));
    // The other one is stopped: a lease later this one serves, and says nothing of a copy any more.
    let opened = (0..30).any(|_| look(&mut engine, &mut ask, &mut time, counter));
    assert!(opened, "{:?}", engine.status(Moment(time), 0).why_not);
    assert_eq!(alert(&engine, AlertKind::DuplicateNode, "witness"), None);
}

/// A copy has swapped itself in under an epoch of its own: the register decides, although its peer was in sync.
#[test]
fn a_master_whose_name_stands_under_a_strange_epoch_yields() {
    let (mut engine, epoch) = super::witnessed::witnessed_master(Replication::Synchronous);
    let actions = engine.handle(now(2 * SECOND), Event::Timer);
    let (ask, _) = question(&actions);
    let actions = tell_witness(&mut engine, 2 * SECOND + 1, ask, WitnessAnswer::Conflict);
    let (ask, _) = question(&actions);
    let strange = epoch.restarted(999);
    let found = record(MASTER, strange, Some(SHADOW), 5);
    let actions = tell_witness(&mut engine, 2 * SECOND + 2, ask, holds(found, 9));
    assert!(actions.contains(&role(Role::Master, false, epoch, RoleReason::RolledBack)), "{actions:#?}");
    assert!(alert(&engine, AlertKind::RolledBack, "this node").is_some());
}

fn alerts_of(engine: &Engine, subject: &str) -> Option<(String, Option<(Revision, Revision)>)> {
    alert(engine, AlertKind::RolledBack, subject).map(|alert| (alert.message, alert.revisions))
}

/// The master's disk is a copy of yesterday: both nodes say what it takes back, and its new era is pushed without a further change.
#[test]
fn a_master_that_takes_its_tail_back_says_so_and_pushes_its_era() {
    let today = history(&[(Epoch::FIRST, 1)]);
    let state = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
    let (mut engine, _) = begin(state, position(Epoch::FIRST, 5), today.clone());
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let shadow = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 9), today.clone());
    let _ = tell(&mut engine, 200, Message::Hello(Box::new(shadow)));
    let (message, revisions) = alerts_of(&engine, "this node").expect("it knows that its disk is old");
    assert!(message.contains("ends at 1.0/5") && message.contains("4 change sets"), "{message}");
    assert_eq!(revisions, Some((at(Epoch::FIRST, 6), at(Epoch::FIRST, 9))));
    settle(&mut engine, 250);
    let _ = tell(&mut engine, 300, Message::Repair(Repair::Incremental { to: at(Epoch::FIRST, 9) }));
    let (after, last) = (at(Epoch::FIRST, 5), at(Epoch::FIRST, 9));
    let what = Bulk::Records { after, last, durable: last };
    let actions = engine.handle(now(400), Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 10 });
    let (append, _) = batch(&actions);
    let head = position(Epoch::FIRST, 9);
    let receipt = RecordsReceipt::Appended { head, log_floor: Revision::NONE, eras: Vec::new() };
    let actions = done(&mut engine, 500, append, receipt);
    let (_, nonce) = beats(&actions)[0];
    let ack = HeartbeatAck { nonce, role: Role::Shadow, epoch: Epoch::FIRST, position: head, promise: Duration::ZERO };
    let mut actions = tell(&mut engine, 600, Message::HeartbeatAck(ack));
    while !actions.iter().any(|action| matches!(action, Action::Persist(Work::BeginEra(_)))) {
        let pending = batch_in_flight(&engine);
        actions = done(&mut engine, 650, pending, ());
    }
    let (era_batch, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    let head = Position { revision: at(era.epoch, 9), ..head };
    let actions = done(&mut engine, 700, era_batch, EraReceipt { head, log_floor: Revision::NONE });
    assert!(engine.authority().serving, "{actions:#?}");
    let repair = Message::Repair(Repair::Incremental { to: head.revision });
    assert!(actions.contains(&Action::Send { link: LINK, message: repair }), "{actions:#?}");
    let pushes = |action: &Action| matches!(action, Action::PushRecords { after, .. } if *after == at(Epoch::FIRST, 9));
    assert!(actions.iter().any(pushes), "the era is not pushed before the next change: {actions:#?}");

    // Its shadow says the same of it, once, however often it comes.
    let mut shadow = following_shadow();
    let _ = shadow.handle(now(400), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    for link in [LinkId(5), LinkId(6)] {
        let _ = shadow.handle(now(link.0 * SECOND), Event::LinkUp { link, dialled: true });
        let mut master = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 3), today.clone());
        (master.serving, master.sender.run) = (false, RunId(9));
        let hello = Event::Message { link, message: Message::Hello(Box::new(master)) };
        let _ = shadow.handle(now(link.0 * SECOND + 1), hello);
        settle(&mut shadow, link.0 * SECOND + 2);
        let _ = shadow.handle(now(link.0 * SECOND + 3), Event::LinkDown { link, reason: "reset".to_owned() });
    }
    let told = alert(&shadow, AlertKind::RolledBack, "peer").expect("the shadow knows that its master's disk is old");
    assert_eq!((told.count, told.revisions), (1, Some((at(Epoch::FIRST, 4), at(Epoch::FIRST, 5)))));
}

/// The shadow's disk is a copy of yesterday: its master remembers what it had confirmed.
#[test]
fn a_shadow_below_what_it_had_confirmed_has_an_older_disk() {
    let today = history(&[(Epoch::FIRST, 1)]);
    for (complete, told) in [(true, true), (false, false)] {
        let mut state = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
        state.peer.as_mut().unwrap().confirmed = at(Epoch::FIRST, 8);
        let (mut engine, _) = begin(state, position(Epoch::FIRST, 9), today.clone());
        let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
        let mut shadow = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 6), today.clone());
        // A damaged copy says so itself.
        shadow.log.complete = complete;
        let _ = tell(&mut engine, 200, Message::Hello(Box::new(shadow)));
        let alert = alerts_of(&engine, "peer");
        assert_eq!(alert.is_some(), told, "{alert:?}");
        let range = Some((at(Epoch::FIRST, 7), at(Epoch::FIRST, 8)));
        assert!(alert.is_none_or(|(_, revisions)| revisions == range));
    }
    // One that only lags behind has confirmed less.
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let confirmed = engine.durable.peer.as_ref().unwrap().confirmed;
    let history = engine.log.history().clone();
    let _ = engine.handle(now(800), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let behind = Position { revision: confirmed, ..engine.log.head() };
    let _ = dials(&mut engine, 900, LATER, 8, behind, history);
    assert_eq!(alerts_of(&engine, "peer"), None);
}
