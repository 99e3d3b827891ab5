//! The settings with which a node starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use crate::identity::{JoinToken, KeyExchange, default_provider};
use crate::model::limits::LISTEN_WAIT_DEFAULT;
use crate::node::environment::Environment;
use crate::node::handles::hooks::Hooks;
use crate::protocol::engine::Options;
use crate::store::StoreOptions;
use crate::witness::Witness;

/// The settings with which a node starts. [`Builder`](crate::Builder) documents them.
pub struct Settings {
    pub dir: PathBuf,
    pub first_start: Option<FirstStart>,
    pub options: Options,
    pub listen: String,
    /// How long to wait for an address that this machine does not have yet.
    pub listen_wait: Duration,
    pub advertise: Option<String>,
    pub permit: Vec<String>,
    pub master_address: Option<String>,
    pub hooks: Option<Arc<dyn Hooks>>,
    pub witness: Option<Arc<dyn Witness>>,
    pub provider: Option<Arc<CryptoProvider>>,
    pub key_exchange: KeyExchange,
    pub environment: Environment,
    /// Key and certificate of a new node, as PEM. `None` generates them.
    pub identity: Option<String>,
}

/// The role of a node that starts in a data directory without a node. A directory that holds a node stores its role; then this is
/// ignored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FirstStart {
    /// The first master of a new pair. It is made only where the data directory does not exist. A directory that is there and holds no node ends with [`StartError::NewPairRefused`](crate::StartError::NewPairRefused): the volume of a master
    /// that restarts may not be mounted, and a blank master must not serve beside the shadow that takes over. A first start that was
    /// interrupted, or failed, goes on.
    Master,
    /// The first master of a new pair, also in an existing directory without a node. For an operator who insists, once: a host that always says this gives up the protection of [`FirstStart::Master`]. It never overwrites
    /// the files of a node.
    NewPair,
    /// The shadow of a running master.
    Join {
        /// Address of the master, as `host:port`.
        master: String,
        /// A token from [`Operator::token`](crate::Operator::token) on the master.
        token: JoinToken,
    },
}

impl Settings {
    /// The defaults, for a node in this data directory.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            first_start: None,
            options: Options::default(),
            listen: "127.0.0.1:0".into(),
            listen_wait: LISTEN_WAIT_DEFAULT,
            advertise: None,
            permit: Vec::new(),
            master_address: None,
            hooks: None,
            witness: None,
            provider: None,
            key_exchange: KeyExchange::default(),
            environment: Environment::real(),
            identity: None,
        }
    }

    /// The cryptography to use.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        self.provider.clone().unwrap_or_else(default_provider)
    }

    /// The store's part of the options.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions { log_changes: self.options.log.changes, log_bytes: self.options.log.bytes }
    }
}
