//! The settings with which a node starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use crate::identity::{Credentials, JoinToken, KeyExchange, default_provider};
use crate::model::limits::LISTEN_WAIT_DEFAULT;
use crate::model::{KeyId, Password};
use crate::node::environment::Environment;
use crate::node::handles::hooks::Hooks;
use crate::node::offload::authenticator::Authenticate;
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
    pub authenticate: Option<Authenticate>,
    pub witness: Option<Arc<dyn Witness>>,
    pub provider: Option<Arc<CryptoProvider>>,
    pub key_exchange: KeyExchange,
    pub environment: Environment,
    /// Key and certificate of a new node, as PEM. `None` generates them.
    pub identity: Option<String>,
}

/// The role of a node that starts in a data directory without a node. A directory that holds a node stores its role; then this is
/// ignored. But a shadow whose pairing was forgotten ([`Operator::reset`](crate::Operator::reset)) is enrolled again by
/// [`FirstStart::Join`] and [`FirstStart::JoinAsUser`], in place: it keeps its copy, and gets what it lacks. Where it is refused or
/// cannot reach the master within [`ENROL_TIMEOUT`](crate::limits::ENROL_TIMEOUT), it starts as it was, with a warning in the log
/// (target `shadowpair::start`).
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
    /// The shadow of a running master whose host knows this user: see [`Builder::authenticate`](crate::Builder::authenticate). User and
    /// password are sent only to a master that has the key of this fingerprint.
    JoinAsUser {
        /// Address of the master, as `host:port`.
        master: String,
        /// The fingerprint of the master's key: [`Status::keys`](crate::Status::keys) of the master.
        fingerprint: KeyId,
        /// The user, of 1 to [`USER_BYTES_MAX`](crate::limits::USER_BYTES_MAX) bytes.
        user: String,
        /// The user's password.
        password: Password,
    },
}

impl FirstStart {
    /// Where a master is to be asked, and with what.
    pub fn join(&self) -> Option<(&str, Credentials)> {
        match self {
            Self::Master | Self::NewPair => None,
            Self::Join { master, token } => Some((master, Credentials::Token(token.clone()))),
            Self::JoinAsUser { master, fingerprint, user, password } => {
                let (user, password) = (user.clone(), password.clone());
                Some((master, Credentials::User { master: *fingerprint, user, password }))
            }
        }
    }
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
            authenticate: None,
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
