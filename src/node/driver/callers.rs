//! Callers that wait for an answer.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::model::ChangeSet;
use crate::node::handles::admission::AdmissionPermit;
use crate::protocol::engine::{CommandAnswer, CommitAnswer, Ticket};

/// Callers that wait for an answer, by ticket.
#[derive(Default)]
pub struct Callers {
    commits: BTreeMap<Ticket, Commit>,
    commands: BTreeMap<Ticket, oneshot::Sender<CommandAnswer>>,
}

struct Commit {
    answer: oneshot::Sender<CommitAnswer>,
    /// The change set, until a batch takes it.
    changes: Option<ChangeSet>,
    /// Counts against the admission bounds until the commit is answered.
    _permit: AdmissionPermit,
}

impl Callers {
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
