//! A TLS client with a node's key, and the frames that it sends: `docs/PROTOCOL.md` has the bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, StreamOwned};

use super::{Certificate, client};
use crate::harness::{Program, WAIT_MAX};

/// Kinds of frames.
pub const CONTROL: u8 = 1;
pub const RECORDS: u8 = 2;
pub const SNAPSHOT: u8 = 3;
pub const CONTROL_V3: u8 = 4;

/// Key and certificate of the node with this data directory, as somebody has them who has read its disk.
pub fn stolen(data: &Path) -> Certificate {
    let pem = std::fs::read(data.join("identity.pem")).unwrap();
    (CertificateDer::from_pem_slice(&pem).unwrap(), PrivateKeyDer::from_pem_slice(&pem).unwrap())
}

/// A connection that passed the handshake.
pub struct Attacker {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// The payload of the victim's hello.
    hello: Vec<u8>,
}

impl Attacker {
    /// Connects as this node and reads the welcome and the victim's hello.
    pub fn link(node: &Program, certificate: &Certificate) -> Self {
        let tls = client(Some(certificate), b"shadowpair/1");
        let socket = TcpStream::connect(node.listen()).unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let mut attacker = Self { stream: StreamOwned::new(tls, socket), hello: Vec::new() };
        let mut welcome = [0];
        attacker.stream.read_exact(&mut welcome).unwrap_or_else(|error| node.fail(&format!("no welcome: {error}")));
        assert_eq!(welcome, [1]);
        attacker.hello = attacker.next_frame().unwrap_or_else(|error| node.fail(&format!("no hello: {error}"))).1;
        attacker
    }

    fn next_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((header[4], payload))
    }

    /// The parts of a hello that says of this end what is true of the victim, with the roles exchanged.
    pub fn hello(&self, node: &[u8; 32]) -> Hello {
        let victim = &self.hello;
        let mut at = 51;
        skip_number(victim, &mut at); // run
        skip_number(victim, &mut at); // number of the hello
        at += 1; // linked
        for _ in 0..2 {
            at += 1 + usize::from(victim[at]); // name and address, both below 251 bytes
        }
        Hello {
            versions: victim[1..3].to_vec(),
            pair: victim[3..19].to_vec(),
            node: node.to_vec(),
            run: vec![7, 1, 0],
            texts: [&[0, 11][..], b"127.0.0.1:1"].concat(),
            role: vec![3 - victim[at], 1 - victim[at + 1]],
            log: victim[at + 2..].to_vec(),
        }
    }

    /// Sends this. The victim may have closed already.
    pub fn send(&mut self, bytes: &[u8]) {
        _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// Reads until the victim closes. Returns whether it does.
    pub fn loses_connection(mut self) -> bool {
        let end = Instant::now() + WAIT_MAX;
        let mut heard = vec![0; 64 * 1024];
        self.stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while Instant::now() < end {
            match self.stream.read(&mut heard) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                }
            }
        }
        false
    }

    /// Reads until a control message has this number. Returns whether one came before the end.
    pub fn hears(&mut self, number: u8) -> bool {
        while let Ok((kind, payload)) = self.next_frame() {
            if kind == CONTROL && payload[0] == number {
                return true;
            }
        }
        false
    }
}

/// A hello in pieces, to be changed before it is sent.
#[derive(Clone)]
pub struct Hello {
    pub versions: Vec<u8>,
    pub pair: Vec<u8>,
    pub node: Vec<u8>,
    /// Run, number of the hello, linked.
    pub run: Vec<u8>,
    /// Name and address.
    pub texts: Vec<u8>,
    /// Role and whether it serves.
    pub role: Vec<u8>,
    /// Epoch and everything behind it.
    pub log: Vec<u8>,
}

impl Hello {
    pub fn payload(&self) -> Vec<u8> {
        let Self { versions, pair, node, run, texts, role, log } = self;
        [&[0][..], versions, pair, node, run, texts, role, log].concat()
    }

    pub fn frame(&self) -> Vec<u8> {
        frame(CONTROL, &self.payload())
    }

    /// Epoch, position (revision and digest) as they stand in the hello.
    pub fn epoch(&self) -> &[u8] {
        let mut end = 0;
        skip_number(&self.log, &mut end);
        &self.log[..end]
    }

    pub fn position(&self) -> &[u8] {
        let from = self.epoch().len();
        let mut end = from;
        skip_number(&self.log, &mut end);
        skip_number(&self.log, &mut end);
        &self.log[from..end + 32]
    }

    /// What stands before the history, and from it on.
    pub fn around_history(&self) -> (&[u8], &[u8]) {
        let mut at = self.epoch().len() + self.position().len();
        for _ in 0..4 {
            skip_number(&self.log, &mut at); // floor, shown
        }
        self.log.split_at(at + 1)
    }

    /// The history alone.
    pub fn history(&self) -> &[u8] {
        let (_, rest) = self.around_history();
        let mut end = 1;
        for _ in 0..rest[0] {
            skip_number(rest, &mut end);
            skip_number(rest, &mut end);
            end += 32;
        }
        &rest[..end]
    }

    /// With another epoch, whose bytes these are.
    pub fn of_epoch(&self, epoch: &[u8]) -> Self {
        Self { log: [epoch, &self.log[self.epoch().len()..]].concat(), ..self.clone() }
    }

    /// With another history, whose bytes these are.
    pub fn of_history(&self, history: &[u8]) -> Self {
        let (before, rest) = self.around_history();
        Self { log: [before, history, &rest[self.history().len()..]].concat(), ..self.clone() }
    }
}

fn skip_number(bytes: &[u8], at: &mut usize) {
    *at += match bytes[*at] {
        0xfb => 3,
        0xfc => 5,
        0xfd => 9,
        _ => 1,
    };
}

/// A whole frame of this kind.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..], &[kind, 1, 0, 0], payload].concat()
}

/// The largest number there is.
pub const LARGEST: [u8; 9] = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// The checksum of the last record in the log of this data directory, to which the next one is chained.
pub fn last_checksum(data: &Path) -> u32 {
    let mut logs: Vec<_> = std::fs::read_dir(data.join("log")).unwrap().map(|file| file.unwrap().path()).collect();
    logs.sort();
    let log = std::fs::read(logs.last().unwrap()).unwrap();
    let number = |at: usize| u32::from_le_bytes([log[at], log[at + 1], log[at + 2], log[at + 3]]);
    let (mut at, mut last) = (1_024, 0);
    while log[at..].starts_with(b"SPLR") {
        last = number(at + 32);
        at += 36 + number(at + 4) as usize;
    }
    last
}

/// A log record whose checksums are right.
pub fn record(kind: u8, epoch: u64, seq: u64, previous: u32, payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::from(*b"SPLR");
    head.extend((payload.len() as u32).to_le_bytes());
    head.extend([kind, 1, 0, 0]);
    head.extend(epoch.to_le_bytes());
    head.extend(seq.to_le_bytes());
    head.extend(previous.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    head.extend(crc.to_le_bytes());
    [&head[..], payload].concat()
}
