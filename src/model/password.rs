use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::limits::PASSWORD_BYTES_MAX;

/// The password of a user of the host, as a node that enrols shows it.
///
/// Dropping it wipes it, `Debug` does not show it, and comparing two takes the same time wherever they differ.
///
/// ```
/// use shadowpair::Password;
/// let password = Password::new("correct horse")?;
/// assert_eq!(password.as_str(), "correct horse");
/// assert_eq!(format!("{password:?}"), "Password(..)");
/// assert!(Password::new("").is_err());
/// # Ok::<(), shadowpair::PasswordError>(())
/// ```
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// A text cannot be a password: it is empty, or longer than [`PASSWORD_BYTES_MAX`]. Nothing was stored. Choose another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
pub struct PasswordError;

impl Password {
    /// A password of 1 to [`PASSWORD_BYTES_MAX`] bytes. The text is wiped where it is refused.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn new(text: impl Into<String>) -> Result<Self, PasswordError> {
        let text = Zeroizing::new(text.into());
        match (1..=PASSWORD_BYTES_MAX).contains(&text.len()) {
            true => Ok(Self(text)),
            false => Err(PasswordError),
        }
    }

    /// The text. Do not keep or log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_bounded_and_shown_nowhere() {
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        assert_eq!(Password::new(longest.as_str()).map(|kept| kept.as_str().len()), Ok(PASSWORD_BYTES_MAX));
        assert_eq!(Password::new(format!("{longest}x")), Err(PasswordError));
        assert_eq!(Password::new(""), Err(PasswordError));
        let (one, other) = (Password::new("secret-1").unwrap(), Password::new("secret-2").unwrap());
        assert!(one == one.clone() && one != other);
        assert!(!format!("{:?}", Some(&one)).contains("secret"));
    }
}
