use std::fmt;

use bytes::Bytes;

use super::limits::{CHANGE_SET_BYTES_MAX, CHANGES_MAX, GUARDS_MAX, Limit, VALUE_BYTES_MAX};
use super::{Key, Revision};

/// An atomic list of puts and deletes, optionally guarded. It is committed whole or not at all; a later change of the
/// same key in the list wins.
///
/// Methods chain; a bound that is broken on the way is reported once, by the commit (or by [`ChangeSet::check`]).
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
    broken: Option<Limit>,
}

/// One change of a [`ChangeSet`].
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets an entry.
    Put {
        /// Its name.
        key: Key,
        /// Its value.
        value: Bytes,
        /// Never shown in logs, alerts or `Debug`.
        secret: bool,
    },
    /// Removes an entry; removing what is not there is no error.
    Delete {
        /// Its name.
        key: Key,
    },
}

/// What must still be so when a [`ChangeSet`] is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// The head is still this revision.
    Head(Revision),
    /// The entry is still as named.
    Key {
        /// Its name.
        key: Key,
        /// What it should be.
        expected: Expected,
    },
}

/// What a [`Guard`] expects of an entry.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// It does not exist.
    Absent,
    /// It exists, whatever its value.
    Present,
    /// It has this value.
    Value(Bytes),
}

/// The guard that did not hold. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The head has moved on.
    #[error("the head is {head} and not {expected}")]
    Head {
        /// Where the head should have been.
        expected: Revision,
        /// Where it is.
        head: Revision,
    },
    /// The entry is not as expected.
    #[error("the entry {key} is not as expected")]
    Key {
        /// Which one.
        key: Key,
    },
}

impl ChangeSet {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an entry.
    #[must_use]
    pub fn put(self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Self {
        self.put_flagged(key, value.into(), false)
    }

    /// Sets an entry that is never shown in logs, alerts or `Debug`.
    #[must_use]
    pub fn put_secret(self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Self {
        self.put_flagged(key, value.into(), true)
    }

    /// Removes an entry.
    #[must_use]
    pub fn delete(mut self, key: impl AsRef<str>) -> Self {
        match Key::new(key) {
            Ok(key) => self.changes.push(Change::Delete { key }),
            Err(limit) => self.broken = self.broken.or(Some(limit)),
        }
        self
    }

    /// Commits only if this holds at that moment.
    #[must_use]
    pub fn only_if(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Its changes, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Its guards.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.changes.iter().map(Change::bytes).sum()
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first [`Limit`] that is broken.
    pub fn check(&self) -> Result<(), Limit> {
        if let Some(limit) = self.broken {
            return Err(limit);
        }
        let (changes, guards) = (self.changes.len(), self.guards.len());
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
            Err(limit) => self.broken = self.broken.or(Some(limit)),
        }
        self
    }
}

impl Change {
    /// The entry that is changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Bytes of key and value.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.as_bytes().len() + value.len(),
            Self::Delete { key } => key.as_bytes().len(),
        }
    }
}

impl FromIterator<Change> for ChangeSet {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect(), guards: Vec::new(), broken: None }
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
