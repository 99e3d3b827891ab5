//! The work queue as a reviewed table: every state with every event.

use super::*;
use crate::model::Revision;
use crate::protocol::engine::tests::tables::{done_with, table};
use crate::protocol::engine::{AppendRecords, BulkId, Quarantine, Reopen};

#[test]
fn the_work_queue() {
    let busy = || {
        let mut queue = WorkQueue::default();
        let _ = queue.start(Moment(0), Reopen);
        queue
    };
    fn writing() -> WorkQueue {
        let mut queue = WorkQueue::default();
        let _ = queue.start(Moment(0), AppendRecords { frames: vec![BulkId(3)], durable: Revision::NONE });
        queue
    }
    fn given_up() -> WorkQueue {
        let mut queue = writing();
        let _ = queue.give_up(Moment(9), 5);
        queue
    }
    let waiting = || {
        let mut queue = WorkQueue::default();
        queue.queue(AppendRecords { frames: vec![BulkId(7)], durable: Revision::NONE });
        queue.queue(Quarantine { common: Revision::NONE });
        queue
    };
    fn show(queue: &WorkQueue) -> String {
        let in_flight = queue.in_flight().map_or("nothing".to_owned(), |work| format!("batch {}", work.batch().0));
        format!("{in_flight} in flight, idle {}", queue.is_idle())
    }
    let rows = table(
        &[
            ("idle", WorkQueue::default),
            ("busy opening", busy),
            ("busy writing", writing),
            ("given up", given_up),
            ("waiting", waiting),
        ],
        &[
            ("work is queued", |queue| done_with(queue, |queue| queue.queue(Reopen))),
            ("an era is queued", |queue| {
                queue.queue_era(Epoch::FIRST);
                let next: Vec<_> = std::iter::from_fn(|| queue.take_next()).collect();
                format!("era {:?}, then {} more", queue.take_era(), next.len())
            }),
            ("an era is cancelled", |queue| format!("{}", queue.cancel_era())),
            ("batch 1 is done", |queue| format!("{:?}", queue.completed(BatchId(1)))),
            ("batch 2 is done", |queue| format!("{:?}", queue.completed(BatchId(2)))),
            ("the link of a sink is gone", |queue| format!("dropped {:?}", queue.drop_sink_work())),
            ("it takes too long", |queue| format!("{:?}", queue.report_slow(Moment(9), 5))),
            ("its time is over", |queue| format!("{:?}", queue.give_up(Moment(9), 5).map(|work| work.batch()))),
            ("the store is gone", |queue| done_with(queue, WorkQueue::clear)),
            ("it is abandoned", |queue| format!("{}", queue.abandon().is_some())),
        ],
        show,
    );
    insta::assert_snapshot!("work_queue", rows);
}
