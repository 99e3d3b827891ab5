//! Random histories of the shell: two real nodes in a simulated world, with real TLS and real stores.
//!
//! A seed stands for one history. [`plan`] draws the options and the steps, [`history`] carries them out and asks [`invariants`]
//! at every moment, from outside, what must hold. When the faults have ended the pair must become whole. The same seed gives
//! the same schedule; a violation is shrunk to fewer steps and printed with a trace and the command that replays it.
//!
//! | file | what it is |
//! |---|---|
//! | [`plan`] | what can be done to a pair, and how a seed draws it |
//! | [`host`] | the hosts of both nodes: hooks, callers that commit, operators |
//! | `copies` | histories of their own: a third machine runs a copy of one of the nodes |
//! | `former_master` | histories of their own: a partition, the return of the former master, its changes applied again |
//! | [`backups`] | operators who export, import and restore |
//! | `differential` | histories of their own: a shadow that was away for longer than the log reaches |
//! | [`history`] | carries out a plan, ends the faults, waits until the pair is whole |
//! | [`invariants`] | the invariants, as somebody sees them who holds handles of both nodes |
//! | [`story`] | a broken invariant, told with as few steps as break it |
//! | [`imports`] | those of exports and imports |

mod backups;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod former_master;
mod history;
mod host;
mod imports;
mod invariants;
mod plan;
mod story;

mod tests;
