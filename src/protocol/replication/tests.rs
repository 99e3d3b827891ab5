//! Every state with every event, as reviewed tables. A changed cell or an extra output fails the test.

use std::time::Duration;

use super::*;
use crate::model::limits::MISMATCHES_MAX;
use crate::model::{Digest, Epoch, Era, Key, Moment, NodeId};
use crate::protocol::wire::{Bulk, BulkId, Message, Misbehaviour, Repair, ResumePoint, SnapshotHeader};

fn at(seq: u64) -> Revision {
    Revision::new(Epoch::FIRST, seq)
}

fn position(seq: u64) -> Position {
    Position { revision: at(seq), digest: Digest([seq as u8; 32]) }
}

fn history() -> History {
    History::from_eras(vec![Era { epoch: Epoch::FIRST, first_seq: 1, node: NodeId([1; 32]) }]).unwrap()
}

/// The debug text without the fields of a snapshot's header.
fn short(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    match text.split_once("SnapshotHeader {") {
        Some((before, _)) => format!("{before}.."),
        None => text,
    }
}

fn header(transfer: u64, seq: u64) -> SnapshotHeader {
    SnapshotHeader { transfer, position: position(seq), history: history(), chain: 7, entries: 3, bytes: 300 }
}

fn part(from: u64, upto: u64) -> ResumePoint {
    ResumePoint { after: Key::new("k").unwrap(), from: at(from), upto: at(upto) }
}

/// A source at 1.0/9 whose log begins after 1.0/2, and what it put out.
struct Bench {
    history: History,
    head: Position,
    written: Option<Written>,
    source: Source,
    out: Vec<SourceOut>,
}

impl Bench {
    fn new(sink: u64) -> Self {
        Self::of(sink, true)
    }

    fn of(sink: u64, told_marks: bool) -> Self {
        let (history, head) = (history(), position(9));
        let log_view = LogView { head, written: None, log_floor: at(2), history: &history };
        let copy = SinkCopy { position: position(sink), history: &history, complete: true, told_marks };
        let (source, out) = Source::begin(log_view, copy, false, Duration::from_secs(1), 1, Moment(0));
        Self { history, head, written: None, source, out }
    }

    fn blank() -> Self {
        let (history, head) = (history(), position(9));
        let log_view = LogView { head, written: None, log_floor: at(2), history: &history };
        let nothing = History::default();
        let copy = SinkCopy { position: Position::NONE, history: &nothing, complete: false, told_marks: true };
        let (source, out) = Source::begin(log_view, copy, false, Duration::from_secs(1), 1, Moment(0));
        Self { history, head, written: None, source, out }
    }

    fn event(&mut self, name: &str) {
        let log_view = LogView { head: self.head, written: self.written, log_floor: at(2), history: &self.history };
        let time = Moment(1_000);
        let out = &mut self.out;
        let ack = |seq, received| Message::Ack { position: position(seq), received };
        match name {
            "pushed to the head" => self.source.records_pushed(at(9), 100, false, time),
            "log gone" => self.source.records_pushed(at(3), 0, true, time),
            "opened" => self.source.snapshot_opened(header(1, 9), out),
            "ready" => self.source.message(log_view, &Message::SnapshotReady { transfer: 1 }, time, out),
            "ready, a part is there" => {
                let message = Message::SnapshotResume { transfer: 1, point: Box::new(part(3, 5)) };
                self.source.message(log_view, &message, time, out);
            }
            "ready, a copy is there" => {
                let message = Message::SnapshotBase { transfer: 1, buckets: vec![7] };
                self.source.message(log_view, &message, time, out);
            }
            "wants" => {
                let message = Message::SnapshotWants { transfer: 1, wants: vec![5] };
                self.source.message(log_view, &message, time, out);
            }
            "last piece" => self.source.snapshot_pushed(1, 100, true, time),
            "received all" => self.source.message(log_view, &Message::Received { sum: 100 }, time, out),
            "received too much" => self.source.message(log_view, &Message::Received { sum: 1_000 }, time, out),
            "ack of the head" => self.source.message(log_view, &ack(9, 100), time, out),
            "ack of nothing new" => self.source.message(log_view, &ack(5, 0), time, out),
            "rejected" => {
                let message = Message::Rejected { at: at(9), reason: "no".to_owned() };
                self.source.message(log_view, &message, time, out);
            }
            "mismatch" => self.source.message(log_view, &Message::Mismatch { at: position(5) }, time, out),
            "resync" => self.source.message(log_view, &Message::Resync, time, out),
            "disk trouble" => {
                let message = Message::DiskTrouble { full: true, reason: "full".to_owned() };
                self.source.message(log_view, &message, time, out);
            }
            "newer head" => (self.head, self.written) = (position(10), None),
            "a group is written" => self.written = Some(Written { head: position(10), bytes: 100 }),
            "the group is pushed" => self.source.records_pushed(at(10), 100, false, time),
            "ack of the group" => self.source.message(log_view, &ack(10, 100), time, out),
            "told of durability" => self.source.tell_mark(log_view, out),
            other => panic!("no event {other}"),
        }
        let log_view = LogView { head: self.head, written: self.written, log_floor: at(2), history: &self.history };
        self.source.advance(log_view, time, &mut self.out);
    }

    fn after(mut self, events: &[&str]) -> Self {
        events.iter().for_each(|event| self.event(event));
        self.out.clear();
        self
    }
}

const SOURCE_EVENTS: [&str; 19] = [
    "pushed to the head",
    "log gone",
    "opened",
    "ready",
    "ready, a part is there",
    "ready, a copy is there",
    "wants",
    "last piece",
    "received all",
    "received too much",
    "ack of the head",
    "ack of nothing new",
    "rejected",
    "mismatch",
    "resync",
    "disk trouble",
    "newer head",
    "a group is written",
    "told of durability",
];

#[test]
fn every_state_of_a_source_and_every_event() {
    type MakeBench = fn() -> Bench;
    let states: [(&str, MakeBench); 12] = [
        ("live, in sync", || Bench::new(9).after(&[])),
        ("live, reading", || Bench::new(5).after(&[])),
        ("live, pushed", || Bench::new(5).after(&["pushed to the head"])),
        ("opening", || Bench::blank().after(&[])),
        ("offered", || Bench::blank().after(&["opened"])),
        ("sending", || Bench::blank().after(&["opened", "ready"])),
        ("sending hashes", || Bench::blank().after(&["opened", "ready, a copy is there"])),
        ("hashes sent", || Bench::blank().after(&["opened", "ready, a copy is there", "last piece", "received all"])),
        ("sending what is wanted", || {
            Bench::blank().after(&["opened", "ready, a copy is there", "last piece", "received all", "wants"])
        }),
        ("verifying", || Bench::blank().after(&["opened", "ready", "last piece", "received all"])),
        ("rejected", || Bench::new(5).after(&["pushed to the head", "rejected", "received all"])),
        ("disk failed", || Bench::new(5).after(&["pushed to the head", "disk trouble", "received all"])),
    ];
    let mut table = String::new();
    for (name, state) in states {
        table.push_str(&format!("{name}\n"));
        for event in SOURCE_EVENTS {
            let mut bench = state();
            bench.event(event);
            table.push_str(&format!("    {event}: {}\n", short(bench.source.state())));
            for step in &bench.out {
                table.push_str(&format!("        {}\n", short(step)));
            }
        }
    }
    insta::assert_snapshot!("source", table);
}

const SINK_EVENTS: [&str; 22] = [
    "repair none",
    "repair incremental",
    "repair full",
    "records",
    "told that 7 is durable",
    "pieces",
    "pieces, late",
    "appended",
    "rejected",
    "mismatch",
    "begun",
    "begun, a part is there",
    "begun, a copy is there",
    "staged",
    "compared",
    "compared, too much differs",
    "snapshot end",
    "finished",
    "stage mismatch",
    "stage rejected",
    "failed",
    "link gone",
];

fn sink_event(sink: &mut Sink, name: &str, out: &mut Vec<SinkOut>) {
    let (head, time) = (position(5), Moment(1_000));
    let records = Bulk::Records { after: at(5), last: at(9), durable: at(9) };
    match name {
        "repair none" => sink.repair(Repair::None, head, time, out),
        "repair incremental" => sink.repair(Repair::Incremental { to: at(9) }, head, time, out),
        "repair full" => sink.repair(Repair::Full(header(4, 9)), head, time, out),
        "records" => sink.bulk(BulkId(1), records, 100, head, time, out),
        "told that 7 is durable" => sink.durable_at_source(at(7), position(9), out),
        "pieces" => sink.bulk(BulkId(2), Bulk::Snapshot { transfer: 4 }, 100, head, time, out),
        "pieces, late" => sink.bulk(BulkId(3), Bulk::Snapshot { transfer: 4 }, 100, head, Moment(2_000_000), out),
        "appended" => {
            let receipt = RecordsReceipt::Appended { head: position(9), log_floor: at(2), eras: Vec::new() };
            sink.records_done(&receipt, time, out);
        }
        "rejected" => {
            let receipt = RecordsReceipt::Rejected { at: at(9), reason: "no".to_owned() };
            sink.records_done(&receipt, time, out);
        }
        "mismatch" => sink.records_done(&RecordsReceipt::Mismatch { head }, time, out),
        "begun" => sink.staging_begun(StagedBefore::Nothing, out),
        "begun, a part is there" => sink.staging_begun(StagedBefore::Part(Box::new(part(3, 5))), out),
        "begun, a copy is there" => sink.staging_begun(StagedBefore::Base(vec![7]), out),
        "staged" => sink.pieces_staged(None, time, out),
        "compared" => sink.pieces_staged(Some(vec![5]), time, out),
        "compared, too much differs" => sink.pieces_staged(Some(Vec::new()), time, out),
        "snapshot end" => sink.snapshot_end(4, out),
        "finished" => sink.staging_finished(position(9), time, out),
        "stage mismatch" => sink.staging_mismatch(position(8), out),
        "stage rejected" => sink.staging_rejected("no", out),
        "failed" => sink.batch_failed(true, "full", out),
        "link gone" => sink.link_lost(out),
        other => panic!("no event {other}"),
    }
}

#[test]
fn every_state_of_a_sink_and_every_event() {
    let states: [(&str, &[&str]); 9] = [
        ("awaiting repair", &[]),
        ("following", &["repair none"]),
        ("catching up", &["repair incremental"]),
        ("appending, more waits", &["repair incremental", "records", "records"]),
        ("staging, not open", &["repair full"]),
        ("staging", &["repair full", "begun"]),
        ("verifying what differed", &["repair full", "begun", "pieces", "compared", "snapshot end"]),
        ("verifying", &["repair full", "begun", "pieces", "staged", "snapshot end"]),
        ("discarding", &["repair incremental", "records", "rejected"]),
    ];
    let mut table = String::new();
    for (name, path) in states {
        table.push_str(&format!("{name}\n"));
        for event in SINK_EVENTS {
            let mut sink = Sink::begin(Moment(0), Duration::from_secs(1), true);
            path.iter().for_each(|step| sink_event(&mut sink, step, &mut Vec::new()));
            let mut out = Vec::new();
            sink_event(&mut sink, event, &mut out);
            table.push_str(&format!("    {event}: {}\n", short(sink.state())));
            for step in &out {
                table.push_str(&format!("        {}\n", short(step)));
            }
        }
    }
    insta::assert_snapshot!("sink", table);
}

#[test]
fn a_refused_update_is_not_resent_until_there_is_a_newer_one() {
    let mut bench = Bench::new(5).after(&["pushed to the head", "rejected", "received all"]);
    for event in ["ack of nothing new", "received all", "ack of nothing new"] {
        bench.event(event);
    }
    assert_eq!(bench.out, []);
    bench.event("newer head");
    assert_eq!(
        bench.out,
        [
            SourceOut::Send(Message::Repair(Repair::Incremental { to: at(10) })),
            SourceOut::PushRecords { after: at(5), upto: at(10), max_bytes: crate::model::limits::WINDOW_BYTES_MIN },
        ]
    );
}

/// A snapshot goes on behind a part of this lineage whose changes the log still tells, and begins anew behind any other.
#[test]
fn a_snapshot_goes_on_only_behind_a_part_that_the_log_can_bring_up_to_date() {
    let resumes = |point: ResumePoint| {
        let mut bench = Bench::blank().after(&["opened"]);
        let log_view = LogView { head: bench.head, written: None, log_floor: at(2), history: &bench.history };
        let message = Message::SnapshotResume { transfer: 1, point: Box::new(point) };
        bench.source.message(log_view, &message, Moment(1_000), &mut bench.out);
        assert!(bench.out.iter().any(|out| matches!(out, SourceOut::PushSnapshot { .. })), "{:?}", bench.out);
        bench.out.iter().any(|out| matches!(out, SourceOut::ResumeSnapshot { .. }))
    };
    assert!(resumes(part(2, 2)) && resumes(part(2, 9)) && resumes(part(9, 9)));
    assert!(!resumes(part(1, 5)), "the log begins later");
    assert!(!resumes(part(5, 10)), "it holds what this source does not have");
    assert!(!resumes(part(6, 5)), "no such part");
    let foreign = Revision::new(Epoch::new(1, 7), 5);
    assert!(!resumes(ResumePoint { from: foreign, upto: foreign, ..part(5, 5) }));
    assert!(!resumes(ResumePoint { from: Revision::NONE, upto: Revision::NONE, ..part(5, 5) }));
}

/// Where an operator asks for a full push, and after a mismatch, the whole snapshot is sent.
#[test]
fn what_differs_is_not_enough_for_a_resync_nor_after_a_mismatch() {
    let compares = |events: &[&str]| {
        let mut bench = Bench::new(1).after(events);
        let transfer = bench.source.open_transfer().unwrap();
        let log_view = LogView { head: bench.head, written: None, log_floor: at(2), history: &bench.history };
        bench.source.snapshot_opened(header(transfer, 9), &mut bench.out);
        let message = Message::SnapshotBase { transfer, buckets: vec![7] };
        bench.source.message(log_view, &message, Moment(1_000), &mut bench.out);
        bench.out.iter().any(|out| matches!(out, SourceOut::CompareSnapshot { .. }))
    };
    assert!(compares(&[]));
    assert!(!compares(&["opened", "resync"]) && !compares(&["opened", "mismatch"]));
}

/// Of the hashes two were wanted: that is what both ends report.
#[test]
fn what_was_sent_of_what_differed_is_counted() {
    let mut bench = Bench::blank().after(&["opened", "ready, a copy is there", "last piece", "received all", "wants"]);
    let log_view = LogView { head: bench.head, written: None, log_floor: at(2), history: &bench.history };
    bench.source.snapshot_pushed(1, 50, true, Moment(2_000));
    for received in [100, 150] {
        let message = Message::Received { sum: received };
        bench.source.message(log_view, &message, Moment(3_000), &mut bench.out);
    }
    let ack = Message::Ack { position: bench.head, received: 150 };
    bench.source.message(log_view, &ack, Moment(4_000), &mut bench.out);
    let synced = bench.out.iter().find_map(|out| match out {
        SourceOut::Synced { how, entries, bytes, .. } => Some((*how, *entries, *bytes)),
        _ => None,
    });
    assert_eq!(synced, Some((RepairKind::Differential, 2, 150)), "{:?}", bench.out);
}

#[test]
fn a_disk_that_works_again_is_repaired_whatever_it_holds() {
    let mut bench = Bench::blank().after(&["opened", "disk trouble"]);
    let foreign = Position { revision: Revision::new(Epoch::new(7, 7), 3), digest: Digest::ZERO };
    let log_view = LogView { head: bench.head, written: None, log_floor: at(2), history: &bench.history };
    let ack = Message::Ack { position: foreign, received: 0 };
    bench.source.message(log_view, &ack, Moment(2_000), &mut bench.out);
    assert_eq!(bench.out, [SourceOut::OpenSnapshot { transfer: 2 }]);
}

#[test]
fn a_copy_that_never_matches_ends_the_link_and_no_loop() {
    let mut bench = Bench::new(9);
    for _ in 0..3 {
        bench.event("mismatch");
        bench.event("opened");
    }
    assert!(!bench.out.iter().any(|step| matches!(step, SourceOut::Misbehaved(_))));
    bench.event("mismatch");
    assert!(bench.out.iter().any(|step| matches!(step, SourceOut::Misbehaved(_))), "{:#?}", bench.out);
}

#[test]
fn the_cheapest_repair_that_suffices() {
    let own = history();
    let log_view = LogView { head: position(9), written: None, log_floor: at(4), history: &own };
    let repair =
        |position, complete| log_view.cheapest_repair(SinkCopy { position, history: &own, complete, told_marks: true });
    assert_eq!(repair(position(9), true), RepairPlan::Nothing);
    assert_eq!(repair(Position { digest: Digest::ZERO, ..position(9) }, true), RepairPlan::Snapshot);
    assert_eq!(repair(position(6), true), RepairPlan::Log);
    assert_eq!(repair(position(6), false), RepairPlan::Snapshot);
    assert_eq!(repair(position(3), true), RepairPlan::Snapshot);
    assert_eq!(repair(position(12), true), RepairPlan::Snapshot);
    let blank = SinkCopy { position: Position::NONE, history: &History::default(), complete: false, told_marks: true };
    assert_eq!(log_view.cheapest_repair(blank), RepairPlan::Snapshot);
}

/// A group is pushed while it is made durable, as a whole and only where the sink is told apart when that is done.
#[test]
fn a_written_group_is_pushed_before_it_is_durable() {
    let group =
        [SourceOut::PushRecords { after: at(9), upto: at(10), max_bytes: crate::model::limits::WINDOW_BYTES_MIN }];
    let mut bench = Bench::new(9).after(&[]);
    bench.event("a group is written");
    assert_eq!(bench.out, group);
    let mut bench = bench.after(&["the group is pushed", "told of durability"]);
    assert_eq!(bench.source.confirmed(), position(9));
    bench.event("ack of the group");
    assert_eq!((bench.source.confirmed(), &bench.out), (position(10), &vec![]));
    bench.event("newer head");
    bench.event("told of durability");
    bench.event("told of durability");
    assert_eq!(bench.out, [SourceOut::Send(Message::Durable { upto: at(10) })]);

    // One that does not fit into the window waits, and so does one for a sink that is not told.
    let mut large = Bench::new(9).after(&[]);
    large.written = Some(Written { head: position(10), bytes: crate::model::limits::WINDOW_BYTES_MIN + 1 });
    large.event("ack of nothing new");
    assert_eq!(large.out, []);
    let mut old = Bench::of(9, false).after(&[]);
    for event in ["a group is written", "told of durability"] {
        old.event(event);
    }
    assert_eq!(old.out, []);
    old.event("newer head");
    assert_eq!(old.out, group);
}

/// A source that always sends something else than it says keeps the disk busy for a while, and then loses its link.
#[test]
fn a_source_that_never_matches_loses_its_link() {
    let mut sink = Sink::begin(Moment(0), Duration::from_secs(1), true);
    for _ in 0..=MISMATCHES_MAX {
        let mut out = Vec::new();
        sink_event(&mut sink, "repair full", &mut out);
        sink_event(&mut sink, "stage mismatch", &mut out);
        assert!(out.contains(&SinkOut::Send(Message::Mismatch { at: position(8) })), "{out:?}");
    }
    let mut out = Vec::new();
    sink_event(&mut sink, "repair full", &mut out);
    sink_event(&mut sink, "stage mismatch", &mut out);
    assert!(out.contains(&SinkOut::Misbehaved(Misbehaviour::SourceNeverMatches)), "{out:?}");
}
