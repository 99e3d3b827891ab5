//! The downtimes of a campaign.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::FaultKind;
use super::client::Client;

/// Downtimes by kind of fault. A downtime lasts from the fault to the next acknowledgement of a change that was requested after
/// it, by either node.
#[derive(Default)]
pub struct Report {
    downtimes: BTreeMap<FaultKind, Vec<Duration>>,
    counts: Option<String>,
}

impl Report {
    pub fn add(&mut self, kind: FaultKind, downtime: Duration) {
        let times = self.downtimes.entry(kind).or_default();
        times.insert(times.partition_point(|time| *time <= downtime), downtime);
    }

    pub fn set_counts(&mut self, client: &Client) {
        self.counts = Some(client.to_string());
    }

    /// Downtimes of each kind of fault, the shortest first.
    pub fn downtimes(&self) -> impl Iterator<Item = (FaultKind, &[Duration])> {
        self.downtimes.iter().map(|(kind, times)| (*kind, times.as_slice()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>8} {:>14} {:>14}", "fault", "faults", "median, ms", "worst, ms")?;
        for (kind, times) in &self.downtimes {
            let at = |index: usize| times[index].as_millis();
            writeln!(f, "{kind:<24} {:>8} {:>14} {:>14}", times.len(), at(times.len() / 2), at(times.len() - 1))?;
        }
        f.write_str(self.counts.as_deref().unwrap_or_default())
    }
}
