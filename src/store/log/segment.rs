//! One file of the log.
//!
//! ```text
//! sector 0: header | sector 1: mark, shown | records ... | zeros
//! ```
//!
//! The header is written once. The mark says up to where the file is known to be synced. It is written after a sync and
//! becomes durable with the next one. It tells damage from a torn tail: what is damaged below the mark was once complete.
//!
//! Where a shadow holds records that its master had not said to be durable, the newest segment says up to which revision they may be
//! visible after a start. That is written before the sync of the records, so that it is there with them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Epoch, Revision};
use crate::store::disk::{Disk, File};
use crate::store::error::StoreError;

/// Bytes before the first record: two sectors.
pub(in crate::store) const SEGMENT_HEADER_BYTES: u64 = 1024;
/// Newest version of the segment format that this program writes and reads.
const SEGMENT_VERSION: u32 = 1;
const MAGIC: [u8; 4] = *b"SPLG";
const MARK_MAGIC: [u8; 4] = *b"SPLM";
const MARK_AT: u64 = 512;
const SHOWN_MAGIC: [u8; 4] = *b"SPLV";
const SHOWN_AT: u64 = MARK_AT + 32;
const SHOWN_LEN: usize = 24;
/// Bytes of the header, with its checksum.
const HEADER_LEN: usize = 52;

/// Where in the log a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct LogPosition {
    /// Number of the segment, from one.
    pub(in crate::store) segment: u64,
    /// Byte of the segment's file.
    pub(in crate::store) offset: u64,
}

/// State of the chain of records at one point of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct ChainState {
    /// The last complete change set or era.
    pub(in crate::store) revision: Revision,
    /// Checksum of the last record.
    pub(in crate::store) chain: u32,
    /// Whether the last record belongs to a change set that goes on after it.
    pub(in crate::store) mid_change_set: bool,
}

/// One file of the log.
#[derive(Debug)]
pub(in crate::store) struct Segment {
    /// Number of the segment, from one.
    pub(in crate::store) ordinal: u64,
    pub(in crate::store) file: Arc<dyn File>,
    pub(in crate::store) path: PathBuf,
    /// The chain before the first record of the segment.
    pub(in crate::store) start: ChainState,
}

impl LogPosition {
    /// Where the first record of a log begins.
    pub(in crate::store) const FIRST: Self = Self { segment: 1, offset: SEGMENT_HEADER_BYTES };

    /// Where the first record of a segment begins.
    pub(in crate::store) fn start_of(segment: u64) -> Self {
        Self { segment, offset: SEGMENT_HEADER_BYTES }
    }
}

impl ChainState {
    /// Before the first record of an empty log.
    pub(in crate::store) const EMPTY: Self = Self { revision: Revision::NONE, chain: 0, mid_change_set: false };

    /// After a complete change set or era.
    pub(in crate::store) fn after(revision: Revision, chain: u32) -> Self {
        Self { revision, chain, mid_change_set: false }
    }
}

impl Segment {
    /// Makes a segment. It gets its name only when its header is durable.
    ///
    /// # Errors
    /// What the system says. No segment is made.
    pub(in crate::store) fn create(
        disk: &dyn Disk,
        dir: &Path,
        (generation, ordinal): (u64, u64),
        start: ChainState,
        bytes: u64,
        shown: Option<Revision>,
    ) -> io::Result<Self> {
        let path = dir.join(format!("{generation:08x}-{ordinal:08x}.log"));
        let new = dir.join(format!("{generation:08x}-{ordinal:08x}.new"));
        let file = disk.open(&new, true)?;
        let created = file
            .set_len(0)
            .and_then(|()| file.allocate(bytes))
            .and_then(|()| file.write_at(0, &encode_header(generation, ordinal, start)))
            .and_then(|()| shown.map_or(Ok(()), |_| file.write_at(SHOWN_AT, &encode_shown(shown))))
            .and_then(|()| file.sync())
            .and_then(|()| disk.rename(&new, &path))
            .and_then(|()| disk.sync_dir(dir));
        if let Err(error) = created {
            // If this fails, the file is removed at the next start.
            let _ = disk.remove(&new);
            return Err(error);
        }
        Ok(Self { ordinal, file, path, start })
    }

    /// Name of the file.
    pub(in crate::store) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Up to where the file is known to be synced.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn mark(&self) -> io::Result<u64> {
        let mut bytes = [0; 16];
        self.file.read_at(MARK_AT, &mut bytes)?;
        let (magic, offset, crc) = (&bytes[..4], &bytes[4..12], &bytes[12..]);
        if magic != MARK_MAGIC || crc != crc32c::crc32c(&bytes[..12]).to_le_bytes() {
            return Ok(SEGMENT_HEADER_BYTES);
        }
        Ok(offset.try_into().map_or(SEGMENT_HEADER_BYTES, u64::from_le_bytes))
    }

    /// Up to which revision the log may be visible after a start; `None` for all of it. Where that is damaged, no more than the state
    /// has.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn shown(&self) -> io::Result<Option<Revision>> {
        let mut bytes = [0; SHOWN_LEN];
        match self.file.read_at(SHOWN_AT, &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        if bytes == [0; SHOWN_LEN] {
            return Ok(None);
        }
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let intact = bytes[..4] == SHOWN_MAGIC && crc32c::crc32c(&bytes[..20]).to_le_bytes() == bytes[20..];
        Ok(Some(if intact { Revision::new(Epoch::from_u64(u64_at(4)), u64_at(12)) } else { Revision::NONE }))
    }

    /// Notes it. The next sync makes it durable.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn set_shown(&self, shown: Option<Revision>) -> io::Result<()> {
        self.file.write_at(SHOWN_AT, &encode_shown(shown))
    }

    /// Notes up to where the file is synced.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn set_mark(&self, offset: u64) -> io::Result<()> {
        let mut bytes = MARK_MAGIC.to_vec();
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        self.file.write_at(MARK_AT, &bytes)
    }
}

/// Opens the segments of this generation, in order. A segment whose header cannot be read is reported as damage.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Io`].
pub(in crate::store) fn list(
    disk: &dyn Disk,
    dir: &Path,
    generation: u64,
    damage: &mut Option<String>,
) -> Result<Vec<Arc<Segment>>, StoreError> {
    let mut segments = Vec::new();
    for name in disk.list(dir).map_err(|source| StoreError::io("listing the log", source))? {
        let Some((found, ordinal)) = parse_name(&name) else { continue };
        if found != generation {
            continue;
        }
        let path = dir.join(&name);
        let what = name.display().to_string();
        let file = disk.open(&path, false).map_err(|source| StoreError::io(&what, source))?;
        let mut bytes = [0; HEADER_LEN];
        match file.read_at(0, &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            result => result.map_err(|source| StoreError::io(&what, source))?,
        }
        match decode_header(&bytes, generation, ordinal) {
            Ok(Some(start)) => segments.push(Arc::new(Segment { ordinal, file, path, start })),
            Ok(None) => {
                tracing::error!(segment = %what, "the header is damaged");
                damage.get_or_insert(format!("{what}: the header is damaged"));
            }
            Err(found) => return Err(StoreError::Newer { what, found, known: SEGMENT_VERSION }),
        }
    }
    segments.sort_by_key(|segment| segment.ordinal);
    Ok(segments)
}

/// Generation and number in the name of a segment.
pub(in crate::store) fn parse_name(name: &Path) -> Option<(u64, u64)> {
    let (generation, ordinal) = name.to_str()?.strip_suffix(".log")?.split_once('-')?;
    Some((u64::from_str_radix(generation, 16).ok()?, u64::from_str_radix(ordinal, 16).ok()?))
}

fn encode_header(generation: u64, ordinal: u64, start: ChainState) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&ordinal.to_le_bytes());
    bytes.extend_from_slice(&start.revision.epoch.as_u64().to_le_bytes());
    bytes.extend_from_slice(&start.revision.seq.to_le_bytes());
    bytes.extend_from_slice(&start.chain.to_le_bytes());
    bytes.extend_from_slice(&u32::from(start.mid_change_set).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Nothing but zeros where all is visible.
fn encode_shown(shown: Option<Revision>) -> Vec<u8> {
    let Some(revision) = shown else { return vec![0; SHOWN_LEN] };
    let mut bytes = SHOWN_MAGIC.to_vec();
    bytes.extend_from_slice(&revision.epoch.as_u64().to_le_bytes());
    bytes.extend_from_slice(&revision.seq.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Decodes a header. `None` if it is damaged.
///
/// # Errors
/// The version of a header that a newer program wrote.
fn decode_header(bytes: &[u8; HEADER_LEN], generation: u64, ordinal: u64) -> Result<Option<ChainState>, u32> {
    let u64_at = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let u32_at = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..HEADER_LEN - 4]) != u32_at(HEADER_LEN - 4) {
        return Ok(None);
    }
    if u32_at(4) > SEGMENT_VERSION {
        return Err(u32_at(4));
    }
    if u64_at(8) != generation || u64_at(16) != ordinal {
        return Ok(None);
    }
    let revision = Revision::new(Epoch::from_u64(u64_at(24)), u64_at(32));
    Ok(Some(ChainState { revision, chain: u32_at(40), mid_change_set: u32_at(44) == 1 }))
}
