//! A disk that can hang.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Launch, Program};

/// A file system for one program, in a file, mounted in a mount namespace of its own. It can be frozen: then whoever writes to
/// it waits.
pub struct LoopDisk {
    image: PathBuf,
    mount: PathBuf,
    frozen: Option<File>,
}

impl LoopDisk {
    /// Mounted at a directory in this one. Where the system does not allow it, prints so and returns `None`.
    pub fn at(dir: &Path) -> Option<Self> {
        let (image, mount) = (dir.join("image"), dir.join("disk"));
        std::fs::create_dir_all(&mount).expect("a directory");
        File::create(&image).and_then(|file| file.set_len(128 << 20)).expect("a file");
        let script = "mkfs.ext4 -q \"$0\" && mount -o loop \"$0\" \"$1\" && fsfreeze -f \"$1\" && fsfreeze -u \"$1\"";
        let mut can = Command::new("unshare");
        can.args(["-m", "sh", "-c", script]).args([&image, &mount]).stderr(Stdio::null());
        if !can.status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a disk that hangs needs unshare(1), mkfs.ext4(8), a loop device and fsfreeze(8)");
            return None;
        }
        Some(Self { image, mount, frozen: None })
    }

    /// Where the program keeps its data.
    pub fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// The same program on this disk.
    pub fn hosts(&self, mut launch: Launch) -> Launch {
        let script = "mount -o loop \"$0\" \"$1\" && shift && exec \"$@\"";
        launch.wrapper = ["unshare", "-m", "sh", "-c", script].map(Into::into).to_vec();
        launch.wrapper.extend([self.image.clone().into(), self.mount.clone().into()]);
        launch
    }

    /// It hangs from now on.
    pub fn freeze(&mut self, program: &Program) {
        let inside = self.mount.strip_prefix("/").expect("an absolute path");
        let root = PathBuf::from(format!("/proc/{}/root", program.pid())).join(inside);
        self.frozen = Some(File::open(root).expect("the directory of the file system"));
        assert!(self.ask("-f"), "the file system is frozen");
    }

    /// It goes on.
    pub fn thaw(&mut self) {
        assert!(self.ask("-u"), "the file system is thawed");
        self.frozen = None;
    }

    fn ask(&self, what: &str) -> bool {
        let Some(dir) = &self.frozen else { return false };
        let path = format!("/proc/{}/fd/{}", std::process::id(), dir.as_raw_fd());
        Command::new("fsfreeze").args([what, &path]).status().is_ok_and(|status| status.success())
    }
}

/// A program that waits for a frozen disk cannot be killed.
impl Drop for LoopDisk {
    fn drop(&mut self) {
        self.ask("-u");
    }
}
