//! Random histories, drawn from a seed, on a disk that fails, compared with a model.
//!
//! After any failure the store has exactly one revision of the model's history: not before the last one that was acknowledged,
//! and not after the one that was being written. The same holds for the durable state. A flipped bit is either harmless or
//! reported. `SHADOWPAIR_CRASH_SEED=n` replays one run, `SHADOWPAIR_CRASH_RUNS=n` makes n runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::disk::sim::{PowerCut, SimDisk};
use super::super::mutants::{Mutant, activate, is_active};
use super::*;

const RUNS: u64 = 1_000;
/// Full pushes that went on where another one was cut.
static RESUMED: AtomicU64 = AtomicU64::new(0);
/// Full pushes of which only what differed was sent.
static DIFFERENTIAL: AtomicU64 = AtomicU64::new(0);

type Map = BTreeMap<String, (Bytes, bool)>;

/// The configuration at one revision.
#[derive(Clone, Debug, PartialEq)]
struct Rev {
    revision: Revision,
    map: Map,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn once_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// One run: a store on a disk that fails, what it must have, and for a shadow its master.
struct Run {
    random: Random,
    disk: SimDisk,
    options: StoreOptions,
    opened: Option<Opened>,
    /// The last acknowledged revision, which is the head.
    acked: Rev,
    /// Revisions to which the operation under way may lead.
    coming: Vec<Rev>,
    durable_state: [u64; 2],
    source: Option<Source>,
    /// A checkpoint that is to be run.
    checkpoint: Option<Checkpoint>,
    salt: u8,
    /// A full push was cut, and the next step may go on with it.
    cut: bool,
}

/// A master whose disk never fails.
struct Source {
    opened: Opened,
    revs: Vec<Rev>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let disk = SimDisk::new(random.next());
        let log_changes = [3, 40, 1000][random.below(3) as usize];
        let log_bytes = [200_000, 1_000_000][random.below(2) as usize];
        let options = StoreOptions { log_changes, log_bytes };
        let opened = create(&disk, options);
        let source = random.once_in(2).then(|| {
            let mut opened = create(&SimDisk::new(random.next()), super::options());
            opened.store.begin_era_only(era(1, 1)).unwrap();
            let revs = vec![Rev { revision: opened.store.head().revision, map: Map::new() }];
            Source { opened, revs }
        });
        let acked = Rev { revision: Revision::NONE, map: Map::new() };
        let coming = Vec::new();
        Self {
            random,
            disk,
            options,
            opened: Some(opened),
            acked,
            coming,
            durable_state: [1; 2],
            source,
            checkpoint: None,
            salt: 0,
            cut: false,
        }
    }

    fn store(&mut self) -> &mut Store {
        &mut self.opened.as_mut().unwrap().store
    }

    fn reader(&self) -> &Reader {
        &self.opened.as_ref().unwrap().reader
    }

    fn go(mut self) {
        let steps = 4 + self.random.below(16);
        for _ in 0..steps {
            self.arm();
            let ok = self.step();
            self.disk.set_capacity(u64::MAX);
            self.disk.fail_sync(0);
            self.disk.stop(0);
            if !ok || self.disk.is_stopped() || self.random.once_in(8) {
                self.crash();
            }
            if self.random.once_in(4) {
                self.check_snapshot();
            }
        }
        self.flip();
    }

    /// Chooses what fails in the next step, if anything.
    fn arm(&mut self) {
        match self.random.below(12) {
            0 | 1 => self.disk.stop(1 + self.random.below(30)),
            2 => self.disk.fail_sync(1 + self.random.below(4)),
            3 => self.disk.set_capacity(self.disk.used() + self.random.below(200_000)),
            _ => {}
        }
    }

    /// Makes one step. Returns `false` if the store must be opened again.
    fn step(&mut self) -> bool {
        let again = std::mem::take(&mut self.cut) && !self.random.once_in(4);
        let done = match (self.random.below(12), self.source.is_some()) {
            (_, true) if again => self.push(),
            (0 | 1, _) => self.maintain(),
            (2, _) => self.durable_state(),
            (3, false) => self.era(),
            (_, false) => self.commit(),
            (3, true) => self.push(),
            (_, true) => self.receive(),
        };
        match done {
            Ok(()) => {
                let acked = self.coming.pop();
                self.acked = acked.unwrap_or_else(|| self.acked.clone());
                self.coming.clear();
                self.durable_state[0] = self.durable_state[1];
                let head = self.store().head().revision;
                assert_eq!(head, self.acked.revision, "head");
                true
            }
            // Nothing was changed.
            Err(failure) if failure.full => {
                self.coming.clear();
                self.durable_state[1] = self.durable_state[0];
                let head = self.store().head().revision;
                assert_eq!(head, self.acked.revision, "a full disk changed the head");
                true
            }
            Err(_) => false,
        }
    }

    fn maintain(&mut self) -> Result<(), DiskFailure> {
        let head = self.store().head().revision;
        if self.random.once_in(2) {
            self.reader().confirm(head);
        }
        for _ in 0..=self.random.below(3) {
            match self.random.below(5) {
                0 | 1 => self.checkpoint = self.store().begin_checkpoint()?.or(self.checkpoint.take()),
                // Its store may have been opened again meanwhile, or have switched to a full push.
                2 => drop(self.checkpoint.take().map(|checkpoint| checkpoint.run())),
                3 => drop(self.store().complete_checkpoint()?),
                _ => drop(self.store().maintain()?),
            }
        }
        Ok(())
    }

    fn durable_state(&mut self) -> Result<(), DiskFailure> {
        self.durable_state[1] += 1;
        let durable_state = DurableState { next_alert: self.durable_state[1], ..durable_state() };
        self.store().write_durable_state(&durable_state)
    }

    fn era(&mut self) -> Result<(), DiskFailure> {
        let head = self.store().head().revision;
        let era = era(head.epoch.term() + 1, head.seq + 1);
        self.coming = vec![Rev { revision: Revision::new(era.epoch, head.seq), map: self.acked.map.clone() }];
        self.durable_state[1] += 1;
        let durable_state = DurableState { next_alert: self.durable_state[1], ..durable_state() };
        self.store().begin_era(&durable_state, era)
    }

    fn commit(&mut self) -> Result<(), DiskFailure> {
        if self.acked.revision == Revision::NONE {
            return self.era();
        }
        let epoch = self.acked.revision.epoch;
        let (sets, revs) = random_sets(&mut self.random, &mut self.salt, &self.acked);
        self.coming = revs;
        let held = self.coming.len();
        let verdicts = self.store().commit(epoch, &sets)?;
        assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), held, "guards");
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        if !self.random.once_in(4) {
            let head = self.store().head().revision;
            self.reader().publish(head);
        }
    }

    /// Commits more on the source.
    fn produce(&mut self) {
        let Some(source) = &mut self.source else { return };
        let last = source.revs.last().unwrap().clone();
        let (sets, revs) = random_sets(&mut self.random, &mut self.salt, &last);
        commit(&mut source.opened, &sets);
        source.revs.extend(revs);
        if self.random.once_in(6) {
            let head = source.opened.store.head().revision;
            source.opened.store.begin_era_only(era(head.epoch.term() + 1, head.seq + 1)).unwrap();
            source.opened.reader.publish(source.opened.store.head().revision);
            let map = source.revs.last().unwrap().map.clone();
            source.revs.push(Rev { revision: source.opened.store.head().revision, map });
        }
    }

    fn receive(&mut self) -> Result<(), DiskFailure> {
        self.produce();
        let source = self.source.as_ref().unwrap();
        let (from, upto) = (self.acked.revision, source.opened.store.head().revision);
        let max_bytes = [1, 2_000, 300_000, 4_000_000][self.random.below(4) as usize];
        let all = pieces(&source.opened.reader, from, upto, max_bytes);
        let revs = source.revs.clone();
        let mut all = &all[..];
        while !all.is_empty() {
            let (now, rest) = all.split_at(1 + self.random.below(all.len().min(3) as u64) as usize);
            all = rest;
            let last = now.last().unwrap().1;
            let now: Vec<Bytes> = now.iter().map(|(piece, _)| piece.clone()).collect();
            let before = self.store().head().revision;
            let candidate = match self.store().receive(&now)? {
                Received::Duplicate => panic!("nothing came twice"),
                Received::Pending { candidate } => candidate,
                Received::Mismatch => panic!("records do not fit"),
            };
            assert_eq!(candidate.revision(), last.max(before), "candidate");
            if self.random.once_in(8) {
                self.store().reject()?;
                break;
            }
            if self.random.once_in(10) {
                // The records are neither accepted nor rejected, as after a crash. They must never become valid.
                break;
            }
            self.coming = revs.iter().filter(|rev| rev.revision > before && rev.revision <= last).cloned().collect();
            self.store().accept(None)?;
            self.acked = self.coming.pop().unwrap_or_else(|| self.acked.clone());
            self.coming.clear();
            self.publish();
        }
        Ok(())
    }

    fn push(&mut self) -> Result<(), DiskFailure> {
        self.produce();
        self.cut = true;
        let source = self.source.as_ref().unwrap();
        let (header, mut export) = source.opened.reader.export(1).unwrap();
        let rev = source.revs.last().unwrap().clone();
        let before = match self.random.below(3) {
            0 => self.store().stage_begin(&header).map(|()| StagedBefore::Nothing)?,
            1 => self.store().stage_resume(&header)?,
            _ => self.store().stage_compare(&header)?,
        };
        match before {
            StagedBefore::Nothing => {}
            StagedBefore::Part(point) => {
                RESUMED.fetch_add(1, Ordering::Relaxed);
                export.resume(*point);
                assert!(export.prepare().unwrap(), "the log of the source has everything");
            }
            StagedBefore::Base(base) => export.compare(base),
        }
        let max_bytes = 1 + self.random.below(300_000) as usize;
        while let Some(piece) = export.next(max_bytes).unwrap() {
            self.store().stage_write(&piece.into())?;
            if let Some(wants) = self.store().stage_wants() {
                DIFFERENTIAL.fetch_add(u64::from(!wants.is_empty()), Ordering::Relaxed);
                assert!(export.next(max_bytes).unwrap().is_none(), "nothing follows the last of the hashes");
                export.select(wants);
            }
            if self.random.once_in(4) {
                self.store().stage_keep()?;
            }
            if self.random.once_in(12) {
                return Ok(());
            }
        }
        if self.random.once_in(6) {
            return Ok(());
        }
        self.cut = false;
        match self.store().stage_verify()? {
            Verified::Good { candidate } => check(&candidate, &rev),
            Verified::Bad { found } => panic!("staged {found:?}"),
        }
        if self.random.once_in(6) {
            return Ok(());
        }
        self.coming = vec![rev];
        if self.random.once_in(4) {
            // All that a push writes before comes to more changes than those after which it usually stops.
            self.disk.stop(1 + self.random.below(16));
        }
        self.store().stage_switch()
    }

    /// The machine stops, or only the store is opened again.
    fn crash(&mut self) {
        if !self.disk.is_stopped() && self.random.once_in(3) {
            let damage = self.store().reopen().unwrap().damage;
            return self.recovered(damage, self.durable_state[1]);
        }
        let cut = [PowerCut::Lost, PowerCut::Kept, PowerCut::Torn, PowerCut::Torn][self.random.below(4) as usize];
        self.disk.cut_power(cut);
        (self.opened, self.checkpoint) = (None, None);
        // Recovery itself may crash.
        while self.random.once_in(4) {
            self.disk.stop(1 + self.random.below(20));
            let opened = open(&self.disk, self.options);
            drop(opened);
            self.disk.cut_power(PowerCut::Torn);
        }
        let opened = open(&self.disk, self.options).unwrap_or_else(|error| panic!("open: {error}"));
        let (damage, durable_state) = (opened.damage.clone(), opened.durable_state.next_alert);
        self.opened = Some(opened);
        self.recovered(damage, durable_state);
    }

    fn recovered(&mut self, damage: Option<String>, durable_state: u64) {
        assert_eq!(damage, None, "damage");
        assert!(
            self.durable_state.contains(&durable_state),
            "durable state {durable_state} of {:?}",
            self.durable_state
        );
        let head = self.store().head().revision;
        let found = self.coming.drain(..).chain([self.acked.clone()]).find(|rev| rev.revision == head);
        let Some(found) = found else { panic!("head {head}, acknowledged {}", self.acked.revision) };
        self.acked = found;
        check(&self.reader().snapshot(), &self.acked);
        self.durable_state = [durable_state.max(self.durable_state[0]); 2];
        let known = DurableState { next_alert: self.durable_state[1], ..super::durable_state() };
        self.store().write_durable_state(&known).unwrap();
    }

    fn check_snapshot(&mut self) {
        let head = self.store().head().revision;
        self.reader().publish(head);
        check(&self.reader().snapshot(), &self.acked.clone());
    }

    /// A bit flips while the store is closed. It must be harmless or reported.
    fn flip(&mut self) {
        (self.opened, self.checkpoint) = (None, None);
        self.disk.kill();
        let files = self.disk.files();
        let (path, len) = &files[self.random.below(files.len() as u64) as usize];
        let at = match self.random.once_in(2) {
            true => self.random.below((*len).max(1)),
            false => self.random.below((*len).clamp(1, 8192)),
        };
        if !self.disk.flip(path, at, self.random.below(8) as u32) {
            return;
        }
        let Ok(opened) = open(&self.disk, self.options) else { return };
        match is_active(Mutant::IgnoreSums) {
            // On blocks that it should never have got, redb may panic when it is dropped, and again in that panic.
            true => self.check_flipped(Box::leak(Box::new(opened)), path, at),
            false => self.check_flipped(&opened, path, at),
        }
    }

    fn check_flipped(&self, opened: &Opened, path: &Path, at: u64) {
        let snapshot = opened.reader.snapshot();
        if opened.damage.is_some() {
            assert!(snapshot.revision() <= self.acked.revision);
            return;
        }
        let mut unreadable = false;
        for entry in snapshot.scan("") {
            unreadable |= entry.is_err() || entry.is_ok_and(|entry| snapshot.get(entry.key).is_err());
        }
        if !unreadable {
            assert_eq!(opened.durable_state.next_alert, self.durable_state[1], "{path:?} at {at}");
            check(&snapshot, &self.acked);
        }
    }
}

/// Random change sets for this configuration, and the revisions to which those lead whose guards hold.
fn random_sets(random: &mut Random, salt: &mut u8, from: &Rev) -> (Vec<ChangeSet>, Vec<Rev>) {
    let mut rev = from.clone();
    let (mut sets, mut revs) = (Vec::new(), Vec::new());
    for _ in 0..=random.below(4) {
        *salt = salt.wrapping_add(1);
        let mut set = ChangeSet::new();
        let mut map = rev.map.clone();
        for _ in 0..=random.below(5) {
            let key = format!("k{}", random.below(12));
            if random.once_in(4) {
                set = set.delete(&key);
                map.remove(&key);
                continue;
            }
            let bytes = match random.below(20) {
                0 => VALUE_INLINE_BYTES_MAX as u64 + 1 + random.below(300_000),
                1 | 2 => random.below(100_000),
                _ => random.below(600),
            };
            let (value, secret) = (large(bytes as usize, *salt), random.once_in(5));
            set = if secret { set.put_secret(&key, value.clone()) } else { set.put(&key, value.clone()) };
            map.insert(key, (value, secret));
        }
        let mut holds = true;
        if random.once_in(4) {
            let key = format!("k{}", random.below(12));
            let present = random.once_in(2);
            holds = rev.map.contains_key(&key) == present;
            let expected = if present { Expected::Present } else { Expected::Absent };
            set = set.only_if(Guard::Key { key: Key::new(key).unwrap(), expected });
        }
        sets.push(set);
        if holds {
            rev = Rev { revision: Revision::new(rev.revision.epoch, rev.revision.seq + 1), map };
            revs.push(rev.clone());
        }
    }
    (sets, revs)
}

fn check(snapshot: &Snapshot, rev: &Rev) {
    assert_eq!(snapshot.revision(), rev.revision, "revision");
    let found: Map = all(snapshot)
        .into_iter()
        .map(|(key, value)| {
            let secret = snapshot.entry(&key).unwrap().unwrap().secret;
            (key, (value, secret))
        })
        .collect();
    assert!(found == rev.map, "content at {}", rev.revision);
}

#[test]
fn every_mutant_is_found() {
    let mutants = [
        Mutant::SkipSync,
        Mutant::IgnoreFailedSync,
        Mutant::CutDamageSilently,
        Mutant::HalfChangeSet,
        Mutant::NoWithholding,
        Mutant::KeepRejected,
        Mutant::TrustMemory,
        Mutant::PointerFirst,
        Mutant::TrimTooMuch,
        Mutant::IgnoreSums,
        Mutant::LateSums,
        Mutant::LoseOverlay,
        Mutant::TrimBeforeCheckpoint,
        Mutant::DurableParts,
        Mutant::SkipStateSync,
        Mutant::CheckpointGoesOn,
        Mutant::KeepsGone,
        Mutant::AlikeHashes,
    ];
    let found: Vec<_> = mutants
        .into_iter()
        .map(|mutant| {
            activate(Some(mutant));
            let seed = (0..RUNS).find(|seed| std::panic::catch_unwind(|| Run::new(*seed).go()).is_err());
            activate(None);
            (mutant, seed)
        })
        .collect();
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "{found:?}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_was_acknowledged_survives_every_failure() {
    if let Some(seed) = number("SHADOWPAIR_CRASH_SEED") {
        return Run::new(seed).go();
    }
    let runs = number("SHADOWPAIR_CRASH_RUNS").unwrap_or(RUNS);
    for seed in 0..runs {
        let run = std::panic::catch_unwind(|| Run::new(seed).go());
        assert!(
            run.is_ok(),
            "replay with: SHADOWPAIR_CRASH_SEED={seed} cargo test --lib store::tests::crash::what_was -- --nocapture"
        );
    }
    assert!(runs < RUNS || DIFFERENTIAL.load(Ordering::Relaxed) > runs / 20, "nothing was repaired by what differed");
    assert!(runs < RUNS || RESUMED.load(Ordering::Relaxed) > runs / 20, "no full push went on where one was cut");
}
