use bytes::{Buf, Bytes, BytesMut};

use super::{FrameKind, WireError};
use crate::model::limits::FRAME_READ_BYTES_MIN;

/// Length of a frame header: payload length (`u32`), kind (`u8`), format version (`u8`), reserved zero (`u16`), all
/// little-endian.
pub const HEADER_BYTES: usize = 8;

/// Format of the payloads that this build writes and reads.
const FORMAT: u8 = 1;

/// One frame of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// Its payload, at most [`FrameKind::payload_max`] bytes. It shares the decoder's buffer; nothing is copied.
    pub payload: Bytes,
}

/// Cuts a byte stream into frames, without I/O.
///
/// Read into [`FrameDecoder::buffer`] (or pass bytes to [`FrameDecoder::push`]), then call [`FrameDecoder::next`] until
/// it returns `None`. A header is checked as soon as it is complete. Memory for a payload is reserved only after its
/// length was compared with the bound of its kind, so a peer makes this node buffer at most one frame and one read.
/// After an error the rest of the stream cannot be interpreted: every further call returns the same error.
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
    /// A decoder for the link between two enrolled nodes.
    pub fn link() -> Self {
        Self::accepting(&[
            FrameKind::Control,
            FrameKind::ControlV3,
            FrameKind::Records,
            FrameKind::Snapshot,
            FrameKind::Carried,
        ])
    }

    /// A decoder for a connection of the enrolment protocol.
    pub fn enrolment() -> Self {
        Self::accepting(&[FrameKind::Enrolment])
    }

    /// The buffer to append received bytes to. It has room for the rest of the current frame, and at least for a small
    /// read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let wanted = match self.header {
            Some(header) => header.bytes.saturating_sub(self.buffer.len()),
            None => HEADER_BYTES.saturating_sub(self.buffer.len()),
        };
        self.buffer.reserve(wanted.max(FRAME_READ_BYTES_MIN));
        &mut self.buffer
    }

    /// Appends received bytes.
    #[cfg(any(fuzzing, test))]
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`WireError::TooLong`], [`WireError::UnknownKind`], [`WireError::Reserved`], [`WireError::Malformed`] and
    /// [`WireError::Newer`], each about the header. The payload is not checked.
    pub fn next(&mut self) -> Result<Option<Frame>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let header = match self.header {
            Some(header) => header,
            None if self.buffer.len() < HEADER_BYTES => return Ok(None),
            None => match self.take_header() {
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

    /// Whether the stream may end here: it is not in the middle of a frame.
    #[cfg(test)]
    pub fn at_boundary(&self) -> bool {
        self.header.is_none() && self.buffer.is_empty() && self.failed.is_none()
    }

    fn accepting(kinds: &'static [FrameKind]) -> Self {
        Self { buffer: BytesMut::new(), kinds, header: None, failed: None }
    }

    /// Removes the header at the front of the buffer, which must hold one, and checks it.
    fn take_header(&mut self) -> Result<Header, WireError> {
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

/// The header of a frame of this kind whose payload has `bytes` bytes.
///
/// # Errors
/// [`WireError::TooLong`] where the payload exceeds the bound of its kind.
pub(super) fn frame_header(kind: FrameKind, bytes: usize) -> Result<[u8; HEADER_BYTES], WireError> {
    let max = kind.payload_max();
    let too_long = WireError::TooLong { kind, bytes: bytes as u64, max };
    let Ok(length) = u32::try_from(bytes) else { return Err(too_long) };
    if bytes > max {
        return Err(too_long);
    }
    let [a, b, c, d] = length.to_le_bytes();
    Ok([a, b, c, d, kind.code(), FORMAT, 0, 0])
}

#[cfg(test)]
mod tests;
