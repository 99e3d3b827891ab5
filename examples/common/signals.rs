//! Signals. SIGINT and SIGTERM end the node. SIGHUP, SIGUSR1 and SIGUSR2, which end a process by default, do not end this one: they
//! are sent to programs that reload something, and a node that ends costs a takeover.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that this program looks at.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user: [Signal; 2],
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    /// Returns when the node should end. Logs the signals that it ignores.
    pub async fn end(&mut self) {
        loop {
            let [user1, user2] = &mut self.user;
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    tracing::warn!(target: "program", "SIGHUP: nothing to reload; SIGTERM ends this node");
                }
                _ = user1.recv() => tracing::warn!(target: "program", "SIGUSR1 is ignored; SIGTERM ends this node"),
                _ = user2.recv() => tracing::warn!(target: "program", "SIGUSR2 is ignored; SIGTERM ends this node"),
            }
        }
    }
}
