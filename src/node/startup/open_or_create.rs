//! Opens the node that a data directory holds, or creates the first one in an empty directory.

use std::sync::Arc;

use super::error::StartError;
use super::first_start;
use super::settings::{FirstStart, Settings};
use crate::identity::{Credentials, Identity, IdentityError, Pins, Tls};
use crate::model::{PairId, Revision};
use crate::node::environment::Environment;
use crate::node::network::address_book::AddressBook;
use crate::node::network::enrolment_client::{EnrolmentClient, Stored};
use crate::node::offload::identity_file;
use crate::protocol::engine::{DurableState, OwnKeys};
use crate::protocol::wire::Role;
use crate::store::{DirLock, Opened, Store, StoreError};

/// An opened data directory.
pub struct OpenedNode {
    pub keys: OwnKeys,
    pub pins: Pins,
    pub tls: Tls,
    pub opened: Opened,
    /// Master and credentials of an enrolment that this node has stored, and the master perhaps has not.
    pub unconfirmed: Option<(String, Credentials)>,
    /// Where the peer was reached in earlier runs.
    pub addresses: AddressBook,
    /// It was created by this start.
    pub is_new: bool,
}

/// Locks the data directory, which is made for a first start. Returns whether it holds a node.
pub async fn lock(settings: &Settings) -> Result<(DirLock, bool), StartError> {
    let (disk, dir) = (Arc::clone(&settings.environment.disk), settings.dir.clone());
    let first = settings.first_start.clone();
    let take = move || {
        first_start::prepare(&*disk, &dir, first.as_ref())?;
        let lock = Store::lock(&disk, &dir)?;
        Ok::<_, StartError>((lock, Store::exists(&disk, &dir)?))
    };
    on_disk(&settings.environment, take).await
}

/// Opens the node that the directory holds (`exists`), or creates the first one.
pub async fn open_or_create(
    settings: &Settings,
    advertise: &str,
    lock: DirLock,
    exists: bool,
) -> Result<OpenedNode, StartError> {
    if exists {
        let opened = open(settings, lock).await?;
        return match settings.first_start.as_ref().and_then(FirstStart::join) {
            Some((master, shown)) if opened.opened.durable_state.detached => {
                Box::pin(enrol_again(settings, advertise, opened, (master, shown))).await
            }
            _ => Ok(opened),
        };
    }
    let identity = match &settings.identity {
        Some(pem) => Identity::from_pem(pem)?,
        None => Identity::generate()?,
    };
    let pins = Pins::new(None);
    let tls = Tls::new(&identity, pins.clone(), settings.provider(), settings.key_exchange)?;
    let Some(first) = &settings.first_start else { return Err(StartError::FirstStartMissing) };
    let (opened, unconfirmed) = match first.join() {
        None => {
            let mut pair = [0; 16];
            settings.environment.randomness.fill(&mut pair).map_err(StartError::System)?;
            let durable_state = DurableState::first_master(identity.node(), PairId(pair));
            (create(settings, lock, &identity, durable_state).await?, None)
        }
        Some((master, shown)) => {
            let (environment, options) = (&settings.environment, &settings.options);
            let client = EnrolmentClient::new(environment, &tls, options, advertise, master, &shown);
            let (opened, stored) = Box::pin(join(settings, &client, lock, &identity)).await?;
            (opened, (stored == Stored::Here).then(|| (master.to_owned(), shown)))
        }
    };
    let keys = OwnKeys::only(identity.key_id());
    Ok(OpenedNode { keys, pins, tls, opened, unconfirmed, addresses: AddressBook::default(), is_new: true })
}

async fn open(settings: &Settings, lock: DirLock) -> Result<OpenedNode, StartError> {
    let environment = &settings.environment;
    let (disk, dir, options) = (Arc::clone(&environment.disk), settings.dir.clone(), settings.store_options());
    let read = move || {
        first_start::completed(&*disk, &dir);
        let pem = identity_file::read_identity(&*disk, &dir)?;
        let next = identity_file::read_next_identity(&*disk, &dir)?;
        let addresses = Store::addresses(&*disk, &dir);
        Ok::<_, StoreError>((pem, next, addresses, Store::open(disk, &dir, lock, options)?))
    };
    let (pem, next, addresses, opened) = on_disk(environment, read).await?;
    let identity = Identity::from_pem(&pem)?;
    let next = next.and_then(|pem| match Identity::from_pem(&pem) {
        Ok(next) => Some(next.key_id()),
        Err(error) => {
            tracing::warn!(%error, "the next identity cannot be read; another one is made when it is needed");
            None
        }
    });
    let keys = OwnKeys { current: identity.key_id(), next };
    if identity.node() != opened.durable_state.node {
        let reason = "it is not the one that the data directory was made with".to_owned();
        return Err(IdentityError::Corrupt(reason).into());
    }
    let pins = Pins::new(opened.durable_state.peer.as_ref().map(|peer| peer.keys));
    let tls = Tls::new(&identity, pins.clone(), settings.provider(), settings.key_exchange)?;
    // The first start may have been interrupted after this node stored the enrolment and before the master did. Then the
    // master does not know this shadow.
    let never_met = opened.durable_state.role == Role::Shadow && opened.head.revision == Revision::NONE;
    let join = settings.first_start.as_ref().and_then(FirstStart::join).filter(|_| never_met);
    let unconfirmed = join.map(|(master, shown)| (master.to_owned(), shown));
    let addresses = AddressBook::restore(&addresses);
    Ok(OpenedNode { keys, pins, tls, opened, unconfirmed, addresses, is_new: false })
}

/// Enrols a node whose pairing was forgotten again, in place: it keeps its identity and its copy, and is repaired by the cheapest
/// repair. Where that cannot be done the node starts as it was: its copy is readable, and an old token on its command line is no
/// reason to keep it from its readers.
async fn enrol_again(
    settings: &Settings,
    advertise: &str,
    mut node: OpenedNode,
    (master, shown): (&str, Credentials),
) -> Result<OpenedNode, StartError> {
    let before = node.opened.durable_state.clone();
    if node.keys.current.first_of() != before.node {
        // A master names the node that enrols after the key that it shows.
        return Ok(stays_detached(node, &"it has renewed its key: empty the directory first"));
    }
    let client = EnrolmentClient::new(&settings.environment, &node.tls, &settings.options, advertise, master, &shown);
    let enrolling = match client.enrol().await {
        Ok(enrolling) if enrolling.enrolled().pair == before.pair => enrolling,
        Ok(_) => return Ok(stays_detached(node, &"the master is of another pair: empty the directory first")),
        Err(error) => return Ok(stays_detached(node, &error)),
    };
    let enrolled = client.durable_state(before.node, enrolling.enrolled());
    let after = DurableState { peer: enrolled.peer, detached: false, enabled: true, ..before.clone() };
    node.opened = store_state(&settings.environment, node.opened, after).await?;
    match client.confirm(enrolling).await {
        Ok(stored) => {
            node.pins.set(node.opened.durable_state.peer.as_ref().map(|peer| peer.keys));
            node.unconfirmed = (stored == Stored::Here).then(|| (master.to_owned(), shown));
            Ok(node)
        }
        Err(error) => {
            node.opened = store_state(&settings.environment, node.opened, before).await?;
            Ok(stays_detached(node, &error))
        }
    }
}

fn stays_detached(node: OpenedNode, why: &dyn std::fmt::Display) -> OpenedNode {
    tracing::warn!(target: "shadowpair::start", "this node has no pair and could not be enrolled again: {why}");
    node
}

/// Replaces the durable state of an opened store.
async fn store_state(
    environment: &Environment,
    mut opened: Opened,
    durable_state: DurableState,
) -> Result<Opened, StartError> {
    let write = move || match opened.store.write_durable_state(&durable_state) {
        Ok(()) => Ok(Opened { durable_state, ..opened }),
        Err(failure) => {
            let source = std::io::Error::other(failure.reason);
            Err(StoreError::Io { what: "storing the pairing".to_owned(), source })
        }
    };
    on_disk(environment, write).await
}

/// Creates the node's files. The identity comes first, so that every directory with a store has one.
async fn create(
    settings: &Settings,
    lock: DirLock,
    identity: &Identity,
    durable_state: DurableState,
) -> Result<Opened, StartError> {
    let (disk, dir, options) = (Arc::clone(&settings.environment.disk), settings.dir.clone(), settings.store_options());
    let pem = identity.to_pem();
    let make = move || {
        identity_file::write_identity(&*disk, &dir, &pem)?;
        let created = Store::create(Arc::clone(&disk), &dir, lock, &durable_state, options)
            .inspect_err(|_| identity_file::remove_identity(&*disk, &dir))?;
        first_start::completed(&*disk, &dir);
        Ok::<_, StoreError>(created)
    };
    on_disk(&settings.environment, make).await
}

/// Enrols with a master, stores the pairing, and confirms it. The directory stays empty until the pairing is stored.
async fn join(
    settings: &Settings,
    client: &EnrolmentClient,
    lock: DirLock,
    identity: &Identity,
) -> Result<(Opened, Stored), StartError> {
    let enrolling = client.enrol().await?;
    let durable_state = client.durable_state(identity.node(), enrolling.enrolled());
    let opened = create(settings, lock, identity, durable_state).await?;
    // The pairing is stored on this node now. A lost answer does not fail the start; a refusal does.
    match client.confirm(enrolling).await {
        Ok(stored) => Ok((opened, stored)),
        Err(refused) => {
            Box::pin(remove(settings, opened)).await?;
            Err(refused.into())
        }
    }
}

/// Removes the node's files, so that the directory is empty again.
async fn remove(settings: &Settings, opened: Opened) -> Result<(), StartError> {
    let (disk, dir) = (Arc::clone(&settings.environment.disk), settings.dir.clone());
    let remove = move || {
        Store::discard(opened)?;
        identity_file::remove_identity(&*disk, &dir);
        Ok::<_, StoreError>(())
    };
    on_disk(&settings.environment, remove).await
}

/// Runs blocking work on the disk. A panic in it is reported as a damaged directory.
async fn on_disk<T: Send + 'static, E: From<StoreError> + Into<StartError> + Send + 'static>(
    environment: &Environment,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, StartError> {
    let corrupt = || StoreError::Corrupt { what: "the data directory".into(), reason: "opening it panicked".into() };
    environment.block(work).await.unwrap_or_else(|_| Err(corrupt().into())).map_err(Into::into)
}
