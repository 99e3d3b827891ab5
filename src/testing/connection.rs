//! One simulated connection: two ends, with what is on its way between them.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::machine_id::MachineId;

/// Writes that may be on their way or unread, for each direction of a connection.
const WRITES_MAX: usize = 256;

/// A connection: the dialling end and the accepting one.
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
}

/// One end of it.
pub(crate) struct End {
    pub(crate) place: MachineId,
    /// What arrived and was not read.
    pub(crate) unread: VecDeque<Vec<u8>>,
    /// How many bytes of the first unread write were read.
    pub(crate) read: usize,
    pub(crate) finished: bool,
    pub(crate) reset: bool,
    /// The process closed it, or is gone.
    pub(crate) closed: bool,
    /// The machine lost power while this end was open: nobody answers for this end until the machine runs again.
    pub(crate) silent: bool,
    pub(crate) outgoing: VecDeque<Packet>,
    /// Earliest arrival of the next packet: packets do not overtake each other.
    pub(crate) not_before: u64,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

/// What is sent.
pub(crate) enum Packet {
    Data(Vec<u8>),
    Finish,
    Reset,
}

impl Packet {
    /// Bytes that it carries.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Finish | Self::Reset => 0,
        }
    }
}

impl End {
    /// An end on this machine.
    pub(crate) fn new(place: MachineId) -> Self {
        Self {
            place,
            unread: VecDeque::new(),
            read: 0,
            finished: false,
            reset: false,
            closed: false,
            silent: false,
            outgoing: VecDeque::new(),
            not_before: 0,
            reader: None,
            writer: None,
        }
    }

    /// Closes this end as a socket is closed: with a reset if bytes are unread. Returns whether there is a last packet.
    pub(crate) fn close(&mut self) -> bool {
        let speaks = !self.closed && !self.reset;
        if speaks {
            self.outgoing.push_back(if self.unread.is_empty() { Packet::Finish } else { Packet::Reset });
        }
        self.closed = true;
        self.unread.clear();
        speaks
    }

    /// Breaks this end: nothing is sent or received any more.
    pub(crate) fn break_off(&mut self, wakers: &mut Vec<Waker>) {
        self.reset = true;
        self.silent = false;
        self.unread.clear();
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
    }

    /// Reads what has arrived. Also returns the waker of `peer`, if that waits for room and there is room again.
    pub(crate) fn poll_read(
        &mut self,
        peer: &mut Self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> (Poll<io::Result<()>>, Option<Waker>) {
        if self.reset {
            return (Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())), None);
        }
        let Some(first) = self.unread.front() else {
            if self.finished {
                return (Poll::Ready(Ok(())), None);
            }
            self.reader = Some(context.waker().clone());
            return (Poll::Pending, None);
        };
        let rest = first.get(self.read..).unwrap_or_default();
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..taken).unwrap_or_default());
        self.read += taken;
        let mut room_again = None;
        if taken == rest.len() {
            self.unread.pop_front();
            self.read = 0;
            room_again = peer.writer.take();
        }
        (Poll::Ready(Ok(())), room_again)
    }

    /// Takes all of the bytes to send, if there is room.
    pub(crate) fn poll_write(
        &mut self,
        peer: &Self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.reset || self.closed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.outgoing.len() + peer.unread.len() >= WRITES_MAX {
            self.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.outgoing.push_back(Packet::Data(bytes.to_vec()));
        Poll::Ready(Ok(bytes.len()))
    }
}

impl Connection {
    /// Whether nobody holds the connection and nothing is on its way.
    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.closed && !end.silent && end.outgoing.is_empty())
    }
}
