//! Callers that wait for an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::carried_sets::CarriedSets;
use crate::model::ChangeSet;
use crate::node::handles::admission::{Admission, AdmissionPermit};
use crate::protocol::engine::{CommandAnswer, CommitAnswer, Ticket};

/// Callers that wait for an answer, by ticket.
pub struct Callers {
    commits: BTreeMap<Ticket, Commit>,
    commands: BTreeMap<Ticket, oneshot::Sender<CommandAnswer>>,
    /// Operators of this node whose change sets the peer commits, and those of the peer.
    pub carried: CarriedSets,
    /// Bounds what waits, with the callers of this node.
    pub admission: Arc<Admission>,
}

struct Commit {
    answer: oneshot::Sender<CommitAnswer>,
    /// The change set, until a batch takes it.
    changes: Option<ChangeSet>,
    /// Counts against the admission bounds until the commit is answered.
    _permit: AdmissionPermit,
}

impl Callers {
    /// Nobody waits yet.
    pub fn new(admission: &Arc<Admission>) -> Self {
        let (commits, commands) = (BTreeMap::new(), BTreeMap::new());
        Self { commits, commands, carried: CarriedSets::default(), admission: Arc::clone(admission) }
    }

    /// A caller that commits.
    pub fn add_commit(
        &mut self,
        ticket: Ticket,
        changes: ChangeSet,
        permit: AdmissionPermit,
        answer: oneshot::Sender<CommitAnswer>,
    ) {
        self.commits.insert(ticket, Commit { answer, changes: Some(changes), _permit: permit });
    }

    /// A caller that gave a command.
    pub fn add_command(&mut self, ticket: Ticket, answer: oneshot::Sender<CommandAnswer>) {
        self.commands.insert(ticket, answer);
    }

    /// The change set of this caller; `None` where there is none, or it was taken before.
    pub fn take_changes(&mut self, ticket: Ticket) -> Option<ChangeSet> {
        self.commits.get_mut(&ticket)?.changes.take()
    }

    /// Answers a commit. Nothing happens where the caller's future was dropped: what it asked for stands.
    pub fn answer_commit(&mut self, ticket: Ticket, answer: CommitAnswer) {
        if let Some(commit) = self.commits.remove(&ticket) {
            let _ = commit.answer.send(answer);
        }
    }

    /// Answers a command. Nothing happens where the caller's future was dropped: what it asked for stands.
    pub fn answer_command(&mut self, ticket: Ticket, answer: CommandAnswer) {
        if let Some(caller) = self.commands.remove(&ticket) {
            let _ = caller.send(answer);
        }
    }
}
