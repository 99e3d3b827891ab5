//! Golden copies of all frozen bytes, as hexadecimal text in `tests/golden`.
//!
//! A difference means that a frozen format has changed. To add a copy, run the tests once with `SHADOWPAIR_BLESS=1`. That writes
//! missing copies and never changes existing ones (delete one to replace it).

use std::path::PathBuf;

use data_encoding::HEXLOWER;

/// The golden bytes of this name.
pub fn read(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("golden copy {name}: {error}"));
    text.lines().flat_map(|line| HEXLOWER.decode(line.as_bytes()).unwrap()).collect()
}

/// Compares with the golden copy of this name, byte for byte.
pub fn compare(name: &str, bytes: &[u8]) {
    if std::env::var_os("SHADOWPAIR_BLESS").is_some() && !path(name).exists() {
        let line = |line: &[u8]| HEXLOWER.encode(line) + "\n";
        std::fs::write(path(name), bytes.chunks(32).map(line).collect::<String>()).unwrap();
    }
    assert_eq!(bytes, read(name), "{name}: the frozen bytes have changed");
}

/// Encodes repeated bytes as `count:byte` and all others in hexadecimal, because a golden file is mostly zeros.
pub fn pack(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        match run.len() {
            1..=8 => text.push_str(&HEXLOWER.encode(run)),
            len => text.push_str(&format!("\n{len}:{}\n", HEXLOWER.encode(&run[..1]))),
        }
    }
    text
}

/// The bytes that [`pack`] has encoded.
pub fn unpack(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        match line.split_once(':') {
            Some((len, byte)) => {
                let byte = HEXLOWER.decode(byte.as_bytes()).unwrap()[0];
                bytes.resize(bytes.len() + len.parse::<usize>().unwrap(), byte);
            }
            None => bytes.extend(HEXLOWER.decode(line.as_bytes()).unwrap()),
        }
    }
    bytes
}

/// All files of a golden directory, by their path in it.
pub fn directory(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let (mut files, mut left) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = left.pop() {
        let listed = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("golden directory {name}: {error}"));
        for path in listed.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
            } else {
                let bytes = unpack(&std::fs::read_to_string(&path).unwrap());
                files.push((path.strip_prefix(&root).unwrap().with_extension(""), bytes));
            }
        }
    }
    files.sort();
    files
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("hex")
}
