//! The network between the nodes: connections, and the frames on their way.

use std::collections::VecDeque;

use super::store::Payload;
use crate::protocol::engine::LinkId;
use crate::protocol::wire::{Bulk, Message};
use crate::testing::Side;

/// Delay of one way before a step changes it, microseconds.
const LATENCY_US: u64 = 200;

/// Everything between the nodes.
#[derive(Clone, Debug)]
pub struct Network {
    /// All connections, those that are closed too: their index is their number.
    pub connections: Vec<Connection>,
    /// Whether what this node sends is held back.
    pub cut: [bool; 2],
    /// Delay of one way, microseconds.
    pub latency_us: u64,
}

/// What travels over a connection.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The connection is up.
    Up { dialled: bool },
    /// A control message.
    Message(Message),
    /// Bulk.
    Bulk(Bulk, Payload, usize),
    /// The connection is gone.
    Down(&'static str),
}

/// One connection: an end at each node.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The link of each end while it is up.
    pub links: [Option<LinkId>; 2],
    /// Frames on their way to each end, with the times of arrival and of sending.
    pub to: [VecDeque<(u64, u64, Frame)>; 2],
    /// The dial that opened it.
    pub dial: u64,
    /// Additional delay of its frames, microseconds.
    pub extra_us: u64,
}

impl Network {
    /// Without connections or faults.
    pub fn new() -> Self {
        Self { connections: Vec::new(), cut: [false; 2], latency_us: LATENCY_US }
    }

    /// Adds a connection; returns its number.
    pub fn open(&mut self, dial: u64) -> usize {
        self.connections.push(Connection { dial, ..Connection::default() });
        self.connections.len() - 1
    }

    /// Whether anything is cut.
    pub fn is_cut(&self) -> bool {
        self.cut != [false; 2]
    }

    /// The process at this end is gone: its links and what was on its way to it are too.
    pub fn close_ends_of(&mut self, side: Side) {
        for connection in &mut self.connections {
            connection.close_end(side);
        }
    }

    /// Frames on the connections that are open now take longer, so that connections opened later overtake them.
    pub fn slow_connections(&mut self, us: u64) {
        for connection in &mut self.connections {
            connection.extra_us = us;
        }
    }
}

impl Connection {
    /// Whether an end is up or a frame is on its way.
    pub fn is_alive(&self) -> bool {
        self.links != [None; 2] || self.to.iter().any(|queue| !queue.is_empty())
    }

    /// This end has no link any more, and nothing more arrives there.
    pub fn close_end(&mut self, side: Side) {
        self.links[side.index()] = None;
        self.to[side.index()].clear();
    }
}
