//! Other systems under the same workloads, where they are installed. Each runs on loopback, in a temporary directory, as a process that ends
//! with this one.

pub mod postgres;
pub mod redis;
mod resp;

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server. It is killed when it is dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the server can be started"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only where the server has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, where it is installed.
fn installed(folders: impl IntoIterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists())
}

/// The folders in which a shell looks for programs.
fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

/// Asks again and again. These servers tell nothing by themselves.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5)); // the pause between two questions
    }
}
