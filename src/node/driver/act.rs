//! What the engine wants done.

use std::cell::RefCell;
use std::time::Duration;

use super::super::dial::dial;
use super::super::inbox::{Alarm, Input};
use super::super::link::LinkError;
use super::super::push::Push;
use super::{Caller, Driver, Ending};
use crate::protocol::engine::{
    Action, Authority, BulkId, CommandAnswer, CommitAnswer, CommitRefusal, Committed, EnrolVerdict, Event, LinkId,
    Moment, Ticket, WitnessQuestion, Work,
};

impl Driver {
    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Persist(work) => self.persist(work),
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
            Action::AnswerCommit { ticket, answer } => self.answer_commit(ticket, answer),
            Action::AnswerCommand { ticket, answer } => self.answer_command(ticket, answer),
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

    fn persist(&mut self, work: Work) {
        let mut shares = Vec::new();
        let (callers, shelf) = (&mut self.callers, RefCell::new((&mut self.shelf, &mut shares)));
        let bulk = |bulk: BulkId| {
            let (shelf, shares) = &mut *shelf.borrow_mut();
            let (bytes, share) = shelf.remove(&bulk)?;
            shares.push(share);
            Some(bytes)
        };
        let work = match work.resolve(|ticket| callers.get_mut(&ticket)?.take_change_set(), bulk, bulk) {
            Ok(work) => work,
            Err(failed) => {
                tracing::error!(failure = ?failed.failure(), "a batch cannot be carried out");
                return self.backlog.push_back(Event::Persisted(failed));
            }
        };
        let (keeper, inputs) = (self.tools.keeper.clone(), self.tools.links.inputs.clone());
        self.spawn(async move {
            let completed = keeper.carry_out(work).await;
            // What was received counts against its link until it is stored.
            drop(shares);
            drop(inputs.send(Input::Persisted(completed)).await);
        });
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

    fn answer_commit(&mut self, ticket: Ticket, answer: CommitAnswer) {
        let Some(Caller::Commit { answer: caller, .. }) = self.callers.remove(&ticket) else { return };
        let answer = under(self.engine.authority(), self.tools.environment.clock.now(), answer);
        // An error means that the caller's future was dropped; what it asked for stands.
        let _ = caller.send(answer);
    }

    fn answer_command(&mut self, ticket: Ticket, answer: CommandAnswer) {
        if let Some(Caller::Command(caller)) = self.callers.remove(&ticket) {
            // An error means that the caller's future was dropped; what it asked for stands.
            let _ = caller.send(answer);
        }
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
fn under(authority: Authority, now: Moment, answer: CommitAnswer) -> CommitAnswer {
    match answer {
        Ok(Committed { revision, .. }) if !authority.serving || now > authority.until => {
            Err(CommitRefusal::InDoubt { revision })
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Revision};

    #[test]
    fn nothing_is_acknowledged_outside_of_the_cover() {
        let revision = Revision::new(Epoch::FIRST, 7);
        let committed = || Ok(Committed { revision, replicated: true });
        let in_doubt = Err(CommitRefusal::InDoubt { revision });
        let cover = |serving| Authority { serving, until: Moment(100) };
        assert_eq!(under(cover(true), Moment(100), committed()), committed());
        assert_eq!(under(cover(true), Moment(101), committed()), in_doubt);
        assert_eq!(under(cover(false), Moment(1), committed()), in_doubt);
        // What acknowledges nothing is not held back.
        let refused = || Err(CommitRefusal::Overloaded);
        assert_eq!(under(cover(false), Moment(101), refused()), refused());
    }
}
