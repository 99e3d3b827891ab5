use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::model::NodeId;

const PREFIX: &str = "sp1-";
/// The letters of RFC 4648's base 32, lower-case: none is easily read as another.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Key fingerprint, secret, CRC-32C of both after the prefix.
const BYTES: usize = 32 + 16 + 4;
/// Five bits a letter, rounded up; the bits that are left over are zero.
const TEXT: usize = (BYTES * 8).div_ceil(5);

/// What a shadow needs to enrol, once: the master's key fingerprint and 128 secret bits.
///
/// `Display` and `FromStr` are its text form: `sp1-`, then 84 letters and digits, a checksum among them. Case and
/// surrounding white space do not matter when it is read. `Debug` shows no secret; the secret is wiped on drop.
#[derive(Clone)]
pub struct JoinToken {
    master: NodeId,
    secret: Zeroizing<[u8; 16]>,
}

/// The text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTokenError {
    /// It does not begin as one.
    #[error("not a join token: it should begin with {PREFIX}")]
    Prefix,
    /// It is cut short, or has something after it.
    #[error("not a whole join token: it should have {TEXT} letters and digits after {PREFIX}")]
    Length,
    /// It holds a character that no token holds.
    #[error("not a join token: it holds a character that none does")]
    Character,
    /// Its checksum is wrong.
    #[error("the join token is mistyped")]
    Checksum,
}

impl JoinToken {
    /// A token for this master with these secret bits.
    pub fn new(master: NodeId, secret: [u8; 16]) -> Self {
        Self { master, secret: Zeroizing::new(secret) }
    }

    /// The master whose key it names.
    pub fn master(&self) -> NodeId {
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
        let bytes = self.bytes();
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + TEXT));
        text.push_str(PREFIX);
        for letter in 0..TEXT {
            let five = (5 * letter..5 * letter + 5).fold(0, |five, bit| {
                let byte = bytes.get(bit / 8).copied().unwrap_or_default();
                five << 1 | usize::from(byte >> (7 - bit % 8) & 1)
            });
            text.push(char::from(LETTERS[five]));
        }
        f.write_str(&text)
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
        let mut bytes = Zeroizing::new([0u8; BYTES + 1]);
        for (at, letter) in letters.bytes().enumerate() {
            let letter = letter.to_ascii_lowercase();
            let five = LETTERS.iter().position(|known| *known == letter).ok_or(ParseTokenError::Character)?;
            for bit in 0..5 {
                let to = 5 * at + bit;
                bytes[to / 8] |= ((five >> (4 - bit) & 1) as u8) << (7 - to % 8);
            }
        }
        let (mut master, mut secret) = ([0; 32], [0; 16]);
        master.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..48]);
        let token = Self::new(NodeId(master), secret);
        match bytes[48..BYTES] == checksum(&bytes[..48]) && bytes[BYTES] == 0 {
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

    fn token() -> JoinToken {
        JoinToken::new(NodeId(std::array::from_fn(|i| i as u8)), [0xa5; 16])
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
            let token = JoinToken::new(NodeId(master), secret);
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
