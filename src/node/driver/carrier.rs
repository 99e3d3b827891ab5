//! Change sets that an operator of the shadow carries to the master over the link, and their answers.
//!
//! The engine knows nothing of it: on the master a carried change set is a caller's commit.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::event_loop::Driver;
use crate::model::ChangeSet;
use crate::model::limits::CARRIED_PART_BYTES;
use crate::protocol::engine::{CommitAnswer, CommitRefusal, Event, LinkId};
use crate::protocol::wire::{
    Carried, CarriedOutcome, decode_carried, decode_change_set, encode_carried, encode_change_set,
};

impl Driver {
    /// Carries a change set to the master. The answer is dropped where there is no way to it.
    pub(super) fn on_carry(&mut self, changes: &ChangeSet, answer: oneshot::Sender<CarriedOutcome>) {
        let Some(encoded) = encode_change_set(changes) else { return };
        let Some(link) = self.links.iter().rev().find(|(_, link)| link.carries()).map(|(id, _)| *id) else { return };
        let id = self.number();
        let parts = encoded.len().div_ceil(CARRIED_PART_BYTES);
        let frames = (0..parts).map(|number| {
            let bytes =
                encoded.slice(number * CARRIED_PART_BYTES..encoded.len().min((number + 1) * CARRIED_PART_BYTES));
            encode_carried(&Carried::Part { id, last: number + 1 == parts, bytes })
        });
        let frames: Result<Vec<Bytes>, _> = frames.collect();
        let (Some(open), Ok(frames)) = (self.links.get(&link), frames) else { return };
        self.callers.carried.sent(link, id, answer);
        self.context.spawn(open.carry(frames));
    }

    /// A frame of carried change sets came.
    pub(super) fn on_carried(&mut self, link: LinkId, payload: Bytes) {
        let taken = match decode_carried(payload) {
            Ok(Carried::Answer { id, outcome }) => {
                return self.callers.carried.answer(id, outcome);
            }
            Ok(Carried::Part { id, last, bytes }) => {
                self.callers.carried.add(link, id, last, &bytes).map(|whole| whole.map(|whole| (id, whole)))
            }
            Err(_) => Err("a carried change set that does not decode"),
        };
        match taken {
            Ok(None) => {}
            Ok(Some((id, encoded))) => match decode_change_set(&encoded) {
                Ok(changes) if changes.check().is_ok() => self.commit_carried(link, id, changes),
                _ => self.handle(Event::Malformed { link, what: "it carries what is no change set".into() }),
            },
            Err(what) => self.handle(Event::Malformed { link, what: what.into() }),
        }
    }

    fn commit_carried(&mut self, link: LinkId, id: u64, changes: ChangeSet) {
        let Some(answers) = self.links.get(&link).map(|open| open.answers()) else { return };
        let (answer, answered) = oneshot::channel();
        match self.callers.admission.admit(changes.bytes()) {
            Some(permit) => self.on_commit(changes, permit, answer),
            None => drop(answer.send(Err(CommitRefusal::Blocked))),
        }
        self.context.spawn(async move {
            let outcome = answered.await.map_or(CarriedOutcome::Refused, outcome_of);
            if let Ok(frame) = encode_carried(&Carried::Answer { id, outcome }) {
                // An error means that the link is gone, and the peer knows that it has no answer.
                let _ = answers.try_send(frame);
            }
        });
    }
}

fn outcome_of(answer: CommitAnswer) -> CarriedOutcome {
    match answer {
        Ok(committed) => CarriedOutcome::Committed { revision: committed.revision, replicated: committed.replicated },
        Err(CommitRefusal::Guard(crate::model::Conflict::Key { key })) => CarriedOutcome::Conflict { key },
        Err(CommitRefusal::InDoubt { revision }) => CarriedOutcome::InDoubt { revision },
        Err(CommitRefusal::NotMaster { .. }) => CarriedOutcome::NotMaster,
        Err(CommitRefusal::Blocked) => CarriedOutcome::Overloaded,
        Err(CommitRefusal::DiskFull) => CarriedOutcome::DiskFull,
        Err(_) => CarriedOutcome::Refused,
    }
}
