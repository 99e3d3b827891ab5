//! Opens the node that a data directory holds, or creates the first one in an empty directory.

use std::sync::Arc;

use super::error::StartError;
use super::first_start;
use super::settings::{FirstStart, Settings};
use crate::identity::{Identity, IdentityError, JoinToken, Pins, Tls};
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
    /// Master and token of an enrolment that this node has stored, and the master perhaps has not.
    pub unconfirmed: Option<(String, JoinToken)>,
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
        return open(settings, lock).await;
    }
    let identity = match &settings.identity {
        Some(pem) => Identity::from_pem(pem)?,
        None => Identity::generate()?,
    };
    let pins = Pins::new(None);
    let tls = Tls::new(&identity, pins.clone(), settings.provider(), settings.key_exchange)?;
    let (opened, unconfirmed) = match &settings.first_start {
        Some(FirstStart::Master | FirstStart::NewPair) => {
            let mut pair = [0; 16];
            settings.environment.randomness.fill(&mut pair).map_err(StartError::System)?;
            let durable_state = DurableState::first_master(identity.node(), PairId(pair));
            (create(settings, lock, &identity, durable_state).await?, None)
        }
        Some(FirstStart::Join { master, token }) => {
            let client = EnrolmentClient::new(&settings.environment, &tls, &settings.options, advertise, master, token);
            let (opened, stored) = Box::pin(join(settings, &client, lock, &identity)).await?;
            (opened, (stored == Stored::Here).then(|| (master.clone(), token.clone())))
        }
        None => return Err(StartError::FirstStartMissing),
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
    let next = next.map(|pem| Identity::from_pem(&pem)).transpose()?.map(|next| next.key_id());
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
    let unconfirmed = match &settings.first_start {
        Some(FirstStart::Join { master, token }) if never_met => Some((master.clone(), token.clone())),
        _ => None,
    };
    let addresses = AddressBook::restore(&addresses);
    Ok(OpenedNode { keys, pins, tls, opened, unconfirmed, addresses, is_new: false })
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
