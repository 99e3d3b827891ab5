//! What must hold at every moment, as somebody sees it who holds handles of both nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::host::{Answered, mark};
use super::plan::Plan;
use crate::campaign::violation::{Checked, Invariant};
use crate::model::limits::ALERTS_MAX;
use crate::model::{Digest, Epoch, Revision};
use crate::node::{CommitError, Node};
use crate::store::{ReadError, Snapshot};
use crate::testing::{Pair, Side};

/// Tasks of both nodes, hosts included, beyond which something leaks.
const TASKS_MAX: usize = 400;
/// Connections beyond which something leaks.
const CONNECTIONS_MAX: usize = 60;

/// Everything that was seen, acknowledged and refused.
#[derive(Debug)]
pub struct Judge {
    witnessed: bool,
    lossless: bool,
    /// What each position holds, wherever it was visible.
    contents: BTreeMap<Revision, (Digest, u64)>,
    visible: [Option<Revision>; 2],
    serving: [Option<Epoch>; 2],
    /// Who served under an epoch.
    masters: BTreeMap<Epoch, Side>,
    refused: BTreeSet<u64>,
    /// As which revision a change set was acknowledged.
    pub acknowledged: BTreeMap<u64, Revision>,
    answered: BTreeSet<u64>,
    /// The last revision of a burst.
    bursts: BTreeMap<u64, Revision>,
    /// Change sets acknowledged as durable on both nodes.
    pub replicated: u64,
    /// Times that another node than before began to serve.
    pub takeovers: u64,
    last_master: Option<Side>,
}

impl Judge {
    /// Of a history that has not begun.
    pub fn new(plan: &Plan) -> Self {
        Self {
            witnessed: plan.witnessed,
            lossless: plan.is_lossless(),
            contents: BTreeMap::new(),
            visible: [None; 2],
            serving: [None; 2],
            masters: BTreeMap::new(),
            refused: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            answered: BTreeSet::new(),
            bursts: BTreeMap::new(),
            replicated: 0,
            takeovers: 0,
            last_master: None,
        }
    }

    /// Everything that must hold at this moment.
    pub fn check(&mut self, pair: &Pair, asked: u64, answers: Vec<Answered>) -> Checked {
        self.one_master(pair)?;
        for answer in answers {
            self.answer(pair, answer)?;
        }
        for side in Side::BOTH {
            let node = pair.machine(side).node();
            let Some(node) = &node else {
                (self.visible[side.index()], self.serving[side.index()]) = (None, None);
                continue;
            };
            self.one_revision(side, node, asked)?;
            self.serves(side, node)?;
            let alerts = node.status().engine.alerts.len();
            Invariant::Bounded.check(alerts <= ALERTS_MAX, || format!("{side:?} has {alerts} alerts"))?;
        }
        let (load, connections) = (pair.scheduler().load(), pair.connections());
        Invariant::Bounded.check(load.tasks <= TASKS_MAX && connections <= CONNECTIONS_MAX, || {
            format!("{} tasks, {} events, {connections} connections", load.tasks, load.events)
        })
    }

    /// 1: with a witness never two nodes hold mastership, paused ones included.
    fn one_master(&self, pair: &Pair) -> Checked {
        let masters = pair.masters().len();
        Invariant::OneMaster.check(!self.witnessed || masters < 2, || "both nodes hold mastership".into())
    }

    /// 3: what is visible is one revision, whole: each change set up to it has left its mark, and no other one has. 4: the
    /// same position has the same content on both nodes.
    fn one_revision(&mut self, side: Side, node: &Node, asked: u64) -> Checked {
        let snapshot = node.config().snapshot();
        let revision = snapshot.revision();
        if self.visible[side.index()] == Some(revision) {
            return Ok(());
        }
        // A disk that has just stopped cannot be read.
        let Ok((marks, hash)) = read(&snapshot) else { return Ok(()) };
        self.visible[side.index()] = Some(revision);
        Invariant::OneRevision.check(marks.len() as u64 == revision.seq, || {
            format!("{side:?} shows {revision} with the marks of {} change sets: {marks:?}", marks.len())
        })?;
        let refused = marks.iter().find(|id| self.refused.contains(id) || **id >= asked);
        Invariant::NothingOfRefused
            .check(refused.is_none(), || format!("{side:?} shows change set {refused:?}, which was refused"))?;
        let found = (snapshot.digest(), hash);
        let known = *self.contents.entry(revision).or_insert(found);
        Invariant::SameContent
            .check(known == found, || format!("{revision} holds {found:?} on {side:?}, and {known:?} elsewhere"))
    }

    /// 2: who begins to serve has everything that was acknowledged. 5: no two nodes serve under one epoch.
    fn serves(&mut self, side: Side, node: &Node) -> Checked {
        let status = node.status();
        let snapshot = node.config().snapshot();
        let began = status.engine.serving && snapshot.revision().epoch == status.engine.epoch;
        let epoch = began.then_some(status.engine.epoch);
        if epoch.is_none() || self.serving[side.index()] == epoch {
            self.serving[side.index()] = epoch;
            return Ok(());
        }
        let owner = epoch.map(|epoch| *self.masters.entry(epoch).or_insert(side));
        Invariant::NoBlankMaster.check(owner == Some(side), || {
            format!("{side:?} serves under {epoch:?}, under which {owner:?} has served")
        })?;
        if self.lossless {
            self.has_all(side, &snapshot)?;
        }
        self.serving[side.index()] = epoch;
        self.takeovers += u64::from(self.last_master.is_some_and(|last| last != side));
        self.last_master = Some(side);
        Ok(())
    }

    /// 2: everything that was acknowledged is here.
    pub fn has_all(&self, side: Side, snapshot: &Snapshot) -> Checked {
        let Ok((marks, _)) = read(snapshot) else { return Ok(()) };
        let lost = self.acknowledged.iter().find(|(id, _)| !marks.contains(id));
        Invariant::NothingLost.check(lost.is_none(), || {
            format!("{side:?} serves at {} without {lost:?}, which was acknowledged", snapshot.revision())
        })
    }

    /// 9: a change set is answered once; one that is acknowledged is readable where it was, in the order of its burst.
    fn answer(&mut self, pair: &Pair, answer: Answered) -> Checked {
        let Answered { side, id, burst, outcome } = answer;
        Invariant::Contract.check(self.answered.insert(id), || format!("change set {id} was answered twice"))?;
        let committed = match outcome {
            Ok(committed) => committed,
            Err(CommitError::InDoubt { .. } | CommitError::Stopped) => return Ok(()),
            Err(_) => {
                self.refused.insert(id);
                return Ok(());
            }
        };
        let revision = committed.revision;
        let before = self.bursts.insert(burst, revision);
        Invariant::Contract.check(before.is_none_or(|before| before < revision), || {
            format!("change set {id} of a burst is {revision}, and the one before it is {before:?}")
        })?;
        // What was said before the machine stood still was heard before, too.
        let peer = pair.node(side.other()).status().filter(|peer| peer.engine.serving);
        let rival = peer.map(|peer| peer.engine.epoch).filter(|rival| self.witnessed && *rival > revision.epoch);
        Invariant::OneMaster.check(rival.is_none(), || {
            format!("{side:?} acknowledged {revision} after its peer had begun to serve under {rival:?}")
        })?;
        self.acknowledged.insert(id, revision);
        self.replicated += u64::from(committed.replicated);
        let Some(node) = pair.machine(side).node() else { return Ok(()) };
        let status = node.status();
        if status.engine.serving {
            let snapshot = node.config().snapshot();
            let Ok(found) = snapshot.get(mark(id)) else { return Ok(()) };
            Invariant::NothingOfRefused.check(found.is_some(), || {
                format!(
                    "change set {id} is acknowledged as {revision} and is not to be read at {}",
                    snapshot.revision()
                )
            })?;
        }
        let peer = pair.machine(side.other()).node().map(|node| node.status().engine.position.revision);
        let holds = peer.is_none_or(|peer| peer >= revision);
        Invariant::NothingLost.check(!committed.replicated || holds, || {
            format!("{revision} is called durable on both nodes, and the peer of {side:?} is at {peer:?}")
        })
    }

    /// Whether this change set was answered.
    pub fn is_answered(&self, id: u64) -> bool {
        self.answered.contains(&id)
    }

    /// Whether this change set was refused, or is in doubt.
    pub fn is_refused(&self, id: u64) -> bool {
        self.is_answered(id) && !self.acknowledged.contains_key(&id)
    }
}

/// The marks of a configuration, and a sum over all that it holds.
pub fn read(snapshot: &Snapshot) -> Result<(BTreeSet<u64>, u64), ReadError> {
    let mut marks = BTreeSet::new();
    let mut hash = blake3::Hasher::new();
    for entry in snapshot.scan("") {
        let entry = entry?;
        hash.update(entry.key.as_bytes());
        for piece in snapshot.value(entry.key.as_str())?.into_iter().flatten() {
            hash.update(&piece?);
        }
        if let Some(id) = entry.key.as_str().strip_prefix("log/").and_then(|id| id.parse().ok()) {
            marks.insert(id);
        }
    }
    let sum = hash.finalize();
    let bytes = sum.as_bytes();
    Ok((marks, u64::from_le_bytes(std::array::from_fn(|at| bytes[at]))))
}
