//! The node's knobs, validated as one set.

use std::time::Duration;

use crate::model::limits::{DISK_TIMEOUT_MIN, LOG_BYTES_DEFAULT, LOG_CHANGES_DEFAULT, NAME_BYTES_MAX};
use crate::protocol::failover::waited;
use crate::protocol::wire::Versions;

/// The knobs of a node. Build with [`Options::default`] and the setters by field; [`Options::validate`] refuses
/// impossible sets and names the rule they break.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Interval of heartbeats. Default 1 s; 10 ms to 1 h. Costs one small frame each way per interval.
    pub heartbeat: Duration,
    /// Silence after which the shadow tries to take over. Default 5 s; at least twice the heartbeat.
    pub takeover_delay: Duration,
    /// Who decides on a takeover. Default automatic.
    pub failover: Failover,
    /// Limits flapping. Default: after 3 takeovers within 10 minutes none for 10 minutes. Zero turns it off.
    pub hold_down: Duration,
    /// Whether a commit waits for the shadow. Default asynchronous.
    pub replication: Replication,
    /// How long a mastership lasts that neither peer nor witness renews, where there is a witness. Default: seven tenths of the
    /// takeover delay. At least the heartbeat interval, and with its margin for clock rates ([`crate::limits`]) at most the
    /// takeover delay.
    pub lease: Option<Duration>,
    /// Whether a clean shutdown of a master hands over to its shadow. Default: where the shadow is in sync.
    pub handover: Handover,
    /// How long this node waits for others.
    pub timeouts: Timeouts,
    /// Difference of wall clocks at which an alert is raised. Default 30 s.
    pub clock_skew_warn: Duration,
    /// How much of the log is kept for incremental repair.
    pub log: LogBounds,
    /// Version of the host's data. A shadow with an older one is refused by its master. Default 0.
    pub schema: u32,
    /// Shown in status. Default empty; at most 128 bytes.
    pub name: String,
    /// The newest version of the protocol that this node speaks, as an older program does. For tests of an upgrade. Default: the
    /// newest that there is.
    #[cfg(any(test, feature = "testing"))]
    pub newest_protocol: u16,
}

/// How long a node waits for others. Each is above zero and at most an hour, where it says nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Bound on a dial: name, TCP and TLS. Default 3 s.
    pub connect: Duration,
    /// How long a synchronous commit waits for the shadow. Default 2 s.
    pub sync: Duration,
    /// Bound on an answer of the witness; afterwards its outcome counts as unknown. Default: half the lease, which is the
    /// most it may be.
    pub witness: Option<Duration>,
    /// Bound on an answer of the host's hooks. Default 10 s.
    pub hook: Duration,
    /// Bound on what a shutdown waits for. Default 5 s.
    pub drain: Duration,
    /// How long the host has before its mastership ends by plan, from when it is told. Default zero; zero to an hour. Commits go
    /// on meanwhile. In a shutdown it is at most half of [`Timeouts::drain`].
    pub grace: Duration,
    /// Bound on an answer of the disk, for a node with a peer. A master whose disk has not answered for so long lets go of its
    /// mastership, so that its shadow can take over. Default: three takeover delays, at least
    /// [`DISK_TIMEOUT_MIN`](crate::limits::DISK_TIMEOUT_MIN). Longer than the takeover delay, at most 72 h; zero turns it off.
    pub disk: Option<Duration>,
}

/// How much of the log is kept for incremental repair. A shadow that lacks more gets a full push.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogBounds {
    /// In change sets. Default 100,000; at least 1.
    pub changes: u64,
    /// In bytes. Default 256 MiB; at least 1. The log never keeps more bytes than the keys and values of the configuration have,
    /// or [`LOG_BYTES_MIN`](crate::limits::LOG_BYTES_MIN): beyond that a full push sends less.
    pub bytes: u64,
}

/// Who decides on a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failover {
    /// An operator.
    Manual,
    /// The shadow, when the master is silent for the takeover delay.
    Automatic,
}

/// Whether a commit waits for the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replication {
    /// It returns when it is durable on the master.
    Asynchronous,
    /// It returns when it is durable on both.
    Synchronous,
}

/// Whether a clean shutdown of a master hands over to its shadow, which then serves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handover {
    /// Where the shadow is in sync, failover is automatic and not paused. Bounded by the timeouts for a synchronous commit and
    /// for a shutdown; where it does not come about the shutdown is as without.
    WhenInSync,
    /// Never: the shadow waits for the takeover delay.
    Never,
}

/// The rule that a set of options breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The heartbeat interval is out of bounds.
    #[error("the heartbeat interval must be 10 ms to 1 h")]
    Heartbeat,
    /// A single late heartbeat would be a takeover.
    #[error("the takeover delay must be at least twice the heartbeat interval and at most 24 h")]
    TakeoverDelay,
    /// A timeout is zero or above an hour.
    #[error("{} must be above zero and at most 1 h", .0.as_str())]
    Timeout(TimeoutOption),
    /// The grace period is above an hour.
    #[error("timeouts.grace must be at most 1 h")]
    Grace,
    /// The log would hold nothing.
    #[error("the log must be bounded to at least one change set and one byte")]
    Log,
    /// The name is too long.
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    Name,
    /// A lease that ends before the next heartbeat, or outlasts the takeover delay.
    #[error(
        "the lease must be at least the heartbeat interval and, with 2.1 % and a millisecond of margin, at most the takeover delay"
    )]
    Lease,
    /// An answer of the witness that comes when the lease is almost over is of no use.
    #[error("the witness timeout must be above zero and at most half the lease")]
    WitnessTimeout,
    /// A disk that is given up before the shadow would take over, or never.
    #[error("the disk timeout must be longer than the takeover delay and at most 72 h, or zero for none")]
    DiskTimeout,
}

/// The timeouts that have a common bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutOption {
    /// [`Timeouts::sync`].
    Sync,
    /// [`Timeouts::connect`].
    Connect,
    /// [`Timeouts::hook`].
    Hook,
    /// [`Timeouts::drain`].
    Drain,
}

impl TimeoutOption {
    /// The path of the field in [`Options`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "timeouts.sync",
            Self::Connect => "timeouts.connect",
            Self::Hook => "timeouts.hook",
            Self::Drain => "timeouts.drain",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            takeover_delay: Duration::from_secs(5),
            failover: Failover::Automatic,
            hold_down: Duration::from_secs(600),
            replication: Replication::Asynchronous,
            lease: None,
            handover: Handover::WhenInSync,
            timeouts: Timeouts::default(),
            clock_skew_warn: Duration::from_secs(30),
            log: LogBounds { changes: LOG_CHANGES_DEFAULT, bytes: LOG_BYTES_DEFAULT },
            schema: 0,
            name: String::new(),
            #[cfg(any(test, feature = "testing"))]
            newest_protocol: Versions::OURS.max,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            sync: Duration::from_secs(2),
            witness: None,
            hook: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            grace: Duration::ZERO,
            disk: None,
        }
    }
}

impl Options {
    /// Checks the set.
    ///
    /// # Errors
    /// The first rule that is broken, as [`OptionsError`].
    pub fn validate(&self) -> Result<(), OptionsError> {
        const HOUR: Duration = Duration::from_secs(3600);
        if self.heartbeat < Duration::from_millis(10) || self.heartbeat > HOUR {
            return Err(OptionsError::Heartbeat);
        }
        if self.takeover_delay < 2 * self.heartbeat || self.takeover_delay > 24 * HOUR {
            return Err(OptionsError::TakeoverDelay);
        }
        let timeouts = [
            (TimeoutOption::Sync, self.timeouts.sync),
            (TimeoutOption::Connect, self.timeouts.connect),
            (TimeoutOption::Hook, self.timeouts.hook),
            (TimeoutOption::Drain, self.timeouts.drain),
        ];
        if let Some((option, _)) = timeouts.into_iter().find(|(_, time)| time.is_zero() || *time > HOUR) {
            return Err(OptionsError::Timeout(option));
        }
        if self.timeouts.grace > HOUR {
            return Err(OptionsError::Grace);
        }
        if self.log.changes == 0 || self.log.bytes == 0 {
            return Err(OptionsError::Log);
        }
        if self.name.len() > NAME_BYTES_MAX {
            return Err(OptionsError::Name);
        }
        let lease = self.lease();
        if lease < self.heartbeat || waited(lease) > self.takeover_delay {
            return Err(OptionsError::Lease);
        }
        let timeout = self.witness_timeout();
        if timeout.is_zero() || timeout > lease / 2 {
            return Err(OptionsError::WitnessTimeout);
        }
        match self.disk_timeout() {
            Some(time) if time <= self.takeover_delay || time > 72 * HOUR => Err(OptionsError::DiskTimeout),
            _ => Ok(()),
        }
    }

    /// The versions of the protocol that this node speaks.
    pub(crate) fn versions(&self) -> Versions {
        #[cfg(any(test, feature = "testing"))]
        return Versions { max: self.newest_protocol, ..Versions::OURS };
        #[cfg(not(any(test, feature = "testing")))]
        Versions::OURS
    }

    /// How long a mastership lasts that nobody renews: the option, or its default.
    pub fn lease(&self) -> Duration {
        self.lease.unwrap_or(self.takeover_delay / 10 * 7)
    }

    /// The bound on an answer of the witness: the option, or its default.
    pub fn witness_timeout(&self) -> Duration {
        self.timeouts.witness.unwrap_or(self.lease() / 2)
    }

    /// The bound on an answer of the disk: the option, or its default. `None` where it is turned off.
    pub fn disk_timeout(&self) -> Option<Duration> {
        let usual = (3 * self.takeover_delay).max(DISK_TIMEOUT_MIN);
        Some(self.timeouts.disk.unwrap_or(usual)).filter(|time| !time.is_zero())
    }
}
