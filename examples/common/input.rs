//! Reads standard input, line by line.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Stdin};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use shadowpair::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use tokio::sync::mpsc;

use super::terminal;

/// Longest line of input: `put-file`, a key, the largest value, and the spaces between.
pub const LINE_BYTES_MAX: usize = VALUE_BYTES_MAX + KEY_BYTES_MAX + 16;
/// Lines read ahead. There are few, because a line can be large.
const LINES_AHEAD: usize = 4;
/// Pause before a program in the background looks again whether it may read. No event tells that.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(500);

/// A line of input without its end.
pub enum Line {
    Whole(Vec<u8>),
    /// The first bytes of a line that is too long.
    TooLong(Vec<u8>),
}

/// Reads standard input on a thread of its own: a read cannot be cancelled, and must not block the runtime. The lines end with the
/// input, but not with its terminal: a connection that breaks must not end the node that was started through it.
pub fn read_lines() -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let stdin = io::stdin();
        let from_terminal = stdin.is_terminal();
        let mut input = BufReader::new(Input { stdin, from_terminal });
        while let Ok(Some(line)) = read_line(&mut input) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
        if from_terminal && !terminal::is_there(io::stdin()) {
            tracing::warn!(target: "program", "the terminal is gone: this node goes on without commands; SIGTERM ends it");
            // The lines do not end while this thread holds the sender.
            loop {
                std::thread::park();
            }
        }
    });
    lines
}

/// Standard input.
struct Input {
    stdin: Stdin,
    from_terminal: bool,
}

impl Read for Input {
    /// A program in the background must not read its terminal: that would stop it (SIGTTIN), and the shadow would take over.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.from_terminal && self.waits_in_background() {
            std::thread::sleep(BACKGROUND_PAUSE);
        }
        self.stdin.read(bytes)
    }
}

fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Line::Whole(line)));
    }
    if line.len() <= LINE_BYTES_MAX {
        return Ok(Some(Line::Whole(line)).filter(|line| !matches!(line, Line::Whole(line) if line.is_empty())));
    }
    line.truncate(64);
    input.skip_until(b'\n')?;
    Ok(Some(Line::TooLong(line)))
}

impl Input {
    /// Waits for input, which stops nobody, and returns whether it is for another program.
    fn waits_in_background(&self) -> bool {
        _ = poll(&mut [PollFd::new(&self.stdin, PollFlags::IN)], None);
        terminal::in_background(&self.stdin)
    }
}
