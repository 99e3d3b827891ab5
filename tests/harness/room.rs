//! A disk that can be full, and a spread of numbers that can be had again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Launch, Program};

/// A file system of its own for one program: a few megabytes of memory that only this program's namespace sees.
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// At this directory. `None`, with a word about it, where the system does not let us.
    pub fn at(mount: &Path) -> Option<Self> {
        std::fs::create_dir_all(mount).expect("a directory");
        let can = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs tmpfs \"$0\""]).arg(mount).status();
        if !can.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a small disk needs unshare(1), mount(8) and the right to use them");
            return None;
        }
        Some(Self { mount: mount.into() })
    }

    /// Where the program keeps its data.
    pub fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// The same program on this disk of `megabytes`.
    pub fn hosts(&self, mut launch: Launch, megabytes: u32) -> Launch {
        let script = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && exec \"$@\"");
        launch.wrapper = ["unshare", "-m", "sh", "-c", &script].map(Into::into).to_vec();
        launch.wrapper.push(self.mount.clone().into());
        launch
    }

    /// Leaves no room on it.
    pub fn fill(&self, program: &Program) {
        let mut ballast = File::create(self.ballast(program)).expect("a file on the small disk");
        let block = vec![0; 64 * 1024];
        while ballast.write_all(&block).is_ok() {}
        while ballast.write_all(&[0]).is_ok() {}
    }

    /// Makes room again.
    pub fn free(&self, program: &Program) {
        std::fs::remove_file(self.ballast(program)).expect("the file goes");
    }

    /// The disk is seen through the program's own root.
    fn ballast(&self, program: &Program) -> PathBuf {
        let inside = self.mount.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", program.pid())).join(inside).join("ballast")
    }
}

/// Numbers without a pattern. The seed is in every failure's output; `SHADOWPAIR_SEED` gives it again.
pub struct Spread {
    seed: u64,
    state: u64,
}

impl Spread {
    pub fn new() -> Self {
        let given = std::env::var("SHADOWPAIR_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("SHADOWPAIR_SEED={seed}");
        Self { seed, state: seed }
    }

    /// With which the same numbers come again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.state >> 33) % end.max(1)
    }
}
