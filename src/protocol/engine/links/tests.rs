//! Every state of the connection with everything that can happen to it, as a reviewed table: a change of any cell shows,
//! and so does an extra action. The dialer, a connection's hellos and two runs of the peer at once have tables of their own.

use std::time::Duration;

use super::dialer::Dialer;
use super::{Connection, Links};
use crate::model::{Epoch, PairId, RunId};
use crate::protocol::engine::tests::tables::{done_with, table};
use crate::protocol::engine::tests::{
    LINK, MASTER, PAIR, SECOND, SHADOW, at, begin, command, following_shadow, hello_of, history, leading_master,
    lone_master, now, peer, position, settle,
};
use crate::protocol::engine::{
    Action, BulkId, Command, DialFailureKind, DurableState, Engine, Event, LinkId, Moment, Notice, Ticket,
};
use crate::protocol::wire::{
    Bulk, Bye, CopySeen, Heartbeat, HeartbeatAck, Hello, Message, Refusal, RefusalKind, Repair, Role,
};

/// The link that messages of the table come on, and another one.
const OTHER: LinkId = LinkId(9);
/// All states are this old when something happens.
const LATER: u64 = 2 * SECOND + SECOND / 10;

fn hello_event(engine: &mut Engine, at_us: u64, link: LinkId, hello: Hello) -> Vec<Action> {
    engine.handle(now(at_us), Event::Message { link, message: Message::Hello(Box::new(hello)) })
}

fn hello_for(engine: &Engine) -> Hello {
    let lineage = history(&[(Epoch::FIRST, 1)]);
    let mut hello = match engine.durable_state().role {
        Role::Master => hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), lineage),
        Role::Shadow => hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), lineage),
    };
    hello.hello_no = 2;
    hello
}

/// Keeps the clock going, so that the node does not count as stopped, and the disk too.
fn until(engine: &mut Engine, from_us: u64, to_us: u64) -> Vec<Action> {
    let mut all = Vec::new();
    let mut time = from_us;
    while time < to_us {
        time = (time + SECOND / 4).min(to_us);
        all.extend(engine.handle(now(time), Event::Timer));
        settle(engine, time);
    }
    all
}

fn dialling() -> Engine {
    let mut durable_state = DurableState::first_shadow(SHADOW, PAIR, peer(MASTER));
    durable_state.complete = true;
    begin(durable_state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)])).0
}

fn down() -> Engine {
    let mut engine = dialling();
    let _ =
        engine.handle(now(LATER), Event::DialFailed { how: DialFailureKind::Unreachable, reason: "timed out".into() });
    engine
}

fn handshake() -> Engine {
    let mut engine = dialling();
    let _ = engine.handle(now(LATER), Event::LinkUp { link: LINK, dialled: true });
    engine
}

fn syncing() -> Engine {
    let mut engine = handshake();
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 9), history(&[(Epoch::FIRST, 1)]));
    let _ = hello_event(&mut engine, LATER, LINK, hello);
    let push = Message::Repair(Repair::Incremental { to: at(Epoch::FIRST, 9) });
    let _ = engine.handle(now(LATER), Event::Message { link: LINK, message: push });
    engine
}

fn connected(mut engine: Engine) -> Engine {
    settle(&mut engine, 500);
    let _ = until(&mut engine, 500, LATER);
    engine
}

fn told(mut engine: Engine, message: Message) -> Engine {
    let _ = engine.handle(now(LATER), Event::Message { link: LINK, message });
    settle(&mut engine, LATER);
    engine
}

fn held() -> Engine {
    let mut engine = connected(following_shadow());
    let _ = command(&mut engine, LATER, 1, Command::Disconnect);
    engine
}

fn lost() -> Engine {
    let mut engine = connected(following_shadow());
    let _ = engine.handle(now(LATER), Event::LinkDown { link: LINK, reason: "reset".into() });
    engine
}

fn refused() -> Refusal {
    Refusal { kind: RefusalKind::Schema, reason: "newer".into() }
}

type Make = fn() -> Engine;

const STATES: [(&str, Make); 11] = [
    ("no peer", || connected(lone_master())),
    ("dialling for the first time", || connected(dialling())),
    ("waiting to dial", down),
    ("handshake", handshake),
    ("syncing shadow", syncing),
    ("connected shadow", || connected(following_shadow())),
    ("connected master", || connected(leading_master().0)),
    ("lost", lost),
    ("held here", held),
    ("held by the peer", || told(connected(following_shadow()), Message::Bye(Bye::Held))),
    ("refused by the peer", || told(connected(following_shadow()), Message::Refuse(refused()))),
];

const EVENTS: [&str; 30] = [
    "a dialled link",
    "an accepted link",
    "hello",
    "hello of another pair",
    "hello from a wild epoch",
    "hello on another link",
    "heartbeat",
    "heartbeat of another role",
    "heartbeat from a wild epoch",
    "answer to no heartbeat",
    "repair none",
    "snapshot ready",
    "snapshot end",
    "received",
    "ack",
    "resync",
    "copy seen",
    "bulk",
    "bye, shutdown",
    "bye, held",
    "bye, duplicate",
    "bye, reset",
    "refuse",
    "link down",
    "dial unreachable",
    "dial, wrong key",
    "dial, refused",
    "silence",
    "disconnect",
    "reconnect",
];

fn happens(engine: &mut Engine, event: &str) -> Vec<Action> {
    let time = LATER + 1_000;
    let head = engine.status(Moment(time), 0).position;
    let (role, epoch) = match engine.durable_state().role {
        Role::Master => (Role::Shadow, Epoch::FIRST),
        Role::Shadow => (Role::Master, Epoch::FIRST),
    };
    let beat = |role, epoch| {
        let (position, wall_ms) = (head, now(time).wall_ms);
        Message::Heartbeat(Heartbeat { nonce: 1, role, serving: true, epoch, position, asks: false, wall_ms })
    };
    let bye = |bye| Event::Message { link: LINK, message: Message::Bye(bye) };
    let says = |message| Event::Message { link: LINK, message };
    let dial = |how| Event::DialFailed { how, reason: "why".into() };
    let event = match event {
        "a dialled link" => Event::LinkUp { link: OTHER, dialled: true },
        "an accepted link" => Event::LinkUp { link: OTHER, dialled: false },
        "hello" => says(Message::Hello(Box::new(hello_for(engine)))),
        "hello of another pair" => {
            let mut hello = hello_for(engine);
            hello.sender.pair = PairId([8; 16]);
            says(Message::Hello(Box::new(hello)))
        }
        "hello from a wild epoch" => {
            let mut hello = hello_for(engine);
            hello.epoch = Epoch::new(1 << 23, 0);
            says(Message::Hello(Box::new(hello)))
        }
        "hello on another link" => {
            let _ = engine.handle(now(time), Event::LinkUp { link: OTHER, dialled: false });
            Event::Message { link: OTHER, message: Message::Hello(Box::new(hello_for(engine))) }
        }
        "heartbeat" => says(beat(role, epoch)),
        "heartbeat of another role" => says(beat(engine.durable_state().role, epoch)),
        "heartbeat from a wild epoch" => says(beat(role, Epoch::new(1 << 23, 0))),
        "answer to no heartbeat" => {
            let ack = HeartbeatAck { nonce: 99, role, epoch, position: head, promise: Duration::ZERO };
            says(Message::HeartbeatAck(ack))
        }
        "repair none" => says(Message::Repair(Repair::None)),
        "snapshot ready" => says(Message::SnapshotReady { transfer: 1 }),
        "snapshot end" => says(Message::SnapshotEnd { transfer: 1 }),
        "received" => says(Message::Received { sum: 1 }),
        "ack" => says(Message::Ack { position: head, received: 1 }),
        "resync" => says(Message::Resync),
        "copy seen" => {
            let (first, later) = ("here:1".into(), "there:1".into());
            says(Message::CopySeen(CopySeen { run: RunId(4), first, later }))
        }
        "bulk" => {
            let what = Bulk::Snapshot { transfer: 7 };
            Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 100 }
        }
        "bye, shutdown" => bye(Bye::Shutdown),
        "bye, held" => bye(Bye::Held),
        "bye, duplicate" => bye(Bye::Duplicate),
        "bye, reset" => bye(Bye::Reset),
        "refuse" => says(Message::Refuse(refused())),
        "link down" => Event::LinkDown { link: LINK, reason: "reset".into() },
        "dial unreachable" => dial(DialFailureKind::Unreachable),
        "dial, wrong key" => dial(DialFailureKind::WrongKey { shown: None }),
        "dial, refused" => dial(DialFailureKind::RefusedByPeer),
        "silence" => return until(engine, time, time + 4 * SECOND),
        "disconnect" => Event::Command { ticket: Ticket(1), command: Command::Disconnect },
        "reconnect" => Event::Command { ticket: Ticket(1), command: Command::Reconnect },
        other => panic!("no event {other}"),
    };
    engine.handle(now(time), event)
}

/// The first words of something's name.
fn name(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn short(action: &Action) -> Option<String> {
    Some(match action {
        Action::SetTimer { .. } => return None,
        Action::Send { link, message: message @ (Message::Bye(_) | Message::Repair(_)) } => {
            format!("send {message:?} on {}", link.0)
        }
        Action::Send { link, message: Message::Refuse(refusal) } => format!("refuse {:?} on {}", refusal.kind, link.0),
        Action::Send { link, message } => format!("send {} on {}", name(message), link.0),
        Action::Close { link } => format!("close {}", link.0),
        Action::Notify(Notice::Link { state, .. }) => format!("tell {}", state.as_str()),
        Action::Notify(Notice::Alert { change, alert }) => format!("{change:?} {}", alert.kind.as_str()),
        Action::Notify(Notice::Role { serving, reason, .. }) => format!("serving {serving}: {reason}"),
        Action::Notify(notice) => format!("notice {}", name(notice)),
        Action::Persist(work) => format!("persist {}", name(work)),
        other => name(other),
    })
}

#[test]
fn every_state_of_the_link_and_every_event() {
    let mut table = String::new();
    for (state, make) in STATES {
        table.push_str(&format!("{state} ({})\n", make().link_state().0.as_str()));
        for event in EVENTS {
            // A dial fails, or leads to a link, only where there is one.
            let dialled = event.starts_with("a dial") || event.starts_with("dial");
            let mut engine = make();
            if dialled && !engine.links.is_dialling() {
                continue;
            }
            let actions = happens(&mut engine, event);
            let (after, why) = engine.link_state();
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            table.push_str(&format!("    {event}: {}{why}\n", after.as_str()));
            let mut done: Vec<String> = actions.iter().filter_map(short).collect();
            done.dedup();
            if !done.is_empty() {
                table.push_str(&format!("        {}\n", done.join("; ")));
            }
        }
    }
    insta::assert_snapshot!("links", table);
}

#[test]
fn the_dials() {
    fn idle() -> Dialer {
        Dialer::new(Moment(0))
    }
    fn under_way() -> Dialer {
        let mut dialer = idle();
        dialer.begins(Moment(5));
        dialer
    }
    fn show(dialer: &Dialer) -> String {
        let due = dialer.due().map(|due| due.0);
        format!("due {due:?}, failed {}", dialer.failed_since(Moment(0)))
    }
    let rows = table(
        &[("none under way", idle), ("under way", under_way)],
        &[
            ("one begins", |dialer| done_with(dialer, |dialer| dialer.begins(Moment(7)))),
            ("it leads to a link", |dialer| done_with(dialer, Dialer::ended)),
            ("it fails", |dialer| format!("began {}", dialer.failed(Moment(9)).0)),
            ("it fails, and the next waits", |dialer| {
                let _ = dialer.failed(Moment(9));
                done_with(dialer, |dialer| dialer.wait(Moment(9), 1_000, false, 0))
            }),
            ("not before", |dialer| done_with(dialer, |dialer| dialer.wait_until(Moment(50)))),
        ],
        show,
    );
    insta::assert_snapshot!("dialer", rows);
}

/// A second run of the peer beside the one whose connection counts: the table at the top of `contest.rs`.
#[test]
fn two_runs_of_the_peer() {
    const LOST_US: u64 = 100;
    fn hello_of_run(run: u64) -> Box<Hello> {
        let mut hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
        hello.sender.run = RunId(run);
        Box::new(hello)
    }
    fn linked() -> Links {
        let mut links = Links::new(Moment(0));
        links.opened(LINK, true, Moment(0));
        let _ = links.hello_sent(LINK);
        links.hello_accepted(LINK, hello_of_run(3));
        links.activated(LINK, Moment(0));
        links
    }
    fn comes(links: &mut Links, link: LinkId, run: u64, at: Moment) -> String {
        links.opened(link, false, at);
        links.hello_early(link, hello_of_run(run));
        format!("waits {}", links.contest(link, at))
    }
    fn contested() -> Links {
        let mut links = linked();
        let _ = comes(&mut links, OTHER, 4, Moment(10));
        links
    }
    fn show(links: &Links) -> String {
        let waits: Vec<u64> = (1..=20).filter(|link| links.is_contested_by(LinkId(*link))).collect();
        format!("waiting {waits:?}, counts {:?}", links.active_id().map(|link| link.0))
    }
    let rows = table(
        &[("none", linked), ("contested", contested)],
        &[
            ("hello of another run", |links| comes(links, LinkId(12), 5, Moment(20))),
            ("hello of the same run", |links| comes(links, LinkId(12), 3, Moment(20))),
            ("the first answers", |links| format!("refused {:?}", links.contest_answered(1).map(|link| link.0))),
            ("an earlier answer comes", |links| format!("refused {:?}", links.contest_answered(0).map(|link| link.0))),
            ("no answer is late yet", |links| {
                format!("lost {:?}", links.contest_lost(Moment(109), LOST_US).map(|link| link.0))
            }),
            ("no answer in time", |links| {
                format!("lost {:?}", links.contest_lost(Moment(110), LOST_US).map(|link| link.0))
            }),
            ("the first connection ends", |links| format!("counted {}", links.dropped(LINK, Moment(30), "reset"))),
            ("the later connection ends", |links| format!("counted {}", links.dropped(OTHER, Moment(30), "reset"))),
        ],
        show,
    );
    insta::assert_snapshot!("contest", rows);
}

/// The table at the top of `connection.rs`.
#[test]
fn the_hellos_of_a_connection() {
    fn hello() -> Box<Hello> {
        Box::new(hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)])))
    }
    fn none() -> Connection {
        Connection::new(LINK, true, Moment(0))
    }
    fn early() -> Connection {
        let mut connection = none();
        connection.keep_early(hello());
        connection
    }
    fn accepted() -> Connection {
        let mut connection = none();
        let _ = connection.set_hello_sent();
        connection.set_hello(hello());
        connection
    }
    fn confirmed() -> Connection {
        let mut connection = accepted();
        connection.heard(Moment(1));
        connection
    }
    fn show(connection: &Connection) -> String {
        let hello = match (connection.is_early(), connection.hello().is_some(), connection.is_confirmed()) {
            (true, ..) => "early",
            (_, _, true) => "confirmed",
            (_, true, _) => "accepted",
            _ => "none",
        };
        format!("{hello}, own hello sent {}, silent {}", connection.hello_sent(), connection.silence_us(Moment(10)))
    }
    let rows = table(
        &[("none", none), ("early", early), ("accepted", accepted), ("confirmed", confirmed)],
        &[
            ("the peer's comes first", |connection| done_with(connection, |connection| connection.keep_early(hello()))),
            ("this node's is sent", |connection| format!("looked at {}", connection.set_hello_sent().is_some())),
            ("it is accepted", |connection| done_with(connection, |connection| connection.set_hello(hello()))),
            ("a frame comes", |connection| done_with(connection, |connection| connection.heard(Moment(5)))),
            ("bytes come", |connection| done_with(connection, |connection| connection.progressed(Moment(5)))),
        ],
        show,
    );
    insta::assert_snapshot!("connection", rows);
}
