//! What must hold at every moment, as somebody sees it who holds handles of both nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::host::{Answered, mark};
use super::imports::Imports;
use crate::campaign::violation::{Checked, Invariant};
use crate::model::limits::ALERTS_MAX;
use crate::model::{Digest, Epoch, Revision};
use crate::node::{CommitError, Node, Status};
use crate::store::{ReadError, Snapshot};
use crate::testing::{Machine, MachineId, Pair, Side};

/// Tasks of both nodes, hosts included, beyond which something leaks.
const TASKS_MAX: usize = 400;
/// Connections beyond which something leaks.
const CONNECTIONS_MAX: usize = 60;

/// What there is to be looked at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The pair.
    pub pair: &'a Pair,
    /// The machine of a copy, and of which node it is one.
    pub copy: Option<(&'a Machine, Side)>,
}

impl<'a> Scene<'a> {
    /// A pair alone.
    pub fn of(pair: &'a Pair) -> Self {
        Self { pair, copy: None }
    }

    /// The machines.
    pub fn places(self) -> impl Iterator<Item = MachineId> {
        MachineId::ALL.into_iter().filter(move |place| *place != MachineId::Copy || self.copy.is_some())
    }

    /// The node that runs on this machine.
    pub fn node(self, place: MachineId) -> Option<Node> {
        match place {
            MachineId::Node(side) => self.pair.machine(side).node(),
            MachineId::Copy => self.copy.and_then(|(machine, _)| machine.node()),
        }
    }

    /// What it says of itself.
    pub fn status(self, place: MachineId) -> Option<Arc<Status>> {
        self.node(place).map(|node| node.status())
    }

    /// The machines whose nodes hold mastership.
    pub fn masters(self) -> Vec<MachineId> {
        self.places().filter(|place| self.status(*place).is_some_and(|status| status.engine.serving)).collect()
    }

    /// The machines of the nodes that can be the peer of the one on this machine.
    fn peers(self, place: MachineId) -> impl Iterator<Item = MachineId> {
        let of = self.copy.map(|(_, of)| of);
        let side = move |place: MachineId| match place {
            MachineId::Node(side) => Some(side),
            MachineId::Copy => of,
        };
        self.places().filter(move |other| side(*other) != side(place))
    }
}

/// Everything that was seen, acknowledged and refused.
#[derive(Debug)]
pub struct HostInvariants {
    witnessed: bool,
    lossless: bool,
    /// What each position holds, wherever it was visible.
    contents: BTreeMap<Revision, (Digest, u64)>,
    visible: [Option<Revision>; 3],
    serving: [Option<Epoch>; 3],
    /// Who served under an epoch.
    masters: BTreeMap<Epoch, MachineId>,
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
    last_master: Option<MachineId>,
    /// What only this machine is known to have.
    alone: BTreeMap<u64, MachineId>,
    /// Exports and imports.
    pub imports: Imports,
}

impl HostInvariants {
    /// Of a history that has not begun.
    pub fn new(witnessed: bool, lossless: bool) -> Self {
        Self {
            witnessed,
            lossless,
            contents: BTreeMap::new(),
            visible: [None; 3],
            serving: [None; 3],
            masters: BTreeMap::new(),
            refused: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            answered: BTreeSet::new(),
            bursts: BTreeMap::new(),
            replicated: 0,
            takeovers: 0,
            last_master: None,
            alone: BTreeMap::new(),
            imports: Imports::default(),
        }
    }

    /// Everything that must hold at this moment.
    pub fn check(&mut self, scene: &Scene<'_>, asked: u64, answers: Vec<Answered>) -> Checked {
        self.one_master(scene)?;
        for answer in answers {
            self.answer(scene, answer)?;
        }
        for place in scene.places() {
            let node = scene.node(place);
            let Some(node) = &node else {
                (self.visible[place.index()], self.serving[place.index()]) = (None, None);
                continue;
            };
            self.one_revision(place, node, asked)?;
            self.serves(place, node)?;
            let alerts = node.status().engine.alerts.len();
            Invariant::Bounded.check(alerts <= ALERTS_MAX, || format!("{place:?} has {alerts} alerts"))?;
        }
        let pair = scene.pair;
        let (load, connections) = (pair.scheduler().load(), pair.connections());
        Invariant::Bounded.check(load.tasks <= TASKS_MAX && connections <= CONNECTIONS_MAX, || {
            format!("{} tasks, {} events, {connections} connections", load.tasks, load.events)
        })
    }

    /// 1: with a witness never two nodes hold mastership, paused ones included.
    fn one_master(&self, scene: &Scene<'_>) -> Checked {
        let masters = scene.masters();
        Invariant::OneMaster.check(!self.witnessed || masters.len() < 2, || format!("{masters:?} hold mastership"))
    }

    /// From now on two nodes may serve although there is a witness, and what was acknowledged may be lost by that.
    pub fn excuse(&mut self) {
        (self.witnessed, self.lossless) = (false, false);
    }

    /// The disk of this machine is gone, and with it what was acknowledged there alone.
    pub fn disk_gone(&mut self, place: MachineId) {
        let alone = &self.alone;
        self.acknowledged.retain(|id, _| alone.get(id) != Some(&place));
    }

    /// 3: what is visible is one revision, whole: each change set up to it has left its mark, and no other one has. 4: the
    /// same position has the same content on both nodes.
    fn one_revision(&mut self, place: MachineId, node: &Node, asked: u64) -> Checked {
        let snapshot = node.config().snapshot();
        let revision = snapshot.revision();
        if self.visible[place.index()] == Some(revision) {
            return Ok(());
        }
        // A disk that has just stopped cannot be read.
        let Ok((marks, hash)) = read(&snapshot) else { return Ok(()) };
        self.visible[place.index()] = Some(revision);
        self.imports.saw(revision, snapshot.digest(), hash, &marks);
        let whole = marks.len() as u64 == revision.seq;
        let whole = whole || self.imports.explained(revision, Some(hash), &marks, &self.acknowledged).next().is_some();
        Invariant::OneRevision.check(whole, || {
            format!("{place:?} shows {revision} with the marks of {} change sets: {marks:?}", marks.len())
        })?;
        let refused = marks.iter().find(|id| self.refused.contains(id) || **id >= asked);
        Invariant::NothingOfRefused
            .check(refused.is_none(), || format!("{place:?} shows change set {refused:?}, which was refused"))?;
        let found = (snapshot.digest(), hash);
        let known = *self.contents.entry(revision).or_insert(found);
        Invariant::SameContent
            .check(known == found, || format!("{revision} holds {found:?} on {place:?}, and {known:?} elsewhere"))
    }

    /// 2: who begins to serve has everything that was acknowledged. 5: no two nodes serve under one epoch.
    fn serves(&mut self, place: MachineId, node: &Node) -> Checked {
        let status = node.status();
        let snapshot = node.config().snapshot();
        let began = status.engine.serving && snapshot.revision().epoch == status.engine.epoch;
        let epoch = began.then_some(status.engine.epoch);
        if epoch.is_none() || self.serving[place.index()] == epoch {
            self.serving[place.index()] = epoch;
            return Ok(());
        }
        let owner = epoch.map(|epoch| *self.masters.entry(epoch).or_insert(place));
        Invariant::NoBlankMaster.check(owner == Some(place), || {
            format!("{place:?} serves under {epoch:?}, under which {owner:?} has served")
        })?;
        if self.lossless {
            self.has_all(place, &snapshot)?;
        }
        self.serving[place.index()] = epoch;
        self.takeovers += u64::from(self.last_master.is_some_and(|last| last != place));
        self.last_master = Some(place);
        Ok(())
    }

    /// 2: everything that was acknowledged is here.
    pub fn has_all(&self, place: MachineId, snapshot: &Snapshot) -> Checked {
        let Ok((marks, _)) = read(snapshot) else { return Ok(()) };
        let revision = snapshot.revision();
        // What an import has replaced is not lost, and the import must not be.
        let lost_after = |seq: u64| self.acknowledged.iter().find(|(id, at)| at.seq > seq && !marks.contains(id));
        let untouched = marks.len() as u64 == revision.seq;
        let explained = self.imports.explained(revision, None, &marks, &self.acknowledged);
        let explained = explained.filter(|seq| !untouched && lost_after(*seq).is_none()).max();
        let expected = self.imports.last_before(revision).unwrap_or(0);
        Invariant::NothingLost.check(explained.unwrap_or(0) >= expected, || {
            format!("{place:?} serves at {revision} without the import that was acknowledged as number {expected}")
        })?;
        let lost = if explained.is_some() { None } else { lost_after(0) };
        Invariant::NothingLost.check(lost.is_none(), || {
            format!("{place:?} serves at {} without {lost:?}, which was acknowledged", snapshot.revision())
        })
    }

    /// 9: a change set is answered once; one that is acknowledged is readable where it was, in the order of its burst.
    fn answer(&mut self, scene: &Scene<'_>, answer: Answered) -> Checked {
        let Answered { place, id, burst, outcome } = answer;
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
        let others = scene.places().filter(|other| *other != place).filter_map(|other| scene.status(other));
        let rivals = others.filter(|other| other.engine.serving).map(|other| other.engine.epoch);
        let rival = rivals.max().filter(|rival| self.witnessed && *rival > revision.epoch);
        Invariant::OneMaster.check(rival.is_none(), || {
            format!("{place:?} acknowledged {revision} after another one had begun to serve under {rival:?}")
        })?;
        self.acknowledged.insert(id, revision);
        if !committed.replicated {
            self.alone.insert(id, place);
        }
        self.replicated += u64::from(committed.replicated);
        let Some(node) = scene.node(place) else { return Ok(()) };
        let status = node.status();
        if status.engine.serving {
            let snapshot = node.config().snapshot();
            let Ok(found) = snapshot.get(mark(id)) else { return Ok(()) };
            // An import that came right after it has replaced it.
            let replaced = !self.imports.none() && snapshot.revision() > revision;
            Invariant::NothingOfRefused.check(found.is_some() || replaced, || {
                format!(
                    "change set {id} is acknowledged as {revision} and is not to be read at {}",
                    snapshot.revision()
                )
            })?;
        }
        let heads: Vec<_> =
            scene.peers(place).map(|peer| scene.status(peer).map(|at| at.engine.position.revision)).collect();
        let holds = heads.iter().any(|head| head.is_none_or(|head| head >= revision));
        Invariant::NothingLost.check(!committed.replicated || holds, || {
            format!("{revision} is called durable on both nodes, and the peer of {place:?} is at {heads:?}")
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
