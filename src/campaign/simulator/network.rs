//! What is between the nodes: connections, and everything that travels over them.

use std::collections::VecDeque;

use super::node::Payload;
use super::step::Side;
use super::store::{Record, Sent};
use super::violation::Checked;
use super::world::{Scheduled, World};
use crate::model::limits::BULK_FRAME_BYTES_MAX;
use crate::protocol::engine::{Event, LinkId};
use crate::protocol::wire::{Bulk, Message};

/// What travels.
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
    /// The link of each end, once it is up; gone when it is down.
    pub links: [Option<LinkId>; 2],
    /// What travels to each end, with the time of its arrival and when it was sent.
    pub to: [VecDeque<(u64, u64, Frame)>; 2],
    /// The dial that it began with.
    pub dial: u64,
    /// What travels over it takes so much longer, microseconds.
    pub extra_us: u64,
}

impl World {
    /// All connections of this node end for the other one.
    pub fn break_connections(&mut self, side: Side, reason: &'static str) {
        let to = side.other();
        for conn in 0..self.connections.len() {
            let alive =
                self.connections[conn].links[to.index()].is_some() || !self.connections[conn].to[to.index()].is_empty();
            if alive && self.connections[conn].links[side.index()].is_none() {
                self.send(conn, to, Frame::Down(reason));
            }
        }
    }

    /// What travels over the connections that are open now takes longer: what is opened later overtakes it.
    pub fn slow_connections(&mut self, us: u64) {
        for conn in &mut self.connections {
            conn.extra_us = us;
        }
    }

    /// All connections break for this node now; for the other one only behind what is on its way.
    pub fn half_reset(&mut self, side: Side) -> Checked {
        let links: Vec<_> = self.host(side).links.iter().map(|(link, conn)| (*link, *conn)).collect();
        for (link, conn) in links {
            self.connections[conn].links[side.index()] = None;
            self.connections[conn].to[side.index()].clear();
            self.send(conn, side.other(), Frame::Down("reset"));
            if self.host(side).links.remove(&link).is_some() {
                self.event(side, Event::LinkDown { link, reason: "reset".into() })?;
            }
        }
        Ok(())
    }

    /// A node accepts a connection at whose other end nobody is, and learns that after this time.
    pub fn ghost(&mut self, side: Side, us: u64) {
        if self.host(side).engine.is_none() || self.host(side).paused_at.is_some() {
            return;
        }
        let conn = self.connections.len();
        // No dial of a node has this number.
        self.connections.push(Connection { dial: u64::MAX, ..Connection::default() });
        self.send(conn, side, Frame::Up { dialled: false });
        self.connections[conn].extra_us = us;
        self.send(conn, side, Frame::Down("the dial was given up"));
    }

    /// All connections break for both.
    pub fn reset(&mut self) {
        for conn in 0..self.connections.len() {
            for to in Side::BOTH {
                if self.connections[conn].links[to.index()].is_some() {
                    self.connections[conn].to[to.index()].clear();
                    self.send(conn, to, Frame::Down("reset"));
                }
            }
        }
    }

    /// Puts something on its way to an end of a connection, behind what is on its way already.
    pub fn send(&mut self, conn: usize, to: Side, frame: Frame) {
        let jitter = self.random.below(self.latency_us / 2 + 1);
        let extra = self.connections[conn].extra_us;
        let queue = &mut self.connections[conn].to[to.index()];
        let at = (self.now + self.latency_us + jitter + extra).max(queue.back().map_or(0, |(at, ..)| *at));
        queue.push_back((at, self.now, frame));
        self.after(at - self.now, Scheduled::Arrival { conn, to });
    }

    /// What was held back by a cut goes on.
    pub fn heal(&mut self, from: Side) {
        self.cut[from.index()] = false;
        let to = from.other();
        for conn in 0..self.connections.len() {
            for _ in 0..self.connections[conn].to[to.index()].len() {
                self.after(self.latency_us, Scheduled::Arrival { conn, to });
            }
        }
    }

    pub fn arrival(&mut self, conn: usize, to: Side) -> Checked {
        if self.cut[to.other().index()] {
            return Ok(());
        }
        let queue = &mut self.connections[conn].to[to.index()];
        let Some((at, sent, frame)) = queue.pop_front() else { return Ok(()) };
        if at > self.now {
            let wait = at - self.now;
            queue.push_front((at, sent, frame));
            self.after(wait, Scheduled::Arrival { conn, to });
            return Ok(());
        }
        let link = self.connections[conn].links[to.index()];
        match (frame, link) {
            (Frame::Up { dialled }, None) => self.link_up(conn, to, dialled),
            (Frame::Down(reason), Some(link)) => {
                self.connections[conn].links[to.index()] = None;
                self.connections[conn].to[to.index()].clear();
                self.host(to).links.remove(&link);
                self.event(to, Event::LinkDown { link, reason: reason.into() })
            }
            (Frame::Message(message), Some(link)) => {
                self.heard(to, sent);
                self.event(to, Event::Message { link, message })
            }
            (Frame::Bulk(what, payload, bytes), Some(link)) => {
                self.heard(to, sent);
                let bulk = self.keep_bulk(to, payload);
                self.event(to, Event::Bulk { link, bulk, what, bytes })
            }
            _ => Ok(()),
        }
    }

    /// Bulk waits in the shell under a fresh number.
    pub fn keep_bulk(&mut self, side: Side, payload: Payload) -> crate::protocol::engine::BulkId {
        let host = self.host(side);
        let bulk = crate::protocol::engine::BulkId(host.fresh());
        host.bulks.insert(bulk, payload);
        bulk
    }

    fn heard(&mut self, side: Side, sent: u64) {
        let now = self.now;
        let host = self.host(side);
        host.heard = Some(host.clock.at(now));
        if host.unconfirmed_since.is_some_and(|since| sent >= since) {
            host.unconfirmed_since = None;
        }
    }

    fn link_up(&mut self, conn: usize, to: Side, dialled: bool) -> Checked {
        let dial = self.connections[conn].dial;
        let host = self.host(to);
        if host.engine.is_none() || (dialled && host.dialing != Some(dial)) {
            return Ok(());
        }
        if dialled {
            host.dialing = None;
        }
        let link = LinkId(host.fresh());
        host.links.insert(link, conn);
        self.connections[conn].links[to.index()] = Some(link);
        self.event(to, Event::LinkUp { link, dialled })
    }

    /// Whether an operator made a node forget the other one.
    pub fn unpaired(&self) -> bool {
        self.hosts.iter().any(|host| host.disk.durable_state.peer.is_none())
    }

    /// Whether a dial by this side would get through now.
    pub fn reachable(&self, from: Side) -> bool {
        let other = &self.hosts[from.other().index()];
        !self.cut[0] && !self.cut[1] && other.engine.is_some() && other.paused_at.is_none()
    }

    /// Hands records that are read to the link. Returns their bytes.
    pub fn push_records(&mut self, side: Side, conn: usize, records: Sent<Record>, what: Bulk) -> usize {
        let bytes = (records.len() * super::store::ITEM_BYTES).min(BULK_FRAME_BYTES_MAX);
        self.send(conn, side.other(), Frame::Bulk(what, Payload::Records(records), bytes));
        bytes
    }
}
