//! Downtime after each kind of fault, with the real programs of `examples` and the campaign of `tests/chaos`.

use std::process::Command;
use std::time::Duration;

use shadowpair::Options;

use crate::bench::Bench;
use crate::campaign::{Campaign, FaultKind};
use crate::figures::Latencies;
use crate::table;

const FAULTS: u64 = 5;
const TAKEOVER_DELAY: Duration = Duration::from_millis(500);

/// A downtime counts from the fault to the next acknowledgement. The time that a takeover should take counts from the last heartbeat, so
/// that it may be a little less from the fault. Where no takeover is needed, the downtime is only the work under way.
pub fn measure(bench: &mut Bench) {
    build_programs();
    let faults = bench.scaled(FAULTS) as usize;
    let mut campaign = Campaign::begin();
    for kind in FaultKind::ALL.into_iter().cycle().take(faults * FaultKind::ALL.len()) {
        campaign.run_fault(kind);
    }
    let mut options = Options::default();
    options.takeover_delay = TAKEOVER_DELAY;
    // 2.1 % and a millisecond: twice the error that each clock's rate may have.
    let takeover = TAKEOVER_DELAY + options.lease().mul_f64(0.021) + Duration::from_millis(1);
    bench.figures.add("fault.takeover", takeover.as_secs_f64());
    for (kind, times) in campaign.end().downtimes() {
        let downtimes = Latencies::of(times.to_vec(), Duration::from_secs(1));
        bench.figures.add_latencies(&table::fault(kind), &downtimes);
    }
}

/// `cargo bench` builds this program, and not the ones that it drives.
fn build_programs() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "--examples"]).status().expect("cargo runs");
    assert!(built.success(), "the examples do not build");
}
