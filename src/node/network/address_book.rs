//! The addresses at which the peer was last reached, and those that nobody can dial.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::limits::ADDRESS_BOOK_MAX;

/// By which address each name of the peer last led to a link, since this node started. Clones share.
#[derive(Clone, Debug, Default)]
pub struct AddressBook(Arc<Mutex<BTreeMap<String, SocketAddr>>>);

impl AddressBook {
    /// The address by which this name last led to a link.
    pub fn worked(&self, name: &str) -> Option<SocketAddr> {
        self.lock().get(name).copied()
    }

    /// The name led to a link by this address.
    pub fn note(&self, name: &str, at: SocketAddr) {
        let mut known = self.lock();
        // The peer's names are few. Where they change all the time, the old ones are of no use.
        if known.len() >= ADDRESS_BOOK_MAX && !known.contains_key(name) {
            known.clear();
        }
        known.insert(name.to_owned(), at);
    }

    /// Somebody else answers there now.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nobody can dial this `host:port`, wherever they are: an unspecified address, or port 0.
pub fn is_undialable(address: &str) -> bool {
    let Some((host, port)) = split(address) else { return false };
    port == 0 || host.is_some_and(|host| host.is_unspecified())
}

/// What the peer calls its address, as this node can dial it: where the peer names an address that means nothing here, the
/// one where it was met. `met`: the other end of a connection with it; `dialled`: this node dialled it, so the port is right
/// too.
pub fn dialable(address: &str, met: SocketAddr, dialled: bool) -> Option<String> {
    let (host, port) = split(address)?;
    let met_ip = met.ip().to_canonical();
    let elsewhere = host.is_some_and(|host| host.is_unspecified() || (host.is_loopback() && !met_ip.is_loopback()));
    if !elsewhere && port != 0 {
        return None;
    }
    match dialled {
        true => Some(met.to_string()),
        false if port != 0 => Some(SocketAddr::new(met_ip, port).to_string()),
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
        assert!(book.lock().len() <= ADDRESS_BOOK_MAX);
        assert_eq!(book.worked("name99:1"), Some(at));
    }
}
