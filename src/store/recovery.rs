//! The data directory: making its files, and opening what a crash left.
//!
//! ```text
//! lock  node.redb  current  state/state-<generation>.redb  log/<generation>-<segment>.log
//! ```
//!
//! `current` says which generation counts; everything of another one is a leftover. It is replaced atomically, and
//! that is the one moment at which a staged snapshot becomes the configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::OrdMap;

use super::disk::{Disk, read_file, write_file_atomically};
use super::log::{Log, LogPosition, Start, parse_name};
use super::node_file::{NODE_FILE, NodeFile};
use super::pages::rewrite;
use super::runs::Assembler;
use super::state::{Base, State};
use super::view::{Meta, Version, View};
use super::{StoreError, StoreOptions, log};
use crate::model::DigestKey;
use crate::model::Revision;
use crate::protocol::engine::DurableState;

const CURRENT: &str = "current";
const CURRENT_MAGIC: [u8; 4] = *b"SPLC";
/// Newest version of the pointer file that this program writes and reads.
const CURRENT_VERSION: u32 = 1;

/// A data directory.
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: StoreOptions,
}

/// What was found in it.
pub(super) struct Found {
    pub(super) node: NodeFile,
    pub(super) durable_state: DurableState,
    pub(super) generation: u64,
    pub(super) state: State,
    pub(super) log: Log,
    pub(super) tip: View,
    /// In the log and not in the state.
    pub(super) versions: Vec<Version>,
    pub(super) damage: Option<String>,
}

/// Whether there is a node.
pub(super) fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    match disk.open(&dir.join(CURRENT), false) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A view that shows what is in this state.
pub(super) fn view_of(base: Arc<Base>, keys: &DigestKey) -> View {
    View { meta: base.meta.clone(), overlay: OrdMap::new(), base, keys: keys.clone() }
}

impl Place {
    /// Makes the files of an empty store; the pointer last.
    pub(super) fn create(&self, durable_state: &DurableState) -> io::Result<()> {
        for dir in [self.dir.clone(), self.states(), self.logs()] {
            self.disk.create_dir(&dir)?;
        }
        self.remove_leftovers(0)?;
        NodeFile::create(&*self.disk, &self.dir, durable_state)?;
        self.new_state(1)?;
        self.new_log(1, Start { revision: Revision::NONE, chain: 0, inside: false })?;
        self.disk.sync_dir(&self.states())?;
        self.point_to(1)
    }

    /// Removes the files again, the pointer first: without it nothing counts.
    pub(super) fn unmake(&self) -> io::Result<()> {
        self.disk.remove(&self.dir.join(CURRENT))?;
        self.disk.sync_dir(&self.dir)?;
        self.remove_leftovers(0)?;
        self.disk.remove(&self.dir.join(NODE_FILE))?;
        self.disk.remove_dir(&self.states())?;
        self.disk.remove_dir(&self.logs())?;
        self.disk.sync_dir(&self.dir)
    }

    pub(super) fn new_state(&self, generation: u64) -> io::Result<State> {
        State::create(&*self.disk, &self.state_path(generation), Meta::empty(LogPosition::FIRST))
    }

    pub(super) fn new_log(&self, generation: u64, start: Start) -> io::Result<Log> {
        Log::create(&self.disk, &self.logs(), generation, start, self.options)
    }

    /// From now on this generation counts. Its files' names are durable before.
    pub(super) fn point_to(&self, generation: u64) -> io::Result<()> {
        self.disk.sync_dir(&self.states())?;
        let mut bytes = CURRENT_MAGIC.to_vec();
        bytes.extend_from_slice(&CURRENT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        write_file_atomically(&*self.disk, &self.dir.join(CURRENT), &bytes)
    }

    /// Opens everything. Nothing is changed before every version is known.
    pub(super) fn recover(&self) -> Result<Found, StoreError> {
        let node = NodeFile::open(&*self.disk, &self.dir)?;
        let durable_state = node.durable_state()?;
        let keys = DigestKey::of(&durable_state.pair);
        let reading = |source| log::io_error("reading the data directory", source);
        let mut damage = None;
        let mut generation = self.pointed_to(&mut damage)?;
        let mut state = match State::open(&*self.disk, &self.state_path(generation)) {
            Ok(state) => state,
            Err(StoreError::Corrupt { what, reason }) => {
                let text = format!("{what}: {reason}");
                tracing::error!(damage = %text, "the state is damaged");
                damage = Some(text);
                generation = self.begin_anew(&node, damage.as_deref(), generation).map_err(reading)?;
                State::open(&*self.disk, &self.state_path(generation))?
            }
            Err(error) => return Err(error),
        };
        let tip = view_of(state.base().map_err(reading)?, &keys);
        let meta = tip.meta.clone();
        let mut assembler = Assembler::new(tip, None);
        let head = Start { revision: meta.revision, chain: meta.chain, inside: false };
        let (scan, segments) =
            Log::open(&self.disk, &self.logs(), generation, (head, meta.end), self.options, &mut assembler)?;
        let damage = damage.or_else(|| scan.damage.clone());
        if damage.is_some() {
            // Noted before the cut: a crash in between must not make it look whole.
            node.note_damage(damage.as_deref()).map_err(reading)?;
        }
        let log = Log::resume(&self.disk, &self.logs(), generation, self.options, scan, segments).map_err(reading)?;
        self.remove_leftovers(generation).map_err(reading)?;
        let mut tip = assembler.tip;
        if tip.meta.end != log.whole() {
            state.relocate(log.whole()).map_err(reading)?;
            tip.meta.end = log.whole();
        }
        let damage = node.damage().map_err(reading)?;
        Ok(Found { node, durable_state, generation, state, log, tip, versions: assembler.done, damage })
    }

    /// After a failed sync: what is in memory only is written again.
    pub(super) fn rewrite(&self, generation: u64) -> io::Result<()> {
        for path in [self.dir.join(NODE_FILE), self.state_path(generation)] {
            let file = self.disk.open(&path, false)?;
            rewrite(&*file, 0, file.len()?)?;
        }
        Ok(())
    }

    /// Which generation counts. A damaged pointer is no loss where there is one state only.
    fn pointed_to(&self, damage: &mut Option<String>) -> Result<u64, StoreError> {
        let reading = |source| log::io_error("reading the pointer file", source);
        let bytes = read_file(&*self.disk, &self.dir.join(CURRENT), 64).map_err(reading)?.unwrap_or_default();
        if let Some((body, crc)) = bytes.split_last_chunk::<4>()
            && crc32c::crc32c(body).to_le_bytes() == *crc
            && body.len() >= 8
            && body[..4] == CURRENT_MAGIC
        {
            let version = body[4..8].try_into().map_or(0, u32::from_le_bytes);
            if version > CURRENT_VERSION {
                return Err(StoreError::Newer { what: CURRENT.into(), found: version, known: CURRENT_VERSION });
            }
            if let Some(generation) = body.get(8..16).and_then(|bytes| bytes.try_into().ok()) {
                return Ok(u64::from_le_bytes(generation));
            }
        }
        let names = self.disk.list(&self.states()).map_err(reading)?;
        let mut generations: Vec<u64> = names.iter().filter_map(|name| generation_of(name)).collect();
        generations.sort_unstable();
        if generations.len() > 1 {
            *damage = Some("the pointer file is damaged".into());
        }
        tracing::warn!("the pointer file is damaged");
        generations.first().copied().ok_or_else(|| StoreError::Corrupt {
            what: CURRENT.into(),
            reason: "it is damaged and there is no state".into(),
        })
    }

    /// The state is lost: an empty one takes its place, and the damage is noted first. The old file is kept aside.
    fn begin_anew(&self, node: &NodeFile, damage: Option<&str>, generation: u64) -> io::Result<u64> {
        node.note_damage(damage)?;
        let next = generation + 1;
        self.new_state(next)?;
        self.new_log(next, Start { revision: Revision::NONE, chain: 0, inside: false })?;
        self.point_to(next)?;
        let aside = self.states().join("state.damaged");
        match self.disk.rename(&self.state_path(generation), &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.disk.sync_dir(&self.states())?,
        }
        Ok(next)
    }

    /// Best effort: what is left is removed at the next start.
    pub(super) fn remove_state(&self, generation: u64) {
        let _ = self.disk.remove(&self.state_path(generation));
    }

    /// Best effort, as before.
    pub(super) fn remove_generation(&self, generation: u64) {
        self.remove_state(generation);
        let _ = self.remove_logs(|found| found == generation);
    }

    /// Removes everything that is not of this generation.
    fn remove_leftovers(&self, generation: u64) -> io::Result<()> {
        for name in self.disk.list(&self.states())? {
            if generation_of(&name).is_some_and(|found| found != generation) {
                self.disk.remove(&self.states().join(name))?;
            }
        }
        self.remove_logs(|found| found != generation)
    }

    fn remove_logs(&self, goes: impl Fn(u64) -> bool) -> io::Result<()> {
        for name in self.disk.list(&self.logs())? {
            let new = name.extension().is_some_and(|extension| extension == "new");
            if new || parse_name(&name).is_some_and(|(generation, _)| goes(generation)) {
                self.disk.remove(&self.logs().join(name))?;
            }
        }
        Ok(())
    }

    fn state_path(&self, generation: u64) -> PathBuf {
        self.states().join(format!("state-{generation}.redb"))
    }

    fn states(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }
}

fn generation_of(name: &Path) -> Option<u64> {
    name.to_str()?.strip_prefix("state-")?.strip_suffix(".redb")?.parse().ok()
}
