//! Everything that wakes the driver, in one closed enum, and the clock that does.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::dial::DialFailure;
use super::enrol::Ask;
use super::link::{Connection, Share};
use super::listener::Pin;
use super::seam::{BoxFuture, Clock};
use super::shared::Request;
use crate::protocol::engine::{Completed, DiskFailure, Event, LinkId, Moment};
use crate::protocol::wire::{Bulk, Message};

/// What woke the driver.
pub enum Wake {
    /// An alarm is due.
    Alarm(Alarm),
    /// One of the node's own tasks has something to say.
    Input(Input),
    /// A caller wants something.
    Request(Request),
    /// The last handle was dropped.
    Abandoned,
}

/// What the node's own tasks say.
pub enum Input {
    /// What the engine is told as it is.
    Engine(Event),
    /// A control message came.
    Message { link: LinkId, message: Message },
    /// Bulk came.
    Bulk { link: LinkId, what: Bulk, bytes: Bytes, share: Share },
    /// A connection is gone.
    LinkDown { link: LinkId, reason: String },
    /// The dial that was asked for is over; it was checked against this pin.
    Dialled { outcome: Result<Connection, DialFailure>, pin: Pin },
    /// The peer dialled; it was checked against this pin.
    Accepted { connection: Connection, pin: Pin },
    /// A node asks to enrol.
    EnrolAsked(Ask),
    /// A batch is done.
    Persisted(Completed),
    /// Maintenance is done.
    Maintained(Result<(), DiskFailure>),
}

/// What the driver is woken for by time. One moment each; a later call replaces the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The engine's timer.
    Engine,
    /// It is time to look at the certificate.
    Certificate,
    /// A shutdown takes too long.
    Deadline,
}

/// The moments at which the driver wants to be woken.
pub struct Alarms {
    clock: Arc<dyn Clock>,
    due: [Option<Moment>; 3],
    /// A sleep that is under way, and until when. It may end before anything is due: alarms are often put off, and a
    /// sleep is made anew only where one was brought forward.
    sleep: Option<(Moment, BoxFuture<'static, ()>)>,
}

/// Where the driver waits.
pub struct Inbox {
    pub inputs: mpsc::Receiver<Input>,
    pub callers: mpsc::Receiver<Request>,
    /// Closed when the last handle is dropped.
    pub handles: Option<watch::Receiver<()>>,
}

impl Inbox {
    /// Waits for whatever comes first.
    pub async fn next(&mut self, alarms: &mut Alarms) -> Wake {
        tokio::select! {
            alarm = alarms.due() => Wake::Alarm(alarm),
            // Neither channel ends while the driver lives: it holds a sender of each.
            Some(input) = self.inputs.recv() => Wake::Input(input),
            Some(request) = self.callers.recv() => Wake::Request(request),
            () = abandoned(&mut self.handles) => Wake::Abandoned,
        }
    }

    /// What has come already: the node's own tasks and its callers in turn, so that neither starves the other.
    pub fn take(&mut self, callers_first: bool) -> Option<Wake> {
        let input = |inbox: &mut Self| inbox.inputs.try_recv().ok().map(Wake::Input);
        let request = |inbox: &mut Self| inbox.callers.try_recv().ok().map(Wake::Request);
        match callers_first {
            true => request(self).or_else(|| input(self)),
            false => input(self).or_else(|| request(self)),
        }
    }
}

async fn abandoned(handles: &mut Option<watch::Receiver<()>>) {
    match handles {
        // Nothing is ever sent: this returns when the last handle is gone.
        Some(held) => {
            drop(held.changed().await);
            *handles = None;
        }
        None => std::future::pending().await,
    }
}

impl Alarms {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, due: [None; 3], sleep: None }
    }

    /// Wakes the driver for this at that moment, whatever was set for it before.
    pub fn set(&mut self, alarm: Alarm, at: Moment) {
        self.due[alarm as usize] = Some(at);
    }

    /// What is due, once it is.
    async fn due(&mut self) -> Alarm {
        loop {
            let Some((at, alarm)) = self.first() else { return std::future::pending().await };
            if self.clock.now() >= at {
                self.due[alarm as usize] = None;
                return alarm;
            }
            if self.sleep.as_ref().is_none_or(|(until, _)| *until > at) {
                self.sleep = Some((at, self.clock.sleep_until(at)));
            }
            if let Some((_, sleep)) = &mut self.sleep {
                sleep.await;
            }
            self.sleep = None;
        }
    }

    fn first(&self) -> Option<(Moment, Alarm)> {
        let alarms = [Alarm::Engine, Alarm::Certificate, Alarm::Deadline];
        alarms.into_iter().filter_map(|alarm| self.due[alarm as usize].map(|at| (at, alarm))).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::seam::{Environment, later};
    use super::*;

    #[tokio::test]
    async fn alarms_are_put_off_and_brought_forward() {
        let clock = Environment::real().clock;
        let mut alarms = Alarms::new(Arc::clone(&clock));
        let start = clock.now();
        let at = |ms| later(start, Duration::from_millis(ms));
        alarms.set(Alarm::Certificate, at(60_000));
        alarms.set(Alarm::Engine, at(5));
        {
            // A wait that is given up keeps its sleep.
            let early = alarms.due();
            tokio::pin!(early);
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(early.as_mut().poll(cx).is_pending())).await);
        }
        alarms.set(Alarm::Engine, at(20));
        alarms.set(Alarm::Deadline, at(10));
        assert_eq!(alarms.due().await, Alarm::Deadline);
        assert!(clock.now() >= at(10));
        assert_eq!(alarms.due().await, Alarm::Engine);
        assert!(clock.now() >= at(20));
    }
}
