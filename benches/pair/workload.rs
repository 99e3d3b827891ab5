//! What the callers in a host do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shadowpair::{ChangeSet, Config};

use crate::figures::Latencies;

/// Time before anything is counted.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// Sets every key once, in order, one change set after the other.
#[derive(Serialize, Deserialize)]
pub struct Load {
    pub entries: u64,
    pub bytes: usize,
    pub per_set: u64,
    /// Between two keys: 1 sets all of them, 1,000 every thousandth.
    pub stride: u64,
}

/// Callers that set keys at random for a time, each waiting for one change set before the next.
#[derive(Clone, Serialize, Deserialize)]
pub struct Run {
    pub callers: u64,
    /// Of how many keys.
    pub keys: u64,
    pub bytes: usize,
    pub per_set: u64,
    pub milliseconds: u64,
}

pub async fn load(config: &Config, load: &Load) -> Duration {
    let begun = Instant::now();
    let mut random = Random::new(load.entries);
    for first in (0..load.entries).step_by(load.per_set as usize) {
        let keys = first..load.entries.min(first + load.per_set);
        let changes =
            keys.fold(ChangeSet::new(), |set, number| set.put(key(number * load.stride), random.value(load.bytes)));
        config.commit(changes).await.unwrap();
    }
    begun.elapsed()
}

pub async fn run(config: &Config, run: &Run) -> Latencies {
    let measured_from = Instant::now() + WARM_UP;
    let until = measured_from + Duration::from_millis(run.milliseconds);
    let run = Arc::new(run.clone());
    let callers =
        (0..run.callers).map(|number| tokio::spawn(call(config.clone(), run.clone(), number, measured_from, until)));
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await.unwrap());
    }
    Latencies::of(times, until - measured_from)
}

/// One caller. Returns how long each change set took that was begun and ended while it was measured.
async fn call(config: Config, run: Arc<Run>, number: u64, measured_from: Instant, until: Instant) -> Vec<Duration> {
    let mut random = Random::new(number + 1);
    let mut times = Vec::new();
    loop {
        let changes = (0..run.per_set)
            .fold(ChangeSet::new(), |set, _| set.put(key(random.below(run.keys)), random.value(run.bytes)));
        let begun = Instant::now();
        config.commit(changes).await.unwrap();
        let ended = Instant::now();
        if ended > until {
            return times;
        }
        if begun >= measured_from {
            times.push(ended - begun);
        }
    }
}

pub fn key(number: u64) -> String {
    format!("key/{number:08}")
}

/// Random numbers (xorshift64*), which a seed repeats. No compression makes anything of its values.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    pub fn value(&mut self, bytes: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(bytes + 8);
        while value.len() < bytes {
            value.extend_from_slice(&self.next().to_le_bytes());
        }
        value.truncate(bytes);
        value
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
