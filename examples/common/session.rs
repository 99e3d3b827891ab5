//! Executes commands.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use shadowpair::limits::{CHANGE_SET_BYTES_MAX, CHANGES_MAX, VALUE_BYTES_MAX};
use shadowpair::{Change, ChangeSet, CommitError, Key, Limit, Node, OperatorError, ReadError};

use super::args::Chosen;
use super::commands::Command;
use super::keeping;
use super::load;
use super::output::{Body, ListEntry, Refusal, fields};
use super::view;

/// The commands of one operator at one node.
pub struct Session {
    node: Node,
    chosen: Chosen,
    /// The open change set, between `begin` and `commit` or `abort`.
    staged: Option<Staged>,
}

#[derive(Default)]
struct Staged {
    changes: Vec<Change>,
    bytes: usize,
}

type Outcome = Result<Map<String, Value>, Refusal>;

impl Session {
    pub fn new(node: Node, chosen: Chosen) -> Self {
        Self { node, chosen, staged: None }
    }

    /// Executes a command and returns its answer.
    pub async fn execute(&mut self, command: Command) -> Result<Body, Refusal> {
        let fields = match command {
            Command::List { prefix } => return self.list(prefix).await,
            Command::Put { key, value } => self.put(key, value).await?,
            Command::PutFile { key, path } => {
                let value = blocking(move || read_file(&path)).await?;
                self.put(key, value).await?
            }
            Command::Delete { key } => self.change(Change::Delete { key: self::key(&key)? }).await?,
            Command::Begin | Command::Commit | Command::Abort | Command::Load(_) => self.change_set(command).await?,
            Command::Get { .. } | Command::Digest | Command::History => self.read(command).await?,
            Command::Keep(command) => keeping::execute(&self.node.operator(), command).await?,
            Command::Status => fields(view::status(&self.node.status(), self.chosen)),
            Command::Alerts => {
                let alerts: Value = self.node.status().engine.alerts.iter().map(view::alert).collect();
                fields(json!({ "alerts": alerts }))
            }
            Command::Quit => Map::new(),
            command => self.operate(command).await?,
        };
        Ok(Body::Fields(fields))
    }

    async fn put(&mut self, key: String, value: Vec<u8>) -> Outcome {
        let key = self::key(&key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(limit(Limit::ValueTooLarge { bytes: value.len() }));
        }
        self.change(Change::Put { key, value: value.into(), secret: false }).await
    }

    /// Stages a change, or commits it alone.
    async fn change(&mut self, change: Change) -> Outcome {
        let Some(staged) = &mut self.staged else { return self.commit([change].into_iter().collect()).await };
        let bytes = staged.bytes + change.bytes();
        if staged.changes.len() == CHANGES_MAX {
            return Err(limit(Limit::TooManyChanges { changes: CHANGES_MAX + 1 }));
        }
        if bytes > CHANGE_SET_BYTES_MAX {
            return Err(limit(Limit::ChangeSetTooLarge { bytes }));
        }
        staged.bytes = bytes;
        staged.changes.push(change);
        Ok(fields(json!({ "staged": staged.changes.len() })))
    }

    async fn change_set(&mut self, command: Command) -> Outcome {
        match (command, self.staged.take()) {
            (Command::Begin, None) => {
                self.staged = Some(Staged::default());
                Ok(fields(json!({ "staged": 0 })))
            }
            (Command::Commit, Some(staged)) => self.commit(staged.changes.into_iter().collect()).await,
            (Command::Abort, Some(staged)) => Ok(fields(json!({ "dropped": staged.changes.len() }))),
            (Command::Load(wanted), None) => load::load(&self.node.config(), &wanted).await,
            (_, staged @ Some(_)) => {
                self.staged = staged;
                Err(Refusal::new("change_set_open", "a change set is open: say commit or abort first"))
            }
            (_, None) => Err(Refusal::new("no_change_set", "no change set is open: say begin first")),
        }
    }

    async fn commit(&self, changes: ChangeSet) -> Outcome {
        let committed = self.node.config().commit(changes).await.map_err(commit_refused)?;
        Ok(fields(json!({ "revision": view::revision(committed.revision), "replicated": committed.replicated })))
    }

    async fn read(&self, command: Command) -> Outcome {
        match command {
            Command::Get { key } => {
                let (key, config) = (self::key(&key)?, self.node.config());
                let wanted = key.clone();
                let value = blocking(move || config.snapshot().get(&wanted).map_err(unreadable)).await?;
                let (name, value) = view::bytes("value", value.as_deref());
                Ok(Map::from_iter([("key".to_owned(), key.as_str().into()), (name, value)]))
            }
            Command::Digest => {
                let snapshot = self.node.config().snapshot();
                Ok(fields(json!({
                    "revision": view::revision(snapshot.revision()),
                    "digest": snapshot.digest().to_string(),
                    "entries": snapshot.entries(),
                    "bytes": snapshot.bytes(),
                })))
            }
            _ => Ok(fields(json!({ "history": view::history(&self.node.operator().history()) }))),
        }
    }

    async fn list(&self, prefix: String) -> Result<Body, Refusal> {
        let snapshot = self.node.config().snapshot();
        let revision = view::revision(snapshot.revision());
        let entries = blocking(move || {
            let entry = |entry: shadowpair::Entry| ListEntry {
                key: entry.key.as_str().into(),
                bytes: entry.bytes,
                secret: entry.secret,
            };
            snapshot.scan(&prefix).map(|found| found.map(entry)).collect::<Result<Vec<_>, _>>().map_err(unreadable)
        });
        Ok(Body::List { revision, entries: entries.await? })
    }

    async fn operate(&self, command: Command) -> Outcome {
        let operator = self.node.operator();
        let done = match command {
            Command::Enable => operator.enable().await,
            Command::Disable => operator.disable().await,
            Command::Disconnect => operator.disconnect().await,
            Command::Reconnect => operator.reconnect().await,
            Command::Resync => operator.resync().await,
            Command::Reset => operator.reset().await,
            Command::Ack { alert } => operator.acknowledge(alert).await,
            Command::TakeOver { accept_loss: false } => operator.take_over().await,
            Command::TakeOver { accept_loss: true } => operator.take_over_accepting_loss().await,
            Command::Replicate(replication) => operator.replicate(replication).await,
            Command::SwitchRoles => operator.switch_roles().await,
            Command::Pause { on: true } => operator.pause().await,
            Command::Pause { on: false } => operator.resume().await,
            Command::Freeze { on: true } => operator.freeze().await,
            Command::Freeze { on: false } => operator.unfreeze().await,
            Command::Rotate => {
                let keys = operator.rotate().await.map_err(operator_refused)?;
                return Ok(fields(view::keys(&keys)));
            }
            Command::Token { .. } | Command::ReplaceShadow { .. } => {
                let made = match command {
                    Command::Token { life } => operator.token(life).await,
                    Command::ReplaceShadow { life } => operator.replace_shadow(life).await,
                    _ => Err(OperatorError::Stopped),
                };
                let (token, expires_ms) = made.map_err(operator_refused)?;
                let expires = view::time(expires_ms);
                return Ok(fields(json!({ "token": token.to_string(), "expires": expires })));
            }
            _ => Ok(()),
        };
        done.map(|()| Map::new()).map_err(operator_refused)
    }
}

/// Runs work that may block on the disk on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let failed = |e| Err(Refusal::new("read_failed", format!("the work could not be done: {e}")));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unusable = |e| Refusal::new("bad_argument", format!("{}: {e}", path.display()));
    // Reading anything else may block or never end.
    if !std::fs::metadata(path).map_err(unusable)?.is_file() {
        return Err(Refusal::new("bad_argument", format!("{} is not a regular file", path.display())));
    }
    let file = std::fs::File::open(path).map_err(unusable)?;
    // The bound holds for a file that grows while it is read.
    let mut value = Vec::new();
    file.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value).map_err(unusable)?;
    Ok(Bytes::from(value).into())
}

fn key(text: &str) -> Result<Key, Refusal> {
    Key::new(text).map_err(limit)
}

fn limit(limit: Limit) -> Refusal {
    let word = match limit {
        Limit::ValueTooLarge { .. } | Limit::TooManyChanges { .. } | Limit::ChangeSetTooLarge { .. } => "too_large",
        _ => "bad_argument",
    };
    Refusal::new(word, limit.to_string())
}

/// The answer to a read that failed.
pub fn unreadable(error: ReadError) -> Refusal {
    Refusal::new("read_failed", error.to_string())
}

/// The answer to a commit that failed.
pub fn commit_refused(error: CommitError) -> Refusal {
    let message = error.to_string();
    match error {
        CommitError::NotMaster { master } => Refusal::new("not_master", message).with("master", master.into()),
        CommitError::Invalid(broken) => limit(broken),
        CommitError::Guard(_) => Refusal::new("conflict", message),
        // Both mean: nothing remains of the change, and it may be retried later. The message tells them apart.
        CommitError::Overloaded | CommitError::Blocked => Refusal::new("overloaded", message),
        CommitError::Frozen => Refusal::new("frozen", message),
        CommitError::InDoubt { revision } => {
            Refusal::new("in_doubt", message).with("revision", view::revision(revision))
        }
        CommitError::DiskFull => Refusal::new("disk_full", message),
        CommitError::Disk(_) => Refusal::new("disk_failed", message),
        CommitError::Stopped => Refusal::new("stopped", message),
        _ => Refusal::new("unknown", message),
    }
}

fn operator_refused(error: OperatorError) -> Refusal {
    let message = error.to_string();
    match error {
        OperatorError::Disabled => Refusal::new("ha_disabled", message),
        OperatorError::ShadowEnrolled => Refusal::new("shadow_enrolled", message),
        OperatorError::NoPeer => Refusal::new("no_peer", message),
        OperatorError::PeerConnected => Refusal::new("peer_connected", message),
        OperatorError::NotMaster { master } => Refusal::new("not_master", message).with("master", master.into()),
        OperatorError::UnknownAlert => Refusal::new("unknown_alert", message),
        OperatorError::TooManyTokens => Refusal::new("too_many_tokens", message),
        OperatorError::BadArgument(_) => Refusal::new("bad_argument", message),
        OperatorError::Incomplete => Refusal::new("incomplete", message),
        OperatorError::Loss { missing } => {
            let missing = missing.map(|(from, to)| json!({ "from": view::revision(from), "to": view::revision(to) }));
            Refusal::new("loss", message).with("missing", missing.into())
        }
        OperatorError::LeaseHeld => Refusal::new("lease_held", message),
        OperatorError::WitnessUnreachable => Refusal::new("witness_unreachable", message),
        OperatorError::NotInSync => Refusal::new("not_in_sync", message),
        OperatorError::Held => Refusal::new("held", message),
        OperatorError::Paused => Refusal::new("paused", message),
        OperatorError::SwitchUnderWay => Refusal::new("switch_under_way", message),
        OperatorError::RotationUnderWay => Refusal::new("rotation_under_way", message),
        OperatorError::PeerTooOld => Refusal::new("peer_too_old", message),
        OperatorError::CalledOff { why } => Refusal::new("called_off", message).with("why", why.as_str().into()),
        OperatorError::Overloaded => Refusal::new("overloaded", message),
        OperatorError::DiskFull => Refusal::new("disk_full", message),
        OperatorError::Disk(_) => Refusal::new("disk_failed", message),
        OperatorError::InDoubt(_) => Refusal::new("in_doubt", message),
        OperatorError::Stopped => Refusal::new("stopped", message),
        _ => Refusal::new("unknown", message),
    }
}
