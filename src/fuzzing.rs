//! The fuzz targets: each function takes arbitrary bytes. It must not panic, and its assertions must hold, for any input.
//!
//! They are no part of the crate: they are compiled under `cfg(fuzzing)`, which cargo-fuzz sets, and for tests, which run the
//! corpora of `fuzz/corpus` once.
#![allow(clippy::expect_used, clippy::panic, reason = "a panic here is a finding")]

mod engine;
mod hello;
mod input;
mod store;

pub use engine::engine;
pub use hello::hello;
pub use store::{recovery, state};

use crate::identity::{Identity, JoinToken, PeerCertificate};
use crate::model::limits::{BULK_FRAME_BYTES_MAX, FRAME_READ_BYTES_MIN};
use crate::protocol::engine::{decode_durable_state, encode_durable_state};
use crate::protocol::wire::{
    Bulk, Carried, FrameDecoder, FrameKind, HEADER_BYTES, Message, Switch, decode, decode_bulk, decode_carried,
    decode_change_set, decode_enrol, decode_v3, decode_witness, encode, encode_bulk, encode_change_set, encode_enrol,
    encode_witness,
};

/// A stream of frames on a link. The first byte chooses the length of the pieces in which it arrives.
pub fn frames(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let mut decoder = FrameDecoder::link();
    for piece in stream.chunks(usize::from(*piece) + 1) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next() {
            assert!(frame.payload.len() <= frame.kind.payload_max());
            if frame.kind == FrameKind::Control {
                let _ = decode(&frame.payload);
            } else if frame.kind == FrameKind::Carried {
                if let Ok(Carried::Part { bytes, .. }) = decode_carried(frame.payload) {
                    let _ = decode_change_set(&bytes);
                }
            } else if frame.kind == FrameKind::ControlV3 {
                let _ = decode_v3(&frame.payload);
            } else if let Ok((bulk, rest)) = decode_bulk(frame.clone()) {
                let prefix = encode_bulk(&bulk, rest.len()).expect("what was read can be written");
                assert!(prefix.as_ref().ends_with(&frame.payload[..frame.payload.len() - rest.len()]));
                assert_eq!(matches!(bulk, Bulk::Records { .. }), frame.kind == FrameKind::Records);
            }
        }
        assert!(decoder.buffer().capacity() <= 2 * (BULK_FRAME_BYTES_MAX + HEADER_BYTES + FRAME_READ_BYTES_MIN));
    }
}

/// The payload of a control frame, the durable state, or the record at the witness.
pub fn messages(bytes: &[u8]) {
    if let Ok(message) = decode(bytes) {
        let frame = encode(&message).expect("what was read can be written");
        // Refusals and goodbyes of newer programs are read as the nearest known ones.
        if !matches!(message, Message::Refuse(_) | Message::Bye(_)) {
            assert_eq!(&frame[HEADER_BYTES..], bytes);
        }
        assert_eq!(decode(&frame[HEADER_BYTES..]), Ok(message));
    }
    if let Ok(message) = decode_v3(bytes) {
        let frame = encode(&message).expect("what was read can be written");
        // So are the reasons why a switch is called off or refused.
        if !matches!(message, Message::Switch(Switch::CallOff { .. } | Switch::Refused { .. })) {
            assert_eq!(&frame[HEADER_BYTES..], bytes);
        }
    }
    if let Ok(durable_state) = decode_durable_state(bytes) {
        // An older format is written again in the newest.
        let written = encode_durable_state(&durable_state).expect("what was read can be written");
        if written[..2] == bytes[..2] {
            assert_eq!(written, bytes);
        }
        assert_eq!(decode_durable_state(&written), Ok(durable_state));
    }
    if let Ok(set) = decode_change_set(bytes) {
        let written = encode_change_set(&set).expect("what was read can be written");
        assert_eq!(decode_change_set(&written), Ok(set));
    }
    if let Ok(record) = decode_witness(bytes) {
        assert_eq!(encode_witness(&record).expect("what was read can be written"), bytes);
    }
}

/// A stream on an enrolment connection.
pub fn enrolment(bytes: &[u8]) {
    let mut decoder = FrameDecoder::enrolment();
    decoder.push(bytes);
    while let Ok(Some(frame)) = decoder.next() {
        if let Ok(message) = decode_enrol(&frame.payload) {
            let again = encode_enrol(&message).expect("what was read can be written");
            assert_eq!(again[HEADER_BYTES..], frame.payload);
        }
    }
}

/// Join tokens, identities as text, certificates.
pub fn credentials(bytes: &[u8]) {
    let _ = PeerCertificate::read(&bytes.into());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string(), text.trim().to_ascii_lowercase());
    }
    let _ = Identity::from_pem(text);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn corpus(name: &str, target: fn(&[u8])) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut files = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0);
    }

    macro_rules! corpora {
        ($($target:ident)+) => {
            $(#[test]
            fn $target() {
                corpus(stringify!($target), super::$target);
            })+
        };
    }

    corpora! { frames messages enrolment credentials engine hello recovery state }
}
