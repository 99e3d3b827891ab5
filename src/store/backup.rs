//! The file of an export: one revision of the configuration, for a backup. `docs/STORAGE.md` describes its bytes.
//!
//! It holds the items of a full push, in key order, so an import is loaded as a full push is. A hash over the whole file finds
//! damage. A hash over the items alone, the [`ContentHash`], does not depend on the pair: two configurations with the same
//! entries have the same one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::disk::{Disk, File, remove_if_present};
use super::error::ReadError;
use super::export::Export;
use crate::model::limits::{BULK_FRAME_BYTES_MAX, CHUNK_BYTES, PUSH_STEP_BYTES};
use crate::model::{Digest, DigestKey, EntryHasher, Epoch, Key, PairId, Position, Revision};
use crate::protocol::wire::record::{Item, decode_items};

const MAGIC: [u8; 4] = *b"SPLX";
/// Newest version of the file that this program writes and reads.
const VERSION: u32 = 1;
/// Magic, version, pair, revision, digest, entries, bytes, time, schema, checksum.
const HEADER_BYTES: usize = 4 + 4 + 16 + 16 + 32 + 8 + 8 + 8 + 4 + 4;
/// After the last piece: a length of zero, the content hash, and the hash of all bytes before it.
const TRAILER_BYTES: usize = 4 + 32 + 32;

/// Hash of a configuration, in 256 bits: BLAKE3 over its entries in key order (key, value and the flag `secret`). It does
/// not depend on the pair, unlike a [`Digest`], so it compares an export with what was made of it elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

/// Why the file of an export could not be written or read. An import has changed nothing, and an export has left the file that
/// was there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFileError {
    /// The file is no export.
    #[error("the file is no export of a configuration")]
    NotAnExport,
    /// The file ends too early. Copy it again from where it was written.
    #[error("the file is cut short")]
    Truncated,
    /// The file is not what was written. Copy it again, or take another one.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// A newer program wrote it. Import it with that version.
    #[error("the file has format {found}, newer than {known} which this program knows")]
    Newer {
        /// Format of the file.
        found: u32,
        /// Newest format that this program knows.
        known: u32,
    },
    /// The operating system reported an error.
    #[error("the file could not be used: {0}")]
    Io(String),
}

/// What the header of the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupHeader {
    /// The pair that wrote it.
    pub pair: PairId,
    /// The revision, with its digest in that pair.
    pub position: Position,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// When it was written, by the wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// Schema version of the host's data.
    pub schema: u32,
}

/// Why an export failed.
#[derive(Debug)]
pub enum ExportFailure {
    /// The configuration could not be read.
    Read(ReadError),
    /// The file could not be written.
    File(BackupFileError),
}

/// Writes a snapshot to a file. An existing file is replaced when the new one is complete and durable. Returns the hash of the
/// content.
///
/// # Errors
/// [`ExportFailure`]. The file that was there is left.
pub fn write_backup(
    disk: &dyn Disk,
    path: &Path,
    header: &BackupHeader,
    export: Export,
) -> Result<ContentHash, ExportFailure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = write_file(disk, &temporary, header, export).and_then(|content| {
        disk.rename(&temporary, path)?;
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        disk.sync_dir(parent)?;
        Ok(content)
    });
    if written.is_err() {
        // If this fails too, the next export overwrites it.
        let _ = remove_if_present(disk, &temporary);
    }
    written
}

fn write_file(
    disk: &dyn Disk,
    path: &Path,
    header: &BackupHeader,
    mut export: Export,
) -> Result<ContentHash, ExportFailure> {
    let file = disk.open(path, true)?;
    file.set_len(0)?;
    let mut out = Output { file, at: 0, hasher: blake3::Hasher::new() };
    out.write(&header.encode())?;
    let mut content = blake3::Hasher::new();
    while let Some(piece) = export.next(PUSH_STEP_BYTES).map_err(ExportFailure::Read)? {
        content.update(&piece);
        out.write(&(piece.len() as u32).to_le_bytes())?;
        out.write(&piece)?;
    }
    let content = ContentHash(*content.finalize().as_bytes());
    out.write(&0u32.to_le_bytes())?;
    out.write(&content.0)?;
    let whole = out.hasher.finalize();
    out.write(whole.as_bytes())?;
    out.file.sync()?;
    Ok(content)
}

/// The hash of what a snapshot holds.
///
/// # Errors
/// [`ReadError`].
pub fn content_hash(mut export: Export) -> Result<ContentHash, ReadError> {
    let mut content = blake3::Hasher::new();
    while let Some(piece) = export.next(PUSH_STEP_BYTES)? {
        content.update(&piece);
    }
    Ok(ContentHash(*content.finalize().as_bytes()))
}

/// A file that is being written.
struct Output {
    file: Arc<dyn File>,
    at: u64,
    hasher: blake3::Hasher,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }
}

/// Reads the file of an export, piece by piece. The last piece comes only if every hash is right.
pub struct BackupReader {
    file: Arc<dyn File>,
    at: u64,
    len: u64,
    hasher: blake3::Hasher,
    content: blake3::Hasher,
    /// What the header says.
    pub header: BackupHeader,
    /// The hash of the content, once all of it was read.
    pub found: Option<ContentHash>,
}

impl BackupReader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`BackupFileError`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, BackupFileError> {
        let file = disk.open_to_read(path)?;
        let len = file.len()?;
        let mut bytes = [0; HEADER_BYTES];
        let present = HEADER_BYTES.min(usize::try_from(len).unwrap_or(HEADER_BYTES));
        file.read_at(0, &mut bytes[..present])?;
        let header = BackupHeader::decode(&bytes[..present])?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        Ok(Self { file, at: HEADER_BYTES as u64, len, hasher, content: blake3::Hasher::new(), header, found: None })
    }

    /// The next piece: complete items. `None` at the end.
    ///
    /// # Errors
    /// [`BackupFileError`].
    pub fn next(&mut self) -> Result<Option<Bytes>, BackupFileError> {
        if self.found.is_some() {
            return Ok(None);
        }
        if self.len - self.at < TRAILER_BYTES as u64 {
            return Err(BackupFileError::Truncated);
        }
        let mut length = [0; 4];
        self.read(&mut length)?;
        match u32::from_le_bytes(length) as usize {
            0 => self.finish().map(|()| None),
            length if length > BULK_FRAME_BYTES_MAX => Err(BackupFileError::Damaged("a piece is too long")),
            length if length as u64 + TRAILER_BYTES as u64 > self.len - self.at => Err(BackupFileError::Truncated),
            length => {
                let mut piece = vec![0; length];
                self.read(&mut piece)?;
                self.content.update(&piece);
                Ok(Some(piece.into()))
            }
        }
    }

    fn finish(&mut self) -> Result<(), BackupFileError> {
        let (mut content, mut whole) = ([0; 32], [0; 32]);
        self.read(&mut content)?;
        let expected = *self.hasher.finalize().as_bytes();
        self.read(&mut whole)?;
        if self.at != self.len {
            return Err(BackupFileError::Damaged("bytes follow its end"));
        }
        if whole != expected || content != *self.content.finalize().as_bytes() {
            return Err(BackupFileError::Damaged("its checksum is wrong"));
        }
        self.found = Some(ContentHash(content));
        Ok(())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BackupFileError> {
        self.file.read_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }
}

/// What a file holds, once all of it was read and found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBackup {
    /// What the header says.
    pub header: BackupHeader,
    /// The digest in the pair that is to import it.
    pub digest: Digest,
    /// The hash of the content.
    pub content: ContentHash,
}

/// Reads a whole file: its hashes, its items and their order, and the digest of the pair that wrote it must be right. `pair`
/// is the one that is to import it.
///
/// # Errors
/// [`BackupFileError`].
pub fn verify_backup(disk: &dyn Disk, path: &Path, pair: &PairId) -> Result<VerifiedBackup, BackupFileError> {
    let mut reader = BackupReader::open(disk, path)?;
    let (theirs, ours) = (DigestKey::of(&reader.header.pair), DigestKey::of(pair));
    let mut sum =
        Sum { keys: [theirs, ours], digests: [Digest::ZERO; 2], entries: 0, bytes: 0, last: None, value: None };
    // A damaged byte may make an item malformed before the hash over all of them is known; either way the file is damaged.
    while let Some(piece) = reader.next()? {
        for item in decode_items(&piece) {
            let item = item.map_err(|_| BackupFileError::Damaged("an entry cannot be read"))?;
            sum.add(item)?;
        }
    }
    let header = reader.header;
    let [theirs, ours] = sum.digests;
    if sum.value.is_some() || (sum.entries, sum.bytes, theirs) != (header.entries, header.bytes, header.position.digest)
    {
        return Err(BackupFileError::Damaged("its entries are not those of its header"));
    }
    let content = reader.found.ok_or(BackupFileError::Truncated)?;
    Ok(VerifiedBackup { header, digest: ours, content })
}

/// What the items so far come to.
struct Sum {
    /// Of the pair that wrote them, and of the one that reads them.
    keys: [DigestKey; 2],
    digests: [Digest; 2],
    entries: u64,
    bytes: u64,
    last: Option<Key>,
    /// Hashers of the large value under way, and how much of it is missing.
    value: Option<([EntryHasher; 2], u64)>,
}

impl Sum {
    fn add(&mut self, item: Item<'_>) -> Result<(), BackupFileError> {
        match (item, &mut self.value) {
            (Item::Entry { key, value, secret }, None) => {
                for (digest, keys) in self.digests.iter_mut().zip(&self.keys) {
                    digest.add(&keys.entry(&key, value, secret));
                }
                self.count(key, value.len() as u64)
            }
            (Item::Large { key, bytes, secret }, None) if bytes > 0 => {
                self.value = Some((self.keys.each_ref().map(|keys| keys.hasher(&key, bytes, secret)), bytes));
                self.count(key, bytes)
            }
            (Item::Chunk(chunk), Some((hashers, missing)))
                if chunk.len() as u64 == (*missing).min(CHUNK_BYTES as u64) =>
            {
                hashers.iter_mut().for_each(|hasher| hasher.update(chunk));
                *missing -= chunk.len() as u64;
                if *missing == 0
                    && let Some((hashers, _)) = self.value.take()
                {
                    for (digest, hasher) in self.digests.iter_mut().zip(hashers) {
                        digest.add(&hasher.finish());
                    }
                }
                Ok(())
            }
            _ => Err(BackupFileError::Damaged("its entries are out of order")),
        }
    }

    fn count(&mut self, key: Key, bytes: u64) -> Result<(), BackupFileError> {
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(BackupFileError::Damaged("its entries are out of order"));
        }
        self.entries += 1;
        self.bytes += key.as_bytes().len() as u64 + bytes;
        self.last = Some(key);
        Ok(())
    }
}

impl BackupHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.pair.0);
        bytes.extend_from_slice(&self.position.revision.epoch.as_u64().to_le_bytes());
        bytes.extend_from_slice(&self.position.revision.seq.to_le_bytes());
        bytes.extend_from_slice(&self.position.digest.0);
        for number in [self.entries, self.bytes, self.wall_ms] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.schema.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a header. Magic and version come first: a newer header may have another length.
    fn decode(bytes: &[u8]) -> Result<Self, BackupFileError> {
        let mut rest = bytes;
        if take::<4>(&mut rest)? != MAGIC {
            return Err(BackupFileError::NotAnExport);
        }
        match u32::from_le_bytes(take(&mut rest)?) {
            0 => return Err(BackupFileError::NotAnExport),
            found if found > VERSION => return Err(BackupFileError::Newer { found, known: VERSION }),
            _ => {}
        }
        let pair = PairId(take(&mut rest)?);
        let number = |rest: &mut &[u8]| take(rest).map(u64::from_le_bytes);
        let revision = Revision::new(Epoch::from_u64(number(&mut rest)?), number(&mut rest)?);
        let digest = Digest(take(&mut rest)?);
        let (entries, bytes_of_entries) = (number(&mut rest)?, number(&mut rest)?);
        let wall_ms = number(&mut rest)?;
        let schema = u32::from_le_bytes(take(&mut rest)?);
        if take(&mut rest)? != crc32c::crc32c(&bytes[..HEADER_BYTES - 4]).to_le_bytes() {
            return Err(BackupFileError::Damaged("the checksum of its header is wrong"));
        }
        let position = Position { revision, digest };
        Ok(Self { pair, position, entries, bytes: bytes_of_entries, wall_ms, schema })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BackupFileError> {
    let (taken, left) = rest.split_first_chunk().ok_or(BackupFileError::Truncated)?;
    *rest = left;
    Ok(*taken)
}

impl From<io::Error> for BackupFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<io::Error> for ExportFailure {
    fn from(error: io::Error) -> Self {
        Self::File(BackupFileError::Io(error.to_string()))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..6]))
    }
}
