//! The witness, and how it becomes unavailable.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::FAST;

/// Whether the programs know `--witness` and `--replication sync`. Without them the pair is asynchronous and has no witness, and
/// what only the witness guarantees is not asserted.
pub const WITNESSED: bool = true;

/// A witness at a path that leads to its records, unless it is taken away. The records themselves are never touched.
pub struct Witness {
    dir: TempDir,
}

/// How a witness is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is nothing at its path, as with a file system that is not mounted.
    Missing,
    /// Every operation on it fails.
    Failing,
}

impl Witness {
    pub fn new() -> Self {
        let witness = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir(witness.dir.path().join("records")).expect("a directory");
        witness.bring_back();
        witness
    }

    /// The options of a witnessed, synchronous pair in which a takeover takes half a second.
    pub fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = FAST.iter().map(|word| (*word).into()).collect();
        if WITNESSED {
            options.extend(["--witness".into(), format!("file:{}", self.path().display())]);
            options.extend(["--replication", "sync", "--sync-timeout", "500ms"].map(Into::into));
        }
        options
    }

    /// The option that names it.
    pub fn option(&self) -> [String; 2] {
        ["--witness".into(), format!("file:{}", self.path().display())]
    }

    /// Makes it unavailable to both nodes.
    pub fn take_away(&self, how: Absence) {
        self.link_to(match how {
            Absence::Missing => "gone",
            Absence::Failing => "witness", // a link to itself
        });
    }

    /// Makes it available again.
    pub fn bring_back(&self) {
        self.link_to("records");
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("witness")
    }

    /// Replaces the symbolic link in one step. A link that leads nowhere keeps nodes from creating a new witness at the path.
    fn link_to(&self, name: &str) {
        let aside = self.dir.path().join("aside");
        symlink(name, &aside).and_then(|()| fs::rename(&aside, self.path())).expect("the link can be turned");
    }
}
