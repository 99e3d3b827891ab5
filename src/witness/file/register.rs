//! Compare-and-swap by hard links.
//!
//! Record N is the file with that number. The highest number is the current record. It is never removed, so the highest
//! number never falls. If a link finds its number free although a higher number exists, it came too late and has no effect.

use std::io;

use data_encoding::HEXLOWER;

use super::directory::Directory;
use crate::model::limits::{
    WITNESS_BYTES_MAX, WITNESS_FILE_CLEANED_MAX, WITNESS_FILE_NAMES_MAX, WITNESS_FILE_READS_MAX,
    WITNESS_FILE_RECORDS_KEPT, WITNESS_FILE_TEMPORARY_AGE,
};
use crate::model::{WitnessRecord, WitnessVersion};
use crate::witness::backend::{Swap, WitnessError};

/// End of a record's name, after its number.
const RECORD_SUFFIX: &str = ".record";
/// Beginning of a temporary file's name.
const TEMPORARY_PREFIX: &str = "aside-";
/// Digits of a number in a name. The largest number has as many, so each number has one name, and names sort as numbers.
const DIGITS: usize = 20;

/// The register. Its methods block for as long as the file system does.
#[derive(Debug)]
pub struct Register {
    directory: Box<dyn Directory>,
}

/// Why a swap did not succeed.
enum SwapFailure {
    /// The value is not the expected one. Nothing was changed.
    Conflict,
    /// It is not known whether the value was replaced.
    Unknown(String),
}

/// The files of the directory.
struct Listing {
    /// Numbers of the records, highest first.
    numbers: Vec<u64>,
    /// Names of temporary files.
    temporaries: Vec<String>,
}

/// The version of a record: its number and its checksum. The number alone could name two records: a power cut at the
/// server may undo a link that a node has already seen, and the next record gets the same number.
pub(super) fn version(number: u64, bytes: &[u8]) -> WitnessVersion {
    WitnessVersion::new(format_args!("{number}-{:08x}", crc32c::crc32c(bytes)))
}

impl Register {
    pub fn new(directory: impl Directory + 'static) -> Self {
        Self { directory: Box::new(directory) }
    }

    /// Reads the current record. If it is damaged or of a newer format, that is an error: the one below is outdated.
    pub fn read(&self) -> Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError> {
        let unreachable = |error: io::Error| WitnessError::Unreachable { reason: error.to_string() };
        for _ in 0..WITNESS_FILE_READS_MAX {
            let Some(listing) = self.list().map_err(unreachable)? else { return Ok(None) };
            let Some(number) = listing.highest() else { return Ok(None) };
            match self.directory.read(&record_name(number), WITNESS_BYTES_MAX + 1) {
                Ok(bytes) => return Ok(Some((WitnessRecord::from_bytes(&bytes)?, version(number, &bytes)))),
                // It was cleaned up in the meantime, so there is a higher one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreachable(error)),
            }
        }
        Err(WitnessError::Unreachable { reason: "its records change faster than they can be read".into() })
    }

    /// Replaces the record that has the version `expected`, or writes the first record.
    pub fn swap(&self, expected: Option<&WitnessVersion>, record: &WitnessRecord) -> Swap {
        let name = match random_name() {
            Ok(name) => name,
            Err(error) => return Swap::Unknown { reason: error.to_string() },
        };
        let answer = match self.try_swap(expected, record, &name) {
            Ok(version) => Swap::Swapped(version),
            Err(SwapFailure::Conflict) => Swap::Conflict,
            Err(SwapFailure::Unknown(reason)) => Swap::Unknown { reason },
        };
        // If this fails, the file is removed later because of its age. A link that is still under way finds no file.
        let _ = self.directory.remove(&name);
        answer
    }

    fn try_swap(
        &self,
        expected: Option<&WitnessVersion>,
        record: &WitnessRecord,
        temporary: &str,
    ) -> Result<WitnessVersion, SwapFailure> {
        let bytes = record.to_bytes().map_err(|error| SwapFailure::Unknown(error.to_string()))?;
        let number = self.next_number(expected)?;
        self.directory.write(temporary, &bytes)?;
        self.link(temporary, number)?;
        self.directory.sync()?;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the directory has disappeared");
        let after = self.list()?.ok_or_else(gone)?;
        if after.highest() != Some(number) {
            return Err(self.overtaken(number, &after));
        }
        self.clean_up(temporary, &after);
        Ok(version(number, &bytes))
    }

    /// The number after `expected`, if `expected` is the current record.
    fn next_number(&self, expected: Option<&WitnessVersion>) -> Result<u64, SwapFailure> {
        let Some(expected) = expected else {
            if self.list()?.is_none() {
                match self.directory.create() {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                    _ => {}
                }
            }
            let empty = self.list()?.is_some_and(|listing| listing.highest().is_none());
            return if empty { Ok(1) } else { Err(SwapFailure::Conflict) };
        };
        let highest = self.list()?.and_then(|listing| listing.highest()).ok_or(SwapFailure::Conflict)?;
        let bytes = match self.directory.read(&record_name(highest), WITNESS_BYTES_MAX + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SwapFailure::Conflict),
            bytes => bytes?,
        };
        // The version may also be one of another back end.
        if *expected != version(highest, &bytes) {
            return Err(SwapFailure::Conflict);
        }
        highest.checked_add(1).ok_or_else(|| SwapFailure::Unknown("there is no higher number".into()))
    }

    /// Links the temporary file to this number. An NFS client whose answer was lost repeats the request and is told that the
    /// name exists. If the file has two names then, the first request succeeded.
    fn link(&self, temporary: &str, number: u64) -> Result<(), SwapFailure> {
        match self.directory.link(temporary, &record_name(number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.directory.link_count(temporary)? {
                2 => Ok(()),
                _ => Err(SwapFailure::Conflict),
            },
            linked => Ok(linked?),
        }
    }

    /// The number is linked, but a higher number exists. There are two cases. The number had been used and cleaned up before:
    /// then the link came too late, and the record was never current. Or the record was current and was replaced before this
    /// node looked. No node can tell which, and in neither case is the record current now.
    fn overtaken(&self, number: u64, after: &Listing) -> SwapFailure {
        if after.highest().is_none_or(|highest| highest < number) {
            return SwapFailure::Unknown("the record has disappeared from the directory".into());
        }
        // It is harmless if this fails: only the highest number is current.
        let _ = self.directory.remove(&record_name(number));
        SwapFailure::Unknown("it came too late: there is a newer record".into())
    }

    /// Removes old files, up to a bound. A file that cannot be removed now stays until the next swap.
    fn clean_up(&self, temporary: &str, listing: &Listing) {
        let old = listing.numbers.iter().skip(WITNESS_FILE_RECORDS_KEPT).rev();
        for number in old.take(WITNESS_FILE_CLEANED_MAX) {
            let _ = self.directory.remove(&record_name(*number));
        }
        // The swap's own file tells the time of the file system's clock. The node's clock may differ from it.
        let Ok(now) = self.directory.modified(temporary) else { return };
        for name in listing.temporaries.iter().filter(|name| *name != temporary).take(WITNESS_FILE_CLEANED_MAX) {
            let age = self.directory.modified(name).ok().and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age > WITNESS_FILE_TEMPORARY_AGE) {
                let _ = self.directory.remove(name);
            }
        }
    }

    /// The files of the directory. `None` if there is no directory.
    fn list(&self) -> io::Result<Option<Listing>> {
        let names = match self.directory.list(WITNESS_FILE_NAMES_MAX) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let temporaries = names.into_iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)).collect();
        Ok(Some(Listing { numbers, temporaries }))
    }
}

impl Listing {
    fn highest(&self) -> Option<u64> {
        self.numbers.first().copied()
    }
}

impl From<io::Error> for SwapFailure {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

fn record_name(number: u64) -> String {
    format!("{number:0DIGITS$}{RECORD_SUFFIX}")
}

/// The number in a record's name. `None` for any other name.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(RECORD_SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number > 0)
}

/// A name for a temporary file that no other swap of any node has.
fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{TEMPORARY_PREFIX}{}", HEXLOWER.encode(&bytes)))
}
