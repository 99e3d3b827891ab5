//! Sizes that the crate promises. The test is slow and must be asked for by name: `cargo test --release --lib store::tests::size -- --ignored --nocapture`.

use super::*;
use crate::model::limits::VALUE_BYTES_MAX;

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0) / 1024
}

#[test]
#[ignore = "takes a minute; prints what it measured"]
fn a_million_entries_and_the_largest_value() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk::RealDisk);
    let make = |name: &str| {
        let place = dir.path().join(name);
        let lock = Store::lock(&disk, &place).unwrap();
        Store::create(disk.clone(), &place, lock, &durable_state(), options()).unwrap()
    };
    let mut master = make("master");
    master.store.begin_era_only(era(1, 1)).unwrap();
    let started = std::time::Instant::now();
    for group in 0..1000 {
        let set = (0..1000).fold(ChangeSet::new(), |set, i| {
            let number = (group * 1000 + i) as u64;
            set.put(format!("key{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), large(200, i as u8))
        });
        commit(&mut master, &[set]);
        if master.reader.wants_maintenance() {
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
        target.store.stage_write(&piece).unwrap();
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
