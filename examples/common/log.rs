//! Standard error: the log, and the last line of a program that fails.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::stream::{Line, Missed, Stream, Writer};

/// Longest wait until the last lines are written.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(2);

/// Without RUST_LOG: errors, what a start waits for, and what this program itself has to say.
const DEFAULT_FILTER: &str = "error,shadowpair::start=warn,program=warn";

/// The log of this process. Printing to standard error directly would panic where it is full, and block where nobody reads it.
pub struct Log {
    stream: Stream<LogLine>,
    writer: Writer<LogLine>,
}

/// One line, with its end.
pub struct LogLine(Vec<u8>);

#[derive(Clone)]
struct Lines(Stream<LogLine>);

impl Log {
    /// Starts the log, filtered by RUST_LOG.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start() -> io::Result<Self> {
        let (stream, writer) = Stream::start(io::stderr(), notice)?;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(Lines(stream.clone()))
            .with_ansi(io::stderr().is_terminal())
            .log_internal_errors(false) // it would print them to standard error
            .init();
        Ok(Self { stream, writer })
    }

    /// Ends the log, with this as the last line.
    pub fn finish(self, last: Option<&str>) {
        if let Some(last) = last {
            self.stream.print(LogLine(format!("{}\n", last.replace('\n', " ")).into_bytes()));
        }
        self.writer.finish(FINISH_WAIT_MAX);
    }
}

fn notice(missed: Missed) -> LogLine {
    LogLine(format!("{} lines of the log are missing here: standard error was not read\n", missed.others).into_bytes())
}

impl Line for LogLine {
    fn is_answer(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.0)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    /// Gets one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.print(LogLine(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
