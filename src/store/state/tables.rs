//! The tables of the state. `docs/STORAGE.md` describes their rows.

use redb::TableDefinition;

pub(super) type EntryKey = &'static [u8];
pub(super) type ChunkKey = (u64, u32);
pub(super) type UndoKey = (u64, &'static [u8]);
pub(super) type Row = &'static [u8];

pub(super) const ENTRIES: TableDefinition<'_, EntryKey, Row> = TableDefinition::new("entries");
pub(super) const CHUNKS: TableDefinition<'_, ChunkKey, Row> = TableDefinition::new("chunks");
pub(super) const BUCKETS: TableDefinition<'_, u16, Row> = TableDefinition::new("buckets");
pub(super) const UNDO: TableDefinition<'_, UndoKey, Row> = TableDefinition::new("undo");
pub(super) const META: TableDefinition<'_, &str, Row> = TableDefinition::new("meta");
