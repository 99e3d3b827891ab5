//! A disk that can be full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Launch, Program};

/// A file system for one program: a few megabytes of memory in a mount namespace of its own.
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Mounted at this directory. Where the system does not allow it, prints so and returns `None`.
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

    /// The same, with all but `free` megabytes taken by something else, until [`SmallDisk::free`].
    pub fn hosts_with_little_room(&self, launch: Launch, megabytes: u32, free: u32) -> Launch {
        let mut launch = self.hosts(launch, megabytes);
        let (mount, run) = ("mount -t tmpfs -o size=", " tmpfs \"$0\"");
        let taken = megabytes - free;
        let script = format!("{mount}{megabytes}m{run} && head -c {taken}m /dev/zero >\"$0/ballast\" && exec \"$@\"");
        launch.wrapper[4] = script.into();
        launch
    }

    /// Fills it.
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

    /// The path of the ballast, through the root of the program.
    fn ballast(&self, program: &Program) -> PathBuf {
        let inside = self.mount.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", program.pid())).join(inside).join("ballast")
    }
}
