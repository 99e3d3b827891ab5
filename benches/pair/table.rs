//! The tables that a run prints: figures side by side, and whether they keep their bounds.

use std::fmt::Write;

use crate::bench::Bench;
use crate::campaign::FaultKind;
use crate::figures::Figures;
use crate::growth::SIZES;
use crate::rows;

/// Most times that a full push of ten million entries may take of one of a million.
const TENFOLD_MAX: f64 = 12.0;

/// One line: a figure of ours, what stands beside it, and what it is judged by.
pub struct Row {
    pub what: &'static str,
    pub unit: Unit,
    /// Names of figures, or sums of them as of [`Figures::median`]. An empty one is measured by nobody.
    pub ours: &'static str,
    pub floor: &'static str,
    pub redis: &'static str,
    pub postgres: &'static str,
    pub bounds: Vec<Bound>,
}

#[derive(Clone, Copy)]
pub enum Unit {
    Time,
    PerSecond,
    Bytes,
    BytesPerSecond,
    Cores,
    Count,
}

/// What a figure must keep: at most (or at least) a multiple of another one of the same run, or a fixed value.
pub struct Bound {
    pub is_most: bool,
    pub factor: f64,
    pub of: Of,
}

pub enum Of {
    Floor,
    Redis,
    /// A figure, and how it is called.
    Figure(&'static str, &'static str),
    /// The factor is the bound.
    Nothing,
}

/// Everything that was measured, as Markdown.
pub fn report(machine: &str, bench: &Bench) -> String {
    let figures = &bench.figures;
    let mut text = format!("{machine}; medians of {}\n\n", rounds(bench.rounds()));
    text.push_str("| | this crate | the floor | Redis | PostgreSQL | bound |\n|---|---|---|---|---|---|\n");
    let mut verdicts = [0; 2];
    for row in rows::all() {
        let shown = |name| figures.median(name).map(|value| row.unit.show(value)).unwrap_or_default();
        let cells = [row.ours, row.floor, row.redis, row.postgres].map(shown);
        if cells.iter().all(String::is_empty) {
            continue;
        }
        let judged: Vec<_> = row.bounds.iter().map(|bound| judge(&row, bound, figures)).collect();
        judged.iter().filter_map(|(_, met)| *met).for_each(|met| verdicts[usize::from(met)] += 1);
        let judged: Vec<_> = judged.into_iter().map(|(text, _)| text).collect();
        let what = row.what.replace("1M", &millions(bench.entries()));
        writeln!(text, "| {what} | {} | {} |", cells.join(" | "), judged.join("; ")).expect("a string");
    }
    writeln!(text, "\nBounds: {} met, {} not met.", verdicts[1], verdicts[0]).expect("a string");
    text.push_str(&growth(figures));
    text.push_str(&faults(figures));
    text
}

fn millions(entries: u64) -> String {
    format!("{}M", entries as f64 / 1e6)
}

fn rounds(count: usize) -> String {
    if count == 1 { "one round".into() } else { format!("{count} rounds") }
}

/// The bound with what was measured, and whether it is kept. `None` where one side of it was not measured.
fn judge(row: &Row, bound: &Bound, figures: &Figures) -> (String, Option<bool>) {
    let Bound { is_most, factor, ref of } = *bound;
    let word = if is_most { "at most" } else { "at least" };
    let (base, name) = match *of {
        Of::Floor => (row.floor, "the floor"),
        Of::Redis => (row.redis, "Redis"),
        Of::Figure(figure, name) => (figure, name),
        Of::Nothing => ("", ""),
    };
    let ours = figures.median(row.ours);
    let (wanted, measured) = match of {
        Of::Nothing => (format!("{word} {}", row.unit.show(factor)), ours),
        _ => {
            let ratio = ours.zip(figures.median(base)).map(|(ours, base)| ours / base);
            (format!("{word} {factor} x {name}"), ratio)
        }
    };
    let Some(measured) = measured else { return (format!("{wanted}: not measured"), None) };
    let met = if is_most { measured <= factor } else { measured >= factor };
    let verdict = if met { "met" } else { "**not met**" };
    match of {
        Of::Nothing => (format!("{wanted}: {verdict}"), Some(met)),
        _ => (format!("{wanted}: {measured:.*}, {verdict}", decimals(factor)), Some(met)),
    }
}

/// Decimals with which a ratio shows on which side of its bound it is.
fn decimals(factor: f64) -> usize {
    if factor < 0.1 { 4 } else { 2 }
}

/// Cost by number of entries, where it was measured.
fn growth(figures: &Figures) -> String {
    let line = |entries: u64| {
        let show =
            |name: &str, unit: Unit| figures.median(&format!("growth.{entries}.{name}")).map(|value| unit.show(value));
        let cells = [
            thousands(entries as f64),
            show("load", Unit::Time)?,
            show("push", Unit::Time)?,
            format!("{}, {}", show("peak_master", Unit::Bytes)?, show("peak_shadow", Unit::Bytes)?),
            show("restart", Unit::Time)?,
        ];
        Some(format!("| {} |\n", cells.join(" | ")))
    };
    let lines: String = SIZES.into_iter().filter_map(line).collect();
    if lines.is_empty() {
        return lines;
    }
    format!(
        "\n| entries of 200 bytes | load | full push | memory during it, master, shadow | restart to first read |\n\
         |---|---|---|---|---|\n{lines}{}",
        tenfold(figures)
    )
}

/// Ten million entries beside one million.
fn tenfold(figures: &Figures) -> String {
    let figure = |entries: u64, name: &str| figures.median(&format!("growth.{entries}.{name}"));
    let ratio = |name| Some(figure(10_000_000, name)? / figure(1_000_000, name)?);
    let (Some(time), Some(memory)) = (ratio("push"), ratio("peak_shadow")) else { return String::new() };
    let verdict = if time <= TENFOLD_MAX { "met" } else { "**not met**" };
    format!(
        "\nA full push of 10M entries beside one of 1M: {time:.1} x the time (at most {TENFOLD_MAX} x: {verdict}), {memory:.1} x the shadow's memory.\n"
    )
}

/// The figure of a kind of fault.
pub fn fault(kind: FaultKind) -> String {
    format!("fault.{kind}")
}

/// Downtime by kind of fault, where it was measured.
fn faults(figures: &Figures) -> String {
    let Some(takeover) = figures.median("fault.takeover") else { return String::new() };
    let line = |kind: FaultKind| {
        let name = fault(kind);
        let (median, worst) = (figures.median(&format!("{name}.p50"))?, figures.median(&format!("{name}.worst"))?);
        let [shown, worst] = [median, worst].map(|value| Unit::Time.show(value));
        Some(format!("| {kind} | {shown} | {worst} | {:.2} |\n", median / takeover))
    };
    let lines: String = FaultKind::ALL.into_iter().filter_map(line).collect();
    format!(
        "\nDowntime; takeover delay and lease margin: {}\n\n| fault | median | worst | median / that |\n|---|---|---|---|\n{lines}",
        Unit::Time.show(takeover)
    )
}

impl Unit {
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 0.01 => format!("{} us", thousands(value * 1e6)),
            Self::Time if value < 1.0 => format!("{} ms", rounded(value * 1e3)),
            Self::Time => format!("{} s", rounded(value)),
            Self::PerSecond => format!("{}/s", thousands(rounded_to_three(value))),
            Self::Bytes if value < 1e6 => format!("{} kB", rounded(value / 1e3)),
            Self::Bytes => format!("{} MB", rounded(value / 1e6)),
            Self::BytesPerSecond => format!("{} GB/s", rounded(value / 1e9)),
            Self::Cores => format!("{} % of a core", rounded(value * 100.0)),
            Self::Count => thousands(value),
        }
    }
}

fn rounded(value: f64) -> String {
    match value {
        value if value >= 100.0 => thousands(value),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn rounded_to_three(value: f64) -> f64 {
    let step = 10f64.powf(value.max(1.0).log10().floor() - 2.0).max(1.0);
    (value / step).round() * step
}

/// A whole number with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let group = |(index, digit): (usize, char)| {
        let comma = index > 0 && (digits.len() - index).is_multiple_of(3);
        [comma.then_some(','), Some(digit)]
    };
    digits.chars().enumerate().flat_map(group).flatten().collect()
}
