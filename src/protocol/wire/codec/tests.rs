mod switch;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::limits::{
    ADDRESS_BYTES_MAX, BASE_DIGEST_BYTES, BUCKETS, BULK_FRAME_BYTES_MAX, COMPARED_ENTRIES_MAX, HISTORY_ERAS_MAX,
    NAME_BYTES_MAX, PEER_DURATION_MAX, RECORD_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::model::{Digest, Era, History, Key, KeyId, NodeId, PairId, Password, Position, RunId};
use crate::protocol::wire::{
    Bye, CopySeen, FrameDecoder, Heartbeat, HeartbeatAck, Hello, HelloLog, HelloOptions, HelloSender, Refusal,
    RefusalKind, Repair, ResumePoint, Role, SnapshotHeader, Versions, golden,
};

fn revision(n: u64) -> Revision {
    Revision::new(Epoch::new(n as u32, n * 1_000), n * 70_000)
}

fn position(n: u8) -> Position {
    Position { revision: revision(n.into()), digest: Digest([n; 32]) }
}

fn history() -> History {
    let era = |n: u64| Era { epoch: Epoch::new(n as u32, n), first_seq: n * 300, node: NodeId([n as u8; 32]) };
    History::from_eras((1..=3).map(era).collect()).unwrap()
}

fn hello() -> Hello {
    Hello {
        versions: Versions { min: 1, max: 2 },
        sender: HelloSender {
            pair: PairId([0x11; 16]),
            node: NodeId([0x22; 32]),
            run: RunId(0x3333_3333_3333_3333),
            name: "left".into(),
            address: "left.example:7443".into(),
        },
        hello_no: 4,
        linked: true,
        role: Role::Master,
        serving: true,
        epoch: Epoch::new(3, 5),
        log: HelloLog {
            position: position(6),
            floor: revision(2),
            shown: revision(5),
            complete: true,
            history: history(),
        },
        options: HelloOptions {
            heartbeat: Duration::from_secs(1),
            takeover_delay: Duration::from_millis(5_500),
            schema: 7,
            data_key: Some([0x88; 32]),
        },
        wall_ms: 1_790_000_000_000,
    }
}

/// The sample hello with something changed.
fn hello_with(change: impl FnOnce(&mut Hello)) -> Hello {
    let mut hello = hello();
    change(&mut hello);
    hello
}

/// The sample hello without its optional parts.
fn plain_hello() -> Hello {
    hello_with(|hello| {
        hello.log.history = History::default();
        hello.options.data_key = None;
    })
}

fn snapshot_header() -> SnapshotHeader {
    let (position, history) = (position(6), history());
    SnapshotHeader { transfer: 9, position, history, chain: 0xdead_beef, entries: 1_000_000, bytes: 1 << 40 }
}

/// One of each kind, every field with a value of its own.
fn samples() -> Vec<(&'static str, Message)> {
    let (epoch, at) = (Epoch::new(3, 5), position(6));
    let heartbeat =
        Heartbeat { nonce: 300, role: Role::Shadow, serving: false, epoch, position: at, asks: true, wall_ms: 77 };
    let promise = Duration::from_micros(4_999_999);
    let refusal = Refusal { kind: RefusalKind::Schema, reason: "the shadow is older".into() };
    vec![
        ("message-hello", Message::Hello(Box::new(hello()))),
        ("message-hello-plain", Message::Hello(Box::new(plain_hello()))),
        ("message-refuse", Message::Refuse(refusal)),
        (
            "message-refuse-duplicate",
            Message::Refuse(Refusal { kind: RefusalKind::DuplicateIdentity, reason: "linked already".into() }),
        ),
        ("message-bye", Message::Bye(Bye::Duplicate)),
        ("message-heartbeat", Message::Heartbeat(heartbeat)),
        (
            "message-heartbeat-ack",
            Message::HeartbeatAck(HeartbeatAck { nonce: 301, role: Role::Master, epoch, position: at, promise }),
        ),
        ("message-repair-none", Message::Repair(Repair::None)),
        ("message-repair-incremental", Message::Repair(Repair::Incremental { to: revision(6) })),
        ("message-repair-full", Message::Repair(Repair::Full(snapshot_header()))),
        ("message-snapshot-ready", Message::SnapshotReady { transfer: 9 }),
        ("message-received", Message::Received { sum: 1 << 33 }),
        ("message-snapshot-end", Message::SnapshotEnd { transfer: 9 }),
        ("message-ack", Message::Ack { position: at, received: 1 << 34 }),
        ("message-rejected", Message::Rejected { at: revision(6), reason: "no route to ä".into() }),
        ("message-mismatch", Message::Mismatch { at }),
        ("message-disk-trouble", Message::DiskTrouble { full: true, reason: "no space left".into() }),
        ("message-resync", Message::Resync),
    ]
}

/// One of each kind that versions 3 and 4 added.
fn v3_samples() -> Vec<(&'static str, Message)> {
    let point = ResumePoint { after: Key::new("routes/é").unwrap(), from: revision(6), upto: revision(7) };
    let copy = CopySeen {
        run: RunId(0x4444_4444_4444_4444),
        first: "10.0.0.1:40001 (advertises left.example:7443)".into(),
        later: "10.0.0.9:40002 (advertises ä.example:7443)".into(),
    };
    let buckets = (0..BUCKETS * BASE_DIGEST_BYTES).map(|i| (i / 3) as u8).collect();
    vec![
        ("message-snapshot-resume", Message::SnapshotResume { transfer: 9, point: Box::new(point) }),
        ("message-durable", Message::Durable { upto: revision(6) }),
        ("message-copy-seen", Message::CopySeen(copy)),
        ("message-snapshot-base", Message::SnapshotBase { transfer: 9, buckets }),
        ("message-snapshot-wants", Message::SnapshotWants { transfer: 9, wants: vec![5, 0, 255] }),
        ("message-next-key", Message::NextKey { key: KeyId([0x66; 32]) }),
        ("message-key-pinned", Message::KeyPinned { key: KeyId([0x77; 32]) }),
    ]
}

fn enrol_samples() -> Vec<(&'static str, EnrolMessage)> {
    let authenticate = EnrolMessage::Authenticate {
        name: "s".into(),
        address: "shadow.example:7444".into(),
        takeover_delay_ms: 5_000,
        user: "admin".into(),
        password: Password::new("correct horse").unwrap(),
    };
    let (name, address) = (String::from("right"), String::from("right.example:7444"));
    let request = EnrolMessage::Request {
        name: name.clone(),
        address: address.clone(),
        takeover_delay_ms: 5_000,
        proof: [0x5a; 32],
    };
    let accepted_by = EnrolMessage::AcceptedBy {
        node: NodeId([0x22; 32]),
        pair: PairId([0x11; 16]),
        name: name.clone(),
        address: address.clone(),
    };
    vec![
        ("enrol-request", request),
        ("enrol-accepted", EnrolMessage::Accepted { pair: PairId([0x11; 16]), name, address }),
        ("enrol-refused", EnrolMessage::Refused { word: "wrong_token".into() }),
        ("enrol-confirm", EnrolMessage::Confirm),
        ("enrol-stored", EnrolMessage::Stored),
        ("enrol-accepted-by", accepted_by),
        ("enrol-authenticate", authenticate),
    ]
}

fn payload(frame: &[u8]) -> &[u8] {
    &frame[HEADER_BYTES..]
}

#[test]
fn every_message_has_the_bytes_that_were_promised() {
    for (name, message) in samples() {
        let frame = encode(&message).unwrap();
        golden::compare(name, &frame);
        let mut decoder = FrameDecoder::link();
        decoder.push(&golden::read(name));
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!((frame.kind, decode(&frame.payload)), (FrameKind::Control, Ok(message)), "{name}");
    }
}

#[test]
fn every_message_of_version_3_has_the_bytes_that_were_promised_and_a_kind_of_its_own() {
    for (name, message) in v3_samples() {
        golden::compare(name, &encode(&message).unwrap());
        let mut decoder = FrameDecoder::link();
        decoder.push(&golden::read(name));
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!((frame.kind, decode_v3(&frame.payload)), (FrameKind::ControlV3, Ok(message)), "{name}");
        for len in 0..frame.payload.len().min(500) {
            assert!(decode_v3(&frame.payload[..len]).is_err(), "{name} cut to {len}");
        }
        assert!(decode_v3(&[&frame.payload[..], &[0]].concat()).is_err(), "{name}");
    }
    let longest = Message::SnapshotWants { transfer: u64::MAX, wants: vec![7; COMPARED_ENTRIES_MAX / 8] };
    assert_eq!(decode_v3(payload(&encode(&longest).unwrap())), Ok(longest));
    let longer = Message::SnapshotWants { transfer: 1, wants: vec![7; COMPARED_ENTRIES_MAX / 8 + 1] };
    assert_eq!(decode_v3(payload(&encode(&longer).unwrap())), Err(WireError::Bound { field: "wants" }));
    let shorter = Message::SnapshotBase { transfer: 1, buckets: vec![7; 16] };
    assert_eq!(decode_v3(payload(&encode(&shorter).unwrap())), Err(WireError::Bound { field: "buckets" }));
    // A key has 1 to 512 bytes.
    assert_eq!(decode_v3(&[0, 9, 0, 0, 0, 0, 0]), Err(WireError::Bound { field: "key" }));
}

#[test]
fn what_two_nodes_may_use_follows_from_the_versions_that_both_speak() {
    let speaks = |max| Versions { min: 1, max };
    let allowed = |max| (speaks(max).allows_parts(Versions::OURS), speaks(max).allows_resumption(Versions::OURS));
    assert_eq!([allowed(1), allowed(2), allowed(3)], [(false, false), (true, false), (true, true)]);
}

#[test]
fn every_enrolment_message_has_the_bytes_that_were_promised() {
    for (name, message) in enrol_samples() {
        golden::compare(name, &encode_enrol(&message).unwrap());
        let mut decoder = FrameDecoder::enrolment();
        decoder.push(&golden::read(name));
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!(decode_enrol(&frame.payload), Ok(message), "{name}");
    }
}

#[test]
fn bulk_headers_have_the_bytes_that_were_promised_and_the_rest_is_not_copied() {
    let records = Bulk::Records { after: revision(1), last: revision(2), durable: revision(3) };
    for (name, bulk) in [("bulk-records", records), ("bulk-snapshot", Bulk::Snapshot { transfer: 0x0102_0304 })] {
        let mut bytes = encode_bulk(&bulk, 5).unwrap().as_ref().to_vec();
        bytes.extend(b"bytes");
        golden::compare(name, &bytes);
        let mut decoder = FrameDecoder::link();
        decoder.push(&bytes);
        let frame = decoder.next().unwrap().unwrap();
        let end = frame.payload.as_ptr_range().end;
        let (read, rest) = decode_bulk(frame).unwrap();
        assert_eq!((read, &rest[..]), (bulk, &b"bytes"[..]));
        assert_eq!(rest.as_ptr_range().end, end);
    }
}

#[test]
fn bulk_frames_without_bytes_or_header_are_refused() {
    let bulk = Bulk::Snapshot { transfer: 1 };
    assert_eq!(encode_bulk(&bulk, 0), Err(WireError::Bound { field: "bulk bytes" }));
    assert!(encode_bulk(&bulk, BULK_FRAME_BYTES_MAX - SNAPSHOT_HEADER_BYTES).is_ok());
    assert!(encode_bulk(&bulk, BULK_FRAME_BYTES_MAX - SNAPSHOT_HEADER_BYTES + 1).is_err());
    assert!(encode_bulk(&bulk, usize::MAX).is_err());
    for kind in [FrameKind::Records, FrameKind::Snapshot] {
        let header = if kind == FrameKind::Records { RECORDS_HEADER_BYTES } else { SNAPSHOT_HEADER_BYTES };
        for len in 0..=header {
            assert!(decode_bulk(Frame { kind, payload: vec![1; len].into() }).is_err());
        }
        assert!(decode_bulk(Frame { kind, payload: vec![1; header + 1].into() }).is_ok());
    }
    assert!(decode_bulk(Frame { kind: FrameKind::Control, payload: vec![1; 99].into() }).is_err());
    // One record of the largest size always fits.
    const { assert!(RECORD_BYTES_MAX + RECORDS_HEADER_BYTES < BULK_FRAME_BYTES_MAX) };
}

#[test]
fn truncated_and_extended_messages_are_refused() {
    for (name, message) in samples() {
        let frame = encode(&message).unwrap();
        let whole = payload(&frame);
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_err(), "{name} cut to {len}");
        }
        let left_over = WireError::Malformed { what: "a message", reason: "bytes are left over" };
        assert_eq!(decode(&[whole, &[0]].concat()), Err(left_over), "{name}");
    }
}

#[test]
fn longer_forms_of_a_number_are_refused() {
    let frame = encode(&Message::SnapshotReady { transfer: 9 }).unwrap();
    assert_eq!(payload(&frame), [6, 9]);
    // 251 announces two bytes, 252 four, 253 eight.
    for longer in [&[6, 251, 9, 0][..], &[6, 252, 9, 0, 0, 0], &[6, 253, 9, 0, 0, 0, 0, 0, 0, 0], &[251, 6, 0, 9]] {
        let error = WireError::Malformed { what: "a message", reason: "it is not canonical" };
        assert_eq!(decode(longer), Err(error));
    }
}

/// Lengths inside a message far beyond its end are refused without allocating for them.
#[test]
fn huge_lengths_inside_are_refused() {
    let mut text = vec![10, 1, 253];
    text.extend(u64::MAX.to_le_bytes());
    assert!(decode(&text).is_err());
    let mut text = vec![12, 1, 252];
    text.extend(0x4000_0000u32.to_le_bytes());
    assert!(decode(&text).is_err());
    let without_history = hello_with(|hello| hello.log.history = History::default());
    let frame = encode(&Message::Hello(Box::new(without_history))).unwrap();
    let plain = payload(&frame);
    let with_history = encode(&Message::Hello(Box::new(hello()))).unwrap();
    let at = plain.iter().zip(payload(&with_history)).position(|(one, two)| one != two).unwrap();
    for length in [u64::MAX, 1 << 40, 1 << 20] {
        let mut bytes = plain[..at].to_vec();
        bytes.push(253);
        bytes.extend(length.to_le_bytes());
        bytes.extend(&plain[at + 1..]);
        assert!(decode(&bytes).is_err());
    }
}

#[test]
fn the_largest_hello_fits() {
    let era =
        |n: u64| Era { epoch: Epoch::from_u64(u64::MAX - 2_000 + n), first_seq: 1 << 60, node: NodeId([255; 32]) };
    let history = History::from_eras((0..HISTORY_ERAS_MAX as u64).map(era).collect()).unwrap();
    let (name, address) = ("n".repeat(NAME_BYTES_MAX), "a".repeat(ADDRESS_BYTES_MAX));
    let hello = hello_with(|hello| {
        hello.log.history = history.clone();
        (hello.sender.name, hello.sender.address) = (name, address);
    });
    let message = Message::Hello(Box::new(hello));
    assert_eq!(decode(payload(&encode(&message).unwrap())), Ok(message));
    let message = Message::Repair(Repair::Full(SnapshotHeader { history, ..snapshot_header() }));
    assert_eq!(decode(payload(&encode(&message).unwrap())), Ok(message));
}

#[test]
fn fields_out_of_bounds_are_refused() {
    let refused = |change: fn(&mut Hello)| encode(&Message::Hello(Box::new(hello_with(change)))).unwrap_err();
    let bound = |field| WireError::Bound { field };
    assert_eq!(refused(|hello| hello.sender.address = "a".repeat(ADDRESS_BYTES_MAX + 1)), bound("address"));
    assert_eq!(refused(|hello| hello.sender.address = "a\nb".into()), bound("address"));
    const TOO_LONG: Duration = PEER_DURATION_MAX.saturating_add(Duration::from_micros(1));
    assert_eq!(refused(|hello| hello.options.heartbeat = TOO_LONG), bound("heartbeat"));
    assert_eq!(refused(|hello| hello.options.takeover_delay = Duration::MAX), bound("takeover_delay"));
    for versions in [Versions { min: 0, max: 1 }, Versions { min: 2, max: 1 }] {
        let frame = encode(&Message::Hello(Box::new(Hello { versions, ..hello() }))).unwrap();
        assert_eq!(decode(payload(&frame)), Err(bound("versions")));
    }
    // Rejected { at: 0.0/0, reason: "\n" }
    assert_eq!(decode(&[10, 0, 0, 1, b'\n']), Err(bound("reason")));
    assert_eq!(decode(&[10, 0, 0, 1, b' ']), Ok(Message::Rejected { at: Revision::NONE, reason: " ".into() }));
}

#[test]
fn verbose_text_is_cut_and_never_fails() {
    for text in ["ä".repeat(TEXT_BYTES_MAX), "x\u{1b}[2J\n\u{85}".into(), "€".repeat(TEXT_BYTES_MAX)] {
        let message = Message::DiskTrouble { full: false, reason: text };
        let Ok(Message::DiskTrouble { reason, .. }) = decode(payload(&encode(&message).unwrap())) else { panic!() };
        assert!(reason.len() <= TEXT_BYTES_MAX && !reason.chars().any(char::is_control));
    }
}

#[test]
fn a_refusal_of_a_newer_program_is_still_a_refusal() {
    let frame = encode(&Message::Refuse(Refusal { kind: RefusalKind::Held, reason: "r".into() })).unwrap();
    let mut bytes = payload(&frame).to_vec();
    assert_eq!(bytes, [1, 10, 1, b'r']);
    bytes[1] = 200;
    assert_eq!(decode(&bytes), Ok(Message::Refuse(Refusal { kind: RefusalKind::ProtocolError, reason: "r".into() })));
    assert_eq!(decode(&[2, 200]), Ok(Message::Bye(Bye::Shutdown)));
}

#[test]
fn a_refused_word_must_be_a_word() {
    for word in ["", "two words", "UPPER", &"w".repeat(65)] {
        let refused = encode_enrol(&EnrolMessage::Refused { word: word.into() });
        assert_eq!(refused, Err(WireError::Bound { field: "word" }));
    }
}

#[test]
fn a_durable_value_of_another_format_is_refused_untouched() {
    let sealed = seal_durable::<u64, 16>("a number", 2, &300).unwrap();
    assert_eq!(sealed, [2, 0, 251, 44, 1]);
    assert_eq!(open_durable::<u64, 16>("a number", 2, &sealed), Ok(300));
    let newer = WireError::Newer { what: "a number", found: 2, known: 1 };
    assert_eq!(open_durable::<u64, 16>("a number", 1, &sealed), Err(newer));
    for bad in [&[][..], &[2], &[2, 0], &[0, 0, 1], &[1, 0, 1], &[2, 0, 251, 1, 0]] {
        let error = open_durable::<u64, 16>("a number", 2, bad).unwrap_err();
        assert!(matches!(error, WireError::Malformed { .. }), "{error}");
    }
    let long = "x".repeat(20);
    assert_eq!(seal_durable::<String, 16>("a text", 1, &long), Err(WireError::Bound { field: "a text" }));
}

fn text(max: usize) -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{0,40}".prop_map(move |mut text| {
        while text.len() > max {
            text.pop();
        }
        text
    })
}

fn any_revision() -> impl Strategy<Value = Revision> {
    any::<(u64, u64)>().prop_map(|(epoch, seq)| Revision::new(Epoch::from_u64(epoch), seq))
}

fn any_position() -> impl Strategy<Value = Position> {
    (any_revision(), any::<[u8; 32]>()).prop_map(|(revision, digest)| Position { revision, digest: Digest(digest) })
}

fn any_history() -> impl Strategy<Value = History> {
    prop::collection::btree_map(any::<u64>(), (1..u64::MAX, any::<[u8; 32]>()), 0..8).prop_map(|eras| {
        let mut seqs: Vec<u64> = eras.values().map(|(seq, _)| *seq).collect();
        seqs.sort_unstable();
        let era = |((epoch, (_, node)), first_seq): ((&u64, &(u64, [u8; 32])), u64)| Era {
            epoch: Epoch::from_u64(*epoch),
            first_seq,
            node: NodeId(*node),
        };
        History::from_eras(eras.iter().zip(seqs).map(era).collect()).unwrap()
    })
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (0..=PEER_DURATION_MAX.as_micros() as u64).prop_map(Duration::from_micros)
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Master, Role::Shadow])
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let who = (
        any::<[u8; 16]>(),
        any::<[u8; 32]>(),
        any::<(u64, u64, bool)>(),
        text(NAME_BYTES_MAX),
        text(ADDRESS_BYTES_MAX),
    );
    let log = (any_role(), any::<(bool, u64, bool)>(), any_position(), any_revision(), any_revision(), any_history());
    let rest = (1..9u16, 0..9u16, any_duration(), any_duration(), any::<(u32, Option<[u8; 32]>, u64)>());
    (who, log, rest).prop_map(|(who, log, rest)| Hello {
        versions: Versions { min: rest.0, max: rest.0 + rest.1 },
        sender: HelloSender {
            pair: PairId(who.0),
            node: NodeId(who.1),
            run: RunId(who.2.0),
            name: who.3,
            address: who.4,
        },
        hello_no: who.2.1,
        linked: who.2.2,
        role: log.0,
        serving: log.1.0,
        epoch: Epoch::from_u64(log.1.1),
        log: HelloLog { position: log.2, floor: log.3, shown: log.4, complete: log.1.2, history: log.5 },
        options: HelloOptions { heartbeat: rest.2, takeover_delay: rest.3, schema: rest.4.0, data_key: rest.4.1 },
        wall_ms: rest.4.2,
    })
}

fn any_repair() -> impl Strategy<Value = Repair> {
    let full = (any::<(u64, u32, u64, u64)>(), any_position(), any_history()).prop_map(
        |((transfer, chain, entries, bytes), position, history)| {
            Repair::Full(SnapshotHeader { transfer, position, history, chain, entries, bytes })
        },
    );
    prop_oneof![Just(Repair::None), any_revision().prop_map(|to| Repair::Incremental { to }), full]
}

fn any_message() -> impl Strategy<Value = Message> {
    let heartbeat = (any::<(u64, bool, u64, bool, u64)>(), any_role(), any_position()).prop_map(
        |((nonce, serving, epoch, asks, wall_ms), role, position)| {
            Message::Heartbeat(Heartbeat {
                nonce,
                role,
                serving,
                epoch: Epoch::from_u64(epoch),
                position,
                asks,
                wall_ms,
            })
        },
    );
    let ack = (any::<(u64, u64)>(), any_role(), any_position(), any_duration()).prop_map(
        |((nonce, epoch), role, position, promise)| {
            Message::HeartbeatAck(HeartbeatAck { nonce, role, epoch: Epoch::from_u64(epoch), position, promise })
        },
    );
    let kinds = vec![RefusalKind::WrongPair, RefusalKind::ClockSkew, RefusalKind::ProtocolError];
    prop_oneof![
        any_hello().prop_map(|hello| Message::Hello(Box::new(hello))),
        (prop::sample::select(kinds), text(TEXT_BYTES_MAX))
            .prop_map(|(kind, reason)| Message::Refuse(Refusal { kind, reason })),
        prop::sample::select(vec![Bye::Held, Bye::Shutdown, Bye::Duplicate, Bye::Reset]).prop_map(Message::Bye),
        heartbeat,
        ack,
        any_repair().prop_map(Message::Repair),
        any::<u64>().prop_map(|transfer| Message::SnapshotReady { transfer }),
        any::<u64>().prop_map(|sum| Message::Received { sum }),
        any::<u64>().prop_map(|transfer| Message::SnapshotEnd { transfer }),
        (any_position(), any::<u64>()).prop_map(|(position, received)| Message::Ack { position, received }),
        (any_revision(), text(TEXT_BYTES_MAX)).prop_map(|(at, reason)| Message::Rejected { at, reason }),
        any_position().prop_map(|at| Message::Mismatch { at }),
        (any::<bool>(), text(TEXT_BYTES_MAX)).prop_map(|(full, reason)| Message::DiskTrouble { full, reason }),
        Just(Message::Resync),
    ]
}

proptest! {
    #[test]
    fn every_message_is_read_back(message in any_message()) {
        prop_assert_eq!(decode(payload(&encode(&message).unwrap())), Ok(message));
    }

    #[test]
    fn every_message_of_version_3_is_read_back(
        after in "[^\\p{Cc}]{1,40}",
        from in any_revision(),
        upto in any_revision(),
        transfer in any::<u64>(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let point = Box::new(ResumePoint { after: Key::new(after).unwrap(), from, upto });
        let message = Message::SnapshotResume { transfer, point };
        let mut bytes = payload(&encode(&message).unwrap()).to_vec();
        prop_assert_eq!(decode_v3(&bytes), Ok(message));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(message) = decode_v3(&bytes) {
            let frame = encode(&message).unwrap();
            prop_assert_eq!(payload(&frame), &bytes[..]);
        }
    }

    #[test]
    fn every_enrolment_message_is_read_back(
        (name, address) in (text(NAME_BYTES_MAX), text(ADDRESS_BYTES_MAX)),
        takeover_delay_ms in 0..=PEER_DURATION_MAX.as_millis() as u64,
        proof in any::<[u8; 32]>(),
        pair in any::<[u8; 16]>(),
        word in "[a-z0-9_]{1,64}",
    ) {
        let request = EnrolMessage::Request { name: name.clone(), address: address.clone(), takeover_delay_ms, proof };
        let accepted = EnrolMessage::Accepted { pair: PairId(pair), name, address };
        for message in [request, accepted, EnrolMessage::Refused { word }] {
            prop_assert_eq!(decode_enrol(payload(&encode_enrol(&message).unwrap())), Ok(message));
        }
    }

    #[test]
    fn every_bulk_header_is_read_back(after in any_revision(), last in any_revision(), durable in any_revision(), transfer in any::<u64>()) {
        for bulk in [Bulk::Records { after, last, durable }, Bulk::Snapshot { transfer }] {
            let mut bytes = encode_bulk(&bulk, 1).unwrap().as_ref().to_vec();
            bytes.push(0xee);
            let mut decoder = FrameDecoder::link();
            decoder.push(&bytes);
            let frame = decoder.next().unwrap().unwrap();
            prop_assert_eq!(decode_bulk(frame), Ok((bulk, Bytes::from_static(&[0xee]))));
        }
    }

    /// A value has exactly one encoding. The exceptions are refusals and byes of newer programs.
    #[test]
    fn arbitrary_bytes_never_panic_and_what_decodes_is_canonical(kind in 0..16u8, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [&[kind][..], &rest].concat();
        if let Ok(message) = decode(&bytes)
            && !matches!(message, Message::Refuse(_) | Message::Bye(_))
        {
            let frame = encode(&message).unwrap();
            prop_assert_eq!(payload(&frame), &bytes[..]);
        }
        if let Ok(message) = decode_enrol(&bytes) {
            let frame = encode_enrol(&message).unwrap();
            prop_assert_eq!(payload(&frame), &bytes[..]);
        }
    }

    /// A message with one flipped byte is refused or decodes to another canonical message.
    #[test]
    fn damaged_messages_never_panic(message in any_message(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = payload(&encode(&message).unwrap()).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = decode(&bytes);
    }
}
