//! The host of `examples/gateway` in a simulated pair: "my forwarder never works on both nodes".

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{ChangeSet, Epoch};
use crate::node::{Ended, Mastership};
use crate::testing::controls::Spawner;
use routes::{Machine, Report, Route};

#[path = "../../../../examples/gateway/routes.rs"]
mod routes;

/// What clients of both gateways saw.
#[derive(Default)]
struct Clients {
    /// Who forwarded, in order of true time.
    forwarded: Vec<(Epoch, Side)>,
    /// Listeners that are open.
    open: [usize; 2],
}

/// A machine of the simulated world, as the gateway uses it.
#[derive(Clone)]
struct SimulatedMachine {
    side: Side,
    timer: Timer,
    spawner: Spawner,
    clients: Arc<Mutex<Clients>>,
    /// Forwards without a check of mastership: the mistake that the test must find.
    careless: bool,
}

struct SimulatedListener {
    side: Side,
    clients: Arc<Mutex<Clients>>,
}

impl Machine for SimulatedMachine {
    type Listener = SimulatedListener;

    async fn listen(&self, _: &Route) -> io::Result<SimulatedListener> {
        self.clients.lock().unwrap().open[self.side.index()] += 1;
        Ok(SimulatedListener { side: self.side, clients: Arc::clone(&self.clients) })
    }

    async fn forward(&self, _open: SimulatedListener, _: &Route, mastership: &Mastership) -> Result<(), Ended> {
        loop {
            if !self.careless {
                mastership.check()?;
            }
            self.clients.lock().unwrap().forwarded.push((mastership.epoch(), self.side));
            self.timer.sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawner.spawn(task);
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }

    async fn sleep(&self, time: Duration) {
        self.timer.sleep(time).await;
    }

    fn report(&self, report: Report<'_>) {
        let Report { name, state, route, reason } = report;
        assert_ne!(state, "refused", "{name} {route:?} {reason:?}");
    }

    fn unreadable(&self, reason: String) {
        panic!("{reason}");
    }
}

impl Drop for SimulatedListener {
    fn drop(&mut self) {
        self.clients.lock().unwrap().open[self.side.index()] -= 1;
    }
}

/// Starts the host on the node that runs on this side.
fn start(pair: &Pair, side: Side, clients: &Arc<Mutex<Clients>>, careless: bool) {
    let node = pair.node(side);
    let machine =
        SimulatedMachine { side, timer: node.timer(), spawner: node.spawner(), clients: Arc::clone(clients), careless };
    node.spawn(routes::follow(node.handle(), machine));
}

/// Breaks what this seed says, and returns what the clients saw.
fn what_clients_see(seed: u64, careless: bool) -> (Arc<Mutex<Clients>>, String) {
    let pair = Pair::builder(seed).start().unwrap();
    let clients = Arc::default();
    Side::BOTH.into_iter().for_each(|side| start(&pair, side, &clients, careless));
    let route = ChangeSet::new().put("routes/web", "10.0.0.1:80 10.0.0.9:8080");
    pair.block_on(async { pair.node(Side::A).handle().config().commit(route).await }).unwrap();
    pair.run_for(Duration::from_secs(5));
    match seed % 5 {
        0 => pair.node(Side::A).pause(),
        1 => pair.node(Side::A).crash(Crash::Power),
        2 => pair.link().cut(),
        3 => pair.node(Side::A).disk().freeze(),
        _ => {
            pair.link().cut_one_way(Side::A);
            pair.witness().unreachable_from(Side::A);
        }
    }
    pair.run_for(MINUTE);
    match seed % 5 {
        0 => pair.node(Side::A).resume(),
        1 => {
            pair.node(Side::A).restart().unwrap();
            start(&pair, Side::A, &clients, careless);
        }
        3 => pair.node(Side::A).disk().thaw(),
        _ => {
            pair.link().heal();
            pair.witness().up();
        }
    }
    pair.run_until(2 * MINUTE, Pair::is_whole).unwrap();
    pair.run_for(Duration::from_secs(5));
    let master = pair.master().unwrap();
    let open = clients.lock().unwrap().open;
    assert_eq!((open[master.index()], open[master.other().index()]), (1, 0), "seed {seed}\n{}", pair.trace());
    (clients, pair.trace())
}

/// Whether nobody forwarded under an older mastership once a newer one had begun.
fn one_at_a_time(clients: &Mutex<Clients>) -> bool {
    clients.lock().unwrap().forwarded.windows(2).all(|next| next[0].0 <= next[1].0)
}

#[test]
fn a_forwarder_never_works_on_both_nodes() {
    let mut takeovers = 0;
    for seed in 0..15 {
        let (clients, trace) = what_clients_see(seed, false);
        assert!(one_at_a_time(&clients), "seed {seed}\n{trace}");
        takeovers += usize::from(clients.lock().unwrap().forwarded.iter().any(|(_, side)| *side == Side::B));
    }
    assert!(takeovers >= 9, "{takeovers} of 15 histories have a takeover");
}

#[test]
fn a_forwarder_that_does_not_check_its_mastership_is_found() {
    assert!((0..200).filter(|seed| seed % 5 == 0).any(|seed| !one_at_a_time(&what_clients_see(seed, true).0)));
}
