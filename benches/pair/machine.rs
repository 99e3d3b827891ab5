//! What it was measured on.

use std::path::Path;
use std::process::Command;

/// Processor, cores, kernel, file system and compiler, in one line.
pub fn line(dir: &Path) -> String {
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} x {}, Linux {}, {}, {}",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        file_system(dir),
        compiler()
    )
}

/// The type of the file system that holds `dir`, with its device.
fn file_system(dir: &Path) -> String {
    let mounts = read("/proc/mounts");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && dir.starts_with(fields[1]));
    let deepest = holding.max_by_key(|fields| fields[1].len());
    deepest.map_or_else(|| "unknown file system".into(), |fields| format!("{} on {}", fields[2], fields[0]))
}

fn compiler() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    version.split(" (").next().unwrap_or_default().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
