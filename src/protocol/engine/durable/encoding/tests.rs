use proptest::prelude::*;

use super::*;
use crate::protocol::wire::golden;

/// Kinds of alerts that the golden files hold.
const FIRST_KINDS: usize = 15;

fn durable_state() -> DurableState {
    let revision = |n: u64| Revision::new(Epoch::new(n as u32, n), n * 300);
    let alert = |kind: AlertKind, severity, revisions, acknowledged| Alert {
        id: kind_code(kind).into(),
        kind,
        severity,
        subject: "shadow.example:7444".into(),
        message: format!("{kind:?}: look at it"),
        count: 3,
        first_ms: 1_790_000_000_000,
        last_ms: 1_790_000_060_000,
        revisions,
        acknowledged,
    };
    let severities = SEVERITIES.into_iter().cycle();
    let alerts = KINDS.into_iter().take(FIRST_KINDS).zip(severities).enumerate().map(|(i, (kind, severity))| {
        let revisions = (i % 2 == 0).then(|| (revision(1), revision(2)));
        alert(kind, severity, revisions, i % 3 == 0)
    });
    DurableState {
        node: NodeId([0x11; 32]),
        pair: PairId([0x22; 16]),
        role: Role::Master,
        epoch: Epoch::new(3, 5),
        tried: Epoch::new(4, 6),
        witnessed: Epoch::new(2, 9),
        promised_ms: 5_000,
        enabled: true,
        complete: true,
        detached: false,
        peer: Some(Peer {
            node: NodeId([0x33; 32]),
            keys: PinnedKeys::only(KeyId([0x33; 32])),
            name: "right".into(),
            address: "right.example:7444".into(),
            takeover_delay_ms: 5_500,
            confirmed: revision(3),
        }),
        tokens: vec![StoredToken { secret: [0x44; 16], expires_ms: 1_790_000_900_000 }],
        moves: Moves { takeovers_ms: vec![1_780_000_000_000, 1_785_000_000_000], ..Moves::default() },
        alerts: alerts.collect(),
        next_alert: 16,
    }
}

#[test]
fn states_have_the_bytes_that_were_promised() {
    let mut moved = durable_state();
    let position = Position { revision: Revision::new(Epoch::new(3, 5), 900), digest: Digest([0x55; 32]) };
    moved.moves.given = Some(Given { epoch: Epoch::new(5, 7), position });
    moved.moves.modes = Modes { paused: Mode { changes: 3, on: true }, frozen: Mode { changes: 400, on: false } };
    let mut renewed = moved.clone();
    if let Some(peer) = &mut renewed.peer {
        peer.keys = PinnedKeys { current: KeyId([0x66; 32]), next: Some(KeyId([0x77; 32])) };
    }
    golden::compare("facts-v4", &encode_durable_state(&renewed).unwrap());
    assert_eq!(decode_durable_state(&golden::read("facts-v4")), Ok(renewed));
    let first = DurableState::first_master(NodeId([0x11; 32]), PairId([0x22; 16]));
    golden::compare("facts-v4-first", &encode_durable_state(&first).unwrap());
    assert_eq!(decode_durable_state(&golden::read("facts-v4-first")), Ok(first.clone()));
    // In the third format a node is named after its only key.
    assert_eq!(decode_durable_state(&golden::read("facts-v3")), Ok(moved));
    assert_eq!(decode_durable_state(&golden::read("facts-v3-first")), Ok(first.clone()));
    // Those of the second format know of no switch.
    assert_eq!(decode_durable_state(&golden::read("facts-v2")), Ok(durable_state()));
    assert_eq!(decode_durable_state(&golden::read("facts-v2-first")), Ok(first.clone()));
    // Those of the first format know of no witness.
    assert_eq!(
        decode_durable_state(&golden::read("facts")),
        Ok(DurableState { witnessed: Epoch::NONE, ..durable_state() })
    );
    assert_eq!(decode_durable_state(&golden::read("facts-first")), Ok(first));
}

/// A state that needs an operator, as a warning and as an error: its severity is not that of its kind alone.
#[test]
fn an_alert_that_needs_an_operator_has_the_bytes_that_were_promised() {
    let DurableState { alerts, .. } = durable_state();
    let alert = |id, severity, subject: &str| Alert {
        id,
        kind: AlertKind::NeedsOperator,
        severity,
        subject: subject.into(),
        ..alerts[0].clone()
    };
    let alerts = vec![alert(1, Severity::Warning, "no_shadow"), alert(2, Severity::Error, "held")];
    let durable_state = DurableState { alerts, ..durable_state() };
    assert_eq!(decode_durable_state(&golden::read("facts-v2-operator")), Ok(durable_state.clone()));
    assert_eq!(decode_durable_state(&golden::read("facts-v3-operator")), Ok(durable_state.clone()));
    golden::compare("facts-v4-operator", &encode_durable_state(&durable_state).unwrap());
    assert_eq!(decode_durable_state(&golden::read("facts-v4-operator")), Ok(durable_state));
}

/// What was added since the files were written has a code of its own.
#[test]
fn every_kind_of_alert_is_read_as_it_was_written() {
    let DurableState { alerts, .. } = durable_state();
    let alerts = KINDS.map(|kind| Alert { kind, ..alerts[0].clone() }).to_vec();
    let durable_state = DurableState { alerts, ..durable_state() };
    assert_eq!(decode_durable_state(&encode_durable_state(&durable_state).unwrap()), Ok(durable_state));
}

#[test]
fn states_of_a_newer_program_are_refused_untouched() {
    let mut bytes = encode_durable_state(&durable_state()).unwrap();
    bytes[0] = 5;
    assert_eq!(decode_durable_state(&bytes), Err(WireError::Newer { what: WHAT, found: 5, known: 4 }));
}

#[test]
fn truncated_and_extended_states_are_refused() {
    let bytes = encode_durable_state(&durable_state()).unwrap();
    for len in 0..bytes.len() {
        assert!(decode_durable_state(&bytes[..len]).is_err(), "{len}");
    }
    assert!(decode_durable_state(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn states_beyond_their_bound_are_not_written() {
    let durable_state = DurableState {
        moves: Moves { takeovers_ms: vec![u64::MAX; DURABLE_STATE_BYTES_MAX / 8 + 1], ..Moves::default() },
        ..durable_state()
    };
    assert_eq!(encode_durable_state(&durable_state), Err(WireError::Bound { field: WHAT }));
}

/// The fullest book of alerts, each with the longest texts, fits twice.
#[test]
fn a_full_alert_book_fits() {
    use crate::model::limits::{ALERTS_MAX, TEXT_BYTES_MAX, TOKENS_MAX};
    let text = "x".repeat(TEXT_BYTES_MAX);
    let alert = Alert { subject: text.clone(), message: text, ..durable_state().alerts[0].clone() };
    let tokens = vec![durable_state().tokens[0].clone(); TOKENS_MAX];
    let durable_state = DurableState { alerts: vec![alert; 2 * ALERTS_MAX], tokens, ..durable_state() };
    assert_eq!(decode_durable_state(&encode_durable_state(&durable_state).unwrap()), Ok(durable_state));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_durable_state(&bytes);
        let _ = decode_durable_state(&[&[1, 0], &bytes[..]].concat());
        let _ = decode_durable_state(&[&[2, 0], &bytes[..]].concat());
    }

    #[test]
    fn damaged_states_never_panic(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = encode_durable_state(&durable_state()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = decode_durable_state(&bytes);
    }
}
