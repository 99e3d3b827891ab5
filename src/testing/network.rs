//! A simulated network between the machines: connections with a latency for each write, held up while a direction is cut.
//!
//! It behaves as TCP does. What is sent into a cut direction arrives after the heal; a process that dies closes its
//! connections; a machine that loses power is silent, and answers with a reset once it runs again. While no rate is set, the
//! time of an arrival does not depend on the number of bytes, because the bytes of TLS do not follow from the seed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, End, Packet};
use super::machine_id::MachineId;
use super::resolver::{Resolver, address};
use super::scheduler::{Owner, Scheduler};
use crate::node::environment::{BoxFuture, BoxStream, Listener, Net};

/// Connections that wait to be accepted.
const BACKLOG_MAX: usize = 128;
/// Time after which an unanswered request to connect is sent again, microseconds.
const SYN_AGAIN_US: u64 = 200_000;

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Network {
    scheduler: Scheduler,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Whether what this machine sends is held up.
    cut: [bool; 3],
    /// Bounds of one way, microseconds.
    latency_us: (u64, u64),
    /// Bytes per second of each way; zero is unlimited.
    rate: u64,
    /// When the way from this machine is free again, microseconds.
    busy_until: [u64; 3],
    /// Requests of this machine to connect that are refused from now on.
    refused: [u64; 3],
    powered: [bool; 3],
    resolver: Resolver,
    listeners: BTreeMap<SocketAddr, Listening>,
    connections: BTreeMap<u64, Connection>,
    /// Arrivals that a cut holds up.
    held: [Vec<Arrival>; 3],
    next: u64,
    /// Connections so far.
    connected: u64,
}

struct Listening {
    place: MachineId,
    number: u64,
    backlog: mpsc::Sender<(BoxStream, SocketAddr)>,
}

/// What arrives.
enum Arrival {
    /// The next packet that this end of this connection sent.
    Packet(u64, usize),
    /// A request to connect.
    Request(Request),
    /// The answer to such a request.
    Answer(Request, io::Result<BoxStream>),
}

struct Request {
    from: MachineId,
    to: SocketAddr,
    answer: oneshot::Sender<io::Result<BoxStream>>,
}

impl Network {
    /// A network on which everything arrives within a millisecond.
    pub(crate) fn new(scheduler: &Scheduler) -> Self {
        let state = State {
            cut: [false; 3],
            latency_us: (100, 1_000),
            rate: 0,
            busy_until: [0; 3],
            refused: [0; 3],
            powered: [true; 3],
            resolver: Resolver::Answers,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            held: Default::default(),
            next: 0,
            connected: 0,
        };
        Self { scheduler: scheduler.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// The network as this machine sees it.
    pub(crate) fn of(&self, place: MachineId) -> Arc<dyn Net> {
        Arc::new(MachineNet { network: self.clone(), place })
    }

    /// What the resolver of names does from now on.
    pub(crate) fn set_resolver(&self, resolver: Resolver) {
        self.state().resolver = resolver;
    }

    /// Nothing that this machine sends arrives any more.
    pub(crate) fn cut(&self, from: impl Into<MachineId>) {
        self.state().cut[from.into().index()] = true;
    }

    /// What this machine sent and the cut held up arrives.
    pub(crate) fn heal(&self, from: impl Into<MachineId>) {
        let from = from.into();
        let mut state = self.state();
        state.cut[from.index()] = false;
        let held = std::mem::take(&mut state.held[from.index()]);
        drop(state);
        held.into_iter().for_each(|arrival| self.send(from, arrival));
    }

    /// Time of one way from now on, microseconds.
    pub(crate) fn set_latency(&self, low_us: u64, high_us: u64) {
        self.state().latency_us = (low_us, high_us.max(low_us));
    }

    /// Each way carries so many bytes per second from now on; zero is unlimited.
    pub(crate) fn set_rate(&self, bytes_per_second: u64) {
        self.state().rate = bytes_per_second;
    }

    /// The next requests of this machine to connect are refused.
    pub(crate) fn refuse(&self, from: impl Into<MachineId>, count: u64) {
        self.state().refused[from.into().index()] = count;
    }

    /// Breaks every connection.
    pub(crate) fn reset(&self) {
        let mut wakers = Vec::new();
        let mut state = self.state();
        for end in state.connections.values_mut().flat_map(|connection| &mut connection.ends) {
            end.break_off(&mut wakers);
        }
        let numbers: Vec<u64> = state.connections.keys().copied().collect();
        drop(state);
        numbers.into_iter().for_each(|number| self.forget(number));
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The machine loses power: nobody answers for it.
    pub(crate) fn power_off(&self, place: MachineId) {
        let mut state = self.state();
        state.powered[place.index()] = false;
        let closed = state.take_listeners(place);
        for connection in state.connections.values_mut() {
            for end in connection.ends.iter_mut().filter(|end| end.place == place) {
                (end.closed, end.silent) = (true, true);
            }
        }
        drop(state);
        drop(closed);
    }

    /// The process of this machine is gone, and the system closes its connections.
    pub(crate) fn process_gone(&self, place: MachineId) {
        let mut state = self.state();
        let closed = state.take_listeners(place);
        let mut last = Vec::new();
        for (number, connection) in &mut state.connections {
            for (at, end) in connection.ends.iter_mut().enumerate().filter(|(_, end)| end.place == place) {
                if end.close() {
                    last.push((*number, at));
                }
            }
        }
        drop(state);
        drop(closed);
        last.into_iter().for_each(|(number, at)| self.send_packet(number, at));
    }

    /// The machine runs again: the peers of its former connections get a reset.
    pub(crate) fn power_on(&self, place: MachineId) {
        let mut state = self.state();
        state.powered[place.index()] = true;
        let mut gone = Vec::new();
        for (number, connection) in &mut state.connections {
            for (at, end) in connection.ends.iter_mut().enumerate().filter(|(_, end)| end.place == place && end.silent)
            {
                end.silent = false;
                end.outgoing.push_back(Packet::Reset);
                gone.push((*number, at));
            }
        }
        drop(state);
        gone.into_iter().for_each(|(number, at)| self.send_packet(number, at));
    }

    /// Connections that are not gone.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.state().connections.len()
    }

    /// Connections that were ever made.
    #[cfg(test)]
    pub(crate) fn connected(&self) -> u64 {
        self.state().connected
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latency(&self) -> u64 {
        let bounds = self.state().latency_us;
        self.scheduler.draw(bounds)
    }

    /// Puts the next packet of this end on its way.
    fn send_packet(&self, number: u64, at: usize) {
        let latency = self.latency();
        let now_us = self.scheduler.now_us();
        let mut state = self.state();
        let rate = state.rate;
        let Some(end) = state.connections.get_mut(&number).map(|connection| &mut connection.ends[at]) else { return };
        let (from, bytes) = (end.place, end.outgoing.back().map_or(0, Packet::bytes));
        // All connections of a machine share its way.
        let carried_us = (bytes * 1_000_000).checked_div(rate).unwrap_or(0);
        let sent_us = if rate == 0 { now_us } else { state.busy_until[from.index()].max(now_us) + carried_us };
        state.busy_until[from.index()] = sent_us;
        let Some(end) = state.connections.get_mut(&number).map(|connection| &mut connection.ends[at]) else { return };
        let arrives = (sent_us + latency).max(end.not_before);
        end.not_before = arrives;
        drop(state);
        self.send_at(arrives - now_us, from, Arrival::Packet(number, at));
    }

    fn send(&self, from: MachineId, arrival: Arrival) {
        match arrival {
            Arrival::Packet(number, at) => self.send_packet(number, at),
            other => self.send_at(self.latency(), from, other),
        }
    }

    fn send_at(&self, us: u64, from: MachineId, arrival: Arrival) {
        let network = self.clone();
        self.scheduler.after(us, Owner::World, move || network.arrive(from, arrival));
    }

    fn arrive(&self, from: MachineId, arrival: Arrival) {
        let mut state = self.state();
        if state.cut[from.index()] {
            return state.held[from.index()].push(arrival);
        }
        drop(state);
        match arrival {
            Arrival::Packet(number, at) => self.take_packet(number, at),
            Arrival::Request(request) => self.take_request(request),
            // An error means that nobody waits for it any more.
            Arrival::Answer(request, outcome) => drop(request.answer.send(outcome)),
        }
    }

    fn take_request(&self, request: Request) {
        if request.answer.is_closed() {
            return;
        }
        let mut state = self.state();
        let refused = &mut state.refused[request.from.index()];
        let refuses = *refused > 0;
        *refused = refused.saturating_sub(1);
        let there = MachineId::ALL.into_iter().find(|place| address(*place) == request.to.ip());
        let Some(there) = there.filter(|place| state.powered[place.index()]) else {
            drop(state);
            // Nobody answers, so the request is sent again.
            return self.send_at(SYN_AGAIN_US, request.from, Arrival::Request(request));
        };
        let backlog = state.listeners.get(&request.to).map(|listening| listening.backlog.clone());
        let Some(backlog) = backlog.filter(|_| !refuses) else {
            drop(state);
            return self.send(there, Arrival::Answer(request, Err(io::ErrorKind::ConnectionRefused.into())));
        };
        let number = state.number();
        state.connected += 1;
        state.connections.insert(number, Connection { ends: [End::new(request.from), End::new(there)] });
        drop(state);
        let stream = |at| Box::new(SimStream { network: self.clone(), number, at }) as BoxStream;
        let (dialling, accepting) = (stream(0), stream(1));
        let port = 40_000 + u16::try_from(number % 20_000).unwrap_or(0);
        if backlog.try_send((accepting, SocketAddr::new(address(request.from), port))).is_ok() {
            self.send(there, Arrival::Answer(request, Ok(dialling)));
        }
    }

    fn take_packet(&self, number: u64, at: usize) {
        let mut wakers = Vec::new();
        let mut state = self.state();
        let powered = state.powered;
        let Some(connection) = state.connections.get_mut(&number) else { return };
        let Some(packet) = connection.ends[at].outgoing.pop_front() else { return };
        let end = &mut connection.ends[1 - at];
        let mut answers = false;
        match packet {
            Packet::Reset => end.break_off(&mut wakers),
            // A machine without power answers nothing. One that closed the connection answers with a reset.
            Packet::Data(_) if end.closed => {
                if powered[end.place.index()] && !end.silent {
                    end.outgoing.push_back(Packet::Reset);
                    answers = true;
                }
            }
            Packet::Data(bytes) => {
                end.unread.push_back(bytes);
                wakers.extend(end.reader.take());
            }
            Packet::Finish => {
                end.finished = true;
                wakers.extend(end.reader.take());
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if answers {
            self.send_packet(number, 1 - at);
        }
        self.forget(number);
    }

    /// Forgets a connection that nobody holds and on which nothing is under way.
    fn forget(&self, number: u64) {
        let mut state = self.state();
        if state.connections.get(&number).is_some_and(Connection::is_over) {
            state.connections.remove(&number);
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes the sockets of this machine that listen.
    fn take_listeners(&mut self, place: MachineId) -> Vec<Listening> {
        let theirs: Vec<_> =
            self.listeners.iter().filter(|(_, of)| of.place == place).map(|(address, _)| *address).collect();
        theirs.iter().filter_map(|address| self.listeners.remove(address)).collect()
    }
}

/// The network of one machine.
struct MachineNet {
    network: Network,
    place: MachineId,
}

impl fmt::Debug for MachineNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineNet({:?})", self.place)
    }
}

impl Net for MachineNet {
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (network, place) = (self.network.clone(), self.place);
        Box::pin(async move {
            let address: SocketAddr = address.parse().map_err(io::Error::other)?;
            let mut state = network.state();
            if state.listeners.contains_key(&address) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (backlog, waiting) = mpsc::channel(BACKLOG_MAX);
            let number = state.number();
            state.listeners.insert(address, Listening { place, number, backlog });
            drop(state);
            Ok(Box::new(SimListener { network, address, number, waiting }) as Box<dyn Listener>)
        })
    }

    fn addresses(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let resolver = self.network.state().resolver;
        Box::pin(resolver.addresses(address))
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (network, from) = (self.network.clone(), self.place);
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            network.send(from, Arrival::Request(Request { from, to, answer }));
            answered.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(vec![host.parse().map_err(io::Error::other)?]) })
    }
}

struct SimListener {
    network: Network,
    address: SocketAddr,
    number: u64,
    waiting: mpsc::Receiver<(BoxStream, SocketAddr)>,
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimListener({})", self.address)
    }
}

impl Listener for SimListener {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async {
            match self.waiting.recv().await {
                Some(accepted) => Ok(accepted),
                // The machine lost power.
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.network.state();
        // Another life of the machine may listen there by now.
        let own = state.listeners.get(&self.address).is_some_and(|listening| listening.number == self.number);
        let listening = if own { state.listeners.remove(&self.address) } else { None };
        drop((state, listening));
    }
}

/// One end of a connection.
struct SimStream {
    network: Network,
    number: u64,
    at: usize,
}

impl SimStream {
    fn with_end<T>(&self, act: impl FnOnce(&mut End, &mut End) -> T) -> io::Result<T> {
        let mut state = self.network.state();
        let connection = state.connections.get_mut(&self.number).ok_or(io::ErrorKind::NotConnected)?;
        let [one, other] = &mut connection.ends;
        Ok(if self.at == 0 { act(one, other) } else { act(other, one) })
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.with_end(|end, peer| end.poll_read(peer, context, buffer));
        let (poll, room_again) = read.unwrap_or_else(|error| (Poll::Ready(Err(error)), None));
        if let Some(writer) = room_again {
            writer.wake();
        }
        poll
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = self.with_end(|end, peer| end.poll_write(peer, context, bytes));
        if matches!(poll, Ok(Poll::Ready(Ok(_)))) {
            self.network.send_packet(self.number, self.at);
        }
        poll.unwrap_or_else(|error| Poll::Ready(Err(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let finishes = self.with_end(|end, _| {
            let finishes = !end.reset && !end.closed;
            if finishes {
                end.outgoing.push_back(Packet::Finish);
            }
            finishes
        });
        if matches!(finishes, Ok(true)) {
            self.network.send_packet(self.number, self.at);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if matches!(self.with_end(|end, _| end.close()), Ok(true)) {
            self.network.send_packet(self.number, self.at);
        }
        self.network.forget(self.number);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStream({}, {})", self.number, self.at)
    }
}
