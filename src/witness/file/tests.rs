use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Barrier, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::directory::Directory;
use super::*;
use crate::model::limits::{WITNESS_FILE_NAMES_MAX, WITNESS_FILE_TEMPORARY_AGE};
use crate::testing::witness_record as record;

/// A directory whose operations fail as a test decides.
#[derive(Debug)]
struct Odd {
    real: RealDirectory,
    hook: Mutex<Hook>,
}

/// Called with the name before each operation, and after `link` with `linked`. An error replaces the answer.
struct Hook(Box<dyn FnMut(&'static str) -> io::Result<()> + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl Odd {
    fn register(dir: &TempDir, hook: impl FnMut(&'static str) -> io::Result<()> + Send + 'static) -> Register {
        let hook = Mutex::new(Hook(Box::new(hook)));
        Register::new(Self { real: RealDirectory::new(dir.path().join("w")), hook })
    }

    fn ask(&self, operation: &'static str) -> io::Result<()> {
        (self.hook.lock().unwrap().0)(operation)
    }
}

impl Directory for Odd {
    fn create(&self) -> io::Result<()> {
        self.ask("make").and_then(|()| self.real.create())
    }
    fn list(&self, max: usize) -> io::Result<Vec<String>> {
        self.ask("list").and_then(|()| self.real.list(max))
    }
    fn read(&self, name: &str, max: usize) -> io::Result<Vec<u8>> {
        self.ask("read").and_then(|()| self.real.read(name, max))
    }
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.ask("write").and_then(|()| self.real.write(name, bytes))
    }
    fn link(&self, name: &str, second: &str) -> io::Result<()> {
        self.ask("link")?;
        let linked = self.real.link(name, second);
        self.ask("linked").and(linked)
    }
    fn link_count(&self, name: &str) -> io::Result<u64> {
        self.ask("names").and_then(|()| self.real.link_count(name))
    }
    fn modified(&self, name: &str) -> io::Result<SystemTime> {
        self.ask("written").and_then(|()| self.real.modified(name))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask("remove").and_then(|()| self.real.remove(name))
    }
    fn sync(&self) -> io::Result<()> {
        self.ask("sync").and_then(|()| self.real.sync())
    }
}

fn register(dir: &TempDir) -> Register {
    Register::new(RealDirectory::new(dir.path().join("w")))
}

fn version_of(number: u64, counter: u64) -> WitnessVersion {
    super::register::version(number, &record(counter).to_bytes().unwrap())
}

/// The version of the record whose counter is its number.
fn version(number: u64) -> WitnessVersion {
    version_of(number, number)
}

/// Swaps in the record with this counter, after version `number`.
fn swap(register: &Register, number: u64, counter: u64) -> Swap {
    let expected = (number > 0).then(|| version(number));
    register.swap(expected.as_ref(), &record(counter))
}

/// A register on which the counters 1 to `last` were swapped in, one after the other.
fn filled(dir: &TempDir, last: u64) -> Register {
    let register = register(dir);
    for counter in 1..=last {
        assert_eq!(swap(&register, counter - 1, counter), Swap::Swapped(version(counter)));
    }
    register
}

fn holds(register: &Register, number: u64, counter: u64) {
    assert_eq!(register.read(), Ok(Some((record(counter), version_of(number, counter)))));
}

fn files(dir: &TempDir) -> Vec<String> {
    let mut names = RealDirectory::new(dir.path().join("w")).list(usize::MAX).unwrap();
    names.sort();
    names
}

fn asides(dir: &TempDir) -> Vec<String> {
    files(dir).into_iter().filter(|name| name.starts_with("aside-")).collect()
}

fn unknown(answer: &Swap) -> bool {
    matches!(answer, Swap::Unknown { .. })
}

/// Fails the operation of this name, every time.
fn failing(operation: &'static str, kind: io::ErrorKind) -> impl FnMut(&'static str) -> io::Result<()> + Send {
    move |asked| if asked == operation { Err(kind.into()) } else { Ok(()) }
}

#[test]
fn two_records_are_kept_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 30);
    holds(&register, 30, 30);
    assert_eq!(files(&dir), ["00000000000000000029.record", "00000000000000000030.record"]);
}

#[test]
fn what_is_not_there_is_not_made_by_reading_nor_by_replacing() {
    let dir = tempfile::tempdir().unwrap();
    let register = register(&dir);
    assert_eq!(register.read(), Ok(None));
    assert_eq!(swap(&register, 7, 1), Swap::Conflict);
    assert!(!dir.path().join("w").exists());
    let nowhere = Register::new(RealDirectory::new(dir.path().join("not/mounted")));
    assert!(unknown(&swap(&nowhere, 0, 1)), "a missing parent is not made");
    assert!(!dir.path().join("not").exists());
    std::fs::create_dir(dir.path().join("w")).unwrap();
    assert_eq!(swap(&register, 7, 1), Swap::Conflict);
    assert_eq!(swap(&register, 0, 1), Swap::Swapped(version(1)));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let made = tempfile::tempdir().unwrap();
        filled(&made, 1);
        assert_eq!(std::fs::metadata(made.path().join("w")).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn only_the_current_version_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 4);
    for stale in ["3", "5", "04", "+4", " 4", "4.0", "", "x"] {
        assert_eq!(register.swap(Some(&WitnessVersion::new(stale)), &record(9)), Swap::Conflict, "{stale:?}");
    }
    assert_eq!(swap(&register, 0, 9), Swap::Conflict);
    holds(&register, 4, 4);
}

/// A power cut at the server undoes a record that a node has read, and another record gets its number.
#[test]
fn a_number_that_names_another_record_now_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 4);
    std::fs::write(dir.path().join("w/00000000000000000004.record"), record(40).to_bytes().unwrap()).unwrap();
    assert_eq!(swap(&register, 4, 5), Swap::Conflict);
    holds(&register, 4, 40);
    assert_eq!(register.swap(Some(&version_of(4, 40)), &record(5)), Swap::Swapped(version(5)));
}

/// NFS: the request succeeds, its answer is lost, and the repeated request finds the name taken.
#[test]
fn a_link_that_landed_although_the_name_is_said_to_be_taken_counts() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir, 1);
    let odd = Odd::register(&dir, failing("linked", io::ErrorKind::AlreadyExists));
    assert_eq!(swap(&odd, 1, 2), Swap::Swapped(version(2)));
    holds(&register(&dir), 2, 2);
    assert_eq!(asides(&dir).len(), 0);
}

#[test]
fn a_link_that_landed_although_it_failed_otherwise_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir, 1);
    let odd = Odd::register(&dir, failing("linked", io::ErrorKind::TimedOut));
    assert!(unknown(&swap(&odd, 1, 2)));
    let next = register(&dir);
    holds(&next, 2, 2);
    assert_eq!(swap(&next, 2, 3), Swap::Swapped(version(3)));
}

#[test]
fn a_loser_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let other = filled(&dir, 1);
    let mut pending = Some(other);
    let odd = Odd::register(&dir, move |operation| {
        if let Some(other) = pending.take_if(|_| operation == "link") {
            assert_eq!(swap(&other, 1, 20), Swap::Swapped(version_of(2, 20)));
        }
        Ok(())
    });
    assert_eq!(swap(&odd, 1, 2), Swap::Conflict);
    holds(&register(&dir), 2, 20);
    assert_eq!(files(&dir).len(), 2);
}

/// The number was used and removed while the link hung. It is free, but the link is too late.
#[test]
fn a_link_that_lands_after_its_number_was_cleaned_up_never_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut pending = Some(filled(&dir, 1));
    let odd = Odd::register(&dir, move |operation| {
        if let Some(other) = pending.take_if(|_| operation == "link") {
            for number in 1..5 {
                assert_eq!(swap(&other, number, number + 1), Swap::Swapped(version(number + 1)));
            }
        }
        Ok(())
    });
    assert!(unknown(&swap(&odd, 1, 2)));
    holds(&register(&dir), 5, 5);
    assert_eq!(files(&dir), ["00000000000000000004.record", "00000000000000000005.record"]);
}

/// A late link stays because its node crashed. Its number is not the highest, and the next swap removes it.
#[test]
fn a_late_link_that_is_left_behind_is_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 9);
    std::fs::write(dir.path().join("w/00000000000000000003.record"), record(99).to_bytes().unwrap()).unwrap();
    holds(&register, 9, 9);
    assert_eq!(swap(&register, 9, 10), Swap::Swapped(version(10)));
    assert_eq!(files(&dir), ["00000000000000000009.record", "00000000000000000010.record"]);
}

/// A node crashes between any two steps of a swap. The value is the old or the new one, and the other node can go on.
#[test]
fn a_crash_between_any_two_steps_leaves_the_old_or_the_new_value() {
    let mut outcomes = BTreeMap::new();
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        filled(&dir, 3);
        let mut done = 0;
        let odd = Odd::register(&dir, move |_| {
            done += 1;
            if done > steps { Err(io::Error::other("the node is dead")) } else { Ok(()) }
        });
        let answer = swap(&odd, 3, 4);
        let other = register(&dir);
        let (seen, number) = other.read().unwrap().unwrap();
        assert!(number == version(3) && seen == record(3) || number == version(4) && seen == record(4));
        if answer == Swap::Swapped(version(4)) {
            assert_eq!(number, version(4));
            if asides(&dir).is_empty() {
                break;
            }
        }
        *outcomes.entry(seen.counter).or_insert(0) += 1;
        let Swap::Swapped(next) = other.swap(Some(&number), &record(5)) else { panic!("the other cannot go on") };
        assert_eq!(other.read(), Ok(Some((record(5), next.clone()))));
        // The temporary file stays while its writer may only be slow, and is removed afterwards.
        for name in asides(&dir) {
            let file = std::fs::File::options().append(true).open(dir.path().join("w").join(name)).unwrap();
            file.set_modified(SystemTime::now() - 2 * WITNESS_FILE_TEMPORARY_AGE).unwrap();
        }
        assert!(matches!(other.swap(Some(&next), &record(6)), Swap::Swapped(_)));
        assert_eq!(files(&dir).len(), 2, "after {steps} steps");
    }
    assert!(outcomes[&3] >= 2 && outcomes[&4] >= 2, "{outcomes:?}");
}

#[test]
fn a_young_file_aside_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 1);
    std::fs::write(dir.path().join("w/aside-of-another"), b"half").unwrap();
    assert_eq!(swap(&register, 1, 2), Swap::Swapped(version(2)));
    assert_eq!(asides(&dir), ["aside-of-another"]);
}

#[test]
fn a_damaged_or_newer_record_is_an_error_and_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 2);
    let path = dir.path().join("w/00000000000000000002.record");
    let good = std::fs::read(&path).unwrap();
    for bad in [&good[..good.len() - 1], &[], &[good.clone(), vec![0; 5_000]].concat()] {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(register.read(), Err(WitnessError::Damaged { .. })), "{:?}", register.read());
    }
    let sealed = [&[9, 0][..], &good[10..]].concat();
    std::fs::write(&path, [&good[..4], &crc32c::crc32c(&sealed).to_le_bytes(), &sealed].concat()).unwrap();
    assert_eq!(register.read(), Err(WitnessError::Newer { found: 9, known: 1 }));
}

#[test]
fn other_names_are_nothing_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 1);
    for name in [
        "9.record",
        "00000000000000000000.record",
        "0000000000000000000x.record",
        "+0000000000000000009.record",
        "99999999999999999999.record",
        "00000000000000000009.record.bak",
        ".nfs0001",
        "lost+found",
    ] {
        std::fs::write(dir.path().join("w").join(name), b"?").unwrap();
    }
    holds(&register, 1, 1);
    assert_eq!(swap(&register, 1, 2), Swap::Swapped(version(2)));
}

#[test]
fn a_directory_full_of_files_is_an_error_and_not_half_read() {
    let dir = tempfile::tempdir().unwrap();
    let register = filled(&dir, 1);
    for n in 0..WITNESS_FILE_NAMES_MAX {
        std::fs::write(dir.path().join("w").join(n.to_string()), b"").unwrap();
    }
    assert!(matches!(register.read(), Err(WitnessError::Unreachable { .. })));
    assert!(unknown(&swap(&register, 1, 2)));
}

#[test]
fn a_reader_that_finds_its_record_cleaned_up_looks_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut pending = Some(filled(&dir, 1));
    let odd = Odd::register(&dir, move |operation| {
        if let Some(other) = pending.take_if(|_| operation == "read") {
            for number in 1..4 {
                assert_eq!(swap(&other, number, number + 1), Swap::Swapped(version(number + 1)));
            }
        }
        Ok(())
    });
    holds(&odd, 4, 4);
}

#[test]
fn a_failed_step_is_unknown() {
    for operation in ["list", "write", "link", "sync"] {
        let dir = tempfile::tempdir().unwrap();
        filled(&dir, 1);
        let odd = Odd::register(&dir, failing(operation, io::ErrorKind::PermissionDenied));
        assert!(unknown(&swap(&odd, 1, 2)), "{operation}");
        assert_eq!(asides(&dir).len(), 0, "{operation}");
    }
    // Cleaning up may fail.
    for operation in ["remove", "written"] {
        let dir = tempfile::tempdir().unwrap();
        filled(&dir, 1);
        let odd = Odd::register(&dir, failing(operation, io::ErrorKind::PermissionDenied));
        assert_eq!(swap(&odd, 1, 2), Swap::Swapped(version(2)), "{operation}");
    }
}

/// Two nodes, each a thread with a register of its own, swap at the same moment, 1,000 times.
#[test]
fn of_two_writers_exactly_one_wins_each_number() {
    const RACES: u64 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    filled(&dir, 1);
    let start = Barrier::new(2);
    let run = |writer: u64| {
        let (own, path) = (register(&dir), dir.path());
        let race = |number: u64| {
            let (_, expected) = own.read().unwrap().unwrap();
            let (mine, theirs) = (number * 10 + writer, number * 10 + 3 - writer);
            start.wait();
            let answer = own.swap(Some(&expected), &record(mine));
            start.wait();
            let (_, at) = own.read().unwrap().unwrap();
            let won = answer == Swap::Swapped(version_of(number + 1, mine));
            assert!(won || answer == Swap::Conflict, "{answer:?}");
            let winner = if won { mine } else { theirs };
            assert_eq!(at, version_of(number + 1, winner), "only the winner's record is there: {}", path.display());
            start.wait();
            won
        };
        (1..=RACES).map(race).collect::<Vec<bool>>()
    };
    let [one, other] = std::thread::scope(|scope| {
        let threads = [1, 2].map(|writer| scope.spawn(move || run(writer)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(one.iter().zip(&other).all(|(one, other)| one != other), "exactly one");
    assert_eq!(files(&dir).len(), 2);
}

/// Swaps race in any order. No number is won twice, and every winner's record was the value.
#[test]
fn writers_in_no_order_never_share_a_number() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir, 1);
    let run = |writer: u64| {
        let own = register(&dir);
        let mut won = Vec::new();
        for turn in 0..300 {
            let (_, current) = own.read().unwrap().unwrap();
            match own.swap(Some(&current), &record(turn * 10 + writer)) {
                Swap::Swapped(version) => won.push(version.to_string()),
                Swap::Conflict | Swap::Unknown { .. } => {}
            }
        }
        won
    };
    let all = std::thread::scope(|scope| {
        let threads = [1, 2, 3].map(|writer| scope.spawn(move || run(writer)));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    let mut distinct = all.clone();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() == all.len() && !all.is_empty(), "{} of {}", distinct.len(), all.len());
}

/// Two requests hang. The third is answered at once, the runtime ends without them, and their permits are returned.
#[test]
fn a_file_system_that_hangs_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (release, wait) = mpsc::channel::<()>();
    let odd = Odd::register(&dir, move |_| {
        // Hangs until the test ends it.
        let _ = wait.recv();
        Ok(())
    });
    let witness = FileWitness::over(odd);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..WITNESS_FILE_REQUESTS_MAX {
            let given_up = tokio::time::timeout(Duration::from_millis(5), witness.swap(None, record(1))).await;
            assert!(given_up.is_err());
        }
        let reason = "an earlier request still hangs".to_owned();
        assert_eq!(witness.swap(None, record(2)).await, Swap::Unknown { reason: reason.clone() });
        assert_eq!(witness.read().await, Err(WitnessError::Unreachable { reason }));
    });
    drop(runtime);
    drop(release);
    while witness.requests.available_permits() < WITNESS_FILE_REQUESTS_MAX {
        std::thread::yield_now();
    }
    // One of the two abandoned swaps took effect late, once.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = runtime.block_on(witness.read());
    assert_eq!(read, Ok(Some((record(1), version(1)))));
}

#[tokio::test]
async fn a_panic_is_an_unknown_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let witness = FileWitness::over(Odd::register(&dir, |_| panic!("on purpose")));
    assert!(unknown(&witness.swap(None, record(1)).await));
    assert!(Path::new(dir.path()).exists());
}
