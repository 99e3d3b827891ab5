//! The moments at which the driver wants to be woken.

use std::sync::Arc;

use crate::node::environment::{BoxFuture, Clock};
use crate::protocol::engine::Moment;

/// Why the driver wakes at a set time. Each alarm has one moment; setting it again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The engine's timer.
    Engine,
    /// The certificate is to be checked.
    Certificate,
    /// A shutdown takes too long.
    ShutdownDeadline,
    /// It is time to look whether the data directory is still there.
    Directory,
}

/// The moments at which the driver wants to be woken.
pub struct Alarms {
    clock: Arc<dyn Clock>,
    due: [Option<Moment>; 4],
    /// The sleep under way and its end. It may end before anything is due, since alarms are often put off; a new sleep is
    /// made only where an alarm was brought forward.
    sleep: Option<(Moment, BoxFuture<'static, ()>)>,
}

impl Alarms {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, due: [None; 4], sleep: None }
    }

    /// Sets this alarm to that moment, whatever it was set to before.
    pub fn set(&mut self, alarm: Alarm, at: Moment) {
        self.due[alarm as usize] = Some(at);
    }

    /// Waits until an alarm is due.
    pub async fn due(&mut self) -> Alarm {
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
        let alarms = [Alarm::Engine, Alarm::Certificate, Alarm::ShutdownDeadline, Alarm::Directory];
        alarms.into_iter().filter_map(|alarm| self.due[alarm as usize].map(|at| (at, alarm))).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::environment::{Environment, later};

    #[tokio::test]
    async fn alarms_are_put_off_and_brought_forward() {
        let clock = Environment::real().clock;
        let mut alarms = Alarms::new(Arc::clone(&clock));
        let start = clock.now();
        let at = |ms| later(start, Duration::from_millis(ms));
        alarms.set(Alarm::Certificate, at(60_000));
        alarms.set(Alarm::Engine, at(5));
        {
            // Dropping the future keeps the sleep.
            let early = alarms.due();
            tokio::pin!(early);
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(early.as_mut().poll(cx).is_pending())).await);
        }
        alarms.set(Alarm::Engine, at(20));
        alarms.set(Alarm::ShutdownDeadline, at(10));
        assert_eq!(alarms.due().await, Alarm::ShutdownDeadline);
        assert!(clock.now() >= at(10));
        assert_eq!(alarms.due().await, Alarm::Engine);
        assert!(clock.now() >= at(20));
    }
}
