//! The hosts of both nodes: what they answer to hooks, the callers that commit, and the operators.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::Word;
use crate::model::ChangeSet;
use crate::node::{CommitError, Committed, Hooks, Node, OperatorError};
use crate::store::Snapshot;
use crate::testing::{MachineId, Pair, Side, SimulatedNode};

/// Bytes of a value that is pushed in pieces.
const LARGE_BYTES: usize = 600 * 1024;
/// Keys that change sets have in common.
const SHARED_KEYS: u64 = 4;

/// What a host says when it is asked.
#[derive(Debug)]
pub struct Host {
    /// Its node may take over.
    pub may_take_over: AtomicBool,
    /// What is pushed is acceptable.
    pub accepts: AtomicBool,
}

/// The callers of both nodes.
#[derive(Debug, Default)]
pub struct Callers {
    /// Change sets so far; each has a number.
    pub asked: u64,
    /// Calls so far of one caller with several change sets in a row.
    bursts: u64,
    answers: Arc<Mutex<Vec<Answered>>>,
}

/// What a caller was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// By this node.
    pub place: MachineId,
    /// For this change set.
    pub id: u64,
    /// Which was one of these in a row.
    pub burst: u64,
    /// With this.
    pub outcome: Result<Committed, CommitError>,
}

impl Default for Host {
    fn default() -> Self {
        Self { may_take_over: AtomicBool::new(true), accepts: AtomicBool::new(true) }
    }
}

impl Hooks for Host {
    fn validate(&self, _candidate: &Snapshot) -> Result<(), String> {
        if self.accepts.load(SeqCst) { Ok(()) } else { Err("not acceptable".into()) }
    }

    fn may_take_over(&self) -> Result<(), String> {
        if self.may_take_over.load(SeqCst) { Ok(()) } else { Err("not now".into()) }
    }
}

/// The entry that the change set of this number adds, and no other one touches.
pub fn mark(id: u64) -> String {
    format!("log/{id:06}")
}

/// A change set: its mark, and a key in common with others that it sets or removes.
fn change_set(id: u64, large: bool) -> ChangeSet {
    let (shared, text) = (format!("shared/{}", id % SHARED_KEYS), id.to_string());
    let marked = ChangeSet::new().put(mark(id), text.clone());
    match id % 5 {
        0 => marked.delete(shared),
        _ if large => marked.put(shared, format!("{text} {}", "x".repeat(LARGE_BYTES))),
        _ => marked.put(shared, text),
    }
}

impl Callers {
    /// Hands so many change sets over in a row, on the machine of this node; the caller ends with it.
    pub fn commit(&mut self, on: SimulatedNode<'_>, node: &Node, count: u8, large: bool) {
        self.bursts += 1;
        let ids = self.asked..self.asked + u64::from(count);
        self.asked = ids.end;
        let (config, answers, burst) = (node.config(), Arc::clone(&self.answers), self.bursts);
        let place = on.place();
        let answer = move |id, outcome| {
            let answered = Answered { place, id, burst, outcome };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        };
        on.spawn(async move {
            let begun: Vec<_> = ids.map(|id| (id, config.try_commit(change_set(id, large)))).collect();
            for (id, begun) in begun {
                match begun {
                    Ok(pending) => answer(id, pending.committed().await),
                    Err(error) => answer(id, Err(error)),
                }
            }
        });
    }

    /// The answers since the last call.
    pub fn take_answers(&self) -> Vec<Answered> {
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An operator says this to the node of this machine.
pub fn say(pair: &Pair, side: Side, node: &Node, word: Word) {
    let (operator, scheduler) = (node.operator(), pair.scheduler().clone());
    pair.node(side).spawn(async move {
        let outcome: Result<(), OperatorError> = match word {
            Word::TakeOver => operator.take_over().await,
            Word::TakeOverWithLoss => operator.take_over_accepting_loss().await,
            Word::Resync => operator.resync().await,
            Word::Disconnect => operator.disconnect().await,
            Word::Reconnect => operator.reconnect().await,
            Word::Replicate(replication) => operator.replicate(replication).await,
            Word::SwitchRoles => operator.switch_roles().await,
            Word::Pause(true) => operator.pause().await,
            Word::Pause(false) => operator.resume().await,
            Word::Freeze(true) => operator.freeze().await,
            Word::Freeze(false) => operator.unfreeze().await,
            Word::Export | Word::Import { .. } | Word::Restore { .. } => Ok(()),
        };
        scheduler.note(|| format!("{side:?} answers {word:?} with {outcome:?}"));
    });
}
