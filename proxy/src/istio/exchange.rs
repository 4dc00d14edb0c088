//! `istio.metadata_exchange`: what two proxies tell each other on a TCP connection before anything
//! else, where ALPN says that both will.
//!
//! LIFECYCLE: handshake agrees on `protocol` → [`run`]: our hello is queued at once, theirs is
//! waited for → what follows it is the connection's first byte. A peer that begins with something
//! else, or says nothing in time, is nobody; its bytes are kept.
//!
//! Istio's proxy says hello only when it has something to send or hears ours; so ours goes first,
//! and a protocol in which the server speaks first does not wait for its client.

use std::rc::Rc;
use std::time::Duration;

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Any, Struct};
use ringway_runtime::{self as runtime, Chunk};

use super::{Peer, SAID_MAX};
use crate::observe::stats::ShardStats;
use crate::plan::istio::{MAGIC, METADATA_KEY, MetadataExchange, Workload};
use crate::transport::Stream;

/// How long a hello is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Magic number and length.
const HEADER: usize = 8;

/// Tells the peer of us and hears of it; `None` where it does not say, and where ALPN agreed on
/// something else.
pub(crate) async fn run(
    stats: &ShardStats,
    plan: &MetadataExchange,
    stream: &Stream,
) -> Option<Rc<Peer>> {
    let alpn = stream.tls().and_then(|tls| tls.alpn.as_deref());
    if alpn != Some(&*plan.protocol) {
        stats.inc(plan.stats.alpn_protocol_not_found());
        return None;
    }
    stats.inc(plan.stats.alpn_protocol_found());
    stats.inc(plan.stats.metadata_added());
    stream.write(Chunk::copy_from(&plan.hello));
    let mut heard = Heard::default();
    let found = runtime::timeout(PATIENCE, heard.read(stream)).await.unwrap_or(Found::NoHello);
    let Heard { bytes, .. } = heard;
    let (rest, known) = match found {
        Found::NoHello => {
            stats.inc(plan.stats.initial_header_not_found());
            (0, None)
        }
        Found::Hello(end) => {
            let body = bytes.get(HEADER..end).unwrap_or_default();
            let peer = workload(body, &plan.labels).map(Peer::new);
            if peer.is_none() {
                stats.inc(plan.stats.header_not_found());
            }
            (end, peer)
        }
    };
    let rest = bytes.get(rest..).unwrap_or_default();
    if !rest.is_empty() {
        stream.unread(Chunk::copy_from(rest));
    }
    known
}

/// Bytes of the peer so far.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
}

enum Found {
    /// It begins with something else, or ends before it says hello.
    NoHello,
    /// Its hello ends here.
    Hello(usize),
}

impl Heard {
    /// Reads until it is known what the peer begins with.
    async fn read(&mut self, stream: &Stream) -> Found {
        loop {
            if let Some(found) = self.look() {
                return found;
            }
            match stream.recv().await {
                Ok(Some(chunk)) => self.bytes.extend_from_slice(&chunk),
                // The end is found again by whoever reads on.
                Ok(None) | Err(_) => return Found::NoHello,
            }
        }
    }

    fn look(&self) -> Option<Found> {
        let magic = MAGIC.to_be_bytes();
        let head = self.bytes.get(..magic.len().min(self.bytes.len()))?;
        if !magic.starts_with(head) {
            return Some(Found::NoHello);
        }
        let length = self.bytes.get(magic.len()..HEADER)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        if length > SAID_MAX {
            return Some(Found::NoHello);
        }
        let end = HEADER + length;
        (self.bytes.len() >= end).then_some(Found::Hello(end))
    }
}

/// The workload in the body of a hello.
fn workload(body: &[u8], labels: &[Box<str>]) -> Option<Workload> {
    let any = Any::decode(body).ok()?;
    let said = Struct::decode(any.value.as_slice()).ok()?;
    match said.fields.get(METADATA_KEY)?.kind.as_ref()? {
        Kind::StructValue(metadata) => Some(Workload::of_struct(metadata, labels)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
