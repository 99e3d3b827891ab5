//! The storage of redb: a file in which every block of 4 KiB has a checksum. A flipped bit is an error when it is read, and
//! never a wrong answer. (redb checks its own checksums only in a repair.)
//!
//! ```text
//! | header block | checksums of 1,024 blocks | 1,024 blocks | checksums of 1,024 blocks | ...
//! ```
//!
//! Checksums are written before the next sync, those of a group at once. A checksum and its block need not be written atomically. redb never overwrites a block that a finished commit uses,
//! except its header; so a block that a power cut separates from its checksum is never read. The header is overwritten in
//! place. It fits one sector, which also holds its checksum.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::disk::File;
use super::error::invalid_data;
use super::mutants::{Mutant, is_active};

/// Bytes of a block, which is a page of redb.
const BLOCK: u64 = 4096;
/// Blocks whose checksums fill one block.
const GROUP: u64 = BLOCK / 4;
/// Bytes of the header. redb uses fewer. The checksum follows, at the end of the sector.
const HEADER_BYTES: usize = 508;
/// Checksum of a block of zeros. Stored checksums are XORed with it, so that a file can grow by zeros alone.
const ZERO_CHECKSUM: u32 = 0x98f9_4189;

/// A checksummed file. Clones share.
#[derive(Clone, Debug)]
pub(super) struct ChecksummedFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<dyn File>,
    checksums: RwLock<Checksums>,
    fenced: AtomicBool,
}

#[derive(Debug, Default)]
struct Checksums {
    /// Whether the file has a header block.
    header: bool,
    /// One for each block after the header.
    of: Vec<u32>,
    /// Those that the file does not have yet: by group, the first of them and the end.
    unwritten: BTreeMap<u64, (u64, u64)>,
}

impl ChecksummedFile {
    /// Opens a file that is empty or was written by this type.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(file: Arc<dyn File>) -> io::Result<Self> {
        let blocks = file.len()? / BLOCK;
        let mut checksums = Checksums { header: blocks > 0, ..Checksums::default() };
        let mut left = blocks.saturating_sub(1);
        while left > 1 {
            let here = (left - 1).min(GROUP);
            let mut bytes = vec![0; here as usize * 4];
            file.read_at(checksum_at(checksums.of.len() as u64), &mut bytes)?;
            checksums.of.extend(bytes.chunks_exact(4).map(|sum| u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]])));
            left -= here + 1;
        }
        Ok(Self(Arc::new(Inner { file, checksums: RwLock::new(checksums), fenced: AtomicBool::new(false) })))
    }

    /// Makes every later write through this handle and its clones fail, because another handle is going to write the file.
    pub(super) fn fence(&self) {
        self.0.fenced.store(true, Ordering::SeqCst);
    }

    fn check_fence(&self) -> io::Result<()> {
        match self.0.fenced.load(Ordering::SeqCst) {
            true => Err(io::Error::other("another handle of the file has replaced this one")),
            false => Ok(()),
        }
    }

    /// Writes the checksums that the file does not have yet.
    fn write_checksums(&self) -> io::Result<()> {
        let mut checksums = self.0.checksums.write().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, (from, end))) = checksums.unwritten.first_key_value() {
            let sums = checksums.of.get(*from as usize..*end as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
            let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
            self.0.file.write_at(checksum_at(*from), &bytes)?;
            checksums.unwritten.pop_first();
        }
        Ok(())
    }

    fn read_header(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        let mut sector = [0; 512];
        self.0.file.read_at(0, &mut sector)?;
        let stored = u32::from_le_bytes([sector[508], sector[509], sector[510], sector[511]]);
        if sector != [0; 512] && stored != crc32c::crc32c(&sector[..HEADER_BYTES]) {
            return Err(damaged(0));
        }
        // redb also reads the rest of the block, which is padding.
        out.fill(0);
        let upto = HEADER_BYTES.min(offset + out.len());
        if offset < upto {
            out[..upto - offset].copy_from_slice(&sector[offset..upto]);
        }
        Ok(())
    }

    fn write_header(&self, offset: usize, data: &[u8]) -> io::Result<()> {
        let mut sector = [0; HEADER_BYTES];
        self.read_header(0, &mut sector)?;
        let inside = data.len().min(HEADER_BYTES.saturating_sub(offset));
        if data[inside..].iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the header of the file does not fit its sector"));
        }
        if inside > 0 {
            sector[offset..offset + inside].copy_from_slice(&data[..inside]);
        }
        let mut whole = [0; 512];
        whole[..HEADER_BYTES].copy_from_slice(&sector);
        whole[HEADER_BYTES..].copy_from_slice(&crc32c::crc32c(&sector).to_le_bytes());
        self.0.file.write_at(0, &whole)
    }
}

impl Checksums {
    /// The file does not have the checksums of these blocks of one group yet.
    fn note_unwritten(&mut self, from: u64, end: u64) {
        let range = self.unwritten.entry(from / GROUP).or_insert((from, end));
        *range = (range.0.min(from), range.1.max(end));
    }

    /// The file ends before this block.
    fn forget_unwritten_from(&mut self, end: u64) {
        self.unwritten.retain(|_, (from, _)| *from < end);
        if let Some(mut last) = self.unwritten.last_entry() {
            last.get_mut().1 = last.get().1.min(end);
        }
    }
}

impl redb::StorageBackend for ChecksummedFile {
    fn len(&self) -> io::Result<u64> {
        let checksums = self.0.checksums.read().unwrap_or_else(PoisonError::into_inner);
        Ok(if checksums.header { (checksums.of.len() as u64 + 1) * BLOCK } else { 0 })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset < BLOCK {
            let (head, rest) = out.split_at_mut(((BLOCK - offset) as usize).min(out.len()));
            self.read_header(offset as usize, head)?;
            return if rest.is_empty() { Ok(()) } else { self.read(BLOCK, rest) };
        }
        if !offset.is_multiple_of(BLOCK) || !(out.len() as u64).is_multiple_of(BLOCK) {
            let start = offset / BLOCK * BLOCK;
            let end = (offset + out.len() as u64).next_multiple_of(BLOCK);
            let mut whole = vec![0; (end - start) as usize];
            self.read(start, &mut whole)?;
            out.copy_from_slice(&whole[(offset - start) as usize..][..out.len()]);
            return Ok(());
        }
        let mut block = offset / BLOCK - 1;
        let mut out = out;
        while !out.is_empty() {
            let here = (GROUP - block % GROUP).min(out.len() as u64 / BLOCK);
            let (run, rest) = out.split_at_mut((here * BLOCK) as usize);
            self.0.file.read_at(block_at(block), run)?;
            let checksums = self.0.checksums.read().unwrap_or_else(PoisonError::into_inner);
            for (i, bytes) in run.chunks_exact(BLOCK as usize).enumerate() {
                let number = block + i as u64;
                if !is_active(Mutant::IgnoreSums)
                    && checksums.of.get(number as usize) != Some(&(crc32c::crc32c(bytes) ^ ZERO_CHECKSUM))
                {
                    return Err(damaged(number + 1));
                }
            }
            drop(checksums);
            block += here;
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_fence()?;
        let blocks = len.div_ceil(BLOCK);
        let mut checksums = self.0.checksums.write().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = (checksums.of.len() as u64, blocks.saturating_sub(1));
        self.0.file.set_len((blocks + after.div_ceil(GROUP)) * BLOCK)?;
        if after < before && !after.is_multiple_of(GROUP) {
            // The last checksums that are kept share their block with some that are not.
            let gone = (before.min(after.next_multiple_of(GROUP)) - after) as usize;
            self.0.file.write_at(checksum_at(after), &vec![0; gone * 4])?;
        }
        checksums.header = blocks > 0;
        checksums.of.resize(after as usize, 0);
        checksums.forget_unwritten_from(after);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_fence()?;
        if is_active(Mutant::LateSums) {
            self.0.file.sync()?;
            return self.write_checksums();
        }
        self.write_checksums()?;
        if is_active(Mutant::SkipStateSync) {
            return Ok(());
        }
        self.0.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_fence()?;
        if offset < BLOCK {
            let (head, rest) = data.split_at(((BLOCK - offset) as usize).min(data.len()));
            self.write_header(offset as usize, head)?;
            return if rest.is_empty() { Ok(()) } else { self.write(BLOCK, rest) };
        }
        if !offset.is_multiple_of(BLOCK) || !(data.len() as u64).is_multiple_of(BLOCK) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a write that is not in whole blocks"));
        }
        let mut block = offset / BLOCK - 1;
        let mut data = data;
        while !data.is_empty() {
            let here = (GROUP - block % GROUP).min(data.len() as u64 / BLOCK);
            let (run, rest) = data.split_at((here * BLOCK) as usize);
            let new: Vec<u32> =
                run.chunks_exact(BLOCK as usize).map(|bytes| crc32c::crc32c(bytes) ^ ZERO_CHECKSUM).collect();
            let blocks = self.0.checksums.read().unwrap_or_else(PoisonError::into_inner).of.len() as u64;
            if block + here > blocks {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Other blocks can be read meanwhile. These are not: redb reads a block when it was written.
            self.0.file.write_at(block_at(block), run)?;
            let mut checksums = self.0.checksums.write().unwrap_or_else(PoisonError::into_inner);
            let known =
                checksums.of.get_mut(block as usize..(block + here) as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
            known.copy_from_slice(&new);
            checksums.note_unwritten(block, block + here);
            drop(checksums);
            block += here;
            data = rest;
        }
        Ok(())
    }
}

/// Position of block `number`, counted from the first one after the header.
fn block_at(number: u64) -> u64 {
    (1 + number / GROUP + 1 + number) * BLOCK
}

/// Position of its checksum.
fn checksum_at(number: u64) -> u64 {
    (1 + number / GROUP * (GROUP + 1)) * BLOCK + number % GROUP * 4
}

fn damaged(block: u64) -> io::Error {
    invalid_data(format!("block {block} of the file is damaged"))
}

#[cfg(test)]
mod tests {
    use redb::StorageBackend;

    use super::super::disk::sim::SimDisk;
    use super::super::disk::{Disk, File};
    use super::*;

    fn file() -> (SimDisk, Arc<dyn File>) {
        let disk = SimDisk::new(1);
        let file = disk.open("f".as_ref(), true).unwrap();
        (disk, file)
    }

    #[test]
    fn blocks_are_read_back_over_the_bounds_of_groups() {
        assert_eq!(crc32c::crc32c(&[0; BLOCK as usize]), ZERO_CHECKSUM);
        let (_disk, file) = file();
        let pages = ChecksummedFile::open(file.clone()).unwrap();
        let blocks = 2 * GROUP + 5;
        pages.set_len(blocks * BLOCK).unwrap();
        let data: Vec<u8> = (0..4 * BLOCK).map(|i| (i / 7) as u8).collect();
        pages.write((GROUP - 1) * BLOCK, &data).unwrap();
        pages.write(0, &[7; 320]).unwrap();
        pages.sync_data().unwrap();
        for pages in [pages, ChecksummedFile::open(file).unwrap()] {
            assert_eq!(pages.len().unwrap(), blocks * BLOCK);
            let mut read = vec![0; data.len()];
            pages.read((GROUP - 1) * BLOCK, &mut read).unwrap();
            assert_eq!(read, data);
            let mut head = [0; 330];
            pages.read(0, &mut head).unwrap();
            assert_eq!((head[319], head[320]), (7, 0));
            let mut odd = [0; 100];
            pages.read((GROUP - 1) * BLOCK + 50, &mut odd).unwrap();
            assert_eq!(odd[..], data[50..150]);
        }
    }

    #[test]
    fn a_shorter_file_forgets_its_sums() {
        let (_disk, file) = file();
        let pages = ChecksummedFile::open(file.clone()).unwrap();
        pages.set_len(10 * BLOCK).unwrap();
        pages.write(BLOCK, &vec![1; 9 * BLOCK as usize]).unwrap();
        pages.set_len(3 * BLOCK).unwrap();
        pages.set_len(10 * BLOCK).unwrap();
        pages.sync_data().unwrap();
        for pages in [pages, ChecksummedFile::open(file).unwrap()] {
            let mut read = vec![9; 9 * BLOCK as usize];
            pages.read(BLOCK, &mut read).unwrap();
            assert!(read[..2 * BLOCK as usize].iter().all(|byte| *byte == 1));
            assert!(read[2 * BLOCK as usize..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let (disk, file) = file();
        let pages = ChecksummedFile::open(file).unwrap();
        pages.set_len(3 * BLOCK).unwrap();
        pages.write(0, &[3; 320]).unwrap();
        pages.write(BLOCK, &[1; 2 * BLOCK as usize]).unwrap();
        pages.sync_data().unwrap();
        for at in [0, 319, 510, BLOCK, BLOCK + 7, 2 * BLOCK, 4 * BLOCK - 1] {
            disk.flip("f".as_ref(), at, 3);
            let pages = ChecksummedFile::open(disk.open("f".as_ref(), false).unwrap()).unwrap();
            let mut read = vec![0; 3 * BLOCK as usize];
            assert!(pages.read(0, &mut read).is_err(), "{at}");
            disk.flip("f".as_ref(), at, 3);
        }
        pages.fence();
        assert!(pages.write(BLOCK, &[1; BLOCK as usize]).is_err() && pages.sync_data().is_err());
    }
}
