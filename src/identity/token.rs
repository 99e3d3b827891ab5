//! The text of a join token. How long one is valid: `TOKEN_LIFE_DEFAULT` and `TOKEN_LIFE_MAX` in `model/limits.rs`; who decides: `Operator::token`.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE, DecodeKind};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::model::KeyId;

const PREFIX: &str = "sp1-";
/// Fingerprint of the master's key, secret, and CRC-32C of the prefix and both.
const BYTES: usize = 32 + 16 + 4;
/// Letters and digits after the prefix: base 32 (RFC 4648), lower-case, without padding.
const TEXT: usize = (BYTES * 8).div_ceil(5);

/// What a shadow needs in order to enrol, once: the fingerprint of the master's key, and 128 secret bits.
///
/// `Display` and `FromStr` are its text form: `sp1-`, then 84 letters and digits, which include a checksum. White space
/// around the text and upper case do not matter when it is read. `Debug` does not show the secret, and dropping the token
/// wipes it.
///
/// ```
/// use shadowpair::{JoinToken, KeyId, ParseTokenError};
/// let token = JoinToken::new(KeyId([1; 32]), [7; 16]);
/// let text = token.to_string();
/// assert!(text.starts_with("sp1-"));
/// assert_eq!(text.to_uppercase().parse(), Ok(token));
/// assert_eq!("sp1-abc".parse::<JoinToken>(), Err(ParseTokenError::Length));
/// ```
#[derive(Clone)]
pub struct JoinToken {
    master: KeyId,
    secret: Zeroizing<[u8; 16]>,
}

/// The text is not a join token. Copy it again, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTokenError {
    /// It does not begin as a token does.
    #[error("not a join token: it should begin with {PREFIX}")]
    Prefix,
    /// It is too short or too long.
    #[error("not a whole join token: it should have {TEXT} letters and digits after {PREFIX}")]
    Length,
    /// It contains a character that no token has.
    #[error("not a join token: it contains a character that no token has")]
    Character,
    /// Its checksum is wrong.
    #[error("the join token is mistyped: its checksum is wrong")]
    Checksum,
}

impl JoinToken {
    /// A token of the master with this key, and with these secret bits.
    pub fn new(master: KeyId, secret: [u8; 16]) -> Self {
        Self { master, secret: Zeroizing::new(secret) }
    }

    /// The fingerprint of the master's key when the token was made.
    ///
    /// ```
    /// # use shadowpair::{JoinToken, KeyId};
    /// let token = JoinToken::new(KeyId([1; 32]), [7; 16]);
    /// assert_eq!(token.master(), KeyId([1; 32]));
    /// ```
    pub fn master(&self) -> KeyId {
        self.master
    }

    /// The secret bits.
    pub(super) fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    fn bytes(&self) -> Zeroizing<[u8; BYTES]> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[..32].copy_from_slice(&self.master.0);
        bytes[32..48].copy_from_slice(&*self.secret);
        let sum = checksum(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum);
        bytes
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = Zeroizing::new([0; TEXT]);
        BASE32_NOPAD.encode_mut(&*self.bytes(), &mut *letters);
        letters.make_ascii_lowercase();
        f.write_str(PREFIX)?;
        f.write_str(std::str::from_utf8(&*letters).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let text = text.trim();
        let (prefix, letters) = text.split_at_checked(PREFIX.len()).ok_or(ParseTokenError::Prefix)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(ParseTokenError::Prefix);
        }
        if letters.len() != TEXT {
            return Err(ParseTokenError::Length);
        }
        let mut bytes = Zeroizing::new([0; BYTES]);
        let decoded = BASE32_NOPAD_NOCASE.decode_mut(letters.as_bytes(), &mut *bytes);
        decoded.map_err(|partial| match partial.error.kind {
            DecodeKind::Symbol => ParseTokenError::Character,
            // The bits that the last letter has beyond the bytes are zero in every token.
            DecodeKind::Trailing => ParseTokenError::Checksum,
            DecodeKind::Length | DecodeKind::Padding => ParseTokenError::Length,
        })?;
        let (mut master, mut secret) = ([0; 32], [0; 16]);
        master.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..48]);
        let token = Self::new(KeyId(master), secret);
        match bytes[48..] == checksum(&bytes[..48]) {
            true => Ok(token),
            false => Err(ParseTokenError::Checksum),
        }
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(PREFIX.as_bytes()), bytes).to_le_bytes()
}

impl PartialEq for JoinToken {
    fn eq(&self, other: &Self) -> bool {
        (self.master.0.ct_eq(&other.master.0) & self.secret.ct_eq(&*other.secret)).into()
    }
}

impl Eq for JoinToken {}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::wire::golden;

    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    fn token() -> JoinToken {
        JoinToken::new(KeyId(std::array::from_fn(|i| i as u8)), [0xa5; 16])
    }

    #[test]
    fn the_text_is_as_promised() {
        golden::compare("token", token().to_string().as_bytes());
        let text = String::from_utf8(golden::read("token")).unwrap();
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!("  {}\n", text.to_uppercase()).parse(), Ok(token()));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", token()), "JoinToken(..)");
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_reason() {
        let text = token().to_string();
        let parse = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(parse(""), ParseTokenError::Prefix);
        assert_eq!(parse("sp2-aaaa"), ParseTokenError::Prefix);
        assert_eq!(parse("ééé"), ParseTokenError::Prefix);
        assert_eq!(parse(&text[..text.len() - 1]), ParseTokenError::Length);
        assert_eq!(parse(&format!("{text}a")), ParseTokenError::Length);
        assert_eq!(parse(&text.replace('b', "1")), ParseTokenError::Character);
    }

    proptest! {
        #[test]
        fn every_token_is_read_back(master in any::<[u8; 32]>(), secret in any::<[u8; 16]>()) {
            let token = JoinToken::new(KeyId(master), secret);
            prop_assert_eq!(token.to_string().parse::<JoinToken>(), Ok(token));
        }

        #[test]
        fn every_mistyped_letter_is_found(at in 4..4 + TEXT, letter in 0..32usize) {
            let mut text = token().to_string().into_bytes();
            prop_assume!(text[at] != LETTERS[letter]);
            text[at] = LETTERS[letter];
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(text.parse::<JoinToken>(), Err(ParseTokenError::Checksum));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,120}") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
