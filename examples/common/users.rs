//! Users who may enrol a shadow: a file with a line for each.
//!
//! A host has its own users, in LDAP for example; this is the least that shows how they are asked. A line is `NAME:SALT:HASH`, in
//! hexadecimal: 16 random bytes, and the BLAKE3 hash of them and the password. The file is read at every question, so that a
//! change counts at once. A hash as fast as this one protects only long, random passwords against somebody who reads the file.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shadowpair::Password;

/// Context of the hash.
const CONTEXT: &str = "shadowpair 2026 example users v1";
const SALT_BYTES: usize = 16;
/// Longest file that is read: some 10,000 users.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whether the file knows this user with this password. Takes as long for an unknown user as for a wrong password, and compares in
/// constant time.
pub async fn knows(file: PathBuf, user: String, password: Password) -> bool {
    let found = tokio::task::spawn_blocking(move || {
        let text = read(&file).inspect_err(|error| tracing::error!(%error, "the users cannot be read")).ok()?;
        let (salt, kept) = text.lines().find_map(|line| entry(line, &user)).unzip();
        let right = hash(&salt.unwrap_or_default(), &password) == kept.unwrap_or(blake3::Hash::from_bytes([0; 32]));
        Some(right && kept.is_some())
    });
    found.await.ok().flatten().unwrap_or(false)
}

/// Adds a user, or gives one another password. The file is made where there is none, and only its owner may read it.
pub fn add(file: &Path, user: &str, password: &Password) -> Result<(), String> {
    if user.is_empty() || user.contains([':', '\n', '\r']) {
        return Err("the name of a user is not empty and has no colon".into());
    }
    let others = if file.exists() { read(file)? } else { String::new() };
    let others = others.lines().filter(|line| entry_name(line) != Some(user));
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| format!("no randomness: {error}"))?;
    let line = format!("{user}:{}:{}", hex(&salt), hash(&salt, password));
    let text: String = others.chain([line.as_str()]).map(|line| format!("{line}\n")).collect();
    // Whole or not at all: the file may be read meanwhile.
    let new = file.with_extension("new");
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
    let mut written =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).map_err(failed)?;
    std::fs::rename(&new, file).map_err(failed)
}

/// A password from a file, without the end of its line, or from the environment.
pub fn password(file: Option<&Path>) -> Result<Password, String> {
    let text = match file {
        Some(file) => read(file)?,
        None => std::env::var("SHADOWPAIR_PASSWORD")
            .map_err(|_| "--password-file FILE is missing, and so is SHADOWPAIR_PASSWORD".to_owned())?,
    };
    Password::new(text.trim_end_matches(['\n', '\r'])).map_err(|error| error.to_string())
}

fn read(file: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", file.display());
    let bytes = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(failed(&"it is too large"));
    }
    std::fs::read_to_string(file).map_err(|error| failed(&error))
}

fn entry_name(line: &str) -> Option<&str> {
    line.split_once(':').map(|(name, _)| name)
}

/// Salt and hash in this line, if it is the user's.
fn entry(line: &str, user: &str) -> Option<([u8; SALT_BYTES], blake3::Hash)> {
    let (salt, kept) = line.strip_prefix(user)?.strip_prefix(':')?.split_once(':')?;
    let salt = data_encoding::HEXLOWER_PERMISSIVE.decode(salt.as_bytes()).ok()?.try_into().ok()?;
    Some((salt, blake3::Hash::from_hex(kept.trim_end()).ok()?))
}

fn hash(salt: &[u8; SALT_BYTES], password: &Password) -> blake3::Hash {
    blake3::Hasher::new_derive_key(CONTEXT).update(salt).update(password.as_str().as_bytes()).finalize()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
