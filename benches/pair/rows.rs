//! The rows of the table, with the bound of each.

use crate::table::{Bound, Of, Row, Unit};

/// Every row, in order. One of which nothing was measured is not printed.
pub fn all() -> Vec<Row> {
    [floor(), commits(), million(), rest()].into_iter().flatten().collect()
}

fn floor() -> Vec<Row> {
    vec![
        row("append 200 B and sync, p50", Unit::Time).floor("floor.append.p50"),
        row("the same in two processes at once, p50", Unit::Time).floor("floor.append_two.p50"),
        row("the same, p99.9", Unit::Time).floor("floor.append_two.p99.9"),
        row("TLS round trip", Unit::Time).floor("floor.round_trip"),
        row("TLS stream", Unit::BytesPerSecond).floor("floor.stream_rate"),
        row("write to the disk", Unit::BytesPerSecond).floor("floor.disk_rate"),
    ]
}

fn commits() -> Vec<Row> {
    let set_floor = "floor.append_set_two.p50 + floor.round_trip";
    vec![
        row("one caller, synchronous, p50", Unit::Time)
            .ours("sync.p50")
            .floor("floor.append_two.p50 + floor.round_trip")
            .peers("redis.sync.p50", "postgres.sync.p50")
            .at_most(1.8, Of::Floor)
            .at_most(0.75, Of::Redis),
        row("p99", Unit::Time).ours("sync.p99").peers("redis.sync.p99", "postgres.sync.p99"),
        row("p99.9", Unit::Time)
            .ours("sync.p99.9")
            .peers("redis.sync.p99.9", "postgres.sync.p99.9")
            .at_most(10.0, Of::Figure("sync.p50", "p50")),
        row("one caller, asynchronous, p50", Unit::Time)
            .ours("async.p50")
            .floor("floor.append.p50")
            .at_most(1.2, Of::Floor),
        row("p99.9", Unit::Time).ours("async.p99.9").floor("floor.append.p99.9"),
        row("64 callers, 1,000 hot keys", Unit::PerSecond)
            .ours("callers.hot.rate")
            .peers("redis.callers.hot.rate", "postgres.callers.hot.rate")
            .at_least(5.0, Of::Redis),
        row("p50", Unit::Time).ours("callers.hot.p50").peers("redis.callers.hot.p50", "postgres.callers.hot.p50"),
        row("p99.9", Unit::Time)
            .ours("callers.hot.p99.9")
            .peers("redis.callers.hot.p99.9", "postgres.callers.hot.p99.9")
            .at_most(5.0, Of::Figure("callers.hot.p50", "p50")),
        row("64 callers, 10,000 keys", Unit::PerSecond).ours("callers.some.rate"),
        row("p99.9", Unit::Time).ours("callers.some.p99.9").at_most(5.0, Of::Figure("callers.some.p50", "p50")),
        row("64 callers, random keys of 1M", Unit::PerSecond)
            .ours("callers.random.rate")
            .peers("redis.callers.random.rate", "postgres.callers.random.rate")
            .at_least(2.5, Of::Redis),
        row("p50", Unit::Time)
            .ours("callers.random.p50")
            .peers("redis.callers.random.p50", "postgres.callers.random.p50"),
        row("p99.9", Unit::Time)
            .ours("callers.random.p99.9")
            .peers("redis.callers.random.p99.9", "postgres.callers.random.p99.9")
            .at_most(5.0, Of::Figure("callers.random.p50", "p50")),
        row("change sets of 100, p50", Unit::Time)
            .ours("set.p50")
            .floor(set_floor)
            .peers("redis.set.p50", "postgres.set.p50")
            .at_most(4.0, Of::Floor),
        row("p99", Unit::Time)
            .ours("set.p99")
            .peers("redis.set.p99", "postgres.set.p99")
            .at_most(3.0, Of::Figure("set.p50", "p50")),
    ]
}

fn million() -> Vec<Row> {
    let content = Of::Figure("content", "the content");
    vec![
        row("load of 1M x 200 B in sets of 1,000, synchronous", Unit::Time)
            .ours("load")
            .floor("floor.log_load")
            .peers("redis.load", "postgres.load")
            .at_most(3.0, Of::Nothing),
        row("the same, asynchronous", Unit::Time).ours("load.async").floor("floor.log_load").at_most(3.0, Of::Nothing),
        row("full push of it: the copy serves", Unit::Time)
            .ours("push.time")
            .floor("floor.redb_load")
            .peers("redis.push.online", "")
            .at_most(0.4, Of::Redis),
        row("full push of it: the copy is durable", Unit::Time)
            .ours("push.time")
            .floor("floor.redb_load")
            .peers("redis.push.durable", "postgres.push"),
        row("written by the second node, in calls", Unit::Bytes)
            .ours("push.written")
            .floor("content")
            .peers("redis.push.written", "")
            .at_most(1.5, content),
        row("written by it, to the device", Unit::Bytes).ours("push.to_device").peers("redis.push.to_device", ""),
        row("processor time of it, both nodes", Unit::Time)
            .ours("push.cpu_master + push.cpu_shadow")
            .at_most(1.5, Of::Nothing),
        row("of that, the second node", Unit::Time).ours("push.cpu_shadow"),
        row("most memory during it, first node", Unit::Bytes)
            .ours("push.peak_master")
            .peers("redis.push.peak_primary", "")
            .at_most(56e6, Of::Nothing),
        row("most memory during it, second node", Unit::Bytes)
            .ours("push.peak_shadow")
            .peers("redis.push.peak_replica", "")
            .at_most(64e6, Of::Nothing),
        row("restart after kill -9, to the first read", Unit::Time).ours("restart").at_most(0.06, Of::Nothing),
        row("1,000 of 1M entries differ: bytes on the wire", Unit::Bytes)
            .ours("differential.bytes")
            .at_most(0.015, Of::Figure("differential.full_bytes", "a full push")),
        row("the same, time", Unit::Time)
            .ours("differential.time")
            .at_most(0.25, Of::Figure("differential.full_time", "a full push")),
        row("full push of 100 x 4 MiB", Unit::BytesPerSecond)
            .ours("large.rate")
            .floor("floor.slower_rate")
            .at_least(0.5, Of::Floor),
    ]
}

fn rest() -> Vec<Row> {
    vec![
        row("takeover after kill -9, beyond the delay, p50", Unit::Time).ours("takeover.p50"),
        row("p99", Unit::Time).ours("takeover.p99").at_most(0.12, Of::Nothing),
        row("switch of roles under 1,000 changes/s, to the next acknowledgement, p50", Unit::Time)
            .ours("switch.p50")
            .at_most(0.05, Of::Nothing),
        row("p99", Unit::Time).ours("switch.p99"),
        row("clean end of a master, to the next acknowledgement, p50", Unit::Time)
            .ours("clean_end.p50")
            .at_most(0.1, Of::Nothing),
        row("full push of 200 MB over 2 MB/s, both cores busy", Unit::Time).ours("slow_link.time"),
        row("changes of role meanwhile", Unit::Count).ours("slow_link.role_changes").at_most(0.0, Of::Nothing),
        row("idle pairs in one process", Unit::Count).ours("idle.pairs"),
        row("memory of each", Unit::Bytes).ours("idle.memory").at_most(1_048_576.0, Of::Nothing),
        row("processor time of all", Unit::Cores).ours("idle.cpu").at_most(0.2, Of::Nothing),
        row("threads of all", Unit::Count).ours("idle.threads"),
        row("disk of each", Unit::Bytes).ours("idle.disk"),
    ]
}

fn row(what: &'static str, unit: Unit) -> Row {
    Row { what, unit, ours: "", floor: "", redis: "", postgres: "", bounds: Vec::new() }
}

impl Row {
    fn ours(self, ours: &'static str) -> Self {
        Self { ours, ..self }
    }

    fn floor(self, floor: &'static str) -> Self {
        Self { floor, ..self }
    }

    fn peers(self, redis: &'static str, postgres: &'static str) -> Self {
        Self { redis, postgres, ..self }
    }

    fn at_most(mut self, factor: f64, of: Of) -> Self {
        self.bounds.push(Bound { is_most: true, factor, of });
        self
    }

    fn at_least(mut self, factor: f64, of: Of) -> Self {
        self.bounds.push(Bound { is_most: false, factor, of });
        self
    }
}
