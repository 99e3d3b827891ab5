//! Where the driver waits.

use tokio::sync::{mpsc, watch};

use super::alarms::{Alarm, Alarms};
use super::input::Input;
use crate::node::handles::shared::Request;
use crate::node::offload::store_executor::StoreReport;

/// What woke the driver.
pub enum Wake {
    /// An alarm is due.
    Alarm(Alarm),
    /// The store executor reports.
    Store(StoreReport),
    /// A task of the node reports something.
    Input(Input),
    /// A caller wants something.
    Request(Request),
    /// The last handle was dropped.
    Abandoned,
}

/// Where the driver waits.
pub struct Inbox {
    pub reports: mpsc::Receiver<StoreReport>,
    pub inputs: mpsc::Receiver<Input>,
    pub callers: mpsc::Receiver<Request>,
    /// Closed when the last handle is dropped.
    pub handles: Option<watch::Receiver<()>>,
}

impl Inbox {
    /// Waits for whatever comes first.
    pub async fn next(&mut self, alarms: &mut Alarms) -> Wake {
        // Biased is fair enough: after every wake-up the driver takes from inputs and callers in turn.
        tokio::select! {
            biased;
            alarm = alarms.due() => Wake::Alarm(alarm),
            // No channel ends while the driver lives, since it holds a sender of each.
            Some(report) = self.reports.recv() => Wake::Store(report),
            Some(input) = self.inputs.recv() => Wake::Input(input),
            Some(request) = self.callers.recv() => Wake::Request(request),
            () = abandoned(&mut self.handles) => Wake::Abandoned,
        }
    }

    /// Takes what has come already. A report of the store comes first, since there are few of them; then a request or
    /// an input. The driver alternates which of these two comes first, so that neither starves the other.
    pub fn take(&mut self, callers_first: bool) -> Option<Wake> {
        if let Ok(report) = self.reports.try_recv() {
            return Some(Wake::Store(report));
        }
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
        // Nothing is ever sent, so this returns when the last handle is dropped.
        Some(held) => {
            drop(held.changed().await);
            *handles = None;
        }
        None => std::future::pending().await,
    }
}
