//! What the driver works with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::identity::Tls;
use crate::node::environment::{Environment, TaskScope};
use crate::node::handles::status::NodeInfo;
use crate::node::network::accept_policy::AcceptPolicy;
use crate::node::network::address_book::AddressBook;
use crate::node::network::enrolment_client::EnrolmentClient;
use crate::node::network::link::LinkContext;
use crate::node::offload::hook_runner::HookRunner;
use crate::node::offload::identity_store::IdentityStore;
use crate::node::offload::store_executor::StoreExecutor;
use crate::node::offload::witness_client::WitnessClient;
use crate::store::Reader;

/// What the driver works with. It stays the same for the life of the node.
pub struct DriverContext {
    pub environment: Environment,
    pub info: NodeInfo,
    pub tls: Tls,
    pub reader: Reader,
    pub store: StoreExecutor,
    pub hooks: HookRunner,
    pub witness: WitnessClient,
    pub policy: Arc<AcceptPolicy>,
    pub links: LinkContext,
    /// Ends when the last link's task does.
    pub links_over: mpsc::Receiver<()>,
    /// Dialled beside the peer's learnt address.
    pub master_address: Option<String>,
    /// Where the peer was last reached.
    pub addresses: AddressBook,
    /// Renews this node's key.
    pub identity: IdentityStore,
    /// An enrolment that is stored here and perhaps not on the master.
    pub unconfirmed: Option<EnrolmentClient>,
    /// Ends the node's tasks with the driver.
    pub scope: TaskScope,
}

impl DriverContext {
    /// How long a shutdown waits for others.
    pub fn drain_timeout(&self) -> Duration {
        self.links.drain
    }

    /// Runs a task that ends with the driver.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.scope.spawn(&*self.environment.tasks, task);
    }
}
