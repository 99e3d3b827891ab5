use super::*;
use crate::witness::FileWitness;

#[tokio::test]
async fn the_one_in_memory_passes() {
    let make = || {
        let witness = MemoryWitness::new();
        [witness.clone(), witness]
    };
    assert_eq!(witness_conformance(make).await, Ok(()));
}

#[tokio::test]
async fn the_one_in_a_directory_passes() {
    let dir = tempfile::tempdir().unwrap();
    let mut registers = 0;
    let make = || {
        registers += 1;
        let handle = || FileWitness::new(dir.path().join(registers.to_string()));
        [handle(), handle()]
    };
    assert_eq!(witness_conformance(make).await, Ok(()));
}

/// A register in memory with a flaw.
#[derive(Clone, Debug)]
struct Flawed {
    flaw: Flaw,
    held: MemoryWitness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Reads, waits, and writes: nothing holds the two together.
    NotAtomic,
    /// Takes "expecting nothing" for "whatever there is".
    NoneIsAny,
    /// Does not look at the version at all.
    NoCompare,
    /// Writes, and says that it did not.
    LoserIsVisible,
    /// The version follows from the content.
    VersionOfContent,
    /// Loses a field.
    Forgetful,
    /// A read makes the register.
    ReadCreates,
    /// Each handle has a register of its own.
    NotShared,
}

const FLAWS: [Flaw; 8] = [
    Flaw::NotAtomic,
    Flaw::NoneIsAny,
    Flaw::NoCompare,
    Flaw::LoserIsVisible,
    Flaw::VersionOfContent,
    Flaw::Forgetful,
    Flaw::ReadCreates,
    Flaw::NotShared,
];

impl Flawed {
    fn current(&self) -> Option<WitnessVersion> {
        let held = self.held.held.lock().unwrap();
        held.as_ref().map(|(record, number)| match self.flaw {
            Flaw::VersionOfContent => WitnessVersion::new(record.counter),
            _ => WitnessVersion::new(number),
        })
    }

    fn write(&self, record: WitnessRecord) -> WitnessVersion {
        let mut held = self.held.held.lock().unwrap();
        let number = held.as_ref().map_or(0, |(_, number)| *number) + 1;
        *held = Some((record, number));
        drop(held);
        self.current().unwrap()
    }
}

impl Witness for Flawed {
    fn kind(&self) -> &'static str {
        "flawed"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
        Box::pin(async {
            if self.flaw == Flaw::ReadCreates && self.current().is_none() {
                self.write(record(0));
            }
            let version = self.current();
            Ok(version.zip(self.held.held.lock().unwrap().clone()).map(|(version, (record, _))| (record, version)))
        })
    }

    fn swap(&self, expected: Option<WitnessVersion>, mut record: WitnessRecord) -> BoxFuture<'_, Swap> {
        Box::pin(async move {
            let fits = match self.flaw {
                Flaw::NoCompare => true,
                Flaw::NoneIsAny => expected.is_none() || expected == self.current(),
                _ => expected == self.current(),
            };
            match self.flaw {
                Flaw::NotAtomic => tokio::task::yield_now().await,
                Flaw::Forgetful => record.in_sync = None,
                Flaw::LoserIsVisible if !fits => drop(self.write(record.clone())),
                _ => {}
            }
            if fits { Swap::Swapped(self.write(record)) } else { Swap::Conflict }
        })
    }
}

#[tokio::test]
async fn every_flaw_is_found() {
    for flaw in FLAWS {
        let make = || {
            let one = Flawed { flaw, held: MemoryWitness::new() };
            let other = if flaw == Flaw::NotShared { MemoryWitness::new() } else { one.held.clone() };
            [one, Flawed { flaw, held: other }]
        };
        let found = witness_conformance(make).await;
        assert!(found.is_err(), "{flaw:?} was not found");
    }
}
