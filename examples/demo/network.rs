//! A network between two nodes that can be cut. Each node has an address that leads to where it listens now.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Two addresses, and the connections between them and the nodes.
pub struct Network {
    addresses: HashMap<&'static str, String>,
    leads_to: LeadsTo,
    up: watch::Sender<bool>,
}

type LeadsTo = Arc<Mutex<HashMap<&'static str, SocketAddr>>>;

impl Network {
    /// A network with the addresses `a` and `b`.
    pub async fn new() -> std::io::Result<Self> {
        let leads_to = LeadsTo::default();
        let up = watch::Sender::new(true);
        let mut addresses = HashMap::new();
        for name in ["a", "b"] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.insert(name, listener.local_addr()?.to_string());
            tokio::spawn(carry(listener, name, leads_to.clone(), up.subscribe()));
        }
        Ok(Self { addresses, leads_to, up })
    }

    /// Where the other node dials this one.
    pub fn address(&self, name: &str) -> &str {
        &self.addresses[name]
    }

    /// The node listens there now.
    pub fn leads(&self, name: &'static str, to: SocketAddr) {
        self.leads_to.lock().unwrap_or_else(PoisonError::into_inner).insert(name, to);
    }

    /// Breaks every connection and lets no new one through.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        self.up.send_replace(true);
    }
}

async fn carry(listener: TcpListener, name: &'static str, leads_to: LeadsTo, up: watch::Receiver<bool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let to = leads_to.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        let mut up = up.clone();
        let (true, Some(to)) = (*up.borrow_and_update(), to) else { continue };
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(to).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => (),
                _ = up.wait_for(|up| !up) => (),
            }
        });
    }
}
