//! Who may connect at all, before any handshake.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{Semaphore, oneshot};

use crate::model::limits::LOOKUPS_MAX;
use crate::node::environment::{Environment, TaskScope};

/// Who may connect: a host name, an address, or a range of addresses (`10.0.0.0/8`, `fd00::/8`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermittedSource {
    /// The addresses that this name has when somebody connects.
    Host(String),
    /// The addresses of this range; a single address is a range of one.
    Range(IpNet),
}

/// The text is neither host name nor address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSource;

impl FromStr for PermittedSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| InvalidSource)?;
            let bits: u8 = bits.parse().map_err(|_| InvalidSource)?;
            return IpNet::new(network, bits).map(Self::Range).map_err(|_| InvalidSource);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Range(address.into()));
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
            false => Err(InvalidSource),
        }
    }
}

/// The name was not looked up, since too many others are being looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyLookups;

/// Every source that a node permits, and the bounded number of look-ups under way for them. Clones share.
#[derive(Clone)]
pub struct PermittedSources {
    sources: Arc<[PermittedSource]>,
    environment: Environment,
    lookups: Arc<Semaphore>,
    scope: Arc<TaskScope>,
}

impl PermittedSources {
    pub fn new(sources: Arc<[PermittedSource]>, environment: Environment) -> Self {
        Self { sources, environment, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)), scope: Arc::new(TaskScope::new()) }
    }

    /// Whether this address may connect. Without any permitted source, every address may.
    pub async fn permit(&self, from: IpAddr) -> Result<bool, TooManyLookups> {
        for source in self.sources.iter() {
            if source.permits(from, self).await? {
                return Ok(true);
            }
        }
        Ok(self.sources.is_empty())
    }

    /// The addresses of a name; none where it cannot be resolved. The caller may give up; the look-up goes on until the
    /// system answers, and counts until then.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, TooManyLookups> {
        let permit = Arc::clone(&self.lookups).try_acquire_owned().map_err(|_| TooManyLookups)?;
        let (tell, told) = oneshot::channel();
        let lookup = self.environment.net.resolve(name.to_owned());
        self.scope.spawn(&*self.environment.tasks, async move {
            let found = lookup.await.unwrap_or_default();
            drop(permit);
            let _ = tell.send(found);
        });
        Ok(told.await.unwrap_or_default())
    }
}

impl PermittedSource {
    /// Whether this address may connect. A name that cannot be resolved permits nobody.
    async fn permits(&self, from: IpAddr, all: &PermittedSources) -> Result<bool, TooManyLookups> {
        match self {
            // An IPv4 address that arrives at an IPv6 socket counts as the IPv4 address that it is.
            Self::Range(range) => Ok(range.contains(&from.to_canonical())),
            Self::Host(name) => {
                let found = all.addresses(name).await?;
                Ok(found.into_iter().any(|address| address.to_canonical() == from.to_canonical()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::node::environment::{BoxFuture, BoxStream, Listener, Net};

    fn sources(texts: &[&str], environment: Environment) -> PermittedSources {
        PermittedSources::new(texts.iter().map(|text| text.parse().expect("a source")).collect(), environment)
    }

    async fn permits(permit: &str, from: &str) -> bool {
        sources(&[permit], Environment::real()).permit(from.parse().expect("an address")).await == Ok(true)
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
        let sources = sources(&["shadow.example.net"], environment);
        let from = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..LOOKUPS_MAX {
            let mut waits = Box::pin(sources.permit(from));
            assert!(poll_once(&mut waits).await.is_none(), "it waits for the name server");
            // Whoever asked is gone; the system still looks.
        }
        assert_eq!(sources.permit(from).await, Err(TooManyLookups));
        answers.add_permits(LOOKUPS_MAX);
        while sources.lookups.available_permits() < LOOKUPS_MAX {
            tokio::task::yield_now().await;
        }
        answers.add_permits(1);
        assert_eq!(sources.permit(from).await, Ok(true));
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
            ("10.1.2.3/8", "10.9.9.9", "11.1.2.3"),
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
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/256",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0/8",
            "::/129",
            "a b",
            "10.0.0.300",
            "-/8",
            "a..b",
            &"x".repeat(64),
        ] {
            assert_eq!(text.parse::<PermittedSource>(), Err(InvalidSource), "{text}");
        }
        assert_eq!("shadow.example.net".parse(), Ok(PermittedSource::Host("shadow.example.net".into())));
    }

    #[tokio::test]
    async fn without_sources_every_address_is_permitted() {
        let from = IpAddr::from([1, 2, 3, 4]);
        assert_eq!(sources(&[], Environment::real()).permit(from).await, Ok(true));
        assert_eq!(sources(&["10.0.0.0/8"], Environment::real()).permit(from).await, Ok(false));
    }
}
