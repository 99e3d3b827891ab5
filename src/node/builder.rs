use std::path::PathBuf;
use std::sync::Arc;

use super::permit::{BadPermit, Permit};
use super::seam::Environment;
use super::{Hooks, Node, start};
use crate::identity::JoinToken;
use crate::protocol::engine::{Options, OptionsError};
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
    pub(super) dir: PathBuf,
    pub(super) first_start: Option<FirstStart>,
    pub(super) options: Options,
    pub(super) listen: String,
    pub(super) advertise: Option<String>,
    pub(super) permit: Vec<String>,
    pub(super) master_address: Option<String>,
    pub(super) hooks: Option<Arc<dyn Hooks>>,
    pub(super) witness: Option<Arc<dyn Witness>>,
    pub(super) provider: Option<Arc<rustls::crypto::CryptoProvider>>,
    pub(super) environment: Environment,
}

/// What an empty data directory becomes. Ignored afterwards: the directory knows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FirstStart {
    /// The first master of a new pair.
    Master,
    /// The shadow of a master that is there.
    Join {
        /// `host:port` of the master.
        master: String,
        /// Made by the master's operator.
        token: JoinToken,
    },
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The options contradict each other. Nothing was touched.
    #[error("{0}")]
    Options(#[from] OptionsError),
    /// The directory is empty and nobody said what it should become.
    #[error("the data directory is empty: say whether this is the first master, or join a master with a token")]
    FirstStartMissing,
    /// The master could not be reached within 30 s. The directory is as empty as before.
    #[error("the master at {master} could not be reached: {reason}")]
    MasterUnreachable {
        /// Where.
        master: String,
        /// Why.
        reason: String,
    },
    /// The master refused. The directory is as empty as before.
    #[error("{0}")]
    Enrol(#[from] crate::identity::EnrolError),
    /// The data directory could not be opened; nothing was changed.
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    /// Key, certificate or TLS.
    #[error("{0}")]
    Identity(#[from] crate::identity::IdentityError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A permit is neither host name nor address range. Nothing was touched.
    #[error("{0} is neither a host name nor an address range")]
    Permit(String),
    /// An address is not of the form `host:port`, or too long. Nothing was touched.
    #[error("{0} is no address of the form host:port")]
    Address(String),
    /// The operating system has no randomness or no thread to spare.
    #[error("the system refuses what a node needs: {0}")]
    System(std::io::Error),
}

impl Builder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            first_start: None,
            options: Options::default(),
            listen: "127.0.0.1:0".into(),
            advertise: None,
            permit: Vec::new(),
            master_address: None,
            hooks: None,
            witness: None,
            provider: None,
            environment: Environment::real(),
        }
    }

    /// What an empty directory becomes. Needed at the first start only; ignored afterwards.
    pub fn first_start(mut self, first: FirstStart) -> Self {
        self.first_start = Some(first);
        self
    }

    /// The knobs. Default: [`Options::default`].
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Where to listen, as `host:port`; port 0 lets the system choose. Default `127.0.0.1:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Where the peer dials, as `host:port`. Default: where this node listens.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Only peers from these host names (looked up at every connection), addresses or address ranges (`10.0.0.0/8`)
    /// are answered. Default: everybody, who then needs the pinned key.
    pub fn permit(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.permit = hosts.into_iter().collect();
        self
    }

    /// The peer's address, tried beside the learnt one.
    pub fn master_address(mut self, address: impl Into<String>) -> Self {
        self.master_address = Some(address.into());
        self
    }

    /// What the host has a say in. Default: everything is acceptable.
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// The third vote: with it a partition never makes two masters, and nobody takes over that is not known to be in sync.
    /// Both nodes need the same one, and one that fails independently of either; each question to it is bounded by
    /// [`Options::witness_timeout`]. Default: none, and the options decide what a silent master means.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use shadowpair::{FileWitness, Node};
    /// let builder = Node::builder("/var/lib/app/pair").witness(Arc::new(FileWitness::new("/mnt/vote/app/pair-1")));
    /// # drop(builder);
    /// ```
    pub fn witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// The cryptography. Default: aws-lc-rs where it is built in, else ring. No process-wide default is installed.
    pub fn crypto_provider(mut self, provider: Arc<rustls::crypto::CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Another world: clock, network, disk and tasks that a test can break.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    #[allow(dead_code, reason = "the testing module of this crate calls it")]
    pub(crate) fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Starts the node, within a tokio runtime with time and network enabled; either flavour will do. Returns once the
    /// node listens and, at a first start that joins a master, once it is enrolled (30 s at the most). Waits neither
    /// for the peer nor for mastership.
    ///
    /// # Errors
    /// [`StartError`] says what is left in the directory.
    pub async fn start(self) -> Result<Node, StartError> {
        // Boxed: a host's future that awaits this must not carry the 18 KiB of enrolment and recovery in it.
        Box::pin(start::start(self)).await
    }

    pub(super) fn permits(&self) -> Result<Arc<[Permit]>, StartError> {
        let parse = |text: &String| text.parse().map_err(|BadPermit| StartError::Permit(text.clone()));
        self.permit.iter().map(parse).collect()
    }
}
