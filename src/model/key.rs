use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::limits::{KEY_BYTES_MAX, Limit};

/// The name of an entry: 1 to 512 bytes of UTF-8, compared byte by byte. A key is a name and never a path: `../x` is an
/// ordinary key. Clones share the text.
///
/// ```
/// use shadowpair::{Key, Limit};
/// let key = Key::new("routes/api")?;
/// assert_eq!(key.as_str(), "routes/api");
/// assert!(key < Key::new("routes/b")?);
/// assert_eq!(Key::new(""), Err(Limit::KeyEmpty));
/// assert_eq!(Key::new("k".repeat(513)), Err(Limit::KeyTooLong { bytes: 513 }));
/// # Ok::<(), shadowpair::Limit>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Makes a key of this text.
    ///
    /// # Errors
    /// [`Limit::KeyEmpty`] and [`Limit::KeyTooLong`].
    pub fn new(text: impl AsRef<str>) -> Result<Self, Limit> {
        let text = text.as_ref();
        match text.len() {
            0 => Err(Limit::KeyEmpty),
            bytes if bytes > KEY_BYTES_MAX => Err(Limit::KeyTooLong { bytes }),
            _ => Ok(Self(text.into())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of the text. Keys are sorted by them.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Key {
    type Error = Limit;

    fn try_from(text: &str) -> Result<Self, Limit> {
        Self::new(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
