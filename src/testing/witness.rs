//! The rules for every witness back end, and a witness in memory that keeps them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Epoch, NodeId, PairId, Revision, WitnessRecord, WitnessVersion};
use crate::witness::{BoxFuture, Swap, Witness, WitnessError};

/// Rounds in which four swaps race.
const RACES: u64 = 50;

/// A register in memory. Clones share it, so that two nodes of one process can be a witnessed pair.
#[derive(Clone, Debug, Default)]
pub struct MemoryWitness {
    held: Arc<Mutex<Option<(WitnessRecord, u64)>>>,
}

impl MemoryWitness {
    /// One that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Witness for MemoryWitness {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
        Box::pin(async {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Ok(held.map(|(record, number)| (record, WitnessVersion::new(number))))
        })
    }

    fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap> {
        Box::pin(async move {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let number = held.as_ref().map_or(0, |(_, number)| *number);
            if expected != held.as_ref().map(|(_, number)| WitnessVersion::new(number)) {
                return Swap::Conflict;
            }
            *held = Some((record, number + 1));
            Swap::Swapped(WitnessVersion::new(number + 1))
        })
    }
}

/// Checks what [`Witness`] promises of a back end that is well: `make` returns two handles (as two nodes would have them) on
/// one new register without a value, and is called several times.
///
/// It needs a tokio runtime where the back end does, and asks up to two questions of one handle at once. What it cannot
/// show: what a back end does when its service is not well. It does not bound the time; its caller may.
///
/// ```
/// use shadowpair::testing::{MemoryWitness, witness_conformance};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let two_handles = || {
///     let witness = MemoryWitness::new();
///     [witness.clone(), witness]
/// };
/// witness_conformance(two_handles).await.unwrap();
/// # });
/// ```
///
/// # Errors
/// The rule that was broken, and what was seen.
pub async fn witness_conformance<W: Witness>(mut make: impl FnMut() -> [W; 2]) -> Result<(), String> {
    first_value(make()).await?;
    wrong_versions(make()).await?;
    what_is_read_back(make()).await?;
    versions_are_unique(make()).await?;
    races_for_the_first(&mut make).await?;
    races(make()).await
}

/// A register without a value reads as none, and takes one value where none is expected.
async fn first_value<W: Witness>([one, other]: [W; 2]) -> Result<(), String> {
    for handle in [&one, &other] {
        let read = handle.read().await;
        rule("a new register holds nothing", read == Ok(None), &read)?;
    }
    let foreign = other.swap(Some(WitnessVersion::new("none")), record(1)).await;
    rule("a version that never was is a conflict", foreign == Swap::Conflict, &foreign)?;
    let read = other.read().await;
    rule("a conflict makes nothing", read == Ok(None), &read)?;
    let version = swapped(one.swap(None, record(1)).await)?;
    holds(&[&one, &other], &record(1), &version).await
}

/// A swap that expects another value changes nothing.
async fn wrong_versions<W: Witness>([one, other]: [W; 2]) -> Result<(), String> {
    let first = swapped(one.swap(None, record(1)).await)?;
    let again = other.swap(None, record(2)).await;
    rule("expecting nothing where there is a value is a conflict", again == Swap::Conflict, &again)?;
    holds(&[&one, &other], &record(1), &first).await?;
    let second = swapped(other.swap(Some(first.clone()), record(3)).await)?;
    for (handle, expected) in [(&one, Some(first.clone())), (&other, Some(first)), (&one, None)] {
        let stale = handle.swap(expected, record(4)).await;
        rule("a replaced version is a conflict", stale == Swap::Conflict, &stale)?;
        holds(&[&one, &other], &record(3), &second).await?;
    }
    let foreign = one.swap(Some(WitnessVersion::new("no version of yours")), record(5)).await;
    rule("a version of another back end is a conflict", foreign == Swap::Conflict, &foreign)?;
    holds(&[&one, &other], &record(3), &second).await
}

/// Every field comes back as it was written, at its bounds too.
async fn what_is_read_back<W: Witness>([one, other]: [W; 2]) -> Result<(), String> {
    let most = u64::MAX;
    let fullest = WitnessRecord {
        pair: PairId([0xff; 16]),
        holder: NodeId([0xff; 32]),
        epoch: Epoch::from_u64(most),
        lease: Duration::from_secs(24 * 3600),
        in_sync: Some(NodeId([0xff; 32])),
        revision: Revision::new(Epoch::from_u64(most), most),
        counter: most,
    };
    let emptiest = WitnessRecord {
        pair: PairId([0; 16]),
        holder: NodeId([0; 32]),
        epoch: Epoch::NONE,
        lease: Duration::ZERO,
        in_sync: None,
        revision: Revision::NONE,
        counter: 0,
    };
    let mut version = None;
    for record in [fullest, record(1), emptiest] {
        let next = swapped(one.swap(version, record.clone()).await)?;
        holds(&[&other, &one], &record, &next).await?;
        version = Some(next);
    }
    Ok(())
}

/// No version names two values, the same record written twice included.
async fn versions_are_unique<W: Witness>([one, other]: [W; 2]) -> Result<(), String> {
    let mut seen: Vec<WitnessVersion> = Vec::new();
    for round in 0..20 {
        let handle = if round % 2 == 0 { &one } else { &other };
        let version = swapped(handle.swap(seen.last().cloned(), record(round / 10)).await)?;
        rule("a version never comes back", !seen.contains(&version), &version)?;
        holds(&[&one, &other], &record(round / 10), &version).await?;
        seen.push(version);
    }
    Ok(())
}

/// Of several swaps that race to make the first value, one is done.
async fn races_for_the_first<W: Witness>(make: &mut impl FnMut() -> [W; 2]) -> Result<(), String> {
    for _ in 0..8 {
        race(&make(), None, 1).await?;
    }
    Ok(())
}

/// Of several swaps that race to replace one value, one is done, in every round.
async fn races<W: Witness>(handles: [W; 2]) -> Result<(), String> {
    let mut version = swapped(handles[0].swap(None, record(0)).await)?;
    for round in 1..=RACES {
        version = race(&handles, Some(version), 4 * round).await?;
    }
    Ok(())
}

/// Four swaps at once, two by each handle: one is done, the others change nothing.
async fn race<W: Witness>(
    [one, other]: &[W; 2],
    expected: Option<WitnessVersion>,
    counter: u64,
) -> Result<WitnessVersion, String> {
    let ask = |n| (expected.clone(), record(counter + n));
    let ((a, first), (b, second), (c, third), (d, fourth)) = (ask(0), ask(1), ask(2), ask(3));
    let answers = tokio::join!(one.swap(a, first), other.swap(b, second), one.swap(c, third), other.swap(d, fourth));
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let mut winners = answers.iter().zip(counter..).filter_map(|(answer, counter)| match answer {
        Swap::Swapped(version) => Some((version.clone(), counter)),
        _ => None,
    });
    let (winner, others) = (winners.next(), winners.count());
    let conflicts = answers.iter().filter(|answer| **answer == Swap::Conflict).count();
    let Some((version, counter)) = winner.filter(|_| others == 0 && conflicts == 3) else {
        return Err(format!("of four swaps of one version one is done and three are conflicts, not {answers:?}"));
    };
    holds(&[one, other], &record(counter), &version).await?;
    Ok(version)
}

/// Both handles read this record under this version, twice.
async fn holds<W: Witness>(handles: &[&W], record: &WitnessRecord, version: &WitnessVersion) -> Result<(), String> {
    for handle in handles.iter().chain(handles) {
        let read = handle.read().await;
        let right = matches!(&read, Ok(Some((r, v))) if r == record && v == version);
        rule("what was swapped last is read, by every handle", right, &(&read, "instead of", record, version))?;
    }
    Ok(())
}

fn swapped(answer: Swap) -> Result<WitnessVersion, String> {
    match answer {
        Swap::Swapped(version) => Ok(version),
        other => Err(format!("a swap of the current value is done, not {other:?}")),
    }
}

fn rule(rule: &str, holds: bool, seen: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{rule}; seen: {seen:?}")) }
}

/// A record for tests. Another counter gives another record.
pub(crate) fn record(counter: u64) -> WitnessRecord {
    let node = |byte| NodeId([byte; 32]);
    let holder = if counter.is_multiple_of(2) { node(1) } else { node(2) };
    WitnessRecord {
        pair: PairId([7; 16]),
        holder,
        epoch: Epoch::new(1, counter),
        lease: Duration::from_millis(3_500),
        in_sync: counter.is_multiple_of(3).then(|| node(3)),
        revision: Revision::new(Epoch::FIRST, counter),
        counter,
    }
}

#[cfg(test)]
mod tests;
