//! What a shadow applies: records of its master, and full pushes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::change_set_log::Assembler;
use super::error::misuse;
use super::log::{ChainState, Replay, ReplayError};
use super::mutants::{Mutant, is_active};
use super::snapshot::Snapshot;
use super::staging::{Staged, Staging};
use super::state::StateFile;
use super::view::View;
use super::writer::Store;
use crate::model::Position;
use crate::model::limits::room_for_push;
use crate::protocol::engine::DiskFailure;
use crate::protocol::wire::SnapshotHeader;
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

/// What [`Store::stage_verify`] found a full push to be.
pub enum Verified {
    /// It is what its header said.
    Good {
        /// The configuration as it would be.
        candidate: Snapshot,
    },
    /// It is something else. It was dropped.
    Bad {
        /// Its actual position.
        found: Position,
    },
}

/// A switch to a full push that failed.
struct SwitchFailure {
    error: io::Error,
    /// Whether the switch may have taken effect.
    in_doubt: bool,
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
        let fits = match self.append_received(&mut assembler, &pieces) {
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

    /// Makes received records durable.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. It is a misuse if nothing was received.
    pub fn accept(&mut self) -> Result<(), DiskFailure> {
        self.check_open()?;
        let Some(mut assembler) = self.pending.take() else { return Err(misuse("nothing was received")) };
        let versions = std::mem::take(&mut assembler.versions);
        self.sync(&versions)?;
        self.log.writer = Writer::new(assembler.chain);
        self.tip = assembler.tip;
        self.unfinished = assembler.partial;
        self.publication.enqueue(versions);
        Ok(())
    }

    /// Removes received records from the log, and with them an incomplete change set.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn reject(&mut self) -> Result<(), DiskFailure> {
        self.check_open()?;
        self.truncate_log("dropping received records")
    }

    /// Begins a full push: makes a new state file. Drops the one before, if there is one.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn stage_begin(&mut self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        self.check_open()?;
        self.stage_drop();
        self.check_room(header)?;
        let generation = self.generation + 1;
        let state = self.dir.create_state(generation);
        let state = state.map_err(|error| self.full_or_close("making a staging file", &error))?;
        let staging = Staging::new(state, generation, header, self.keys.clone());
        self.staged = Staged::Loading(Box::new(staging));
        Ok(())
    }

    /// Refuses a full push that the disk has no room for, before the peer sends all of it in vain.
    fn check_room(&self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        let needed = room_for_push(header.entries, header.bytes);
        // A file system that does not tell how much is free is asked for nothing: it is noticed when it is full.
        let free = self.dir.disk.free(&self.dir.dir).unwrap_or(u64::MAX);
        match free < needed {
            true => Err(DiskFailure {
                full: true,
                reason: format!(
                    "a full push of {} entries with {} bytes needs {needed} bytes of room, and {free} are free",
                    header.entries, header.bytes
                ),
            }),
            false => Ok(()),
        }
    }

    /// Loads a piece of the full push. If it is malformed, [`Store::stage_verify`] says so.
    ///
    /// # Errors
    /// [`DiskFailure`]; the full push is dropped, and the configuration is as before. It is a misuse if none was begun.
    pub fn stage_write(&mut self, piece: &[u8]) -> Result<(), DiskFailure> {
        self.check_open()?;
        let Staged::Loading(staging) = &mut self.staged else { return Err(misuse("no full push was begun")) };
        match staging.write(piece) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.stage_drop();
                Err(self.full_or_close("writing a staging file", &error))
            }
        }
    }

    /// Makes the loaded full push durable, and compares it with its header.
    ///
    /// # Errors
    /// As [`Store::stage_write`].
    pub fn stage_verify(&mut self) -> Result<Verified, DiskFailure> {
        self.check_open()?;
        let staging = match std::mem::replace(&mut self.staged, Staged::Nothing) {
            Staged::Loading(staging) => staging,
            other => {
                self.staged = other;
                return Err(misuse("no full push was begun"));
            }
        };
        let generation = staging.generation;
        let finished = staging.finish().and_then(|(state, matches)| Ok((state.snapshot()?, state, matches)));
        let (snapshot, mut state, matches) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                self.dir.remove_state(generation);
                return Err(self.full_or_close("writing a staging file", &error));
            }
        };
        if !matches {
            let found = snapshot.summary.position();
            state.close();
            self.dir.remove_state(generation);
            return Ok(Verified::Bad { found });
        }
        self.staged = Staged::Verified { state, generation };
        Ok(Verified::Good { candidate: Snapshot(Arc::new(View::of_state(snapshot, &self.keys))) })
    }

    /// Switches to the verified full push. Its configuration is visible at once, and a new log begins after it.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. After a failure or a crash, the configuration is either the old or the new one, as a
    /// whole. It is a misuse if no full push was verified.
    pub fn stage_switch(&mut self) -> Result<(), DiskFailure> {
        self.check_open()?;
        let (state, generation) = match std::mem::replace(&mut self.staged, Staged::Nothing) {
            Staged::Verified { state, generation } => (state, generation),
            other => {
                self.staged = other;
                return Err(misuse("no full push was verified"));
            }
        };
        match self.switch(state, generation) {
            Ok(()) => Ok(()),
            Err(SwitchFailure { error, in_doubt: true }) => {
                Err(self.close_on("switching to the staged snapshot", &error))
            }
            Err(SwitchFailure { error, in_doubt: false }) => {
                self.dir.remove_state(generation);
                Err(self.full_or_close("making a new log", &error))
            }
        }
    }

    fn switch(&mut self, state: StateFile, generation: u64) -> Result<(), SwitchFailure> {
        let before = |error| SwitchFailure { error, in_doubt: false };
        let in_doubt = |error| SwitchFailure { error, in_doubt: true };
        let summary = state.summary();
        let start = ChainState::after(summary.revision, summary.chain);
        let snapshot = state.snapshot().map_err(before)?;
        if is_active(Mutant::PointerFirst) {
            self.dir.point_to(generation).map_err(in_doubt)?;
        }
        let log = self.dir.create_log(generation, start).map_err(before)?;
        self.dir.point_to(generation).map_err(in_doubt)?;
        self.state.close();
        let old = std::mem::replace(&mut self.generation, generation);
        (self.state, self.log) = (state, log);
        self.tip = View::of_state(snapshot, &self.keys);
        (self.unfinished, self.pending) = (None, None);
        self.publication.log_index.store(self.log.index());
        self.publication.replace(self.tip.clone(), Vec::new());
        self.dir.remove_generation(old);
        let node_file = self.publication.node_file.load_full();
        if node_file.damage().map_err(in_doubt)?.is_some() {
            node_file.note_damage(None).map_err(in_doubt)?;
        }
        Ok(())
    }

    /// Drops the full push, if there is one.
    pub fn stage_drop(&mut self) {
        let generation = match std::mem::replace(&mut self.staged, Staged::Nothing) {
            Staged::Nothing => return,
            Staged::Loading(staging) => staging.generation,
            Staged::Verified { mut state, generation } => {
                state.close();
                generation
            }
        };
        self.dir.remove_state(generation);
    }
}
