use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::StartError;
use super::settings::{FirstStart, Settings};
use super::start;
use crate::identity::KeyExchange;
use crate::model::Password;
use crate::model::limits::LISTEN_WAIT_MAX;
#[cfg(any(test, feature = "testing"))]
use crate::node::environment::Environment;
use crate::node::handles::hooks::Hooks;
use crate::node::handles::node::Node;
use crate::protocol::engine::Options;
use crate::witness::Witness;

/// Makes and starts a [`Node`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use shadowpair::{ChangeSet, FirstStart, Node};
/// let node = Node::builder("/var/lib/app/pair").first_start(FirstStart::Master).listen("0.0.0.0:7443").start().await?;
/// let mastership = node.mastership().await?;
/// node.config().commit(ChangeSet::new().put("routes/api", "10.0.0.7:80")).await?;
/// assert!(mastership.check().is_ok());
/// node.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Builder {
    settings: Settings,
}

impl Node {
    /// Configures a node in this data directory. [`FirstStart`] says when a missing directory is created. Only one process at a time
    /// may use it.
    pub fn builder(dir: impl Into<PathBuf>) -> Builder {
        Builder { settings: Settings::new(dir.into()) }
    }
}

impl Builder {
    /// The role of a node that starts in a data directory without a node. The first start needs it; later starts ignore it, so that the
    /// same code is right at every start. Default: none.
    ///
    /// ```
    /// use shadowpair::{FirstStart, JoinToken, Node};
    /// fn shadow(token: JoinToken) -> shadowpair::Builder {
    ///     let join = FirstStart::Join { master: "10.0.0.1:7443".into(), token };
    ///     Node::builder("/var/lib/app/pair").first_start(join)
    /// }
    /// # let _ = shadow;
    /// ```
    pub fn first_start(mut self, first: FirstStart) -> Self {
        self.settings.first_start = Some(first);
        self
    }

    /// Name, timings, replication and failover. [`Builder::start`] checks them. Default: [`Options::default`].
    ///
    /// ```
    /// use shadowpair::{Node, Options, Replication};
    /// let mut options = Options::default();
    /// options.replication = Replication::Synchronous;
    /// let builder = Node::builder("/var/lib/app/pair").options(options);
    /// # drop(builder);
    /// ```
    pub fn options(mut self, options: Options) -> Self {
        self.settings.options = options;
        self
    }

    /// Address to listen on, as `host:port`. Port 0 lets the system choose a port. Default: `127.0.0.1:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.settings.listen = address.into();
        self
    }

    /// How long [`Builder::start`] waits for an address to listen on that this machine does not have yet, or a name that does not
    /// resolve yet: after a boot, DHCP or a VPN may be slower than the host. It tries twice a second and warns once in the log (target
    /// `shadowpair::start`). Zero turns it off. Default: [`LISTEN_WAIT_DEFAULT`](crate::limits::LISTEN_WAIT_DEFAULT) (60 s); at most
    /// [`LISTEN_WAIT_MAX`](crate::limits::LISTEN_WAIT_MAX) (24 h), to which a longer time is cut.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use shadowpair::Node;
    /// let builder = Node::builder("/var/lib/app/pair").listen("10.8.0.2:7443").listen_wait(Duration::from_secs(600));
    /// # drop(builder);
    /// ```
    pub fn listen_wait(mut self, at_most: Duration) -> Self {
        self.settings.listen_wait = at_most.min(LISTEN_WAIT_MAX);
        self
    }

    /// Address at which the peer dials this node, as `host:port`. Default: the address on which it listens.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.settings.advertise = Some(address.into());
        self
    }

    /// Accepts connections only from these host names, addresses and address ranges (`10.0.0.0/8`). A name is looked up at
    /// every connection. The peer needs the pinned key in any case. Default: none, which accepts every address.
    pub fn permit(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.settings.permit = hosts.into_iter().collect();
        self
    }

    /// A further address of the peer, as `host:port`. It is dialled in addition to the address that the peer advertises.
    /// Default: none.
    pub fn master_address(mut self, address: impl Into<String>) -> Self {
        self.settings.master_address = Some(address.into());
        self
    }

    /// The host's vetoes of pushes and takeovers. Default: none, which accepts everything.
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.settings.hooks = Some(hooks);
        self
    }

    /// Who may enrol a shadow beside those who have a token: users of the host, for whom this answers true. The host may look
    /// anywhere, also on the network; it must not block.
    ///
    /// It is asked on the master only, while high availability is enabled and no shadow is enrolled, and for
    /// [`Timeouts::hook`](crate::Timeouts::hook) at most. A panic or a time-out is a refusal. At most
    /// [`ENROL_ATTEMPTS_MAX`](crate::limits::ENROL_ATTEMPTS_MAX) (8) questions are under way, and who fails several times must wait
    /// longer and longer. Compare secrets in constant time, and take as long for an unknown user as for a wrong password. Default:
    /// none, which refuses everybody.
    ///
    /// ```
    /// use shadowpair::{Node, Password};
    /// # async fn ask_ldap(_user: &str, _password: &str) -> bool { true }
    /// let builder = Node::builder("/var/lib/app/pair")
    ///     .authenticate(|user: String, password: Password| async move { ask_ldap(&user, password.as_str()).await });
    /// # drop(builder);
    /// ```
    pub fn authenticate<F, A>(mut self, knows: F) -> Self
    where
        F: Fn(String, Password) -> A + Send + Sync + 'static,
        A: Future<Output = bool> + Send + 'static,
    {
        self.settings.authenticate = Some(Arc::new(move |user, password| Box::pin(knows(user, password))));
        self
    }

    /// The witness: a third vote beside the two nodes. With a witness, a partition never makes two masters, and only a shadow
    /// that is known to be in sync takes over. Both nodes need the same witness. It must fail independently of both. Each
    /// request to it takes [`Options::witness_timeout`] at most. Default: none; then [`Options::failover`] decides what the
    /// shadow does when the master is silent.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use shadowpair::{FileWitness, Node};
    /// let builder = Node::builder("/var/lib/app/pair").witness(Arc::new(FileWitness::new("/mnt/vote/app/pair-1")));
    /// # drop(builder);
    /// ```
    pub fn witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.settings.witness = Some(witness);
        self
    }

    /// The cryptography of rustls. Default: aws-lc-rs if it is built in, else ring. No process-wide default is installed.
    ///
    /// ```
    /// # #[cfg(feature = "aws-lc-rs")] {
    /// use std::sync::Arc;
    /// use shadowpair::Node;
    /// let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    /// let builder = Node::builder("/var/lib/app/pair").crypto_provider(provider);
    /// # drop(builder);
    /// # }
    /// ```
    pub fn crypto_provider(mut self, provider: Arc<rustls::crypto::CryptoProvider>) -> Self {
        self.settings.provider = Some(provider);
        self
    }

    /// Which key exchange links use. Default: [`KeyExchange::PreferPostQuantum`], which falls back to the classical one where a router
    /// drops the large hello; [`Status::key_exchange`](crate::Status::key_exchange) tells what the link uses.
    ///
    /// ```
    /// use shadowpair::{KeyExchange, Node};
    /// let builder = Node::builder("/var/lib/app/pair").key_exchange(KeyExchange::PostQuantumOnly);
    /// # drop(builder);
    /// ```
    pub fn key_exchange(mut self, wanted: KeyExchange) -> Self {
        self.settings.key_exchange = wanted;
        self
    }

    /// Replaces clock, network, disk, tasks and randomness by those of a test. Default: those of this machine.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn environment(mut self, environment: Environment) -> Self {
        self.settings.environment = environment;
        self
    }

    /// Key and certificate of a new node, as PEM, so that a replay has the same ones. Default: generated.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn identity(mut self, pem: String) -> Self {
        self.settings.identity = Some(pem);
        self
    }

    /// Starts the node. It needs a tokio runtime, current-thread or multi-thread, with time and network enabled.
    ///
    /// Returns when the node listens; [`Builder::listen_wait`] bounds the wait for an address that is not there yet. A first start that joins a master returns when the node is enrolled, which takes
    /// [`ENROL_TIMEOUT`](crate::limits::ENROL_TIMEOUT) (30 s) at most. It does not wait for the peer or for mastership.
    ///
    /// # Errors
    /// [`StartError`], which says what is left in the data directory.
    pub async fn start(self) -> Result<Node, StartError> {
        // Boxed, so that the host's future does not carry the 18 KiB of enrolment and recovery.
        Box::pin(start::start(self.settings)).await
    }
}
