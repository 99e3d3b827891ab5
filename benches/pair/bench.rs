//! The state of a run: its settings, its figures, and pairs that several parts use.

use std::path::{Path, PathBuf};

use clap::Parser;
use tempfile::TempDir;

use crate::figures::Figures;
use crate::process::{Pair, Timing};

/// Bytes of a value, where a part says nothing else.
pub const VALUE_BYTES: usize = 200;

/// Measures a pair beside the disk and the wire under it.
#[derive(Parser)]
pub struct Settings {
    /// Only the parts whose names begin with one of these.
    pub names: Vec<String>,
    /// One short round, to see that everything works. Its figures mean little.
    #[arg(long)]
    pub quick: bool,
    /// Rounds, of which the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Entries of the large configuration; also the largest size of the part `growth`.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Measures Redis and PostgreSQL too, where they are installed.
    #[arg(long)]
    pub peers: bool,
    /// Where the data directories are made: the disk that is measured. Default: in the build directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Names the parts and ends.
    #[arg(long)]
    pub list: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

pub struct Bench {
    pub settings: Settings,
    pub figures: Figures,
    dir: TempDir,
    /// A pair with little in it.
    small: Option<Pair>,
    /// A pair with [`Bench::entries`] entries.
    large: Option<Pair>,
}

impl Bench {
    pub fn new(settings: Settings) -> Self {
        let below = settings.dir.clone().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        std::fs::create_dir_all(&below).unwrap();
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(below).unwrap();
        Self { settings, figures: Figures::default(), dir, small: None, large: None }
    }

    /// The directory on the disk that is measured.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the results go.
    pub fn out(&self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
    }

    pub fn rounds(&self) -> usize {
        if self.settings.quick { 1 } else { self.settings.rounds.max(1) }
    }

    /// Entries of the large configuration.
    pub fn entries(&self) -> u64 {
        if self.settings.quick { self.settings.entries.min(100_000) } else { self.settings.entries }
    }

    /// A length of time or a number of repetitions: a tenth of it in a quick run.
    pub fn scaled(&self, usual: u64) -> u64 {
        if self.settings.quick { usual.div_ceil(10) } else { usual }
    }

    /// The pair with little in it, enrolled at first use.
    pub fn small(&mut self) -> &mut Pair {
        self.small.get_or_insert_with(|| Pair::start(self.dir.path(), &Timing::default()))
    }

    /// The pair with many entries, loaded at first use.
    pub fn large(&mut self) -> &mut Pair {
        let entries = self.entries();
        self.large.get_or_insert_with(|| {
            let mut pair = Pair::start(self.dir.path(), &Timing::default());
            pair.load(entries);
            pair
        })
    }

    /// Takes a pair that was loaded by a measurement as the large one.
    pub fn keep_large(&mut self, pair: Pair) {
        self.large = Some(pair);
    }

    /// Ends the pairs, so that the next round begins with new ones.
    pub fn end_pairs(&mut self) {
        (self.small, self.large) = (None, None);
    }
}
