//! How long nobody answered.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Kind;
use super::client::Caller;

/// Downtime is from the strike to the next acknowledgement of a change that was asked for after it, by whoever serves.
#[derive(Default)]
pub struct Report {
    downtimes: BTreeMap<Kind, Vec<Duration>>,
    counts: Option<String>,
}

impl Report {
    pub fn struck(&mut self, kind: Kind, downtime: Duration) {
        let times = self.downtimes.entry(kind).or_default();
        times.insert(times.partition_point(|time| *time <= downtime), downtime);
    }

    pub fn counted(&mut self, caller: &Caller) {
        self.counts = Some(caller.to_string());
    }

    /// Kind by kind: downtimes, the shortest first.
    pub fn downtimes(&self) -> impl Iterator<Item = (Kind, &[Duration])> {
        self.downtimes.iter().map(|(kind, times)| (*kind, times.as_slice()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>8} {:>14} {:>14}", "strike", "strikes", "median, ms", "worst, ms")?;
        for (kind, times) in &self.downtimes {
            let at = |index: usize| times[index].as_millis();
            writeln!(f, "{kind:<24} {:>8} {:>14} {:>14}", times.len(), at(times.len() / 2), at(times.len() - 1))?;
        }
        f.write_str(self.counts.as_deref().unwrap_or_default())
    }
}
