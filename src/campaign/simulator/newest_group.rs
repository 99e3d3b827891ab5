//! A group of a master that is in its log and not durable yet: it is sent from memory.

use super::network::Frame;
use super::store::Payload;
use super::world::World;
use crate::campaign::violation::Checked;
use crate::model::Revision;
use crate::protocol::engine::{BatchId, Event, Written};
use crate::protocol::wire::Bulk;
use crate::testing::Side;

/// Bytes that one record of the newest group stands for: it fits the smallest window, as most groups do.
const RECORD_BYTES: usize = 300;

impl World {
    /// The group of the batch under way is in the log. A driver says so where a link waits for it.
    pub fn group_written(&mut self, side: Side, batch: BatchId) -> Checked {
        let machine = self.machine(side);
        let Some(job) = machine.driver.batch.clone().filter(|job| job.batch() == batch) else {
            return Ok(());
        };
        let before = machine.disk.head.position.revision;
        let Some((head, records)) = machine.disk.write(&job)? else {
            return Ok(());
        };
        if machine.driver.links.is_empty() {
            return Ok(());
        }
        let written = Written { head, bytes: records.len() * RECORD_BYTES };
        machine.driver.tail = Some((before, records.clone()));
        let node = machine.disk.node();
        self.oracle.check_written(node, &records)?;
        self.event(side, Event::Written { batch, written })
    }

    /// Sends the newest group, where it is what lies between these two and was not sent. Returns its bytes.
    pub fn push_newest_group(
        &mut self,
        side: Side,
        conn: usize,
        (after, upto): (Revision, Revision),
        durable: Revision,
    ) -> Option<usize> {
        let (_, records) = self.machine(side).driver.tail.take_if(|(before, records)| {
            *before == after && records.last().is_some_and(|record| record.position.revision == upto)
        })?;
        let bytes = records.len() * RECORD_BYTES;
        let what = Bulk::Records { after, last: upto, durable };
        self.send(conn, side.other(), Frame::Bulk(what, Payload::Records(records), bytes));
        Some(bytes)
    }
}
