use proptest::prelude::*;

use super::*;
use crate::model::limits::BULK_FRAME_BYTES_MAX;

fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_header(kind, payload.len()).unwrap().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// All frames of a stream that arrives in pieces of this length.
fn decode_in_pieces(mut decoder: FrameDecoder, stream: &[u8], piece: usize) -> Result<Vec<Frame>, WireError> {
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        while let Some(frame) = decoder.next()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn kinds() -> impl Strategy<Value = FrameKind> {
    prop::sample::select(vec![FrameKind::Control, FrameKind::ControlV3, FrameKind::Records, FrameKind::Snapshot])
}

proptest! {
    #[test]
    fn pieces_make_the_same_frames(
        sent in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
        piece in 1..64usize,
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|(kind, payload)| frame(*kind, payload)).collect();
        let received = decode_in_pieces(FrameDecoder::link(), &stream, piece).unwrap();
        let expected: Vec<_> = sent.into_iter().map(|(kind, payload)| Frame { kind, payload: payload.into() }).collect();
        prop_assert_eq!(received, expected);
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_grow_the_buffer(
        stream in prop::collection::vec(any::<u8>(), 0..400),
        good_header in any::<bool>(),
    ) {
        let mut decoder = FrameDecoder::link();
        if good_header {
            decoder.push(&frame_header(FrameKind::Records, BULK_FRAME_BYTES_MAX).unwrap());
        }
        for piece in stream.chunks(50) {
            decoder.push(piece);
            while let Ok(Some(_)) = decoder.next() {}
            let _ = decoder.buffer();
            // The largest frame and one read; `BytesMut` may double what it grows.
            prop_assert!(decoder.buffer.capacity() <= 2 * (BULK_FRAME_BYTES_MAX + HEADER_BYTES + FRAME_READ_BYTES_MIN));
        }
    }
}

#[test]
fn each_kind_has_its_bound_and_nothing_is_allocated_beyond_it() {
    for kind in [FrameKind::Control, FrameKind::Records, FrameKind::Snapshot, FrameKind::Enrolment] {
        let max = kind.payload_max();
        assert!(frame_header(kind, max).is_ok());
        let too_long = WireError::TooLong { kind, bytes: max as u64 + 1, max };
        assert_eq!(frame_header(kind, max + 1), Err(too_long.clone()));
        let mut decoder = if kind == FrameKind::Enrolment { FrameDecoder::enrolment() } else { FrameDecoder::link() };
        let mut header = frame_header(kind, max).unwrap();
        header[..4].copy_from_slice(&(max as u32 + 1).to_le_bytes());
        decoder.push(&header);
        assert_eq!(decoder.next(), Err(too_long.clone()));
        assert_eq!(decoder.buffer.capacity(), 0);
        decoder.push(&frame(kind, b"x"));
        assert_eq!(decoder.next(), Err(too_long), "an error stays");
    }
    let mut decoder = FrameDecoder::link();
    decoder.push(&[0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0]);
    assert!(matches!(decoder.next(), Err(WireError::TooLong { bytes: 0xffff_ffff, .. })));
}

#[test]
fn headers_that_are_not_ours_are_refused() {
    let refused = |mut decoder: FrameDecoder, header: [u8; 8]| {
        decoder.push(&header);
        decoder.next().unwrap_err()
    };
    assert_eq!(refused(FrameDecoder::link(), [1, 0, 0, 0, 0, 1, 0, 0]), WireError::UnknownKind { found: 0 });
    assert_eq!(refused(FrameDecoder::link(), [1, 0, 0, 0, 16, 1, 0, 0]), WireError::UnknownKind { found: 16 });
    assert_eq!(refused(FrameDecoder::enrolment(), [1, 0, 0, 0, 1, 1, 0, 0]), WireError::UnknownKind { found: 1 });
    let newer = WireError::Newer { what: "a frame", found: 2, known: 1 };
    assert_eq!(refused(FrameDecoder::link(), [1, 0, 0, 0, 1, 2, 0, 0]), newer);
    let none = WireError::Malformed { what: "a frame", reason: "there is no format 0" };
    assert_eq!(refused(FrameDecoder::link(), [1, 0, 0, 0, 1, 0, 0, 0]), none);
    assert_eq!(refused(FrameDecoder::link(), [1, 0, 0, 0, 1, 1, 0, 1]), WireError::Reserved);
}

#[test]
fn a_stream_may_end_between_frames_only() {
    let mut decoder = FrameDecoder::link();
    assert!(decoder.at_boundary());
    for byte in frame(FrameKind::Control, b"xy") {
        assert_eq!(decoder.next(), Ok(None));
        decoder.push(&[byte]);
        assert!(!decoder.at_boundary());
    }
    assert!(decoder.next().unwrap().is_some());
    assert!(decoder.at_boundary());
}

#[test]
fn the_buffer_has_room_for_the_rest_of_the_frame() {
    let mut decoder = FrameDecoder::link();
    decoder.push(&frame_header(FrameKind::Snapshot, BULK_FRAME_BYTES_MAX).unwrap());
    assert_eq!(decoder.next(), Ok(None));
    let buffer = decoder.buffer();
    assert!(buffer.capacity() - buffer.len() >= BULK_FRAME_BYTES_MAX);
}
