//! Simulated clocks: arithmetic only. True time is counted in microseconds from the beginning of the simulation.

/// The wall clock at the beginning of the simulation: 2026-06-01, microseconds since 1970.
const WALL_START_US: i64 = 1_780_272_000_000_000;

/// The clocks of one machine: a suspend-aware one with an offset and a rate, and a wall clock that can be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineClock {
    /// True time at which the rate was set last.
    true_base: u64,
    /// What the suspend-aware clock showed then.
    local_base: u64,
    /// How much faster than true time it runs, in millionths.
    rate_ppm: i64,
    /// What was added to the wall clock.
    wall_jump_us: i64,
}

impl MachineClock {
    /// A clock that shows this much now and runs at this rate.
    pub(crate) fn new(true_us: u64, local_us: u64, rate_ppm: i64) -> Self {
        Self { true_base: true_us, local_base: local_us, rate_ppm, wall_jump_us: 0 }
    }

    /// What the suspend-aware clock shows at this true time.
    pub(crate) fn local(&self, true_us: u64) -> u64 {
        let passed = i128::from(true_us.saturating_sub(self.true_base));
        let passed = passed * i128::from(1_000_000 + self.rate_ppm) / 1_000_000;
        self.local_base.saturating_add(u64::try_from(passed).unwrap_or(0))
    }

    /// The first true time, not before `from`, at which the suspend-aware clock shows this much.
    pub(crate) fn true_time(&self, local_us: u64, from: u64) -> u64 {
        let ahead = i128::from(local_us.saturating_sub(self.local_base)) * 1_000_000;
        let rate = i128::from((1_000_000 + self.rate_ppm).max(1));
        let passed = u64::try_from((ahead + rate - 1) / rate).unwrap_or(u64::MAX);
        self.true_base.saturating_add(passed).max(from)
    }

    /// What the wall clock shows at this true time, milliseconds since 1970.
    pub(crate) fn wall_ms(&self, true_us: u64) -> u64 {
        let since_start = i64::try_from(true_us).unwrap_or(i64::MAX);
        let wall_us = WALL_START_US.saturating_add(since_start).saturating_add(self.wall_jump_us);
        u64::try_from(wall_us / 1_000).unwrap_or(0)
    }

    /// Changes the rate from this true time on.
    pub(crate) fn set_rate(&mut self, true_us: u64, rate_ppm: i64) {
        (self.local_base, self.true_base, self.rate_ppm) = (self.local(true_us), true_us, rate_ppm);
    }

    /// Adds this to the wall clock.
    pub(crate) fn jump_wall(&mut self, us: i64) {
        self.wall_jump_us = self.wall_jump_us.saturating_add(us);
    }

    /// The machine starts anew: the suspend-aware clock begins near zero, rate and wall clock stay.
    pub(crate) fn reboot(&mut self, true_us: u64, local_us: u64) {
        (self.true_base, self.local_base) = (true_us, local_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_and_its_inverse_agree_at_any_rate() {
        for rate in [-9_000, -1, 0, 1, 9_000] {
            let clock = MachineClock::new(1_000, 77, rate);
            for local in [77, 78, 1_000, 999_999, 123_456_789] {
                let at = clock.true_time(local, 0);
                assert!(clock.local(at) >= local, "{rate} {local}");
                assert!(at == 1_000 || clock.local(at - 1) < local, "{rate} {local}");
            }
        }
    }

    #[test]
    fn a_new_rate_does_not_move_the_clock() {
        let mut clock = MachineClock::new(0, 500, 0);
        clock.set_rate(1_000_000, 5_000);
        assert_eq!(clock.local(1_000_000), 1_000_500);
        assert_eq!(clock.local(2_000_000), 2_005_500);
        clock.jump_wall(-2_000_000);
        assert_eq!(clock.wall_ms(1_000_000), 1_780_271_999_000);
    }
}
