//! What the disk, the wire and redb cost alone, on the same machine in the same run.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::TableDefinition;

use crate::bench::{Bench, VALUE_BYTES};
use crate::figures::Latencies;
use crate::process::Process;
use crate::tls::Authority;
use crate::workload::{Random, key};

/// A change set of 100 changes as it is in a log: each with its key and a few bytes.
const SET_BYTES: usize = 100 * (VALUE_BYTES + 16);
const STREAM_BYTES: usize = 1 << 30;
const PIECE_BYTES: usize = 256 << 10;
const DISK_BYTES: usize = 400 << 20;
const ROUND_TRIPS: u64 = 20_000;
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

pub fn measure(bench: &mut Bench) {
    append(bench);
    append_set(bench);
    let rate = stream_rate(bench.scaled(STREAM_BYTES as u64) as usize);
    bench.figures.add("floor.stream_rate", rate);
    let disk_rate = disk_rate(bench.dir(), bench.scaled(DISK_BYTES as u64) as usize);
    bench.figures.add("floor.disk_rate", disk_rate);
    bench.figures.add("floor.slower_rate", rate.min(disk_rate));
    let entries = bench.entries();
    let seconds = sorted_load(bench.dir(), entries);
    bench.figures.add("floor.redb_load", seconds);
    let seconds = log_load(bench.dir(), entries);
    bench.figures.add("floor.log_load", seconds);
}

/// One change appended and synced, alone and in two processes at once, and a TLS round trip. Every part that is judged by them
/// measures them too.
pub fn append(bench: &mut Bench) {
    append_of(bench, "floor.append", VALUE_BYTES);
}

/// The same with a change set of 100.
pub fn append_set(bench: &mut Bench) {
    append_of(bench, "floor.append_set", SET_BYTES);
}

fn append_of(bench: &mut Bench, name: &str, bytes: usize) {
    let milliseconds = bench.scaled(3_000);
    let two = append_in_processes(bench.dir(), 2, bytes, milliseconds);
    let alone = append_in_processes(bench.dir(), 1, bytes, milliseconds);
    bench.figures.add_latencies(&format!("{name}_two"), &two);
    bench.figures.add_latencies(name, &alone);
    let round_trips = bench.scaled(ROUND_TRIPS);
    bench.figures.add("floor.round_trip", round_trip(round_trips));
}

/// So many processes that append and sync at once. Returns the medians of what each of them measured.
fn append_in_processes(dir: &Path, count: usize, bytes: usize, milliseconds: u64) -> Latencies {
    let start = |number| {
        let dir = dir.join(format!("append-{number}"));
        std::fs::create_dir_all(&dir).unwrap();
        Process::start(&["append", dir.to_str().expect("a plain path")])
    };
    let mut processes: Vec<Process> = (0..count).map(start).collect();
    processes.iter_mut().for_each(|process| process.write_line(&format!("{bytes} {milliseconds}")));
    let measured = processes.iter_mut().map(|process| serde_json::from_str(&process.read_line()).expect("latencies"));
    let measured: Vec<Latencies> = measured.collect();
    let mean = |of: fn(&Latencies) -> f64| measured.iter().map(of).sum::<f64>() / count as f64;
    Latencies {
        rate: mean(|l| l.rate),
        p50: mean(|l| l.p50),
        p99: mean(|l| l.p99),
        p999: mean(|l| l.p999),
        worst: mean(|l| l.worst),
    }
}

/// The process of [`append_in_processes`].
pub fn append_on_command(dir: &Path) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
        let (bytes, milliseconds) = (words.next().expect("bytes"), words.next().expect("milliseconds"));
        let content = Random::new(1).value(bytes as usize);
        let mut file = File::create(dir.join("log")).unwrap();
        let (mut times, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < Duration::from_millis(milliseconds) {
            let appended = Instant::now();
            file.write_all(&content).unwrap();
            file.sync_data().unwrap();
            times.push(appended.elapsed());
        }
        let latencies = Latencies::of(times, begun.elapsed());
        println!("{}", serde_json::to_string(&latencies).expect("plain data"));
    }
}

/// 64 bytes there and back over TLS. Returns the median in seconds.
fn round_trip(count: u64) -> f64 {
    let (mut client, mut server) = Authority::new().connection();
    let echo = std::thread::spawn(move || {
        let mut message = [0; 64];
        while server.read_exact(&mut message).is_ok() {
            server.write_all(&message).unwrap();
        }
    });
    let mut message = [7; 64];
    let mut turn = || {
        let begun = Instant::now();
        client.write_all(&message).unwrap();
        client.read_exact(&mut message).unwrap();
        begun.elapsed()
    };
    let times = (0..count).map(|_| turn()).collect();
    drop(client);
    echo.join().unwrap();
    Latencies::of(times, Duration::from_secs(1)).p50
}

/// Bytes a second of one TLS stream.
fn stream_rate(bytes: usize) -> f64 {
    let (mut client, mut server) = Authority::new().connection();
    let sink = std::thread::spawn(move || {
        server.read_exact(&mut [0]).unwrap();
        let mut buffer = vec![0; PIECE_BYTES];
        for _ in 0..bytes / PIECE_BYTES {
            server.read_exact(&mut buffer).unwrap();
        }
        server.write_all(b"!").unwrap();
    });
    // The handshake is not measured.
    client.write_all(b"-").unwrap();
    let (piece, begun) = (vec![7; PIECE_BYTES], Instant::now());
    for _ in 0..bytes / PIECE_BYTES {
        client.write_all(&piece).unwrap();
    }
    client.read_exact(&mut [0]).unwrap();
    sink.join().unwrap();
    bytes as f64 / begun.elapsed().as_secs_f64()
}

/// Bytes a second that are written to a file and synced.
fn disk_rate(dir: &Path, bytes: usize) -> f64 {
    let (piece, path) = (vec![7; PIECE_BYTES], dir.join("written"));
    let (mut file, begun) = (File::create(&path).unwrap(), Instant::now());
    for _ in 0..bytes / PIECE_BYTES {
        file.write_all(&piece).unwrap();
    }
    file.sync_data().unwrap();
    let rate = bytes as f64 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

/// Entries in key order into a new redb file, durable at the end, in seconds.
fn sorted_load(dir: &Path, entries: u64) -> f64 {
    let path = dir.join("sorted.redb");
    let (mut random, begun) = (Random::new(1), Instant::now());
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TABLE).unwrap();
        let mut cursor = table.upper_bound_mut(Bound::<&[u8]>::Unbounded).unwrap();
        for number in 0..entries {
            let value = random.value(VALUE_BYTES);
            cursor.insert_before(key(number).as_bytes(), value.as_slice()).unwrap();
        }
        cursor.close().unwrap();
    }
    transaction.commit().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    drop(database);
    std::fs::remove_file(path).unwrap();
    seconds
}

/// The same entries appended to a file in sets of 1,000, each of which is synced.
fn log_load(dir: &Path, entries: u64) -> f64 {
    let path = dir.join("log");
    let (mut random, begun) = (Random::new(1), Instant::now());
    let mut file = File::create(&path).unwrap();
    for _ in 0..entries.div_ceil(1_000) {
        file.write_all(&random.value(1_000 * (VALUE_BYTES + 16))).unwrap();
        file.sync_data().unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    seconds
}
