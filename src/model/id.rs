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

/// Identifies a node: the SHA-256 of its public key (SPKI).
///
/// ```
/// use shadowpair::NodeId;
/// let node = NodeId([0xab; 32]);
/// assert_eq!(NodeId::parse(&node.to_string()), Some(node));
/// assert_eq!(NodeId::parse("abab"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

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
