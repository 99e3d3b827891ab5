//! Asks the witness: one question at a time. What is known of its register is [`Register`].
//!
//! | | `ask` | answered | no answer in time | another number |
//! |---|---|---|---|---|
//! | idle | asked | ignored | ignored | ignored |
//! | asked | refused by the engine | idle | idle | ignored |

use super::Moment;
use crate::model::WitnessRecord;
use crate::protocol::failover::{Flaw, Register};

/// Questions to the witness, and what came of them.
#[derive(Clone, Debug)]
pub(in super::super) struct WitnessClient {
    register: Register,
    asked: Option<Asked>,
    last_ask: u64,
    asked_at: Option<Moment>,
    /// Asks again without waiting for the interval.
    at_once: bool,
    /// An answer, or none in time, came since this node began to ask for mastership.
    consulted: bool,
    /// What an alert says of the witness.
    reported: Option<WitnessTrouble>,
    /// Since when the record names another master than the one that this shadow follows, or none.
    names_another_since: Option<Moment>,
}

/// A question under way.
#[derive(Clone, Debug)]
pub(in super::super) struct Asked {
    ask: u64,
    pub(in super::super) at: Moment,
    /// The era of this run in which it was asked.
    pub(in super::super) era: u64,
    pub(in super::super) question: Question,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(in super::super) enum Question {
    /// What is the value?
    Read,
    /// A renewal of the lease.
    Renewal(Box<WitnessRecord>),
    /// A takeover.
    Takeover(Box<WitnessRecord>),
    /// A planned switch of roles.
    HandOver(Box<WitnessRecord>),
}

/// What is wrong with the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum WitnessTrouble {
    /// It does not answer.
    Unreachable,
    /// It can be read and not written.
    Unwritable,
    /// It does not name the master that this shadow follows.
    NamesAnother,
    /// Its value is none to go on from.
    Flawed(Flaw),
}

impl Default for WitnessClient {
    fn default() -> Self {
        Self {
            register: Register::default(),
            asked: None,
            last_ask: 0,
            asked_at: None,
            at_once: true,
            consulted: false,
            reported: None,
            names_another_since: None,
        }
    }
}

impl WitnessClient {
    pub(in super::super) fn register(&self) -> &Register {
        &self.register
    }

    pub(in super::super) fn register_mut(&mut self) -> &mut Register {
        &mut self.register
    }

    /// Asks as soon as nothing is under way.
    pub(in super::super) fn ask_soon(&mut self) {
        self.at_once = true;
    }

    pub(in super::super) fn asks_at_once(&self) -> bool {
        self.at_once
    }

    pub(in super::super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// When the last question was asked.
    pub(in super::super) fn asked_at(&self) -> Option<Moment> {
        self.asked_at
    }

    /// Numbers a question that is asked now.
    pub(in super::super) fn ask(&mut self, at: Moment, era: u64, question: Question) -> u64 {
        self.last_ask += 1;
        self.asked = Some(Asked { ask: self.last_ask, at, era, question });
        self.asked_at = Some(at);
        self.at_once = false;
        self.last_ask
    }

    /// The question of this number was answered, or was not in time.
    pub(in super::super) fn answered(&mut self, ask: u64) -> Option<Asked> {
        let asked = self.asked.take_if(|asked| asked.ask == ask)?;
        self.consulted = true;
        Some(asked)
    }

    /// Whether the witness was asked since this node began to ask for mastership.
    pub(in super::super) fn is_consulted(&self) -> bool {
        self.consulted
    }

    /// This node begins to ask for mastership: the witness is asked anew as well.
    pub(in super::super) fn consult_anew(&mut self) {
        self.consulted = false;
        self.register.watch_anew();
    }

    pub(in super::super) fn reported(&self) -> Option<WitnessTrouble> {
        self.reported
    }

    /// Notes what an alert says from now on. Returns what it said before, where that is another thing.
    pub(in super::super) fn report(&mut self, trouble: Option<WitnessTrouble>) -> Option<Option<WitnessTrouble>> {
        (self.reported != trouble).then(|| std::mem::replace(&mut self.reported, trouble))
    }

    pub(in super::super) fn names_another_since(&self) -> Option<Moment> {
        self.names_another_since
    }

    /// Whether the record names another master than the one that is followed; `None` where that is not known now.
    pub(in super::super) fn note_named(&mut self, names_another: Option<bool>, at: Moment) {
        match names_another {
            Some(false) => self.names_another_since = None,
            Some(true) => {
                self.names_another_since.get_or_insert(at);
            }
            None => {}
        }
    }
}
