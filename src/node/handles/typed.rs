//! Entries as values of the host's own types, in JSON.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::Config;
use super::watch::{Watch, Watched};
use crate::model::{ChangeSet, EntryHash, Key, Revision};
use crate::store::{ReadError, Snapshot};

/// An entry could not be read as a value of the host's type. It says nothing of other entries.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The configuration could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The entry is no JSON, or not of this type. Correct it, or read it with an older or newer type.
    #[error("the entry {key} is not of the expected type: {reason}")]
    Parse {
        /// Name of the entry.
        key: Key,
        /// What is wrong. Of a secret entry only the place.
        reason: String,
    },
}

/// The entries with a prefix, as values of one type. [`Config::typed`] makes it.
///
/// The type may change from one version of the host to the next, as far as its `serde` attributes allow: unknown fields are
/// ignored unless it says `deny_unknown_fields`, or kept by a flattened map; a missing field needs `default`. An entry that
/// does not parse is an error of that entry alone.
///
/// ```no_run
/// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use serde::{Deserialize, Serialize};
/// use shadowpair::ChangeSet;
///
/// #[derive(Serialize, Deserialize)]
/// struct Route {
///     backend: String,
///     #[serde(default)]
///     weight: u32,
/// }
///
/// let routes = node.config().typed::<Route>("routes/");
/// let api = Route { backend: "10.0.0.7:80".into(), weight: 3 };
/// node.config().commit(routes.put(ChangeSet::new(), "api", &api)).await?;
/// for route in routes.snapshot().scan() {
///     match route {
///         Ok((key, route)) => println!("{key} goes to {}", route.backend),
///         Err(error) => println!("left out: {error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Typed<T> {
    config: Config,
    prefix: Box<str>,
    values: PhantomData<fn() -> T>,
}

/// The entries of a [`Typed`] at one revision.
pub struct TypedSnapshot<T> {
    snapshot: Snapshot,
    prefix: Box<str>,
    values: PhantomData<fn() -> T>,
}

/// The changes of a [`Typed`], each with the value. It misses none: of several changes of one entry that come close together it
/// may tell only the last, and what it cannot tell from the changes themselves it finds out by comparing. It keeps a hash of
/// every entry with its prefix.
pub struct TypedWatch<T> {
    config: Config,
    watch: Watch,
    prefix: Box<str>,
    /// The entries as they were told.
    known: BTreeMap<Key, EntryHash>,
    snapshot: Snapshot,
    /// Entries that may have changed, in `snapshot`.
    waiting: VecDeque<Key>,
    values: PhantomData<fn() -> T>,
}

/// What a [`TypedWatch`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedChange<T> {
    /// The entry was made or changed.
    Put {
        /// Name of the entry.
        key: Key,
        /// Its value now.
        value: T,
    },
    /// The entry was removed.
    Removed {
        /// Its name.
        key: Key,
    },
}

impl Config {
    /// The entries with this prefix, as values of this type, in JSON. See [`Typed`].
    pub fn typed<T>(&self, prefix: &str) -> Typed<T> {
        Typed { config: self.clone(), prefix: prefix.into(), values: PhantomData }
    }
}

impl Snapshot {
    /// The value of an entry, read as JSON. `None` if there is no such entry.
    ///
    /// ```no_run
    /// # fn show(snapshot: &shadowpair::Snapshot) -> Result<(), shadowpair::EntryError> {
    /// let limit: Option<u32> = snapshot.get_json("limits/connections")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Option<T>, EntryError> {
        let Some(entry) = self.entry(&key)? else { return Ok(None) };
        let Some(bytes) = self.get(&key)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            // The text of an error may hold a part of the value.
            Err(error) if entry.secret => {
                let reason = format!("line {}, column {}", error.line(), error.column());
                Err(EntryError::Parse { key: entry.key, reason })
            }
            Err(error) => Err(EntryError::Parse { key: entry.key, reason: error.to_string() }),
        }
    }
}

impl<T> Typed<T> {
    /// The entries that are visible now.
    pub fn snapshot(&self) -> TypedSnapshot<T> {
        self.at(self.config.snapshot())
    }

    /// The same entries of a snapshot that was taken before.
    pub fn at(&self, snapshot: Snapshot) -> TypedSnapshot<T> {
        TypedSnapshot { snapshot, prefix: self.prefix.clone(), values: PhantomData }
    }

    /// The entries that are visible now, and every change after that.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use shadowpair::TypedChange;
    /// let limits = node.config().typed::<u32>("limits/");
    /// let (now, mut changes) = limits.watch()?;
    /// for limit in now.scan() {
    ///     println!("{limit:?}");
    /// }
    /// while let Some(change) = changes.next().await {
    ///     match change {
    ///         Ok(TypedChange::Put { key, value }) => println!("{key} is {value}"),
    ///         Ok(TypedChange::Removed { key }) => println!("{key} is gone"),
    ///         Err(error) => println!("keeps the last one: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn watch(&self) -> Result<(TypedSnapshot<T>, TypedWatch<T>), ReadError> {
        let snapshot = self.config.snapshot();
        let watch = TypedWatch {
            config: self.config.clone(),
            watch: self.config.watch(&self.prefix, Some(snapshot.revision())),
            prefix: self.prefix.clone(),
            known: snapshot.hashes(&self.prefix).collect::<Result<_, _>>()?,
            snapshot: snapshot.clone(),
            waiting: VecDeque::new(),
            values: PhantomData,
        };
        Ok((self.at(snapshot), watch))
    }

    /// The key of the entry of this name: the prefix, and the name after it.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl<T: Serialize> Typed<T> {
    /// Adds a put of the entry of this name to a change set, as [`ChangeSet::put_json`] does.
    #[must_use]
    pub fn put(&self, changes: ChangeSet, name: &str, value: &T) -> ChangeSet {
        changes.put_json(self.key(name), value)
    }
}

impl<T> TypedSnapshot<T> {
    /// The revision.
    pub fn revision(&self) -> Revision {
        self.snapshot.revision()
    }
}

impl<T: DeserializeOwned> TypedSnapshot<T> {
    /// The value of the entry of this name, which the prefix precedes. `None` if there is no such entry.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn get(&self, name: &str) -> Result<Option<T>, EntryError> {
        self.snapshot.get_json(format!("{}{name}", self.prefix))
    }

    /// All entries, in key order. One that does not parse is an error with its key, and the others follow.
    pub fn scan(&self) -> impl Iterator<Item = Result<(Key, T), EntryError>> {
        self.snapshot.scan(&self.prefix).filter_map(|entry| {
            let read = entry.map_err(EntryError::Read).and_then(|entry| {
                let value = self.snapshot.get_json(&entry.key)?;
                Ok(value.map(|value| (entry.key, value)))
            });
            read.transpose()
        })
    }
}

impl<T: DeserializeOwned> TypedWatch<T> {
    /// Waits for the next change. `None` when the node has stopped. Dropping the future loses no change.
    ///
    /// # Errors
    /// [`EntryError::Parse`]: the entry changed to something that is not of this type. The next call goes on behind it.
    /// [`EntryError::Read`]: the next call tries again.
    pub async fn next(&mut self) -> Option<Result<TypedChange<T>, EntryError>> {
        loop {
            while let Some(key) = self.waiting.front().cloned() {
                match self.change_of(&key) {
                    Err(error @ EntryError::Read(_)) => return Some(Err(error)),
                    Ok(None) => drop(self.waiting.pop_front()),
                    Ok(Some(change)) => {
                        self.waiting.pop_front();
                        return Some(Ok(change));
                    }
                    Err(error) => {
                        self.waiting.pop_front();
                        return Some(Err(error));
                    }
                }
            }
            match self.watch.next().await? {
                Watched::Changed { keys, .. } => {
                    self.snapshot = self.config.snapshot();
                    self.waiting.extend(keys.iter().cloned());
                }
                Watched::Lagged => {
                    let snapshot = self.config.snapshot();
                    // All that there is, and all that there was. What is the same is passed over above.
                    match snapshot.hashes(&self.prefix).map(|entry| entry.map(|(key, _)| key)).collect() {
                        Ok::<Vec<Key>, _>(keys) => {
                            self.waiting = self.known.keys().cloned().chain(keys).collect();
                            self.snapshot = snapshot;
                        }
                        Err(error) => {
                            self.watch.lag();
                            return Some(Err(error.into()));
                        }
                    }
                }
            }
        }
    }

    /// What became of an entry since it was told last. `None` if nothing did.
    fn change_of(&mut self, key: &Key) -> Result<Option<TypedChange<T>>, EntryError> {
        let hash = self.snapshot.hash(key)?;
        if self.known.get(key) == hash.as_ref() {
            return Ok(None);
        }
        let value = self.snapshot.get_json(key);
        if !matches!(value, Err(EntryError::Read(_))) {
            match hash {
                Some(hash) => drop(self.known.insert(key.clone(), hash)),
                None => drop(self.known.remove(key)),
            }
        }
        Ok(Some(match value? {
            Some(value) => TypedChange::Put { key: key.clone(), value },
            None => TypedChange::Removed { key: key.clone() },
        }))
    }
}
