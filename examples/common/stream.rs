//! A standard stream with a thread of its own. What is printed waits in a bounded queue, so that a reader that is slow, stopped or
//! gone costs only itself: its lines are dropped and counted, and the count is printed when it reads again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use super::terminal;

/// Most lines that wait. A burst of events is shorter: the node keeps 1,024 of them for one reader.
const LINES_MAX: usize = 4_096;
/// Most bytes that wait, by the estimate of [`Line::bytes`]. One larger line may wait in addition: an answer can have any size.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of one write, so that progress shows within a large line.
const WRITE_BYTES: usize = 16 * 1024;
/// A reader that takes nothing for this long counts as stopped. An answer is not waited for any longer then.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What is printed on the stream.
pub trait Line: Send + 'static {
    /// Whether it answers a command.
    fn is_answer(&self) -> bool;
    /// About as many bytes as it has.
    fn bytes(&self) -> usize;
    /// Writes it, with the end of the line.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Lines that were dropped.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    pub answers: u64,
    pub others: u64,
}

/// The queue of a stream. Clones share it.
pub struct Stream<L>(Arc<Shared<L>>);

/// The thread that writes.
pub struct Writer<L> {
    stream: Stream<L>,
    thread: JoinHandle<()>,
}

struct Shared<L> {
    queue: Mutex<Queue<L>>,
    wake: Condvar,
    /// Grows with every write that succeeds or fails: the thread is not held up then.
    progress: AtomicU64,
    /// Set by a caller that was not answered in time, cleared by progress.
    stopped_reader: AtomicBool,
}

struct Queue<L> {
    waiting: VecDeque<Waiting<L>>,
    /// Bytes that wait, without those of a large line.
    bytes: usize,
    large_waits: bool,
    ended: bool,
}

enum Waiting<L> {
    Line {
        line: L,
        written: Option<oneshot::Sender<()>>,
    },
    /// Lines were dropped here.
    Gap(Missed),
}

impl<L: Line> Stream<L> {
    /// Starts the thread of a stream. `notice` makes the line that says how many are missing before the next one.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(fd: impl AsFd, notice: impl Fn(Missed) -> L + Send + 'static) -> io::Result<(Self, Writer<L>)> {
        // A handle of its own has no lock that a stopped reader could keep. Where there is none, nothing can be printed.
        let out = fd.as_fd().try_clone_to_owned().map(File::from).ok();
        let queue = Queue { waiting: VecDeque::new(), bytes: 0, large_waits: false, ended: false };
        let stream = Self(Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            progress: AtomicU64::new(0),
            stopped_reader: AtomicBool::new(false),
        }));
        let here = stream.clone();
        let thread = std::thread::Builder::new().name("output".into()).spawn(move || here.write_all(out, notice))?;
        let writer = Writer { stream: stream.clone(), thread };
        Ok((stream, writer))
    }

    /// Queues a line. Without room it is dropped and counted. Never waits.
    pub fn print(&self, line: L) {
        self.push(line, None);
    }

    /// Queues an answer and waits until it is written, or until its reader counts as stopped.
    pub async fn answer(&self, line: L) {
        let (written, mut done) = oneshot::channel();
        self.push(line, Some(written));
        while !self.0.stopped_reader.load(SeqCst) {
            let before = self.0.progress.load(SeqCst);
            match tokio::time::timeout(ANSWER_WITHIN, &mut done).await {
                Ok(_) => return,
                Err(_) if self.0.progress.load(SeqCst) == before => self.0.stopped_reader.store(true, SeqCst),
                Err(_) => (),
            }
        }
    }

    fn push(&self, line: L, written: Option<oneshot::Sender<()>>) {
        let mut queue = self.queue();
        let (bytes, large) = (line.bytes(), line.bytes() > BYTES_MAX);
        let room = if large { !queue.large_waits } else { queue.bytes + bytes <= BYTES_MAX };
        if room && queue.waiting.len() < LINES_MAX {
            queue.large_waits |= large;
            queue.bytes += if large { 0 } else { bytes };
            queue.waiting.push_back(Waiting::Line { line, written });
        } else if let Some(Waiting::Gap(missed)) = queue.waiting.back_mut() {
            missed.count(&line);
        } else {
            let mut missed = Missed::default();
            missed.count(&line);
            queue.waiting.push_back(Waiting::Gap(missed));
        }
        self.0.wake.notify_one();
    }

    /// The next line, or `None` after the end.
    fn next(&self) -> Option<Waiting<L>> {
        let mut queue = self.queue();
        loop {
            if let Some(next) = queue.waiting.pop_front() {
                if let Waiting::Line { line, .. } = &next {
                    let large = line.bytes() > BYTES_MAX;
                    queue.large_waits &= !large;
                    queue.bytes -= if large { 0 } else { line.bytes() };
                }
                return Some(next);
            }
            if queue.ended {
                return None;
            }
            queue = self.0.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes until the end. A line that cannot be written is counted, and the next one is tried: a disk gets room, and a named pipe
    /// another reader.
    fn write_all(&self, out: Option<File>, notice: impl Fn(Missed) -> L) {
        let Some(out) = out else { return };
        let mut out = Progress { out, shared: &self.0, torn: false };
        let mut missed = Missed::default();
        while let Some(next) = self.next() {
            let line = match next {
                Waiting::Line { line, written } => Some((line, written)),
                Waiting::Gap(gap) => {
                    missed.add(gap);
                    None
                }
            };
            if missed != Missed::default() && out.line(&notice(missed)).is_ok() {
                missed = Missed::default();
            }
            let Some((line, written)) = line else { continue };
            if missed != Missed::default() || out.line(&line).is_err() {
                missed.count(&line);
            }
            _ = written.map(|written| written.send(()));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<L>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Clone for Stream<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: Line> Writer<L> {
    /// Ends the stream, and waits at most this long until what was printed is written.
    pub fn finish(self, at_most: Duration) {
        self.stream.queue().ended = true;
        self.stream.0.wake.notify_one();
        let (done, finished) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::Builder::new().spawn(move || {
            _ = self.thread.join();
            drop(done);
        });
        if waiting.is_ok() {
            _ = finished.recv_timeout(at_most);
        }
    }
}

impl Missed {
    fn count(&mut self, line: &impl Line) {
        match line.is_answer() {
            true => self.answers += 1,
            false => self.others += 1,
        }
    }

    fn add(&mut self, more: Self) {
        self.answers += more.answers;
        self.others += more.others;
    }
}

/// The stream itself. Tells of progress.
struct Progress<'a, L> {
    out: File,
    shared: &'a Shared<L>,
    /// The line that was begun is not whole.
    torn: bool,
}

impl<L: Line> Progress<'_, L> {
    fn line(&mut self, line: &L) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        let mut buffered = BufWriter::new(&mut *self);
        let wrote = line.write(&mut buffered).and_then(|()| buffered.flush());
        // What is left of a line that failed must not be written later.
        drop(buffered.into_parts());
        self.torn &= wrote.is_err();
        wrote
    }
}

impl<L> Write for Progress<'_, L> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(WRITE_BYTES)];
        let wrote = loop {
            if terminal::would_stop_writer(&self.out) {
                break Err(io::Error::other("in the background of a terminal that lets nobody write from there"));
            }
            match self.out.write(part) {
                // Another process made the stream non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    _ = poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], None);
                }
                wrote => break wrote,
            }
        };
        self.torn |= wrote.as_ref().is_ok_and(|bytes| *bytes > 0);
        self.shared.progress.fetch_add(1, SeqCst);
        self.shared.stopped_reader.store(false, SeqCst);
        wrote
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
