//! Random histories of a former master: a partition without a witness, changes on both sides, the return, and what only the
//! former master had written applied again while others write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::campaign::simulator::random::{Random, mix};
use crate::model::ChangeSet;
use crate::model::limits::VALUE_INLINE_BYTES_MAX;
use crate::node::mutants::{Mutant, make};
use crate::node::{CommitError, Config, DivergedError, Node};
use crate::protocol::engine::Options;
use crate::store::{Diverged, DivergedChange, DivergedReader, DivergedSide};
use crate::testing::{Crash, Pair, Side};

const RUNS: u64 = 60;
const KEYS: u64 = 12;
const SETTLE: Duration = Duration::from_secs(60);

type Map = BTreeMap<String, Bytes>;
/// Values before and after, by key.
type Lost = BTreeMap<String, [Option<Bytes>; 2]>;

/// Broken: what was expected and did not come about.
type Checked<T = ()> = Result<T, String>;

fn check(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

fn options() -> Options {
    Options {
        heartbeat: Duration::from_millis(100),
        takeover_delay: Duration::from_millis(500),
        hold_down: Duration::ZERO,
        ..Options::default()
    }
}

fn key(random: &mut Random) -> String {
    format!("key/{:02}", random.below(KEYS))
}

/// A change of one entry, in the configuration and in what a test knows of it.
fn change(random: &mut Random, map: &mut Map, mark: &str, number: usize) -> ChangeSet {
    let key = key(random);
    if random.percent(25) {
        map.remove(&key);
        return ChangeSet::new().delete(&key);
    }
    let mut value = format!("{mark} {number}").into_bytes();
    if random.percent(8) {
        value.resize(VALUE_INLINE_BYTES_MAX + 70_000, b'.');
    }
    let value = Bytes::from(value);
    map.insert(key.clone(), value.clone());
    ChangeSet::new().put(&key, value)
}

fn write(pair: &Pair, side: Side, sets: Vec<ChangeSet>) -> Checked {
    let config = pair.node(side).handle().config();
    pair.block_on(async {
        for set in sets {
            config.commit(set).await.map_err(|error| format!("{side:?}: {error}"))?;
        }
        Ok(())
    })
}

fn until(pair: &Pair, what: &str, done: impl FnMut(&Pair) -> bool) -> Checked {
    pair.run_until(SETTLE, done).map_err(|_| format!("{what}: not within {SETTLE:?}"))
}

fn content(config: &Config) -> Checked<Map> {
    let snapshot = config.snapshot();
    let keys = snapshot.scan("").map(|entry| entry.map(|entry| entry.key.as_str().to_owned()));
    let keys: Vec<String> = keys.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let value = |key: &String| snapshot.get(key).map(|value| (key.clone(), value.unwrap_or_default()));
    keys.iter().map(value).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// What the quarantine has of each key.
fn quarantined(pair: &Pair, node: &Node) -> Checked<(Vec<Diverged>, Lost)> {
    let operator = node.operator();
    pair.block_on(async {
        let mut values = BTreeMap::new();
        let all = operator.diverged().await.map_err(|error| error.to_string())?;
        for lost in &all {
            for DivergedChange { key, .. } in &lost.changes {
                let mut both = [None, None];
                for (place, side) in both.iter_mut().zip([DivergedSide::Old, DivergedSide::New]) {
                    let value = operator.diverged_value(lost.id, key, side).await.map_err(|error| error.to_string())?;
                    *place = value.map(DivergedReader::whole).transpose().map_err(|error| error.to_string())?;
                }
                values.insert(key.as_str().to_owned(), both);
            }
        }
        Ok((all, values))
    })
}

fn history(seed: u64) -> Checked {
    let mut random = Random::new(mix(seed ^ 0x666f_726d_6572));
    let pair = Pair::builder(seed).options(options()).witnessed(false).traced(false).start();
    let pair = pair.map_err(|error| error.to_string())?;
    let mut base = Map::new();
    let sets = (0..random.range(0, 12) as usize).map(|number| change(&mut random, &mut base, "base", number)).collect();
    write(&pair, Side::A, sets)?;
    until(&pair, "the pair", Pair::is_whole)?;

    pair.link().cut();
    until(&pair, "two masters", |pair| pair.masters().len() == 2)?;
    let (mut first, mut second) = (base.clone(), base.clone());
    let sets: Vec<_> =
        (0..random.range(1, 12) as usize).map(|number| change(&mut random, &mut first, "first", number)).collect();
    let touched: BTreeSet<String> =
        sets.iter().flat_map(ChangeSet::changes).map(|change| change.key().to_string()).collect();
    write(&pair, Side::A, sets)?;
    let sets = (0..random.range(0, 12) as usize).map(|number| change(&mut random, &mut second, "second", number));
    write(&pair, Side::B, sets.collect())?;

    if random.percent(50) {
        // Power fails at some moment of the return.
        pair.machine(Side::A).crash_at_write(random.range(1, 60), Crash::TornPower);
    }
    pair.link().heal();
    for _ in 0..30 {
        pair.run_for(Duration::from_secs(1));
        if pair.machine(Side::A).is_down() {
            pair.node(Side::A).restart().map_err(|error| error.to_string())?;
        }
    }
    pair.machine(Side::A).disk.sim.stop(0);
    until(&pair, "the pair after the partition", |pair| pair.is_whole() && pair.master() == Some(Side::B))?;
    let former = pair.node(Side::A).handle();
    check(content(&former.config())? == second, || "the former master shows something else than the master".into())?;
    let (lost, values) = quarantined(&pair, &former)?;
    let expected = touched.iter().map(|key| (key.clone(), [base.get(key).cloned(), first.get(key).cloned()]));
    check(values == expected.collect(), || format!("in quarantine is {lost:?}, and {touched:?} were written"))?;
    reapply(&pair, &mut random, &lost, &values, &second)
}

/// Applies the quarantine again while somebody else writes, then discards it.
fn reapply(pair: &Pair, random: &mut Random, lost: &[Diverged], values: &Lost, before: &Map) -> Checked {
    let former = pair.node(Side::A).handle();
    // On the shadow the changes are carried to the master.
    let master = *random.pick(&Side::BOTH);
    if master == Side::A {
        let taken = pair.block_on(former.operator().take_over());
        taken.map_err(|error| format!("take-over: {error}"))?;
    }
    until(pair, "the pair", |pair| pair.is_whole() && pair.master() == Some(master))?;
    let resets = random.percent(30);
    let mut newer = Map::new();
    let sets: Vec<_> = (0..random.range(0, 6) as usize)
        .map(|number| {
            let key = key(random);
            let value = Bytes::from(format!("newer {number}"));
            newer.insert(key.clone(), value.clone());
            ChangeSet::new().put(&key, value)
        })
        .collect();
    let (operator, config) = (former.operator(), pair.node(master).handle().config());
    let timer = pair.node(Side::A).timer();
    let done: Vec<_> = pair.block_on(async {
        let apply = async {
            let mut done = Vec::new();
            for lost in lost {
                done.push(loop {
                    match operator.reapply(lost.id).await {
                        Ok(done) => break done,
                        // The link was reset. What was committed before is unchanged the next time.
                        Err(DivergedError::Unanswered | DivergedError::Commit(CommitError::NotMaster { .. }))
                            if resets =>
                        {
                            timer.sleep(Duration::from_secs(2)).await;
                        }
                        Err(error) => return Err(format!("reapply: {error}")),
                    }
                });
            }
            Ok::<_, String>(done)
        };
        let others = async {
            for set in sets {
                config.commit(set).await.map_err(|error| format!("a commit: {error}"))?;
            }
            if resets {
                pair.link().reset();
            }
            Ok::<_, String>(())
        };
        let (done, others) = tokio::join!(apply, others);
        others.and(done)
    })?;
    until(pair, "the pair after it", Pair::is_whole)?;
    let after = content(&former.config())?;
    let conflicts: BTreeSet<&str> =
        done.iter().flat_map(|done| &done.conflicts).map(|conflict| conflict.change.key.as_str()).collect();
    for (key, [old, new]) in values {
        let (was, is) = (before.get(key), after.get(key));
        if let Some(newer) = newer.get(key) {
            check(is == Some(newer), || format!("{key} was written meanwhile, and its newer value is gone"))?;
        } else if was == old.as_ref() || was == new.as_ref() {
            check(is == new.as_ref(), || format!("{key} was not applied again"))?;
            check(!conflicts.contains(key.as_str()), || format!("{key} is called a conflict"))?;
        } else {
            check(is == was, || format!("{key} was changed by the new master, and that is overwritten"))?;
            check(conflicts.contains(key.as_str()), || format!("{key} is not shown as a conflict"))?;
        }
    }
    pair.block_on(async {
        for lost in lost {
            operator.discard(lost.id).await.map_err(|error| format!("discard: {error}"))?;
        }
        Ok::<_, String>(())
    })?;
    pair.node(Side::A).crash(Crash::Power);
    pair.node(Side::A).restart().map_err(|error| error.to_string())?;
    let (left, _) = quarantined(pair, &pair.node(Side::A).handle())?;
    check(left.is_empty(), || format!("discarded, and still there: {left:?}"))
}

fn failures(seeds: std::ops::Range<u64>) -> Vec<(u64, String)> {
    seeds.filter_map(|seed| history(seed).err().map(|what| (seed, what))).collect()
}

#[test]
fn what_a_former_master_wrote_is_kept_and_applied_again_without_overwriting_anything() {
    assert_eq!(failures(0..RUNS), []);
}

#[test]
fn a_reapply_without_guards_is_found() {
    make(Some(Mutant::ReapplyUnguarded));
    let found = (0..RUNS).find_map(|seed| history(seed).err());
    make(None);
    let found = found.expect("a newer value that is overwritten");
    assert!(found.contains("overwritten") || found.contains("newer value is gone"), "{found}");
}
