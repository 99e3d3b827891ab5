//! What redb writes to: a file in which every 4 KiB block has a checksum, so that a flipped bit anywhere in the state
//! is an error when it is read and never a wrong answer (redb itself checks its checksums only in a repair).
//!
//! ```text
//! | header block | sums of 1,024 blocks | 1,024 blocks | sums of 1,024 blocks | ...
//! ```
//!
//! redb never overwrites a block that a finished commit uses, except its header. So a sum and its block need not be
//! written atomically: where a power cut tears them apart, nobody reads the block. The header is overwritten in place,
//! fits one sector, and has its sum in that same sector.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::disk::File;
use super::mutants::{Mutant, made};

/// Bytes of a block: redb's page.
const BLOCK: u64 = 4096;
/// Blocks that one block of sums covers.
const GROUP: u64 = BLOCK / 4;
/// Bytes of the header that redb uses, with room; the sum follows at the end of the sector.
const HEADER: usize = 508;
/// The sum of a block of zeros. Sums are stored XORed with it, so that a file grows by zeros alone.
const ZERO_SUM: u32 = 0x98f9_4189;

/// A checksummed file as redb's storage.
#[derive(Clone, Debug)]
pub(super) struct Pages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<dyn File>,
    /// Of blocks 1, 2, ...; its length is that of the file.
    sums: RwLock<Sums>,
    fenced: AtomicBool,
}

#[derive(Debug, Default)]
struct Sums {
    /// Whether there is a header block.
    header: bool,
    of: Vec<u32>,
}

impl Pages {
    /// Over this file, which is empty or was written by this type.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(file: Arc<dyn File>) -> io::Result<Self> {
        let blocks = file.len()? / BLOCK;
        let mut sums = Sums { header: blocks > 0, of: Vec::new() };
        let mut left = blocks.saturating_sub(1);
        while left > 1 {
            let here = (left - 1).min(GROUP);
            let mut bytes = vec![0; here as usize * 4];
            file.read_at(sum_at(sums.of.len() as u64), &mut bytes)?;
            sums.of.extend(bytes.chunks_exact(4).map(|sum| u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]])));
            left -= here + 1;
        }
        Ok(Self(Arc::new(Inner { file, sums: RwLock::new(sums), fenced: AtomicBool::new(false) })))
    }

    /// From now on nothing is written through this handle or its clones: another one has taken over the file.
    pub(super) fn fence(&self) {
        self.0.fenced.store(true, Ordering::SeqCst);
    }

    fn check_fence(&self) -> io::Result<()> {
        match self.0.fenced.load(Ordering::SeqCst) {
            true => Err(io::Error::other("this handle of the state was replaced")),
            false => Ok(()),
        }
    }

    fn read_header(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        let mut sector = [0; 512];
        self.0.file.read_at(0, &mut sector)?;
        let stored = u32::from_le_bytes([sector[508], sector[509], sector[510], sector[511]]);
        if sector != [0; 512] && stored != crc32c::crc32c(&sector[..HEADER]) {
            return Err(damaged(0));
        }
        // What redb asks for beyond the part it uses is padding.
        out.fill(0);
        let upto = HEADER.min(offset + out.len());
        if offset < upto {
            out[..upto - offset].copy_from_slice(&sector[offset..upto]);
        }
        Ok(())
    }

    fn write_header(&self, offset: usize, data: &[u8]) -> io::Result<()> {
        let mut sector = [0; HEADER];
        self.read_header(0, &mut sector)?;
        let inside = data.len().min(HEADER.saturating_sub(offset));
        if data[inside..].iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the state's header outgrew its sector"));
        }
        if inside > 0 {
            sector[offset..offset + inside].copy_from_slice(&data[..inside]);
        }
        let mut whole = [0; 512];
        whole[..HEADER].copy_from_slice(&sector);
        whole[HEADER..].copy_from_slice(&crc32c::crc32c(&sector).to_le_bytes());
        self.0.file.write_at(0, &whole)
    }
}

impl redb::StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        let sums = self.0.sums.read().unwrap_or_else(PoisonError::into_inner);
        Ok(if sums.header { (sums.of.len() as u64 + 1) * BLOCK } else { 0 })
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
            let sums = self.0.sums.read().unwrap_or_else(PoisonError::into_inner);
            for (i, bytes) in run.chunks_exact(BLOCK as usize).enumerate() {
                let number = block + i as u64;
                if !made(Mutant::IgnoreSums)
                    && sums.of.get(number as usize) != Some(&(crc32c::crc32c(bytes) ^ ZERO_SUM))
                {
                    return Err(damaged(number + 1));
                }
            }
            drop(sums);
            block += here;
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_fence()?;
        let blocks = len.div_ceil(BLOCK);
        let mut sums = self.0.sums.write().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = (sums.of.len() as u64, blocks.saturating_sub(1));
        self.0.file.set_len((blocks + after.div_ceil(GROUP)) * BLOCK)?;
        if after < before && !after.is_multiple_of(GROUP) {
            // The last sums that stay share their block with some that go.
            let gone = (before.min(after.next_multiple_of(GROUP)) - after) as usize;
            self.0.file.write_at(sum_at(after), &vec![0; gone * 4])?;
        }
        sums.header = blocks > 0;
        sums.of.resize(after as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_fence()?;
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
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a write to the state that is not in whole blocks",
            ));
        }
        let mut block = offset / BLOCK - 1;
        let mut data = data;
        while !data.is_empty() {
            let here = (GROUP - block % GROUP).min(data.len() as u64 / BLOCK);
            let (run, rest) = data.split_at((here * BLOCK) as usize);
            let new: Vec<u32> =
                run.chunks_exact(BLOCK as usize).map(|bytes| crc32c::crc32c(bytes) ^ ZERO_SUM).collect();
            let bytes: Vec<u8> = new.iter().flat_map(|sum| sum.to_le_bytes()).collect();
            let mut sums = self.0.sums.write().unwrap_or_else(PoisonError::into_inner);
            let known = sums.of.get_mut(block as usize..(block + here) as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.0.file.write_at(block_at(block), run)?;
            self.0.file.write_at(sum_at(block), &bytes)?;
            known.copy_from_slice(&new);
            drop(sums);
            block += here;
            data = rest;
        }
        Ok(())
    }
}

/// After a failed sync nobody knows which bytes of a file are on the disk and which only in memory: reads all and
/// writes all, so that the next sync is about all of it.
///
/// # Errors
/// What the system says.
pub(super) fn rewrite(file: &dyn File, from: u64, upto: u64) -> io::Result<()> {
    if made(Mutant::TrustMemory) {
        return Ok(());
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut at = from;
    while at < upto {
        let piece = &mut buffer[..(upto - at).min(256 * 1024) as usize];
        file.read_at(at, piece)?;
        file.write_at(at, piece)?;
        at += piece.len() as u64;
    }
    file.sync()
}

/// Where block `number` (of those after the header) is.
fn block_at(number: u64) -> u64 {
    (1 + number / GROUP + 1 + number) * BLOCK
}

/// Where its sum is.
fn sum_at(number: u64) -> u64 {
    (1 + number / GROUP * (GROUP + 1)) * BLOCK + number % GROUP * 4
}

fn damaged(block: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("block {block} of the state is damaged"))
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
        assert_eq!(crc32c::crc32c(&[0; BLOCK as usize]), ZERO_SUM);
        let (_disk, file) = file();
        let pages = Pages::open(file.clone()).unwrap();
        let blocks = 2 * GROUP + 5;
        pages.set_len(blocks * BLOCK).unwrap();
        let data: Vec<u8> = (0..4 * BLOCK).map(|i| (i / 7) as u8).collect();
        pages.write((GROUP - 1) * BLOCK, &data).unwrap();
        pages.write(0, &[7; 320]).unwrap();
        for pages in [pages, Pages::open(file).unwrap()] {
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
        let pages = Pages::open(file.clone()).unwrap();
        pages.set_len(10 * BLOCK).unwrap();
        pages.write(BLOCK, &vec![1; 9 * BLOCK as usize]).unwrap();
        pages.set_len(3 * BLOCK).unwrap();
        pages.set_len(10 * BLOCK).unwrap();
        for pages in [pages, Pages::open(file).unwrap()] {
            let mut read = vec![9; 9 * BLOCK as usize];
            pages.read(BLOCK, &mut read).unwrap();
            assert!(read[..2 * BLOCK as usize].iter().all(|byte| *byte == 1));
            assert!(read[2 * BLOCK as usize..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let (disk, file) = file();
        let pages = Pages::open(file).unwrap();
        pages.set_len(3 * BLOCK).unwrap();
        pages.write(0, &[3; 320]).unwrap();
        pages.write(BLOCK, &[1; 2 * BLOCK as usize]).unwrap();
        for at in [0, 319, 510, BLOCK, BLOCK + 7, 2 * BLOCK, 4 * BLOCK - 1] {
            disk.flip("f".as_ref(), at, 3);
            let pages = Pages::open(disk.open("f".as_ref(), false).unwrap()).unwrap();
            let mut read = vec![0; 3 * BLOCK as usize];
            assert!(pages.read(0, &mut read).is_err(), "{at}");
            disk.flip("f".as_ref(), at, 3);
        }
        pages.fence();
        assert!(pages.write(BLOCK, &[1; BLOCK as usize]).is_err() && pages.sync_data().is_err());
    }
}
