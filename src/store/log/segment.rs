//! One file of the log.
//!
//! ```text
//! sector 0: header | sector 1: mark | records ... | zeros
//! ```
//!
//! The header is written once. The mark says how far the file is known to be synced; it is written right after a sync
//! and rides on the next one. It is what tells damage from a torn tail: what is damaged below the mark was whole once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::limits::LOG_STEP_BYTES;
use crate::model::{Epoch, Revision};
use crate::protocol::wire::record::{BadRecord, HEADER_BYTES, Header, RECORD_VERSION};
use crate::store::StoreError;
use crate::store::disk::{Disk, File};
use crate::store::mutants::{Mutant, made};

/// Bytes before the first record: two sectors.
pub(in crate::store) const SEGMENT_HEADER_BYTES: u64 = 1024;
/// Newest version of the segment format that this program writes and reads.
const SEGMENT_VERSION: u32 = 1;
const MAGIC: [u8; 4] = *b"SPLG";
const MARK_MAGIC: [u8; 4] = *b"SPLM";
const MARK_AT: u64 = 512;
/// Bytes of the header that mean something, checksum included.
const HEADER_LEN: usize = 52;

/// One file of the log.
#[derive(Debug)]
pub(in crate::store) struct Segment {
    /// Its number, from one.
    pub(in crate::store) ordinal: u64,
    pub(in crate::store) file: Arc<dyn File>,
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) start: Start,
}

/// What is before a segment, or a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Start {
    /// Position after the last whole change set.
    pub(in crate::store) revision: Revision,
    /// Checksum of the last record.
    pub(in crate::store) chain: u32,
    /// Whether a change set has begun before and ends here.
    pub(in crate::store) inside: bool,
}

impl Segment {
    /// Makes a segment: under its name it is whole from the first moment on.
    ///
    /// # Errors
    /// What the system says; nothing is left.
    pub(in crate::store) fn create(
        disk: &dyn Disk,
        dir: &Path,
        generation: u64,
        ordinal: u64,
        start: Start,
        bytes: u64,
    ) -> io::Result<Self> {
        let path = dir.join(format!("{generation:08x}-{ordinal:08x}.log"));
        let new = dir.join(format!("{generation:08x}-{ordinal:08x}.new"));
        let file = disk.open(&new, true)?;
        let made = file
            .set_len(0)
            .and_then(|()| file.allocate(bytes))
            .and_then(|()| file.write_at(0, &encode_header(generation, ordinal, start)))
            .and_then(|()| file.sync())
            .and_then(|()| disk.rename(&new, &path))
            .and_then(|()| disk.sync_dir(dir));
        if let Err(error) = made {
            // Best effort: what is left is removed at the next start.
            let _ = disk.remove(&new);
            return Err(error);
        }
        Ok(Self { ordinal, file, path, start })
    }

    pub(in crate::store) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// How far it is known to be synced.
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

    /// Notes how far it is synced.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn set_mark(&self, offset: u64) -> io::Result<()> {
        let mut bytes = MARK_MAGIC.to_vec();
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        self.file.write_at(MARK_AT, &bytes)
    }

    /// # Errors
    /// What the system says; what was written is in doubt.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        if made(Mutant::SkipSync) { Ok(()) } else { self.file.sync() }
    }
}

/// The segments of this generation, in order. Leftovers stay; a header that cannot be read is damage.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Io`].
pub(in crate::store) fn list(
    disk: &dyn Disk,
    dir: &Path,
    generation: u64,
    damage: &mut Option<String>,
) -> Result<Vec<Arc<Segment>>, StoreError> {
    let io = |what: &str, source| StoreError::Io { what: what.to_owned(), source };
    let mut segments = Vec::new();
    for name in disk.list(dir).map_err(|source| io("listing the log", source))? {
        let Some((found, ordinal)) = parse_name(&name) else { continue };
        if found != generation {
            continue;
        }
        let path = dir.join(&name);
        let what = name.display().to_string();
        let file = disk.open(&path, false).map_err(|source| io(&what, source))?;
        let mut bytes = [0; HEADER_LEN];
        match file.read_at(0, &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            result => result.map_err(|source| io(&what, source))?,
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

/// Generation and number of a segment of this name.
pub(in crate::store) fn parse_name(name: &Path) -> Option<(u64, u64)> {
    let (generation, ordinal) = name.to_str()?.strip_suffix(".log")?.split_once('-')?;
    Some((u64::from_str_radix(generation, 16).ok()?, u64::from_str_radix(ordinal, 16).ok()?))
}

fn encode_header(generation: u64, ordinal: u64, start: Start) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&ordinal.to_le_bytes());
    bytes.extend_from_slice(&start.revision.epoch.as_u64().to_le_bytes());
    bytes.extend_from_slice(&start.revision.seq.to_le_bytes());
    bytes.extend_from_slice(&start.chain.to_le_bytes());
    bytes.extend_from_slice(&u32::from(start.inside).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// `None` where it is damaged.
///
/// # Errors
/// The version of a newer one.
fn decode_header(bytes: &[u8; HEADER_LEN], generation: u64, ordinal: u64) -> Result<Option<Start>, u32> {
    let number = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let short = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..HEADER_LEN - 4]) != short(HEADER_LEN - 4) {
        return Ok(None);
    }
    if short(4) > SEGMENT_VERSION {
        return Err(short(4));
    }
    if number(8) != generation || number(16) != ordinal {
        return Ok(None);
    }
    let revision = Revision::new(Epoch::from_u64(number(24)), number(32));
    Ok(Some(Start { revision, chain: short(40), inside: short(44) == 1 }))
}

/// Reads the records of a segment, one after the other.
pub(in crate::store) struct Records {
    file: Arc<dyn File>,
    /// Length of the file.
    len: u64,
    /// Byte of the file at which `buffer` begins.
    from: u64,
    buffer: Vec<u8>,
    /// Where in `buffer` the next record begins.
    next: usize,
}

/// What stands at one place of a segment.
pub(in crate::store) enum Found<'a> {
    /// A record, whole.
    Record {
        /// Its header.
        header: Header,
        /// What it carries.
        payload: &'a [u8],
    },
    /// Nothing was written here.
    End,
    /// Something else.
    Bad(BadRecord),
}

impl Records {
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn new(segment: &Arc<Segment>, at: u64) -> io::Result<Self> {
        let len = segment.file.len()?;
        Ok(Self { file: segment.file.clone(), len, from: at, buffer: Vec::new(), next: 0 })
    }

    /// Where the next record begins.
    pub(in crate::store) fn at(&self) -> u64 {
        self.from + self.next as u64
    }

    /// The next record. Where there is none, the place stays.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn next(&mut self) -> io::Result<Found<'_>> {
        self.fill(HEADER_BYTES)?;
        let rest = &self.buffer[self.next..];
        if rest.len() < HEADER_BYTES || rest[..HEADER_BYTES].iter().all(|byte| *byte == 0) {
            let zeros = rest.iter().take(HEADER_BYTES).all(|byte| *byte == 0);
            return Ok(if zeros { Found::End } else { Found::Bad(BadRecord::Short) });
        }
        let bytes = match Header::frame_bytes_at(rest) {
            Ok(bytes) => bytes,
            Err(bad) => return Ok(Found::Bad(bad)),
        };
        self.fill(bytes)?;
        let at = self.next;
        match Header::decode(&self.buffer[at..]) {
            Ok((header, payload)) => {
                self.next += bytes;
                Ok(Found::Record { header, payload })
            }
            Err(bad) => Ok(Found::Bad(bad)),
        }
    }

    /// Appends the record that was just read and began at `at`.
    pub(in crate::store) fn copy(&self, at: u64, bytes: usize, out: &mut Vec<u8>) {
        let from = (at - self.from) as usize;
        out.extend_from_slice(&self.buffer[from..from + bytes]);
    }

    /// Makes sure that this many bytes are at hand, or all that there are.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() - self.next >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.next);
        self.from += self.next as u64;
        self.next = 0;
        let have = self.buffer.len();
        let left = self.len.saturating_sub(self.from + have as u64);
        let more = left.min(bytes.max(LOG_STEP_BYTES) as u64 - have as u64) as usize;
        self.buffer.resize(have + more, 0);
        let read = self.file.read_at(self.from + have as u64, &mut self.buffer[have..]);
        if read.is_err() {
            self.buffer.truncate(have);
        }
        read
    }
}

/// Refuses a record version that is newer, before anything is changed.
pub(in crate::store) fn newer(bad: BadRecord, what: &str) -> Option<StoreError> {
    match bad {
        BadRecord::Newer { found } => {
            Some(StoreError::Newer { what: what.to_owned(), found: u32::from(found), known: u32::from(RECORD_VERSION) })
        }
        _ => None,
    }
}
