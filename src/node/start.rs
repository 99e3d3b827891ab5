//! From a data directory to a running node.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::builder::{Builder, FirstStart, StartError};
use super::driver::{Driver, Tools};
use super::hooks::Host;
use super::inbox::Inbox;
use super::join::{Joining, Stored};
use super::link::LinkContext;
use super::listener::{Door, Porch};
use super::permit::{Permit, Permits};
use super::persist::{Keeper, StoreCell};
use super::push::Pusher;
use super::seam::{Environment, Listener, Scope, fill_random, random_u64};
use super::shared::{Queue, Shared};
use super::voice::{Place, Voice};
use super::witness::ThirdVote;
use super::{Node, files};
use crate::identity::{Identity, JoinToken, Pins, Tls, default_provider};
use crate::model::limits::{ADDRESS_BYTES_MAX, COMMAND_QUEUE_MAX, COMMIT_QUEUE_MAX, INPUTS_MAX};
use crate::model::{PairId, Revision, RunId};
use crate::protocol::engine::{DurableState, Engine, Now, Options, Start};
use crate::protocol::wire::Role;
use crate::store::{DirLock, Opened, Reader, Store, StoreError, StoreOptions};

/// Starts a node: checks what was asked for, opens or makes what the directory holds, and lets the engine run.
pub async fn start(builder: Builder) -> Result<Node, StartError> {
    check(&builder)?;
    let permits = builder.permits()?;
    let environment = builder.environment.clone();
    let (lock, exists) = lock(&environment, &builder.dir).await?;
    if !exists && builder.first_start.is_none() {
        return Err(StartError::FirstStartMissing);
    }
    let listener = listen(&environment, &builder.listen).await?;
    let advertise = builder.advertise.clone().unwrap_or_else(|| listener.address().to_string());
    let site = Site { advertise, lock, exists };
    let home = Box::pin(move_in(&builder, site)).await?;
    run(builder, permits, environment, listener, home)
}

/// What there is before the directory is opened.
struct Site {
    advertise: String,
    lock: DirLock,
    exists: bool,
}

/// A directory that holds a node, opened.
struct Home {
    advertise: String,
    identity: Identity,
    pins: Pins,
    tls: Tls,
    opened: Opened,
    /// The pairing is stored here, but perhaps not with the master: to be asked again.
    unconfirmed: Option<(String, JoinToken)>,
}

fn check(builder: &Builder) -> Result<(), StartError> {
    builder.options.validate()?;
    let join = match &builder.first_start {
        Some(FirstStart::Join { master, .. }) => Some(master),
        _ => None,
    };
    let addresses = [Some(&builder.listen), builder.advertise.as_ref(), builder.master_address.as_ref(), join];
    match addresses.into_iter().flatten().find(|address| !is_address(address)) {
        Some(address) => Err(StartError::Address(address.clone())),
        None => Ok(()),
    }
}

fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    text.len() <= ADDRESS_BYTES_MAX && parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

async fn lock(environment: &Environment, dir: &Path) -> Result<(DirLock, bool), StartError> {
    let (disk, dir) = (Arc::clone(&environment.disk), dir.to_owned());
    let take = move || {
        let lock = Store::lock(&disk, &dir)?;
        Ok((lock, Store::exists(&disk, &dir)?))
    };
    on_disk(environment, take).await
}

async fn listen(environment: &Environment, address: &str) -> Result<Box<dyn Listener>, StartError> {
    let listening = environment.net.listen(address.to_owned()).await;
    listening.map_err(|source| StartError::Listen { address: address.to_owned(), source })
}

/// Opens the node that the directory holds, or makes the first one.
async fn move_in(builder: &Builder, site: Site) -> Result<Home, StartError> {
    if site.exists {
        return open(builder, site).await;
    }
    let identity = Identity::generate()?;
    let pins = Pins::new(None);
    let tls = Tls::new(&identity, pins.clone(), provider(builder))?;
    let (opened, unconfirmed) = match &builder.first_start {
        Some(FirstStart::Master) => {
            let mut pair = [0; 16];
            fill_random(&mut pair).map_err(StartError::System)?;
            let durable_state = DurableState::first_master(identity.node(), PairId(pair));
            (create(builder, site.lock, &identity, durable_state).await?, None)
        }
        Some(FirstStart::Join { master, token }) => {
            Box::pin(join(builder, &site.advertise, site.lock, &identity, &tls, (master, token))).await?
        }
        None => return Err(StartError::FirstStartMissing),
    };
    Ok(Home { advertise: site.advertise, identity, pins, tls, opened, unconfirmed })
}

async fn open(builder: &Builder, site: Site) -> Result<Home, StartError> {
    let environment = &builder.environment;
    let (disk, dir, options) = (Arc::clone(&environment.disk), builder.dir.clone(), store_options(&builder.options));
    let Site { advertise, lock, .. } = site;
    let read = move || {
        let pem = files::read_identity(&*disk, &dir)?;
        Ok((pem, Store::open(disk, &dir, lock, options)?))
    };
    let (pem, opened) = on_disk(environment, read).await?;
    let identity = Identity::from_pem(&pem)?;
    if identity.node() != opened.durable_state.node {
        let reason = "it is not the one that the data directory was made with".to_owned();
        return Err(crate::identity::IdentityError::Corrupt(reason).into());
    }
    let pins = Pins::new(opened.durable_state.peer.as_ref().map(|peer| peer.node));
    let tls = Tls::new(&identity, pins.clone(), provider(builder))?;
    // Stopped between the two sides' storing of an enrolment, the shadow knows a master that does not know it.
    let never_met = opened.durable_state.role == Role::Shadow && opened.head.revision == Revision::NONE;
    let unconfirmed = match &builder.first_start {
        Some(FirstStart::Join { master, token }) if never_met => Some((master.clone(), token.clone())),
        _ => None,
    };
    Ok(Home { advertise, identity, pins, tls, opened, unconfirmed })
}

/// Makes the directory a node's: the identity first, so that a directory that counts as a node's always has one.
async fn create(
    builder: &Builder,
    lock: DirLock,
    identity: &Identity,
    durable_state: DurableState,
) -> Result<Opened, StartError> {
    let (disk, dir, options) =
        (Arc::clone(&builder.environment.disk), builder.dir.clone(), store_options(&builder.options));
    let pem = identity.to_pem();
    let make = move || {
        files::write_identity(&*disk, &dir, &pem)?;
        Store::create(Arc::clone(&disk), &dir, lock, &durable_state, options)
            .inspect_err(|_| files::remove_identity(&*disk, &dir))
    };
    on_disk(&builder.environment, make).await
}

/// Enrols with a master, stores the pairing, and confirms it. Until it is stored the directory stays empty.
async fn join(
    builder: &Builder,
    advertise: &str,
    lock: DirLock,
    identity: &Identity,
    tls: &Tls,
    (master, token): (&String, &JoinToken),
) -> Result<(Opened, Option<(String, JoinToken)>), StartError> {
    let joining = Joining::new(&builder.environment, tls, &builder.options, advertise, master, token);
    let enrolling = joining.enrol().await?;
    let durable_state = joining.durable_state(identity.node(), enrolling.enrolled());
    let opened = create(builder, lock, identity, durable_state).await?;
    // From here on the pairing stands on this side: a lost answer is no failed start. A refusal is.
    match joining.confirm(enrolling).await {
        Ok(Stored::OnBoth) => Ok((opened, None)),
        Ok(Stored::Here) => Ok((opened, Some((master.clone(), token.clone())))),
        Err(refused) => {
            Box::pin(unmake(builder, opened)).await?;
            Err(refused)
        }
    }
}

/// Leaves the directory as empty as it was.
async fn unmake(builder: &Builder, opened: Opened) -> Result<(), StartError> {
    let (disk, dir) = (Arc::clone(&builder.environment.disk), builder.dir.clone());
    let unmake = move || {
        Store::discard(opened)?;
        files::remove_identity(&*disk, &dir);
        Ok(())
    };
    on_disk(&builder.environment, unmake).await
}

/// Lets the engine run: the handles and the driver, and between them the channels.
fn run(
    builder: Builder,
    permits: Arc<[Permit]>,
    environment: Environment,
    listener: Box<dyn Listener>,
    home: Home,
) -> Result<Node, StartError> {
    let Home { advertise, identity, pins, tls, opened, unconfirmed } = home;
    let Builder { options, hooks, witness, master_address, .. } = builder;
    let place = Place::new(&options.name, listener.address(), &advertise, witness.as_deref());
    tracing::info!(node = %identity.node(), listen = %place.listen, advertise, "started");

    let now = now(&environment)?;
    let (store, reader, start) = engine_start(opened, &options, &advertise, witness.is_some())?;
    let (engine, first) = Engine::start(now, start);

    let (inputs, inputs_lane) = mpsc::channel(INPUTS_MAX);
    let (callers, callers_lane) = mpsc::channel(COMMIT_QUEUE_MAX + COMMAND_QUEUE_MAX);
    let (alive, links_over) = mpsc::channel(1);
    let handles = watch::Sender::new(());
    let store: StoreCell = Arc::new(tokio::sync::Mutex::new(Some(store)));
    let voice = Voice::new(place.status(engine.status(now.at, now.wall_ms), now.at));
    let shared = Arc::new(Shared {
        environment: environment.clone(),
        node: identity.node(),
        reader: reader.clone(),
        store: Arc::clone(&store),
        callers,
        queue: Arc::new(Queue::default()),
        reign: Arc::clone(&voice.reign),
        status: voice.status.subscribe(),
        events: voice.events.clone(),
        notices: voice.notices.clone(),
        stopped: voice.stopped.subscribe(),
    });

    let (porch, scope) = (Arc::new(Porch::new(pins)), Scope::new());
    let (tasks, name) = (Arc::clone(&environment.tasks), options.name.clone());
    let (door_tls, door_porch, door_inputs) = (tls.clone(), Arc::clone(&porch), inputs.clone());
    let unconfirmed =
        unconfirmed.map(|(master, token)| Joining::new(&environment, &tls, &options, &advertise, &master, &token));
    let world = environment.clone();
    let permits = Permits::new(permits, world.clone());
    let door =
        Door { environment: world, tls: door_tls, porch: door_porch, permits, inputs: door_inputs, name, advertise };
    scope.spawn(&*tasks, door.keep(listener));
    let host = Host::new(hooks, environment.clone(), options.hook_timeout);
    let pusher = Pusher::new(environment.clone(), reader.clone());
    let links = LinkContext { environment: environment.clone(), pusher, inputs, drain: options.drain_timeout, alive };
    let tools = Tools {
        keeper: Keeper::new(environment.clone(), store, host.clone()),
        vote: ThirdVote::new(witness, environment.clone(), options.witness_timeout()),
        environment,
        reader,
        host,
        tls,
        porch,
        links,
        links_over,
        master_address,
        drain_timeout: options.drain_timeout,
        certificate_ends: identity.expires(),
        place,
        unconfirmed,
        scope,
    };
    let inbox = Inbox { inputs: inputs_lane, callers: callers_lane, handles: Some(handles.subscribe()) };
    tasks.spawn(Box::pin(Driver::new(engine, inbox, voice, tools).run(first)));
    Ok(Node::new(shared, handles))
}

fn now(environment: &Environment) -> Result<Now, StartError> {
    let random = random_u64().map_err(StartError::System)?;
    Ok(Now { at: environment.clock.now(), wall_ms: environment.clock.wall_ms(), random })
}

/// What the engine starts from, and the store that it is about.
fn engine_start(
    opened: Opened,
    options: &Options,
    advertise: &str,
    witnessed: bool,
) -> Result<(Store, Reader, Start), StartError> {
    let Opened { store, reader, durable_state, head, log_floor, history, damage } = opened;
    let run = RunId(random_u64().map_err(StartError::System)?);
    let (options, address) = (options.clone(), advertise.to_owned());
    Ok((store, reader, Start { durable_state, head, log_floor, history, options, run, address, witnessed, damage }))
}

fn provider(builder: &Builder) -> Arc<rustls::crypto::CryptoProvider> {
    builder.provider.clone().unwrap_or_else(default_provider)
}

fn store_options(options: &Options) -> StoreOptions {
    StoreOptions { log_changes: options.log_changes, log_bytes: options.log_bytes }
}

/// Runs what touches the disk; a panic in it (a damaged state can cause one) is a damaged directory.
async fn on_disk<T: Send + 'static>(
    environment: &Environment,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    let corrupt = || StoreError::Corrupt { what: "the data directory".into(), reason: "opening it panicked".into() };
    Ok(environment.block(work).await.unwrap_or_else(|_| Err(corrupt()))?)
}

/// The system's word for a file operation, as an error of the store.
pub fn io_error(what: &str, source: io::Error) -> StoreError {
    StoreError::Io { what: what.to_owned(), source }
}
