//! The third vote, and how it is taken away.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::FAST;

/// Whether the programs know `--witness` and `--replication sync`. Without, the pair is an asynchronous one without a
/// witness, and what only the witness guarantees is not asserted.
pub const WITNESSED: bool = false;

/// A witness on a path that leads to its records, until it is taken away. The records themselves are never touched.
pub struct Witness {
    dir: TempDir,
}

/// How a witness is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is nothing where it was, as with a file system that is not mounted.
    Missing,
    /// Whatever is asked of it fails.
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

    /// From now on no node reads or writes it.
    pub fn take_away(&self, how: Absence) {
        self.leads_to(match how {
            Absence::Missing => "gone",
            Absence::Failing => "witness", // a link to itself
        });
    }

    /// Everything is as before.
    pub fn bring_back(&self) {
        self.leads_to("records");
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("witness")
    }

    /// A link that leads nowhere, and not a directory by another name: nobody can make a new and empty witness there. It
    /// changes in one step.
    fn leads_to(&self, name: &str) {
        let aside = self.dir.path().join("aside");
        symlink(name, &aside).and_then(|()| fs::rename(&aside, self.path())).expect("the link can be turned");
    }
}
