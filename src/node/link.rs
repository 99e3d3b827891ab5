//! One link: a task that reads frames into the driver, writes what the driver queued, and reads the store for pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::frames::{FrameError, FrameReader, Received};
use super::inbox::Input;
use super::push::{Push, Pusher};
use super::seam::{BoxStream, Environment};
use crate::model::limits::{
    BULK_OVERHEAD_BYTES, LINGER, LINK_BULK_BYTES_MAX, LINK_BULK_QUEUE_MAX, LINK_CONTROL_QUEUE_MAX, LINK_PUSHES_MAX,
};
use crate::protocol::engine::LinkId;
use crate::protocol::wire::{Bulk, BulkPrefix, Message, WireError, encode, encode_bulk};

/// The driver's end of a link. Dropping it cuts the link; [`Link::close`] lets it say its last words first.
pub struct Link {
    control: mpsc::Sender<Bytes>,
    pushes: mpsc::Sender<Push>,
    closing: oneshot::Sender<()>,
}

/// Why a link cannot take what it was given: it is closed for that.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer does not read.
    #[error("the peer does not take control messages: {LINK_CONTROL_QUEUE_MAX} wait")]
    Stuck,
    /// The connection has ended, and the word of it is under way.
    #[error("the connection ended")]
    Over,
    /// The engine asked for more pushes than a link can hold.
    #[error("more than {LINK_PUSHES_MAX} pushes wait")]
    Pushes,
    /// The message cannot be written.
    #[error("a message could not be encoded: {0}")]
    Encode(#[from] WireError),
}

/// A connection whose both ends have accepted each other.
pub struct Connection {
    pub reader: FrameReader<ReadHalf<BoxStream>>,
    pub writer: WriteHalf<BoxStream>,
}

/// What is written before the bytes of a bulk frame, and the bytes.
pub type BulkFrame = (BulkPrefix, Bytes);

/// Bytes of bulk that a link received and that are not stored yet. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Unstored(Arc<AtomicUsize>);

/// One received bulk frame's share of [`Unstored`]; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    unstored: Unstored,
    bytes: usize,
}

impl Connection {
    pub fn new(stream: BoxStream) -> Self {
        let (read, writer) = tokio::io::split(stream);
        Self { reader: FrameReader::new(read), writer }
    }
}

impl Unstored {
    fn take(&self, bytes: usize) -> Option<Share> {
        let bytes = bytes + BULK_OVERHEAD_BYTES;
        let total = self.0.fetch_add(bytes, SeqCst) + bytes;
        let share = Share { unstored: self.clone(), bytes };
        (total <= LINK_BULK_BYTES_MAX).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.unstored.0.fetch_sub(self.bytes, SeqCst);
    }
}

/// What every link of a node needs.
#[derive(Clone)]
pub struct LinkContext {
    pub environment: Environment,
    pub pusher: Pusher,
    pub inputs: mpsc::Sender<Input>,
    /// Bound on last words.
    pub drain: Duration,
    /// Held by every link's task until it is over.
    pub alive: mpsc::Sender<()>,
}

impl Link {
    /// Starts the task of a connection.
    pub fn open(link: LinkId, connection: Connection, context: &LinkContext) -> Self {
        let (control, control_lane) = mpsc::channel(LINK_CONTROL_QUEUE_MAX);
        let (pushes, push_lane) = mpsc::channel(LINK_PUSHES_MAX);
        let (closing, closed) = oneshot::channel();
        let task = LinkTask { link, context: context.clone(), unstored: Unstored::default() };
        context.environment.tasks.spawn(Box::pin(task.run(connection, control_lane, push_lane, closed)));
        Self { control, pushes, closing }
    }

    /// Queues a control message; never waits.
    pub fn send(&self, message: &Message) -> Result<(), LinkError> {
        let frame = encode(message)?;
        self.control.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Stuck,
            mpsc::error::TrySendError::Closed(_) => LinkError::Over,
        })
    }

    /// Queues a push; never waits.
    pub fn push(&self, push: Push) -> Result<(), LinkError> {
        self.pushes.try_send(push).map_err(|_| LinkError::Pushes)
    }

    /// Ends the link when the control messages that were queued are written, or the drain timeout is over.
    pub fn close(self) {
        // An error means that the task is over already.
        let _ = self.closing.send(());
    }
}

struct LinkTask {
    link: LinkId,
    context: LinkContext,
    unstored: Unstored,
}

impl LinkTask {
    /// The life of a link. Ends when the connection does, or when the driver closes or drops it.
    async fn run(
        self,
        connection: Connection,
        mut control: mpsc::Receiver<Bytes>,
        mut pushes: mpsc::Receiver<Push>,
        closed: oneshot::Receiver<()>,
    ) {
        let Connection { mut reader, mut writer } = connection;
        let (bulk, mut bulk_lane) = mpsc::channel(LINK_BULK_QUEUE_MAX);
        let push = async {
            self.context.pusher.run(self.link, &mut pushes, &bulk, &self.context.inputs).await;
            // Over when the driver closes the link: the last words are still to be written.
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            lost = self.read(&mut reader) => End::Lost(lost),
            end = write(&mut writer, &mut control, &mut bulk_lane) => end,
            () = push => End::Cut,
            () = self.cut(closed) => End::Cut,
        };
        match end {
            // Nobody listens any more where the node is stopped.
            End::Lost(reason) => drop(self.context.inputs.send(Input::LinkDown { link: self.link, reason }).await),
            // Closing a socket that holds unread bytes would reset it, and take our last words away from the peer.
            End::Said => drop(self.context.environment.within(LINGER, reader.discard()).await),
            End::Cut => {}
        }
    }

    /// Reads frames into the driver until there are no more. A driver that is busy makes it wait, and so the peer.
    async fn read(&self, reader: &mut FrameReader<ReadHalf<BoxStream>>) -> String {
        loop {
            let input = match reader.next().await {
                Ok(Received::Control(message)) => Input::Message { link: self.link, message },
                Ok(Received::Bulk(what, bytes)) => match self.unstored.take(bytes.len()) {
                    Some(share) => Input::Bulk { link: self.link, what, bytes, share },
                    None => return format!("the peer sent more than {LINK_BULK_BYTES_MAX} bytes unasked"),
                },
                Err(FrameError::Broken(error)) if crate::identity::refused_by_peer(&error) => {
                    return "refused by peer".into();
                }
                Err(error) => return error.to_string(),
            };
            if self.context.inputs.send(input).await.is_err() {
                return "the node is stopped".into();
            }
        }
    }

    /// Returns when the link must end whatever is still queued: at once where the driver dropped it, after the drain
    /// timeout where it closed it.
    async fn cut(&self, closed: oneshot::Receiver<()>) {
        if closed.await.is_ok() {
            self.context.environment.sleep(self.context.drain).await;
        }
    }
}

/// How a link ended.
enum End {
    /// The connection did, for this reason.
    Lost(String),
    /// The driver closed it, and all was said.
    Said,
    /// The driver dropped it, or its last words took too long.
    Cut,
}

/// Writes what is queued, control first and bulk only between control frames, until the connection fails or the driver
/// has closed its side; then what bulk is left is not wanted any more. A frame that was begun is always finished.
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
                None => return writer.shutdown().await.map_or_else(broken, |()| End::Said),
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

/// All control frames that wait, in one write.
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

/// A bulk frame for the lane: its head and its bytes, which are not copied.
pub fn bulk_frame(what: &Bulk, bytes: Bytes) -> Result<BulkFrame, LinkError> {
    Ok((encode_bulk(what, bytes.len())?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Revision};

    const WHAT: Bulk = Bulk::Snapshot { transfer: 7 };

    fn heartbeat(nonce: u64) -> Message {
        let position = crate::model::Position::NONE;
        let role = crate::protocol::wire::Role::Shadow;
        let ack =
            crate::protocol::wire::HeartbeatAck { nonce, role, epoch: Epoch::FIRST, position, promise: Duration::ZERO };
        Message::HeartbeatAck(ack)
    }

    #[tokio::test]
    async fn control_overtakes_bulk_between_frames_and_a_closed_link_says_all_its_words() {
        let (mut here, there) = tokio::io::duplex(64);
        let (control, mut control_lane) = mpsc::channel(8);
        let (bulk, mut bulk_lane) = mpsc::channel(8);
        for _ in 0..2 {
            bulk.try_send(bulk_frame(&WHAT, Bytes::from(vec![1; 500])).unwrap()).unwrap();
        }
        let mut reader = FrameReader::new(there);
        let writer = tokio::spawn(async move {
            let end = write(&mut here, &mut control_lane, &mut bulk_lane).await;
            (matches!(end, End::Said), bulk_lane)
        });
        // The first bulk frame is under way when control is queued: it is finished, then control comes, then the rest.
        assert!(matches!(reader.next().await, Ok(Received::Bulk(WHAT, bytes)) if bytes.len() == 500));
        control.try_send(encode(&heartbeat(1)).unwrap()).unwrap();
        control.try_send(encode(&heartbeat(2)).unwrap()).unwrap();
        drop(control);
        let mut seen = Vec::new();
        while let Ok(received) = reader.next().await {
            seen.push(matches!(received, Received::Control(_)));
        }
        assert_eq!(seen.iter().filter(|control| **control).count(), 2, "{seen:?}");
        assert!(writer.await.unwrap().0);
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_link() {
        let (mut here, there) = tokio::io::duplex(1024);
        here.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(matches!(FrameReader::new(there).next().await, Err(FrameError::Protocol(_))));
        let (here, there) = tokio::io::duplex(1024);
        drop(here);
        assert!(matches!(FrameReader::new(there).next().await, Err(FrameError::Closed)));
    }

    #[test]
    fn bulk_that_nobody_stores_is_bounded_in_bytes_and_number() {
        let unstored = Unstored::default();
        let large = unstored.take(LINK_BULK_BYTES_MAX - BULK_OVERHEAD_BYTES).expect("room");
        assert!(unstored.take(0).is_none());
        drop(large);
        let small: Vec<_> = std::iter::from_fn(|| unstored.take(0)).collect();
        assert_eq!(small.len(), LINK_BULK_BYTES_MAX / BULK_OVERHEAD_BYTES);
        drop(small);
        assert_eq!(unstored.0.load(SeqCst), 0);
    }

    #[test]
    fn bulk_is_sent_without_being_copied() {
        let bytes = Bytes::from(vec![3; 1000]);
        let what = Bulk::Records { after: Revision::NONE, last: Revision::NONE, durable: Revision::NONE };
        let (_, sent) = bulk_frame(&what, bytes.clone()).unwrap();
        assert_eq!(sent.as_ptr(), bytes.as_ptr());
    }
}
