//! Looks whether the addresses that the two nodes advertise can be dialled: at the start, with every link, and again while one cannot.
//!
//! A link hides such an address until it is lost. So what can be known before is said before: an address that names no machine, one that
//! leads the other node to itself, a name that does not resolve.

use std::net::SocketAddr;

use tokio::sync::{mpsc, watch};

use super::address_book::{Met, Nowhere, is_literal, leads_nowhere};
use super::link::LinkContext;
use crate::model::limits::{ADDRESS_CHECK_INTERVAL, ADDRESS_LOOKUP_TIMEOUT};
use crate::node::driver::input::Input;
use crate::node::environment::Environment;
use crate::protocol::engine::{Event, Undialable};

/// Looks at the two addresses of one node.
pub struct AddressCheck {
    environment: Environment,
    /// The address that this node advertises.
    own: String,
    met: watch::Receiver<Option<Met>>,
    inputs: mpsc::Sender<Input>,
}

impl AddressCheck {
    /// For a node with these links, that advertises this address.
    pub fn new(links: &LinkContext, own: String) -> Self {
        let (environment, inputs) = (links.environment.clone(), links.inputs.clone());
        Self { environment, own, met: links.met.subscribe(), inputs }
    }

    /// Looks, and tells the engine what has changed, until it is dropped or the node is stopped.
    pub async fn run(mut self) {
        let mut told = Undialable::default();
        loop {
            let met = self.met.borrow_and_update().clone();
            let found = self.look(met.as_ref()).await;
            let is_well = found == Undialable::default();
            if found != told {
                told = found.clone();
                if self.inputs.send(Input::Engine(Event::AddressesChecked(found))).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                biased;
                changed = self.met.changed() => if changed.is_err() { return },
                () = self.environment.sleep(ADDRESS_CHECK_INTERVAL), if !is_well => {}
            }
        }
    }

    async fn look(&self, met: Option<&Met>) -> Undialable {
        let own = self.problem(&self.own, met.map(|met| met.remote), "the peer").await;
        let peer = match met {
            Some(Met { remote, advertised }) => self.problem(advertised, Some(*remote), "this node").await,
            None => None,
        };
        Undialable { own, peer }
    }

    /// Why this address cannot be dialled by the node whose link has this other end.
    async fn problem(&self, address: &str, remote: Option<SocketAddr>, who: &str) -> Option<String> {
        match leads_nowhere(address, remote) {
            Some(Nowhere::Unspecified) => return Some(format!("{address} names no machine")),
            Some(Nowhere::Loopback) => return Some(format!("{address} leads {who} to itself")),
            None => {}
        }
        if is_literal(address) {
            return None;
        }
        // At a boot the name server may come a little later than the node.
        self.unresolved(address).await?;
        self.environment.sleep(ADDRESS_CHECK_INTERVAL / 2).await;
        self.unresolved(address).await
    }

    /// Why this name has no address.
    async fn unresolved(&self, address: &str) -> Option<String> {
        let found = self.environment.net.addresses(address.to_owned());
        match self.environment.within(ADDRESS_LOOKUP_TIMEOUT, found).await {
            Some(Ok(found)) if !found.is_empty() => None,
            Some(Ok(_)) => Some(format!("{address} has no address")),
            Some(Err(error)) => Some(format!("{address} does not resolve on this node: {error}")),
            None => Some(format!("{address} does not resolve on this node within {ADDRESS_LOOKUP_TIMEOUT:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(own: &str, remote: &str, advertised: &str) -> Undialable {
        let met = Met { remote: remote.parse().unwrap(), advertised: advertised.to_owned() };
        let (met, inputs) = (watch::Sender::new(Some(met)), mpsc::channel(1));
        let environment = Environment::real();
        let check = AddressCheck { environment, own: own.to_owned(), met: met.subscribe(), inputs: inputs.0 };
        let mut received = inputs.1;
        let told = async {
            match received.recv().await {
                Some(Input::Engine(Event::AddressesChecked(found))) => found,
                _ => Undialable::default(),
            }
        };
        tokio::select! {
            biased;
            found = told => found,
            () = check.run() => Undialable::default(),
            // The check ends without a report where both addresses are well.
            () = tokio::task::yield_now() => Undialable::default(),
        }
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_is_told_of_on_either_node() {
        let why = |text: &str| Some(text.to_owned());
        let both = found("0.0.0.0:7443", "10.0.0.7:50123", "127.0.0.1:7443").await;
        assert_eq!(both.own, why("0.0.0.0:7443 names no machine"));
        assert_eq!(both.peer, why("127.0.0.1:7443 leads this node to itself"));
        let loopback = found("localhost:7443", "10.0.0.7:50123", "10.0.0.7:7443").await;
        assert_eq!(loopback, Undialable { own: why("localhost:7443 leads the peer to itself"), peer: None });
        // Both are on this machine.
        assert_eq!(found("127.0.0.1:1", "127.0.0.1:50123", "[::1]:2").await, Undialable::default());
    }
}
