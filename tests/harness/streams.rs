//! Standard streams that take nothing, and what they are attached to.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::fs::OFlags;

use super::{Launch, WAIT_MAX};

/// How a stream is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A full disk.
    Full,
    /// Not open.
    Closed,
    /// A pipe whose reader is gone.
    ReaderGone,
    /// A full pipe whose reader is stopped.
    ReaderStopped,
}

impl Broken {
    pub const ALL: [Self; 4] = [Self::Full, Self::Closed, Self::ReaderGone, Self::ReaderStopped];
}

/// A pipe in a directory, for the broken streams of one program.
pub struct Pipe {
    path: PathBuf,
    /// Both ends: it stays full, and nobody reads, until the test does.
    ends: Option<File>,
}

impl Pipe {
    /// A pipe that is full.
    pub fn full(path: &Path) -> Self {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        let mut pipe = Self { path: path.into(), ends: Some(options.open(path).expect("the pipe can be opened")) };
        let ends = pipe.ends.as_mut().expect("just opened");
        while ends.write(b"#\n").is_ok() {}
        pipe
    }

    /// Reads until the text has these words.
    pub fn read_until(&mut self, text: &mut String, words: &str) {
        let end = Instant::now() + WAIT_MAX;
        while !text.contains(words) {
            assert!(Instant::now() < end, "waited for {words:?} in {text}");
            text.push_str(&self.read());
        }
    }

    /// Reads what there is.
    fn read(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.ends.as_mut().expect("open").read_to_end(&mut bytes);
        assert!(read.is_ok() || read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it can be read");
        String::from_utf8(bytes).expect("text")
    }
}

/// Wraps a program so that this stream (1 or 2) is broken.
pub fn breaks(mut launch: Launch, stream: u8, how: Broken, pipe: &Pipe) -> Launch {
    let to = match how {
        Broken::Full => "/dev/full".into(),
        Broken::Closed => "&-".into(),
        Broken::ReaderGone => " >(true)".into(),
        Broken::ReaderStopped => pipe.path.display().to_string(),
    };
    let script = format!("export RUST_LOG=debug; exec \"$@\" {stream}>{to}");
    launch.wrapper = ["bash", "-c", &script, "bash"].map(OsString::from).to_vec();
    launch
}
