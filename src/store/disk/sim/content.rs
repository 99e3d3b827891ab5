//! The content of one simulated file: what processes read, and what the disk has.

use std::collections::{BTreeMap, HashMap};
use std::io;

/// Bytes that a disk writes completely or not at all.
const SECTOR: usize = 512;
/// Bytes of a page. Content is kept in pages, so that holes take no memory.
const PAGE: usize = 4096;

/// The content of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    durable_len: u64,
    /// What the disk has in the sectors that were written and not synced.
    old: BTreeMap<u64, [u8; SECTOR]>,
    /// The same for sectors whose sync failed.
    doomed: BTreeMap<u64, [u8; SECTOR]>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.get(offset, out);
        Ok(())
    }

    fn get(&self, mut offset: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let (page, at) = (offset / PAGE as u64, (offset % PAGE as u64) as usize);
            let here = out.len().min(PAGE - at);
            match self.pages.get(&page) {
                Some(bytes) => out[..here].copy_from_slice(&bytes[at..at + here]),
                None => out[..here].fill(0),
            }
            offset += here as u64;
            out = &mut out[here..];
        }
    }

    fn put(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let (page, at) = (offset / PAGE as u64, (offset % PAGE as u64) as usize);
            let here = data.len().min(PAGE - at);
            let bytes = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            bytes[at..at + here].copy_from_slice(&data[..here]);
            offset += here as u64;
            data = &data[here..];
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        for sector in offset / SECTOR as u64..end.div_ceil(SECTOR as u64) {
            let before = self.doomed.remove(&sector);
            if !self.old.contains_key(&sector) {
                let mut bytes = [0; SECTOR];
                self.get(sector * SECTOR as u64, &mut bytes);
                self.old.insert(sector, before.unwrap_or(bytes));
            }
        }
        self.len = self.len.max(end);
        self.put(offset, data);
    }

    /// Sets the length.
    pub(super) fn resize(&mut self, len: u64) {
        if len < self.len {
            // What is cut off reads as zeros when the file grows again. The disk still has it until a sync.
            let mut at = len;
            while at < self.len {
                let page = at / PAGE as u64;
                let end = ((page + 1) * PAGE as u64).min(self.len);
                if self.pages.contains_key(&page) {
                    self.write(at, &vec![0; (end - at) as usize]);
                }
                at = end;
            }
        }
        self.len = len;
    }

    /// Makes what is beyond the end read as zeros when the file grows again.
    fn forget_beyond_end(&mut self) {
        let len = self.len;
        self.pages.retain(|page, _| page * (PAGE as u64) < len);
        if let Some(last) = self.pages.get_mut(&(len / PAGE as u64)) {
            last[(len % PAGE as u64) as usize..].fill(0);
        }
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub(super) fn sync(&mut self) {
        self.old.clear();
        self.durable_len = self.len;
    }

    /// What was to be synced stays readable, and no later sync makes it durable.
    pub(super) fn fail_sync(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.old) {
            self.doomed.entry(sector).or_insert(bytes);
        }
    }

    /// Loses what is not durable, except what `keeps` decides to keep.
    pub(super) fn cut_power(&mut self, mut keeps: impl FnMut() -> bool) {
        for (sector, bytes) in std::mem::take(&mut self.old).into_iter().chain(std::mem::take(&mut self.doomed)) {
            if !keeps() {
                self.put(sector * SECTOR as u64, &bytes);
            }
        }
        if self.len != self.durable_len && !keeps() {
            self.len = self.durable_len;
        }
        self.forget_beyond_end();
        self.durable_len = self.len;
    }

    /// Flips a bit. Returns whether the file has that byte.
    pub(super) fn flip(&mut self, at: u64, bit: u32) -> bool {
        let mut byte = [0];
        if self.read(at, &mut byte).is_err() {
            return false;
        }
        byte[0] ^= 1 << (bit % 8);
        self.put(at, &byte);
        // The bit flips on the disk too, so that a power cut does not undo it.
        for kept in [&mut self.old, &mut self.doomed] {
            if let Some(sector) = kept.get_mut(&(at / SECTOR as u64)) {
                sector[(at % SECTOR as u64) as usize] ^= 1 << (bit % 8);
            }
        }
        true
    }
}
