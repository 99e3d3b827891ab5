use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// Identifies a pair of nodes: 128 random bits, drawn by the first master.
///
/// ```
/// use shadowpair::PairId;
/// let pair = PairId([0xab; 16]);
/// assert_eq!(PairId::parse(&pair.to_string()), Some(pair));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PairId(pub [u8; 16]);

/// Identifies a node, for its whole life: the SHA-256 of its *first* public key (SPKI). A node that renews its key keeps its id.
///
/// ```
/// use shadowpair::NodeId;
/// let node = NodeId([0xab; 32]);
/// assert_eq!(NodeId::parse(&node.to_string()), Some(node));
/// assert_eq!(NodeId::parse("abab"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

/// The fingerprint of a key: the SHA-256 of the public key (SPKI). By it one node pins the other.
///
/// ```
/// use shadowpair::{KeyId, NodeId};
/// let key = KeyId([0xab; 32]);
/// assert_eq!(KeyId::parse(&key.to_string()), Some(key));
/// // A node that never renewed its key is named after it.
/// assert_eq!(key.first_of(), NodeId([0xab; 32]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 32]);

/// The keys by which one node recognises the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedKeys {
    /// The key that the peer has shown last.
    pub current: KeyId,
    /// The key that it will show next, as it has said over a link that the current one protected.
    pub next: Option<KeyId>,
}

impl PinnedKeys {
    /// This key alone.
    pub fn only(current: KeyId) -> Self {
        Self { current, next: None }
    }
}

/// Identifies one run of a node, from start to stop: a random number drawn at the start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RunId(pub u64);

impl PairId {
    /// Reads the hexadecimal form that `Display` writes. Upper-case digits are read too.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl NodeId {
    /// Reads the hexadecimal form that `Display` writes. Upper-case digits are read too.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl KeyId {
    /// Reads the hexadecimal form that `Display` writes. Upper-case digits are read too.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// The node whose first key this is.
    pub fn first_of(self) -> NodeId {
        NodeId(self.0)
    }
}

impl NodeId {
    /// The key with which the node began.
    pub fn first_key(self) -> KeyId {
        KeyId(self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({}..)", HEXLOWER.encode(&self.0[..6]))
    }
}

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairId({self})")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({}..)", HEXLOWER.encode(&self.0[..6]))
    }
}

/// Reads exactly `N` bytes of hexadecimal.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_back_and_nothing_else_is() {
        let id = PairId([0xab; 16]);
        assert_eq!(PairId::parse(&id.to_string()), Some(id));
        assert_eq!(PairId::parse(&id.to_string().to_uppercase()), Some(id));
        assert_eq!(format!("{:?}", NodeId([0xab; 32])), "NodeId(abababababab..)");
        assert_eq!(PairId::parse("ab"), None);
        assert_eq!(PairId::parse(&"+f".repeat(16)), None);
        assert_eq!(PairId::parse(&"g".repeat(32)), None);
        assert_eq!(PairId::parse(&"é".repeat(16)), None);
    }
}
