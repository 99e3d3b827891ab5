//! Records that a shadow receives from its master: they are checked, written, and then accepted or rejected.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::change_set_log::Assembler;
use super::error::misuse;
use super::log::{Replay, ReplayError};
use super::snapshot::Snapshot;
use super::writer::Store;
use crate::model::Revision;
use crate::protocol::engine::DiskFailure;
use crate::protocol::wire::record::{Header, Writer};

/// What [`Store::receive`] found the records to be. They are not durable yet.
pub enum Received {
    /// They follow the head, and their content is right.
    Pending {
        /// The configuration as it would be.
        candidate: Snapshot,
    },
    /// The log has all of them already.
    Duplicate,
    /// They do not follow the head, or their content is wrong. Nothing of them is left.
    Mismatch,
}

impl Store {
    /// Takes records of the peer. Each piece is a sequence of complete records. Checks that they follow the head and that
    /// their content is right, and writes them, except for the header that makes them valid. [`Store::accept`] or
    /// [`Store::reject`] must follow.
    ///
    /// Records that the log has already are skipped. They come again if a link broke while they were being written. That they
    /// are the same shows in the records that follow, which are chained to them.
    ///
    /// A change set may come in several calls, each of which is accepted. The candidate then shows the last complete change
    /// set. If records that follow the head come instead of the rest, the incomplete change set is dropped.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn receive(&mut self, pieces: &[Bytes]) -> Result<Received, DiskFailure> {
        self.check_open()?;
        if self.pending.is_some() {
            self.reject()?;
        }
        let Some((pieces, chained_to)) = self.skip_known(pieces) else { return Ok(Received::Duplicate) };
        let continues = self.unfinished.as_ref().is_some_and(|partial| Some(partial.chain) == chained_to);
        if !continues {
            self.prepare_append()?;
        }
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        self.reserve(bytes as u64)?;
        let mut assembler = Assembler::new(self.tip.clone(), self.unfinished.clone());
        let mut appended = self.append_received(&mut assembler, &pieces);
        if appended.is_err() && self.checkpoint_failed() {
            self.log
                .cut_to(self.log.durable_end())
                .map_err(|error| self.close_on("dropping received records", &error))?;
            assembler = Assembler::new(self.tip.clone(), self.unfinished.clone());
            appended = self.append_received(&mut assembler, &pieces);
        }
        let fits = match appended {
            Ok(fits) => fits,
            Err(error) => return Err(self.undo_append("appending received records", &error)),
        };
        if !fits {
            self.truncate_log("dropping received records")?;
            return Ok(Received::Mismatch);
        }
        let candidate = Snapshot(Arc::new(assembler.tip.clone()));
        self.pending = Some(assembler);
        Ok(Received::Pending { candidate })
    }

    /// The pieces without the records at their beginning that the log has, and the checksum to which the first of the others
    /// is chained. `None` if the log has all of them.
    fn skip_known(&self, pieces: &[Bytes]) -> Option<(Vec<Bytes>, Option<u32>)> {
        let head = self.tip.summary.revision;
        let known =
            |header: &Header| header.revision <= head && self.tip.summary.history.contains(head, header.revision);
        for (number, piece) in pieces.iter().enumerate() {
            let mut at = 0;
            while at < piece.len() {
                let header = Header::decode(&piece[at..]).ok().map(|(header, _)| header);
                match header.filter(known) {
                    Some(header) => at += header.frame_bytes(),
                    None => {
                        let rest = [&[piece.slice(at..)], &pieces[number + 1..]].concat();
                        return Some((rest, header.map(|header| header.prev)));
                    }
                }
            }
        }
        None
    }

    /// Assembles the records and appends them to the log. Returns whether they fit.
    fn append_received(&mut self, assembler: &mut Assembler, pieces: &[Bytes]) -> io::Result<bool> {
        self.log.withhold();
        for piece in pieces {
            let segment = self.log.current()?;
            let base = self.log.position().offset;
            let mut at = 0;
            while at < piece.len() {
                let Ok((header, payload)) = Header::decode(&piece[at..]) else { return Ok(false) };
                // The engine refuses a frame whose header names such an epoch. Here a record does, and the frame does not.
                if header.revision.epoch.is_out_of_reach_of(self.tip.summary.revision.epoch) {
                    tracing::warn!(revision = %header.revision, "a received record is of an epoch out of reach");
                    return Ok(false);
                }
                match assembler.record(base + at as u64, &segment, &header, payload) {
                    Ok(_) => at += header.frame_bytes(),
                    Err(ReplayError::Malformed(why)) => {
                        tracing::warn!(%why, "received records do not fit");
                        return Ok(false);
                    }
                    Err(ReplayError::Read(error)) => return Err(io::Error::other(error.to_string())),
                }
            }
            self.log.append(piece)?;
        }
        self.log.flush()?;
        Ok(true)
    }

    /// Makes received records durable. `shown`: how far they are to be visible where the store is opened again; `None` for all.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. It is a misuse if nothing was received.
    pub fn accept(&mut self, shown: Option<Revision>) -> Result<(), DiskFailure> {
        self.check_open()?;
        let Some(mut assembler) = self.pending.take() else { return Err(misuse("nothing was received")) };
        let versions = std::mem::take(&mut assembler.versions);
        self.sync(&versions, shown)?;
        self.log.writer = Writer::new(assembler.chain);
        self.tip = assembler.tip;
        self.unfinished = assembler.partial;
        self.publication.enqueue(versions);
        Ok(())
    }

    /// Notes how far received records are visible, for the next start. It is not synced: a power cut may lose it, and less is visible then until
    /// the master is met. An error does not matter for the same reason.
    pub fn note_shown(&mut self) {
        let shown = self.shown();
        if self.closed.is_none() && self.log.shown().is_some_and(|noted| noted < shown) {
            self.log.note_shown(shown);
        }
    }

    /// Removes received records from the log, and with them an incomplete change set.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn reject(&mut self) -> Result<(), DiskFailure> {
        self.check_open()?;
        self.truncate_log("dropping received records")
    }
}
