//! What the engine wants done.

use std::time::Duration;

use bytes::Bytes;

use super::super::dial::dial;
use super::super::inbox::{Alarm, Input};
use super::super::link::{LinkError, Share};
use super::super::persist::{Batch, Outcome};
use super::super::push::Push;
use super::{Driver, Ending};
use crate::model::{ChangeSet, Epoch};
use crate::protocol::engine::{
    Action, Answer, Authority, BatchId, BulkId, DiskFailure, EnrolVerdict, Event, LinkId, Moment, Refused, Ticket,
    WitnessQuestion, Work,
};

impl Driver {
    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Persist { batch, work } => self.persist(batch, work),
            Action::Publish { upto } => self.voice.changed(self.tools.reader.publish(upto)),
            Action::Confirm { upto } => self.tools.reader.confirm(upto),
            Action::Send { link, message } => self.on_link(link, |open| open.send(&message)),
            Action::PushRecords { link, after, durable, max_bytes } => {
                self.on_link(link, |open| open.push(Push::Records { after, durable, max_bytes }));
            }
            Action::OpenSnapshot { transfer } => self.open_snapshot(transfer),
            Action::PushSnapshot { link, transfer, max_bytes } => {
                self.on_link(link, |open| open.push(Push::Snapshot { transfer, max_bytes }));
            }
            Action::CloseSnapshot { transfer } => self.tools.links.pusher.close(transfer),
            Action::DropBulk { bulk } => drop(self.shelf.remove(&bulk)),
            Action::Close { link } => {
                if let Some(open) = self.links.remove(&link) {
                    open.close();
                }
            }
            Action::Dial { address, within } => self.dial(address, within),
            Action::Answer { ticket, answer } => self.answer(ticket, answer),
            Action::AnswerEnrol { ask, verdict } => self.answer_enrol(ask, verdict),
            Action::AskMayTakeOver { question } => self.ask_may_take_over(question),
            Action::AskWitness { ask, question } => self.ask_witness(ask, question),
            Action::SetTimer { at } => self.alarms.set(Alarm::Engine, at),
            Action::Notify(notice) => {
                let peer = self.engine.durable_state().peer.as_ref().map(|peer| peer.address.clone());
                self.voice.say(notice, peer);
            }
            Action::Stop => self.ending = Ending::Over,
        }
    }

    /// A link that cannot take what it is given is dropped, and the engine hears of it after these actions.
    fn on_link(&mut self, link: LinkId, act: impl FnOnce(&super::Link) -> Result<(), LinkError>) {
        let Some(open) = self.links.get(&link) else { return };
        if let Err(error) = act(open) {
            tracing::warn!(%error, "a link is closed");
            self.links.remove(&link);
            self.backlog.push_back(Event::LinkDown { link, reason: error.to_string() });
        }
    }

    fn persist(&mut self, batch: BatchId, work: Work) {
        let (batch_work, shares) = match self.gather(work) {
            Ok(gathered) => gathered,
            Err(reason) => {
                tracing::error!(reason, "a batch cannot be carried out");
                let result = Err(DiskFailure { full: false, reason: reason.into() });
                return self.backlog.push_back(Event::Persisted { batch, result });
            }
        };
        let (keeper, inputs) = (self.tools.keeper.clone(), self.tools.links.inputs.clone());
        self.spawn(async move {
            let outcome: Outcome = keeper.carry_out(batch_work).await;
            // What was received counts against its link until it is stored.
            drop(shares);
            drop(inputs.send(Input::Persisted { batch, outcome }).await);
        });
    }

    /// A batch with the bytes and change sets that it names.
    fn gather(&mut self, work: Work) -> Result<(Batch, Vec<Share>), &'static str> {
        let batch = match work {
            Work::DurableState(durable_state) => Batch::DurableState(durable_state),
            Work::Commits { tickets, epoch } => self.gather_commits(tickets, epoch)?,
            Work::Era { durable_state, era } => Batch::Era { durable_state, era },
            Work::Records { bulk } => {
                let (pieces, shares) = self.gather_bulk(bulk)?;
                return Ok((Batch::Records(pieces), shares));
            }
            Work::StageBegin(header) => Batch::StageBegin(header),
            Work::Stage { bulk } => {
                let (pieces, shares) = self.gather_bulk(bulk)?;
                return Ok((Batch::Stage(pieces), shares));
            }
            Work::StageFinish => Batch::StageFinish,
            Work::Quarantine { common } => Batch::Quarantine { common },
            Work::Reopen => Batch::Reopen,
        };
        Ok((batch, Vec::new()))
    }

    fn gather_commits(&mut self, tickets: Vec<Ticket>, epoch: Epoch) -> Result<Batch, &'static str> {
        let take = |ticket: &Ticket| -> Option<ChangeSet> {
            let caller = self.callers.get_mut(ticket)?;
            let (changes, place) = caller.commit.take()?;
            caller.place = Some(place);
            Some(changes)
        };
        let change_sets = tickets.iter().map(take).collect::<Option<Vec<_>>>();
        let change_sets = change_sets.ok_or("the engine names a change set that is not waiting")?;
        Ok(Batch::Commits { tickets, change_sets, epoch })
    }

    fn gather_bulk(&mut self, bulk: Vec<BulkId>) -> Result<(Vec<Bytes>, Vec<Share>), &'static str> {
        let pieces = bulk.iter().map(|bulk| self.shelf.remove(bulk)).collect::<Option<Vec<_>>>();
        Ok(pieces.ok_or("the engine names bulk that is not here")?.into_iter().unzip())
    }

    fn open_snapshot(&self, transfer: u64) {
        let (pusher, inputs) = (self.tools.links.pusher.clone(), self.tools.links.inputs.clone());
        pusher.announce(transfer);
        self.spawn(async move {
            if let Some(event) = pusher.open(transfer).await {
                drop(inputs.send(Input::Engine(event)).await);
            }
        });
    }

    fn dial(&self, address: String, within: Duration) {
        let mut addresses = vec![address];
        addresses.extend(self.tools.master_address.clone());
        addresses.retain(|address| !address.is_empty());
        addresses.dedup();
        let (environment, tls) = (self.tools.environment.clone(), self.tools.tls.clone());
        let (inputs, pin) = (self.tools.links.inputs.clone(), self.tools.porch.pins.get());
        self.spawn(async move {
            let outcome = dial(environment, tls, addresses, within).await;
            drop(inputs.send(Input::Dialled { outcome, pin }).await);
        });
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(caller) = self.callers.remove(&ticket) else { return };
        let answer = under(self.engine.authority(), self.tools.environment.clock.now(), answer);
        // An error means that the caller's future was dropped; what it asked for stands.
        let _ = caller.answer.send(answer);
    }

    fn answer_enrol(&mut self, ask: u64, verdict: EnrolVerdict) {
        let last = !matches!(verdict, EnrolVerdict::Accepted { .. });
        if let Some(verdicts) = self.asks.get(&ask) {
            // Room for all there are; an error means that the guest is gone.
            let _ = verdicts.try_send(verdict);
        }
        if last {
            self.asks.remove(&ask);
        }
    }

    fn ask_may_take_over(&self, question: u64) {
        let (host, inputs) = (self.tools.host.clone(), self.tools.links.inputs.clone());
        self.spawn(async move {
            let answer = host.may_take_over().await;
            let (allowed, reason) = (answer.is_ok(), answer.err().unwrap_or_default());
            drop(inputs.send(Input::Engine(Event::HostAnswered { question, allowed, reason })).await);
        });
    }

    /// Given up with the driver; whatever the back end still does is nobody's.
    fn ask_witness(&self, ask: u64, question: WitnessQuestion) {
        let (vote, inputs) = (self.tools.vote.clone(), self.tools.links.inputs.clone());
        self.spawn(async move {
            let answer = vote.ask(question).await;
            drop(inputs.send(Input::Engine(Event::WitnessAnswered { ask, answer })).await);
        });
    }
}

/// A change set is acknowledged only under a cover that lasts at this very moment, one that was withheld too: the process may
/// have been stopped since the engine decided, or what came after in the same turn may have ended the mastership.
fn under(cover: Authority, now: Moment, answer: Answer) -> Answer {
    match answer {
        Answer::Committed { revision, .. } if !cover.serving || now > cover.until => {
            Answer::Refused(Refused::InDoubt { revision })
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    #[test]
    fn nothing_is_acknowledged_outside_of_the_cover() {
        let revision = Revision::new(Epoch::FIRST, 7);
        let committed = || Answer::Committed { revision, replicated: true };
        let in_doubt = Answer::Refused(Refused::InDoubt { revision });
        let cover = |serving| Authority { serving, until: Moment(100) };
        assert_eq!(under(cover(true), Moment(100), committed()), committed());
        assert_eq!(under(cover(true), Moment(101), committed()), in_doubt);
        assert_eq!(under(cover(false), Moment(1), committed()), in_doubt);
        // What acknowledges nothing is not held back.
        for answer in [Answer::Done, Answer::Refused(Refused::Overloaded)] {
            assert_eq!(under(cover(false), Moment(101), answer.clone()), answer);
        }
    }
}
