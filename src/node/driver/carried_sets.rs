//! Change sets that are carried to the peer and wait for its answer, and those that come from it in parts.

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::model::limits::CARRIED_BYTES_MAX;
use crate::protocol::engine::LinkId;
use crate::protocol::wire::CarriedOutcome;

/// Change sets that are carried to the peer, or come from it.
#[derive(Default)]
pub struct CarriedSets {
    /// What comes in on a link, and is not complete.
    incoming: BTreeMap<LinkId, (u64, BytesMut)>,
    /// What was carried to the peer, and is not answered. Dropping the sender tells that it never will be.
    outgoing: BTreeMap<u64, (LinkId, oneshot::Sender<CarriedOutcome>)>,
}

impl CarriedSets {
    /// A link is gone: what was carried over it is not answered any more.
    pub fn forget(&mut self, link: LinkId) {
        self.incoming.remove(&link);
        self.outgoing.retain(|_, (on, _)| *on != link);
    }

    /// Adds a part. Returns the encoded change set with its last part, and an error where it is too long.
    pub fn add(&mut self, link: LinkId, id: u64, last: bool, part: &[u8]) -> Result<Option<BytesMut>, &'static str> {
        let (current, bytes) = self.incoming.entry(link).or_insert_with(|| (id, BytesMut::new()));
        if *current != id {
            return Err("it carries two change sets at once");
        }
        if bytes.len() + part.len() > CARRIED_BYTES_MAX {
            return Err("it carries too large a change set");
        }
        bytes.extend_from_slice(part);
        Ok(last.then(|| self.incoming.remove(&link).map(|(_, bytes)| bytes)).flatten())
    }

    /// A change set is on its way to the peer.
    pub fn sent(&mut self, link: LinkId, id: u64, answer: oneshot::Sender<CarriedOutcome>) {
        self.outgoing.retain(|_, (_, answer)| !answer.is_closed());
        self.outgoing.insert(id, (link, answer));
    }

    /// The peer answers.
    pub fn answer(&mut self, id: u64, outcome: CarriedOutcome) {
        if let Some((_, answer)) = self.outgoing.remove(&id) {
            // An error means that the operator waits no more.
            let _ = answer.send(outcome);
        }
    }
}
