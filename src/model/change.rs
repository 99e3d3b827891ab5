use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::key::Key;
use super::limits::{CHANGE_SET_BYTES_MAX, CHANGES_MAX, GROUP_BYTES_MAX, GUARDS_MAX, Limit, VALUE_BYTES_MAX};
use super::revision::Revision;

/// An atomic list of puts and deletes with optional guards. It is committed as a whole or not at all. Of several changes
/// of the same key, the last one counts.
///
/// Methods can be chained. They never fail: [`ChangeSet::check`] and the commit report the first [`Limit`] that the list
/// exceeds.
///
/// ```
/// use shadowpair::{ChangeSet, Expected, Guard, Key};
/// let changes = ChangeSet::new()
///     .put("routes/api", "10.0.0.7:80")
///     .delete("routes/old")
///     .only_if(Guard::Key { key: Key::new("routes/api")?, expected: Expected::Absent });
/// assert_eq!(changes.len(), 2);
/// assert!(changes.check().is_ok());
/// # Ok::<(), shadowpair::Limit>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChangeSet {
    changes: Vec<Change>,
    guards: Vec<Guard>,
    /// The first limit that a key or a value in JSON exceeded.
    key_limit: Option<Limit>,
    /// Stands for the staged import of this number, which replaces everything. Then there are no changes.
    import: Option<u64>,
}

/// One change of a [`ChangeSet`].
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes an entry.
    Put {
        /// Name of the entry.
        key: Key,
        /// Value of the entry.
        value: Bytes,
        /// Whether logs, alerts and `Debug` must never show the value.
        secret: bool,
    },
    /// Removes an entry. It is no error if there is none.
    Delete {
        /// Name of the entry.
        key: Key,
    },
}

/// A condition that must hold at the moment a [`ChangeSet`] is committed. If it does not, nothing of the set is committed.
///
/// ```
/// use shadowpair::{ChangeSet, Epoch, Expected, Guard, Key, Revision};
/// // Another writer may have been faster: commit only on top of the revision that was read.
/// let read_at = Revision::new(Epoch::FIRST, 41);
/// let changes = ChangeSet::new().put("counter", "8").only_if(Guard::Head(read_at));
/// // Or only if this one entry is as it was read.
/// let unchanged = Guard::Key { key: Key::new("counter")?, expected: Expected::Value("7".into()) };
/// assert_eq!(changes.only_if(unchanged).guards().len(), 2);
/// # Ok::<(), shadowpair::Limit>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// The head is this revision.
    Head(Revision),
    /// The entry is as expected.
    Key {
        /// Name of the entry.
        key: Key,
        /// What is expected of it.
        expected: Expected,
    },
}

/// What a [`Guard`] expects of an entry.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The entry does not exist.
    Absent,
    /// The entry exists. Its value does not matter.
    Present,
    /// The entry exists and has this value.
    Value(Bytes),
}

/// The [`Guard`] that did not hold. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The head has moved on.
    #[error("nothing was changed: the head is {head}, expected was {expected}")]
    Head {
        /// The expected head.
        expected: Revision,
        /// The actual head.
        head: Revision,
    },
    /// The entry is not as expected.
    #[error("nothing was changed: the entry {key} is not as expected")]
    Key {
        /// Name of the entry.
        key: Key,
    },
    /// Another import, or a full push, took the place of the import that was to be committed.
    #[error("nothing was changed: something else took the place of this import")]
    Superseded,
}

impl ChangeSet {
    /// An empty change set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put: the entry gets this value and is not secret.
    ///
    /// ```
    /// use shadowpair::ChangeSet;
    /// let changes = ChangeSet::new().put("motd", "hello").put("logo", vec![0x89, b'P', b'N', b'G']);
    /// assert_eq!(changes.bytes(), "motd".len() + "hello".len() + "logo".len() + 4);
    /// ```
    #[must_use]
    pub fn put(self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Self {
        self.put_flagged(key, value.into(), false)
    }

    /// Adds a put of a secret entry: logs, alerts and `Debug` never show its value.
    ///
    /// ```
    /// use shadowpair::ChangeSet;
    /// let changes = ChangeSet::new().put_secret("password", "hunter2");
    /// assert!(!format!("{changes:?}").contains("hunter2"));
    /// ```
    #[must_use]
    pub fn put_secret(self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Self {
        self.put_flagged(key, value.into(), true)
    }

    /// Adds a put of a value in JSON. It is read by [`Snapshot::get_json`](crate::Snapshot::get_json).
    ///
    /// ```
    /// use shadowpair::{ChangeSet, Limit};
    /// assert_eq!(ChangeSet::new().put_json("limits/connections", &100).bytes(), "limits/connections".len() + 3);
    /// // What cannot be written as JSON is reported as the other limits are.
    /// let keys_are_no_text = std::collections::BTreeMap::from([((1, 2), 3)]);
    /// assert_eq!(ChangeSet::new().put_json("key", &keys_are_no_text).check(), Err(Limit::NotJson));
    /// ```
    #[must_use]
    pub fn put_json<T: Serialize + ?Sized>(self, key: impl AsRef<str>, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.put_flagged(key, json.into(), false),
            Err(_) => Self { key_limit: self.key_limit.or(Some(Limit::NotJson)), ..self },
        }
    }

    /// Adds a delete. It is no error if there is no such entry.
    ///
    /// ```
    /// use shadowpair::ChangeSet;
    /// assert_eq!(ChangeSet::new().delete("routes/old").changes()[0].key().as_str(), "routes/old");
    /// ```
    #[must_use]
    pub fn delete(mut self, key: impl AsRef<str>) -> Self {
        match Key::new(key) {
            Ok(key) => self.changes.push(Change::Delete { key }),
            Err(limit) => self.key_limit = self.key_limit.or(Some(limit)),
        }
        self
    }

    /// Adds a guard: the set is committed only if all of its guards hold at that moment.
    ///
    /// ```
    /// use shadowpair::{ChangeSet, Expected, Guard, Key};
    /// let key = Key::new("leader")?;
    /// let free = Guard::Key { key: key.clone(), expected: Expected::Absent };
    /// let changes = ChangeSet::new().put(&key, "node-7").only_if(free);
    /// assert_eq!(changes.guards().len(), 1);
    /// # Ok::<(), shadowpair::Limit>(())
    /// ```
    #[must_use]
    pub fn only_if(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// The changes, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The guards.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether the set has no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The staged import of this number, as the change set that commits it.
    pub(crate) fn of_import(number: u64) -> Self {
        Self { import: Some(number), ..Self::default() }
    }

    /// The staged import for which this stands.
    pub(crate) fn import(&self) -> Option<u64> {
        self.import
    }

    /// Bytes of all keys and values together.
    pub fn bytes(&self) -> usize {
        if self.import.is_some() {
            // More than a group takes, so that it is one of its own.
            return GROUP_BYTES_MAX + 1;
        }
        self.changes.iter().map(Change::bytes).sum()
    }

    /// Checks every limit. The commit does so too; this tells earlier.
    ///
    /// # Errors
    /// The first [`Limit`] that the set exceeds.
    ///
    /// ```
    /// use shadowpair::{ChangeSet, Limit};
    /// assert_eq!(ChangeSet::new().check(), Err(Limit::NoChanges));
    /// assert_eq!(ChangeSet::new().put("", "value").check(), Err(Limit::KeyEmpty));
    /// assert_eq!(ChangeSet::new().put("key", "value").check(), Ok(()));
    /// ```
    pub fn check(&self) -> Result<(), Limit> {
        if let Some(limit) = self.key_limit {
            return Err(limit);
        }
        let (changes, guards) = (self.changes.len(), self.guards.len());
        if self.import.is_some() {
            return Ok(());
        }
        if changes == 0 {
            return Err(Limit::NoChanges);
        }
        if changes > CHANGES_MAX {
            return Err(Limit::TooManyChanges { changes });
        }
        if guards > GUARDS_MAX {
            return Err(Limit::TooManyGuards { guards });
        }
        for change in &self.changes {
            if let Change::Put { value, .. } = change
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(Limit::ValueTooLarge { bytes: value.len() });
            }
        }
        match self.bytes() {
            bytes if bytes > CHANGE_SET_BYTES_MAX => Err(Limit::ChangeSetTooLarge { bytes }),
            _ => Ok(()),
        }
    }

    fn put_flagged(mut self, key: impl AsRef<str>, value: Bytes, secret: bool) -> Self {
        match Key::new(key) {
            Ok(key) => self.changes.push(Change::Put { key, value, secret }),
            Err(limit) => self.key_limit = self.key_limit.or(Some(limit)),
        }
        self
    }
}

impl Change {
    /// Name of the entry that changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Bytes of key and value together.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.as_bytes().len() + value.len(),
            Self::Delete { key } => key.as_bytes().len(),
        }
    }
}

impl FromIterator<Change> for ChangeSet {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect(), guards: Vec::new(), key_limit: None, import: None }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, secret: true, .. } => write!(f, "Put({key:?}, secret)"),
            Self::Put { key, value, .. } => write!(f, "Put({key:?}, {} bytes)", value.len()),
            Self::Delete { key } => write!(f, "Delete({key:?})"),
        }
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Present => f.write_str("Present"),
            Self::Value(value) => write!(f, "Value({} bytes)", value.len()),
        }
    }
}

impl fmt::Debug for ChangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeSet").field("changes", &self.changes).field("guards", &self.guards).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_reported() {
        assert_eq!(ChangeSet::new().check(), Err(Limit::NoChanges));
        assert_eq!(ChangeSet::new().put("", "v").check(), Err(Limit::KeyEmpty));
        assert_eq!(ChangeSet::new().delete("k".repeat(513)).check(), Err(Limit::KeyTooLong { bytes: 513 }));
        let large = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
        assert_eq!(ChangeSet::new().put("k", large.clone()).check(), Err(Limit::ValueTooLarge { bytes: large.len() }));
        assert_eq!(ChangeSet::new().put("k", large.slice(1..)).check(), Ok(()));
        let two = ChangeSet::new().put("a", large.slice(1..)).put("b", large.slice(1..));
        assert_eq!(two.check(), Err(Limit::ChangeSetTooLarge { bytes: 2 * VALUE_BYTES_MAX + 2 }));
        let many = |n: usize| (0..n).fold(ChangeSet::new(), |set, i| set.delete(i.to_string()));
        assert_eq!(many(CHANGES_MAX).check(), Ok(()));
        assert_eq!(many(CHANGES_MAX + 1).check(), Err(Limit::TooManyChanges { changes: CHANGES_MAX + 1 }));
    }

    #[test]
    fn debug_shows_no_value() {
        let text = format!("{:?}", ChangeSet::new().put_secret("k", "hunter2").put("l", "hunter3"));
        assert!(!text.contains("hunter"), "{text}");
    }
}
