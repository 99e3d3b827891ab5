//! One link: a task that hands received frames to the driver, writes what the driver queued, and reads what is pushed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::address_book::{Met, dialable};
use super::bulk_joiner::BulkJoiner;
use super::connection::Connection;
use super::frames::{BulkFrame, FrameError, FrameReader, Received, bulk_frame};
use super::receive_budget::ReceiveBudget;
use crate::model::limits::{
    FRAME_TIME_MAX, LINGER, LINK_BULK_BYTES_MAX, LINK_BULK_QUEUE_MAX, LINK_CONTROL_QUEUE_MAX, LINK_PUSHES_MAX,
};
use crate::model::{DigestKey, KeyId};
use crate::node::driver::input::Input;
use crate::node::environment::{BoxStream, Environment, later};
use crate::node::offload::pusher::{Push, Pusher};
use crate::protocol::engine::{LinkId, Moment};
use crate::protocol::wire::{Bulk, BulkPrefix, Message, Versions, WireError, encode};
use crate::store::SnapshotPiece;

/// Bytes of a carried frame that are written before its content.
const CARRIED_HEAD_BYTES: usize = 16;

/// The driver's end of a link. Dropping it cuts the link; [`Link::close`] first writes the queued control messages.
pub struct Link {
    /// The key that the peer has shown.
    pub peer_key: KeyId,
    /// The key exchange that protects it.
    pub key_exchange: &'static str,
    control: mpsc::Sender<Bytes>,
    bulk: mpsc::Sender<BulkFrame>,
    /// The peer takes carried change sets, as its hello says.
    carries: Arc<AtomicBool>,
    pushes: mpsc::Sender<Push>,
    closing: oneshot::Sender<()>,
}

/// Why a link cannot take what it was given. The driver closes it for that.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer does not read.
    #[error("the peer does not take control messages: {LINK_CONTROL_QUEUE_MAX} wait")]
    Stuck,
    /// The connection has ended, and the driver is about to hear of it.
    #[error("the connection ended")]
    Ended,
    /// The engine asked for more pushes than a link can hold.
    #[error("more than {LINK_PUSHES_MAX} pushes wait")]
    Pushes,
    /// The message cannot be encoded.
    #[error("a message could not be encoded: {0}")]
    Encode(WireError),
}

/// What every link of a node needs.
#[derive(Clone)]
pub struct LinkContext {
    pub environment: Environment,
    pub pusher: Pusher,
    pub inputs: mpsc::Sender<Input>,
    /// What the pair hashes its entries with.
    pub keys: DigestKey,
    /// The versions of the protocol that the node speaks.
    pub versions: Versions,
    /// Bound on writing the queued control messages when a link is closed.
    pub drain: Duration,
    /// Interval at which the driver is told that bytes of an unfinished frame came.
    pub progress: Duration,
    /// Held by every link's task until it has ended.
    pub alive: mpsc::Sender<()>,
    /// What the last link has shown of the peer's address.
    pub met: Arc<watch::Sender<Option<Met>>>,
}

impl Link {
    /// Starts the task of a connection.
    pub fn open(link: LinkId, connection: Connection, dialled: bool, context: &LinkContext) -> Self {
        let (control, control_queue) = mpsc::channel(LINK_CONTROL_QUEUE_MAX);
        let (bulk, bulk_queue) = mpsc::channel(LINK_BULK_QUEUE_MAX);
        let (pushes, push_queue) = mpsc::channel(LINK_PUSHES_MAX);
        let (closing, closed) = oneshot::channel();
        let (budget, peer_joins) = (ReceiveBudget::default(), Arc::default());
        let carries: Arc<AtomicBool> = Arc::default();
        let (met, peer_key) = ((connection.remote, dialled), connection.peer_key);
        let key_exchange = connection.key_exchange;
        let task =
            LinkTask { link, context: context.clone(), budget, peer_joins, peer_carries: Arc::clone(&carries), met };
        let queues = Queues { control: control_queue, bulk: bulk_queue, pushes: push_queue, pushed: bulk.clone() };
        context.environment.tasks.spawn(Box::pin(task.run(connection, queues, closed)));
        Self { peer_key, key_exchange, control, bulk, carries, pushes, closing }
    }

    /// Queues a control message; never waits. Where it begins a repair, nothing of a push before it goes on.
    pub fn send(&self, message: &Message) -> Result<(), LinkError> {
        let frame = encode(message).map_err(LinkError::Encode)?;
        if matches!(message, Message::Repair(_)) {
            self.push(Push::Restart)?;
        }
        self.control.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Stuck,
            mpsc::error::TrySendError::Closed(_) => LinkError::Ended,
        })
    }

    /// Queues bulk that is here already, without a push. Returns whether there was room for it.
    pub fn push_now(&self, what: &Bulk, bytes: Bytes) -> bool {
        let idle = self.pushes.capacity() == LINK_PUSHES_MAX;
        idle && bulk_frame(what, bytes).is_ok_and(|frame| self.bulk.try_send(frame).is_ok())
    }

    /// Whether the peer takes change sets that this node carries to it.
    pub fn carries(&self) -> bool {
        self.carries.load(Ordering::Relaxed)
    }

    /// Sends the frames of a carried change set, one after the other, as the link takes them.
    pub fn carry(&self, frames: Vec<Bytes>) -> impl Future<Output = ()> + Send + 'static {
        let bulk = self.bulk.clone();
        async move {
            for mut frame in frames {
                let head = frame.split_to(frame.len().min(CARRIED_HEAD_BYTES));
                let Some(head) = BulkPrefix::of(&head) else { return };
                if bulk.send((head, frame)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Where the answer to a carried change set is queued.
    pub fn answers(&self) -> mpsc::Sender<Bytes> {
        self.control.clone()
    }

    /// Queues a push; never waits.
    pub fn push(&self, push: Push) -> Result<(), LinkError> {
        self.pushes.try_send(push).map_err(|_| LinkError::Pushes)
    }

    /// Ends the link when the queued control messages are written, or the drain timeout is over.
    pub fn close(self) {
        // An error means that the task has ended already.
        let _ = self.closing.send(());
    }
}

/// What the driver queues for a link's task.
struct Queues {
    control: mpsc::Receiver<Bytes>,
    bulk: mpsc::Receiver<BulkFrame>,
    pushes: mpsc::Receiver<Push>,
    /// Where the bulk of pushes goes.
    pushed: mpsc::Sender<BulkFrame>,
}

struct LinkTask {
    link: LinkId,
    context: LinkContext,
    budget: ReceiveBudget,
    /// The peer joins what is sent in parts, as its hello says.
    peer_joins: Arc<AtomicBool>,
    /// The peer takes carried change sets, as its hello says.
    peer_carries: Arc<AtomicBool>,
    /// The other end of the connection, and whether this node dialled it.
    met: (SocketAddr, bool),
}

impl LinkTask {
    /// Runs the link until its connection ends, or the driver closes or drops it.
    async fn run(self, connection: Connection, queues: Queues, closed: oneshot::Receiver<()>) {
        let Connection { reader, mut writer, .. } = connection;
        let mut reader = reader.speaking(self.context.versions);
        let Queues { mut control, mut bulk, mut pushes, pushed } = queues;
        let push = async {
            self.context.pusher.run(self.link, &mut pushes, &pushed, &self.context.inputs, &self.peer_joins).await;
            // The driver has closed the link. The queued control messages must still be written.
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            biased;
            lost = self.read(&mut reader) => End::Lost(lost),
            end = write(&mut writer, &mut control, &mut bulk) => end,
            () = push => End::Cut,
            () = self.cut(closed) => End::Cut,
        };
        match end {
            // An error means that the node has stopped.
            End::Lost(reason) => drop(self.context.inputs.send(Input::LinkDown { link: self.link, reason }).await),
            // Closing a socket that holds unread bytes resets it, and the peer would not get the last messages.
            End::Written => drop(self.context.environment.within(LINGER, reader.discard()).await),
            End::Cut => {}
        }
    }

    /// Hands frames to the driver until there are no more. While the driver is busy, this task and the peer wait.
    async fn read(&self, reader: &mut FrameReader<ReadHalf<BoxStream>>) -> String {
        let (mut joiner, mut unfinished) = (BulkJoiner::default(), None);
        loop {
            let received = match reader.next().await {
                Ok(received) => received,
                Err(FrameError::Broken(error)) if crate::identity::refused_by_peer(&error) => {
                    return "refused by peer".into();
                }
                Err(FrameError::Protocol(error)) => return self.malformed(error.to_string()).await,
                Err(error) => return error.to_string(),
            };
            let input = match received {
                Received::Unfinished => {
                    self.unfinished(unfinished.get_or_insert_default());
                    continue;
                }
                Received::Control(mut message) => {
                    self.note(&mut message, &mut joiner);
                    Input::Message { link: self.link, message }
                }
                Received::Carried(payload) => Input::Carried { link: self.link, payload },
                Received::Bulk(what, bytes) => match self.budget.admit(bytes.len()) {
                    Some(permit) => {
                        let counted = bytes.len();
                        let piece = self.hashed(&what, joiner.join(&what, bytes)).await;
                        Input::Bulk { link: self.link, what, piece, counted, permit }
                    }
                    None => {
                        return self.malformed(format!("more than {LINK_BULK_BYTES_MAX} bytes of bulk unasked")).await;
                    }
                },
            };
            unfinished = None;
            if self.context.inputs.send(input).await.is_err() {
                return "the node is stopped".into();
            }
        }
    }

    /// The peer sends what is no frame or no message, or more than it may. The driver refuses it, and then closes the link.
    async fn malformed(&self, what: String) -> String {
        if self.context.inputs.send(Input::Malformed { link: self.link, what }).await.is_err() {
            return "the node is stopped".into();
        }
        std::future::pending().await
    }

    /// Hashes the entries of a snapshot, on another thread than the one on which the store loads the pieces before.
    async fn hashed(&self, what: &Bulk, bytes: Bytes) -> SnapshotPiece {
        if matches!(what, Bulk::Records { .. }) {
            return bytes.into();
        }
        let (keys, unhashed) = (self.context.keys.clone(), bytes.clone());
        let hashed = self.context.environment.block(move || SnapshotPiece::hashed(bytes, &keys)).await;
        hashed.unwrap_or_else(|_| unhashed.into())
    }

    /// What a control message says of the bulk on this link.
    fn note(&self, message: &mut Message, joiner: &mut BulkJoiner) {
        match message {
            Message::Hello(hello) => {
                let ours = self.context.versions;
                self.peer_carries.store(ours.carries(hello.versions), Ordering::Relaxed);
                self.peer_joins.store(ours.allows_parts(hello.versions), Ordering::Relaxed);
                let (remote, dialled) = self.met;
                let advertised = hello.sender.address.clone();
                self.context.met.send_replace(Some(Met { remote, advertised }));
                if let Some(instead) = dialable(&hello.sender.address, remote, dialled) {
                    let advertised = &hello.sender.address;
                    tracing::warn!(%advertised, %instead, "the peer advertises an address that leads nowhere from here");
                    hello.sender.address = instead;
                }
            }
            Message::Repair(_) => joiner.restart(),
            _ => {}
        }
    }

    /// Tells the driver that bytes of an unfinished frame came: at intervals, and for a bounded time per frame.
    fn unfinished(&self, frame: &mut Unfinished) {
        let now = self.context.environment.clock.now();
        let began = *frame.began.get_or_insert(now);
        let due = frame.told.is_none_or(|told| now >= later(told, self.context.progress));
        if due && now <= later(began, FRAME_TIME_MAX) {
            frame.told = Some(now);
            // Where the driver has no room for it, it has other things to hear.
            let _ = self.context.inputs.try_send(Input::Progress { link: self.link });
        }
    }

    /// Returns when the link must end, whatever is still queued: at once where the driver dropped it, after the drain
    /// timeout where it closed it.
    async fn cut(&self, closed: oneshot::Receiver<()>) {
        if closed.await.is_ok() {
            self.context.environment.sleep(self.context.drain).await;
        }
    }
}

/// A frame of which some bytes came.
#[derive(Default)]
struct Unfinished {
    began: Option<Moment>,
    /// When the driver was told last.
    told: Option<Moment>,
}

/// How a link ended.
enum End {
    /// The connection ended, for this reason.
    Lost(String),
    /// The driver closed it, and all control messages were written.
    Written,
    /// The driver dropped it, or writing the queued control messages took too long.
    Cut,
}

/// Writes what is queued, control before bulk, until the connection fails or the driver has closed the link. Bulk that is
/// left then is dropped. A frame that was begun is always finished.
async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    control: &mut mpsc::Receiver<Bytes>,
    bulk: &mut mpsc::Receiver<BulkFrame>,
) -> End {
    let mut batch = BytesMut::new();
    let broken = |error| End::Lost(FrameError::Broken(error).to_string());
    loop {
        let written = tokio::select! {
            biased;
            frame = control.recv() => match frame {
                Some(frame) => write_control(writer, frame, control, &mut batch).await,
                None => return writer.shutdown().await.map_or_else(broken, |()| End::Written),
            },
            Some((head, bytes)) = bulk.recv() => write_bulk(writer, head.as_ref(), &bytes).await,
        };
        let flushed = match written {
            Ok(()) if control.is_empty() && bulk.is_empty() => writer.flush().await,
            other => other,
        };
        if let Err(error) = flushed {
            return broken(error);
        }
    }
}

/// Writes all control frames that wait at once.
async fn write_control<W: AsyncWrite + Unpin>(
    writer: &mut W,
    first: Bytes,
    control: &mut mpsc::Receiver<Bytes>,
    batch: &mut BytesMut,
) -> std::io::Result<()> {
    batch.clear();
    batch.extend_from_slice(&first);
    while let Ok(frame) = control.try_recv() {
        batch.extend_from_slice(&frame);
    }
    writer.write_all(batch).await
}

async fn write_bulk<W: AsyncWrite + Unpin>(writer: &mut W, head: &[u8], bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(head).await?;
    writer.write_all(bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    const WHAT: Bulk = Bulk::Snapshot { transfer: 7 };

    fn heartbeat(nonce: u64) -> Message {
        let position = crate::model::Position::NONE;
        let role = crate::protocol::wire::Role::Shadow;
        let ack =
            crate::protocol::wire::HeartbeatAck { nonce, role, epoch: Epoch::FIRST, position, promise: Duration::ZERO };
        Message::HeartbeatAck(ack)
    }

    #[tokio::test]
    async fn control_overtakes_bulk_between_frames_and_a_closed_link_writes_all_of_it() {
        let (mut here, there) = tokio::io::duplex(64);
        let (control, mut control_queue) = mpsc::channel(8);
        let (bulk, mut bulk_queue) = mpsc::channel(8);
        for _ in 0..2 {
            bulk.try_send(bulk_frame(&WHAT, Bytes::from(vec![1; 500])).unwrap()).unwrap();
        }
        let mut reader = FrameReader::new(there);
        let writer = tokio::spawn(async move {
            let end = write(&mut here, &mut control_queue, &mut bulk_queue).await;
            (matches!(end, End::Written), bulk_queue)
        });
        // The first bulk frame is under way when control is queued: it is finished, then control comes, then the rest.
        let first = loop {
            match reader.next().await {
                Ok(Received::Unfinished) => {}
                other => break other,
            }
        };
        assert!(matches!(first, Ok(Received::Bulk(WHAT, bytes)) if bytes.len() == 500));
        control.try_send(encode(&heartbeat(1)).unwrap()).unwrap();
        control.try_send(encode(&heartbeat(2)).unwrap()).unwrap();
        drop(control);
        let mut seen = Vec::new();
        while let Ok(received) = reader.next().await {
            if received == Received::Unfinished {
                continue;
            }
            seen.push(matches!(received, Received::Control(_)));
        }
        assert_eq!(seen.iter().filter(|control| **control).count(), 2, "{seen:?}");
        assert!(writer.await.unwrap().0);
    }
}
