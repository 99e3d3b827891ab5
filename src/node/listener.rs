//! The door: who is let in as a link, who may ask to enrol, and who is turned away.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::enrol;
use super::inbox::Input;
use super::link::Connection;
use super::permit::{Busy, Permits};
use super::seam::{BoxStream, Environment, Listener, Scope};
use crate::identity::{Accepted, Pins, Refused, Tls};
use crate::model::NodeId;
use crate::model::limits::{ACCEPT_PAUSE, HANDSHAKE_TIMEOUT, UNAUTHENTICATED_MAX, UNPERMITTED_INTERVAL};
use crate::protocol::engine::{DurableState, Event, Moment, StoredToken};

/// What the door needs to know of the engine, kept by the driver.
pub struct Porch {
    /// Who may become a link.
    pub pins: Pins,
    /// High availability is enabled.
    enabled: AtomicBool,
    tokens: ArcSwap<Vec<StoredToken>>,
    asks: AtomicU64,
}

impl Porch {
    pub fn new(pins: Pins) -> Self {
        let (enabled, tokens) = (AtomicBool::new(false), ArcSwap::default());
        Self { pins, enabled, tokens, asks: AtomicU64::new(0) }
    }

    /// Takes over what the engine says now; returns whether another node, or nobody, is permitted since.
    pub fn update(&self, durable_state: &DurableState) -> bool {
        self.enabled.store(durable_state.enabled, SeqCst);
        if **self.tokens.load() != durable_state.tokens {
            self.tokens.store(Arc::new(durable_state.tokens.clone()));
        }
        let peer = durable_state.peer.as_ref().map(|peer| peer.node);
        let changed = self.pins.get() != peer;
        if changed {
            self.pins.set(peer);
        }
        changed
    }

    /// Tokens that are worth something at this time of the wall clock. The enrolment protocol is answered while there is
    /// one; whether there is room for a shadow is the engine's to say, with its reason.
    pub fn secrets(&self, wall_ms: u64) -> Vec<[u8; 16]> {
        if !self.enabled.load(SeqCst) {
            return Vec::new();
        }
        let tokens = self.tokens.load();
        tokens.iter().filter(|token| token.expires_ms > wall_ms).map(|token| token.secret).collect()
    }

    /// A number for a question.
    pub fn next_ask(&self) -> u64 {
        self.asks.fetch_add(1, SeqCst)
    }
}

/// What every connection at the door needs.
#[derive(Clone)]
pub struct Door {
    pub environment: Environment,
    pub tls: Tls,
    pub porch: Arc<Porch>,
    pub permits: Permits,
    pub inputs: mpsc::Sender<Input>,
    /// Name and address that an enrolee learns.
    pub name: String,
    pub advertise: String,
}

impl Door {
    /// Accepts connections for ever.
    pub async fn keep(self, mut listener: Box<dyn Listener>) {
        let (room, turned_away) = (WaitingRoom::default(), TurnedAway::default());
        let knocks = Scope::new();
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (place, evicted) = room.enter();
                    let guest = Guest { door: self.clone(), from, place, turned_away: turned_away.clone() };
                    knocks.spawn(&*self.environment.tasks, guest.answer(stream, evicted));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    self.environment.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One connection that nobody knows yet.
struct Guest {
    door: Door,
    from: SocketAddr,
    place: Place,
    turned_away: TurnedAway,
}

impl Guest {
    /// From the first byte to a link, an enrolment, or the end; in bounded time, unless a younger guest takes the place.
    async fn answer(self, stream: BoxStream, evicted: oneshot::Receiver<()>) {
        let refusal = tokio::select! {
            refusal = self.welcome(stream) => refusal,
            // A sender that is gone without a word means that the guest is known by now: this branch is off then.
            Ok(()) = evicted => Some(format!("dropped: more than {UNAUTHENTICATED_MAX} connections without a certificate")),
        };
        self.place.leave();
        if let Some(reason) = refusal {
            self.turned_away.report(&self.door, self.from, reason).await;
        }
    }

    /// Returns why the guest was turned away, where that is worth an alert.
    async fn welcome(&self, stream: BoxStream) -> Option<String> {
        let Door { environment, tls, porch, permits, inputs, .. } = &self.door;
        let pin = porch.pins.get();
        let shake = async {
            match permits.permit(self.from.ip()).await {
                Ok(true) => {}
                Ok(false) => return Err(Refused::Unpermitted("its address is not permitted".into())),
                Err(Busy) => return Err(Refused::Unpermitted("too many host names are being looked up".into())),
            }
            let open = !porch.secrets(environment.clock.wall_ms()).is_empty();
            tls.accept(stream, open).await
        };
        match environment.within(HANDSHAKE_TIMEOUT, shake).await {
            Some(Ok(Accepted::Link(stream))) => {
                let connection = Connection::new(Box::new(stream));
                self.place.leave();
                drop(inputs.send(Input::Accepted { connection, pin }).await);
                None
            }
            Some(Ok(Accepted::Enrolment(enrolment))) => {
                enrol::answer(&self.door, self.from, || self.place.leave(), enrolment).await
            }
            Some(Err(Refused::Unpermitted(reason) | Refused::ByPeer(reason))) => Some(reason),
            // A port scan, a health check of a load balancer, a broken network.
            Some(Err(Refused::Broken(error))) => {
                tracing::debug!(from = %self.from, %error, "a connection broke before its handshake");
                None
            }
            None => Some(format!("no handshake within {HANDSHAKE_TIMEOUT:?}")),
        }
    }
}

/// The connections that have not shown a permitted certificate yet, oldest first. Beyond the bound the oldest goes:
/// a flood of idle connections keeps nobody out who finishes a handshake. Clones share.
#[derive(Clone, Default)]
struct WaitingRoom(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    places: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One connection's place; left when it is dropped.
struct Place {
    room: WaitingRoom,
    number: u64,
}

impl WaitingRoom {
    /// A place, and what fires when a younger one takes it.
    fn enter(&self) -> (Place, oneshot::Receiver<()>) {
        let (evict, evicted) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.next += 1;
        let number = waiting.next;
        waiting.places.push_back((number, evict));
        let oldest = (waiting.places.len() > UNAUTHENTICATED_MAX).then(|| waiting.places.pop_front()).flatten();
        drop(waiting);
        if let Some((_, evict)) = oldest {
            let _ = evict.send(());
        }
        (Place { room: self.clone(), number }, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection is known, or gone: it counts no more, and is dropped for no other.
    fn leave(&self) {
        self.room.lock().places.retain(|(number, _)| *number != self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Who was turned away, told to the engine at most once per interval: the first at once, those that follow together at
/// the interval's end. Clones share.
#[derive(Clone, Default)]
struct TurnedAway(Arc<Mutex<Tally>>);

#[derive(Default)]
struct Tally {
    quiet_until: Moment,
    /// How many went untold in this interval; the first of them waits to tell.
    untold: u64,
}

/// What one who was turned away has to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Duty {
    /// Tell.
    Tell,
    /// Wait until then, and tell for all that came meanwhile.
    TellAt(Moment),
    /// Nothing: another one tells.
    Nothing,
}

impl TurnedAway {
    async fn report(&self, door: &Door, from: SocketAddr, reason: String) {
        tracing::debug!(%from, %reason, "a connection was turned away");
        let environment = &door.environment;
        let reason = match self.duty(environment.clock.now(), environment.after(UNPERMITTED_INTERVAL)) {
            Duty::Nothing => return,
            Duty::Tell => reason,
            Duty::TellAt(at) => {
                environment.clock.sleep_until(at).await;
                match self.gathered(environment.after(UNPERMITTED_INTERVAL)) {
                    0 | 1 => reason,
                    all => format!("{reason} ({all} connections like this in {UNPERMITTED_INTERVAL:?})"),
                }
            }
        };
        // The port changes with every connection: one trouble is one alert.
        let event = Event::Unpermitted { from: from.ip().to_canonical().to_string(), reason };
        drop(door.inputs.send(Input::Engine(event)).await);
    }

    fn duty(&self, now: Moment, quiet_until: Moment) -> Duty {
        let mut tally = self.lock();
        if tally.untold > 0 {
            tally.untold += 1;
            return Duty::Nothing;
        }
        if now < tally.quiet_until {
            tally.untold = 1;
            return Duty::TellAt(tally.quiet_until);
        }
        tally.quiet_until = quiet_until;
        Duty::Tell
    }

    /// How many there are to tell of; a new interval begins.
    fn gathered(&self, quiet_until: Moment) -> u64 {
        let mut tally = self.lock();
        tally.quiet_until = quiet_until;
        std::mem::take(&mut tally.untold)
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a handshake was checked against.
pub type Pin = Option<NodeId>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_when_the_room_is_full() {
        let room = WaitingRoom::default();
        let mut guests: Vec<_> = (0..UNAUTHENTICATED_MAX).map(|_| room.enter()).collect();
        let known = guests.remove(1);
        known.0.leave();
        let younger: Vec<_> = (0..2).map(|_| room.enter()).collect();
        assert_eq!(guests.remove(0).1.await, Ok(()));
        let (_place, mut evicted) = known;
        assert!(evicted.try_recv().is_err());
        assert_eq!(room.lock().places.len(), UNAUTHENTICATED_MAX);
        drop((guests, younger));
        assert_eq!(room.lock().places.len(), 0);
    }

    #[test]
    fn a_flood_is_two_reports_and_a_count() {
        let turned_away = TurnedAway::default();
        assert_eq!(turned_away.duty(Moment(10), Moment(20)), Duty::Tell);
        assert_eq!(turned_away.duty(Moment(15), Moment(25)), Duty::TellAt(Moment(20)));
        for _ in 0..4 {
            assert_eq!(turned_away.duty(Moment(16), Moment(26)), Duty::Nothing);
        }
        assert_eq!(turned_away.gathered(Moment(30)), 5);
        assert_eq!(turned_away.duty(Moment(25), Moment(35)), Duty::TellAt(Moment(30)));
        assert_eq!(turned_away.gathered(Moment(40)), 1);
        assert_eq!(turned_away.duty(Moment(40), Moment(50)), Duty::Tell);
    }
}
