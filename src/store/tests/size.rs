//! Sizes that the crate promises. The test is slow and must be asked for by name: `cargo test --release --lib store::tests::size -- --ignored --nocapture`.

use super::*;
use crate::model::limits::VALUE_BYTES_MAX;

pub(super) fn make(disk: &Arc<dyn Disk>, place: &Path) -> Opened {
    let lock = Store::lock(disk, place).unwrap();
    Store::create(disk.clone(), place, lock, &durable_state(), options()).unwrap()
}

pub(super) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0) / 1024
}

#[test]
#[ignore = "takes a minute; prints what it measured"]
fn a_million_entries_and_the_largest_value() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk::RealDisk);
    let make = |name: &str| make(&disk, &dir.path().join(name));
    let mut master = make("master");
    master.store.begin_era_only(era(1, 1)).unwrap();
    let started = std::time::Instant::now();
    for group in 0..1000 {
        let set = (0..1000).fold(ChangeSet::new(), |set, i| {
            let number = (group * 1000 + i) as u64;
            set.put(format!("key{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), large(200, i as u8))
        });
        commit(&mut master, &[set]);
        if master.reader.wants_checkpoint(CHECKPOINT_BYTES) {
            master.store.maintain().unwrap();
        }
    }
    println!("load: {:?}, {} MiB resident", started.elapsed(), resident());
    let started = std::time::Instant::now();
    let value = large(VALUE_BYTES_MAX, 1);
    commit(&mut master, &[ChangeSet::new().put("large", value.clone())]);
    drop(value);
    println!("64 MiB commit: {:?}, {} MiB resident", started.elapsed(), resident());
    while master.store.maintain().unwrap() {}
    println!("64 MiB to the state: {:?}, {} MiB resident", started.elapsed(), resident());
    let mut target = make("shadow");
    let started = std::time::Instant::now();
    let (header, mut export) = master.reader.export(1).unwrap();
    target.store.stage_begin(&header).unwrap();
    while let Some(piece) = export.next(256 * 1024).unwrap() {
        target.store.stage_write(&piece.into()).unwrap();
    }
    assert!(matches!(target.store.stage_verify().unwrap(), Verified::Good { .. }));
    target.store.stage_switch().unwrap();
    println!("full push: {:?}, {} MiB resident", started.elapsed(), resident());
    drop(target);
    let place = dir.path().join("shadow");
    let started = std::time::Instant::now();
    let lock = Store::lock(&disk, &place).unwrap();
    let target = Store::open(disk.clone(), &place, lock, options()).unwrap();
    println!("open: {:?}, {} MiB resident", started.elapsed(), resident());
    assert_eq!(target.head, master.store.head());
}

fn processor_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    std::time::Duration::from_millis(ticks * 10)
}

fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find(|line| line.starts_with("wchar:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "takes a minute; prints what it measured"]
fn a_full_push_by_its_stages() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk::RealDisk);
    let make = |name: &str| make(&disk, &dir.path().join(name));
    let mut master = make("master");
    master.store.begin_era_only(era(1, 1)).unwrap();
    for group in 0..100 {
        let set = (0..10_000)
            .fold(ChangeSet::new(), |set, i| set.put(format!("key{:09}", group * 10_000 + i), large(200, i as u8)));
        commit(&mut master, &[set]);
        master.store.maintain().unwrap();
    }
    while master.store.maintain().unwrap() {}
    let pieces: Vec<Bytes> = {
        let (_, mut export) = master.reader.export(1).unwrap();
        let (began, cpu) = (std::time::Instant::now(), processor_time());
        let pieces = std::iter::from_fn(|| export.next(256 * 1024).unwrap()).collect();
        println!("export: {:?}, processor {:?}", began.elapsed(), processor_time() - cpu);
        pieces
    };
    println!("{} MB", pieces.iter().map(Bytes::len).sum::<usize>() / 1_000_000);
    for round in 0..3 {
        let mut target = make(&format!("shadow{round}"));
        let (header, _) = master.reader.export(1).unwrap();
        let mut last = (std::time::Instant::now(), processor_time(), written());
        let mut stage = |name: &str| {
            let now = (std::time::Instant::now(), processor_time(), written());
            let megabytes = (now.2 - last.2) / 1_000_000;
            println!("{round} {name}: {:?}, processor {:?}, {megabytes} MB written", now.0 - last.0, now.1 - last.1);
            last = now;
        };
        target.store.stage_begin(&header).unwrap();
        for piece in &pieces {
            target.store.stage_write(&piece.clone().into()).unwrap();
        }
        stage("load");
        assert!(matches!(target.store.stage_verify().unwrap(), Verified::Good { .. }));
        stage("verify");
        target.store.stage_switch().unwrap();
        stage("switch");
    }
}
