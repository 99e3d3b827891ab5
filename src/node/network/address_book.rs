//! The addresses at which the peer was last reached, and those that nobody can dial.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::limits::{ADDRESS_BOOK_MAX, ADDRESS_BOOK_PAUSE, ADDRESS_BYTES_MAX};
use crate::node::environment::later;
use crate::protocol::engine::Moment;

/// First line of the stored book. A book with another one is not read.
const HEADER: &str = "shadowpair addresses 1";

/// By which address each name of the peer last led to a link. It is stored in the data directory, so that a node that starts while no
/// name resolves finds its peer. Nothing depends on it: whoever answers at an address must show the peer's key. Clones share.
#[derive(Clone, Debug, Default)]
pub struct AddressBook(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    known: BTreeMap<String, SocketAddr>,
    /// What was given out to be stored, and when.
    stored: BTreeMap<String, SocketAddr>,
    stored_at: Option<Moment>,
}

impl AddressBook {
    /// The book that was stored. What cannot be read is left out.
    pub fn restore(stored: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stored);
        let mut lines = text.lines();
        let known: BTreeMap<_, _> = match lines.next() {
            Some(HEADER) => lines.filter_map(entry).take(ADDRESS_BOOK_MAX).collect(),
            _ => BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(Book { stored: known.clone(), known, stored_at: None })))
    }

    /// The address by which this name last led to a link.
    pub fn worked(&self, name: &str) -> Option<SocketAddr> {
        self.lock().known.get(name).copied()
    }

    /// The name led to a link by this address.
    pub fn note(&self, name: &str, at: SocketAddr) {
        if name.parse::<SocketAddr>().is_ok() {
            // It is an address itself, which no name server is asked for.
            return;
        }
        let known = &mut self.lock().known;
        // The peer's names are few. Where they change all the time, the old ones are of no use.
        if known.len() >= ADDRESS_BOOK_MAX && !known.contains_key(name) {
            known.clear();
        }
        known.insert(name.to_owned(), at);
    }

    /// Somebody else answers there now.
    pub fn forget(&self, name: &str) {
        self.lock().known.remove(name);
    }

    /// The book as it is to be stored, where that is due: at once where it has a new name, else at most once in a while.
    pub fn unstored(&self, now: Moment) -> Option<Vec<u8>> {
        let mut book = self.lock();
        let has_new = book.known.keys().any(|name| !book.stored.contains_key(name));
        let is_early = book.stored_at.is_some_and(|at| now < later(at, ADDRESS_BOOK_PAUSE));
        if book.known == book.stored || (is_early && !has_new) {
            return None;
        }
        (book.stored, book.stored_at) = (book.known.clone(), Some(now));
        let lines = book.known.iter().map(|(name, at)| format!("{at} {name}\n"));
        Some(format!("{HEADER}\n{}", lines.collect::<String>()).into_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of the stored book.
fn entry(line: &str) -> Option<(String, SocketAddr)> {
    let (at, name) = line.split_once(' ')?;
    Some((name.to_owned(), at.parse().ok()?)).filter(|(name, _)| name.len() <= ADDRESS_BYTES_MAX)
}

/// Whether nobody can dial this `host:port`, wherever they are: an unspecified address, or port 0.
pub fn is_undialable(address: &str) -> bool {
    leads_nowhere(address, None).is_some()
}

/// What the last link has shown of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The other end of the connection.
    pub remote: SocketAddr,
    /// The address that the peer advertises.
    pub advertised: String,
}

/// Why an address leads a node on another machine nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// It names no machine, or no port.
    Unspecified,
    /// It leads whoever dials it to itself.
    Loopback,
}

/// Whether this `host:port` leads the other node nowhere. `remote`: the other end of a connection with it, if there was one.
pub fn leads_nowhere(address: &str, remote: Option<SocketAddr>) -> Option<Nowhere> {
    let (host, port) = split(address)?;
    let elsewhere = remote.is_some_and(|remote| !remote.ip().to_canonical().is_loopback());
    match host {
        _ if port == 0 => Some(Nowhere::Unspecified),
        Some(host) if host.is_unspecified() => Some(Nowhere::Unspecified),
        Some(host) if host.is_loopback() && elsewhere => Some(Nowhere::Loopback),
        _ => None,
    }
}

/// Whether no name server is needed for this `host:port`.
pub fn is_literal(address: &str) -> bool {
    split(address).is_none_or(|(host, _)| host.is_some())
}

/// What the peer calls its address, as this node can dial it: where the peer names an address that means nothing here, the
/// one where it was met. `met`: the other end of a connection with it; `dialled`: this node dialled it, so the port is right
/// too.
pub fn dialable(address: &str, met: SocketAddr, dialled: bool) -> Option<String> {
    leads_nowhere(address, Some(met))?;
    let (_, port) = split(address)?;
    match dialled {
        true => Some(met.to_string()),
        false if port != 0 => Some(SocketAddr::new(met.ip().to_canonical(), port).to_string()),
        false => None,
    }
}

/// Host, where it is an IP address or `localhost`, and port.
fn split(address: &str) -> Option<(Option<IpAddr>, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    };
    Some((host.map(|host| host.to_canonical()), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_dial_is_found_and_replaced_by_where_the_peer_was_met() {
        for address in ["0.0.0.0:7443", "[::]:7443", "10.0.0.1:0", "name:0", "[::ffff:0.0.0.0]:1"] {
            assert!(is_undialable(address), "{address}");
        }
        for address in ["10.0.0.1:7443", "[fe80::1%3]:7443", "name:1", "127.0.0.1:1"] {
            assert!(!is_undialable(address), "{address}");
        }
        let met: SocketAddr = "10.0.0.7:50123".parse().unwrap();
        for address in ["0.0.0.0:7443", "[::]:7443", "127.0.0.1:7443", "localhost:7443", "[::1]:7443"] {
            assert_eq!(dialable(address, met, false).as_deref(), Some("10.0.0.7:7443"), "{address}");
            assert_eq!(dialable(address, met, true).as_deref(), Some("10.0.0.7:50123"), "{address}");
        }
        let here: SocketAddr = "127.0.0.1:50123".parse().unwrap();
        assert_eq!(dialable("127.0.0.1:7443", here, false), None);
        assert_eq!(dialable("0.0.0.0:7443", here, false).as_deref(), Some("127.0.0.1:7443"));
        assert_eq!(dialable("10.0.0.9:7443", met, false), None);
        assert_eq!(dialable("name:7443", met, true), None);
    }

    #[test]
    fn the_book_is_bounded() {
        let book = AddressBook::default();
        let at: SocketAddr = "10.0.0.7:1".parse().unwrap();
        (0..100).for_each(|number| book.note(&format!("name{number}:1"), at));
        assert!(book.lock().known.len() <= ADDRESS_BOOK_MAX);
        assert_eq!(book.worked("name99:1"), Some(at));
    }

    #[test]
    fn the_book_is_stored_as_it_was_promised_and_read_back() {
        let (book, at) = (AddressBook::default(), |last: u8| SocketAddr::from(([10, 0, 0, last], 7443)));
        let now = |seconds: u64| Moment(seconds * 1_000_000);
        book.note("10.0.0.9:7443", at(9));
        assert_eq!(book.unstored(now(1)), None, "no name server is needed for it");
        book.note("peer.example:7443", at(7));
        let stored = book.unstored(now(1)).unwrap();
        assert_eq!(stored, b"shadowpair addresses 1\n10.0.0.7:7443 peer.example:7443\n");
        assert_eq!(AddressBook::restore(&stored).worked("peer.example:7443"), Some(at(7)));
        assert_eq!(AddressBook::restore(&stored).unstored(now(1)), None);
        // A name with two addresses costs a write now and then.
        book.note("peer.example:7443", at(8));
        assert_eq!(book.unstored(now(2)), None);
        assert!(book.unstored(now(61)).is_some());
        book.note("other.example:1", at(8));
        assert!(book.unstored(now(62)).is_some(), "a new name is stored at once");
    }

    #[test]
    fn what_is_no_book_is_an_empty_one() {
        for damaged in [&b""[..], b"shadowpair addresses 2\n10.0.0.7:1 name:1\n", b"\xff\n", b"shadowpair addresses 1"]
        {
            assert!(AddressBook::restore(damaged).lock().known.is_empty());
        }
        let lines = "shadowpair addresses 1\nnonsense\n10.0.0.7:1 name:1\n10.0.0.300:1 other:1\n";
        assert_eq!(AddressBook::restore(lines.as_bytes()).lock().known.len(), 1);
    }
}
