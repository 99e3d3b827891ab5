//! When the store is maintained, and when the data directory is looked at.

use std::time::Duration;

use crate::model::Revision;
use crate::model::limits::{
    CHECKPOINT_BYTES, CHECKPOINT_IDLE_BYTES, DIRECTORY_LOOKS, MAINTENANCE_PAUSE, ROOM_INTERVAL,
};
use crate::node::environment::Environment;
use crate::protocol::engine::{Moment, Options};

/// Checkpoints of the store: one at a time, and longer pauses while they fail.
#[derive(Default)]
pub struct Maintenance {
    running: bool,
    not_before: Moment,
    failures: u32,
    /// What was visible at the last look at the data directory.
    visible: Option<Revision>,
}

impl Maintenance {
    /// Whether a run may begin.
    pub fn may_start(&self, now: Moment) -> bool {
        !self.running && now >= self.not_before
    }

    /// What is visible now. Returns the memory of the overlay at which a checkpoint begins: less where nothing has changed since
    /// the last call, so that a node that is killed in a quiet time starts as fast as one that had little to do.
    pub fn begins_at(&mut self, visible: Revision) -> u64 {
        match self.visible.replace(visible) == Some(visible) {
            true => CHECKPOINT_IDLE_BYTES,
            false => CHECKPOINT_BYTES,
        }
    }

    /// A run begins.
    pub fn start(&mut self) {
        self.running = true;
    }

    /// The run has ended.
    pub fn finish(&mut self, succeeded: bool, environment: &Environment) {
        self.running = false;
        if succeeded {
            self.failures = 0;
            return;
        }
        let pause = MAINTENANCE_PAUSE * (1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        self.not_before = environment.after(pause);
    }
}

/// Looks at the data directory, one at a time. Some of them also write and sync, since a file system that is frozen, or a network
/// file system that hangs, answers questions about names.
#[derive(Default)]
pub struct DirectoryWatch {
    /// When the look under way counts as unanswered.
    unanswered_at: Option<Moment>,
    room_at: Moment,
}

/// What is to be done about the data directory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryStep {
    /// Look at it, write as well unless the disk has written for so long (never where there is no such time), and look at its room or
    /// not. This is to be called again at the moment.
    Look { writes_after: Option<Duration>, room: bool, again_at: Moment },
    /// The look under way is waited for until then.
    Wait { until: Moment },
    /// The look under way has had its time.
    Unanswered { after: Duration },
}

impl DirectoryWatch {
    /// The moment of the last step has come. `replaceable`: whether this node is a master in whose place a peer could act. `grace`: the
    /// time that the batch before the look may take for its bytes.
    pub fn step(&mut self, now: Moment, replaceable: bool, grace: Duration, options: &Options) -> DirectoryStep {
        let bound = options.disk_timeout();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let after = |time: Duration| Moment(now.0.saturating_add(micros(time)));
        let every = options.takeover_delay / DIRECTORY_LOOKS;
        match (self.unanswered_at, bound) {
            (None, _) => {
                let writes_after = bound.filter(|_| replaceable).map(|bound| bound / 2);
                let room = now >= self.room_at;
                if room {
                    self.room_at = after(ROOM_INTERVAL);
                }
                let again_at = after(bound.unwrap_or(every));
                self.unanswered_at = Some(again_at);
                DirectoryStep::Look { writes_after, room, again_at }
            }
            // On a shadow a look may wait behind a push that is being made durable, or behind the host.
            (Some(_), None) => DirectoryStep::Wait { until: after(every) },
            (Some(at), Some(bound)) if !replaceable || now.0 > at.0.saturating_add(micros(every)) => {
                // Long after the moment: this node was stopped, and the disk had no time to answer.
                self.unanswered_at = Some(after(bound));
                DirectoryStep::Wait { until: after(bound) }
            }
            // A batch with many bytes is before it. The engine gives that up in time.
            (Some(_), Some(_)) if !grace.is_zero() => {
                self.unanswered_at = Some(after(grace));
                DirectoryStep::Wait { until: after(grace) }
            }
            (Some(_), Some(bound)) => {
                self.unanswered_at = Some(after(bound));
                DirectoryStep::Unanswered { after: bound }
            }
        }
    }

    /// The look under way is answered. Returns when the next one is due.
    pub fn answered(&mut self, now: Moment, options: &Options) -> Moment {
        self.unanswered_at = None;
        let every = options.takeover_delay / DIRECTORY_LOOKS;
        Moment(now.0.saturating_add(u64::try_from(every.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    const SECOND: u64 = 1_000_000;
    const NONE: Duration = Duration::ZERO;

    #[test]
    fn a_checkpoint_begins_earlier_in_a_quiet_time() {
        let mut maintenance = Maintenance::default();
        let at = |seq| Revision::new(Epoch::new(1, 0), seq);
        let begins = [at(1), at(1), at(2), at(2)].map(|visible| maintenance.begins_at(visible));
        assert_eq!(begins, [CHECKPOINT_BYTES, CHECKPOINT_IDLE_BYTES, CHECKPOINT_BYTES, CHECKPOINT_IDLE_BYTES]);
    }

    #[test]
    fn a_look_that_is_not_answered_is_told_on_a_master_only() {
        let options = Options::default();
        let bound = options.disk_timeout().unwrap();
        let after = |seconds| Moment(seconds * SECOND);
        let mut watch = DirectoryWatch::default();
        let writes_after = Some(bound / 2);
        let look = |room, again_at| DirectoryStep::Look { writes_after, room, again_at };
        assert_eq!(watch.step(after(1), true, NONE, &options), look(true, after(16)));
        assert_eq!(watch.answered(after(1), &options), Moment(SECOND + 2_500_000));
        assert_eq!(watch.step(after(9), true, NONE, &options), look(false, after(24)));
        assert_eq!(watch.step(after(24), true, NONE, &options), DirectoryStep::Unanswered { after: bound });
        assert_eq!(watch.step(after(39), false, NONE, &options), DirectoryStep::Wait { until: after(54) });
        // It was stopped for a minute.
        assert_eq!(watch.step(after(120), true, NONE, &options), DirectoryStep::Wait { until: after(135) });
        assert_eq!(watch.step(after(135), true, NONE, &options), DirectoryStep::Unanswered { after: bound });
    }

    #[test]
    fn a_look_behind_a_large_batch_is_waited_for() {
        let options = Options::default();
        let after = |seconds| Moment(seconds * SECOND);
        let mut watch = DirectoryWatch::default();
        let _ = watch.step(after(1), true, NONE, &options);
        let grace = Duration::from_secs(32);
        assert_eq!(watch.step(after(16), true, grace, &options), DirectoryStep::Wait { until: after(48) });
        assert!(matches!(watch.step(after(48), true, NONE, &options), DirectoryStep::Unanswered { .. }));
    }
}
