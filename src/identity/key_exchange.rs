//! Which key exchange a dial offers, and what it learns from silence.
//!
//! A TLS hello with a post-quantum key share is larger than one packet. Some routers drop it: then the TCP connection stands, and
//! no answer ever comes. So a dial after such a silence offers the classical key exchange alone, whose hello is small.
//!
//! | the dial before, that got as far as TLS | next hello |
//! |---|---|
//! | none, or it was answered | large |
//! | large, and not answered in its time | small, [`SMALL_HELLOS`] times |
//! | large, and given up since a large one was answered at another address | large |
//! | large, and the connection broke: the peer was restarted, or a router cut it | large; the third in a row counts as not answered |
//! | small, whatever came of it | small until these are used up, then large |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;

use super::key::IdentityError;
use crate::model::limits::{BROKEN_HELLOS, SMALL_HELLOS};

/// Which key exchange protects a link against who records it now and breaks it later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyExchange {
    /// The hybrid with a post-quantum part (X25519MLKEM768), where the provider has it. A dial whose hello is not answered is
    /// repeated with the classical one, since some routers drop the large hello.
    #[default]
    PreferPostQuantum,
    /// The hybrid alone. Where a router drops the large hello there is no link.
    PostQuantumOnly,
    /// The classical one alone (X25519 and others).
    Classical,
}

/// The providers of one node, and which of them its next dial uses. Clones share.
#[derive(Clone, Debug)]
pub(super) struct KeyExchanges {
    /// For accepting, and for a dial with a large hello.
    pub(super) usual: Arc<CryptoProvider>,
    /// For a dial with a small hello. `None` where it would be the same one, or is not allowed.
    small: Option<Arc<CryptoProvider>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Dials that are to offer the small hello yet.
    small_left: AtomicU32,
    /// The last hello was large, and nothing came back.
    unanswered: AtomicBool,
    /// Large hellos that were answered.
    answered: AtomicU32,
    /// Large hellos in a row whose connection broke before an answer.
    broken: AtomicU32,
}

/// One dial that has got as far as TLS. Dropped without an answer, it makes the next hellos small.
pub(super) struct Hello {
    state: Arc<State>,
    pub(super) provider: Arc<CryptoProvider>,
    is_large: bool,
    /// Large hellos that had been answered when this one was sent.
    answered_before: u32,
    /// What came of it is known.
    settled: bool,
}

impl KeyExchange {
    /// The word for it: `prefer`, `only`, `classical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreferPostQuantum => "prefer",
            Self::PostQuantumOnly => "only",
            Self::Classical => "classical",
        }
    }
}

impl KeyExchanges {
    /// # Errors
    /// [`IdentityError::Tls`] where the provider has no key exchange of the wanted kind.
    pub(super) fn new(provider: Arc<CryptoProvider>, wanted: KeyExchange) -> Result<Self, IdentityError> {
        let is_large = |provider: &CryptoProvider| provider.kx_groups.iter().any(|group| is_post_quantum(group.name()));
        let only = |large: bool| {
            let mut fitting = CryptoProvider::clone(&provider);
            fitting.kx_groups.retain(|group| is_post_quantum(group.name()) == large);
            match fitting.kx_groups.is_empty() {
                true => Err(IdentityError::Tls(format!("the provider has no key exchange for the option {wanted:?}"))),
                false => Ok(Arc::new(fitting)),
            }
        };
        let (usual, small) = match wanted {
            KeyExchange::PreferPostQuantum if is_large(&provider) => (provider.clone(), Some(only(false)?)),
            KeyExchange::PreferPostQuantum => (provider, None),
            KeyExchange::PostQuantumOnly => (only(true)?, None),
            KeyExchange::Classical => (only(false)?, None),
        };
        Ok(Self { usual, small, state: Arc::default() })
    }

    /// A dial begins TLS.
    pub(super) fn hello(&self) -> Hello {
        let taken = self.state.small_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let provider = self.small.clone().filter(|_| taken);
        let is_large = provider.is_none();
        self.state.unanswered.store(false, SeqCst);
        let provider = provider.unwrap_or_else(|| self.usual.clone());
        let answered_before = self.state.answered.load(SeqCst);
        Hello { state: Arc::clone(&self.state), provider, is_large, answered_before, settled: false }
    }

    /// A dial begins, and nothing is known of it yet.
    pub(super) fn forget_silence(&self) {
        self.state.unanswered.store(false, SeqCst);
    }

    /// What may be wrong with a dial that was not answered, and what follows.
    pub(super) fn silence(&self) -> Option<&'static str> {
        if !self.state.unanswered.load(SeqCst) {
            return None;
        }
        let large = self.usual.kx_groups.iter().any(|group| is_post_quantum(group.name()));
        match (large, &self.small) {
            (true, Some(_)) => Some(
                "connected, and the large post-quantum TLS hello was not answered: a router on the way may drop it; the next \
                 dials use the classical key exchange",
            ),
            (true, None) => Some(
                "connected, and the large post-quantum TLS hello was not answered: a router on the way may drop it, and the \
                 options of this node forbid the classical key exchange",
            ),
            (false, _) => Some("connected, and the TLS hello was not answered"),
        }
    }

    /// Whether this key exchange is the classical one, where the hybrid is preferred.
    pub(super) fn is_fallback(&self, name: &str) -> bool {
        let small = self.small.iter().flat_map(|provider| &provider.kx_groups);
        small.into_iter().any(|group| group_name(group.name()) == name)
    }

    /// Whether the next hello is large and could be small.
    pub(super) fn may_shrink(&self) -> bool {
        self.small.is_some() && self.state.small_left.load(SeqCst) == 0
    }
}

impl Hello {
    /// The other side has answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.settled = true;
        if self.is_large {
            self.state.broken.store(0, SeqCst);
            self.state.answered.fetch_add(1, SeqCst);
        }
    }

    /// The connection broke before an answer. A peer that is restarted does that once or twice, a router that cuts the connection
    /// does it every time.
    pub(super) fn broken(mut self) {
        let times = self.state.broken.fetch_add(u32::from(self.is_large), SeqCst) + 1;
        self.settled = !self.is_large || times < BROKEN_HELLOS;
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        // Dropped because another address was faster, it had no time to be answered.
        let overtaken = self.state.answered.load(SeqCst) != self.answered_before;
        if self.settled || (self.is_large && overtaken) {
            return;
        }
        self.state.unanswered.store(true, SeqCst);
        if self.is_large {
            self.state.broken.store(0, SeqCst);
            self.state.small_left.store(SMALL_HELLOS, SeqCst);
        }
    }
}

/// Whether the share of this group is larger than a packet.
fn is_post_quantum(group: NamedGroup) -> bool {
    matches!(group, NamedGroup::X25519MLKEM768 | NamedGroup::secp256r1MLKEM768 | NamedGroup::MLKEM768)
}

/// The name of a group in status.
pub(super) fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519MLKEM768 => "x25519mlkem768",
        NamedGroup::secp256r1MLKEM768 => "secp256r1mlkem768",
        NamedGroup::X25519 => "x25519",
        NamedGroup::secp256r1 => "secp256r1",
        NamedGroup::secp384r1 => "secp384r1",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::default_provider;

    /// The sizes of the hellos of dials that go as these words say: `L` large, `s` small.
    fn sizes(wanted: KeyExchange, dials: &[&str]) -> String {
        let exchanges = KeyExchanges::new(default_provider(), wanted).unwrap();
        let dial = |outcome: &&str| {
            let hello = exchanges.hello();
            let size =
                if hello.provider.kx_groups.iter().any(|group| is_post_quantum(group.name())) { 'L' } else { 's' };
            match *outcome {
                "answered" => hello.answered(),
                "broken" => hello.broken(),
                _ => drop(hello),
            }
            size
        };
        dials.iter().map(dial).collect()
    }

    #[test]
    #[cfg(feature = "aws-lc-rs")]
    fn a_hello_that_is_not_answered_is_followed_by_small_ones_and_then_by_a_large_one() {
        let (yes, no) = ("answered", "silence");
        assert_eq!(sizes(KeyExchange::PreferPostQuantum, &[yes, yes, no, yes, yes]), "LLLss");
        // Nothing answers at all: both are tried by turns.
        assert_eq!(sizes(KeyExchange::PreferPostQuantum, &[no; 20]), "LssssssssLssssssssLs");
        // A link by a small one does not last for ever.
        let after = [&[no][..], &[yes; 10]].concat();
        assert_eq!(sizes(KeyExchange::PreferPostQuantum, &after), "LssssssssLL");
        // A restart of the peer breaks a connection or two. Who breaks every one stands on the way.
        let broken = "broken";
        assert_eq!(sizes(KeyExchange::PreferPostQuantum, &[broken, broken, yes, broken, broken, yes]), "LLLLLL");
        assert_eq!(sizes(KeyExchange::PreferPostQuantum, &[broken, broken, broken, broken, no]), "LLLss");
        assert_eq!(sizes(KeyExchange::PostQuantumOnly, &[no; 4]), "LLLL");
        assert_eq!(sizes(KeyExchange::Classical, &[no; 4]), "ssss");
    }

    /// The peer has two addresses. The slower one is given up once the other has answered.
    #[test]
    #[cfg(feature = "aws-lc-rs")]
    fn a_hello_that_was_overtaken_says_nothing_of_the_way() {
        let exchanges = KeyExchanges::new(default_provider(), KeyExchange::default()).unwrap();
        let (slower, faster) = (exchanges.hello(), exchanges.hello());
        faster.answered();
        drop(slower);
        assert_eq!(exchanges.silence(), None);
        assert!(exchanges.hello().is_large);
    }

    #[test]
    #[cfg(not(feature = "aws-lc-rs"))]
    fn without_the_hybrid_every_hello_is_small() {
        assert_eq!(sizes(KeyExchange::PreferPostQuantum, &["silence"; 4]), "ssss");
        assert!(KeyExchanges::new(default_provider(), KeyExchange::PostQuantumOnly).is_err());
    }

    #[test]
    fn silence_is_told_until_the_next_dial() {
        let exchanges = KeyExchanges::new(default_provider(), KeyExchange::default()).unwrap();
        assert_eq!(exchanges.silence(), None);
        drop(exchanges.hello());
        assert!(exchanges.silence().unwrap().starts_with("connected, and "));
        exchanges.forget_silence();
        assert_eq!(exchanges.silence(), None);
        exchanges.hello().answered();
        assert_eq!(exchanges.silence(), None);
    }
}
