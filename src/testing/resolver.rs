//! The names and addresses of the two machines.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::side::Side;

/// What the resolver of names does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    Answers,
    Fails,
    Hangs,
}

/// The address of a machine.
pub(crate) fn address(side: Side) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + side as u8))
}

/// The name of a machine.
pub(crate) fn name(side: Side) -> String {
    format!("{}.pair.example", if side == Side::A { "a" } else { "b" })
}

impl Resolver {
    /// The addresses of `host:port`.
    pub(crate) async fn addresses(self, wanted: String) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = wanted.parse() {
            return Ok(vec![address]);
        }
        match self {
            Self::Answers => {}
            Self::Fails => return Err(io::Error::other("the name cannot be resolved")),
            Self::Hangs => std::future::pending().await,
        }
        let named = Side::BOTH.into_iter().find_map(|side| {
            let port = wanted.strip_prefix(&name(side))?.strip_prefix(':')?.parse().ok()?;
            Some(SocketAddr::new(address(side), port))
        });
        named.map(|at| vec![at]).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
