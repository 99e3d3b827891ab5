//! Starts a node: checks the settings, opens or creates the data directory, and connects handles, driver and acceptor.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::error::StartError;
use super::open_or_create::{OpenedNode, lock, open_or_create};
use super::settings::{FirstStart, Settings};
use crate::identity::Tls;
use crate::model::limits::{
    ADDRESS_BYTES_MAX, COMMAND_QUEUE_MAX, COMMIT_QUEUE_MAX, INPUTS_MAX, LISTEN_RETRY, STORE_REPORTS_MAX, USER_BYTES_MAX,
};
use crate::model::{NodeId, RunId};
use crate::node::driver::auditor::Auditor;
use crate::node::driver::callers::Callers;
use crate::node::driver::context::DriverContext;
use crate::node::driver::event_loop::Driver;
use crate::node::driver::inbox::Inbox;
use crate::node::driver::input::Input;
use crate::node::driver::notifier::Notifier;
use crate::node::environment::{Environment, Listener, TaskScope};
use crate::node::handles::admission::Admission;
use crate::node::handles::node::Node;
use crate::node::handles::shared::{Request, Shared};
use crate::node::handles::status::NodeInfo;
use crate::node::network::accept_policy::AcceptPolicy;
use crate::node::network::acceptor::Acceptor;
use crate::node::network::address_book::is_undialable;
use crate::node::network::address_check::AddressCheck;
use crate::node::network::enrolment_client::EnrolmentClient;
use crate::node::network::enrolment_server::EnrolmentServer;
use crate::node::network::link::LinkContext;
use crate::node::network::permitted_sources::{InvalidSource, PermittedSource, PermittedSources};
use crate::node::offload::audit_log::AuditLog;
use crate::node::offload::authenticator::Authenticator;
use crate::node::offload::hook_runner::HookRunner;
use crate::node::offload::identity_store::IdentityStore;
use crate::node::offload::pusher::Pusher;
use crate::node::offload::store_executor::StoreExecutor;
use crate::node::offload::witness_client::WitnessClient;
use crate::protocol::engine::{Action, Engine, Now, Options, OwnKeys, Start};
use crate::store::{Opened, Reader, Store, StoreError};

/// Starts a node. A refused permission is explained.
pub async fn start(settings: Settings) -> Result<Node, StartError> {
    let (environment, dir) = (settings.environment.clone(), settings.dir.clone());
    match Box::pin(start_once(settings)).await {
        Err(StartError::Store(StoreError::Io { what, source })) if source.kind() == io::ErrorKind::PermissionDenied => {
            let disk = Arc::clone(&environment.disk);
            let explained = environment.block(move || disk.explain_denied(&dir)).await;
            Err(explained.ok().flatten().unwrap_or(StoreError::Io { what, source }).into())
        }
        started => started,
    }
}

async fn start_once(settings: Settings) -> Result<Node, StartError> {
    check(&settings)?;
    let sources = permitted_sources(&settings)?;
    let (lock, exists) = lock(&settings).await?;
    if !exists && settings.first_start.is_none() {
        return Err(StartError::FirstStartMissing);
    }
    let listener = listen(&settings).await?;
    let advertise = settings.advertise.clone().unwrap_or_else(|| listener.address().to_string());
    let opened = Box::pin(open_or_create(&settings, &advertise, lock, exists)).await?;
    assemble(settings, sources, listener, advertise, opened)
}

fn check(settings: &Settings) -> Result<(), StartError> {
    settings.options.validate()?;
    if let Some(FirstStart::JoinAsUser { user, .. }) = &settings.first_start
        && !(1..=USER_BYTES_MAX).contains(&user.len())
    {
        return Err(StartError::User);
    }
    let join = match &settings.first_start {
        Some(FirstStart::Join { master, .. } | FirstStart::JoinAsUser { master, .. }) => Some(master),
        _ => None,
    };
    let addresses = [Some(&settings.listen), settings.advertise.as_ref(), settings.master_address.as_ref(), join];
    if let Some(address) = addresses.into_iter().flatten().find(|address| !is_address(address)) {
        return Err(StartError::Address(address.clone()));
    }
    match [settings.advertise.as_ref(), settings.master_address.as_ref(), join]
        .into_iter()
        .flatten()
        .find(|at| is_undialable(at))
    {
        Some(address) => Err(StartError::Undialable(address.clone())),
        None => Ok(()),
    }
}

fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    text.len() <= ADDRESS_BYTES_MAX && parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn permitted_sources(settings: &Settings) -> Result<Arc<[PermittedSource]>, StartError> {
    let parse = |text: &String| text.parse().map_err(|InvalidSource| StartError::Permit(text.clone()));
    settings.permit.iter().map(parse).collect()
}

/// Listens, as soon as the address is there. A node that nobody can reach must not run.
async fn listen(settings: &Settings) -> Result<Box<dyn Listener>, StartError> {
    let Settings { environment, listen: address, listen_wait, .. } = settings;
    let end = environment.after(*listen_wait);
    let mut is_told = false;
    loop {
        let source = match environment.net.listen(address.clone()).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        if !may_come(address, &source) || environment.clock.now() >= end {
            return Err(StartError::Listen { address: address.clone(), source });
        }
        if !is_told {
            is_told = true;
            let wait = listen_wait;
            tracing::warn!(target: "shadowpair::start", "cannot listen on {address} yet: {source}; trying for {wait:?}");
        }
        environment.clock.sleep_until(end.min(environment.after(LISTEN_RETRY))).await;
    }
}

/// Whether an address that cannot be listened on now may be there later: this machine does not have it, or its name does not resolve. One that
/// another process uses is told of at once: whoever starts a second node by mistake must not wait to learn it.
fn may_come(address: &str, error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, InvalidInput, PermissionDenied};
    match error.kind() {
        AddrNotAvailable => true,
        AddrInUse | InvalidInput | PermissionDenied => false,
        _ => address.parse::<SocketAddr>().is_err(),
    }
}

/// Starts the engine, makes the handles, the driver, the acceptor and the channels between them, and runs the tasks.
fn assemble(
    settings: Settings,
    sources: Arc<[PermittedSource]>,
    listener: Box<dyn Listener>,
    advertise: String,
    opened: OpenedNode,
) -> Result<Node, StartError> {
    let OpenedNode { keys, pins, tls, opened, unconfirmed, addresses, is_new } = opened;
    let Settings { dir, options, hooks, authenticate, witness, master_address, environment, .. } = settings;
    let info = NodeInfo::new(&options.name, listener.address(), &advertise, witness.as_deref());
    let node = opened.durable_state.node;
    tracing::info!(%node, listen = %info.listen, advertise, "started");
    let now = now(&environment)?;
    let (store, reader, start) = engine_start(&environment, opened, keys, &options, &advertise, witness.is_some())?;
    let audit = AuditLog::new(environment.clone(), dir.clone());
    let auditor = Auditor::new(audit.clone(), &start.durable_state, start.keys, is_new, now.at);
    let (engine, first) = start_engine(now, start);
    let (inputs, inputs_received) = mpsc::channel(INPUTS_MAX);
    let (callers, callers_received) = mpsc::channel(COMMIT_QUEUE_MAX + COMMAND_QUEUE_MAX);
    let (alive, links_over) = mpsc::channel(1);
    let handles = watch::Sender::new(());
    let (reports, reports_received) = mpsc::channel(STORE_REPORTS_MAX);
    let store = StoreExecutor::new(environment.clone(), store, reader.clone(), reports);
    let notifier =
        Notifier::new(info.status(engine.status(now.at, now.wall_ms), engine.own_keys(), None, now.at), auditor);
    let policy = Arc::new(AcceptPolicy::new(pins));
    let shared = shared(&environment, (node, &tls, options.schema), &reader, &store, callers, (&notifier, audit));
    let users = Authenticator::new(authenticate, environment.clone(), options.timeouts.hook);
    let names = (options.name.clone(), advertise.clone());
    let enrolment = EnrolmentServer::new(&environment, &policy, &inputs, users, names);
    let acceptor = Acceptor {
        environment: environment.clone(),
        tls: tls.clone(),
        sources: PermittedSources::new(sources, environment.clone()),
        inputs: inputs.clone(),
        enrolment,
    };
    let unconfirmed = unconfirmed
        .map(|(master, shown)| EnrolmentClient::new(&environment, &tls, &options, &advertise, &master, &shown));
    let context = DriverContext {
        info,
        identity: IdentityStore { environment: environment.clone(), dir, tls: tls.clone() },
        tls,
        links: link_context(&environment, &options, &reader, inputs, alive),
        reader,
        store,
        hooks: HookRunner::new(hooks, environment.clone(), options.timeouts.hook),
        witness: WitnessClient::new(witness, environment.clone(), options.witness_timeout()),
        policy,
        links_over,
        master_address,
        addresses,
        unconfirmed,
        scope: TaskScope::new(),
        environment,
    };
    let inbox = Inbox {
        reports: reports_received,
        inputs: inputs_received,
        callers: callers_received,
        handles: Some(handles.subscribe()),
    };
    let tasks = Arc::clone(&context.environment.tasks);
    context.spawn(acceptor.run(listener));
    context.spawn(AddressCheck::new(&context.links, advertise).run());
    tasks.spawn(Box::pin(Driver::new(engine, inbox, notifier, Callers::new(&shared.admission), context).run(first)));
    Ok(Node::new(shared, handles))
}

/// Starts the engine, in tests with the mistake that is asked for.
fn start_engine(now: Now, start: Start) -> (Engine, Vec<Action>) {
    let (engine, first) = Engine::start(now, start);
    #[cfg(test)]
    let engine = crate::node::mutants::in_engine(engine);
    (engine, first)
}

/// What every link of the node needs.
fn link_context(
    environment: &Environment,
    options: &Options,
    reader: &Reader,
    inputs: mpsc::Sender<Input>,
    alive: mpsc::Sender<()>,
) -> LinkContext {
    let environment = environment.clone();
    let pusher = Pusher::new(environment.clone(), reader.clone());
    let (drain, progress) = (options.timeouts.drain, options.heartbeat / 2);
    let (keys, met) = (reader.digest_key(), Arc::new(watch::Sender::new(None)));
    let versions = options.versions();
    LinkContext { environment, pusher, inputs, keys, versions, drain, progress, alive, met }
}

/// Splits the opened store into the store, its reader, and the input of [`Engine::start`].
fn engine_start(
    environment: &Environment,
    opened: Opened,
    keys: OwnKeys,
    options: &Options,
    advertise: &str,
    witnessed: bool,
) -> Result<(Store, Reader, Start), StartError> {
    let run = RunId(environment.random_u64().map_err(StartError::System)?);
    let Opened { store, reader, durable_state, head, log_floor, history, shown, damage } = opened;
    let (options, address) = (options.clone(), advertise.to_owned());
    Ok((
        store,
        reader,
        Start { durable_state, head, log_floor, history, shown, options, run, address, keys, witnessed, damage },
    ))
}

/// Makes the state that the handles of the node share.
fn shared(
    environment: &Environment,
    (node, tls, schema): (NodeId, &Tls, u32),
    reader: &Reader,
    store: &StoreExecutor,
    callers: mpsc::Sender<Request>,
    (notifier, audit): (&Notifier, AuditLog),
) -> Arc<Shared> {
    Arc::new(Shared {
        environment: environment.clone(),
        node,
        tls: tls.clone(),
        schema,
        reader: reader.clone(),
        store: store.clone(),
        callers,
        admission: Arc::new(Admission::default()),
        mastership: Arc::clone(&notifier.mastership),
        status: notifier.status.subscribe(),
        events: notifier.events.clone(),
        watches: notifier.watches.clone(),
        stopped: notifier.stopped.subscribe(),
        audit,
    })
}

fn now(environment: &Environment) -> Result<Now, StartError> {
    let random = environment.random_u64().map_err(StartError::System)?;
    Ok(Now { at: environment.clock.now(), wall_ms: environment.clock.wall_ms(), random })
}
