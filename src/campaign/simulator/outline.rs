//! A text that tells two states of the pair apart, for the model checker.

use std::fmt::Write;

use super::world::World;

impl World {
    /// Writes everything on which the future depends. Equal situations have equal texts. Numbers that only tell apart what is
    /// under way are left out as far as the world makes them; what an engine counts stands as it is.
    pub fn write_outline(&mut self, text: &mut String) {
        let _ = write!(text, "{} {:?} {:?} {:?}", self.now, self.network.cut, self.witness, self.schedule.deferred());
        let _ = write!(text, "{:?} {:?}", self.oracle, self.exemptions);
        for machine in &self.machines {
            let _ = write!(text, "{machine:?}");
        }
        for (index, connection) in self.network.connections.iter().enumerate() {
            if connection.is_alive() {
                let _ = write!(text, "{index} {connection:?}");
            }
        }
        for (at, event) in self.schedule.relevant(&self.machines) {
            let _ = write!(text, "{at} {event:?}");
        }
    }
}
