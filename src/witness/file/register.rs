//! Compare-and-swap by hard links.
//!
//! Record N is the file of that number; the highest one counts. It is never removed, so the highest number never falls, and
//! a link that finds its number free while a higher one exists came too late and counts for nothing.

use std::io;

use super::super::{Swap, WitnessError};
use super::files::Files;
use crate::model::limits::{
    WITNESS_BYTES_MAX, WITNESS_FILE_ASIDE_AGE, WITNESS_FILE_CLEANED_MAX, WITNESS_FILE_NAMES_MAX,
    WITNESS_FILE_READS_MAX, WITNESS_FILE_RECORDS_KEPT,
};
use crate::model::{WitnessRecord, WitnessVersion};

/// Between the number of a record and the end of its name.
const RECORD: &str = ".record";
/// Before the name of a file that is written aside.
const ASIDE: &str = "aside-";
/// Digits of a number: those of the largest, so that each number has one name, and names sort as numbers do.
const DIGITS: usize = 20;

/// The register. Every method blocks for as long as the file system does.
#[derive(Debug)]
pub struct Register {
    files: Box<dyn Files>,
}

/// Why a swap did not come to its end.
enum Stopped {
    /// Another value is there, and nothing changed.
    Conflict,
    /// Nobody knows.
    Unknown(String),
}

/// What the directory holds.
struct Listing {
    /// Numbers of the records, falling.
    numbers: Vec<u64>,
    /// Names of files that were written aside.
    asides: Vec<String>,
}

/// The version of a record: its number, and what it holds. A number alone could name two: a power cut at the server may take
/// back a link that somebody has seen already, and the next record gets the same number.
pub(super) fn version(number: u64, bytes: &[u8]) -> WitnessVersion {
    WitnessVersion::new(format_args!("{number}-{:08x}", crc32c::crc32c(bytes)))
}

impl Register {
    pub fn new(files: impl Files + 'static) -> Self {
        Self { files: Box::new(files) }
    }

    /// The highest record. One that is damaged, or newer than this program, is an error: the one below it is over.
    pub fn read(&self) -> Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError> {
        let unreachable = |error: io::Error| WitnessError::Unreachable { reason: error.to_string() };
        for _ in 0..WITNESS_FILE_READS_MAX {
            let Some(listing) = self.list().map_err(unreachable)? else { return Ok(None) };
            let Some(number) = listing.highest() else { return Ok(None) };
            match self.files.read(&record_name(number), WITNESS_BYTES_MAX + 1) {
                Ok(bytes) => return Ok(Some((WitnessRecord::from_bytes(&bytes)?, version(number, &bytes)))),
                // Cleaned up meanwhile, so there is a higher one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreachable(error)),
            }
        }
        Err(WitnessError::Unreachable { reason: "its records come and go faster than they can be read".into() })
    }

    /// Replaces the record of this version, or makes the first one.
    pub fn swap(&self, expected: Option<&WitnessVersion>, record: &WitnessRecord) -> Swap {
        let name = match random_name() {
            Ok(name) => name,
            Err(error) => return Swap::Unknown { reason: error.to_string() },
        };
        let answer = match self.try_swap(expected, record, &name) {
            Ok(version) => Swap::Swapped(version),
            Err(Stopped::Conflict) => Swap::Conflict,
            Err(Stopped::Unknown(reason)) => Swap::Unknown { reason },
        };
        // Best effort: what stays is cleaned up by age. A link that is still under way finds nothing to link.
        let _ = self.files.remove(&name);
        answer
    }

    fn try_swap(
        &self,
        expected: Option<&WitnessVersion>,
        record: &WitnessRecord,
        aside: &str,
    ) -> Result<WitnessVersion, Stopped> {
        let bytes = record.to_bytes().map_err(|error| Stopped::Unknown(error.to_string()))?;
        let number = self.next_number(expected)?;
        self.files.write(aside, &bytes)?;
        self.link(aside, number)?;
        self.files.sync()?;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the directory is gone");
        let after = self.list()?.ok_or_else(gone)?;
        if after.highest() != Some(number) {
            return Err(self.not_the_highest(number, &after));
        }
        self.clean_up(aside, &after);
        Ok(version(number, &bytes))
    }

    /// The number to link to: the one after `expected`, if that is the highest.
    fn next_number(&self, expected: Option<&WitnessVersion>) -> Result<u64, Stopped> {
        let Some(expected) = expected else {
            if self.list()?.is_none() {
                match self.files.make() {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                    _ => {}
                }
            }
            let empty = self.list()?.is_some_and(|listing| listing.highest().is_none());
            return if empty { Ok(1) } else { Err(Stopped::Conflict) };
        };
        let highest = self.list()?.and_then(|listing| listing.highest()).ok_or(Stopped::Conflict)?;
        let bytes = match self.files.read(&record_name(highest), WITNESS_BYTES_MAX + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Stopped::Conflict),
            bytes => bytes?,
        };
        // A version of another back end, or one that was replaced.
        if *expected != version(highest, &bytes) {
            return Err(Stopped::Conflict);
        }
        highest.checked_add(1).ok_or_else(|| Stopped::Unknown("the numbers are used up".into()))
    }

    /// Links the file aside to this number. NFS may do it, lose its answer, be asked again by the client, and then find the
    /// name taken; that it was done shows in the number of names that the file has.
    fn link(&self, aside: &str, number: u64) -> Result<(), Stopped> {
        match self.files.link(aside, &record_name(number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.files.names(aside)? {
                2 => Ok(()),
                _ => Err(Stopped::Conflict),
            },
            linked => Ok(linked?),
        }
    }

    /// The number is linked, but a higher one exists. Either this number had been used and cleaned up before: then the link
    /// came late, and the record never was the value. Or it was, and was replaced before this node looked. Nobody can tell
    /// which, and in neither case does it count any more.
    fn not_the_highest(&self, number: u64, after: &Listing) -> Stopped {
        if after.highest().is_none_or(|highest| highest < number) {
            return Stopped::Unknown("the record is gone from the directory".into());
        }
        // Best effort: it is below the highest, which alone counts.
        let _ = self.files.remove(&record_name(number));
        Stopped::Unknown("it came late: there is a newer record".into())
    }

    /// Takes away what nobody needs, a bounded number of files; what cannot be removed stays for the next time.
    fn clean_up(&self, aside: &str, listing: &Listing) {
        let old = listing.numbers.iter().skip(WITNESS_FILE_RECORDS_KEPT).rev();
        for number in old.take(WITNESS_FILE_CLEANED_MAX) {
            let _ = self.files.remove(&record_name(*number));
        }
        // Its own file says what time it is for the file system, whatever any node's clock says.
        let Ok(now) = self.files.written(aside) else { return };
        for name in listing.asides.iter().filter(|name| *name != aside).take(WITNESS_FILE_CLEANED_MAX) {
            let age = self.files.written(name).ok().and_then(|written| now.duration_since(written).ok());
            if age.is_some_and(|age| age > WITNESS_FILE_ASIDE_AGE) {
                let _ = self.files.remove(name);
            }
        }
    }

    /// `None` where there is no directory.
    fn list(&self) -> io::Result<Option<Listing>> {
        let names = match self.files.list(WITNESS_FILE_NAMES_MAX) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let asides = names.into_iter().filter(|name| name.starts_with(ASIDE)).collect();
        Ok(Some(Listing { numbers, asides }))
    }
}

impl Listing {
    fn highest(&self) -> Option<u64> {
        self.numbers.first().copied()
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

fn record_name(number: u64) -> String {
    format!("{number:0DIGITS$}{RECORD}")
}

/// The number of a record's name; other names are nothing of ours.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(RECORD)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number > 0)
}

/// A name that no other swap has, of any node.
fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{ASIDE}{:032x}", u128::from_le_bytes(bytes)))
}
