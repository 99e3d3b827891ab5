use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::WireError;
use crate::model::limits::{
    BULK_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, ENROL_FRAME_BYTES_MAX, FRAME_READ_BYTES_MIN,
};

/// Length of a frame header: payload length (`u32`), kind (`u8`), format version (`u8`), reserved zero (`u16`), all
/// little-endian.
pub const HEADER_BYTES: usize = 8;

/// The format of payloads that this build writes and reads.
const FORMAT: u8 = 1;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A [`super::Message`].
    Control,
    /// Log records.
    Records,
    /// A piece of a snapshot.
    Snapshot,
    /// A message of the enrolment protocol, which has connections of its own.
    Enrolment,
}

/// One frame, cut out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// Its payload, at most [`FrameKind::payload_max`] bytes. Shares the decoder's buffer; nothing is copied.
    pub payload: Bytes,
}

/// Cuts a byte stream into frames, without I/O.
///
/// Read into [`FrameDecoder::buffer`] (or hand bytes to [`FrameDecoder::push`]), then call [`FrameDecoder::next`] until
/// it has no more. A header is judged as soon as it is whole: room for a payload is made only after its length was
/// compared with the bound of its kind, so a peer makes this side hold at most one frame and what came with it.
/// After an error the stream has no meaning any more; the decoder keeps answering with the same error.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    kinds: &'static [FrameKind],
    header: Option<Header>,
    failed: Option<WireError>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: FrameKind,
    bytes: usize,
}

impl FrameDecoder {
    /// For the link between two enrolled nodes.
    pub fn link() -> Self {
        Self::of(&[FrameKind::Control, FrameKind::Records, FrameKind::Snapshot])
    }

    /// For the enrolment protocol.
    pub fn enrolment() -> Self {
        Self::of(&[FrameKind::Enrolment])
    }

    /// Where received bytes are to be appended. It has room for the rest of the frame that is under way, and for a
    /// small read otherwise.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let wanted = match self.header {
            Some(header) => header.bytes.saturating_sub(self.buffer.len()),
            None => HEADER_BYTES.saturating_sub(self.buffer.len()),
        };
        self.buffer.reserve(wanted.max(FRAME_READ_BYTES_MIN));
        &mut self.buffer
    }

    #[cfg(any(fuzzing, test))]
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes are there.
    ///
    /// # Errors
    /// [`WireError::TooLong`], [`WireError::UnknownKind`], [`WireError::Reserved`], [`WireError::Malformed`] and
    /// [`WireError::Newer`], of the header alone. The payload is not looked at.
    pub fn next(&mut self) -> Result<Option<Frame>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let header = match self.header {
            Some(header) => header,
            None if self.buffer.len() < HEADER_BYTES => return Ok(None),
            None => match self.header_at_front() {
                Ok(header) => *self.header.insert(header),
                Err(error) => {
                    self.buffer = BytesMut::new();
                    return Err(self.failed.insert(error).clone());
                }
            },
        };
        if self.buffer.len() < header.bytes {
            return Ok(None);
        }
        self.header = None;
        Ok(Some(Frame { kind: header.kind, payload: self.buffer.split_to(header.bytes).freeze() }))
    }

    #[cfg(any(fuzzing, test))]
    /// Whether the stream may end here: it is not in the middle of a frame.
    pub fn at_boundary(&self) -> bool {
        self.header.is_none() && self.buffer.is_empty() && self.failed.is_none()
    }

    fn of(kinds: &'static [FrameKind]) -> Self {
        Self { buffer: BytesMut::new(), kinds, header: None, failed: None }
    }

    /// Takes a header off the front of the buffer, which holds one.
    fn header_at_front(&mut self) -> Result<Header, WireError> {
        let bytes = self.buffer.get_u32_le();
        let (kind, format, reserved) = (self.buffer.get_u8(), self.buffer.get_u8(), self.buffer.get_u16_le());
        let Some(kind) = self.kinds.iter().copied().find(|known| known.code() == kind) else {
            return Err(WireError::UnknownKind { found: kind });
        };
        match format {
            FORMAT => {}
            0 => return Err(WireError::Malformed { what: "a frame", reason: "there is no format 0" }),
            found => return Err(WireError::Newer { what: "a frame", found: found.into(), known: FORMAT.into() }),
        }
        if reserved != 0 {
            return Err(WireError::Reserved);
        }
        let max = kind.payload_max();
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= max => Ok(Header { kind, bytes }),
            _ => Err(WireError::TooLong { kind, bytes: bytes.into(), max }),
        }
    }
}

impl FrameKind {
    /// Longest payload of this kind, in bytes.
    pub const fn payload_max(self) -> usize {
        match self {
            Self::Control => CONTROL_FRAME_BYTES_MAX,
            Self::Records | Self::Snapshot => BULK_FRAME_BYTES_MAX,
            Self::Enrolment => ENROL_FRAME_BYTES_MAX,
        }
    }

    /// The number that stands for it in a header.
    pub const fn code(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Records => 2,
            Self::Snapshot => 3,
            Self::Enrolment => 16,
        }
    }

    /// The header of a frame with a payload of `bytes`.
    pub(super) fn header(self, bytes: usize) -> Result<[u8; HEADER_BYTES], WireError> {
        let max = self.payload_max();
        let too_long = WireError::TooLong { kind: self, bytes: bytes as u64, max };
        let Ok(length) = u32::try_from(bytes) else { return Err(too_long) };
        if bytes > max {
            return Err(too_long);
        }
        let [a, b, c, d] = length.to_le_bytes();
        Ok([a, b, c, d, self.code(), FORMAT, 0, 0])
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Records => "records",
            Self::Snapshot => "snapshot",
            Self::Enrolment => "enrolment",
        })
    }
}

#[cfg(test)]
mod tests;
