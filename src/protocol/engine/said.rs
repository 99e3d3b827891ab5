//! What operators and guests want changed in the facts. Until it is durable it is as if it had never been said: it is
//! written with the facts and adopted on their receipt, and where they could not be written nothing has to be undone.

use super::{
    Action, AlertChange, Answer, DiskFailure, Engine, EnrolVerdict, Facts, Mutant, Notice, Now, Peer, Refused, Ticket,
    TokenFacts,
};
use crate::model::Revision;
use crate::model::limits::WORDS_WAITING_MAX;
use crate::protocol::alerts::{Alert, Book};
use crate::protocol::wire::Role;

/// A change of the facts.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// Whether a shadow may be enrolled.
    Enabled(bool),
    /// A join token lives.
    Token(TokenFacts),
    /// The pairing is forgotten.
    Forgotten,
    /// An alert was seen, as often as it had been raised then.
    Seen { alert: u64, count: u64 },
    /// A peer is enrolled, and its token used up.
    Enrolled { peer: Peer, token: Option<TokenFacts> },
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    /// An operator.
    Operator(Ticket),
    /// A node that enrols.
    Guest(u64),
}

/// What was said and is not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    waiting: Vec<(By, Word)>,
    /// In the batch in flight.
    written: Vec<(By, Word)>,
    /// Not in force, and perhaps on a disk that failed: refused once the facts are written without it.
    doubtful: Vec<By>,
    /// What that disk said.
    reason: String,
}

impl Words {
    /// Whether the pairing is about to be forgotten: nothing may begin with the peer any more.
    pub(super) fn forget(&self) -> bool {
        self.written.iter().chain(&self.waiting).any(|(_, word)| matches!(word, Word::Forgotten))
    }
}

impl Word {
    /// Changes the facts, and returns what changed in the alert book.
    fn apply(&self, facts: &mut Facts, book: &mut Book) -> Vec<(AlertChange, Alert)> {
        match self {
            Self::Enabled(enabled) => {
                facts.enabled = *enabled;
                if !enabled {
                    facts.tokens.clear();
                }
            }
            Self::Token(token) => facts.tokens.push(token.clone()),
            Self::Forgotten => {
                facts.peer = None;
                facts.tokens.clear();
                facts.detached = facts.role == Role::Shadow;
                return book.forget().into_iter().map(|alert| (AlertChange::Cleared, alert)).collect();
            }
            // What was raised again meanwhile has not been seen.
            Self::Seen { alert, count } => {
                let same = book.alerts().iter().any(|standing| standing.id == *alert && standing.count == *count);
                let seen = if same { book.acknowledge(*alert) } else { None };
                return seen.into_iter().collect();
            }
            Self::Enrolled { peer, token } => {
                if facts.peer.is_none() {
                    facts.tokens.retain(|alive| Some(alive) != token.as_ref());
                    facts.peer = Some(Peer { confirmed: Revision::NONE, ..peer.clone() });
                }
            }
        }
        Vec::new()
    }
}

impl By {
    fn done(self) -> Action {
        match self {
            Self::Operator(ticket) => Action::Answer { ticket, answer: Answer::Done },
            Self::Guest(ask) => Action::AnswerEnrol { ask, verdict: EnrolVerdict::Stored },
        }
    }

    fn refused(self, refused: Refused) -> Action {
        match self {
            Self::Operator(ticket) => Action::Answer { ticket, answer: Answer::Refused(refused) },
            Self::Guest(ask) => Action::AnswerEnrol { ask, verdict: EnrolVerdict::Refused { kind: "disk" } },
        }
    }
}

impl Engine {
    /// Takes a change of the facts that is right on the ground of [`Engine::expected`]; answered once it is durable.
    pub(super) fn say(&mut self, by: By, word: Word) {
        if self.words.waiting.len() >= WORDS_WAITING_MAX {
            return self.out.push(by.refused(Refused::Overloaded));
        }
        self.words.waiting.push((by, word));
        self.facts_changed();
    }

    /// The facts as they will be when everything that was said is durable.
    pub(super) fn expected(&self) -> (Facts, Book) {
        let (mut facts, mut book) = (self.facts.clone(), self.book.clone());
        for (_, word) in self.words.written.iter().chain(&self.words.waiting) {
            word.apply(&mut facts, &mut book);
        }
        (facts, book)
    }

    /// The facts with everything that was said, for the batch that makes it durable.
    pub(super) fn facts_with_words(&mut self) -> Facts {
        let (facts, book) = self.expected();
        self.words.written.append(&mut self.words.waiting);
        Facts { alerts: book.alerts().to_vec(), next_alert: book.next(), ..facts }
    }

    /// What was said is durable: it is in force from now on.
    pub(super) fn words_durable(&mut self, now: Now) {
        for (by, word) in std::mem::take(&mut self.words.written) {
            let known = self.facts.peer.is_some();
            for (change, alert) in word.apply(&mut self.facts, &mut self.book) {
                self.out.push(Action::Notify(Notice::Alert { change, alert }));
            }
            match word {
                Word::Forgotten => {
                    self.ask_witness_soon();
                    self.links.forget_peer();
                    self.troubles_of_new_peer();
                }
                Word::Enrolled { .. } if !known => {
                    self.peer_is_new();
                    self.troubles_of_new_peer();
                    self.links.new_peer(now.at);
                }
                _ => {}
            }
            self.out.push(by.done());
        }
    }

    /// The facts are durable as they are in memory: of what was said to a failed disk nothing is left.
    pub(super) fn words_undone(&mut self) {
        for by in std::mem::take(&mut self.words.doubtful) {
            let refused = Refused::Disk { reason: self.words.reason.clone() };
            self.out.push(by.refused(refused));
        }
    }

    /// The disk failed again, or is not waited for: whoever was not answered yet is told that nobody knows.
    pub(super) fn words_in_doubt(&mut self) {
        for by in std::mem::take(&mut self.words.doubtful) {
            let refused = Refused::FactInDoubt { reason: self.words.reason.clone() };
            self.out.push(by.refused(refused));
        }
    }

    /// The facts could not be written. What was said after what failed was said on its ground, and is refused with it.
    pub(super) fn words_failed(&mut self, failure: &DiskFailure) {
        let mut refused = std::mem::take(&mut self.words.written);
        refused.append(&mut self.words.waiting);
        if self.makes(Mutant::KeepsRefusedFact) {
            for (_, word) in &refused {
                word.apply(&mut self.facts, &mut self.book);
            }
        }
        let by = refused.into_iter().map(|(by, _)| by);
        if failure.full {
            self.out.extend(by.map(|by| by.refused(Refused::DiskFull)));
        } else {
            self.words.doubtful.extend(by);
            self.words.reason.clone_from(&failure.reason);
        }
    }

    /// What waits is not going to be written.
    pub(super) fn refuse_words(&mut self, refused: &Refused) {
        for (by, _) in std::mem::take(&mut self.words.waiting) {
            self.out.push(by.refused(refused.clone()));
        }
    }
}
