//! Random numbers that a seed repeats.

/// Random numbers. Every failure prints the seed, and `SHADOWPAIR_SEED` sets it.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub fn new() -> Self {
        let given = std::env::var("SHADOWPAIR_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("SHADOWPAIR_SEED={seed}");
        Self { seed, state: seed }
    }

    /// The seed that repeats the numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.state >> 33) % end.max(1)
    }
}
