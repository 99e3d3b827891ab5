//! The keys that a stretch of the log changed.

use std::collections::BTreeSet;

use super::error::ReadError;
use super::log::LogIndex;
use crate::model::limits::{LOG_STEP_BYTES, RESUME_KEY_OVERHEAD_BYTES, RESUME_KEYS_BYTES_MAX};
use crate::model::{Key, Revision};
use crate::protocol::wire::record::{Changes, Header, Kind, RecordChange, decode_change_set, decode_part};

/// The keys at or before `last` that the change sets after `from` changed, up to `upto`. `None` if the log does not reach back to
/// `from`, or they are more than [`RESUME_KEYS_BYTES_MAX`].
///
/// # Errors
/// [`ReadError`].
pub(super) fn changed_keys(
    log: &LogIndex,
    from: Revision,
    upto: Revision,
    last: &Key,
) -> Result<Option<BTreeSet<Key>>, ReadError> {
    let (mut found, mut bytes, mut at) = (BTreeSet::new(), 0, (from, None));
    loop {
        let Some(read) = log.read(at.0, at.1, upto, LOG_STEP_BYTES)? else { return Ok(None) };
        if read.bytes.is_empty() {
            return Ok(Some(found));
        }
        let mut records = &read.bytes[..];
        while !records.is_empty() {
            let (header, payload) = Header::decode(records).map_err(|_| ReadError::damaged("the log"))?;
            records = &records[header.frame_bytes()..];
            for change in changes(header.kind, payload)?.into_iter().flatten() {
                let key = key_of(change.map_err(|_| ReadError::damaged("the log"))?);
                let size = key.as_bytes().len() + RESUME_KEY_OVERHEAD_BYTES;
                if key <= *last && found.insert(key) {
                    bytes += size;
                }
            }
        }
        if bytes > RESUME_KEYS_BYTES_MAX {
            return Ok(None);
        }
        at = (read.last, Some(read.next));
    }
}

fn changes(kind: Kind, payload: &[u8]) -> Result<Option<Changes<'_>>, ReadError> {
    Ok(match kind {
        Kind::Era | Kind::Chunk => None,
        Kind::Part => Some(decode_part(payload)),
        Kind::ChangeSet => Some(decode_change_set(payload).map_err(|_| ReadError::damaged("the log"))?.2),
    })
}

fn key_of(change: RecordChange<'_>) -> Key {
    match change {
        RecordChange::Put { key, .. } | RecordChange::Large { key, .. } | RecordChange::Delete { key } => key,
    }
}
