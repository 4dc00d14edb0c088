//! What Istio's filters have in common at work: peers, what they say of themselves, and the
//! standard metrics of a mesh. Their options are in [`crate::plan::istio`].

pub(crate) mod exchange;
pub(crate) mod labels;
pub(crate) mod metrics;

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost::Message;
use prost_types::Struct;
use ringway_wire::base64;

use crate::plan::istio::Workload;

/// What a shard remembers for them.
#[derive(Default)]
pub(crate) struct Istio {
    /// Peers by what their header said, and by how it was to be read.
    peers: RefCell<HashMap<Box<[u8]>, Rc<Peer>, RandomState>>,
    pub(crate) metrics: metrics::Metrics,
}

/// Peers remembered at the most: clients choose what they say.
const PEERS_MAX: usize = 500;

/// Bytes of what a peer says of itself at the most.
pub(crate) const SAID_MAX: usize = 64 << 10;

/// A workload at the other end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Drawn by lot: no other peer has it.
    pub(crate) id: u64,
    pub(crate) workload: Workload,
}

impl Istio {
    /// The peer that says this of itself in a header: a Struct in Base64. `None` if it is none.
    pub(crate) fn of_header(&self, value: &[u8], labels: &[Box<str>]) -> Option<Rc<Peer>> {
        // Two filters may keep different labels; more is rare enough to be decoded every time.
        let remembered = labels.is_empty();
        if remembered && let Some(peer) = self.peers.borrow().get(value) {
            return Some(Rc::clone(peer));
        }
        let mut bytes = Vec::new();
        if value.len() > SAID_MAX || !base64::decode(&padded(value), &mut bytes) {
            return None;
        }
        let said = Struct::decode(bytes.as_slice()).ok()?;
        let peer = Peer::new(Workload::of_struct(&said, labels));
        if remembered {
            let mut peers = self.peers.borrow_mut();
            if peers.len() >= PEERS_MAX {
                peers.clear();
            }
            peers.insert(value.into(), Rc::clone(&peer));
        }
        Some(peer)
    }
}

impl Peer {
    /// A peer nobody has met yet.
    pub(crate) fn new(workload: Workload) -> Rc<Self> {
        Rc::new(Self { id: ringway_runtime::rand_u64(), workload })
    }
}

/// Senders may leave the padding away.
fn padded(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match value.len() % 4 {
        0 => value.into(),
        rest => {
            let mut out = value.to_vec();
            out.resize(value.len() + 4 - rest, b'=');
            out.into()
        }
    }
}

#[cfg(test)]
mod tests;
