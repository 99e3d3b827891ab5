//! Writes the audit log: `audit.log` in the data directory, and `audit.log.1`, which it was before it became too long.
//!
//! Whoever records a line never waits. Lines go to a bounded queue, and one thread of the pool at a time writes them and makes them
//! durable. What could not be written stays in the queue and is tried again at the same place in the file, so a disk that fails for
//! a while costs nothing. Lines for which there is no room are counted, and a line `gap` says how many they were.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::audit_entry::{Actor, AuditEntry, AuditWord, rfc3339};
use crate::model::Epoch;
use crate::model::limits::{AUDIT_BYTES_MAX, AUDIT_QUEUE_MAX};
use crate::node::environment::{Environment, catch};
use crate::store::disk::File;

/// The file that is written.
pub const AUDIT_FILE: &str = "audit.log";
/// The one that was written before it.
pub const AUDIT_FILE_BEFORE: &str = "audit.log.1";

/// The audit log of one node. Clones share it.
#[derive(Clone)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

struct Shared {
    environment: Environment,
    dir: PathBuf,
    queue: Mutex<Queue>,
    /// Only the thread that writes takes it.
    file: Mutex<Option<OpenFile>>,
    /// Whether a thread writes, or was asked to. Changed only under the lock of the queue.
    busy: watch::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    /// Lines that are not known to be durable, oldest first.
    lines: VecDeque<String>,
    lost: Option<Lost>,
    /// Why the last attempt to write failed.
    trouble: Option<String>,
    closed: bool,
}

/// Lines for which there was no room.
struct Lost {
    lines: u64,
    since_ms: u64,
    epoch: Epoch,
}

struct OpenFile {
    file: Arc<dyn File>,
    /// Bytes that are durable.
    len: u64,
}

/// The job of a thread. If the pool has none, it is dropped, and the next line asks again.
struct Worker(Option<AuditLog>);

impl AuditLog {
    /// The log in this data directory. Nothing is opened before there is a line.
    pub fn new(environment: Environment, dir: PathBuf) -> Self {
        let busy = watch::Sender::new(false);
        Self { shared: Arc::new(Shared { environment, dir, queue: Mutex::default(), file: Mutex::default(), busy }) }
    }

    /// Queues a line, with the time of the wall clock.
    pub fn record(&self, entry: AuditEntry) {
        let wall_ms = self.shared.environment.clock.wall_ms();
        let mut queue = self.queue();
        if queue.closed {
            return;
        }
        if queue.lines.len() >= AUDIT_QUEUE_MAX {
            let lost = queue.lost.get_or_insert(Lost { lines: 0, since_ms: wall_ms, epoch: entry.epoch() });
            lost.lines += 1;
        } else {
            queue.tell_gap(wall_ms);
            queue.lines.push_back(entry.line(wall_ms));
        }
        self.start(queue);
    }

    /// Why lines cannot be written at present.
    pub fn trouble(&self) -> Option<String> {
        self.queue().trouble.clone()
    }

    /// Tries again to write what waits.
    pub fn retry(&self) {
        let queue = self.queue();
        if !queue.lines.is_empty() {
            self.start(queue);
        }
    }

    /// Returns when nothing is being written. What could not be written stays in the queue.
    pub async fn settle(&self) {
        // An error would mean that there is no writer any more.
        let _ = self.shared.busy.subscribe().wait_for(|busy| !*busy).await;
    }

    /// Drops what waits, and takes no more lines.
    pub fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.lines.clear();
    }

    fn start(&self, queue: MutexGuard<'_, Queue>) {
        let was_busy = self.shared.busy.send_replace(true);
        drop(queue);
        if !was_busy {
            let worker = Worker(Some(self.clone()));
            self.shared.environment.tasks.block(Box::new(move || worker.run()));
        }
    }

    /// Writes until nothing waits, or it fails.
    fn work(&self) {
        loop {
            let mut queue = self.queue();
            let lines: Vec<String> = queue.lines.iter().cloned().collect();
            if lines.is_empty() {
                self.shared.busy.send_replace(false);
                return;
            }
            drop(queue);
            let written = catch(|| self.append(&lines)).unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
            queue = self.queue();
            match written {
                Ok(written) => {
                    let written = written.min(queue.lines.len());
                    queue.lines.drain(..written);
                    queue.trouble = None;
                    let wall_ms = self.shared.environment.clock.wall_ms();
                    queue.tell_gap(wall_ms);
                }
                Err(error) => {
                    queue.trouble = Some(error.to_string());
                    self.shared.busy.send_replace(false);
                    return;
                }
            }
        }
    }

    /// Appends as many of these lines as the file has room for, durably. Returns how many they were.
    fn append(&self, lines: &[String]) -> io::Result<usize> {
        let mut open = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner);
        let first = lines.first().map_or(0, String::len) as u64;
        if open.as_ref().is_some_and(|open| open.len > 0 && open.len + first > AUDIT_BYTES_MAX) {
            *open = None;
            let (disk, dir) = (&self.shared.environment.disk, &self.shared.dir);
            disk.rename(&dir.join(AUDIT_FILE), &dir.join(AUDIT_FILE_BEFORE))?;
        }
        let OpenFile { file, len } = match &mut *open {
            Some(open) => open,
            closed => closed.insert(self.open()?),
        };
        let (mut bytes, mut count) = (Vec::new(), 0);
        for line in lines {
            let end = *len + (bytes.len() + line.len()) as u64;
            if count > 0 && end > AUDIT_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(line.as_bytes());
            count += 1;
        }
        file.write_at(*len, &bytes)?;
        file.sync()?;
        *len += bytes.len() as u64;
        Ok(count)
    }

    /// Opens the file behind its last line. A line that a crash cut is ended, so that the next one is whole.
    fn open(&self) -> io::Result<OpenFile> {
        let (disk, dir) = (&self.shared.environment.disk, &self.shared.dir);
        let file = disk.open(&dir.join(AUDIT_FILE), true)?;
        disk.sync_dir(dir)?;
        let mut len = file.len()?;
        let mut last = [b'\n'];
        if len > 0 {
            file.read_at(len - 1, &mut last)?;
        }
        if last != [b'\n'] {
            file.write_at(len, b"\n")?;
            len += 1;
        }
        Ok(OpenFile { file, len })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Says how many lines were lost, where that is not said yet.
    fn tell_gap(&mut self, wall_ms: u64) {
        if let Some(Lost { lines, since_ms, epoch }) = self.lost.take() {
            let gap = AuditEntry::new(AuditWord::Gap, Actor::Node, epoch);
            self.lines.push_back(gap.with("lost", lines).text("since", rfc3339(since_ms)).line(wall_ms));
        }
    }
}

impl Worker {
    fn run(mut self) {
        if let Some(log) = self.0.take() {
            log.work();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(log) = self.0.take() {
            let mut queue = log.queue();
            queue.trouble = Some("there is no thread for it".to_owned());
            log.shared.busy.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::store::disk::read_file;
    use crate::store::disk::sim::SimDisk;

    struct Bench {
        log: AuditLog,
        environment: Environment,
        disk: SimDisk,
    }

    fn bench() -> Bench {
        let disk = SimDisk::new(1);
        crate::store::disk::Disk::create_dir(&disk, Path::new("data")).unwrap();
        let environment = Environment { disk: Arc::new(disk.clone()), ..Environment::real() };
        Bench { log: AuditLog::new(environment.clone(), "data".into()), environment, disk }
    }

    fn lines(bench: &Bench, name: &str) -> Vec<Value> {
        let bytes = read_file(&*bench.environment.disk, &Path::new("data").join(name), 1 << 30).unwrap();
        let text = String::from_utf8(bytes.unwrap_or_default()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    fn numbered(number: u64) -> AuditEntry {
        let entry = AuditEntry::new(AuditWord::AlertAcknowledged, Actor::Operator, Epoch::FIRST);
        entry.with("alert", number).text("filler", "x".repeat(400))
    }

    #[tokio::test]
    async fn lines_are_appended_and_the_file_is_rotated_within_its_bound() {
        let bench = bench();
        let total = 2 * AUDIT_BYTES_MAX / 400;
        for number in 0..total {
            bench.log.record(numbered(number));
            if number % 100 == 0 {
                bench.log.settle().await;
            }
        }
        bench.log.settle().await;
        let (before, now) = (lines(&bench, AUDIT_FILE_BEFORE), lines(&bench, AUDIT_FILE));
        let numbers: Vec<u64> = before.iter().chain(&now).map(|line| line["alert"].as_u64().unwrap()).collect();
        assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "in order and without a hole");
        assert_eq!(numbers.last(), Some(&(total - 1)));
        for name in [AUDIT_FILE, AUDIT_FILE_BEFORE] {
            let file = bench.environment.disk.open(&Path::new("data").join(name), false).unwrap();
            assert!((1..=AUDIT_BYTES_MAX).contains(&file.len().unwrap()), "{name}");
        }
        assert!(before.len() as u64 > AUDIT_BYTES_MAX / 700);
    }

    #[tokio::test]
    async fn a_disk_that_fails_loses_nothing_and_a_full_queue_leaves_a_gap() {
        let bench = bench();
        bench.log.record(numbered(0));
        bench.log.settle().await;
        bench.disk.fail_sync(1);
        bench.log.record(numbered(1));
        bench.log.settle().await;
        assert!(bench.log.trouble().is_some());
        bench.log.retry();
        bench.log.settle().await;
        assert_eq!(bench.log.trouble(), None);
        let told = |bench: &Bench| -> Vec<u64> {
            lines(bench, AUDIT_FILE).iter().filter_map(|line| line["alert"].as_u64()).collect()
        };
        assert_eq!(told(&bench), [0, 1], "each line once");

        bench.disk.set_capacity(bench.disk.used());
        for number in 2..2 + AUDIT_QUEUE_MAX as u64 + 5 {
            bench.log.record(numbered(number));
        }
        bench.log.settle().await;
        assert!(bench.log.trouble().is_some());
        bench.disk.set_capacity(u64::MAX);
        bench.log.retry();
        bench.log.settle().await;
        assert_eq!(told(&bench), (0..2 + AUDIT_QUEUE_MAX as u64).collect::<Vec<_>>());
        let gap = lines(&bench, AUDIT_FILE).pop().unwrap();
        assert_eq!((&gap["what"], &gap["lost"]), (&"gap".into(), &5.into()), "{gap}");
    }

    #[tokio::test]
    async fn a_line_that_a_crash_cut_does_not_spoil_the_next_one() {
        let bench = bench();
        let file = bench.environment.disk.open(Path::new("data/audit.log"), true).unwrap();
        file.write_at(0, b"{\"what\":\"ena").unwrap();
        bench.log.record(numbered(7));
        bench.log.settle().await;
        let read = lines(&bench, AUDIT_FILE);
        assert_eq!(read.len(), 2);
        assert_eq!((&read[0], &read[1]["alert"]), (&Value::Null, &7.into()));
        bench.log.close();
        bench.log.record(numbered(8));
        assert_eq!(lines(&bench, AUDIT_FILE).len(), 2);
    }
}
