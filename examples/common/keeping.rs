//! Commands for what must not be lost: the quarantine of a former master, and backups.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shadowpair::{
    BackupError, BackupFileError, CommitError, Conflict, Diverged, DivergedChange, DivergedError, DivergedReader,
    DivergedSide, DivergedValue, Exported, Imported, Operator, Reapplied,
};

use super::output::{Refusal, fields};
use super::{session, view};

/// One of these commands.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Diverged,
    ExportDiverged { id: u64, path: PathBuf },
    Reapply { id: u64 },
    Discard { id: u64 },
    Export { path: PathBuf },
    Import { path: PathBuf },
    Restore { path: PathBuf },
    Content,
}

type Outcome = Result<Map<String, Value>, Refusal>;

/// Parses the arguments of one of these commands; `None` where the word is another one.
pub fn parse(name: &str, rest: Option<&[u8]>) -> Option<Result<Command, Refusal>> {
    let usage = match name {
        "diverged" | "content" => "no arguments",
        "export" | "import" | "restore" => "PATH, a file",
        "export-diverged" => "ID PATH, the number of a quarantine and a file",
        "reapply" | "discard" => "ID, the number of a quarantine",
        _ => return None,
    };
    let rest = std::str::from_utf8(rest.unwrap_or_default()).unwrap_or_default();
    let (first, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let file = || PathBuf::from(rest);
    let id = first.parse().ok();
    let command = match (name, id) {
        ("diverged", None) if rest.trim().is_empty() => Some(Command::Diverged),
        ("content", None) if rest.trim().is_empty() => Some(Command::Content),
        ("export", _) if !rest.is_empty() => Some(Command::Export { path: file() }),
        ("import", _) if !rest.is_empty() => Some(Command::Import { path: file() }),
        ("restore", _) if !rest.is_empty() => Some(Command::Restore { path: file() }),
        ("export-diverged", Some(id)) if !path.is_empty() => Some(Command::ExportDiverged { id, path: path.into() }),
        ("reapply", Some(id)) if path.is_empty() => Some(Command::Reapply { id }),
        ("discard", Some(id)) if path.is_empty() => Some(Command::Discard { id }),
        _ => None,
    };
    Some(command.ok_or_else(|| Refusal::new("bad_argument", format!("{name} takes {usage}"))))
}

/// Executes one of these commands.
pub async fn execute(operator: &Operator, command: Command) -> Outcome {
    match command {
        Command::Diverged => {
            let mut shown = Vec::new();
            for lost in operator.diverged().await.map_err(session::unreadable)? {
                let mut changes = Vec::with_capacity(lost.changes.len());
                for change in &lost.changes {
                    changes.push(change_of(operator, lost.id, change).await?);
                }
                let mut object = range_of(&lost);
                object.insert("changes".into(), changes.into());
                shown.push(Value::Object(object));
            }
            Ok(fields(json!({ "diverged": shown })))
        }
        Command::ExportDiverged { id, path } => export_diverged(operator, id, &path).await,
        Command::Reapply { id } => operator.reapply(id).await.map(|done| reapplied(&done)).map_err(refused),
        Command::Discard { id } => operator.discard(id).await.map(|()| Map::new()).map_err(refused),
        Command::Export { path } => {
            only_files(&path)?;
            operator.export(&path).await.map(|done| exported(&done)).map_err(not_kept)
        }
        Command::Import { path } => {
            only_files(&path)?;
            operator.import(&path).await.map(imported).map_err(not_kept)
        }
        Command::Restore { path } => {
            only_files(&path)?;
            operator.restore(&path).await.map(imported).map_err(not_kept)
        }
        Command::Content => operator.content().await.map(|done| exported(&done)).map_err(session::unreadable),
    }
}

/// Anything else may block, never end, or must not be replaced.
fn only_files(path: &Path) -> Result<(), Refusal> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(Refusal::new("bad_argument", format!("{} is not a regular file", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes a line for the range, and one for each change.
async fn export_diverged(operator: &Operator, id: u64, path: &Path) -> Outcome {
    only_files(path)?;
    let all = operator.diverged().await.map_err(session::unreadable)?;
    let lost = all.into_iter().find(|lost| lost.id == id).ok_or_else(|| refused(DivergedError::Unknown { id }))?;
    let failed = |e: std::io::Error| Refusal::new("bad_argument", format!("{}: {e}", path.display()));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&temporary).map_err(failed)?);
    let mut range = range_of(&lost);
    range.insert("changes".into(), lost.changes.len().into());
    writeln!(file, "{}", Value::Object(range)).map_err(failed)?;
    for change in &lost.changes {
        writeln!(file, "{}", change_of(operator, id, change).await?).map_err(failed)?;
    }
    let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().and_then(|()| std::fs::rename(&temporary, path)).map_err(failed)?;
    Ok(fields(json!({ "changes": lost.changes.len() })))
}

fn range_of(lost: &Diverged) -> Map<String, Value> {
    fields(json!({
        "id": lost.id,
        "epoch": lost.epoch.to_string(),
        "from": view::revision(lost.from),
        "to": view::revision(lost.to),
    }))
}

async fn change_of(operator: &Operator, id: u64, change: &DivergedChange) -> Result<Value, Refusal> {
    let mut object = fields(json!({ "key": change.key.as_str() }));
    for (name, value, side) in [("old", &change.old, DivergedSide::Old), ("new", &change.new, DivergedSide::New)] {
        let value = match value {
            Some(DivergedValue::Inline(value)) => Some(value.clone()),
            Some(_) if !change.secret => {
                let value = operator.diverged_value(id, &change.key, side).await;
                value.and_then(|value| value.map(DivergedReader::whole).transpose()).map_err(session::unreadable)?
            }
            _ => None,
        };
        let (field, value) = view::bytes(name, value.as_deref().filter(|_| !change.secret));
        object.insert(field, value);
    }
    object.insert("secret".into(), change.secret.into());
    Ok(Value::Object(object))
}

fn reapplied(done: &Reapplied) -> Map<String, Value> {
    let conflicts = done.conflicts.iter().map(|conflict| {
        let change = &conflict.change;
        let mut object = fields(json!({ "key": change.key.as_str(), "secret": change.secret }));
        for (name, value) in [("old", &change.old), ("new", &change.new), ("now", &conflict.now)] {
            // A large value is in `diverged` and `get`.
            let shown = value.as_ref().and_then(DivergedValue::inline).filter(|_| !change.secret);
            let (field, shown) = view::bytes(name, shown.map(|value| value.as_ref()));
            object.insert(field, shown);
            object.insert(format!("{name}_bytes"), value.as_ref().map(DivergedValue::bytes).into());
        }
        Value::Object(object)
    });
    fields(json!({
        "applied": done.applied,
        "unchanged": done.unchanged,
        "conflicts": conflicts.collect::<Vec<_>>(),
        "revision": done.committed.as_ref().map(|committed| view::revision(committed.revision)),
        "replicated": done.committed.as_ref().map(|committed| committed.replicated),
    }))
}

fn refused(error: DivergedError) -> Refusal {
    let message = error.to_string();
    match error {
        DivergedError::Unknown { .. } => Refusal::new("unknown_diverged", message),
        DivergedError::Read(error) => session::unreadable(error),
        DivergedError::Commit(error) => session::commit_refused(error),
        DivergedError::Unanswered => Refusal::new("unanswered", message),
        _ => Refusal::new("unknown", message),
    }
}

fn exported(done: &Exported) -> Map<String, Value> {
    fields(json!({
        "revision": view::revision(done.position.revision),
        "digest": done.position.digest.to_string(),
        "content": done.content.to_string(),
        "entries": done.entries,
        "bytes": done.bytes,
    }))
}

fn imported(done: Imported) -> Map<String, Value> {
    let Exported { position, content, entries, bytes, .. } = &done.exported;
    fields(json!({
        "revision": view::revision(done.committed.revision),
        "replicated": done.committed.replicated,
        "digest": done.digest.to_string(),
        "content": content.to_string(),
        "entries": entries,
        "bytes": bytes,
        "from": {
            "pair": done.pair.to_string(),
            "revision": view::revision(position.revision),
            "digest": position.digest.to_string(),
            "at": view::time(done.exported_ms),
        },
    }))
}

fn not_kept(error: BackupError) -> Refusal {
    let message = error.to_string();
    match error {
        BackupError::File(error) => Refusal::new(
            match error {
                BackupFileError::NotAnExport => "not_an_export",
                BackupFileError::Truncated => "truncated",
                BackupFileError::Damaged(_) => "damaged",
                BackupFileError::Newer { .. } => "newer",
                _ => "file_failed",
            },
            message,
        ),
        BackupError::NewerSchema { .. } => Refusal::new("newer", message),
        BackupError::OtherPair { .. } => Refusal::new("other_pair", message),
        BackupError::Incomplete => Refusal::new("incomplete", message),
        BackupError::Read(error) => session::unreadable(error),
        BackupError::Commit(CommitError::Guard(Conflict::Superseded)) => Refusal::new("overloaded", message),
        BackupError::Commit(error) => session::commit_refused(error),
        _ => Refusal::new("unknown", message),
    }
}
