//! What was measured: figures by name, a value for each round.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Values by name, one for each round. Times are in seconds, sizes in bytes.
#[derive(Default)]
pub struct Figures(BTreeMap<String, Vec<f64>>);

/// How long many operations took, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// Operations in a second, of all callers together.
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub worst: f64,
}

impl Figures {
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// Adds `NAME.rate`, `NAME.p50` and so on.
    pub fn add_latencies(&mut self, name: &str, latencies: &Latencies) {
        let Latencies { rate, p50, p99, p999, worst } = *latencies;
        for (suffix, value) in [("rate", rate), ("p50", p50), ("p99", p99), ("p99.9", p999), ("worst", worst)] {
            self.add(format!("{name}.{suffix}"), value);
        }
    }

    /// The median over the rounds of one figure, or of the sum of several: `"a + b"`. `None` where one of them was not measured.
    pub fn median(&self, sum: &str) -> Option<f64> {
        sum.split(" + ").map(|name| self.0.get(name).map(|values| median(values))).sum()
    }

    /// Every value of every round.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("numbers with names")
    }
}

impl Latencies {
    /// Of these operations, which took `wall` together.
    pub fn of(mut times: Vec<Duration>, wall: Duration) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(f64::NAN, Duration::as_secs_f64)
        };
        Self {
            rate: times.len() as f64 / wall.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            worst: at(1.0),
        }
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
