use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::seam::{Environment, Scope};
use crate::model::limits::LOOKUPS_MAX;

/// Who may connect: a host name, an address, or a range of addresses (`10.0.0.0/8`, `fd00::/8`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The addresses this name has when somebody connects.
    Host(String),
    /// Those that share the first `bits` with `network`.
    Range { network: IpAddr, bits: u32 },
}

/// The text is neither host name nor address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPermit;

impl FromStr for Permit {
    type Err = BadPermit;

    fn from_str(text: &str) -> Result<Self, BadPermit> {
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| BadPermit)?;
            let bits: u32 = bits.parse().map_err(|_| BadPermit)?;
            return if bits <= width(network) { Ok(Self::Range { network, bits }) } else { Err(BadPermit) };
        }
        if let Ok(network) = text.parse() {
            return Ok(Self::Range { network, bits: width(network) });
        }
        let label = |label: &str| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(legal)
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        // A name whose last label is a number is a mistyped address.
        let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        match name.len() <= 253 && name.split('.').all(label) && !number {
            true => Ok(Self::Host(text.to_owned())),
            false => Err(BadPermit),
        }
    }
}

/// So many names are being looked up that this one was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// All permits of a node, and the lookups under way for them, a bounded number. Clones share.
#[derive(Clone)]
pub struct Permits {
    permits: Arc<[Permit]>,
    environment: Environment,
    room: Arc<Semaphore>,
    scope: Arc<Scope>,
}

impl Permits {
    pub fn new(permits: Arc<[Permit]>, environment: Environment) -> Self {
        Self { permits, environment, room: Arc::new(Semaphore::new(LOOKUPS_MAX)), scope: Arc::new(Scope::new()) }
    }

    /// Whether any of them permits an address; without any, everybody is.
    pub async fn permit(&self, from: IpAddr) -> Result<bool, Busy> {
        for permit in self.permits.iter() {
            if permit.permits(from, self).await? {
                return Ok(true);
            }
        }
        Ok(self.permits.is_empty())
    }

    /// The addresses of a name; none where it cannot be resolved. Whoever waits may give up: what the system was asked goes
    /// on until it answers, and counts until then.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Busy> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Busy)?;
        let (tell, told) = oneshot::channel();
        let lookup = self.environment.net.resolve(name.to_owned());
        self.scope.spawn(&*self.environment.tasks, async move {
            let found = lookup.await.unwrap_or_default();
            drop(place);
            let _ = tell.send(found);
        });
        Ok(told.await.unwrap_or_default())
    }
}

impl Permit {
    /// Whether this address may connect. A name that cannot be resolved permits nobody.
    async fn permits(&self, from: IpAddr, all: &Permits) -> Result<bool, Busy> {
        match self {
            Self::Range { network, bits } => Ok(in_range(from, *network, *bits)),
            Self::Host(name) => {
                let found = all.addresses(name).await?;
                Ok(found.into_iter().any(|address| address.to_canonical() == from.to_canonical()))
            }
        }
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An IPv4 address that arrives at an IPv6 socket counts as the IPv4 address that it is.
fn in_range(from: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (from.to_canonical(), network) {
        (IpAddr::V4(from), IpAddr::V4(network)) => same(from.to_bits().into(), network.to_bits().into(), 32 - bits),
        (IpAddr::V6(from), IpAddr::V6(network)) => same(from.to_bits(), network.to_bits(), 128 - bits),
        _ => false,
    }
}

/// Whether two addresses are the same but for so many low bits.
fn same(one: u128, other: u128, low_bits: u32) -> bool {
    (one ^ other).checked_shr(low_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::node::seam::{BoxFuture, BoxStream, Listener, Net};

    fn of(permits: &[&str], environment: Environment) -> Permits {
        Permits::new(permits.iter().map(|permit| permit.parse().expect("a permit")).collect(), environment)
    }

    async fn permits(permit: &str, from: &str) -> bool {
        of(&[permit], Environment::real()).permit(from.parse().expect("an address")).await == Ok(true)
    }

    /// A name server that answers when it is let.
    #[derive(Debug)]
    struct Slow(Arc<Semaphore>);

    impl Net for Slow {
        fn listen(&self, _address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
            Box::pin(std::future::pending())
        }

        fn connect(&self, _address: String) -> BoxFuture<'static, io::Result<BoxStream>> {
            Box::pin(std::future::pending())
        }

        fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let answers = Arc::clone(&self.0);
            Box::pin(async move {
                answers.acquire().await.map_err(io::Error::other)?.forget();
                Ok(vec![IpAddr::from([10, 0, 0, 1])])
            })
        }
    }

    #[tokio::test]
    async fn a_flood_of_lookups_is_turned_away_and_one_given_up_still_counts() {
        let answers = Arc::new(Semaphore::new(0));
        let environment = Environment { net: Arc::new(Slow(Arc::clone(&answers))), ..Environment::real() };
        let permits = of(&["shadow.example.net"], environment);
        let from = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..LOOKUPS_MAX {
            let mut waits = Box::pin(permits.permit(from));
            assert!(poll_once(&mut waits).await.is_none(), "it waits for the name server");
            // Whoever asked is gone; the system still looks.
        }
        assert_eq!(permits.permit(from).await, Err(Busy));
        answers.add_permits(LOOKUPS_MAX);
        while permits.room.available_permits() < LOOKUPS_MAX {
            tokio::task::yield_now().await;
        }
        answers.add_permits(1);
        assert_eq!(permits.permit(from).await, Ok(true));
    }

    /// Looks once whether a future is ready.
    async fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn ranges_and_addresses() {
        for (permit, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("::/0", "::1", "1.2.3.4"),
            ("127.0.0.1/32", "::ffff:127.0.0.1", "127.0.0.2"),
        ] {
            assert!(permits(permit, inside).await, "{permit} {inside}");
            assert!(!permits(permit, outside).await, "{permit} {outside}");
        }
    }

    #[tokio::test]
    async fn a_name_permits_the_addresses_that_it_has() {
        assert!(permits("localhost", "127.0.0.1").await);
        assert!(!permits("localhost", "10.0.0.1").await);
    }

    #[test]
    fn what_is_no_permit_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a b", "10.0.0.300", "-/8", "a..b", &"x".repeat(64)] {
            assert_eq!(text.parse::<Permit>(), Err(BadPermit), "{text}");
        }
        assert_eq!("shadow.example.net".parse(), Ok(Permit::Host("shadow.example.net".into())));
    }

    #[tokio::test]
    async fn without_permits_everybody_is_answered() {
        let from = IpAddr::from([1, 2, 3, 4]);
        assert_eq!(of(&[], Environment::real()).permit(from).await, Ok(true));
        assert_eq!(of(&["10.0.0.0/8"], Environment::real()).permit(from).await, Ok(false));
    }
}
