//! The picture of the README: latency and throughput as bars, drawn by hand. Its colours change with the reader's theme.

use std::fmt::Write;

use crate::figures::Figures;
use crate::table::Unit;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
const BAR: f64 = 20.0;
const STEP: f64 = 30.0;
/// Room right of the longest bar, for its figure.
const RIGHT: f64 = 130.0;

const STYLE: &str = "\
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .note { font-size: 11px; fill: #57606a }
  .ours { fill: #0969da } .other { fill: #8c959f } .floor { fill: #afb8c1 }
  .tail { stroke: #57606a; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 }
    .ours { fill: #4493f8 } .other { fill: #7d8590 } .floor { fill: #545d68 }
    .tail { stroke: #9198a1 }
  }";

/// A bar: its name, its class, its figure, and the figure of its tail.
struct Bar {
    name: &'static str,
    class: &'static str,
    value: f64,
    tail: Option<f64>,
}

/// `None` where too little was measured.
pub fn draw(machine: &str, figures: &Figures) -> Option<String> {
    let bar = |name, class, value: &str, tail: &str| {
        Some(Bar { name, class, value: figures.median(value)?, tail: figures.median(tail) })
    };
    let latency = [
        bar("the floor", "floor", "floor.append_two.p50 + floor.round_trip", ""),
        bar("this crate", "ours", "sync.p50", "sync.p99"),
        bar("Redis, WAIT 1", "other", "redis.sync.p50", "redis.sync.p99"),
        bar("PostgreSQL", "other", "postgres.sync.p50", "postgres.sync.p99"),
    ];
    let throughput = [
        bar("this crate", "ours", "callers.hot.rate", ""),
        bar("Redis, WAIT 1", "other", "redis.callers.hot.rate", ""),
        bar("PostgreSQL", "other", "postgres.callers.hot.rate", ""),
    ];
    let push = [
        bar("this crate", "ours", "push.time", ""),
        bar("Redis, durable", "other", "redis.push.durable", ""),
        bar("PostgreSQL", "other", "postgres.push", ""),
    ];
    let panels = [
        (
            "One change of 200 bytes, durable on both nodes: median, line to p99. Shorter is better",
            Unit::Time,
            &latency[..],
        ),
        (
            "64 callers: changes a second, each durable on both nodes. Longer is better",
            Unit::PerSecond,
            &throughput[..],
        ),
        ("Full copy of a million entries of 200 bytes. Shorter is better", Unit::Time, &push[..]),
    ];
    let (mut body, mut y) = (String::new(), 24.0);
    for (title, unit, bars) in panels {
        let bars: Vec<&Bar> = bars.iter().flatten().collect();
        if bars.iter().any(|bar| bar.class == "ours") {
            y = panel(&mut body, y, title, unit, &bars);
        }
    }
    if body.is_empty() {
        return None;
    }
    writeln!(body, r#"<text class="note" x="0" y="{y}">{}</text>"#, escaped(machine)).expect("a string");
    let height = y + 12.0;
    let view = format!(r#"xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}""#);
    Some(format!("<svg {view} role=\"img\">\n<style>\n{STYLE}\n</style>\n{body}</svg>\n"))
}

/// Draws one panel at `y`. Returns where the next one begins.
fn panel(body: &mut String, mut y: f64, title: &str, unit: Unit, bars: &[&Bar]) -> f64 {
    let longest = bars.iter().map(|bar| bar.tail.unwrap_or(bar.value).max(bar.value)).fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    writeln!(body, r#"<text class="title" x="0" y="{y}">{title}</text>"#).expect("a string");
    y += 12.0;
    for Bar { name, class, value, tail } in bars {
        let (length, middle) = (value * scale, y + BAR / 2.0);
        let end = LEFT + tail.map_or(length, |tail| length.max(tail * scale));
        let baseline = middle + 4.5;
        writeln!(body, r#"<text x="{}" y="{baseline:.1}" text-anchor="end">{name}</text>"#, LEFT - 8.0)
            .expect("a string");
        writeln!(body, r#"<rect class="{class}" x="{LEFT}" y="{y:.1}" width="{length:.1}" height="{BAR}" rx="2"/>"#)
            .expect("a string");
        if tail.is_some() {
            let from = LEFT + length;
            writeln!(body, r#"<path class="tail" d="M{from:.1} {middle:.1}H{end:.1}m0 -5v10"/>"#).expect("a string");
        }
        let shown = unit.show(*value);
        writeln!(body, r#"<text x="{:.1}" y="{baseline:.1}">{shown}</text>"#, end + 8.0).expect("a string");
        y += STEP;
    }
    y + 24.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
