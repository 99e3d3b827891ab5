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

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("hex")
}
