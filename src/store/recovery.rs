//! Opens a data directory as a crash may have left it.

use super::change_set_log::Assembler;
use super::data_dir::{DataDir, Pointer};
use super::error::StoreError;
use super::log::{ChainState, Log};
use super::node_file::NodeFile;
use super::state::StateFile;
use super::view::{Version, View};
use crate::model::{DigestKey, Revision};
use crate::protocol::engine::DurableState;

/// What a data directory has.
pub(super) struct Recovered {
    pub(super) node_file: NodeFile,
    pub(super) durable_state: DurableState,
    pub(super) generation: u64,
    pub(super) state: StateFile,
    pub(super) log: Log,
    /// The configuration after the last durable change set.
    pub(super) tip: View,
    /// The versions that the log has and the state does not.
    pub(super) versions: Vec<Version>,
    /// How far they are visible; `None` for all.
    pub(super) shown: Option<Revision>,
    /// Damage that is not repaired yet.
    pub(super) damage: Option<String>,
    /// There may be a part of a full push that was cut.
    pub(super) staged: bool,
}

/// Opens all files, and replays the log. Nothing is changed before the version of every file is known.
///
/// # Errors
/// [`StoreError`].
pub(super) fn recover(dir: &DataDir) -> Result<Recovered, StoreError> {
    let reading = |source| StoreError::io("reading the data directory", source);
    let node_file = NodeFile::open(&*dir.disk, &dir.dir)?;
    let durable_state = node_file.durable_state()?;
    let keys = DigestKey::of(&durable_state.pair);
    let Pointer { generation, damage } = dir.pointer()?;
    let (mut state, generation, damage) = open_state(dir, &node_file, generation, damage)?;
    let mut assembler = Assembler::new(View::of_state(state.snapshot().map_err(reading)?, &keys), None);
    let summary = assembler.tip.summary.clone();
    let head = (ChainState::after(summary.revision, summary.chain), summary.log_end);
    let log_dir = dir.log_dir();
    let (scan, segments) = Log::scan(&dir.disk, &log_dir, generation, head, dir.options, &mut assembler)?;
    node_file.release().and_then(|()| state.release()).map_err(reading)?;
    let damage = damage.or_else(|| scan.damage.clone());
    if damage.is_some() {
        // The note comes first: after a crash in between, the log that was cut would look undamaged.
        node_file.note_damage(damage.as_deref()).map_err(reading)?;
    }
    let log = Log::open(&dir.disk, &log_dir, generation, dir.options, scan, segments).map_err(reading)?;
    let staged = dir.remove_leftovers(generation).map_err(reading)?;
    let mut tip = assembler.tip;
    if tip.summary.log_end != log.durable_end() {
        state.relocate(log.durable_end()).map_err(reading)?;
        tip.summary.log_end = log.durable_end();
    }
    let damage = node_file.damage().map_err(reading)?;
    let (versions, shown) = (assembler.versions, log.shown());
    Ok(Recovered { node_file, durable_state, generation, state, log, tip, versions, shown, damage, staged })
}

/// Opens the state of this generation. If it is damaged, an empty one of the next generation takes its place, and the damage
/// is noted first.
fn open_state(
    dir: &DataDir,
    node_file: &NodeFile,
    generation: u64,
    damage: Option<String>,
) -> Result<(StateFile, u64, Option<String>), StoreError> {
    let reading = |source| StoreError::io("reading the data directory", source);
    match StateFile::open(&*dir.disk, &dir.state_path(generation)) {
        Ok(state) => Ok((state, generation, damage)),
        Err(StoreError::Corrupt { what, reason }) => {
            let damage = format!("{what}: {reason}");
            tracing::error!(%damage, "the state is damaged");
            node_file.release().and_then(|()| node_file.note_damage(Some(&damage))).map_err(reading)?;
            let generation = dir.replace_damaged_state(generation).map_err(reading)?;
            Ok((StateFile::open(&*dir.disk, &dir.state_path(generation))?, generation, Some(damage)))
        }
        Err(error) => Err(error),
    }
}
