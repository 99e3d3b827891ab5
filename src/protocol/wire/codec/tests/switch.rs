//! The steps of a planned switch of roles, and the modes of a pair.

use super::{payload, position};
use crate::model::Epoch;
use crate::protocol::wire::codec::{decode_v3, encode};
use crate::protocol::wire::{FrameDecoder, FrameKind, Message, Mode, Modes, Switch, SwitchObstacle, golden};

fn samples() -> Vec<(&'static str, Message)> {
    let (position, epoch) = (position(6), Epoch::new(3, 5));
    let modes = Modes { paused: Mode { changes: 3, on: true }, frozen: Mode { changes: 400, on: false } };
    vec![
        ("message-switch-ask", Message::Switch(Switch::Ask)),
        ("message-switch-prepare", Message::Switch(Switch::Prepare { position, epoch })),
        ("message-switch-ready", Message::Switch(Switch::Ready { epoch })),
        ("message-switch-hand-over", Message::Switch(Switch::HandOver { position, epoch, stops: true })),
        ("message-switch-call-off", Message::Switch(Switch::CallOff { why: SwitchObstacle::Disk })),
        ("message-switch-refused", Message::Switch(Switch::Refused { why: SwitchObstacle::UnderWay })),
        ("message-modes", Message::Modes(modes)),
    ]
}

#[test]
fn every_message_has_the_bytes_that_were_promised() {
    for (name, message) in samples() {
        let frame = encode(&message).unwrap();
        golden::compare(name, &frame);
        let mut decoder = FrameDecoder::link();
        decoder.push(&golden::read(name));
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!((frame.kind, decode_v3(&frame.payload)), (FrameKind::ControlV3, Ok(message)), "{name}");
    }
}

#[test]
fn truncated_and_extended_messages_are_refused() {
    for (name, message) in samples() {
        let frame = encode(&message).unwrap();
        let whole = payload(&frame);
        for len in 0..whole.len() {
            assert!(decode_v3(&whole[..len]).is_err(), "{name} cut to {len}");
        }
        assert!(decode_v3(&[whole, &[0]].concat()).is_err(), "{name}");
    }
}

/// Which word holds where two nodes were told different things.
#[test]
fn the_later_word_holds_and_on_where_neither_is_later() {
    let mode = |changes, on| Mode { changes, on };
    assert_eq!(mode(1, true).merged(mode(2, false)), mode(2, false));
    assert_eq!(mode(2, false).merged(mode(1, true)), mode(2, false));
    assert_eq!(mode(2, true).merged(mode(2, false)), mode(2, true));
    assert_eq!(mode(2, false).merged(mode(2, true)), mode(2, true));
    assert_eq!((mode(2, true).turned(true), mode(2, true).turned(false)), (mode(2, true), mode(3, false)));
}
