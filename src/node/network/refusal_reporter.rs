//! Tells the engine of refused connections, without letting a flood of them flood the engine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::identity::Unpermitted;
use crate::model::limits::UNPERMITTED_INTERVAL;
use crate::node::driver::input::Input;
use crate::node::environment::Environment;
use crate::protocol::engine::{Event, Moment};

/// Reports refused connections to the engine, at most once per interval: the first at once, those that follow together
/// at the end of the interval. Clones share.
#[derive(Clone, Default)]
pub struct RefusalReporter(Arc<Mutex<Refusals>>);

#[derive(Default)]
struct Refusals {
    quiet_until: Moment,
    /// Refusals in this interval that are not reported yet. The first of them waits to report all.
    unreported: u64,
}

/// When a refusal is reported.
#[derive(Debug, PartialEq, Eq)]
enum Report {
    /// At once.
    Now,
    /// At this moment, together with all that follow until then.
    Later(Moment),
    /// Together with an earlier one, which waits already.
    ByAnother,
}

impl RefusalReporter {
    /// Reports one refusal, perhaps later and together with others.
    pub async fn report(
        &self,
        environment: &Environment,
        inputs: &mpsc::Sender<Input>,
        from: SocketAddr,
        refusal: Unpermitted,
    ) {
        let Unpermitted { reason, shown } = refusal;
        tracing::debug!(%from, %reason, "a connection was refused");
        let (reason, times) = match self.next_report(environment.clock.now(), environment.after(UNPERMITTED_INTERVAL)) {
            Report::ByAnother => return,
            Report::Now => (reason, 1),
            Report::Later(at) => {
                environment.clock.sleep_until(at).await;
                match self.take_count(environment.after(UNPERMITTED_INTERVAL)) {
                    0 | 1 => (reason, 1),
                    all => (format!("{reason} ({all} connections like this in {UNPERMITTED_INTERVAL:?})"), all),
                }
            }
        };
        // Without the port, which differs for every connection, so that repeated refusals are one alert.
        let event = Event::Unpermitted { from: from.ip().to_canonical().to_string(), reason, shown, times };
        drop(inputs.send(Input::Engine(event)).await);
    }

    fn next_report(&self, now: Moment, quiet_until: Moment) -> Report {
        let mut refusals = self.lock();
        if refusals.unreported > 0 {
            refusals.unreported += 1;
            return Report::ByAnother;
        }
        if now < refusals.quiet_until {
            refusals.unreported = 1;
            return Report::Later(refusals.quiet_until);
        }
        refusals.quiet_until = quiet_until;
        Report::Now
    }

    /// How many refusals to report. A new interval begins.
    fn take_count(&self, quiet_until: Moment) -> u64 {
        let mut refusals = self.lock();
        refusals.quiet_until = quiet_until;
        std::mem::take(&mut refusals.unreported)
    }

    fn lock(&self) -> MutexGuard<'_, Refusals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_two_reports_and_a_count() {
        let reporter = RefusalReporter::default();
        assert_eq!(reporter.next_report(Moment(10), Moment(20)), Report::Now);
        assert_eq!(reporter.next_report(Moment(15), Moment(25)), Report::Later(Moment(20)));
        for _ in 0..4 {
            assert_eq!(reporter.next_report(Moment(16), Moment(26)), Report::ByAnother);
        }
        assert_eq!(reporter.take_count(Moment(30)), 5);
        assert_eq!(reporter.next_report(Moment(25), Moment(35)), Report::Later(Moment(30)));
        assert_eq!(reporter.take_count(Moment(40)), 1);
        assert_eq!(reporter.next_report(Moment(40), Moment(50)), Report::Now);
    }
}
