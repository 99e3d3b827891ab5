//! A change set that the shadow's operator sends to the master, and its answer. Encoded by hand: the frames are no part of the
//! engine's messages, and the change set can be large.

use bytes::{BufMut, Bytes, BytesMut};

use super::WireError;
use super::frame::{HEADER_BYTES, frame_header};
use super::frame_kind::FrameKind;
use crate::model::limits::{CHANGES_MAX, GUARDS_MAX, VALUE_BYTES_MAX};
use crate::model::{Change, ChangeSet, Epoch, Expected, Guard, Key, Revision};

/// Kind and number.
const PREFIX_BYTES: usize = 1 + 8;

/// The payload of a [`FrameKind::Carried`] frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Shadow to master: a part of an encoded change set.
    Part {
        /// Number of the change set, unique in the sender's run.
        id: u64,
        /// Whether it is the last part.
        last: bool,
        /// The next bytes of it.
        bytes: Bytes,
    },
    /// Master to shadow: what became of it.
    Answer {
        /// Number of the change set.
        id: u64,
        /// What became of it.
        outcome: CarriedOutcome,
    },
}

/// What became of a change set that was carried to the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CarriedOutcome {
    /// It was committed.
    Committed {
        /// As this revision.
        revision: Revision,
        /// Whether it is durable on both nodes.
        replicated: bool,
    },
    /// The entry of this key is not as expected. Nothing changed.
    Conflict {
        /// Name of the entry.
        key: Key,
    },
    /// It is in the log, and its outcome is not known.
    InDoubt {
        /// As this revision.
        revision: Revision,
    },
    /// The node is not master. Nothing changed.
    NotMaster,
    /// Too much waits there. Nothing changed.
    Overloaded,
    /// The disk there is full. Nothing changed.
    DiskFull,
    /// It was refused for another reason. Nothing changed.
    Refused,
}

/// Encodes a frame.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn encode_carried(carried: &Carried) -> Result<Bytes, WireError> {
    let mut payload = BytesMut::new();
    match carried {
        Carried::Part { id, last, bytes } => {
            payload.put_u8(1 + u8::from(*last));
            payload.put_u64_le(*id);
            payload.put_slice(bytes);
        }
        Carried::Answer { id, outcome } => {
            payload.put_u8(3);
            payload.put_u64_le(*id);
            put_outcome(&mut payload, outcome);
        }
    }
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    frame.put_slice(&frame_header(FrameKind::Carried, payload.len())?);
    frame.put_slice(&payload);
    Ok(frame.freeze())
}

/// Decodes the payload of a frame.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode_carried(mut payload: Bytes) -> Result<Carried, WireError> {
    if payload.len() < PREFIX_BYTES {
        return Err(malformed("it is cut short"));
    }
    let mut prefix = payload.split_to(PREFIX_BYTES);
    let (kind, id) = (bytes::Buf::get_u8(&mut prefix), bytes::Buf::get_u64_le(&mut prefix));
    match kind {
        1 | 2 => Ok(Carried::Part { id, last: kind == 2, bytes: payload }),
        3 => {
            let mut rest = Reader(&payload);
            let outcome = rest.outcome()?;
            rest.end()?;
            Ok(Carried::Answer { id, outcome })
        }
        _ => Err(malformed("it is of an unknown kind")),
    }
}

fn put_outcome(out: &mut BytesMut, outcome: &CarriedOutcome) {
    let revision = |out: &mut BytesMut, revision: &Revision| {
        out.put_u64_le(revision.epoch.as_u64());
        out.put_u64_le(revision.seq);
    };
    match outcome {
        CarriedOutcome::Committed { revision: at, replicated } => {
            out.put_u8(1);
            revision(out, at);
            out.put_u8(u8::from(*replicated));
        }
        CarriedOutcome::Conflict { key } => {
            out.put_u8(2);
            put_key(out, key);
        }
        CarriedOutcome::InDoubt { revision: at } => {
            out.put_u8(3);
            revision(out, at);
        }
        CarriedOutcome::NotMaster => out.put_u8(4),
        CarriedOutcome::Overloaded => out.put_u8(5),
        CarriedOutcome::DiskFull => out.put_u8(6),
        CarriedOutcome::Refused => out.put_u8(7),
    }
}

/// Encodes a change set whose guards are of single entries. `None` if one is not.
pub fn encode_change_set(set: &ChangeSet) -> Option<Bytes> {
    let mut out = BytesMut::new();
    out.put_u32_le(set.guards().len() as u32);
    for guard in set.guards() {
        let Guard::Key { key, expected } = guard else { return None };
        match expected {
            Expected::Absent => out.put_u8(0),
            Expected::Present => out.put_u8(1),
            Expected::Value(_) => out.put_u8(2),
        }
        put_key(&mut out, key);
        if let Expected::Value(value) = expected {
            put_value(&mut out, value);
        }
    }
    out.put_u32_le(set.changes().len() as u32);
    for change in set.changes() {
        match change {
            Change::Delete { key } => {
                out.put_u8(0);
                put_key(&mut out, key);
            }
            Change::Put { key, value, secret } => {
                out.put_u8(1 + u8::from(*secret));
                put_key(&mut out, key);
                put_value(&mut out, value);
            }
        }
    }
    Some(out.freeze())
}

/// Decodes a change set. Its bounds are checked where it is committed, as those of every change set.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode_change_set(bytes: &[u8]) -> Result<ChangeSet, WireError> {
    let mut rest = Reader(bytes);
    let mut guards = Vec::new();
    for _ in 0..rest.count(GUARDS_MAX)? {
        let kind = rest.u8()?;
        let key = rest.key()?;
        let expected = match kind {
            0 => Expected::Absent,
            1 => Expected::Present,
            2 => Expected::Value(rest.value()?),
            _ => return Err(malformed("a guard is of an unknown kind")),
        };
        guards.push(Guard::Key { key, expected });
    }
    let mut changes = Vec::new();
    for _ in 0..rest.count(CHANGES_MAX)? {
        let kind = rest.u8()?;
        let key = rest.key()?;
        changes.push(match kind {
            0 => Change::Delete { key },
            1 | 2 => Change::Put { key, value: rest.value()?, secret: kind == 2 },
            _ => return Err(malformed("a change is of an unknown kind")),
        });
    }
    rest.end()?;
    let set: ChangeSet = changes.into_iter().collect();
    Ok(guards.into_iter().fold(set, ChangeSet::only_if))
}

fn put_key(out: &mut BytesMut, key: &Key) {
    out.put_u16_le(key.as_bytes().len() as u16);
    out.put_slice(key.as_bytes());
}

fn put_value(out: &mut BytesMut, value: &[u8]) {
    out.put_u32_le(value.len() as u32);
    out.put_slice(value);
}

fn malformed(reason: &'static str) -> WireError {
    WireError::Malformed { what: "a carried change set", reason }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(|| malformed("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| malformed("it is cut short"))
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_le_bytes)
    }

    fn count(&mut self, max: usize) -> Result<usize, WireError> {
        match self.array().map(u32::from_le_bytes)? as usize {
            count if count <= max => Ok(count),
            _ => Err(malformed("it has too many parts")),
        }
    }

    fn key(&mut self) -> Result<Key, WireError> {
        let bytes = self.array().map(u16::from_le_bytes)?;
        let text = std::str::from_utf8(self.take(bytes.into())?).map_err(|_| malformed("a key is not UTF-8"))?;
        Key::new(text).map_err(|_| malformed("a key is out of bounds"))
    }

    fn value(&mut self) -> Result<Bytes, WireError> {
        match self.array().map(u32::from_le_bytes)? as usize {
            bytes if bytes <= VALUE_BYTES_MAX => self.take(bytes).map(Bytes::copy_from_slice),
            _ => Err(malformed("a value is too long")),
        }
    }

    fn revision(&mut self) -> Result<Revision, WireError> {
        let epoch = self.array().map(u64::from_le_bytes)?;
        Ok(Revision::new(Epoch::from_u64(epoch), self.array().map(u64::from_le_bytes)?))
    }

    fn outcome(&mut self) -> Result<CarriedOutcome, WireError> {
        Ok(match self.u8()? {
            1 => CarriedOutcome::Committed { revision: self.revision()?, replicated: self.u8()? == 1 },
            2 => CarriedOutcome::Conflict { key: self.key()? },
            3 => CarriedOutcome::InDoubt { revision: self.revision()? },
            4 => CarriedOutcome::NotMaster,
            5 => CarriedOutcome::Overloaded,
            6 => CarriedOutcome::DiskFull,
            7 => CarriedOutcome::Refused,
            _ => return Err(malformed("its outcome is unknown")),
        })
    }

    fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("bytes are left over")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn set() -> ChangeSet {
        let set = ChangeSet::new().put("a", "1").put_secret("b", "2").delete("c");
        let set = set.only_if(Guard::Key { key: key("a"), expected: Expected::Absent });
        let set = set.only_if(Guard::Key { key: key("b"), expected: Expected::Value("old".into()) });
        set.only_if(Guard::Key { key: key("c"), expected: Expected::Present })
    }

    fn frames() -> Vec<(&'static str, Carried)> {
        let revision = Revision::new(Epoch::new(2, 5), 41);
        let answer = |outcome| Carried::Answer { id: 300, outcome };
        vec![
            ("carried-part", Carried::Part { id: 300, last: true, bytes: encode_change_set(&set()).unwrap() }),
            ("carried-committed", answer(CarriedOutcome::Committed { revision, replicated: true })),
            ("carried-conflict", answer(CarriedOutcome::Conflict { key: key("routes/api") })),
            ("carried-in-doubt", answer(CarriedOutcome::InDoubt { revision })),
            ("carried-refused", answer(CarriedOutcome::Refused)),
        ]
    }

    #[test]
    fn the_bytes_are_frozen_and_read_back() {
        for (name, carried) in frames() {
            let frame = encode_carried(&carried).unwrap();
            golden::compare(name, &frame);
            assert_eq!(decode_carried(frame.slice(HEADER_BYTES..)), Ok(carried), "{name}");
        }
        assert_eq!(decode_change_set(&encode_change_set(&set()).unwrap()), Ok(set()));
    }

    #[test]
    fn whatever_is_cut_short_or_too_long_is_refused() {
        let encoded = encode_change_set(&set()).unwrap();
        for len in 0..encoded.len() {
            assert!(decode_change_set(&encoded[..len]).is_err(), "{len}");
        }
        assert!(decode_change_set(&[&encoded[..], b"x"].concat()).is_err());
        assert!(decode_change_set(&[0xff; 32]).is_err());
        for (name, carried) in frames().into_iter().skip(1) {
            let payload = encode_carried(&carried).unwrap().slice(HEADER_BYTES..);
            for len in 0..payload.len() {
                assert!(decode_carried(payload.slice(..len)).is_err(), "{name} {len}");
            }
        }
        let head = Guard::Head(Revision::NONE);
        assert_eq!(encode_change_set(&ChangeSet::new().put("a", "1").only_if(head)), None);
    }
}
