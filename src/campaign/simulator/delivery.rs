//! Frames and connections reach the nodes, or do not.

use super::network::Frame;
use super::schedule::Scheduled;
use super::store::{Export, ITEM_BYTES, Payload, Record, Sent};
use super::world::World;
use crate::campaign::violation::Checked;
use crate::model::limits::BULK_FRAME_BYTES_MAX;
use crate::protocol::engine::{BulkId, Event, LinkId};
use crate::protocol::wire::{Bulk, Message, ResumePoint, SnapshotHeader, Switch};
use crate::testing::Side;

impl World {
    /// The peer learns that this node has closed its ends of all connections.
    pub fn break_connections(&mut self, side: Side, reason: &'static str) {
        let to = side.other();
        for conn in 0..self.network.connections.len() {
            let alive = self.network.connections[conn].links[to.index()].is_some()
                || !self.network.connections[conn].to[to.index()].is_empty();
            if alive && self.network.connections[conn].links[side.index()].is_none() {
                self.send(conn, to, Frame::Down(reason));
            }
        }
    }

    /// All connections break for this node now, and for the peer after what is on its way to it.
    pub fn half_reset(&mut self, side: Side) -> Checked {
        let links: Vec<_> = self.machine(side).driver.links.iter().map(|(link, conn)| (*link, *conn)).collect();
        for (link, conn) in links {
            self.network.connections[conn].close_end(side);
            self.send(conn, side.other(), Frame::Down("reset"));
            if self.machine(side).driver.links.remove(&link).is_some() {
                self.event(side, Event::LinkDown { link, reason: "reset".into() })?;
            }
        }
        Ok(())
    }

    /// A node accepts a connection whose dialler is gone, and learns that after this time.
    pub fn ghost(&mut self, side: Side, us: u64) {
        if self.machine(side).engine.is_none() || self.machine(side).paused_at.is_some() {
            return;
        }
        // No dial of a node has this number.
        let conn = self.network.open(u64::MAX);
        self.send(conn, side, Frame::Up { dialled: false });
        self.network.connections[conn].extra_us = us;
        self.send(conn, side, Frame::Down("the dial was given up"));
    }

    /// All connections break for both.
    pub fn reset(&mut self) {
        for conn in 0..self.network.connections.len() {
            for to in Side::BOTH {
                if self.network.connections[conn].links[to.index()].is_some() {
                    self.network.connections[conn].to[to.index()].clear();
                    self.send(conn, to, Frame::Down("reset"));
                }
            }
        }
    }

    /// Sends a frame to an end of a connection. Frames keep their order.
    pub fn send(&mut self, conn: usize, to: Side, frame: Frame) {
        let jitter = self.random.below(self.network.latency_us / 2 + 1);
        let extra = self.network.connections[conn].extra_us;
        let queue = &mut self.network.connections[conn].to[to.index()];
        let at = (self.now + self.network.latency_us + jitter + extra).max(queue.back().map_or(0, |(at, ..)| *at));
        queue.push_back((at, self.now, frame));
        self.after(at - self.now, Scheduled::Arrival { conn, to });
    }

    /// What this node sends arrives again, what was held back too.
    pub fn heal(&mut self, from: Side) {
        self.network.cut[from.index()] = false;
        let to = from.other();
        for conn in 0..self.network.connections.len() {
            for _ in 0..self.network.connections[conn].to[to.index()].len() {
                self.after(self.network.latency_us, Scheduled::Arrival { conn, to });
            }
        }
    }

    /// The next frame arrives at this end of a connection, unless it is cut or not due yet.
    pub fn arrival(&mut self, conn: usize, to: Side) -> Checked {
        if self.network.cut[to.other().index()] {
            return Ok(());
        }
        let queue = &mut self.network.connections[conn].to[to.index()];
        let Some((at, sent, frame)) = queue.pop_front() else {
            return Ok(());
        };
        if at > self.now {
            let wait = at - self.now;
            queue.push_front((at, sent, frame));
            self.after(wait, Scheduled::Arrival { conn, to });
            return Ok(());
        }
        let link = self.network.connections[conn].links[to.index()];
        match (frame, link) {
            (Frame::Up { dialled }, None) => self.link_up(conn, to, dialled),
            (Frame::Down(reason), Some(link)) => {
                self.network.connections[conn].close_end(to);
                self.machine(to).driver.links.remove(&link);
                self.event(to, Event::LinkDown { link, reason: reason.into() })
            }
            (Frame::Message(message), Some(link)) => {
                self.heard(to, sent);
                if let Message::Switch(Switch::HandOver { .. } | Switch::CallOff { .. }) = &message {
                    // Mastership is given to this node, or given back.
                    self.machine(to).callers.takeover_ordered = true;
                }
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

    /// Keeps received bulk under a fresh number until the engine names it.
    pub fn keep_bulk(&mut self, side: Side, payload: Payload) -> BulkId {
        let machine = self.machine(side);
        let bulk = BulkId(machine.fresh());
        machine.driver.bulks.insert(bulk, payload);
        bulk
    }

    /// Something authenticated arrived that the peer sent at this time.
    fn heard(&mut self, side: Side, sent: u64) {
        let now = self.now;
        let machine = self.machine(side);
        machine.observed.heard_at = Some(machine.clock.at(now));
        if machine.observed.unconfirmed_since.is_some_and(|since| sent >= since) {
            machine.observed.unconfirmed_since = None;
        }
    }

    fn link_up(&mut self, conn: usize, to: Side, dialled: bool) -> Checked {
        let dial = self.network.connections[conn].dial;
        let machine = self.machine(to);
        if machine.engine.is_none() || (dialled && machine.driver.dial != Some(dial)) {
            return Ok(());
        }
        if dialled {
            machine.driver.dial = None;
        }
        let link = LinkId(machine.fresh());
        machine.driver.links.insert(link, conn);
        self.network.connections[conn].links[to.index()] = Some(link);
        self.event(to, Event::LinkUp { link, dialled })?;
        let key = self.machines[to.other().index()].keys.current;
        let engine = self.machines[to.index()].engine.as_ref();
        let peer = engine.and_then(|engine| engine.durable_state().peer.as_ref());
        if peer.is_some_and(|peer| peer.keys.next == Some(key)) {
            self.event(to, Event::NextKeyShown { key })?;
        }
        Ok(())
    }

    /// Whether an operator made a node forget the other one.
    pub fn is_unpaired(&self) -> bool {
        self.machines.iter().any(|machine| machine.disk.durable_state.peer.is_none())
    }

    /// Whether a dial by this side would get through now.
    pub fn reachable(&self, from: Side) -> bool {
        let other = &self.machines[from.other().index()];
        !self.network.is_cut() && other.engine.is_some() && other.paused_at.is_none()
    }

    /// Sends records. Returns how many bytes they stand for.
    pub fn push_records(&mut self, side: Side, conn: usize, records: Sent<Record>, what: Bulk) -> usize {
        let bytes = (records.len() * ITEM_BYTES).min(BULK_FRAME_BYTES_MAX);
        self.send(conn, side.other(), Frame::Bulk(what, Payload::Records(records), bytes));
        bytes
    }

    /// Opens a snapshot of what is visible, or of all that is held.
    pub fn open(&mut self, side: Side, transfer: u64, withheld: bool) -> Checked {
        if !self.machine(side).driver.opening.remove(&transfer) {
            return Ok(());
        }
        let machine = self.machine(side);
        let Some(point) = machine.disk.point(withheld) else {
            return self.event(side, Event::ReadFailed { reason: "not held".into() });
        };
        let entries: Vec<(u8, u64)> = point.state.entries.into_iter().collect();
        let header = SnapshotHeader {
            transfer,
            position: point.position,
            history: point.history,
            chain: point.chain,
            entries: entries.len() as u64,
            bytes: (entries.len() * ITEM_BYTES) as u64,
        };
        machine.disk.open_export(&header, withheld)?;
        machine.driver.exports.insert(transfer, Export::new(header.position.revision, entries));
        self.event(side, Event::SnapshotOpened { header })
    }

    /// A snapshot goes on where another one was cut.
    pub fn resume(&mut self, side: Side, transfer: u64, point: &ResumePoint) -> Checked {
        let machine = self.machine(side);
        let Some(mut export) = machine.driver.exports.remove(&transfer) else { return Ok(()) };
        let resumed = machine.disk.resume_export(transfer, &mut export, point)?;
        machine.driver.exports.insert(transfer, export);
        if resumed == Ok(true) {
            self.journal.summary.pushes.resumed += 1;
        }
        Ok(())
    }
    /// A snapshot begins with the hashes of what differs.
    pub fn compare(&mut self, side: Side, transfer: u64, base: &[u8]) -> Checked {
        let machine = self.machine(side);
        let Some(mut export) = machine.driver.exports.remove(&transfer) else { return Ok(()) };
        let compared = machine.disk.compare_export(transfer, &mut export, base)?;
        machine.driver.exports.insert(transfer, export);
        match compared {
            Ok(()) => Ok(()),
            Err(reason) => self.event(side, Event::ReadFailed { reason }),
        }
    }

    /// The hashes were sent: what is wanted follows.
    pub fn select(&mut self, side: Side, transfer: u64, wants: &[u8]) {
        let machine = self.machine(side);
        let Some(mut export) = machine.driver.exports.remove(&transfer) else { return };
        machine.disk.select_export(transfer, &mut export, wants);
        machine.driver.exports.insert(transfer, export);
    }
}
