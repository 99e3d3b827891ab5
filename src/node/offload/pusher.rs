//! Reads from the store what the engine pushes, and queues it on a link.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::model::Revision;
use crate::node::driver::input::Input;
use crate::node::environment::Environment;
use crate::node::network::frames::{BulkFrame, bulk_frame};
use crate::protocol::engine::{Event, LinkId};
use crate::protocol::wire::{Bulk, ResumePoint};
use crate::store::{Cursor, Export, ReadError, Reader};

/// What a link is to send.
#[derive(Debug)]
pub enum Push {
    /// Whole records after a position, up to another. The frame says how far they are durable.
    Records { after: Revision, upto: Revision, durable: Revision, max_bytes: usize },
    /// What need not be read, and what the engine is told when it is queued.
    Here { what: Bulk, bytes: Bytes, event: Event },
    /// The next piece of a snapshot.
    Snapshot { transfer: u64, max_bytes: usize },
    /// A repair begins: what comes next is read anew.
    Restart,
}

/// How far one link has read.
#[derive(Default)]
struct Progress {
    /// Where reading continues, so that no record is looked for twice.
    cursor: Option<Cursor>,
    /// What was read and is still to be sent: the rest of a record or an item that is longer than one push.
    rest: Option<(Bulk, Bytes)>,
}

/// Reads what links send, on threads of the pool. Clones share.
#[derive(Clone)]
pub struct Pusher {
    environment: Environment,
    reader: Reader,
    exports: Arc<Mutex<BTreeMap<u64, Slot>>>,
}

/// A snapshot that the engine asked for. It is noted before it is open, so that closing it meanwhile is not lost.
enum Slot {
    Opening,
    Open(Arc<Mutex<Export>>),
}

/// What was read for one push: a frame where there is one, and what the engine is told when it is queued.
struct Step {
    frame: Option<(Bulk, Bytes)>,
    event: Event,
}

impl Pusher {
    pub fn new(environment: Environment, reader: Reader) -> Self {
        Self { environment, reader, exports: Arc::default() }
    }

    /// Notes that the snapshot of this transfer is about to be opened.
    pub fn announce(&self, transfer: u64) {
        self.slots().insert(transfer, Slot::Opening);
    }

    /// Opens a snapshot of what is visible now, or of all that is held. Returns what the engine is told; `None` where it was closed
    /// meanwhile.
    pub async fn open(&self, transfer: u64, withheld: bool) -> Option<Event> {
        let reader = self.reader.clone();
        let opened = self.environment.block(move || match withheld {
            true => reader.export_withheld(transfer),
            false => reader.export(transfer),
        });
        let opened = opened.await;
        let mut slots = self.slots();
        let slot = slots.get_mut(&transfer)?;
        match opened.unwrap_or_else(|panicked| Err(ReadError::Disk(panicked.to_string()))) {
            Ok((header, export)) => {
                *slot = Slot::Open(Arc::new(Mutex::new(export)));
                Some(Event::SnapshotOpened { header })
            }
            Err(error) => {
                slots.remove(&transfer);
                Some(Event::ReadFailed { reason: error.to_string() })
            }
        }
    }

    /// An open snapshot goes on where another one was cut.
    pub fn resume(&self, transfer: u64, point: ResumePoint) {
        self.with_export(transfer, |export| export.resume(point));
    }

    /// An open snapshot begins with the hashes of what differs from these buckets.
    pub fn compare(&self, transfer: u64, buckets: Vec<u8>) {
        self.with_export(transfer, |export| export.compare(buckets));
    }

    /// The hashes were pushed: what the peer wants of them follows.
    pub fn select(&self, transfer: u64, wants: Vec<u8>) {
        self.with_export(transfer, |export| export.select(wants));
    }

    /// No push of this snapshot is under way, so nobody reads it.
    fn with_export(&self, transfer: u64, change: impl FnOnce(&mut Export)) {
        if let Some(Slot::Open(export)) = self.slots().get(&transfer) {
            change(&mut export.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Closes a snapshot that is no longer needed. A read under way ends first.
    pub fn close(&self, transfer: u64) {
        self.slots().remove(&transfer);
    }

    /// Executes the pushes of one link in order, each after the one before it was queued. Where the peer joins parts, no
    /// frame is longer than its push may be.
    pub async fn run(
        &self,
        link: LinkId,
        pushes: &mut mpsc::Receiver<Push>,
        lane: &mpsc::Sender<BulkFrame>,
        inputs: &mpsc::Sender<Input>,
        peer_joins: &AtomicBool,
    ) {
        let mut progress = Progress::default();
        while let Some(push) = pushes.recv().await {
            let Some(step) = self.step(link, push, &mut progress, peer_joins.load(Ordering::Relaxed)).await else {
                progress = Progress::default();
                continue;
            };
            let frame = step.frame.map(|(what, bytes)| bulk_frame(&what, bytes)).transpose();
            let event = match frame {
                Ok(None) => step.event,
                Ok(Some(frame)) => match lane.send(frame).await {
                    Ok(()) => step.event,
                    Err(_) => return,
                },
                Err(error) => Event::ReadFailed { reason: error.to_string() },
            };
            if inputs.send(Input::Engine(event)).await.is_err() {
                return;
            }
        }
    }

    /// `None`: nothing is pushed, and a repair begins.
    async fn step(&self, link: LinkId, push: Push, progress: &mut Progress, parts: bool) -> Option<Step> {
        let (read, max_bytes) = match push {
            Push::Restart => return None,
            Push::Here { what, bytes, event } => return Some(Step { frame: Some((what, bytes)), event }),
            Push::Records { after, upto, durable, max_bytes } => {
                (self.records(link, (after, upto), durable, max_bytes, progress).await, max_bytes)
            }
            Push::Snapshot { transfer, max_bytes } => (self.snapshot(transfer, max_bytes, progress).await, max_bytes),
        };
        Some(match read {
            Ok(step) if parts => step.at_most(max_bytes, progress),
            Ok(step) => step,
            Err(error) => Step { frame: None, event: Event::ReadFailed { reason: error.to_string() } },
        })
    }

    async fn records(
        &self,
        link: LinkId,
        (after, upto): (Revision, Revision),
        durable: Revision,
        max_bytes: usize,
        progress: &mut Progress,
    ) -> Result<Step, ReadError> {
        let pushed = |last, bytes, gone| Event::RecordsPushed { link, last, bytes, gone };
        if let Some((Bulk::Records { after: from, last, .. }, bytes)) = progress.rest.take()
            && from == after
        {
            let event = pushed(last, bytes.len(), false);
            return Ok(Step { frame: Some((Bulk::Records { after, last, durable }, bytes)), event });
        }
        let (reader, from) = (self.reader.clone(), progress.cursor.take());
        let read = move || reader.records_after(after, from, upto, max_bytes);
        let Some(records) = self.block(read).await? else {
            return Ok(Step { frame: None, event: pushed(after, 0, true) });
        };
        progress.cursor = Some(records.next);
        if records.bytes.is_empty() {
            return Ok(Step { frame: None, event: pushed(records.last, 0, false) });
        }
        let event = pushed(records.last, records.bytes.len(), false);
        let what = Bulk::Records { after, last: records.last, durable };
        Ok(Step { frame: Some((what, records.bytes)), event })
    }

    async fn snapshot(&self, transfer: u64, max_bytes: usize, progress: &mut Progress) -> Result<Step, ReadError> {
        let export = match self.slots().get(&transfer) {
            Some(Slot::Open(export)) => Arc::clone(export),
            // Closed meanwhile. It is reported all the same, so that the engine knows that no push is under way.
            Some(Slot::Opening) | None => {
                return Ok(Step { frame: None, event: Event::SnapshotPushed { transfer, bytes: 0, done: true } });
            }
        };
        let rest = progress.rest.take().filter(|(what, _)| *what == Bulk::Snapshot { transfer });
        let piece = match rest {
            Some((_, bytes)) => Some(bytes),
            None => {
                let read = move || export.lock().unwrap_or_else(PoisonError::into_inner).next(max_bytes);
                self.block(read).await?
            }
        };
        Ok(match piece {
            Some(bytes) => {
                let event = Event::SnapshotPushed { transfer, bytes: bytes.len(), done: false };
                Step { frame: Some((Bulk::Snapshot { transfer }, bytes)), event }
            }
            None => Step { frame: None, event: Event::SnapshotPushed { transfer, bytes: 0, done: true } },
        })
    }

    async fn block<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let read = self.environment.block(read).await;
        read.unwrap_or_else(|panicked| Err(ReadError::Disk(panicked.to_string())))
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Slot>> {
        // Nothing panics under this lock, and a map is whole after any insert or remove.
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    /// This step with at most so many bytes. The rest is kept for the next one.
    fn at_most(self, max_bytes: usize, progress: &mut Progress) -> Self {
        let max_bytes = max_bytes.max(1);
        match (self.frame, self.event) {
            (Some((what, mut all)), event) if all.len() > max_bytes => {
                let bytes = all.split_to(max_bytes);
                progress.rest = Some((what, all));
                let (what, event) = match (what, event) {
                    // A part completes nothing.
                    (Bulk::Records { after, durable, .. }, Event::RecordsPushed { link, gone, .. }) => (
                        Bulk::Records { after, last: after, durable },
                        Event::RecordsPushed { link, last: after, bytes: max_bytes, gone },
                    ),
                    (what, Event::SnapshotPushed { transfer, done, .. }) => {
                        (what, Event::SnapshotPushed { transfer, bytes: max_bytes, done })
                    }
                    (what, event) => (what, event),
                };
                Self { frame: Some((what, bytes)), event }
            }
            (frame, event) => Self { frame, event },
        }
    }
}
