//! A small seeded generator (the mixing function of SplitMix64), so that a seed means the same on every machine.

/// Numbers from a seed; or, fixed, always the middle of the range, for the model checker.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
    fixed: bool,
}

impl Random {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, fixed: false }
    }

    /// Always the middle of the range.
    pub fn fixed() -> Self {
        Self { state: 0, fixed: true }
    }

    /// Whether it is fixed.
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        if !self.fixed {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        mix(self.state)
    }

    /// Below `bound`; zero where there is nothing below it.
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            _ if self.fixed => bound / 2,
            _ => self.bits() % bound,
        }
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these. The list must not be empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// Spreads every bit over all.
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
