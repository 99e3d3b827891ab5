//! Accepts connections: as a link, as an enrolment, or not at all.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::enrolment_server::EnrolmentServer;
use super::handshake_slots::{HandshakeSlot, HandshakeSlots};
use super::permitted_sources::{PermittedSources, TooManyLookups};
use super::refusal_reporter::RefusalReporter;
use crate::identity::{Accepted, Refused, Tls, Unpermitted, key_exchange_of, peer_key_of};
use crate::model::limits::{ACCEPT_PAUSE, HANDSHAKE_TIMEOUT, UNAUTHENTICATED_MAX};
use crate::node::driver::input::Input;
use crate::node::environment::{BoxStream, Environment, Listener, TaskScope};

/// Accepts connections for one node. Every connection works on a clone of it.
#[derive(Clone)]
pub struct Acceptor {
    pub environment: Environment,
    pub tls: Tls,
    pub sources: PermittedSources,
    pub inputs: mpsc::Sender<Input>,
    pub enrolment: EnrolmentServer,
}

impl Acceptor {
    /// Accepts connections until it is dropped.
    pub async fn run(self, mut listener: Box<dyn Listener>) {
        let (slots, refusals) = (HandshakeSlots::default(), RefusalReporter::default());
        let connections = TaskScope::new();
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (slot, evicted) = slots.enter();
                    let pending = PendingConnection { acceptor: self.clone(), from, slot, refusals: refusals.clone() };
                    connections.spawn(&*self.environment.tasks, pending.run(stream, evicted));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    self.environment.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A connection that is not authenticated yet.
struct PendingConnection {
    acceptor: Acceptor,
    from: SocketAddr,
    slot: HandshakeSlot,
    refusals: RefusalReporter,
}

impl PendingConnection {
    /// Turns the connection into a link or an enrolment, or refuses it; in bounded time. A younger connection may take
    /// its slot and so end it.
    async fn run(self, stream: BoxStream, evicted: oneshot::Receiver<()>) {
        let refusal = tokio::select! {
            biased;
            refusal = self.authenticate(stream) => refusal,
            // A sender that was dropped means that the slot was freed: then this branch is off.
            Ok(()) = evicted => Some(format!("dropped: more than {UNAUTHENTICATED_MAX} connections without a certificate").into()),
        };
        self.slot.free();
        if let Some(refusal) = refusal {
            let Acceptor { environment, inputs, .. } = &self.acceptor;
            self.refusals.report(environment, inputs, self.from, refusal).await;
        }
    }

    /// Returns why the connection was refused, where that is worth an alert.
    async fn authenticate(&self, stream: BoxStream) -> Option<Unpermitted> {
        let Acceptor { environment, tls, sources, inputs, enrolment, .. } = &self.acceptor;
        let own_key = tls.key();
        let handshake = async {
            match sources.permit(self.from.ip()).await {
                Ok(true) => {}
                Ok(false) => return Err(Refused::Unpermitted("its address is not permitted".into())),
                Err(TooManyLookups) => {
                    return Err(Refused::Unpermitted("too many host names are being looked up".into()));
                }
            }
            tls.accept(stream, enrolment.open_enrolments()).await
        };
        match environment.within(HANDSHAKE_TIMEOUT, handshake).await {
            Some(Ok(Accepted::Link(stream))) => {
                let key_exchange = key_exchange_of(stream.get_ref().1);
                // There is always a key after the handshake.
                let peer_key = peer_key_of(stream.get_ref().1)?;
                let connection = Connection::new(stream, self.from, (peer_key, own_key), key_exchange);
                self.slot.free();
                drop(inputs.send(Input::Accepted(connection)).await);
                None
            }
            Some(Ok(Accepted::Enrolment(request))) => {
                enrolment.answer(self.from, || self.slot.free(), *request).await.map(Unpermitted::from)
            }
            Some(Err(Refused::Unpermitted(refusal))) => Some(refusal),
            Some(Err(Refused::ByPeer(reason) | Refused::Unproven(reason))) => Some(reason.into()),
            // A port scan, a load balancer's health check, or a broken network: no alert.
            Some(Err(Refused::Broken(error))) => {
                tracing::debug!(from = %self.from, %error, "a connection broke before its handshake");
                None
            }
            None => Some(format!("no handshake within {HANDSHAKE_TIMEOUT:?}").into()),
        }
    }
}
