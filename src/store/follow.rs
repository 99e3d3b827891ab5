//! What a shadow writes: records of its master, and full pushes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::log::{Replay, Start, Unfit};
use super::mutants::{Mutant, made};
use super::runs::Assembler;
use super::staging::Staging;
use super::state::State;
use super::{Received, Snapshot, Store, Verified, mistake, recovery};
use crate::protocol::engine::DiskFailure;
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{Header, Writer};

impl Store {
    /// Takes records of the peer, each piece a sequence of whole ones: checks that they follow the head and that their
    /// content is what they say, and writes them, but for what would make them count. Followed by [`Store::accept`] or
    /// [`Store::reject`].
    ///
    /// What is here already is skipped: a link may break while records are being written, and the next one brings them again.
    /// That it is the same shows in what follows, which is chained to it.
    ///
    /// A change set may come in several calls (each accepted): the candidate shows the last whole one. Records that
    /// follow the head while one is unfinished begin anew.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn receive(&mut self, pieces: &[Bytes]) -> Result<Received, DiskFailure> {
        self.check()?;
        if self.pending.is_some() {
            self.reject()?;
        }
        let Some((pieces, first)) = self.not_held(pieces) else { return Ok(Received::Known) };
        let goes_on = self.unfinished.as_ref().is_some_and(|run| Some(run.chain) == first);
        if !goes_on {
            self.settle()?;
        }
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        self.reserve(bytes as u64)?;
        let mut assembler = Assembler::new(self.tip.clone(), self.unfinished.clone());
        let fits = match self.assemble(&mut assembler, &pieces) {
            Ok(fits) => fits,
            Err(error) => return Err(self.take_back("appending received records", error)),
        };
        if !fits {
            self.cut("dropping received records")?;
            return Ok(Received::Mismatch);
        }
        let candidate = Snapshot(Arc::new(assembler.tip.clone()));
        self.pending = Some(assembler);
        Ok(Received::Pending { candidate })
    }

    /// The pieces without the records at their beginning whose positions the log holds, and what the first of the others is
    /// chained to; `None` where there is no other.
    fn not_held(&self, pieces: &[Bytes]) -> Option<(Vec<Bytes>, Option<u32>)> {
        let head = self.tip.meta.revision;
        let held = |header: &Header| header.revision <= head && self.tip.meta.history.contains(head, header.revision);
        for (number, piece) in pieces.iter().enumerate() {
            let mut at = 0;
            while at < piece.len() {
                let header = Header::decode(&piece[at..]).ok().map(|(header, _)| header);
                match header.filter(held) {
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

    /// Puts the pieces together and writes them; `false` where they do not fit.
    fn assemble(&mut self, assembler: &mut Assembler, pieces: &[Bytes]) -> io::Result<bool> {
        self.log.withhold();
        for piece in pieces {
            let segment = self.log.current()?;
            let base = self.log.position().offset;
            let mut at = 0;
            while at < piece.len() {
                let Ok((header, payload)) = Header::decode(&piece[at..]) else { return Ok(false) };
                match assembler.record(base + at as u64, &segment, &header, payload) {
                    Ok(_) => at += header.frame_bytes(),
                    Err(Unfit::Malformed(why)) => {
                        tracing::warn!(%why, "received records do not fit");
                        return Ok(false);
                    }
                    Err(Unfit::Read(error)) => return Err(io::Error::other(error.to_string())),
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
    /// [`DiskFailure`], as told at [`Store`]. Nothing received is the caller's mistake.
    pub fn accept(&mut self) -> Result<(), DiskFailure> {
        self.check()?;
        let Some(mut assembler) = self.pending.take() else { return Err(mistake("nothing was received")) };
        let versions = std::mem::take(&mut assembler.done);
        self.sync(&versions)?;
        self.log.writer = Writer::new(assembler.chain);
        self.tip = assembler.tip;
        self.unfinished = assembler.run;
        self.shared.enqueue(versions);
        Ok(())
    }

    /// Cuts received records off again, an unfinished change set too.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn reject(&mut self) -> Result<(), DiskFailure> {
        self.check()?;
        self.cut("dropping received records")
    }

    /// Opens a new staging file for this snapshot; one that is there goes.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn stage_begin(&mut self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        self.check()?;
        self.stage_drop();
        let generation = self.generation + 1;
        let state = self.place.new_state(generation).map_err(|error| self.refusal("making a staging file", &error))?;
        self.staging = Some(Staging::new(state, generation, header, self.keys.clone()));
        Ok(())
    }

    /// Writes a piece to it. A piece that makes no sense is told by [`Store::stage_verify`].
    ///
    /// # Errors
    /// [`DiskFailure`]; the staging is dropped, the configuration is as before. No staging is the caller's mistake.
    pub fn stage_write(&mut self, piece: &[u8]) -> Result<(), DiskFailure> {
        self.check()?;
        let Some(staging) = &mut self.staging else { return Err(mistake("no snapshot is being staged")) };
        match staging.write(piece) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.stage_drop();
                Err(self.refusal("writing a staging file", &error))
            }
        }
    }

    /// Makes it durable and compares it with its header.
    ///
    /// # Errors
    /// As [`Store::stage_write`].
    pub fn stage_verify(&mut self) -> Result<Verified, DiskFailure> {
        self.check()?;
        let Some(staging) = self.staging.take() else { return Err(mistake("no snapshot is being staged")) };
        let generation = staging.generation;
        let verified = staging.finish().and_then(|(state, good)| Ok((state.base()?, state, good)));
        let (base, mut state, good) = match verified {
            Ok(verified) => verified,
            Err(error) => {
                self.place.remove_state(generation);
                return Err(self.refusal("writing a staging file", &error));
            }
        };
        if !good {
            let found = base.meta.position();
            state.close();
            self.place.remove_state(generation);
            return Ok(Verified::Bad { found });
        }
        self.verified = Some((state, generation));
        Ok(Verified::Good { candidate: Snapshot(Arc::new(recovery::view_of(base, &self.keys))) })
    }

    /// Switches to it: the configuration is at once that of the snapshot, visible, and the log starts anew after it.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]; after a crash or a failure it is the old one or the new one, whole. No
    /// verified staging is the caller's mistake.
    pub fn stage_switch(&mut self) -> Result<(), DiskFailure> {
        self.check()?;
        let Some((state, generation)) = self.verified.take() else { return Err(mistake("no snapshot was verified")) };
        self.verified = None;
        match self.switch(state, generation) {
            Ok(()) => Ok(()),
            Err((false, error)) => {
                self.place.remove_state(generation);
                Err(self.refusal("making a new log", &error))
            }
            Err((true, error)) => Err(self.failure("switching to the staged snapshot", &error)),
        }
    }

    /// The error says whether the switch may have happened.
    fn switch(&mut self, state: State, generation: u64) -> Result<(), (bool, io::Error)> {
        let meta = &state.head().meta;
        let start = Start { revision: meta.revision, chain: meta.chain, inside: false };
        let base = state.base().map_err(|error| (false, error))?;
        if made(Mutant::PointerFirst) {
            self.place.point_to(generation).map_err(|error| (true, error))?;
        }
        let log = self.place.new_log(generation, start).map_err(|error| (false, error))?;
        self.place.point_to(generation).map_err(|error| (true, error))?;
        self.state.close();
        let old = std::mem::replace(&mut self.generation, generation);
        (self.state, self.log) = (state, log);
        self.tip = recovery::view_of(base, &self.keys);
        (self.unfinished, self.pending) = (None, None);
        self.shared.index.store(self.log.index());
        self.shared.replace(self.tip.clone(), Vec::new());
        self.place.remove_generation(old);
        let node = self.shared.node.load_full();
        if node.damage().map_err(|error| (true, error))?.is_some() {
            node.note_damage(None).map_err(|error| (true, error))?;
        }
        Ok(())
    }

    /// Drops it.
    pub fn stage_drop(&mut self) {
        if let Some(staging) = self.staging.take() {
            let generation = staging.generation;
            drop(staging);
            self.place.remove_state(generation);
        }
        if let Some((mut state, generation)) = self.verified.take() {
            state.close();
            self.place.remove_state(generation);
        }
    }
}
