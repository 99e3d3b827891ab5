//! A group that is pushed while it is made durable: what the shadow may hold, and what it is told.
//!
//! | | the shadow holds the group | the master has it durably | acknowledged (synchronous) | shown on the shadow |
//! |---|---|---|---|---|
//! | `Written` | may | no | no | no |
//! | then `Ack`, before `Persisted` | yes | no | no | no |
//! | then `Persisted`, before `Ack` | may | yes | no | when it is told |
//! | both | yes | yes | yes | when it is told |
//! | a failed `Persisted` | may | nobody knows | no: the epoch ends (rule 16) | no |

use crate::model::Revision;
use crate::protocol::engine::{Action, AppendRecords, BatchId, BulkId, Engine, Mutant, Now, Written};

impl Engine {
    /// The group in flight is in the log, and may be pushed. Nothing of it is acknowledged or shown before it is durable.
    pub(in super::super) fn written(&mut self, batch: BatchId, written: Written) {
        if !self.work.is_waiting_for(batch) {
            return;
        }
        self.log.wrote(written);
        #[cfg(test)]
        self.acknowledge_written();
    }

    /// Tells the shadow that what it holds, or is about to, is durable here, unless the push of the group in flight will say it.
    pub(in super::super) fn tell_mark(&mut self, now: Now) {
        if !self.work.is_busy_with_group() {
            self.with_source(now, |source, log, _, out| source.tell_mark(log, out));
        }
    }

    /// The master says how far its own log is durable.
    pub(super) fn durable_at_source(&mut self, now: Now, upto: Revision) {
        self.session.source_is_durable(upto);
        self.with_sink(now, |sink, head, _, out| sink.durable_at_source(upto, head, out));
    }

    /// What was received is shown up to here. A revision outside this history must not become visible.
    pub(super) fn show_received(&mut self, upto: Revision) {
        let upto = if self.setup.makes(Mutant::ShowsBeyondMark) { self.log.revision() } else { upto };
        if upto > self.log.shown() && self.log.contains(upto) {
            self.log.show(upto);
            self.out.push(Action::Publish { upto });
        }
    }

    /// Appends received records. With them the store keeps how far they may be shown after a restart.
    pub(super) fn append_records(&mut self, frames: Vec<BulkId>) {
        let durable = self.session.source_durable().unwrap_or(Revision::NONE);
        self.queue_bulk(AppendRecords { frames, durable });
    }
}
