//! The data directory: its files, and which of them are valid.
//!
//! ```text
//! lock  addresses  node.redb  current  state/state-<generation>.redb  log/<generation>-<segment>.log
//! ```
//!
//! The pointer file `current` names the valid generation. Files of other generations are leftovers. The pointer is replaced
//! atomically; at that moment a full push becomes the configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, FileId, read_file, remove_if_present, rewrite, write_file_atomically};
use super::error::StoreError;
use super::log::{ChainState, Log, LogPosition, parse_name};
use super::node_file::{NODE_FILE, NodeFile};
use super::state::StateFile;
use super::types::StoreOptions;
use super::version::Summary;
use crate::model::limits::LOG_STEP_BYTES;
use crate::protocol::engine::DurableState;

const POINTER: &str = "current";
const POINTER_MAGIC: [u8; 4] = *b"SPLC";
/// Newest version of the pointer file that this program writes and reads.
const POINTER_VERSION: u32 = 1;

/// The exclusive right to one data directory, until it is dropped.
pub struct DirLock {
    /// Another process may be of a version that locks only this.
    pub(super) file: Mutex<Box<dyn Send + Sync>>,
    /// A lock file can be removed by whoever cleans up, and made anew. The directory itself stays locked.
    pub(super) _dir: Box<dyn Send + Sync>,
    /// The locked directory.
    pub(super) id: FileId,
}

/// A data directory.
pub(super) struct DataDir {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: StoreOptions,
}

/// What the pointer file says.
pub(super) struct Pointer {
    /// The valid generation.
    pub(super) generation: u64,
    /// Set if the pointer file is damaged and the generation is a guess.
    pub(super) damage: Option<String>,
}

/// Whether a directory has a node.
pub(super) fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    match disk.open(&dir.join(POINTER), false) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl DataDir {
    /// Makes the files of an empty store, the pointer last.
    pub(super) fn create(&self, durable_state: &DurableState) -> io::Result<()> {
        for dir in [self.dir.clone(), self.state_dir(), self.log_dir()] {
            self.disk.create_dir(&dir)?;
        }
        self.remove_generations()?;
        NodeFile::create(&*self.disk, &self.dir, durable_state)?;
        self.create_state(1)?;
        self.create_log(1, ChainState::EMPTY)?;
        self.disk.sync_dir(&self.state_dir())?;
        self.point_to(1)
    }

    /// Removes all files, the pointer first. Without the pointer, none of the others is valid.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.disk.remove(&self.dir.join(POINTER))?;
        self.disk.sync_dir(&self.dir)?;
        self.remove_generations()?;
        self.disk.remove(&self.dir.join(NODE_FILE))?;
        self.disk.remove_dir(&self.state_dir())?;
        self.disk.remove_dir(&self.log_dir())?;
        self.disk.sync_dir(&self.dir)
    }

    /// Makes an empty state of this generation.
    pub(super) fn create_state(&self, generation: u64) -> io::Result<StateFile> {
        StateFile::create(&*self.disk, &self.state_path(generation), Summary::empty(LogPosition::FIRST))
    }

    /// Opens the state of this generation.
    ///
    /// # Errors
    /// As [`StateFile::open`].
    pub(super) fn open_state(&self, generation: u64) -> Result<StateFile, StoreError> {
        let state = StateFile::open(&*self.disk, &self.state_path(generation))?;
        state.release().map_err(|source| StoreError::io("opening a state", source))?;
        Ok(state)
    }

    /// Bytes of the state of a generation.
    pub(super) fn state_bytes(&self, generation: u64) -> io::Result<u64> {
        self.disk.open(&self.state_path(generation), false)?.len()
    }

    /// Copies the state of a generation, which nobody writes meanwhile, to another one. The copy is not durable.
    pub(super) fn copy_state(&self, from: u64, to: u64) -> io::Result<()> {
        remove_if_present(&*self.disk, &self.state_path(to))?;
        let source = self.disk.open(&self.state_path(from), false)?;
        let target = self.disk.open(&self.state_path(to), true)?;
        let (mut at, len) = (0, source.len()?);
        let mut buffer = vec![0; LOG_STEP_BYTES];
        target.set_len(len)?;
        while at < len {
            let step = (len - at).min(LOG_STEP_BYTES as u64) as usize;
            source.read_at(at, &mut buffer[..step])?;
            target.write_at(at, &buffer[..step])?;
            at += step as u64;
        }
        Ok(())
    }

    /// Makes the names of states durable.
    pub(super) fn sync_states(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.state_dir())
    }

    /// Makes a log of this generation that begins after `start`.
    pub(super) fn create_log(&self, generation: u64, start: ChainState) -> io::Result<Log> {
        Log::create(&self.disk, &self.log_dir(), generation, start, self.options)
    }

    /// Makes this generation the valid one, durably. The names of its files are made durable before.
    pub(super) fn point_to(&self, generation: u64) -> io::Result<()> {
        self.disk.sync_dir(&self.state_dir())?;
        let mut bytes = POINTER_MAGIC.to_vec();
        bytes.extend_from_slice(&POINTER_VERSION.to_le_bytes());
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        write_file_atomically(&*self.disk, &self.dir.join(POINTER), &bytes)
    }

    /// Reads the pointer file. If it is damaged, the oldest state is taken. That is no damage if there is only one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn pointer(&self) -> Result<Pointer, StoreError> {
        let reading = |source| StoreError::io("reading the pointer file", source);
        let bytes = read_file(&*self.disk, &self.dir.join(POINTER), 64).map_err(reading)?.unwrap_or_default();
        if let Some(generation) = decode_pointer(&bytes)? {
            return Ok(Pointer { generation, damage: None });
        }
        tracing::warn!("the pointer file is damaged");
        let names = self.disk.list(&self.state_dir()).map_err(reading)?;
        let mut generations: Vec<u64> = names.iter().filter_map(|name| generation_of(name)).collect();
        generations.sort_unstable();
        let damage = (generations.len() > 1).then(|| "the pointer file is damaged".into());
        match generations.first() {
            Some(generation) => Ok(Pointer { generation: *generation, damage }),
            None => {
                Err(StoreError::Corrupt { what: POINTER.into(), reason: "it is damaged and there is no state".into() })
            }
        }
    }

    /// Replaces a state that cannot be opened by an empty one of the next generation, which it returns. The damaged file is
    /// kept under another name.
    pub(super) fn replace_damaged_state(&self, generation: u64) -> io::Result<u64> {
        let next = generation + 1;
        self.create_state(next)?;
        self.create_log(next, ChainState::EMPTY)?;
        self.point_to(next)?;
        match self.disk.rename(&self.state_path(generation), &self.state_dir().join("state.damaged")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.disk.sync_dir(&self.state_dir())?,
        }
        Ok(next)
    }

    /// After a failed sync: writes the node file and the state again, because some of their bytes may be in the memory of the
    /// kernel only.
    pub(super) fn rewrite(&self, generation: u64) -> io::Result<()> {
        for path in [self.dir.join(NODE_FILE), self.state_path(generation)] {
            let file = self.disk.open(&path, false)?;
            rewrite(&*file, 0, file.len()?)?;
        }
        Ok(())
    }

    /// Removes a state. If that fails, the next start removes it.
    pub(super) fn remove_state(&self, generation: u64) {
        let _ = self.disk.remove(&self.state_path(generation));
    }

    /// Removes the files of a generation. If that fails, the next start removes them.
    pub(super) fn remove_generation(&self, generation: u64) {
        self.remove_state(generation);
        let _ = self.remove_logs(|found| found == generation);
    }

    /// Removes the files of all other generations, except for the state of the next one. Returns whether that is there: it may be a
    /// part of a full push.
    pub(super) fn remove_leftovers(&self, generation: u64) -> io::Result<bool> {
        let mut next = false;
        for name in self.disk.list(&self.state_dir())? {
            match generation_of(&name) {
                Some(found) if found == generation + 1 => next = true,
                Some(found) if found != generation => self.disk.remove(&self.state_dir().join(name))?,
                _ => {}
            }
        }
        self.remove_logs(|found| found != generation)?;
        Ok(next)
    }

    /// Removes the files of all generations.
    fn remove_generations(&self) -> io::Result<()> {
        for name in self.disk.list(&self.state_dir())? {
            if generation_of(&name).is_some() {
                self.disk.remove(&self.state_dir().join(name))?;
            }
        }
        self.remove_logs(|_| true)
    }

    fn remove_logs(&self, is_removed: impl Fn(u64) -> bool) -> io::Result<()> {
        for name in self.disk.list(&self.log_dir())? {
            let is_unfinished = name.extension().is_some_and(|extension| extension == "new");
            if is_unfinished || parse_name(&name).is_some_and(|(generation, _)| is_removed(generation)) {
                self.disk.remove(&self.log_dir().join(name))?;
            }
        }
        Ok(())
    }

    /// The files whose names stay while this generation is valid, without the log.
    pub(super) fn main_files(&self, generation: u64) -> [PathBuf; 2] {
        [self.dir.join(NODE_FILE), self.state_path(generation)]
    }

    pub(super) fn state_path(&self, generation: u64) -> PathBuf {
        self.state_dir().join(format!("state-{generation}.redb"))
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }
}

/// The generation in a pointer file. `None` if the file is damaged.
fn decode_pointer(bytes: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
    if crc32c::crc32c(body).to_le_bytes() != *crc || body.len() < 8 || body[..4] != POINTER_MAGIC {
        return Ok(None);
    }
    let version = body[4..8].try_into().map_or(0, u32::from_le_bytes);
    if version > POINTER_VERSION {
        return Err(StoreError::Newer { what: POINTER.into(), found: version, known: POINTER_VERSION });
    }
    let generation = body.get(8..16).and_then(|bytes| bytes.try_into().ok());
    Ok(generation.map(u64::from_le_bytes))
}

fn generation_of(name: &Path) -> Option<u64> {
    name.to_str()?.strip_prefix("state-")?.strip_suffix(".redb")?.parse().ok()
}
