//! A proxy whose connections can be cut, held in one direction, and slowed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// An address that forwards to a node, wherever that listens now.
pub struct Proxy {
    address: SocketAddr,
    wire: Arc<Wire>,
}

struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    target: Option<SocketAddr>,
    /// Connections are broken, and no new one is let through.
    cut: bool,
    /// Whether bytes to the node, and from it, are held.
    held: [bool; 2],
    /// Bytes per second each way; zero is unlimited.
    rate: u64,
    /// A connection whose first bytes to the node are more than so many is never answered; zero is unlimited.
    first_flight_max: usize,
    /// Bytes carried so far.
    bytes_carried: u64,
    connections: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy that forwards nowhere yet.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let state = State {
            target: None,
            cut: false,
            held: [false; 2],
            rate: 0,
            first_flight_max: 0,
            bytes_carried: 0,
            connections: Vec::new(),
        };
        let wire = Arc::new(Wire { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = wire.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                accepting.connect(near);
            }
        });
        Self { address, wire }
    }

    /// Where it is dialled.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The node listens there now.
    pub fn forward_to(&self, target: &str) {
        self.wire.lock().target = Some(target.parse().expect("an address"));
    }

    /// Breaks every connection and lets none through.
    pub fn cut(&self) {
        self.wire.change(|state| {
            state.cut = true;
            state.close_all();
        });
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.wire.change(|state| (state.cut, state.held) = (false, [false; 2]));
    }

    /// Holds what goes to the node. Connections stay open.
    pub fn hold_to_node(&self) {
        self.wire.change(|state| state.held[0] = true);
    }

    /// Holds what comes from the node. Connections stay open.
    pub fn hold_from_node(&self) {
        self.wire.change(|state| state.held[1] = true);
    }

    /// Carries at most so many bytes per second each way; zero is unlimited.
    pub fn slow(&self, bytes_per_second: u64) {
        self.wire.change(|state| state.rate = bytes_per_second);
    }

    /// Swallows every connection whose first flight has more than so many bytes, as a router does that drops large packets.
    pub fn drop_large_hellos(&self, bytes: usize) {
        self.wire.change(|state| state.first_flight_max = bytes);
    }

    /// Bytes carried so far.
    pub fn bytes_carried(&self) -> u64 {
        self.wire.lock().bytes_carried
    }

    /// Waits until so many more bytes were carried. Returns whether they came in time.
    pub fn wait_for_bytes(&self, bytes: u64, at_most: Duration) -> bool {
        let state = self.wire.lock();
        let goal = state.bytes_carried + bytes;
        let waited = self.wire.changed.wait_timeout_while(state, at_most, |state| state.bytes_carried < goal);
        !waited.expect("nobody panics with the wire").1.timed_out()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the wire")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn connect(self: &Arc<Self>, near: TcpStream) {
        let target = Some(self.lock()).filter(|state| !state.cut).and_then(|state| state.target);
        let Some(far) = target.and_then(|target| TcpStream::connect(target).ok()) else { return };
        _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) else { return };
        let mut state = self.lock();
        if state.cut {
            return; // it was cut while we dialled
        }
        state.connections.retain(|connection| connection.peer_addr().is_ok());
        state.connections.extend([&near, &far].into_iter().filter_map(|stream| stream.try_clone().ok()));
        drop(state);
        for (direction, from, to) in [(0, near, far), (1, far_again, near_again)] {
            let wire = self.clone();
            std::thread::spawn(move || wire.carry(direction, from, to));
        }
    }

    fn carry(&self, direction: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 16 * 1024];
        let mut is_first = direction == 0;
        loop {
            // Small pieces, so that the rate is even.
            let piece = match self.lock().rate {
                0 => buffer.len(),
                rate => buffer.len().min((rate / 50).max(1) as usize),
            };
            let bytes = match from.read(&mut buffer[..piece]) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => bytes,
            };
            let state = self.lock();
            let most = state.first_flight_max;
            if std::mem::take(&mut is_first) && most > 0 && bytes > most {
                drop(state);
                // Nothing of it arrives. The dialler gives up.
                while from.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
                break;
            }
            let state = self.changed.wait_while(state, |state| state.held[direction] && !state.cut);
            let rate = state.expect("nobody panics with the wire").rate;
            if let Some(nanos) = (bytes as u64 * 1_000_000_000).checked_div(rate) {
                std::thread::sleep(Duration::from_nanos(nanos)); // the delay of the slow network, not a wait for anything
            }
            if to.write_all(&buffer[..bytes]).is_err() {
                break;
            }
            self.change(|state| state.bytes_carried += bytes as u64);
        }
        _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
    }
}

impl State {
    fn close_all(&mut self) {
        self.connections.drain(..).for_each(|connection| _ = connection.shutdown(Shutdown::Both));
    }
}
