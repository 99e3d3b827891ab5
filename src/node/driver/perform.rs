//! Performs the engine's actions.

use std::cell::RefCell;
use std::time::Duration;

use super::alarms::Alarm;
use super::event_loop::{Driver, Lifecycle};
use super::input::Input;
use super::notifier::logged;
use crate::model::Revision;
use crate::node::mutants::{Mutant, made};
use crate::node::network::dial::dial;
use crate::node::network::link::{Link, LinkError};
use crate::node::network::receive_budget::ReceivePermit;
use crate::node::offload::durable_work::StoreWork;
use crate::node::offload::pusher::Push;
use crate::node::offload::store_executor::Batch;
use crate::node::offload::tail::Tail;
use crate::node::offload::validated_work::persist_validated;
use crate::protocol::engine::{
    Action, Authority, BulkId, CommitAnswer, CommitRefusal, Committed, Completed, EnrolVerdict, Event, LinkId, Moment,
    WitnessQuestion, Work,
};
use crate::protocol::wire::{Bulk, Role};

impl Driver {
    pub(super) fn perform_action(&mut self, action: Action) {
        match action {
            Action::Persist(work) => self.persist(work),
            Action::Publish { upto } => {
                let reader = &self.context.reader;
                self.notifier.changed(reader.publish(upto), || reader.snapshot().entries());
                if self.engine.durable_state().role == Role::Shadow {
                    self.context.store.note_shown();
                }
            }
            Action::Confirm { upto } => self.context.reader.confirm(upto),
            Action::Send { link, message } => self.on_link(link, |open| open.send(&message)),
            Action::PushRecords { link, after, upto, durable, max_bytes } => {
                self.push_records(link, (after, upto), durable, max_bytes);
            }
            Action::OpenSnapshot { transfer, withheld } => self.open_snapshot(transfer, withheld),
            Action::ResumeSnapshot { transfer, point } => self.context.links.pusher.resume(transfer, *point),
            Action::CompareSnapshot { transfer, buckets } => self.context.links.pusher.compare(transfer, buckets),
            Action::SelectSnapshot { transfer, wants } => self.context.links.pusher.select(transfer, wants),
            Action::PushSnapshot { link, transfer, max_bytes } => {
                self.on_link(link, |open| open.push(Push::Snapshot { transfer, max_bytes }));
            }
            Action::CloseSnapshot { transfer } => self.context.links.pusher.close(transfer),
            Action::DropBulk { bulk } => drop(self.received.take(bulk)),
            Action::Close { link } => {
                if let Some(open) = self.remove_link(link) {
                    open.close();
                }
            }
            Action::Dial { address, within } => self.dial(address, within),
            Action::AnswerCommit { ticket, answer } => {
                let now = self.context.environment.clock.now();
                self.callers.answer_commit(ticket, if_authorised(self.engine.authority(), now, answer));
            }
            Action::AnswerCommand { ticket, answer } => self.callers.answer_command(ticket, answer),
            Action::AnswerEnrol { ask, verdict } => self.answer_enrol(ask, verdict),
            Action::AskMayTakeOver { question } => self.ask_may_take_over(question),
            Action::AskWitness { ask, question } => self.ask_witness(ask, question),
            Action::SetTimer { at } => self.alarms.set(Alarm::Engine, at),
            Action::Notify(notice) => {
                let peer = self.engine.durable_state().peer.as_ref().map(|peer| peer.address.clone());
                self.notifier.notify(notice, peer);
            }
            Action::MakeKey => {
                let identity = self.context.identity.clone();
                self.report(async move { Event::KeyMade(identity.make().await) });
            }
            Action::UseKey { key } => {
                let identity = self.context.identity.clone();
                self.report(async move { Event::KeyUsed(identity.use_next(key).await) });
            }
            Action::Stop => self.lifecycle = Lifecycle::Stopped,
        }
    }

    /// Drops a link that cannot take what it is given.
    fn on_link(&mut self, link: LinkId, act: impl FnOnce(&Link) -> Result<(), LinkError>) {
        let Some(open) = self.links.get(&link) else { return };
        if let Err(error) = act(open) {
            self.drop_link(link, &error.to_string());
        }
    }

    /// Closes a link. The engine hears of it after these actions.
    pub(super) fn drop_link(&mut self, link: LinkId, reason: &str) {
        logged(|| tracing::warn!(reason, "a link is closed"));
        if self.remove_link(link).is_some() {
            self.backlog.push_back(Event::LinkDown { link, reason: reason.to_owned() });
        }
    }

    /// Takes a link out. What was carried over it is not answered any more.
    pub(super) fn remove_link(&mut self, link: LinkId) -> Option<Link> {
        self.callers.carried.forget(link);
        self.links.remove(&link)
    }

    fn persist(&mut self, work: Work) {
        let (work, permits) = match self.resolve(work) {
            Ok(resolved) => resolved,
            Err(failed) => {
                logged(|| tracing::error!(failure = ?failed.failure(), "a batch cannot be executed"));
                return self.backlog.push_back(Event::Persisted(*failed));
            }
        };
        let batch = Batch { work, permits, links_wait: !self.links.is_empty() };
        let (store, hooks) = (&self.context.store, &self.context.hooks);
        match hooks.is_set() {
            true => self.context.spawn(persist_validated(store.clone(), batch, hooks.clone())),
            false => store.persist(batch),
        }
    }

    /// Adds the change sets and bytes that the work names by id.
    fn resolve(&mut self, work: Work) -> Result<(StoreWork, Vec<ReceivePermit>), Box<Completed>> {
        let mut permits = Vec::new();
        // Both kinds of bulk come from the same place, and each kind has its closure.
        let received = RefCell::new((&mut self.received, &mut permits));
        let take_bulk = |bulk: BulkId| {
            let (received, permits) = &mut *received.borrow_mut();
            let (piece, permit) = received.take(bulk)?;
            permits.push(permit);
            Some(piece)
        };
        let (callers, reader) = (&mut self.callers, &self.context.reader);
        let mut early = 0;
        let take_changes = |ticket| {
            let changes = callers.take_changes(ticket);
            if made(Mutant::AnswerBeforeCompletion) {
                early += 1;
                let head = reader.snapshot().revision();
                let revision = Revision::new(head.epoch, head.seq + early);
                callers.answer_commit(ticket, Ok(Committed { revision, replicated: false }));
            }
            changes
        };
        let work = work.resolve(take_changes, |bulk| take_bulk(bulk).map(|piece| piece.bytes), take_bulk)?;
        Ok((work, permits))
    }

    /// Sends records: at once where they are those of the newest group, else when they have been read.
    fn push_records(&mut self, link: LinkId, (after, upto): (Revision, Revision), durable: Revision, max_bytes: usize) {
        let fits = |tail: &mut Tail| tail.after == after && tail.last == upto && tail.bytes.len() <= max_bytes;
        let Some(Tail { last, bytes, .. }) = self.tail.take_if(fits) else {
            // What is read may go in parts, so it must not come from memory as well.
            self.tail.take_if(|tail| tail.after == after);
            return self.on_link(link, |open| open.push(Push::Records { after, upto, durable, max_bytes }));
        };
        let what = Bulk::Records { after, last, durable };
        let event = Event::RecordsPushed { link, last, bytes: bytes.len(), gone: false };
        if self.links.get(&link).is_some_and(|open| open.push_now(&what, bytes.clone())) {
            return self.backlog.push_back(event);
        }
        // Behind what the link has still to write.
        self.on_link(link, |open| open.push(Push::Here { what, bytes, event }));
    }

    fn open_snapshot(&self, transfer: u64, withheld: bool) {
        let (pusher, inputs) = (self.context.links.pusher.clone(), self.context.links.inputs.clone());
        pusher.announce(transfer);
        self.context.spawn(async move {
            if let Some(event) = pusher.open(transfer, withheld).await {
                drop(inputs.send(Input::Engine(event)).await);
            }
        });
    }

    fn dial(&self, address: String, within: Duration) {
        let mut addresses = vec![address];
        addresses.extend(self.context.master_address.clone());
        addresses.retain(|address| !address.is_empty());
        addresses.dedup();
        let (environment, tls) = (self.context.environment.clone(), self.context.tls.clone());
        let book = self.context.addresses.clone();
        let inputs = self.context.links.inputs.clone();
        self.context.spawn(async move {
            let outcome = dial(environment, tls, book, addresses, within).await;
            drop(inputs.send(Input::Dialled(outcome)).await);
        });
    }

    fn answer_enrol(&mut self, ask: u64, verdict: EnrolVerdict) {
        let last = !matches!(verdict, EnrolVerdict::Accepted { .. });
        if let Some(enrolling) = self.enrolments.get(&ask) {
            // There is room for all verdicts. An error means that the shadow is gone.
            let _ = enrolling.verdicts.try_send(verdict);
        }
        if last {
            self.enrolments.remove(&ask);
        }
    }

    fn ask_may_take_over(&self, question: u64) {
        let hooks = self.context.hooks.clone();
        self.report(async move {
            let answer = hooks.may_take_over().await;
            let (allowed, reason) = (answer.is_ok(), answer.err().unwrap_or_default());
            Event::HostAnswered { question, allowed, reason }
        });
    }

    /// Does this beside the driver, and tells the engine what came of it. It ends with the driver.
    fn report(&self, work: impl Future<Output = Event> + Send + 'static) {
        let inputs = self.context.links.inputs.clone();
        self.context.spawn(async move {
            let event = work.await;
            drop(inputs.send(Input::Engine(event)).await);
        });
    }

    /// The question ends with the driver, whatever the back end still does.
    fn ask_witness(&self, ask: u64, question: WitnessQuestion) {
        let witness = self.context.witness.clone();
        self.report(async move { Event::WitnessAnswered { ask, answer: witness.ask(question).await } });
    }
}

/// Acknowledges a change set only under an authority that holds at this moment. It may have ended since the engine decided:
/// the process may have been stopped, or a later event of the same turn may have ended the mastership.
fn if_authorised(authority: Authority, now: Moment, answer: CommitAnswer) -> CommitAnswer {
    match answer {
        _ if made(Mutant::AnswerWithoutAuthority) => answer,
        Ok(Committed { revision, .. }) if !authority.serving || now > authority.until => {
            Err(CommitRefusal::InDoubt { revision })
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    #[test]
    fn nothing_is_acknowledged_without_authority() {
        let revision = Revision::new(Epoch::FIRST, 7);
        let committed = || Ok(Committed { revision, replicated: true });
        let in_doubt = Err(CommitRefusal::InDoubt { revision });
        let authority = |serving| Authority { serving, until: Moment(100) };
        assert_eq!(if_authorised(authority(true), Moment(100), committed()), committed());
        assert_eq!(if_authorised(authority(true), Moment(101), committed()), in_doubt);
        assert_eq!(if_authorised(authority(false), Moment(1), committed()), in_doubt);
        // What acknowledges nothing is not held back.
        let refused = || Err(CommitRefusal::DiskFull);
        assert_eq!(if_authorised(authority(false), Moment(101), refused()), refused());
    }
}
